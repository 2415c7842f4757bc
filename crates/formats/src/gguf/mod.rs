//! GGUF, read from untrusted bytes: the whole header, and where each tensor is. The rules are
//! llama.cpp's (ggml/src/gguf.cpp) and ggml's docs/gguf.md; `split` checks the parts of a split set
//! against each other.
//!
//! Memory: names of tensors (`MAX_TENSORS`, `MAX_NAMES`) and keys (`MAX_KEYS`); of the
//! values, only those of `general.alignment` and `split.*` are kept. Time: `MAX_STRINGS` strings
//! of arrays, and less than the header otherwise.

mod dtype;
mod split;
mod wire;

use std::collections::HashSet;
use std::io::{Read, Seek};

use self::dtype::ggml_type;
pub use self::split::check_set;
use self::wire::GgufReader;
use super::positioned::Positioned;
use super::problems::{Problems, Quote, Shape};
use super::{Tensor, TensorTable};
use crate::problem::{Problem, ProblemKind, Severity};

/// Tensors of one file; a file with more is refused.
pub(crate) const MAX_TENSORS: u64 = 1 << 20;
/// Keys of one file; a file with more is refused.
pub(crate) const MAX_KEYS: u64 = 1 << 16;
/// Bytes of a key or a tensor's name: the format's own limit for keys.
pub(crate) const MAX_NAME: u64 = (1 << 16) - 1;
/// Bytes of all names and keys together.
pub(crate) const MAX_NAMES: u64 = 256 << 20;
/// Elements of an array and bytes of a string (`GGUF_MAX_ARRAY_ELEMENTS`, `GGUF_MAX_STRING_LENGTH`).
pub(crate) const MAX_LENGTH: u64 = 1 << 30;
/// Strings and arrays in the arrays of one file, which are walked one by one.
pub(crate) const MAX_STRINGS: u64 = 1 << 26;
/// Levels of arrays in arrays; llama.cpp refuses any.
const MAX_DEPTH: u32 = 4;
/// `GGML_MAX_DIMS`.
const MAX_DIMS: u32 = 4;
/// `GGML_MAX_NAME`, with the nul at its end.
const LLAMA_NAME: usize = 64;

/// Magics of the formats before GGUF, as they are in a file (`ggml`, `ggmf`, `ggjt`, `ggla` as
/// little-endian numbers). Nothing more is read of them.
pub(crate) const OLD_MAGICS: [&[u8; 4]; 4] = [b"lmgg", b"fmgg", b"tjgg", b"algg"];

/// The `split.*` keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// `split.no`: which part this is, from 0.
    pub no: Option<u64>,
    /// `split.count`: how many parts there are.
    pub count: Option<u64>,
    /// `split.tensors.count`: the tensors of all parts.
    pub tensors: Option<u64>,
}

/// Everything of a header that is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// The format's version: 1, 2 or 3.
    pub version: u32,
    /// Its numbers are big-endian.
    pub big_endian: bool,
    /// `general.alignment`, or 32.
    pub alignment: u64,
    /// Where the tensors' bytes start.
    pub data: u64,
    /// What the file says about its set.
    pub split: Split,
    /// The tensors; shapes are in the file's order, the fastest dimension first.
    pub table: TensorTable,
}

/// Reads the tensors of a GGUF file of `length` bytes; the problems are about `path`.
pub fn read(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let (header, problems) = header(file, length, path);
    (header.table, problems)
}

/// Reads the same with the rest of the header.
pub(crate) fn header(file: impl Read + Seek, length: u64, path: &str) -> (Header, Vec<Problem>) {
    let mut problems = Problems::default();
    let mut reader = GgufReader { place: Positioned::new(file, length), big: false, narrow: false };
    let header = match parse(&mut reader, path, &mut problems) {
        Ok(header) => header,
        Err(why) => {
            problems.push(Problem::new(ProblemKind::HeaderInvalid, path, why));
            Header::default()
        }
    };
    (header, problems.into_vec())
}

/// A tensor as the header describes it.
struct Info {
    name: Box<str>,
    shape: Box<[u64]>,
    kind: u32,
    offset: u64,
}

fn parse<R: Read + Seek>(reader: &mut GgufReader<R>, path: &str, problems: &mut Problems) -> Result<Header, String> {
    if &reader.place.bytes::<4>()? != b"GGUF" {
        problems.push(Problem::new(ProblemKind::FormatUnexpected, path, "it does not start as a gguf file does"));
        return Ok(Header::default());
    }
    let mut version = reader.u32()?;
    // llama.cpp uses the same rule: a version is small, so its zero half is the high one.
    if version.trailing_zeros() >= 16 && version != 0 {
        reader.big = true;
        version = version.swap_bytes();
    }
    if !(1..=3).contains(&version) {
        return Err(format!("it is of version {version}, and 1 to 3 are known"));
    }
    reader.narrow = version == 1;
    if version == 1 {
        let old = "it is of version 1, which llama.cpp no longer reads";
        problems.push(Problem::new(ProblemKind::HeaderInvalid, path, old).severity(Severity::Warning));
    }
    let (tensors, keys) = (reader.size()?, reader.size()?);
    if tensors > MAX_TENSORS || keys > MAX_KEYS {
        return Err(format!("it claims {tensors} tensors and {keys} keys, which is more than is read here"));
    }
    let mut header = Header { version, big_endian: reader.big, alignment: 32, ..Header::default() };
    let mut budget = MAX_NAMES;
    keys_of(reader, keys, &mut budget, &mut header, path, problems)?;
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(info(reader, &mut budget)?);
    }
    header.data = reader.place.at().checked_next_multiple_of(header.alignment).ok_or("its alignment is too large")?;
    check(&mut header, infos, reader.place.end, path, problems);
    Ok(header)
}

fn keys_of<R: Read + Seek>(
    reader: &mut GgufReader<R>,
    count: u64,
    budget: &mut u64,
    header: &mut Header,
    path: &str,
    problems: &mut Problems,
) -> Result<(), String> {
    let mut seen: HashSet<Box<str>> = HashSet::new();
    let mut walked = 0;
    for _ in 0..count {
        let key = reader.name("a key", budget)?;
        let quoted = Quote(&key);
        if key.is_empty() {
            return Err("a key is empty".to_owned());
        }
        let kind = reader.u32()?;
        let value = if kind == 9 {
            reader.array(0, &mut walked).map_err(|why| format!("key {quoted}: {why}"))?;
            None
        } else {
            reader.scalar(kind).map_err(|why| format!("key {quoted}: {why}"))?
        };
        match &*key {
            "general.alignment" => match value {
                Some(n) if kind == 4 && n.is_power_of_two() => header.alignment = n,
                _ => return Err("general.alignment is not a power of two of type u32".to_owned()),
            },
            "split.no" => header.split.no = value,
            "split.count" => header.split.count = value,
            "split.tensors.count" => header.split.tensors = value,
            _ => {}
        }
        if seen.contains(&key) {
            problems.push(Problem::new(ProblemKind::HeaderInvalid, path, format!("key {quoted} occurs twice")));
        }
        seen.insert(key);
    }
    Ok(())
}

fn info<R: Read + Seek>(reader: &mut GgufReader<R>, budget: &mut u64) -> Result<Info, String> {
    let name = reader.name("a tensor's name", budget)?;
    let quoted = Quote(&name);
    let dims = reader.u32()?;
    if dims > MAX_DIMS {
        return Err(format!("tensor {quoted} has {dims} dimensions, and at most {MAX_DIMS} are allowed"));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        shape.push(reader.size()?);
    }
    if shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).is_none_or(|n| i64::try_from(n).is_err()) {
        return Err(format!("tensor {quoted} of shape {} has too many elements", Shape(&shape)));
    }
    let (kind, offset) = (reader.u32()?, reader.u64()?);
    Ok(Info { name, shape: shape.into(), kind, offset })
}

/// Checks the names, sizes and places of the tensors, and fills in the table.
fn check(header: &mut Header, infos: Vec<Info>, length: u64, path: &str, problems: &mut Problems) {
    let mut found =
        |kind, tensor: &str, message: String| problems.push(Problem::new(kind, path, message).tensor(tensor));
    let mut names: HashSet<&str> = HashSet::with_capacity(infos.len());
    let mut order = Vec::with_capacity(infos.len());
    let mut ranges = Vec::with_capacity(infos.len());
    let mut long = 0;
    let mut unknown = 0;
    for info in &infos {
        let quoted = Quote(&info.name);
        if !names.insert(&info.name) {
            found(ProblemKind::TensorDuplicate, &info.name, format!("its header names tensor {quoted} twice"));
        }
        long += usize::from(info.name.len() >= LLAMA_NAME);
        if !info.offset.is_multiple_of(header.alignment) {
            found(
                ProblemKind::HeaderInvalid,
                &info.name,
                format!("tensor {quoted} is at {}, which is not a multiple of {}", info.offset, header.alignment),
            );
        }
        let start = header.data.checked_add(info.offset);
        let mut range = None;
        if let Some((dtype, block, bytes)) = ggml_type(info.kind) {
            let row = info.shape.first().copied().unwrap_or(1);
            let elements: u64 = info.shape.iter().product();
            if !row.is_multiple_of(block) {
                found(
                    ProblemKind::HeaderInvalid,
                    &info.name,
                    format!("tensor {quoted} has rows of {row} elements, and {dtype} is made of blocks of {block}"),
                );
            }
            let end = elements.div_ceil(block).checked_mul(bytes).and_then(|n| start?.checked_add(n));
            match (start, end) {
                (Some(start), Some(end)) => range = Some(start..end),
                _ => found(ProblemKind::TensorOutOfBounds, &info.name, format!("tensor {quoted} ends beyond any file")),
            }
        } else {
            unknown += 1;
        }
        if let Some(start) = start {
            order.push((start, range.as_ref().map(|r| r.end), &*info.name));
        }
        ranges.push(range);
    }
    if unknown > 0 {
        let text = format!("{unknown} tensors have a type that this version does not know");
        problems.push(Problem::new(ProblemKind::DtypeUnknown, path, text));
    }
    if long > 0 {
        let text = format!("{long} tensors have names of {LLAMA_NAME} bytes or more, which llama.cpp refuses");
        problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text).severity(Severity::Warning));
    }
    let sorted = order.is_sorted_by_key(|(start, ..)| *start);
    order.sort_unstable();
    places(header, &order, length, path, problems);
    if !sorted {
        let text = "its tensors are not in the order of its header; llama.cpp refuses that";
        problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text).severity(Severity::Warning));
    }
    header.table.tensors = infos
        .into_iter()
        .zip(ranges)
        .map(|(info, bytes)| {
            let dtype = ggml_type(info.kind).map_or_else(|| format!("type {}", info.kind).into(), |t| t.0.into());
            Tensor { name: info.name, dtype, shape: info.shape, bytes }
        })
        .collect();
}

/// Checks that each tensor starts where the padding of the one before it ends, and that all are
/// within the file. `order`: starts, ends where known, and names, sorted.
fn places(header: &Header, order: &[(u64, Option<u64>, &str)], length: u64, path: &str, problems: &mut Problems) {
    let mut found = |problem: Problem| problems.push(problem);
    // The place where the next tensor must start; `None` after a tensor whose size is not known.
    let mut next = Some(header.data);
    let mut last = header.data;
    let mut short = None;
    for (start, end, name) in order {
        let quoted = Quote(name);
        match next {
            Some(next) if *start > next => {
                let text = format!("{} bytes before tensor {quoted} belong to no tensor", start - next);
                found(Problem::new(ProblemKind::DataGap, path, text).at(next));
            }
            Some(next) if *start < next && *start < last => {
                let text = format!("tensor {quoted} starts at {start}, inside the one that ends at {last}");
                found(Problem::new(ProblemKind::DataOverlap, path, text).tensor(name).at(*start));
            }
            _ => {}
        }
        if end.unwrap_or(*start) > length {
            short = short.max(Some(end.unwrap_or(*start)));
        }
        last = last.max(end.unwrap_or(*start));
        next = end.and(last.checked_next_multiple_of(header.alignment));
    }
    if let Some(need) = short {
        let text = format!("its tensors need {need} bytes, but it has {length}: it is cut short");
        found(Problem::new(ProblemKind::TensorOutOfBounds, path, text).at(length));
    } else if let Some(next) = next.filter(|n| *n < length && !order.is_empty()) {
        let text = format!("{} bytes after the last tensor belong to no tensor", length - next);
        problems.push(Problem::new(ProblemKind::DataGap, path, text).at(next).severity(Severity::Warning));
    }
}
