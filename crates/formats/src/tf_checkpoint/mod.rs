//! TensorFlow checkpoints, read from untrusted bytes: the index of a tensor bundle (`X.index`), its
//! shards (`X.data-00000-of-00001`), single-file checkpoints of the format before bundles, and graphs
//! (`X.meta`). The rules are those of `tensorflow/core/util/tensor_bundle/tensor_bundle.cc`; `shards`
//! checks the content of shards against the index.
//!
//! Memory: the entries (`MAX_TENSORS`), their names (`MAX_NAMES`) and shapes (`MAX_NUMBERS`), and the memory that
//! `sstable` states.

mod bundle;
mod dtype;
mod shards;
mod sstable;
mod state;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};

use self::bundle::{Bundle, BundleEntry, bundle, slice_key};
use self::dtype::dtype;
pub use self::shards::check_set;
pub use self::state::CheckpointState;
use super::problems::{Problems, Quote, Shape};
use super::{Tensor, TensorTable};
use crate::problem::{Problem, ProblemKind, Severity};

/// Entries of one index; an index with more is refused.
pub(crate) const MAX_TENSORS: usize = 1 << 20;
/// Bytes of all names together.
pub(crate) const MAX_NAMES: u64 = 256 << 20;
/// Dimensions, slices and their extents of all tensors together.
pub(crate) const MAX_NUMBERS: u64 = 1 << 23;
/// The most shards: their names have five digits.
const MAX_SHARDS: u64 = 100_000;
/// `kTensorBundleVersion`: the newest version that an index may demand.
const VERSION: u64 = 1;

/// Whether a file has the ending of a table; goes back to the file's start.
pub(crate) fn is_table(file: &mut (impl Read + Seek), length: u64) -> std::io::Result<bool> {
    let mut tail = Vec::new();
    if length >= sstable::FOOTER {
        file.seek(SeekFrom::Start(length - 8))?;
        file.by_ref().take(8).read_to_end(&mut tail)?;
    }
    file.rewind()?;
    Ok(tail == sstable::MAGIC)
}

/// Reads the tensors of an index, or of a checkpoint in one file, of `length` bytes; the problems are
/// about `path`. A tensor's bytes are those in its shard.
pub fn read(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let mut problems = Problems::default();
    let bundle = match bundle(file, length) {
        Ok(Some(bundle)) => bundle,
        Ok(None) => {
            let text = "it does not end as a TensorFlow checkpoint's index does: it is cut short, or something else";
            return (TensorTable::default(), vec![Problem::new(ProblemKind::FormatUnexpected, path, text)]);
        }
        Err(why) => return (TensorTable::default(), vec![Problem::new(ProblemKind::HeaderInvalid, path, why)]),
    };
    judge(&bundle, path, &mut problems);
    let whole = |entry: &&BundleEntry| !entry.is_slice();
    let tensors = bundle.entries.iter().filter(whole).map(|entry| Tensor {
        name: entry.name().into(),
        dtype: entry.dtype_name().into(),
        shape: entry.shape.as_slice().into(),
        bytes: (!bundle.old && entry.slices.is_empty()).then(|| entry.offset..entry.offset.saturating_add(entry.size)),
    });
    (TensorTable { tensors: tensors.collect(), aliases: Vec::new() }, problems.into_vec())
}

/// Applies the rules that need no shard.
fn judge(bundle: &Bundle, path: &str, problems: &mut Problems) {
    let mut invalid = |why: String| problems.push(Problem::new(ProblemKind::HeaderInvalid, path, why));
    if bundle.old {
        return;
    }
    if bundle.min_consumer > VERSION {
        invalid(format!(
            "it is for readers of version {} and later, and TensorFlow's is {VERSION}",
            bundle.min_consumer
        ));
    }
    if bundle.shards == 0 || bundle.shards > MAX_SHARDS {
        invalid(format!("its header says that it has {} shards", bundle.shards));
    }
    for entry in &bundle.entries {
        if std::str::from_utf8(&entry.key).is_err() && !entry.is_slice() {
            invalid(format!("the name {} is not UTF-8", Quote(&entry.name())));
        }
        if entry.slices.is_empty() && entry.shard >= bundle.shards {
            let (name, shard) = (entry.name(), entry.shard);
            invalid(format!("it places tensor {} in shard {shard} of {}", Quote(&name), bundle.shards));
        }
    }
    let mut listed: HashMap<&[u8], &BundleEntry> = HashMap::new();
    listed.extend(bundle.entries.iter().filter(|e| e.is_slice()).map(|e| (&*e.key, e)));
    let mut used: HashSet<&[u8]> = HashSet::new();
    for entry in &bundle.entries {
        size(entry, path, problems);
        slices(entry, &listed, &mut used, path, problems);
    }
    for orphan in listed.keys().filter(|key| !used.contains(*key)) {
        let text = format!("the slice {} belongs to no tensor", Quote(&String::from_utf8_lossy(orphan)));
        problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text).severity(Severity::Warning));
    }
    layout(bundle, path, problems);
}

/// Checks that a tensor has as many bytes as its elements need.
fn size(entry: &BundleEntry, path: &str, problems: &mut Problems) {
    let name = entry.name();
    let wrong = || {
        let text = format!(
            "tensor {} of {} {} has {} bytes",
            Quote(&name),
            entry.dtype_name(),
            Shape(&entry.shape),
            entry.size
        );
        Problem::new(ProblemKind::HeaderInvalid, path, text).tensor(&name)
    };
    match dtype(entry.dtype) {
        None => {
            let text = format!("tensor {} is of dtype {}: its size was not checked", Quote(&name), entry.dtype);
            problems.push(Problem::new(ProblemKind::DtypeUnknown, path, text).tensor(&name));
        }
        Some(_) if !entry.slices.is_empty() => {
            if entry.elements().is_none() || entry.size != 0 {
                problems.push(wrong());
            }
        }
        // Strings take at least a length for each element, and a checksum of the lengths.
        Some((_, 0)) => {
            if entry.elements().is_none_or(|n| n > entry.size) {
                problems.push(wrong());
            }
        }
        Some((_, item)) => {
            if entry.elements().and_then(|n| n.checked_mul(item)) != Some(entry.size) {
                problems.push(wrong());
            }
        }
    }
}

/// Checks that every slice of a tensor is there with the tensor's dtype and the slice's own shape, and that the slices
/// together make up the tensor.
fn slices<'b>(
    entry: &BundleEntry,
    listed: &HashMap<&'b [u8], &'b BundleEntry>,
    used: &mut HashSet<&'b [u8]>,
    path: &str,
    problems: &mut Problems,
) {
    let name = entry.name();
    let mut elements = 0u64;
    for slice in &entry.slices {
        let key = slice_key(&entry.key, slice);
        let lengths = slice.iter().zip(&entry.shape).map(|((start, length), dim)| match length {
            Some(length) => start.checked_add(*length).filter(|end| end <= dim).map(|_| *length),
            None => Some(*dim),
        });
        let shape: Option<Vec<u64>> = lengths.collect();
        let Some(shape) = shape.filter(|shape| shape.len() == entry.shape.len()) else {
            let text = format!("a slice of tensor {} is not within its shape {}", Quote(&name), Shape(&entry.shape));
            problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text));
            continue;
        };
        elements = elements.saturating_add(shape.iter().fold(1u64, |n, d| n.saturating_mul(*d)));
        let part = listed.get_key_value(&*key);
        match part.map(|(_, part)| part) {
            None => {
                let text = format!("tensor {} has a slice of shape {} that is missing", Quote(&name), Shape(&shape));
                problems.push(Problem::new(ProblemKind::TensorMissing, path, text).tensor(&name));
            }
            Some(part) if part.dtype != entry.dtype || part.shape != shape => {
                let text = format!(
                    "a slice of tensor {} is {} {} and should be {} {}",
                    Quote(&name),
                    part.dtype_name(),
                    Shape(&part.shape),
                    entry.dtype_name(),
                    Shape(&shape)
                );
                problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text));
            }
            Some(_) => {}
        }
        if part.is_some_and(|(key, _)| !used.insert(key)) {
            let text = format!("tensor {} names a slice twice", Quote(&name));
            problems.push(Problem::new(ProblemKind::DataOverlap, path, text).tensor(&name));
        }
    }
    if !entry.slices.is_empty() && entry.elements() != Some(elements) {
        let text = format!(
            "the slices of tensor {} have {elements} elements together, and its shape is {}",
            Quote(&name),
            Shape(&entry.shape)
        );
        problems.push(Problem::new(ProblemKind::HeaderInvalid, path, text));
    }
}

/// Checks that no two tensors share bytes of a shard, and that no bytes are unused. The writer may pad to an alignment.
fn layout(bundle: &Bundle, path: &str, problems: &mut Problems) {
    let mut places: Vec<&BundleEntry> = bundle.entries.iter().filter(|e| e.size > 0 && e.slices.is_empty()).collect();
    places.sort_unstable_by_key(|e| (e.shard, e.offset, e.size));
    let (mut shard, mut end, mut before) = (0, 0, None::<&BundleEntry>);
    for entry in places {
        if entry.shard != shard {
            (shard, end, before) = (entry.shard, 0, None);
        }
        let name = entry.name();
        if let Some(other) = before.filter(|_| entry.offset < end) {
            let text = format!(
                "tensors {} and {} share bytes of shard {shard} at {}",
                Quote(&other.name()),
                Quote(&name),
                entry.offset
            );
            problems.push(Problem::new(ProblemKind::DataOverlap, path, text).tensor(&name));
        } else if entry.offset > end {
            let text = format!("{} bytes of shard {shard} at {end} belong to no tensor", entry.offset - end);
            problems.push(Problem::new(ProblemKind::DataGap, path, text).severity(Severity::Warning));
        }
        end = end.max(entry.offset.saturating_add(entry.size));
        before = Some(entry);
    }
}
