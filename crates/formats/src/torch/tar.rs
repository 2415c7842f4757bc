//! `PyTorch`'s tar format from before 0.1.10 (`torch/serialization.py`, `_legacy_load`): three files
//! of a tar archive contain the storages, the tensors that view them, and the pickle that names the
//! tensors.

use std::collections::HashMap;
use std::io::{BufReader, Read as _, SeekFrom};
use std::ops::Range;

use super::headers;
use super::part::Seekable;
use super::pickle::{self, Id, Pickle};
use super::rebuild::reach;
use super::state::{self, StateDict, StateTensor, Storage};
use super::{Held, Storages, dtype};
use crate::problem::ProblemKind;
use crate::problems::{Quote, complaint};

/// The files that the format is made of.
const MEMBERS: [&str; 4] = ["sys_info", "storages", "tensors", "pickle"];
/// The most entries of the archive.
const ENTRIES: usize = 64;
/// The most storages, and the most tensors, of one file.
const LIMIT: u64 = 1 << 20;
/// Dimensions of a tensor.
const DIMENSIONS: usize = 1024;
/// Dimensions of all tensors together.
const ALL_DIMENSIONS: usize = 1 << 23;

type Wrong = (ProblemKind, String);

fn invalid(why: impl Into<String>) -> Wrong {
    (ProblemKind::PickleInvalid, why.into())
}

/// The content of such a file.
#[derive(Default)]
pub(super) struct Contents {
    pub state: StateDict,
    pub held: Storages,
}

/// Reads everything but the storages' bytes, and gives every pickle to `judge`. If there is an
/// error, `into` has the part before it.
pub(super) fn read(file: &mut dyn Seekable, into: &mut Contents, judge: &mut dyn FnMut(&Pickle)) -> Result<(), Wrong> {
    let members = members(file)?;
    let member = |name: &str| {
        members.get(name).cloned().ok_or_else(|| (ProblemKind::ArchiveInvalid, format!("it has no file {name:?}")))
    };
    // This pickle comes first, since it is the one that would run.
    let (root, _) = pickle_at(file, member("pickle")?, judge)?;
    storages(file, member("storages")?, into, judge)?;
    let known = tensors(file, member("tensors")?, into, judge)?;
    let named = state::named(&root, &known);
    into.state.tensors = named.tensors;
    into.state.problems.extend(named.problems);
    Ok(())
}

/// Finds the files' bytes.
fn members(file: &mut dyn Seekable) -> Result<HashMap<String, Range<u64>>, Wrong> {
    let length = file.seek(SeekFrom::End(0)).map_err(|e| (ProblemKind::ArchiveInvalid, complaint(&e)))?;
    let mut found = HashMap::new();
    for member in headers::members(file, length, ENTRIES).map_err(|why| (ProblemKind::ArchiveInvalid, why))? {
        let Some(name) = MEMBERS.iter().find(|name| *member.name == *name.as_bytes()) else { continue };
        if !member.is_file {
            return Err((ProblemKind::ArchiveInvalid, format!("its entry {name:?} is not a file")));
        }
        // If there are two of one name, readers differ in which they take.
        if found.insert((*name).to_owned(), member.bytes).is_some() {
            return Err((ProblemKind::ArchiveInvalid, format!("it has two files {name:?}")));
        }
    }
    Ok(found)
}

/// The pickle at the start of a range, and the rest of the range. The pickle is judged even if it has no end.
fn pickle_at(
    file: &mut dyn Seekable,
    range: Range<u64>,
    judge: &mut dyn FnMut(&Pickle),
) -> Result<(Pickle, Range<u64>), Wrong> {
    file.seek(SeekFrom::Start(range.start)).map_err(|e| invalid(complaint(&e)))?;
    let mut stream = BufReader::new(file.take(range.end.saturating_sub(range.start)));
    let (pickle, error) = pickle::follow(&mut stream);
    judge(&pickle);
    match error {
        None => {
            let next = range.start.saturating_add(pickle.length as u64);
            Ok((pickle, next..range.end))
        }
        Some(why) => Err(invalid(format!("the pickle at {} cannot be read: {why}", range.start))),
    }
}

/// Reads `size` bytes; the caller has checked that they are there and few.
fn bytes_at(file: &mut dyn Seekable, at: u64, size: u64) -> Result<Vec<u8>, Wrong> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.take(size).read_to_end(&mut bytes))
        .map_err(|e| invalid(format!("it cannot be read at {at}: {e}")))?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(invalid(format!("it ends in the {size} bytes at {at}"))) }
}

/// The next `N` bytes of a range.
fn next<const N: usize>(file: &mut dyn Seekable, range: &mut Range<u64>) -> Result<[u8; N], Wrong> {
    if range.end.saturating_sub(range.start) < N as u64 {
        return Err(invalid(format!("a number at {} is cut short", range.start)));
    }
    let bytes = bytes_at(file, range.start, N as u64)?;
    range.start += N as u64;
    bytes.try_into().map_err(|_| invalid("a number is cut short"))
}

fn count(file: &mut dyn Seekable, range: &mut Range<u64>) -> Result<u64, Wrong> {
    let n = i64::from_le_bytes(next(file, range)?);
    u64::try_from(n).map_err(|_| invalid(format!("the number before {} is negative", range.start)))
}

fn key(pickle: &Pickle, id: Id) -> Result<Box<str>, Wrong> {
    pickle
        .count(id)
        .map(|n| n.to_string().into())
        .or_else(|| pickle.text(id).filter(|t| t.len() <= 64).map(Into::into))
        .ok_or_else(|| invalid("a key is not a number"))
}

/// How many pickles follow.
fn length(file: &mut dyn Seekable, range: &mut Range<u64>, judge: &mut dyn FnMut(&Pickle)) -> Result<u64, Wrong> {
    let (pickle, rest) = pickle_at(file, range.clone(), judge)?;
    *range = rest;
    match pickle.count(pickle.root) {
        None => Err(invalid("it does not say how many there are")),
        Some(count) if count > LIMIT => {
            Err(invalid(format!("it claims {count} parts; more than {LIMIT} are not read")))
        }
        Some(count) => Ok(count),
    }
}

fn storages(
    file: &mut dyn Seekable,
    mut range: Range<u64>,
    into: &mut Contents,
    judge: &mut dyn FnMut(&Pickle),
) -> Result<(), Wrong> {
    for _ in 0..length(file, &mut range, judge)? {
        let (pickle, rest) = pickle_at(file, range, judge)?;
        range = rest;
        let Some([id, _location, class, ..]) = pickle.items(pickle.root) else {
            return Err(invalid("a storage is not described as such"));
        };
        let name = key(&pickle, *id)?;
        let class = pickle.global(*class).ok_or_else(|| invalid("a storage has no class"))?;
        let Some(item) = dtype::of_storage(&class.name).map(|d| d.bytes) else {
            return Err((
                ProblemKind::DtypeUnknown,
                format!(
                    "storage {} is of class {}, so what follows cannot be located",
                    Quote(&name),
                    Quote(&class.name)
                ),
            ));
        };
        let numel = count(file, &mut range)?;
        let size = numel.saturating_mul(item);
        let start = range.start;
        range.start = start.saturating_add(size);
        if range.start > range.end {
            let why = format!("storage {} has {size} bytes at {start}, and ends at {}", Quote(&name), range.end);
            return Err((ProblemKind::TensorOutOfBounds, why));
        }
        let storage = Storage { class: class.name.clone(), numel, bytes: Some(size) };
        into.state.storages.insert(name.clone(), storage);
        into.held.insert(name, Held { size, start: Some(start) });
    }
    // (view, root, offset, elements)
    let (pickle, _) = pickle_at(file, range, judge)?;
    for view in pickle.items(pickle.root).ok_or_else(|| invalid("its list of views is not a list"))? {
        let Some([target, root, offset, numel]) = pickle.items(*view) else {
            return Err(invalid("a view of a storage is not described as such"));
        };
        let (target, root) = (key(&pickle, *target)?, key(&pickle, *root)?);
        let counts = pickle.count(*offset).zip(pickle.count(*numel));
        let (Some((offset, numel)), Some(whole)) = (counts, into.state.storages.get(&root)) else {
            return Err(invalid(format!("view {} is of no storage", Quote(&target))));
        };
        let class = whole.class.clone();
        let item = dtype::of_storage(&class).map_or(0, |d| d.bytes);
        let (from, size) = (offset.saturating_mul(item), numel.saturating_mul(item));
        if from.saturating_add(size) > whole.bytes.unwrap_or(0) {
            let why = format!("view {} reaches beyond its storage {}", Quote(&target), Quote(&root));
            return Err((ProblemKind::TensorOutOfBounds, why));
        }
        let start = into.held.get(&root).and_then(|held| held.start).map(|start| start + from);
        into.state.storages.insert(target.clone(), Storage { class, numel, bytes: Some(size) });
        into.held.insert(target, Held { size, start });
    }
    Ok(())
}

/// Reads the tensors, by key and without names.
fn tensors(
    file: &mut dyn Seekable,
    mut range: Range<u64>,
    into: &mut Contents,
    judge: &mut dyn FnMut(&Pickle),
) -> Result<HashMap<Box<str>, StateTensor>, Wrong> {
    let mut known = HashMap::new();
    let mut dimensions = ALL_DIMENSIONS;
    for _ in 0..length(file, &mut range, judge)? {
        let (pickle, rest) = pickle_at(file, range, judge)?;
        range = rest;
        let Some([id, storage, ..]) = pickle.items(pickle.root) else {
            return Err(invalid("a tensor is not described as such"));
        };
        let (name, storage) = (key(&pickle, *id)?, key(&pickle, *storage)?);
        // Four more bytes follow, since the count once had eight.
        let [a, b, c, d, ..] = next::<8>(file, &mut range)?;
        let dims = usize::try_from(i32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if dims > DIMENSIONS {
            return Err(invalid(format!("tensor {} has {dims} dimensions", Quote(&name))));
        }
        dimensions = dimensions
            .checked_sub(dims)
            .ok_or_else(|| invalid(format!("its tensors have more than {ALL_DIMENSIONS} dimensions together")))?;
        let mut numbers = Vec::new();
        for _ in 0..=dims * 2 {
            numbers.push(count(file, &mut range)?);
        }
        let offset = numbers.pop().unwrap_or(0);
        let (shape, stride) = numbers.split_at(dims);
        let dtype = into.state.storages.get(&storage).and_then(|s| dtype::of_storage(&s.class));
        let tensor = StateTensor {
            name: Box::default(),
            dtype,
            reach: reach(offset, shape, stride, dtype),
            shape: shape.into(),
            storage: Some(storage),
        };
        known.insert(name, tensor);
    }
    Ok(known)
}
