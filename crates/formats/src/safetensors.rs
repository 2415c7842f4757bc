//! The safetensors header, read from untrusted bytes. The rules are the format's own
//! (safetensors/src/tensor.rs and the README's "Format"); coverage of an index is checked elsewhere.

use std::collections::HashSet;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::problems::{Problems, Quote, Shape, complaint, cut};
use super::{Tensor, TensorTable};
use crate::problem::{Problem, ProblemKind};

/// `MAX_HEADER_SIZE` of the reference implementation.
pub(crate) const MAX_HEADER: u64 = 100_000_000;

/// Dimensions of a tensor: the format has no limit, and all its loaders have a lower one.
const MAX_DIMS: usize = 1024;
/// Pairs of `__metadata__` that are looked through for tensors which share their data; a writer notes a few dozen.
const MAX_PAIRS: usize = 1 << 16;

/// Bits of an element of `dtype`, or `None` if this version does not know the dtype.
pub(crate) fn dtype_bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "C64" | "F64" | "I64" | "U64" => 64,
        _ => return None,
    })
}

#[derive(Deserialize)]
struct Info {
    dtype: Box<str>,
    #[serde(deserialize_with = "shape")]
    shape: Box<[u64]>,
    data_offsets: (u64, u64),
}

/// A list of numbers; no memory is taken for more numbers than are allowed.
fn shape<'de, D: Deserializer<'de>>(d: D) -> Result<Box<[u64]>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Box<[u64]>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of dimensions")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Box<[u64]>, A::Error> {
            let mut shape = Vec::new();
            while let Some(dimension) = list.next_element()? {
                if shape.len() == MAX_DIMS {
                    return Err(A::Error::custom(format!("a tensor has more than {MAX_DIMS} dimensions")));
                }
                shape.push(dimension);
            }
            Ok(shape.into())
        }
    }
    d.deserialize_seq(Dimensions)
}

#[derive(Default)]
struct Header {
    /// Until [`check`] is done, their `bytes` count from the end of the header, and an end may be before its start. The
    /// list becomes the file's table without a copy, because a file may have hundreds of thousands of tensors.
    tensors: Vec<Tensor>,
    metadata: Vec<(Box<str>, Box<str>)>,
    has_metadata: bool,
}

/// A `null` or a map of strings.
struct Metadata(Vec<(Box<str>, Box<str>)>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings to strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() < MAX_PAIRS {
                        pairs.push(pair);
                    }
                }
                Ok(Metadata(pairs))
            }
            fn visit_unit<E>(self) -> Result<Metadata, E> {
                Ok(Metadata(Vec::new()))
            }
        }
        d.deserialize_any(Pairs)
    }
}

struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = Header;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Header, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = Header;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensors")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<Box<str>>()? {
            if &*name == "__metadata__" {
                if header.has_metadata {
                    return Err(A::Error::custom("__metadata__ occurs twice"));
                }
                header.has_metadata = true;
                header.metadata = map.next_value::<Metadata>()?.0;
            } else {
                let Info { dtype, shape, data_offsets: (start, end) } = map.next_value()?;
                header.tensors.push(Tensor { name, dtype, shape, bytes: Some(start..end) });
            }
        }
        Ok(header)
    }
}

/// Reads the header of a file of `length` bytes and checks it against the format and the length.
/// The problems are about `path`; the table is empty if the header cannot be parsed.
pub fn read(mut file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let fail = |code, message: String| (TensorTable::default(), vec![Problem::new(code, path, message)]);
    let invalid = |message: String| fail(ProblemKind::HeaderInvalid, message);
    let mut prefix = [0; 8];
    if length < 8 {
        return invalid(format!("the file has {length} bytes, too few for a safetensors header"));
    }
    if let Err(error) = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_exact(&mut prefix)) {
        return invalid(format!("it cannot be read: {error}"));
    }
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER {
        return invalid(format!("its header claims {header_length} bytes; the format allows {MAX_HEADER}"));
    }
    if header_length > length - 8 {
        return invalid(format!(
            "its header claims {header_length} bytes, and only {} follow: the file is cut short",
            length - 8
        ));
    }
    // Not more than the file has, and than the format allows.
    let mut text = Vec::new();
    if usize::try_from(header_length).ok().and_then(|length| text.try_reserve_exact(length).ok()).is_none() {
        return invalid(format!("there is no memory for its header, which claims {header_length} bytes"));
    }
    match file.take(header_length).read_to_end(&mut text) {
        Ok(n) if n as u64 == header_length => {}
        Ok(n) => return invalid(format!("its header ends after {n} of {header_length} bytes")),
        Err(error) => return invalid(format!("its header cannot be read: {error}")),
    }
    let header = parse(&text);
    // A header may have 100 MB, and so may the values that are made from it.
    drop(text);
    match header {
        Ok(header) => check(header, length - 8 - header_length, 8 + header_length, path),
        Err(why) => invalid(format!("its header cannot be parsed: {why}")),
    }
}

fn parse(text: &[u8]) -> Result<Header, String> {
    let text = std::str::from_utf8(text).map_err(|e| format!("not UTF-8 after {} bytes", e.valid_up_to()))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let header = HeaderSeed.deserialize(&mut json).map_err(|e| complaint(&e))?;
    json.end().map_err(|e| complaint(&e))?;
    Ok(header)
}

/// Bytes of a tensor by its shape, or why they cannot be counted.
fn tensor_bytes(info: &Tensor) -> Result<Option<u64>, String> {
    let Some(bits) = dtype_bits(&info.dtype) else { return Ok(None) };
    let elements = info.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).and_then(|n| n.checked_mul(bits));
    match elements {
        None => Err(format!("shape {} of {} overflows", Shape(&info.shape), info.dtype)),
        Some(bits) if !bits.is_multiple_of(8) => {
            Err(format!("shape {} of {} is not a whole number of bytes", Shape(&info.shape), info.dtype))
        }
        Some(bits) => Ok(Some(bits / 8)),
    }
}

/// The start and the end that the header states.
fn offsets(tensor: &Tensor) -> (u64, u64) {
    tensor.bytes.as_ref().map_or((0, 0), |range| (range.start, range.end))
}

/// Checks names, sizes and contiguity over `data` bytes that start at file offset `base`.
fn check(mut header: Header, data: u64, base: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let mut problems = Problems::default();
    let found = |kind, message: String| Problem::new(kind, path, message);
    let mut names: HashSet<&str> = HashSet::with_capacity(header.tensors.len());
    let mut unknown: Vec<&str> = Vec::new();
    for tensor in &header.tensors {
        let name = &*tensor.name;
        let quoted = Quote(name);
        if !names.insert(name) {
            let text = format!("its header names tensor {quoted} twice");
            problems.push(found(ProblemKind::TensorDuplicate, text).tensor(name));
        }
        let (start, end) = offsets(tensor);
        if end < start {
            let text = format!("tensor {quoted} ends at {end}, before its start at {start}");
            problems.push(found(ProblemKind::TensorOutOfBounds, text).tensor(name));
            continue;
        }
        match tensor_bytes(tensor) {
            Ok(Some(bytes)) if bytes != end - start => {
                let (dtype, shape, has) = (&tensor.dtype, Shape(&tensor.shape), end - start);
                let text = format!("tensor {quoted} is {dtype} {shape}, which is {bytes} bytes, but has {has}");
                let at = base.saturating_add(start);
                problems.push(found(ProblemKind::HeaderInvalid, text).tensor(name).at(at));
            }
            Ok(Some(_)) => {}
            Ok(None) => unknown.push(&tensor.dtype),
            Err(why) => {
                problems.push(found(ProblemKind::HeaderInvalid, format!("tensor {quoted}: {why}")).tensor(name));
            }
        }
    }
    if !unknown.is_empty() {
        let count = unknown.len();
        unknown.sort_unstable();
        unknown.dedup();
        let some: Vec<&str> = unknown.iter().take(10).map(|d| cut(d)).collect();
        let text = format!("{count} tensors have a dtype that this version does not know: {}", some.join(", "));
        problems.push(found(ProblemKind::DtypeUnknown, text));
    }
    let mut order: Vec<((u64, u64), &str)> =
        header.tensors.iter().map(|tensor| (offsets(tensor), &*tensor.name)).collect();
    order.sort_unstable();
    let mut at = 0;
    for ((start, end), name) in order {
        let quoted = Quote(name);
        match start.cmp(&at) {
            std::cmp::Ordering::Greater => {
                let text = format!("{} bytes before tensor {quoted} belong to no tensor", start - at);
                problems.push(found(ProblemKind::DataGap, text).at(base.saturating_add(at)));
            }
            std::cmp::Ordering::Less => {
                let text = format!("tensor {quoted} starts at {start}, inside the one that ends at {at}");
                let place = base.saturating_add(start);
                problems.push(found(ProblemKind::DataOverlap, text).tensor(name).at(place));
            }
            std::cmp::Ordering::Equal => {}
        }
        at = at.max(end);
    }
    match at.cmp(&data) {
        std::cmp::Ordering::Greater => {
            let text = format!("its tensors need {at} bytes, but the file has {data}: it is cut short");
            problems.push(found(ProblemKind::TensorOutOfBounds, text).at(base.saturating_add(data)));
        }
        std::cmp::Ordering::Less => {
            let text = format!("{} bytes after the last tensor belong to no tensor", data - at);
            problems.push(found(ProblemKind::DataGap, text).at(base.saturating_add(at)));
        }
        std::cmp::Ordering::Equal => {}
    }
    // A converter that drops shared tensors notes them as {dropped: kept} (safetensors/bindings/python/convert.py).
    let aliases = header
        .metadata
        .iter()
        .filter(|(dropped, kept)| names.contains(&**kept) && !names.contains(&**dropped))
        .cloned()
        .collect();
    drop(names);
    for tensor in &mut header.tensors {
        let (start, end) = offsets(tensor);
        tensor.bytes = base.checked_add(start).zip(base.checked_add(end)).filter(|(s, e)| s <= e).map(|(s, e)| s..e);
    }
    (TensorTable { tensors: header.tensors, aliases }, problems.into_vec())
}
