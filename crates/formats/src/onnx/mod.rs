//! ONNX, read from untrusted bytes: every tensor of a graph, its subgraphs, functions and attributes,
//! and what they say about external data (onnx/onnx.proto, docs/ExternalData.md). Tensors' contents
//! are skipped. `external` checks external files against the graph.
//!
//! Memory: tensors (`MAX_TENSORS`) and their names (`MAX_NAMES`), whatever the file's length.
//! Messages nest at most `MAX_DEPTH` deep.

mod dtype;
mod external;
mod tensor;

use std::collections::HashSet;
use std::io::{Read, Seek};

pub use self::external::check_set;
use super::TensorTable;
use super::problems::{Problems, Quote};
use super::proto::{FieldReader, Value};
use crate::problem::{Problem, ProblemKind};

/// Tensors of one file; a file with more is refused.
pub(crate) const MAX_TENSORS: usize = 1 << 20;
/// Bytes of one name.
pub(crate) const MAX_NAME: u64 = 1 << 16;
/// Bytes of all names together, including the prefixes of names in subgraphs.
pub(crate) const MAX_NAMES: u64 = 256 << 20;
/// Levels of messages in messages: protobuf's own limit.
pub(crate) const MAX_DEPTH: u32 = 100;
/// Dimensions of a tensor.
const MAX_DIMS: usize = 64;

/// The bytes of a tensor that are in another file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    /// The tensor's place in the table.
    pub tensor: usize,
    /// The file, relative to the graph's folder, as the graph spells it.
    pub location: String,
    /// Where the bytes start in the file; 0 if the graph does not say.
    pub offset: u64,
    /// How many bytes: as the graph says, otherwise by dtype and shape.
    pub length: Option<u64>,
    /// SHA-1 of the whole file, in hex.
    pub checksum: Option<String>,
}

/// Everything of a graph that is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// The tensors; those of subgraphs and attributes have their node's name before their own.
    pub table: TensorTable,
    /// The tensors whose bytes are in other files.
    pub external: Vec<External>,
}

/// Reads the tensors of an ONNX file of `length` bytes; the problems are about `path`.
pub fn read(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let (model, problems) = model(file, length, path);
    (model.table, problems)
}

/// Reads the same with the references to other files.
pub fn model(file: impl Read + Seek, length: u64, path: &str) -> (Model, Vec<Problem>) {
    let wire = FieldReader::new(file, length);
    let mut walk = GraphWalk { wire, path, model: Model::default(), problems: Problems::default(), names: MAX_NAMES };
    if let Err(why) = walk.model(length) {
        walk.problems.push(Problem::new(ProblemKind::HeaderInvalid, path, why));
    }
    (walk.model, walk.problems.into_vec())
}

struct GraphWalk<'p, R> {
    wire: FieldReader<R>,
    path: &'p str,
    model: Model,
    problems: Problems,
    /// How many bytes names may still take.
    names: u64,
}

impl<R: Read + Seek> GraphWalk<'_, R> {
    fn found(&mut self, kind: ProblemKind, message: String) {
        self.problems.push(Problem::new(kind, self.path, message));
    }

    fn text(&mut self, end: u64) -> Result<String, String> {
        let start = self.wire.at();
        self.names = self.names.checked_sub(end - start).ok_or("its names are longer than is read here")?;
        self.wire.text((start, end), MAX_NAME)
    }

    fn model(&mut self, end: u64) -> Result<(), String> {
        let (mut graph, mut version) = (false, false);
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Varint(n)) => version = n > 0,
                (7, Value::Bytes(_, end)) => {
                    graph = true;
                    self.graph(end, 1)?;
                }
                (20, Value::Bytes(_, end)) => self.training(end)?,
                (25, Value::Bytes(_, end)) => self.function(end)?,
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        if !graph || !version {
            self.found(
                ProblemKind::FormatUnexpected,
                "it is not an ONNX model: it has no graph or no version".to_owned(),
            );
        }
        Ok(())
    }

    /// `TrainingInfoProto`: two graphs.
    fn training(&mut self, end: u64) -> Result<(), String> {
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1 | 2, Value::Bytes(_, end)) => {
                    let start = self.model.table.tensors.len();
                    self.graph(end, 2)?;
                    let label = if number == 1 { "training.initialization" } else { "training.algorithm" };
                    self.label(start, label)?;
                }
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `FunctionProto`.
    fn function(&mut self, end: u64) -> Result<(), String> {
        let start = self.model.table.tensors.len();
        let mut name = String::new();
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Bytes(_, end)) => name = self.text(end)?,
                (7, Value::Bytes(_, end)) => self.node(end, 2)?,
                (11, Value::Bytes(_, end)) => self.attribute(end, 2)?,
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        self.label(start, &name)
    }

    fn graph(&mut self, end: u64, depth: u32) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("its messages nest more than {MAX_DEPTH} deep"));
        }
        let mut own: Vec<usize> = Vec::new();
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Bytes(_, end)) => self.node(end, depth + 1)?,
                (5, Value::Bytes(_, end)) => {
                    own.push(self.model.table.tensors.len());
                    self.tensor(end)?;
                }
                (15, Value::Bytes(_, end)) => {
                    own.push(self.model.table.tensors.len());
                    self.sparse(end)?;
                }
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        let GraphWalk { model, problems, path, .. } = self;
        let mut names = HashSet::new();
        for tensor in own.iter().filter_map(|at| model.table.tensors.get(*at)) {
            if tensor.name.is_empty() {
                problems.push(Problem::new(ProblemKind::HeaderInvalid, *path, "an initializer has no name"));
            } else if !names.insert(&*tensor.name) {
                let text = format!("initializer {} occurs twice", Quote(&tensor.name));
                problems.push(Problem::new(ProblemKind::TensorDuplicate, *path, text).tensor(&tensor.name));
            }
        }
        Ok(())
    }

    fn node(&mut self, end: u64, depth: u32) -> Result<(), String> {
        let start = self.model.table.tensors.len();
        let (mut name, mut output) = (String::new(), None);
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (2, Value::Bytes(_, end)) if output.is_none() => output = Some(self.text(end)?),
                (3, Value::Bytes(_, end)) => name = self.text(end)?,
                (5, Value::Bytes(_, end)) => self.attribute(end, depth + 1)?,
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        // Outputs are unique in a graph; names need not be.
        self.label(start, output.as_deref().filter(|o| !o.is_empty()).unwrap_or(&name))
    }

    fn attribute(&mut self, end: u64, depth: u32) -> Result<(), String> {
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (5 | 10, Value::Bytes(_, end)) => self.tensor(end)?,
                (6 | 11, Value::Bytes(_, end)) => self.graph(end, depth + 1)?,
                (22 | 23, Value::Bytes(_, end)) => self.sparse(end)?,
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts `label` before the names of the tensors since `start`.
    fn label(&mut self, start: usize, label: &str) -> Result<(), String> {
        for tensor in self.model.table.tensors.iter_mut().skip(start) {
            let name = if tensor.name.is_empty() { label.to_owned() } else { format!("{label}/{}", tensor.name) };
            self.names = self.names.checked_sub(name.len() as u64).ok_or("its names are longer than is read here")?;
            tensor.name = name.into();
        }
        Ok(())
    }

    /// `StringStringEntryProto`.
    fn pair(&mut self, end: u64) -> Result<(String, String), String> {
        let mut pair = (String::new(), String::new());
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Bytes(_, end)) => pair.0 = self.text(end)?,
                (2, Value::Bytes(_, end)) => pair.1 = self.text(end)?,
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        Ok(pair)
    }
}
