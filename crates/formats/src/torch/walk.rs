//! Every pickle inside a file of any name, judged: a file that begins as a zip, tar, npy or gzip file is
//! entered, and one that begins as a pickle is followed. Tensors are not read here.

use std::cell::Cell;
use std::io::{self, Read, Seek};

use super::agent;
use super::archive;
use super::directory::{self, DirectoryEntry, Method};
use super::headers;
use super::judge::{self, BUDGET, NESTED, Whose};
use super::part::{FilePart, Packing, Seekable};
use crate::problem::{Problem, ProblemKind, Severity};
use crate::problems::{Problems, Quote, complaint};

/// The most files of one tar archive.
const MEMBERS: usize = 1_000_000;
/// The most bytes of the header of a `.npy` file.
const NPY_HEADER: u64 = 1 << 20;
/// Bytes at the start of an HDF5 file, which contain its attributes.
const ATTRIBUTES: u64 = 8 << 20;
/// The most bytes of a Keras model's configuration.
const CONFIG: u64 = 64 << 20;

/// The kind of a file by its first bytes, if there may be pickles in it.
enum Kind {
    Zip,
    Tar,
    Npy,
    Gzip,
    Zlib,
    Hdf5,
    Pickle,
    /// Perhaps a pickle of an old protocol, which has no mark at its start.
    Perhaps,
    /// Compressed in a way that is not read here.
    Closed(&'static str),
    Other,
}

fn kind(head: &[u8], name: &str) -> Kind {
    let starts = |magic: &[u8]| head.starts_with(magic);
    let pickled = is_pickle_name(name);
    let closed = CLOSED.iter().find(|(magic, _)| starts(magic));
    if starts(b"PK\x03\x04") {
        Kind::Zip
    } else if headers::is_tar(head) {
        Kind::Tar
    } else if starts(b"\x93NUMPY") {
        Kind::Npy
    } else if starts(b"\x1f\x8b\x08") {
        Kind::Gzip
    } else if starts(b"\x89HDF\r\n\x1a\n") && !name.ends_with(".weights.h5") {
        Kind::Hdf5
    } else if starts(b"\x80") && head.get(1).is_some_and(|protocol| *protocol <= 5) {
        Kind::Pickle
    } else if pickled && matches!(head, [0x78, flags, ..] if (0x7800 + u16::from(*flags)).is_multiple_of(31)) {
        Kind::Zlib
    } else if let Some((_, how)) = closed.filter(|_| !is_text(name)) {
        Kind::Closed(how)
    } else if pickled && starts(b"\x5d\0") {
        // These bytes are too short to decide without a pickle's name.
        Kind::Closed("lzma")
    } else if pickled && starts(b"ZF") {
        Kind::Closed("joblib's former way")
    } else if pickled {
        Kind::Pickle
    } else if matches!(head.first(), Some(b'c' | b'(' | b']' | b'}')) {
        Kind::Perhaps
    } else {
        Kind::Other
    }
}

/// Compressed files that are not read here: joblib unpacks them by these bytes, whatever the file's name is.
const CLOSED: &[(&[u8], &str)] =
    &[(b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd")];

/// Whether a name says that text or a table of data is compressed: no loader looks for pickles there.
fn is_text(name: &str) -> bool {
    const PACKED: &[&str] = &["bz2", "xz", "lz4", "zst", "zstd", "lzma"];
    const TEXT: &[&str] = &[
        "txt", "csv", "tsv", "json", "jsonl", "ndjson", "xml", "html", "md", "sql", "log", "yaml", "yml", "parquet",
        "arrow", "warc", "vcf", "fasta", "fastq", "conllu", "arpa",
    ];
    let name = name.to_ascii_lowercase();
    let is = |known: &[&str], ending: &str| known.contains(&ending);
    match name.rsplit_once('.') {
        Some((stem, ending)) if is(PACKED, ending) => stem.rsplit_once('.').is_some_and(|(_, ending)| is(TEXT, ending)),
        Some((_, ending)) => is(TEXT, ending),
        None => false,
    }
}

/// How many first bytes decide the kind of a file.
pub const HEAD: u64 = 512;

/// Whether there may be pickles in a file that starts with these bytes.
pub fn may_run(head: &[u8], name: &str) -> bool {
    !matches!(kind(head, name), Kind::Other)
}

fn is_pickle_name(name: &str) -> bool {
    let ending = name.rsplit('/').next().and_then(|file| file.rsplit_once('.')).map_or("", |(_, ending)| ending);
    ["pkl", "pickle", "joblib"].iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// Judges every pickle in a file of `length` bytes by the name of `path`.
pub fn walk(mut file: impl Read + Seek, length: u64, path: &str) -> Vec<Problem> {
    let budget = Cell::new(BUDGET);
    let whose = Whose { torchs: false, ..Whose::file(path, &budget) };
    content(&mut FilePart::plain(&mut file, 0, length), path, whose)
}

/// Judges the same in a file inside a pickle.
pub(super) fn inner(file: &mut dyn Seekable, length: u64, whose: Whose<'_>) -> Vec<Problem> {
    let part = format!("{}in a file inside its pickle, ", whose.part);
    let whose = Whose { part: &part, depth: whose.depth + 1, torchs: false, torchscript: false, ..whose };
    content(&mut FilePart::plain(file, 0, length), "", whose)
}

/// Judges the same in a record of an archive.
pub(super) fn record(file: &mut dyn Seekable, name: &str, entry: &DirectoryEntry, whose: Whose<'_>) -> Vec<Problem> {
    match FilePart::of(file, entry) {
        Some(mut part) => within(&mut part, name, whose),
        None => Vec::new(),
    }
}

fn within(part: &mut FilePart<'_>, name: &str, whose: Whose<'_>) -> Vec<Problem> {
    if whose.depth >= NESTED {
        return vec![
            whose.problem(ProblemKind::ArchiveInvalid, "archives are nested in it deeper than this reader follows"),
        ];
    }
    let prefix = format!("{}in its file {}, ", whose.part, Quote(name));
    content(part, name, Whose { part: &prefix, depth: whose.depth + 1, ..whose })
}

fn content(part: &mut FilePart<'_>, name: &str, whose: Whose<'_>) -> Vec<Problem> {
    let Ok(head) = part.head(HEAD) else { return Vec::new() };
    let kind = kind(&head, name);
    let unpacks = !matches!(kind, Kind::Other | Kind::Closed(_)) && !part.is_plain();
    if unpacks && !whose.spend(part.size) {
        return vec![whose.problem(ProblemKind::ArchiveInvalid, "more is compressed in it than this reader unpacks")];
    }
    let judged = match kind {
        Kind::Other => return Vec::new(),
        Kind::Closed(how) => return vec![closed(how, whose)],
        Kind::Zip => opened(part, |file, length| zip(file, length, name, whose)),
        Kind::Tar => opened(part, |file, length| Ok(tar(file, length, &head, whose))),
        Kind::Npy => npy(part, whose),
        // Keras keeps the model's configuration in an attribute of the file's root, which it writes first.
        Kind::Hdf5 => part.head(ATTRIBUTES).map(|start| lambda(&start, whose).into_iter().collect()),
        Kind::Gzip => packed(part, name, Packing::Gzip, whose),
        Kind::Zlib => packed(part, name, Packing::Zlib, whose),
        Kind::Pickle | Kind::Perhaps => pickles(part, name, whose),
    };
    // A part that cannot be unpacked is a warning: other checks report a broken file.
    judged.unwrap_or_else(|error| {
        let message = format!("its content cannot be judged: {}", complaint(&error));
        vec![whose.problem(ProblemKind::ArchiveInvalid, &message).severity(Severity::Warning)]
    })
}

fn closed(how: &str, whose: Whose<'_>) -> Problem {
    whose.problem(ProblemKind::WeightsUnread, &format!("it is compressed by {how}, and nothing in it was judged"))
}

fn opened(
    part: &mut FilePart<'_>,
    with: impl FnOnce(&mut dyn Seekable, u64) -> io::Result<Vec<Problem>>,
) -> io::Result<Vec<Problem>> {
    let size = part.size;
    let mut file = part.within(0, size)?;
    with(&mut *file, size)
}

fn zip(file: &mut dyn Seekable, length: u64, name: &str, whose: Whose<'_>) -> io::Result<Vec<Problem>> {
    let entries = match directory::read(file, length, false) {
        Ok(entries) => entries,
        // Such a file is several torch files, one after another, which torch reads by their offsets.
        Err(_) if name.ends_with(".distcp") => {
            let message = "it has parts of a checkpoint that hfget does not read";
            return Ok(vec![whose.problem(ProblemKind::WeightsUnread, message)]);
        }
        Err((code, why)) => return Ok(vec![whose.problem(code, &why)]),
    };
    let mut problems = Problems::default();
    let is = |entry: &DirectoryEntry, name: &[u8]| entry.name.strip_suffix(name).is_some_and(|top| top.ends_with(b"/"));
    if entries.iter().any(|entry| is(entry, b"data.pkl")) {
        // torch's own reader finds the record in a way that differs from other readers.
        if let Err((code @ ProblemKind::ArchiveInvalid, why)) = archive::open(file, length) {
            problems.push(whose.problem(code, &why));
        }
    }
    let torchscript = entries.iter().any(|entry| is(entry, b"constants.pkl"));
    let whose = Whose { torchscript: torchscript || whose.torchscript, ..whose };
    for entry in &entries {
        let name = String::from_utf8_lossy(&entry.name);
        if &*entry.name == b"config.json" && entries.iter().any(|e| &*e.name == b"metadata.json") {
            problems.extend(keras(file, entry, whose)?);
        }
        if entry.method == Method::Other && entry.size > 0 {
            let message =
                format!("its file {} is compressed in a way that is not read here, and was not judged", Quote(&name));
            problems.push(whose.problem(ProblemKind::WeightsUnread, &message));
        }
        if &*entry.name == agent::RECORD
            && let Some(mut part) = FilePart::of(file, entry)
        {
            let text = part.head(CONFIG)?;
            problems.extend(agent::judged(&text, whose));
        }
        problems.extend(record(file, &name, entry, whose));
    }
    Ok(problems.into_vec())
}

/// Finds Lambda layers in a Keras model's configuration.
fn keras(file: &mut dyn Seekable, entry: &DirectoryEntry, whose: Whose<'_>) -> io::Result<Option<Problem>> {
    let Some(mut part) = FilePart::of(file, entry) else { return Ok(None) };
    let text = part.head(CONFIG)?;
    Ok(lambda(&text, whose))
}

fn lambda(text: &[u8], whose: Whose<'_>) -> Option<Problem> {
    has_lambda(text).then(|| whose.problem(ProblemKind::KerasLambda, LAMBDA))
}

const LAMBDA: &str =
    "it has a Lambda layer of Keras, whose code Keras runs when it loads the model with safe_mode=False";

/// Whether a JSON text names the class of a Lambda layer.
fn has_lambda(text: &[u8]) -> bool {
    const KEY: &[u8] = b"\"class_name\"";
    text.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY).any(|(at, _)| {
        let value = text.get(at + KEY.len()..).unwrap_or_default().trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\"Lambda\""))
    })
}

fn tar(file: &mut dyn Seekable, length: u64, head: &[u8], whose: Whose<'_>) -> Vec<Problem> {
    let mut problems = Problems::default();
    if head.starts_with(b"\x80") {
        let message = "it is a tar archive and begins as a pickle: readers differ in what they load";
        problems.push(whose.problem(ProblemKind::ArchiveInvalid, message));
    }
    match headers::members(file, length, MEMBERS) {
        Ok(members) => {
            for member in members.iter().filter(|member| member.is_file) {
                let name = String::from_utf8_lossy(&member.name);
                let size = member.bytes.end.saturating_sub(member.bytes.start);
                problems.extend(within(&mut FilePart::plain(file, member.bytes.start, size), &name, whose));
            }
        }
        Err(why) => problems.push(whose.problem(ProblemKind::ArchiveInvalid, &why)),
    }
    problems.into_vec()
}

/// Judges a `.npy` file: an array of objects is a pickle after the header.
fn npy(part: &mut FilePart<'_>, whose: Whose<'_>) -> io::Result<Vec<Problem>> {
    let head = part.head(12)?;
    let (start, length) = match (head.get(6), head.get(8..12)) {
        (Some(1), Some([low, high, ..])) => (10, u64::from(u16::from_le_bytes([*low, *high]))),
        (Some(2 | 3), Some([a, b, c, d])) => (12, u64::from(u32::from_le_bytes([*a, *b, *c, *d]))),
        _ => return Ok(Vec::new()),
    };
    if length > NPY_HEADER {
        let message = format!("it is an array of numpy with a header of {length} bytes");
        return Ok(vec![whose.problem(ProblemKind::HeaderInvalid, &message)]);
    }
    let mut header = Vec::new();
    part.stream()?.take(start + length).read_to_end(&mut header)?;
    // Only a dtype with objects has a capital O.
    if !header.get(10..).unwrap_or_default().contains(&b'O') {
        return Ok(Vec::new());
    }
    part.pass(start + length);
    pickles(part, "", whose)
}

fn packed(part: &mut FilePart<'_>, name: &str, packing: Packing, whose: Whose<'_>) -> io::Result<Vec<Problem>> {
    let size = part.size;
    let mut file = part.within(0, size)?;
    let mut part = FilePart::packed(&mut *file, size, packing);
    let head = part.head(HEAD)?;
    match kind(&head, name) {
        Kind::Pickle | Kind::Perhaps => pickles(&mut part, name, whose),
        Kind::Tar | Kind::Zip | Kind::Npy | Kind::Gzip => {
            let Some(size) = part.length_within(whose.budget)? else {
                let message = "it is compressed and too large for this reader, and nothing in it was judged";
                return Ok(vec![whose.problem(ProblemKind::WeightsUnread, message)]);
            };
            part.size = size;
            Ok(within(&mut part, "inside", whose))
        }
        Kind::Closed(how) => Ok(vec![closed(how, whose)]),
        _ => Ok(Vec::new()),
    }
}

/// Judges pickles one after another. Other files may begin with the same bytes, so for them only code that would run
/// is a problem.
fn pickles(part: &mut FilePart<'_>, name: &str, whose: Whose<'_>) -> io::Result<Vec<Problem>> {
    let judged = judge::part(part, whose)?;
    let mut problems = judged.problems;
    // The classes that it needs do not matter in a file without weights.
    problems.retain(|problem| problem.kind != ProblemKind::NeedsFullUnpickle);
    if let Some(error) = judged.error.filter(|_| is_pickle_name(name)) {
        let message = format!("its pickle cannot be followed to its end, and was judged only up to there: {error}");
        problems.push(whose.problem(ProblemKind::PickleInvalid, &message).severity(Severity::Warning));
    }
    Ok(problems)
}
