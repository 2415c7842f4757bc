//! `PyTorch` files (`.bin`, `.pt`, `.pth`), read from untrusted bytes and never executed: the zip
//! format of `caffe2/serialize/inline_container.cc`, and the other formats that use these endings.

mod agent;
mod archive;
mod directory;
mod dtype;
mod globals;
mod headers;
mod judge;
mod legacy;
mod makers;
mod packages;
mod part;
#[doc(hidden)] // for the fuzzers
pub mod pickle;
mod rebuild;
mod state;
mod tar;
mod walk;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Seek};

use self::judge::{BUDGET, Whose, imports};
use self::part::{FilePart, Seekable};
use self::pickle::Pickle;
use self::state::StateDict;
use super::problems::{Problems, Quote, complaint};
use super::{Tensor, TensorTable};
use crate::problem::{Problem, ProblemKind, Severity};

pub use self::walk::{HEAD, may_run, walk};

/// `MAGIC_NUMBER` of `torch/serialization.py`, pickled without its protocol.
const LEGACY: &[u8] = &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/// The format that a file's first bytes suggest.
fn sniff(head: &[u8]) -> Sniffed {
    let starts = |magic: &[u8]| head.starts_with(magic);
    // The first instruction comes after the protocol and, from protocol 4 on, after a frame.
    let first = head.strip_prefix(&[0x80]).and_then(|rest| rest.split_first()).map_or(head, |(protocol, rest)| {
        if *protocol >= 4 && rest.first() == Some(&0x95) { rest.get(9..).unwrap_or_default() } else { rest }
    });
    let zip = starts(b"PK\x03\x04") || starts(b"PK\x05\x06");
    if headers::is_tar(head) {
        // torch looks for zip first, then for tar; other readers look in another order.
        if zip || starts(b"\x80") { Sniffed::Both } else { Sniffed::Tar }
    } else if zip {
        Sniffed::Zip
    } else if starts(b"\x80") && first.starts_with(LEGACY) {
        Sniffed::Legacy
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
    /// A tar archive and another format at the same time.
    Both,
    Pickle,
    Other(&'static str),
}

/// A record with a storage's bytes.
struct Held {
    size: u64,
    /// The place of the bytes in the file, if they are not packed.
    start: Option<u64>,
}

/// Storages by key.
type Storages = HashMap<Box<str>, Held>;

/// Reads the tensors of a file of `length` bytes. The problems are about `path`.
pub fn read(mut file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let budget = Cell::new(BUDGET);
    read_file(&mut file, length, Whose::file(path, &budget))
}

fn read_file(file: &mut dyn Seekable, length: u64, whose: Whose<'_>) -> (TensorTable, Vec<Problem>) {
    let fail = |code, message: &str| (TensorTable::default(), vec![whose.problem(code, message)]);
    let head = match FilePart::plain(file, 0, length).head(512) {
        Ok(head) => head,
        Err(error) => return fail(ProblemKind::ArchiveInvalid, &format!("it cannot be read: {error}")),
    };
    match sniff(&head) {
        Sniffed::Zip => match archive::open(file, length) {
            Ok(archive) => read_archive(file, &archive, whose),
            Err((code, message)) => fail(code, &message),
        },
        Sniffed::Both => fail(
            ProblemKind::ArchiveInvalid,
            "it is a tar archive and begins as a zip archive or a pickle: readers differ in what they load",
        ),
        Sniffed::Legacy => read_legacy(file, length, whose),
        Sniffed::Pickle => read_bare(file, length, whose),
        Sniffed::Tar => read_tar(file, whose),
        Sniffed::Other(what) => fail(ProblemKind::FormatUnexpected, &format!("it is not a PyTorch file but {what}")),
    }
}

/// Whether the file is a TorchScript archive, by its content; goes back to the file's start.
pub fn is_torchscript(mut file: impl Read + Seek, length: u64) -> bool {
    let archive = archive::open(&mut file, length);
    let _ = file.rewind();
    archive.is_ok_and(|a| a.is_torchscript())
}

/// Reads every record of a zip archive and compares its CRC-32; other files have no checksums of
/// their own, so they have no problem. Time: the whole file.
pub fn deep(mut file: impl Read + Seek, length: u64, path: &str) -> Vec<Problem> {
    let mut head = [0; 4];
    if file.read_exact(&mut head).and_then(|()| file.rewind()).is_err() || head != *b"PK\x03\x04" {
        return Vec::new();
    }
    let mut problems = Problems::default();
    match archive::open(&mut file, length) {
        Ok(archive) => {
            let entries = archive.records.iter().map(|record| (&*record.name, &record.entry));
            for (severity, why) in archive::check_records(&mut file, entries) {
                problems.push(Problem::new(ProblemKind::ArchiveInvalid, path, why).severity(severity));
            }
        }
        Err((code, why)) => problems.push(Problem::new(code, path, why)),
    }
    problems.into_vec()
}

fn read_archive(file: &mut dyn Seekable, archive: &archive::Archive, whose: Whose<'_>) -> (TensorTable, Vec<Problem>) {
    let mut problems = Problems::default();
    for stray in archive.records.iter().filter(|r| archive.below(r).is_none()) {
        let message = format!("record {} is outside its folder {}", Quote(&stray.name), Quote(&archive.top));
        problems.push(whose.problem(ProblemKind::ArchiveInvalid, &message));
    }
    if archive.is_package() {
        let message = "it loads only with weights_only=False: it is a package of torch.package, with code of its own";
        problems.push(whose.problem(ProblemKind::NeedsFullUnpickle, message));
        for record in &archive.records {
            problems.extend(walk::record(file, &record.name, &record.entry, whose));
        }
        return (TensorTable::default(), problems.into_vec());
    }
    let whose = Whose { torchscript: archive.is_torchscript(), ..whose };
    let table = read_records(file, archive, "data", whose, &mut problems);
    if whose.torchscript {
        // The code's own tensors, which are not parameters.
        read_records(file, archive, "constants", whose, &mut problems);
        if archive.records.iter().any(|r| archive.below(r).is_some_and(|name| name.starts_with("code/"))) {
            let message = "it has TorchScript code, which torch.jit.load runs with the model";
            problems.push(whose.problem(ProblemKind::TorchscriptCode, message));
        } else {
            let message = "it is a TorchScript archive without its code, and does not load";
            problems.push(whose.problem(ProblemKind::ArchiveInvalid, message));
        }
    }
    (table, problems.into_vec())
}

/// Judges `name.pkl` of an archive; returns the pickle if it was read to its end.
fn judged_record(
    file: &mut dyn Seekable,
    archive: &archive::Archive,
    name: &str,
    whose: Whose<'_>,
    problems: &mut Problems,
) -> Option<Pickle> {
    let name = format!("{name}.pkl");
    let record = archive.find(&name)?;
    let unread = |why: &str| whose.problem(ProblemKind::ArchiveInvalid, &format!("its {name} cannot be read: {why}"));
    let Some(mut part) = FilePart::of(file, &record.entry) else {
        problems.push(unread("it is packed in a way that PyTorch lacks"));
        return None;
    };
    let judged = match judge::part(&mut part, whose) {
        Ok(judged) => judged,
        Err(error) => {
            problems.push(unread(&complaint(&error)));
            return None;
        }
    };
    let wrong = archive::check_records(file, std::iter::once((&*record.name, &record.entry)));
    let broken = wrong.iter().any(|(severity, _)| *severity == Severity::Error);
    problems.extend(judged.problems);
    problems.extend(
        wrong.into_iter().map(|(severity, why)| whose.problem(ProblemKind::ArchiveInvalid, &why).severity(severity)),
    );
    match judged.error {
        _ if broken => None,
        Some(error) => {
            problems.push(whose.problem(ProblemKind::PickleInvalid, &format!("its {name} is not a pickle: {error}")));
            None
        }
        None => Some(judged.first),
    }
}

/// Checks the tensors that `name.pkl` describes against the records in `name/`.
fn read_records(
    file: &mut dyn Seekable,
    archive: &archive::Archive,
    name: &str,
    whose: Whose<'_>,
    problems: &mut Problems,
) -> TensorTable {
    let Some(pickle) = judged_record(file, archive, name, whose, problems) else { return TensorTable::default() };
    let state = described(&pickle, whose, problems);
    let mut held = Storages::new();
    for record in &archive.records {
        let below = archive.below(record).and_then(|below| below.strip_prefix(name)?.strip_prefix('/'));
        let Some(key) = below.map(Box::<str>::from) else { continue };
        if !state.storages.contains_key(&key) {
            let message =
                format!("the {} bytes of record {} belong to no tensor", record.entry.size, Quote(&record.name));
            let gap = whose.problem(ProblemKind::DataGap, &message);
            // A warning only for TorchScript: torch.jit has used this folder for other records over the years, and not
            // all are known.
            problems.push(if whose.torchscript { gap.severity(Severity::Warning) } else { gap });
        }
        held.insert(key, Held { size: record.entry.size, start: record.plain() });
    }
    check_storages(&state, &held, whose, problems);
    table(&state, &held)
}

fn read_legacy(file: &mut dyn Seekable, length: u64, whose: Whose<'_>) -> (TensorTable, Vec<Problem>) {
    let mut problems = Problems::default();
    let fail = |mut problems: Problems, message: String| {
        problems.push(whose.problem(ProblemKind::PickleInvalid, &message));
        (TensorTable::default(), problems.into_vec())
    };
    // The magic number, the protocol, the system, the object, the storages' keys.
    let legacy::Pickles { read: pickles, error, end } = match legacy::pickles(file, 5) {
        Ok(read) => read,
        Err(error) => return fail(problems, format!("it cannot be read: {}", complaint(&error))),
    };
    problems.extend(pickles.iter().flat_map(|p| imports(p, whose)));
    if let Some(why) = error {
        return fail(problems, format!("it is not a sequence of pickles: {why}"));
    }
    let [_, _, _, object, keys] = &*pickles else { return fail(problems, "it has too few pickles".into()) };
    let state = described(object, whose, &mut problems);
    // `torch.save` writes `UntypedStorage` for dtypes that are younger than the format.
    for (key, _) in state.storages.iter().filter(|(_, storage)| &*storage.class == "UntypedStorage") {
        let text =
            format!("storage {} is of class UntypedStorage, which torch loads only from zip archives", Quote(key));
        problems.push(whose.problem(ProblemKind::PickleInvalid, &text));
    }
    match legacy::storages(file, length, &state, keys, end) {
        Ok(storages) => {
            check_storages(&state, &storages, whose, &mut problems);
            (table(&state, &storages), problems.into_vec())
        }
        Err(why) => {
            problems.push(whose.problem(ProblemKind::TensorOutOfBounds, &why));
            (table(&state, &Storages::new()), problems.into_vec())
        }
    }
}

fn read_tar(file: &mut dyn Seekable, whose: Whose<'_>) -> (TensorTable, Vec<Problem>) {
    let mut problems = Problems::default();
    let mut contents = tar::Contents::default();
    // Names outside torch's allowlist need no problem here: torch never loads this format with `weights_only=True`.
    problems.push(whose.problem(
        ProblemKind::NeedsFullUnpickle,
        "it is in the tar format from before PyTorch 0.1.10, which loads only with weights_only=False",
    ));
    let read = tar::read(file, &mut contents, &mut |pickle| {
        problems.extend(imports(pickle, whose).into_iter().filter(|f| f.kind == ProblemKind::UnsafePickle));
    });
    let unclear = contents.state.problems.iter();
    problems.extend(unclear.map(|why| whose.problem(ProblemKind::PickleInvalid, &format!("its pickle: {why}"))));
    match read {
        Ok(()) => check_storages(&contents.state, &contents.held, whose, &mut problems),
        Err((code, why)) => problems.push(whose.problem(code, &why)),
    }
    (table(&contents.state, &contents.held), problems.into_vec())
}

/// A pickle outside an archive: its calls are judged; the meaning of its objects is not known here.
fn read_bare(file: &mut dyn Seekable, length: u64, whose: Whose<'_>) -> (TensorTable, Vec<Problem>) {
    let mut problems = Problems::default();
    // torch loads no such pickle, whatever its protocol is.
    match judge::file(file, 0, length, Whose { torchs: false, ..whose }) {
        Ok(judged) => {
            problems.extend(judged.problems);
            match judged.error {
                None => {
                    let message = "it is a bare pickle: its tensors were not checked, only its digest and its imports";
                    problems.push(whose.problem(ProblemKind::FormatUnexpected, message).severity(Severity::Warning));
                }
                Some(why) => {
                    problems.push(whose.problem(ProblemKind::PickleInvalid, &format!("it is a bare pickle: {why}")));
                }
            }
        }
        Err(error) => {
            problems
                .push(whose.problem(ProblemKind::PickleInvalid, &format!("it cannot be read: {}", complaint(&error))));
        }
    }
    (TensorTable::default(), problems.into_vec())
}

/// The tensors that a pickle describes, with a problem for each invalid description.
fn described(pickle: &Pickle, whose: Whose<'_>, problems: &mut Problems) -> StateDict {
    let state = state::read(pickle);
    problems.extend(
        state.problems.iter().map(|why| whose.problem(ProblemKind::PickleInvalid, &format!("its pickle: {why}"))),
    );
    state
}

/// Checks that every storage has a record of its size, and that every tensor is within its storage.
fn check_storages(state: &StateDict, held: &Storages, whose: Whose<'_>, problems: &mut Problems) {
    let mut found = |code, message: String| problems.push(whose.problem(code, &message));
    for (key, storage) in &state.storages {
        match (held.get(key), storage.bytes) {
            (None, _) => {
                found(ProblemKind::TensorOutOfBounds, format!("storage {} has no record in the archive", Quote(key)));
            }
            (Some(record), Some(bytes)) if record.size != bytes => found(
                ProblemKind::SizeMismatch,
                format!(
                    "storage {} is {} elements of {}, which is {bytes} bytes; its record has {}",
                    Quote(key),
                    storage.numel,
                    Quote(&storage.class),
                    record.size
                ),
            ),
            (Some(_), None) => found(
                ProblemKind::DtypeUnknown,
                format!("storage {} is of class {}, which is not known here", Quote(key), Quote(&storage.class)),
            ),
            _ => {}
        }
    }
    for tensor in state.tensors.iter().chain(&state.parts) {
        let Some(bytes) = tensor.storage.as_ref().and_then(|k| state.storages.get(k)).and_then(|s| s.bytes) else {
            continue;
        };
        let name = Quote(&tensor.name);
        match tensor.reach {
            Some((_, end)) if end <= bytes => {}
            Some((_, end)) => {
                let text = format!("tensor {name} reaches to byte {end} of a storage of {bytes}");
                problems.push(whose.problem(ProblemKind::TensorOutOfBounds, &text).tensor(&tensor.name));
            }
            None => {
                let text = format!("the extent of tensor {name} overflows");
                problems.push(whose.problem(ProblemKind::TensorOutOfBounds, &text).tensor(&tensor.name));
            }
        }
    }
}

fn table(state: &StateDict, held: &Storages) -> TensorTable {
    let tensors = state.tensors.iter().map(|tensor| {
        let start = tensor.storage.as_ref().and_then(|key| held.get(key)?.start);
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
