//! Checks the shards of a checkpoint against its index: every shard is there, every tensor is within
//! its shard, strings have the right layout, and, on request, every tensor's CRC-32C matches.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use crc_fast::{CrcAlgorithm, Digest};

use super::bundle::{Bundle, BundleEntry, bundle};
use super::state::CheckpointState;
use super::{dtype, sstable};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::set::{Files, file_name, folder};
use crate::{ReadSeek, problems::LISTED, problems::Problems, problems::Quote};

/// The most bytes of a `checkpoint` file: it has some lines, or thousands after a long run.
const STATE_LIMIT: u64 = 8 << 20;
/// Bytes read at once.
const BLOCK: usize = 1 << 20;

/// Checks every index of a set against its shards. `deep`: read all of them, and compare checksums.
/// `names`: the set's files.
pub fn check_set(names: &[&str], files: &dyn Files, deep: bool) -> Vec<Problem> {
    let mut problems = Problems::default();
    for &path in names {
        let Some(Ok((open, length))) = files.open(path) else { continue };
        if let Some(prefix) = path.strip_suffix(".index") {
            // A broken index has its problem already.
            if let Ok(Some(bundle)) = bundle(open, length) {
                check_bundle(&bundle, prefix, files, deep, &mut problems);
            }
        } else if file_name(path) == "checkpoint" && length <= STATE_LIMIT {
            problems.extend(check_state(path, open, files));
        }
    }
    problems.into_vec()
}

/// Checks that the files which `checkpoint` names are here.
fn check_state(path: &str, file: impl Read, files: &dyn Files) -> Option<Problem> {
    let mut bytes = Vec::new();
    file.take(STATE_LIMIT).read_to_end(&mut bytes).ok()?;
    let Some(named) = CheckpointState::parse(&bytes).latest else {
        return Some(Problem::new(ProblemKind::IndexInvalid, path, "it names no checkpoint"));
    };
    let prefix = named.rsplit('/').next().unwrap_or("");
    let here = |name: &str| files.join(folder(path), name).is_ok_and(|name| files.length(&name).is_some());
    let there = here(&format!("{prefix}.index")) || here(prefix);
    match (there, named.starts_with('/')) {
        (false, _) => {
            let text = format!("it names {}, which is not here", Quote(&named));
            Some(Problem::new(ProblemKind::FileMissing, path, text))
        }
        (true, true) => {
            let text = format!(
                "it names {}, a path of another machine: tf.train.latest_checkpoint does not find the checkpoint",
                Quote(&named)
            );
            Some(Problem::new(ProblemKind::FileMissing, path, text).severity(Severity::Warning))
        }
        (true, false) => None,
    }
}

fn check_bundle(bundle: &Bundle, prefix: &str, files: &dyn Files, deep: bool, problems: &mut Problems) {
    let mut shards: BTreeMap<u64, Vec<&BundleEntry>> = BTreeMap::new();
    for entry in bundle.entries.iter().filter(|e| e.slices.is_empty() && e.shard < bundle.shards) {
        shards.entry(entry.shard).or_default().push(entry);
    }
    let mut missing = 0;
    for (shard, mut entries) in shards {
        let name = format!("{prefix}.data-{shard:05}-of-{:05}", bundle.shards);
        let Some(opened) = files.open(&name) else {
            missing += 1;
            // Each missing shard is a file of its own, so each could have a problem, and an index may name as many
            // shards as tensors.
            if missing <= LISTED {
                let text = format!("{prefix}.index says that it has {} tensors, but it is missing", entries.len());
                problems.push(Problem::new(ProblemKind::ShardMissing, &name, text));
            }
            continue;
        };
        // A shard that is listed and cannot be read has its problem already.
        let Ok((open, length)) = opened else { continue };
        entries.sort_unstable_by_key(|e| e.offset);
        let mut shard =
            Shard { file: BufReader::with_capacity(BLOCK, open), length, path: &name, big: bundle.big_endian, deep };
        shard.check(&entries, problems);
    }
    if missing > LISTED {
        let text = format!("{} more of its shards are not there", missing - LISTED);
        problems.push(Problem::new(ProblemKind::ShardMissing, format!("{prefix}.index"), text));
    }
}

struct Shard<'p> {
    file: BufReader<Box<dyn ReadSeek>>,
    length: u64,
    path: &'p str,
    /// Whether numbers are big-endian.
    big: bool,
    deep: bool,
}

impl Shard<'_> {
    fn check(&mut self, entries: &[&BundleEntry], problems: &mut Problems) {
        let (mut last, mut read_to) = (0, 0);
        for entry in entries {
            let end = entry.offset.checked_add(entry.size);
            let Some(end) = end.filter(|end| *end <= self.length) else {
                let text = format!(
                    "tensor {} is at {} with {} bytes, but the file has {}",
                    Quote(&entry.name()),
                    entry.offset,
                    entry.size,
                    self.length
                );
                problems.push(
                    Problem::new(ProblemKind::TensorOutOfBounds, self.path, text)
                        .tensor(&entry.name())
                        .at(entry.offset),
                );
                last = u64::MAX;
                continue;
            };
            last = last.max(end);
            // A tensor that shares bytes with another has its problem already; reading shared bytes for each tensor
            // could take extremely long.
            if entry.offset < read_to {
                continue;
            }
            read_to = end;
            let read = if entry.dtype == dtype::STRING { self.strings(entry) } else { self.plain(entry) };
            match read {
                Ok(()) => {}
                Err(Fault::Unread(error)) => {
                    problems.push(Problem::new(
                        ProblemKind::FileMissing,
                        self.path,
                        format!("it cannot be read: {error}"),
                    ));
                    return;
                }
                Err(Fault::Wrong(code, why)) => {
                    let text = format!("tensor {}: {why}", Quote(&entry.name()));
                    problems.push(Problem::new(code, self.path, text).tensor(&entry.name()).at(entry.offset));
                }
            }
        }
        if last < self.length {
            let text = format!("{} bytes at its end belong to no tensor", self.length - last);
            problems.push(Problem::new(ProblemKind::DataGap, self.path, text).severity(Severity::Warning));
        }
    }

    /// Goes to a tensor's bytes, mostly forward.
    fn to(&mut self, at: u64) -> std::io::Result<()> {
        let here = self.file.stream_position()?;
        match i64::try_from(i128::from(at) - i128::from(here)) {
            Ok(by) => self.file.seek_relative(by),
            Err(_) => self.file.seek(SeekFrom::Start(at)).map(drop),
        }
    }

    /// Feeds `length` bytes from here to a checksum.
    fn feed(&mut self, digest: &mut Digest, length: u64) -> std::io::Result<()> {
        let mut left = length;
        let mut block = vec![0; usize::try_from(left).unwrap_or(BLOCK).min(BLOCK)];
        while left > 0 {
            let some = usize::try_from(left).unwrap_or(BLOCK).min(block.len());
            self.file.read_exact(&mut block[..some])?;
            digest.update(&block[..some]);
            left -= some as u64;
        }
        Ok(())
    }

    /// Checks a tensor of fixed-size elements. Its size was checked with the index.
    fn plain(&mut self, entry: &BundleEntry) -> Result<(), Fault> {
        // The checksum of a variant covers more than its bytes.
        let Some(stored) = entry.crc.filter(|_| self.deep && entry.dtype != dtype::VARIANT) else { return Ok(()) };
        self.to(entry.offset)?;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        self.feed(&mut digest, entry.size)?;
        compare(&digest, stored)
    }

    /// `[varint length]... [checksum of the lengths] [bytes]...`: `ReadStringTensor` of `tensor_bundle.cc`.
    fn strings(&mut self, entry: &BundleEntry) -> Result<(), Fault> {
        let wrong = |why: String| Fault::Wrong(ProblemKind::HeaderInvalid, why);
        let elements = entry.elements().unwrap_or(u64::MAX);
        if entry.size == 0 && elements == 0 {
            return Ok(());
        }
        self.to(entry.offset)?;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let (mut read, mut bytes) = (0u64, 0u64);
        for _ in 0..elements {
            let mut length = 0u64;
            let mut shift = 0;
            loop {
                if read >= entry.size || shift > 63 {
                    return Err(wrong("its strings' lengths are cut short".into()));
                }
                let mut byte = [0];
                self.file.read_exact(&mut byte)?;
                read += 1;
                length |= u64::from(byte[0] & 0x7f) << shift;
                shift += 7;
                if byte[0] < 0x80 {
                    break;
                }
            }
            bytes = bytes.saturating_add(length);
            // A length that fits into 32 bits counts as four bytes, as older versions wrote it.
            match (u32::try_from(length), self.big) {
                (Ok(length), false) => digest.update(&length.to_le_bytes()),
                (Ok(length), true) => digest.update(&length.to_be_bytes()),
                (Err(_), false) => digest.update(&length.to_le_bytes()),
                (Err(_), true) => digest.update(&length.to_be_bytes()),
            }
        }
        if read.saturating_add(4).saturating_add(bytes) != entry.size {
            let text = format!("its strings take {} bytes, and it has {}", read.saturating_add(bytes), entry.size);
            return Err(wrong(text));
        }
        let mut stored = [0; 4];
        self.file.read_exact(&mut stored)?;
        let lengths = if self.big { u32::from_be_bytes(stored) } else { u32::from_le_bytes(stored) };
        if sstable::masked(value(&digest)) != lengths {
            return Err(Fault::Wrong(
                ProblemKind::ChecksumMismatch,
                "the checksum of its strings' lengths differs".into(),
            ));
        }
        let Some(stored_whole) = entry.crc.filter(|_| self.deep) else { return Ok(()) };
        digest.update(&stored);
        self.feed(&mut digest, bytes)?;
        compare(&digest, stored_whole)
    }
}

enum Fault {
    Unread(std::io::Error),
    Wrong(ProblemKind, String),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::Unread(error)
    }
}

fn value(digest: &Digest) -> u32 {
    // The checksum has 32 bits, so the conversion cannot fail.
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

fn compare(digest: &Digest, stored: u32) -> Result<(), Fault> {
    let found = sstable::masked(value(digest));
    if found == stored {
        return Ok(());
    }
    let text = format!("its CRC-32C is {found:08x}, and the index says {stored:08x} (both masked)");
    Err(Fault::Wrong(ProblemKind::ChecksumMismatch, text))
}
