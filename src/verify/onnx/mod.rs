//! ONNX, read from untrusted bytes: every tensor of a graph, its subgraphs, functions and attributes,
//! and what they say of external data (onnx/onnx.proto, docs/ExternalData.md). Tensors' contents are
//! passed over. External files are held against the graph in `external`.
//!
//! Memory: tensors ([`MAX_TENSORS`]) and their names ([`MAX_NAMES`]), whatever the file's length.
//! Messages nest at most [`MAX_DEPTH`] deep.

mod dtype;
mod external;
mod wire;

use std::collections::HashSet;
use std::io::{Read, Seek};

use self::dtype::{Dtype, Field, dtype};
pub(super) use self::external::check_set;
use self::wire::{Value, Wire};
use super::findings::{Findings, Quote, Shape};
use super::{Tensor, TensorTable};
use crate::report::{Code, Finding};

/// Tensors of one file; a file with more is refused.
pub const MAX_TENSORS: usize = 1 << 20;
/// Bytes of one name.
pub const MAX_NAME: u64 = 1 << 16;
/// Bytes of all names together, with what is put before those of subgraphs.
pub const MAX_NAMES: u64 = 256 << 20;
/// Messages in messages: protobuf's own limit.
pub const MAX_DEPTH: u32 = 100;
/// Dimensions of a tensor.
const MAX_DIMS: usize = 64;

/// Bytes of a tensor that lie in another file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    /// The tensor's place in the table.
    pub tensor: usize,
    /// The file, relative to the graph's folder; as the graph says it.
    pub location: String,
    /// Where in the file; 0 when the graph says nothing.
    pub offset: u64,
    /// How many bytes, by the graph or else by dtype and shape.
    pub length: Option<u64>,
    /// SHA-1 of the whole file, in hex.
    pub checksum: Option<String>,
}

/// Everything of a graph that is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// The tensors; those of subgraphs and attributes have their node's name before their own.
    pub table: TensorTable,
    /// Which of them lie elsewhere.
    pub external: Vec<External>,
}

/// Reads the tensors of an ONNX file of `length` bytes; the findings are about `path`.
pub fn read(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Finding>) {
    let (model, findings) = model(file, length, path);
    (model.table, findings)
}

/// The same with what lies in other files.
pub fn model(file: impl Read + Seek, length: u64, path: &str) -> (Model, Vec<Finding>) {
    let mut walk =
        Walk { wire: Wire::new(file), path, model: Model::default(), findings: Findings::default(), names: MAX_NAMES };
    if let Err(why) = walk.model(length) {
        walk.findings.push(Finding::new(Code::HeaderInvalid, path, why));
    }
    (walk.model, walk.findings.into_vec())
}

struct Walk<'p, R> {
    wire: Wire<R>,
    path: &'p str,
    model: Model,
    findings: Findings,
    /// Bytes that names may still take.
    names: u64,
}

/// What a tensor has of each kind of content.
#[derive(Default)]
struct Content {
    raw: Option<u64>,
    /// Entries of the typed fields.
    typed: Vec<(Field, u64)>,
    external: bool,
    keys: Vec<(String, String)>,
    segment: bool,
}

impl<R: Read + Seek> Walk<'_, R> {
    fn found(&mut self, code: Code, message: String) {
        self.findings.push(Finding::new(code, self.path, message));
    }

    fn text(&mut self, end: u64) -> Result<String, String> {
        let length = end - self.wire.at;
        self.names = self.names.checked_sub(length).ok_or("its names are longer than is read here")?;
        self.wire.text(end, MAX_NAME)
    }

    fn model(&mut self, end: u64) -> Result<(), String> {
        let (mut graph, mut version) = (false, false);
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Varint(n)) => version = n > 0,
                (7, Value::Until(end)) => {
                    graph = true;
                    self.graph(end, 1)?;
                }
                (20, Value::Until(end)) => self.training(end)?,
                (25, Value::Until(end)) => self.function(end)?,
                (_, Value::Until(end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        if !graph || !version {
            self.found(Code::FormatUnexpected, "it is no onnx model: it has no graph or no version".to_owned());
        }
        Ok(())
    }

    /// `TrainingInfoProto`: two graphs.
    fn training(&mut self, end: u64) -> Result<(), String> {
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1 | 2, Value::Until(end)) => {
                    let start = self.model.table.tensors.len();
                    self.graph(end, 2)?;
                    let label = if number == 1 { "training.initialization" } else { "training.algorithm" };
                    self.label(start, label)?;
                }
                (_, Value::Until(end)) => self.wire.to(end)?,
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
                (1, Value::Until(end)) => name = self.text(end)?,
                (7, Value::Until(end)) => self.node(end, 2)?,
                (11, Value::Until(end)) => self.attribute(end, 2)?,
                (_, Value::Until(end)) => self.wire.to(end)?,
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
                (1, Value::Until(end)) => self.node(end, depth + 1)?,
                (5, Value::Until(end)) => {
                    own.push(self.model.table.tensors.len());
                    self.tensor(end)?;
                }
                (15, Value::Until(end)) => {
                    own.push(self.model.table.tensors.len());
                    self.sparse(end)?;
                }
                (_, Value::Until(end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        let Walk { model, findings, path, .. } = self;
        let mut names = HashSet::new();
        for tensor in own.iter().filter_map(|at| model.table.tensors.get(*at)) {
            if tensor.name.is_empty() {
                findings.push(Finding::new(Code::HeaderInvalid, *path, "an initializer has no name"));
            } else if !names.insert(&*tensor.name) {
                let text = format!("initializer {} is there twice", Quote(&tensor.name));
                findings.push(Finding::new(Code::TensorDuplicate, *path, text));
            }
        }
        Ok(())
    }

    fn node(&mut self, end: u64, depth: u32) -> Result<(), String> {
        let start = self.model.table.tensors.len();
        let (mut name, mut output) = (String::new(), None);
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (2, Value::Until(end)) if output.is_none() => output = Some(self.text(end)?),
                (3, Value::Until(end)) => name = self.text(end)?,
                (5, Value::Until(end)) => self.attribute(end, depth + 1)?,
                (_, Value::Until(end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        // Outputs are unique in a graph, names need not be.
        self.label(start, output.as_deref().filter(|o| !o.is_empty()).unwrap_or(&name))
    }

    fn attribute(&mut self, end: u64, depth: u32) -> Result<(), String> {
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (5 | 10, Value::Until(end)) => self.tensor(end)?,
                (6 | 11, Value::Until(end)) => self.graph(end, depth + 1)?,
                (22 | 23, Value::Until(end)) => self.sparse(end)?,
                (_, Value::Until(end)) => self.wire.to(end)?,
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

    /// `SparseTensorProto`: its values have its name, its indices that with `.indices`.
    fn sparse(&mut self, end: u64) -> Result<(), String> {
        let (mut values, mut indices) = (None, None);
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1 | 2, Value::Until(end)) => {
                    let place = if number == 1 { &mut values } else { &mut indices };
                    if place.replace(self.model.table.tensors.len()).is_some() {
                        return Err("a sparse tensor has two lists of the same kind".to_owned());
                    }
                    self.tensor(end)?;
                }
                (_, Value::Until(end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        let (Some(values), Some(indices)) = (values, indices) else {
            return Err("a sparse tensor has no values or no indices".to_owned());
        };
        let tensors = &mut self.model.table.tensors;
        let name = tensors.get(values).map(|t| format!("{}.indices", t.name)).unwrap_or_default();
        self.names = self.names.checked_sub(name.len() as u64).ok_or("its names are longer than is read here")?;
        let (nonzero, places) = (tensors.get(values).map(Tensor::elements), tensors.get(indices));
        let wrong = places.is_some_and(|t| t.shape.first() != nonzero.as_ref() || t.shape.len() > 2);
        if let Some(tensor) = tensors.get_mut(indices) {
            tensor.name = name.into();
        }
        if wrong {
            self.found(Code::HeaderInvalid, "a sparse tensor has other indices than values".to_owned());
        }
        Ok(())
    }

    fn tensor(&mut self, end: u64) -> Result<(), String> {
        if self.model.table.tensors.len() >= MAX_TENSORS {
            return Err(format!("it has more than {MAX_TENSORS} tensors"));
        }
        let (mut name, mut shape, mut kind) = (String::new(), Vec::<u64>::new(), 0);
        let mut content = Content::default();
        let mut bytes = None;
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Varint(n)) => shape.push(n),
                (1, Value::Until(end)) => {
                    while self.wire.at < end && shape.len() <= MAX_DIMS {
                        shape.push(self.wire.varint(end)?);
                    }
                }
                (2, Value::Varint(n)) => kind = n,
                (3, Value::Until(end)) => {
                    content.segment = true;
                    self.wire.to(end)?;
                }
                (4..=7 | 10 | 11, value) => self.typed(number, value, &mut content)?,
                (8, Value::Until(end)) => name = self.text(end)?,
                (9, Value::Until(end)) => {
                    content.raw = Some(end - self.wire.at);
                    bytes = Some(self.wire.at..end);
                    self.wire.to(end)?;
                }
                (13, Value::Until(end)) => {
                    let pair = self.pair(end)?;
                    if content.keys.len() < 16 {
                        content.keys.push(pair);
                    }
                }
                (14, Value::Varint(n)) => content.external = n == 1,
                (_, Value::Until(end)) => self.wire.to(end)?,
                _ => {}
            }
            if shape.len() > MAX_DIMS {
                return Err(format!("tensor {} has more than {MAX_DIMS} dimensions", Quote(&name)));
            }
        }
        let dtype = dtype(kind);
        let text = dtype.map_or_else(|| format!("type {kind}").into(), |d| d.name.into());
        self.check(&name, &shape, dtype, &content);
        self.model.table.tensors.push(Tensor { name: name.into(), dtype: text, shape: shape.into(), bytes });
        Ok(())
    }

    /// A typed field, packed or one by one: counts its entries.
    fn typed(&mut self, number: u64, value: Value, content: &mut Content) -> Result<(), String> {
        let field = match number {
            4 => Field::Float,
            5 => Field::Int32,
            6 => Field::String,
            7 => Field::Int64,
            10 => Field::Double,
            _ => Field::Uint64,
        };
        let entries = match (field, value) {
            (Field::String, Value::Until(end)) => self.wire.to(end).map(|()| 1)?,
            (Field::Float | Field::Double, Value::Until(end)) => {
                let (bytes, width) = (end - self.wire.at, if field == Field::Float { 4 } else { 8 });
                if !bytes.is_multiple_of(width) {
                    return Err(format!("a list of numbers at {} is cut short", self.wire.at));
                }
                self.wire.to(end)?;
                bytes / width
            }
            (_, Value::Until(end)) => self.wire.count(end)?,
            (Field::Float, Value::Fixed32)
            | (Field::Double, Value::Fixed64)
            | (Field::Int32 | Field::Int64 | Field::Uint64, Value::Varint(_)) => 1,
            _ => return Err(format!("a tensor's field {number} is of another wire type, at {}", self.wire.at)),
        };
        match content.typed.iter_mut().find(|(f, _)| *f == field) {
            Some((_, n)) => *n = n.saturating_add(entries),
            None => content.typed.push((field, entries)),
        }
        Ok(())
    }

    /// `StringStringEntryProto`.
    fn pair(&mut self, end: u64) -> Result<(String, String), String> {
        let mut pair = (String::new(), String::new());
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Until(end)) => pair.0 = self.text(end)?,
                (2, Value::Until(end)) => pair.1 = self.text(end)?,
                (_, Value::Until(end)) => self.wire.to(end)?,
                _ => {}
            }
        }
        Ok(pair)
    }

    /// Whether a tensor has as much content as its dtype and shape need.
    fn check(&mut self, name: &str, shape: &[u64], dtype: Option<Dtype>, content: &Content) {
        let quoted = Quote(name);
        let elements = shape.iter().try_fold(1u64, |n, d| i64::try_from(*d).ok().and(n.checked_mul(*d)));
        let Some(elements) = elements else {
            let text = format!("tensor {quoted} of shape {} has too many elements", Shape(shape));
            return self.found(Code::HeaderInvalid, text);
        };
        let need = dtype.filter(|d| d.bits > 0).and_then(|d| Some(elements.checked_mul(d.bits)?.div_ceil(8)));
        if content.external {
            return match external_of(&content.keys, self.model.table.tensors.len(), need) {
                Ok(external) => {
                    if let (Some(has), Some(need)) = (external.length, need)
                        && has != need
                    {
                        let text =
                            format!("tensor {quoted} needs {need} bytes, and {has} of its external file are its");
                        self.found(Code::HeaderInvalid, text);
                    }
                    self.model.external.push(external);
                }
                Err(why) => self.found(Code::HeaderInvalid, format!("tensor {quoted}: {why}")),
            };
        }
        let Some(dtype) = dtype else {
            return self.found(Code::DtypeUnknown, format!("tensor {quoted} is of a dtype that is not known here"));
        };
        let sources = usize::from(content.raw.is_some()) + content.typed.iter().filter(|(_, n)| *n > 0).count();
        if content.segment {
            return self.found(Code::HeaderInvalid, format!("tensor {quoted} is stored in segments, which none reads"));
        }
        if sources > 1 {
            return self.found(Code::HeaderInvalid, format!("tensor {quoted} has its content twice"));
        }
        let wrong = match content.raw {
            Some(_) if dtype.bits == 0 => Some("has strings as raw bytes".to_owned()),
            Some(has) => need.filter(|n| *n != has).map(|n| format!("needs {n} bytes and has {has}")),
            None => {
                let has = content.typed.iter().find(|(f, _)| *f == dtype.field).map_or(0, |(_, n)| *n);
                let need = dtype.entries(elements);
                let other = content.typed.iter().any(|(f, n)| *f != dtype.field && *n > 0);
                if other {
                    Some("has its content in the field of another dtype".to_owned())
                } else {
                    (has != need).then(|| format!("needs {need} entries and has {has}"))
                }
            }
        };
        if let Some(wrong) = wrong {
            self.found(Code::HeaderInvalid, format!("tensor {quoted} ({} {}) {wrong}", dtype.name, Shape(shape)));
        }
    }
}

/// The keys of `external_data`.
fn external_of(keys: &[(String, String)], tensor: usize, need: Option<u64>) -> Result<External, String> {
    let key = |wanted: &str| keys.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let number = |wanted: &str| match key(wanted) {
        None => Ok(None),
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<u64>().map(Some).map_err(|e| format!("its {wanted} is wrong: {e}"))
        }
        Some(text) => Err(format!("its {wanted} is no number: {}", Quote(text))),
    };
    Ok(External {
        tensor,
        location: key("location").filter(|l| !l.is_empty()).ok_or("it has no location")?.to_owned(),
        offset: number("offset")?.unwrap_or(0),
        length: number("length")?.or(need),
        checksum: key("checksum").filter(|c| !c.is_empty()).map(str::to_owned),
    })
}
