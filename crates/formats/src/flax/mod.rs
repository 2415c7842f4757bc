//! Flax msgpack, read from untrusted bytes: one map of maps, which is walked to the end of the file,
//! with every array in it. The rules are those of `flax/serialization.py`: extension 1 is an array
//! (a packed `(shape, dtype, bytes)`), 2 a complex number, 3 an array without dimensions.
//!
//! Memory: the names of tensors (`MAX_TENSORS`, `MAX_NAMES`) and one frame for each of
//! `MAX_DEPTH` maps; no value is kept. Time: in proportion to the number of values, which the
//! file's length bounds; the bytes of arrays are skipped.

mod msgpack;

use std::collections::HashSet;
use std::io::{Read, Seek};

use self::msgpack::{Token, token};
use super::positioned::Positioned;
use super::problems::{Problems, Quote, Shape};
use super::{Tensor, TensorTable};
use crate::problem::{Problem, ProblemKind};

/// Tensors of one file; a file with more is refused.
pub(crate) const MAX_TENSORS: usize = 1 << 20;
/// Bytes of all names together.
pub(crate) const MAX_NAMES: u64 = 256 << 20;
/// Bytes of a key.
pub(crate) const MAX_KEY: u64 = 1 << 16;
/// Levels of maps and arrays in one another.
pub(crate) const MAX_DEPTH: usize = 128;
/// Dimensions of an array (`NPY_MAXDIMS` is 64).
const MAX_DIMS: usize = 64;

/// Bytes of an element of a dtype by its numpy name; `None` if this version does not know the dtype.
pub(crate) fn dtype_bytes(name: &str) -> Option<u64> {
    // `void16`, `bytes40`: their names count bits.
    for odd in ["void", "bytes", "str"] {
        if let Some(bits) = name.strip_prefix(odd) {
            return bits.parse::<u64>().ok().filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
        }
    }
    Some(match name {
        // ml_dtypes keeps each small element in a byte of its own.
        "bool" | "int8" | "uint8" | "int4" | "uint4" | "int2" | "uint2" | "float4_e2m1fn" | "float6_e2m3fn"
        | "float6_e3m2fn" | "float8_e3m4" | "float8_e4m3" | "float8_e4m3b11fnuz" | "float8_e4m3fn"
        | "float8_e4m3fnuz" | "float8_e5m2" | "float8_e5m2fnuz" | "float8_e8m0fnu" => 1,
        "int16" | "uint16" | "float16" | "bfloat16" => 2,
        "int32" | "uint32" | "float32" => 4,
        "int64" | "uint64" | "float64" | "complex64" => 8,
        "complex128" | "float128" => 16,
        _ => return None,
    })
}

/// Reads the tensors of a Flax file of `length` bytes; the problems are about `path`.
pub fn read(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let mut walk = MsgpackWalk {
        place: Positioned::new(file, length),
        path,
        name: String::new(),
        frames: Vec::new(),
        table: TensorTable::default(),
        names: MAX_NAMES,
        problems: Problems::default(),
    };
    if let Err((code, why)) = walk.run() {
        walk.problems.push(Problem::new(code, path, why));
    }
    let mut seen = HashSet::with_capacity(walk.table.tensors.len());
    for tensor in &walk.table.tensors {
        if !seen.insert(&*tensor.name) {
            let text = format!("tensor {} occurs more than once", Quote(&tensor.name));
            walk.problems.push(Problem::new(ProblemKind::TensorDuplicate, path, text).tensor(&tensor.name));
        }
    }
    (walk.table, walk.problems.into_vec())
}

type Wrong = (ProblemKind, String);

fn invalid(why: String) -> Wrong {
    (ProblemKind::HeaderInvalid, why)
}

/// A map or array whose values are being read.
struct Frame {
    /// Values, or pairs, still to come.
    left: u64,
    is_map: bool,
    /// How many values have been read.
    read: u64,
    /// The length of the name that encloses this map or array.
    outer: usize,
    /// How many tensors were read before it.
    tensors: usize,
    /// It has the key that marks the parts of one large array.
    chunked: bool,
    /// The shape that the map states, if it is one: `(dimension, length)`.
    dims: Vec<(u64, u64)>,
}

struct MsgpackWalk<'p, R> {
    place: Positioned<R>,
    path: &'p str,
    /// The name of the value that is being read.
    name: String,
    frames: Vec<Frame>,
    table: TensorTable,
    /// How many bytes further names may take.
    names: u64,
    problems: Problems,
}

impl<R: Read + Seek> MsgpackWalk<'_, R> {
    fn run(&mut self) -> Result<(), Wrong> {
        match token(&mut self.place).map_err(invalid)? {
            Token::Map(pairs) => self.open(pairs, true, 0)?,
            _ => return Err((ProblemKind::FormatUnexpected, "it is not a map of parameters, as Flax writes".into())),
        }
        while let Some(frame) = self.frames.last_mut() {
            if frame.left == 0 {
                self.close()?;
                continue;
            }
            frame.left -= 1;
            let (is_map, index) = (frame.is_map, frame.read);
            frame.read += 1;
            let outer = self.name.len();
            if is_map {
                self.key()?;
            } else {
                self.append(&index.to_string())?;
            }
            if !self.value(outer)? {
                self.name.truncate(outer);
            }
        }
        match self.place.left() {
            0 => Ok(()),
            more => Err((ProblemKind::DataGap, format!("{more} bytes follow its end, and loaders refuse that"))),
        }
    }

    fn open(&mut self, values: u64, is_map: bool, outer: usize) -> Result<(), Wrong> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(invalid(format!("maps are nested more than {MAX_DEPTH} deep")));
        }
        // Each value takes a byte at least.
        self.place.room(values.saturating_mul(1 + u64::from(is_map))).map_err(invalid)?;
        let tensors = self.table.tensors.len();
        self.frames.push(Frame { left: values, is_map, read: 0, outer, tensors, chunked: false, dims: Vec::new() });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Wrong> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        if frame.chunked {
            self.join(&frame)?;
        }
        if let Some(parent) = self.frames.last_mut()
            && self.name.get(frame.outer..).is_some_and(|key| key.trim_start_matches('/') == "shape")
        {
            parent.dims = frame.dims;
        }
        self.name.truncate(frame.outer);
        Ok(())
    }

    fn append(&mut self, part: &str) -> Result<(), Wrong> {
        if (self.name.len() + part.len()) as u64 > self.names {
            return Err(invalid(format!("its names have more than {MAX_NAMES} bytes together")));
        }
        if self.frames.len() > 1 {
            self.name.push('/');
        }
        self.name.push_str(part);
        Ok(())
    }

    /// Reads a key and appends it to the name.
    fn key(&mut self) -> Result<(), Wrong> {
        let at = self.place.at();
        match token(&mut self.place).map_err(invalid)? {
            Token::Text(length) if length <= MAX_KEY => {
                let bytes = self.place.few(length).map_err(invalid)?;
                let key = std::str::from_utf8(&bytes).map_err(|_| invalid(format!("the key at {at} is not UTF-8")))?;
                if let Some(frame) = self.frames.last_mut() {
                    frame.chunked |= key == "__msgpack_chunked_array__";
                }
                self.append(key)
            }
            Token::Text(length) => {
                Err(invalid(format!("the key at {at} has {length} bytes, and at most {MAX_KEY} are read")))
            }
            Token::Count(number) => self.append(&number.to_string()),
            _ => Err(invalid(format!("the key at {at} is not text"))),
        }
    }

    /// Reads a value; `true` if it has values of its own, so that the name is still needed.
    fn value(&mut self, outer: usize) -> Result<bool, Wrong> {
        match token(&mut self.place).map_err(invalid)? {
            Token::Count(number) => {
                if let Some(frame) = self.frames.last_mut()
                    && frame.dims.len() < MAX_DIMS
                    && let Some(index) = self.name.rsplit('/').next().and_then(|key| key.parse().ok())
                {
                    frame.dims.push((index, number));
                }
            }
            Token::True | Token::Scalar => {}
            Token::Text(length) | Token::Binary(length) => self.place.skip(length).map_err(invalid)?,
            Token::Array(values) => return self.open(values, false, outer).map(|()| true),
            Token::Map(pairs) => return self.open(pairs, true, outer).map(|()| true),
            Token::Extension(kind, length) => {
                if length > self.place.left() {
                    let text = format!(
                        "{} has {length} bytes at {}, but the file ends at {}",
                        Quote(&self.name),
                        self.place.at(),
                        self.place.end
                    );
                    return Err((ProblemKind::TensorOutOfBounds, text));
                }
                let (whole, start) = (self.place.end, self.place.at());
                self.place.end = start + length;
                match kind {
                    1 | 3 => self.array()?,
                    2 => self.complex().map_err(invalid)?,
                    _ => {
                        let text = format!("{} is of extension {kind}, which Flax does not write", Quote(&self.name));
                        self.problems.push(Problem::new(ProblemKind::DtypeUnknown, self.path, text));
                    }
                }
                if matches!(kind, 1..=3) && self.place.left() > 0 {
                    let text = format!("{} has {} bytes too many", Quote(&self.name), self.place.left());
                    self.problems.push(Problem::new(ProblemKind::HeaderInvalid, self.path, text));
                }
                self.place.to(self.place.end).map_err(invalid)?;
                self.place.end = whole;
            }
        }
        Ok(false)
    }

    /// `(real, imaginary)`.
    fn complex(&mut self) -> Result<(), String> {
        if token(&mut self.place)? != Token::Array(2) {
            return Err(format!("{} is not a complex number", Quote(&self.name)));
        }
        token(&mut self.place)?;
        token(&mut self.place).map(drop)
    }

    /// `(shape, dtype, bytes)`, and no more.
    fn array(&mut self) -> Result<(), Wrong> {
        let wrong = |what: &str, name: &str| invalid(format!("the array {} has no {what}", Quote(name)));
        if token(&mut self.place).map_err(invalid)? != Token::Array(3) {
            return Err(wrong("shape, dtype and bytes", &self.name));
        }
        let Token::Array(dims) = token(&mut self.place).map_err(invalid)? else {
            return Err(wrong("shape", &self.name));
        };
        if dims > MAX_DIMS as u64 {
            return Err(invalid(format!("the array {} has {dims} dimensions", Quote(&self.name))));
        }
        let mut shape = Vec::new();
        for _ in 0..dims {
            let Token::Count(n) = token(&mut self.place).map_err(invalid)? else {
                return Err(wrong("shape of numbers", &self.name));
            };
            shape.push(n);
        }
        let (Token::Text(length) | Token::Binary(length)) = token(&mut self.place).map_err(invalid)? else {
            return Err(wrong("dtype", &self.name));
        };
        if length > 64 {
            return Err(invalid(format!("the dtype of {} has {length} letters", Quote(&self.name))));
        }
        let dtype = String::from_utf8(self.place.few(length).map_err(invalid)?)
            .map_err(|_| invalid(format!("the dtype of {} is not UTF-8", Quote(&self.name))))?;
        let (Token::Binary(length) | Token::Text(length)) = token(&mut self.place).map_err(invalid)? else {
            return Err(wrong("bytes", &self.name));
        };
        let start = self.place.at();
        self.place.skip(length).map_err(invalid)?;
        let tensor = Tensor {
            name: self.name.as_str().into(),
            dtype: dtype.into(),
            shape: shape.into(),
            bytes: Some(start..start + length),
        };
        self.check(&tensor, length);
        self.add(tensor)
    }

    /// An array's bytes are its elements.
    fn check(&mut self, tensor: &Tensor, length: u64) {
        let name = Quote(&tensor.name);
        let Some(item) = dtype_bytes(&tensor.dtype) else {
            let text = format!("tensor {name} is of dtype {}: its size was not checked", Quote(&tensor.dtype));
            self.problems.push(Problem::new(ProblemKind::DtypeUnknown, self.path, text).tensor(&tensor.name));
            return;
        };
        let want = tensor.shape.iter().try_fold(item, |n, d| n.checked_mul(*d));
        if want != Some(length) {
            let text = format!("tensor {name} of {} {} has {length} bytes", Quote(&tensor.dtype), Shape(&tensor.shape));
            self.problems.push(Problem::new(ProblemKind::HeaderInvalid, self.path, text).tensor(&tensor.name));
        }
    }

    fn add(&mut self, tensor: Tensor) -> Result<(), Wrong> {
        if self.table.tensors.len() >= MAX_TENSORS {
            return Err(invalid(format!("it has more than {MAX_TENSORS} tensors")));
        }
        self.names = self
            .names
            .checked_sub(tensor.name.len() as u64)
            .ok_or_else(|| invalid(format!("its names have more than {MAX_NAMES} bytes together")))?;
        self.table.tensors.push(tensor);
        Ok(())
    }

    /// Puts the parts of a large array together (`_unchunk`): `{shape: {0: n, ...}, chunks: {0: part, ...}}`.
    fn join(&mut self, frame: &Frame) -> Result<(), Wrong> {
        let parts: Vec<Tensor> = self.table.tensors.drain(frame.tensors..).collect();
        let name = self.name.clone();
        let mut dims = frame.dims.clone();
        dims.sort_unstable();
        let in_order = dims.iter().zip(0..).all(|((dim, _), at)| *dim == at);
        let shape: Vec<u64> = dims.iter().map(|(_, n)| *n).collect();
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        let there = parts.iter().try_fold(0u64, |n, part| n.checked_add(part.elements()));
        let prefix = if name.is_empty() { "chunks/".to_owned() } else { format!("{name}/chunks/") };
        let numbers: HashSet<u64> =
            parts.iter().filter_map(|part| part.name.strip_prefix(&prefix)?.parse().ok()).collect();
        let numbered = numbers.len() == parts.len() && numbers.iter().all(|n| *n < parts.len() as u64);
        let one_dtype = parts.windows(2).all(|two| two[0].dtype == two[1].dtype);
        if !in_order || elements != there || !numbered || !one_dtype || parts.is_empty() {
            let text =
                format!("the {} parts of {} do not make up its shape {}", parts.len(), Quote(&name), Shape(&shape));
            self.problems.push(Problem::new(ProblemKind::HeaderInvalid, self.path, text));
        }
        let Some(first) = parts.first() else { return Ok(()) };
        self.add(Tensor { name: name.into(), dtype: first.dtype.clone(), shape: shape.into(), bytes: None })
    }
}
