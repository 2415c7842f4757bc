//! `PyTorch` files (`.bin`, `.pt`, `.pth`), read from untrusted bytes and never executed: the zip
//! format of `caffe2/serialize/inline_container.cc`, and what else goes by those names.

mod dtype;
mod globals;
pub mod pickle;
mod state;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Seek, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use self::globals::Trust;
use self::pickle::Pickle;
use self::state::State;
use super::{Tensor, TensorTable};
use crate::report::{Code, Finding};

/// A state dict's pickle is a few hundred bytes a tensor; this is far above.
const PICKLE_LIMIT: u64 = 64 << 20;
/// Records of one archive.
const RECORDS_LIMIT: usize = 1_000_000;
/// Dangerous and unknown imports named in a finding.
const NAMED: usize = 10;

/// What a file's first bytes say it is.
fn sniff(head: &[u8]) -> Sniffed {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        Sniffed::Zip
    } else if starts(&[0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]) {
        Sniffed::Legacy
    } else if head.get(257..262) == Some(b"ustar") {
        Sniffed::Tar
    } else if starts(b"\x80") && head.get(1).is_some_and(|v| (2..=5).contains(v)) {
        Sniffed::Pickle
    } else {
        Sniffed::Other(if starts(b"GGUF") {
            "a GGUF file"
        } else if starts(b"lmgg") || starts(b"tjgg") || starts(b"ggml") {
            "a ggml file"
        } else if starts(b"\x89HDF\r\n\x1a\n") {
            "an HDF5 file"
        } else if starts(b"PYTORCH1") {
            "a PyTorch preview archive that no release reads"
        } else if starts(b"version https://git-lfs") {
            "a git-lfs pointer"
        } else if starts(b"\x1f\x8b") {
            "a gzip file"
        } else if starts(&[0xba, 0x16, 0x4f, 0x2f]) {
            "a fastText model"
        } else if starts(b"<") {
            "a text in XML or HTML"
        } else if starts(b"{") {
            "a JSON text"
        } else {
            "something else"
        })
    }
}

enum Sniffed {
    Zip,
    Legacy,
    Tar,
    Pickle,
    Other(&'static str),
}

/// Reads the tensors of a file of `length` bytes. The findings are about `path`.
pub fn read(mut file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Finding>) {
    let fail = |code, message: String| (TensorTable::default(), vec![Finding::new(code, path, message)]);
    let mut head = Vec::new();
    let peeked = file.seek(SeekFrom::Start(0)).and_then(|_| file.by_ref().take(512).read_to_end(&mut head));
    if let Err(error) = peeked.and_then(|_| file.seek(SeekFrom::Start(0))) {
        return fail(Code::ArchiveInvalid, format!("it cannot be read: {error}"));
    }
    match sniff(&head) {
        Sniffed::Zip => read_zip(file, length, path),
        Sniffed::Legacy => unchecked(path, "PyTorch's format from before 1.6 (a sequence of pickles)"),
        Sniffed::Tar => unchecked(path, "PyTorch's tar format from before 0.1.10"),
        Sniffed::Pickle => unchecked(path, "a bare pickle"),
        Sniffed::Other(what) => fail(Code::FormatUnexpected, format!("it is not a PyTorch file but {what}")),
    }
}

/// Formats whose tensors this version does not read: said, not passed over.
fn unchecked(path: &str, what: &str) -> (TensorTable, Vec<Finding>) {
    let message = format!("it is {what}: its tensors were not checked, only its digest");
    (
        TensorTable::default(),
        vec![Finding::new(Code::FormatUnexpected, path, message).severity(crate::report::Severity::Warning)],
    )
}

/// A record of the archive.
struct Record {
    name: Box<str>,
    size: u64,
    stored: bool,
    start: Option<u64>,
}

fn read_zip(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Finding>) {
    match open_zip(file, length) {
        Ok((records, pickle_record, pickle_bytes)) => read_records(&records, pickle_record, &pickle_bytes, path),
        Err((code, message)) => (TensorTable::default(), vec![Finding::new(code, path, message)]),
    }
}

type ZipParts = (Vec<Record>, usize, Vec<u8>);

/// Reads the directory and `data.pkl`, whose CRC-32 is checked on the way.
fn open_zip(mut file: impl Read + Seek, length: u64) -> Result<ZipParts, (Code, String)> {
    let invalid = |message: String| (Code::ArchiveInvalid, message);
    // Looked at before the directory is parsed: its memory is in proportion to the entries' count.
    if directory_entries(&mut file, length).is_some_and(|n| n > RECORDS_LIMIT as u64) {
        return Err(invalid(format!("its directory claims more than {RECORDS_LIMIT} records")));
    }
    let mut archive = ZipArchive::new(file).map_err(|e| invalid(format!("it is no whole zip archive: {e}")))?;
    if archive.len() > RECORDS_LIMIT {
        return Err(invalid(format!("it has {} records", archive.len())));
    }
    if archive.has_overlapping_entries().map_err(|e| invalid(format!("its records cannot be located: {e}")))? {
        return Err(invalid("its records overlap, or reach beyond the archive".into()));
    }
    let mut records = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let record =
            archive.by_index_raw(index).map_err(|e| invalid(format!("record {index} cannot be located: {e}")))?;
        let name = std::str::from_utf8(record.name_raw())
            .map_err(|_| invalid(format!("the name of record {index} is not UTF-8")))?;
        records.push(Record {
            name: name.into(),
            size: record.size(),
            stored: record.compression() == CompressionMethod::Stored && record.size() == record.compressed_size(),
            start: record.data_start(),
        });
    }
    // Every writer puts all records under one folder; its name is the archive's.
    let at = |name: &str| records.iter().position(|r| r.name.split_once('/').is_some_and(|(_, rest)| rest == name));
    let Some(pickle) = at("data.pkl") else {
        return Err((Code::FormatUnexpected, "it is a zip archive without data.pkl, so no PyTorch file".into()));
    };
    if records[pickle].size > PICKLE_LIMIT {
        return Err((
            Code::PickleInvalid,
            format!("its data.pkl has {} bytes; more than {PICKLE_LIMIT} are not read", records[pickle].size),
        ));
    }
    let mut bytes = Vec::new();
    let read = archive
        .by_index(pickle)
        .map_err(io::Error::from)
        .and_then(|r| r.take(PICKLE_LIMIT + 1).read_to_end(&mut bytes));
    read.map_err(|e| invalid(format!("its data.pkl cannot be read: {e}")))?;
    if bytes.len() as u64 > PICKLE_LIMIT {
        return Err((Code::PickleInvalid, format!("its data.pkl unpacks to more than {PICKLE_LIMIT} bytes")));
    }
    Ok((records, pickle, bytes))
}

/// The number of entries that the end-of-directory record claims, if there is one in the usual place.
fn directory_entries(file: &mut (impl Read + Seek), length: u64) -> Option<u64> {
    let window = length.min(65_557);
    file.seek(SeekFrom::Start(length - window)).ok()?;
    let mut tail = Vec::new();
    file.by_ref().take(window).read_to_end(&mut tail).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    let at = tail.windows(4).rposition(|w| w == b"PK\x05\x06")?;
    let short = u16::from_le_bytes(tail.get(at + 10..at + 12)?.try_into().ok()?);
    if short != u16::MAX {
        return Some(short.into());
    }
    let at = tail.windows(4).rposition(|w| w == b"PK\x06\x06")?;
    Some(u64::from_le_bytes(tail.get(at + 32..at + 40)?.try_into().ok()?))
}

fn read_records(records: &[Record], pickle_record: usize, bytes: &[u8], path: &str) -> (TensorTable, Vec<Finding>) {
    let mut findings = Vec::new();
    let pickle = match pickle::read(bytes) {
        Ok(pickle) => pickle,
        Err(error) => {
            return (
                TensorTable::default(),
                vec![Finding::new(Code::PickleInvalid, path, format!("its data.pkl is no pickle: {error}"))],
            );
        }
    };
    findings.extend(imports(&pickle, path));
    let top = records[pickle_record].name.split_once('/').map_or("", |(top, _)| top);
    let inside = |r: &'_ Record| -> Option<Box<str>> { Some(r.name.strip_prefix(top)?.strip_prefix('/')?.into()) };
    let by_name: HashMap<Box<str>, &Record> = records.iter().filter_map(|r| Some((inside(r)?, r))).collect();
    let record = |name: &str| by_name.get(name).copied();
    let torchscript = record("constants.pkl").is_some();
    if let Some(stray) = records.iter().find(|r| r.name.split_once('/').is_none_or(|(t, _)| t != top)) {
        findings.push(Finding::new(
            Code::ArchiveInvalid,
            path,
            format!("record {:?} lies outside its folder {top:?}", stray.name),
        ));
    }
    let state = state::read(&pickle);
    findings.extend(
        state.problems.iter().map(|why| Finding::new(Code::PickleInvalid, path, format!("its data.pkl: {why}"))),
    );
    // A TorchScript archive's data.pkl describes objects of its own code; its tensors' names are not in it.
    if !torchscript {
        check_storages(&state, &record, path, &mut findings);
        let named: BTreeSet<&str> = state.storages.keys().map(|k| &**k).collect();
        let unused = records.iter().filter(|r| {
            r.name.strip_prefix(top).and_then(|r| r.strip_prefix("/data/")).is_some_and(|k| !named.contains(k))
        });
        for stray in unused.take(NAMED) {
            findings.push(Finding::new(
                Code::DataGap,
                path,
                format!("the {} bytes of record {:?} belong to no tensor", stray.size, stray.name),
            ));
        }
    }
    (table(&state, &record), findings)
}

/// Every storage has a record of its size, and every tensor lies within its storage.
fn check_storages<'a>(
    state: &State,
    record: &impl Fn(&str) -> Option<&'a Record>,
    path: &str,
    findings: &mut Vec<Finding>,
) {
    let mut found = |code, message: String| findings.push(Finding::new(code, path, message));
    for (key, storage) in &state.storages {
        match (record(&format!("data/{key}")), storage.bytes) {
            (None, _) => found(Code::TensorOutOfBounds, format!("storage {key:?} has no record in the archive")),
            (Some(record), _) if !record.stored => found(
                Code::ArchiveInvalid,
                format!("record {:?} is compressed; PyTorch stores data as it is", record.name),
            ),
            (Some(record), Some(bytes)) if record.size != bytes => {
                found(
                    Code::SizeMismatch,
                    format!(
                        "storage {key:?} is {} {} elements, which is {bytes} bytes; its record has {}",
                        storage.numel, storage.class, record.size
                    ),
                );
            }
            (Some(_), None) => {
                found(Code::DtypeUnknown, format!("storage {key:?} is a {}, which is not known here", storage.class));
            }
            _ => {}
        }
    }
    for tensor in &state.tensors {
        let Some(bytes) = tensor.storage.as_ref().and_then(|k| state.storages.get(k)).and_then(|s| s.bytes) else {
            continue;
        };
        match tensor.reach {
            Some((_, end)) if end <= bytes => {}
            Some((_, end)) => found(
                Code::TensorOutOfBounds,
                format!("tensor {:?} reaches to byte {end} of a storage of {bytes}", tensor.name),
            ),
            None => found(Code::TensorOutOfBounds, format!("the extent of tensor {:?} overflows", tensor.name)),
        }
    }
}

fn table<'a>(state: &State, record: &impl Fn(&str) -> Option<&'a Record>) -> TensorTable {
    let tensors = state.tensors.iter().map(|tensor| {
        let start = tensor.storage.as_ref().and_then(|key| record(&format!("data/{key}"))?.start);
        let bytes =
            start.zip(tensor.reach).and_then(|(at, (from, to))| Some(at.checked_add(from)?..at.checked_add(to)?));
        Tensor {
            name: tensor.name.clone(),
            dtype: tensor.dtype.map_or_else(|| "unknown".into(), |d| format!("torch.{}", d.name).into()),
            shape: tensor.shape.clone(),
            bytes,
        }
    });
    TensorTable { tensors: tensors.collect(), aliases: Vec::new() }
}

/// What the pickle would import, judged.
fn imports(pickle: &Pickle, path: &str) -> Vec<Finding> {
    let of = |wanted: Trust| -> Vec<String> {
        pickle
            .globals
            .iter()
            .filter(|g| globals::trust(&g.module, &g.name) == wanted)
            .map(|g| format!("{}.{} (byte {})", g.module, g.name, g.position))
            .collect()
    };
    let list = |names: Vec<String>| {
        let more = names.len().saturating_sub(NAMED);
        let shown = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    let mut findings = Vec::new();
    let dangerous = of(Trust::Dangerous);
    if !dangerous.is_empty() {
        findings.push(
            Finding::new(Code::UnsafePickle, path, format!("loading it would run {}", list(dangerous))).hint(
                "do not load it; take the safetensors family, or pass --allow-unsafe-pickle if you made it yourself",
            ),
        );
    }
    let unknown = of(Trust::NeedsFullUnpickle);
    if !unknown.is_empty() {
        findings.push(Finding::new(
            Code::NeedsFullUnpickle,
            path,
            format!("it loads only with weights_only=False: it imports {}", list(unknown)),
        ));
    }
    findings
}
