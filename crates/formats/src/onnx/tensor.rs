//! One tensor of an ONNX graph: whether its content, here or in another file, has the size that its
//! dtype and shape need. The parent finds the tensors in a graph.

use std::io::{Read, Seek};

use super::dtype::{Field, OnnxDtype, dtype};
use super::{External, GraphWalk, MAX_DIMS, MAX_TENSORS};
use crate::problem::ProblemKind;
use crate::{Tensor, problems::Quote, problems::Shape, proto::Value};

/// How much of each kind of content a tensor has.
#[derive(Default)]
struct Content {
    raw: Option<u64>,
    /// Entries of the typed fields.
    typed: Vec<(Field, u64)>,
    external: bool,
    keys: Vec<(String, String)>,
    segment: bool,
}

impl<R: Read + Seek> GraphWalk<'_, R> {
    /// `SparseTensorProto`: its values have its name, its indices have that name with `.indices`.
    pub(super) fn sparse(&mut self, end: u64) -> Result<(), String> {
        let (mut values, mut indices) = (None, None);
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1 | 2, Value::Bytes(_, end)) => {
                    let place = if number == 1 { &mut values } else { &mut indices };
                    if place.replace(self.model.table.tensors.len()).is_some() {
                        return Err("a sparse tensor has two lists of the same kind".to_owned());
                    }
                    self.tensor(end)?;
                }
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
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
            self.found(ProblemKind::HeaderInvalid, "a sparse tensor has other indices than values".to_owned());
        }
        Ok(())
    }

    pub(super) fn tensor(&mut self, end: u64) -> Result<(), String> {
        if self.model.table.tensors.len() >= MAX_TENSORS {
            return Err(format!("it has more than {MAX_TENSORS} tensors"));
        }
        let (mut name, mut shape, mut kind) = (String::new(), Vec::<u64>::new(), 0);
        let mut content = Content::default();
        let mut bytes = None;
        while let Some((number, value)) = self.wire.field(end)? {
            match (number, value) {
                (1, Value::Varint(n)) => shape.push(n),
                (1, Value::Bytes(_, end)) => {
                    while self.wire.at() < end && shape.len() <= MAX_DIMS {
                        shape.push(self.wire.varint(end)?);
                    }
                }
                (2, Value::Varint(n)) => kind = n,
                (3, Value::Bytes(_, end)) => {
                    content.segment = true;
                    self.wire.to(end)?;
                }
                (4..=7 | 10 | 11, value) => self.typed(number, value, &mut content)?,
                (8, Value::Bytes(_, end)) => name = self.text(end)?,
                (9, Value::Bytes(_, end)) => {
                    content.raw = Some(end - self.wire.at());
                    bytes = Some(self.wire.at()..end);
                    self.wire.to(end)?;
                }
                (13, Value::Bytes(_, end)) => {
                    let pair = self.pair(end)?;
                    if content.keys.len() < 16 {
                        content.keys.push(pair);
                    }
                }
                (14, Value::Varint(n)) => content.external = n == 1,
                (_, Value::Bytes(_, end)) => self.wire.to(end)?,
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
            (Field::String, Value::Bytes(_, end)) => self.wire.to(end).map(|()| 1)?,
            (Field::Float | Field::Double, Value::Bytes(_, end)) => {
                let (bytes, width) = (end - self.wire.at(), if field == Field::Float { 4 } else { 8 });
                if !bytes.is_multiple_of(width) {
                    return Err(format!("a list of numbers at {} is cut short", self.wire.at()));
                }
                self.wire.to(end)?;
                bytes / width
            }
            (_, Value::Bytes(_, end)) => self.wire.count(end)?,
            (Field::Float, Value::Fixed32(_))
            | (Field::Double, Value::Fixed64(_))
            | (Field::Int32 | Field::Int64 | Field::Uint64, Value::Varint(_)) => 1,
            _ => return Err(format!("a tensor's field {number} is of another wire type, at {}", self.wire.at())),
        };
        match content.typed.iter_mut().find(|(f, _)| *f == field) {
            Some((_, n)) => *n = n.saturating_add(entries),
            None => content.typed.push((field, entries)),
        }
        Ok(())
    }

    /// Checks that a tensor has as much content as its dtype and shape need.
    fn check(&mut self, name: &str, shape: &[u64], dtype: Option<OnnxDtype>, content: &Content) {
        let quoted = Quote(name);
        let elements = shape.iter().try_fold(1u64, |n, d| i64::try_from(*d).ok().and(n.checked_mul(*d)));
        let Some(elements) = elements else {
            let text = format!("tensor {quoted} of shape {} has too many elements", Shape(shape));
            return self.found(ProblemKind::HeaderInvalid, text);
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
                        self.found(ProblemKind::HeaderInvalid, text);
                    }
                    self.model.external.push(external);
                }
                Err(why) => self.found(ProblemKind::HeaderInvalid, format!("tensor {quoted}: {why}")),
            };
        }
        let Some(dtype) = dtype else {
            return self.found(
                ProblemKind::DtypeUnknown,
                format!("tensor {quoted} has a dtype that this version does not know"),
            );
        };
        let sources = usize::from(content.raw.is_some()) + content.typed.iter().filter(|(_, n)| *n > 0).count();
        if content.segment {
            return self
                .found(ProblemKind::HeaderInvalid, format!("tensor {quoted} is stored in segments, which none reads"));
        }
        if sources > 1 {
            return self.found(ProblemKind::HeaderInvalid, format!("tensor {quoted} has its content twice"));
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
            self.found(
                ProblemKind::HeaderInvalid,
                format!("tensor {quoted} ({} {}) {wrong}", dtype.name, Shape(shape)),
            );
        }
    }
}

/// The keys of `external_data`.
fn external_of(keys: &[(String, String)], tensor: usize, need: Option<u64>) -> Result<External, String> {
    // onnx and onnxruntime take the last of several values, and other readers may have checked another one.
    let twice = |(at, (key, _)): &(usize, &(String, String))| keys.iter().take(*at).any(|(before, _)| before == key);
    if let Some((_, (key, _))) = keys.iter().enumerate().find(twice) {
        return Err(format!("its external data state {} twice, and readers differ in which they take", Quote(key)));
    }
    let key = |wanted: &str| keys.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let number = |wanted: &str| match key(wanted) {
        None => Ok(None),
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse::<u64>().map(Some).map_err(|e| format!("its {wanted} is wrong: {e}"))
        }
        Some(text) => Err(format!("its {wanted} is not a number: {}", Quote(text))),
    };
    Ok(External {
        tensor,
        location: key("location").filter(|l| !l.is_empty()).ok_or("it has no location")?.to_owned(),
        offset: number("offset")?.unwrap_or(0),
        length: number("length")?.or(need),
        checksum: key("checksum").filter(|c| !c.is_empty()).map(str::to_owned),
    })
}
