//! The graphs of TensorFlow, read from untrusted bytes: `saved_model.pb`, the `.meta` of a checkpoint, and
//! the small protos beside them (`saved_model.proto`, `meta_graph.proto`, `graph.proto`). Messages are
//! walked, not kept; the assets that a graph names are compared with the files here. Variables are a
//! checkpoint, and `tf_checkpoint` reads them.
//!
//! Memory: the names of assets (`MAX_ASSETS`, `MAX_NAMES`). Time: each byte of a graph once, tensors in nodes skipped.

use std::collections::BTreeSet;
use std::io::{Read, Seek};

use super::problems::{Problems, Quote};
use super::proto::{FieldReader, Value};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::set::{Files, file_name, folder};

/// Assets of one `SavedModel`; a file that names more is refused.
pub const MAX_ASSETS: usize = 1 << 16;
/// Bytes of all their names together.
pub(crate) const MAX_NAMES: usize = 16 << 20;
/// Bytes of an asset's name, and of the name of a node or its operation.
const MAX_NAME: u64 = 1 << 16;

/// Operations on files of any name. The operations of checkpoints and vocabularies are not among them.
const FILE_ACCESS: &[&str] = &["ReadFile", "WriteFile"];

/// Which message a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// `saved_model.pb`: `SavedModel`.
    SavedModel,
    /// `X.meta`: `MetaGraphDef`.
    MetaGraph,
    /// `fingerprint.pb`, `keras_metadata.pb`: of no further interest.
    Other,
}

/// The parts of a graph that concern other files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// Graphs in it.
    pub graphs: usize,
    /// Nodes of all graphs, without those of functions.
    pub nodes: u64,
    /// Names of files in `assets/`.
    pub assets: BTreeSet<String>,
    /// Operations that read or write files by a name that the graph or its input gives, each once.
    pub file_access: BTreeSet<&'static str>,
    /// Bytes of the assets' names.
    names: usize,
}

/// Reads a graph of `length` bytes; the problems are about `path`.
pub fn read(file: impl Read + Seek, length: u64, path: &str, message: Message) -> (Graph, Vec<Problem>) {
    let mut graph = Graph::default();
    let mut problems = Vec::new();
    let mut wire = FieldReader::new(file, length);
    let whole = (0, length);
    let walked = match message {
        Message::SavedModel => saved_model(&mut wire, whole, &mut graph).map(|version| {
            if version != Some(1) {
                let says = version.map_or("none".to_owned(), |n| n.to_string());
                let text = format!("its schema version is {says}, and TensorFlow writes 1");
                problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text).severity(Severity::Warning));
            }
            if graph.graphs == 0 {
                problems.push(Problem::new(
                    ProblemKind::HeaderInvalid,
                    path,
                    "it has no graph: it is cut short or wrong",
                ));
            }
        }),
        Message::MetaGraph => meta_graph(&mut wire, whole, &mut graph).map(|()| {
            if length == 0 {
                problems.push(Problem::new(ProblemKind::HeaderInvalid, path, "it is empty"));
            }
        }),
        Message::Other => wire.fields(whole, &mut |_, _, _| Ok::<_, String>(())),
    };
    if !graph.file_access.is_empty() {
        let operations: Vec<&str> = graph.file_access.iter().copied().collect();
        let text = format!("its graph reads or writes files when it runs: it has {}", operations.join(" and "));
        problems.push(Problem::new(ProblemKind::GraphFileAccess, path, text));
    }
    if let Err(why) = walked {
        problems.push(Problem::new(ProblemKind::HeaderInvalid, path, why));
    }
    (graph, problems)
}

type Span = (u64, u64);

fn expected(what: &str, number: u64) -> String {
    format!("field {number} of {what} is of another type than it should be")
}

/// Returns the schema version.
fn saved_model<R: Read + Seek>(
    wire: &mut FieldReader<R>,
    span: Span,
    graph: &mut Graph,
) -> Result<Option<u64>, String> {
    let mut version = None;
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (1, Value::Varint(n)) => {
            version = Some(n);
            Ok(())
        }
        (2, Value::Bytes(start, end)) => {
            graph.graphs += 1;
            meta_graph(wire, (start, end), graph)
        }
        (1 | 2, _) => Err(expected("SavedModel", number)),
        _ => Ok(()),
    })?;
    Ok(version)
}

fn meta_graph<R: Read + Seek>(wire: &mut FieldReader<R>, span: Span, graph: &mut Graph) -> Result<(), String> {
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (2, Value::Bytes(start, end)) => graph_def(wire, (start, end), graph),
        (6, Value::Bytes(start, end)) => {
            let mut name = String::new();
            wire.fields((start, end), &mut |wire, number, value| match (number, value) {
                (2, Value::Bytes(start, end)) => {
                    name = wire.text((start, end), MAX_NAME)?;
                    Ok(())
                }
                (1, Value::Bytes(..)) => Ok(()),
                (1 | 2, _) => Err(expected("AssetFileDef", number)),
                _ => Ok(()),
            })?;
            // Two graphs of one model name the same assets, which count once.
            graph.names += if graph.assets.contains(&name) { 0 } else { name.len() };
            if graph.names > MAX_NAMES {
                return Err(format!("the names of its assets have more than {MAX_NAMES} bytes together"));
            }
            graph.assets.insert(name);
            if graph.assets.len() > MAX_ASSETS {
                Err(format!("it names more than {MAX_ASSETS} assets"))
            } else {
                Ok(())
            }
        }
        // The parts that are not read must still be messages.
        (1..=7, Value::Bytes(..)) => Ok(()),
        (1..=7, _) => Err(expected("MetaGraphDef", number)),
        _ => Ok(()),
    })
}

fn graph_def<R: Read + Seek>(wire: &mut FieldReader<R>, span: Span, graph: &mut Graph) -> Result<(), String> {
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (1, Value::Bytes(start, end)) => {
            graph.nodes += 1;
            node_def(wire, (start, end), graph)
        }
        (2, Value::Bytes(start, end)) => library(wire, (start, end), graph),
        (4, Value::Bytes(..)) | (3, Value::Varint(_)) => Ok(()),
        (1..=4, _) => Err(expected("GraphDef", number)),
        _ => Ok(()),
    })
}

fn node_def<R: Read + Seek>(wire: &mut FieldReader<R>, span: Span, graph: &mut Graph) -> Result<(), String> {
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (1, Value::Bytes(start, end)) => wire.text((start, end), MAX_NAME).map(drop),
        (2, Value::Bytes(start, end)) => {
            let operation = wire.text((start, end), MAX_NAME)?;
            graph.file_access.extend(FILE_ACCESS.iter().find(|known| **known == operation));
            Ok(())
        }
        (3..=7, Value::Bytes(..)) => Ok(()),
        (1..=7, _) => Err(expected("NodeDef", number)),
        _ => Ok(()),
    })
}

/// The functions that a graph calls; since TensorFlow 2 most nodes are in them.
fn library<R: Read + Seek>(wire: &mut FieldReader<R>, span: Span, graph: &mut Graph) -> Result<(), String> {
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (1, Value::Bytes(start, end)) => wire.fields((start, end), &mut |wire, number, value| match (number, value) {
            (3, Value::Bytes(start, end)) => node_def(wire, (start, end), graph),
            (3, _) => Err(expected("FunctionDef", number)),
            _ => Ok(()),
        }),
        (1, _) => Err(expected("FunctionDefLibrary", number)),
        _ => Ok(()),
    })
}

/// Checks that every asset that a graph of the set names is here. `names`: the set's files.
pub fn check_set(names: &[&str], files: &dyn Files) -> Vec<Problem> {
    let mut problems = Problems::default();
    for &path in names.iter().filter(|name| file_name(name) == "saved_model.pb") {
        let Some(Ok((open, length))) = files.open(path) else { continue };
        let folder = folder(path);
        let folder = if folder.is_empty() { "assets".to_owned() } else { format!("{folder}/assets") };
        for asset in read(open, length, path, Message::SavedModel).0.assets {
            let (kind, text) = match files.join(&folder, &asset) {
                Ok(place) if files.length(&place).is_some() => continue,
                Ok(place) => {
                    (ProblemKind::ExternalDataMissing, format!("it needs {}, which is not here", Quote(&place)))
                }
                Err(reason) => {
                    let text = format!("it names an asset {}: {reason}", Quote(&asset));
                    (ProblemKind::PathUnsafe, text)
                }
            };
            problems.push(Problem::new(kind, path, text));
        }
    }
    problems.into_vec()
}
