//! `PyTorch` files (`.bin`, `.pt`, `.pth`), read from untrusted bytes and never executed: the zip
//! format of `caffe2/serialize/inline_container.cc`, and what else goes by those names.

mod archive;
mod dtype;
mod globals;
mod legacy;
pub mod pickle;
mod rebuild;
mod state;
mod tar;

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use self::globals::Trust;
use self::pickle::Pickle;
use self::state::State;
use super::findings::{Findings, Quote, cut};
use super::{Tensor, TensorTable};
use crate::finding::{Code, Finding, Severity};

/// A state dict's pickle is a few hundred bytes a tensor; this is far above.
const PICKLE_LIMIT: u64 = 64 << 20;
/// Dangerous and unknown imports named in a finding.
const NAMED: usize = 10;

/// `MAGIC_NUMBER` of `torch/serialization.py`, pickled without its protocol.
const LEGACY: &[u8] = &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];

/// What a file's first bytes say it is.
fn sniff(head: &[u8]) -> Sniffed {
    let starts = |magic: &[u8]| head.starts_with(magic);
    // Behind the protocol, and from 4 on a frame.
    let first = head.strip_prefix(&[0x80]).and_then(|rest| rest.split_first()).map_or(head, |(protocol, rest)| {
        if *protocol >= 4 && rest.first() == Some(&0x95) { rest.get(9..).unwrap_or_default() } else { rest }
    });
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        Sniffed::Zip
    } else if starts(b"\x80") && first.starts_with(LEGACY) {
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

/// A record that holds a storage's bytes.
struct Held {
    size: u64,
    stored: bool,
    start: Option<u64>,
}

/// Storages by key.
type Storages = HashMap<Box<str>, Held>;

/// Reads the tensors of a file of `length` bytes. The findings are about `path`.
pub fn read(mut file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Finding>) {
    let fail = |code, message: String| (TensorTable::default(), vec![Finding::new(code, path, message)]);
    let mut head = Vec::new();
    let peeked = file.seek(SeekFrom::Start(0)).and_then(|_| file.by_ref().take(512).read_to_end(&mut head));
    if let Err(error) = peeked.and_then(|_| file.seek(SeekFrom::Start(0))) {
        return fail(Code::ArchiveInvalid, format!("it cannot be read: {error}"));
    }
    match sniff(&head) {
        Sniffed::Zip => match archive::open(file, length) {
            Ok(archive) => read_archive(&archive, path),
            Err((code, message)) => fail(code, message),
        },
        Sniffed::Legacy => read_legacy(&mut file, length, path),
        Sniffed::Pickle => read_bare(&mut file, path),
        Sniffed::Tar => read_tar(&mut file, path),
        Sniffed::Other(what) => fail(Code::FormatUnexpected, format!("it is not a PyTorch file but {what}")),
    }
}

/// Whether the file is a TorchScript archive, by its content; leaves it at its start.
pub(super) fn is_torchscript(mut file: impl Read + Seek, length: u64) -> bool {
    let archive = archive::open(&mut file, length);
    let _ = file.rewind();
    archive.is_ok_and(|a| a.is_torchscript())
}

/// Reads every record of a zip archive and compares its CRC-32; other files have no checksums of
/// their own, and pass. Time: the whole file.
pub fn deep(mut file: impl Read + Seek, length: u64, path: &str) -> Vec<Finding> {
    let mut head = [0; 4];
    if file.read_exact(&mut head).and_then(|()| file.rewind()).is_err() || head != *b"PK\x03\x04" {
        return Vec::new();
    }
    let mut findings = Findings::default();
    match archive::check_records(file, length) {
        Ok(wrong) => findings.extend(wrong.into_iter().map(|why| Finding::new(Code::ArchiveInvalid, path, why))),
        Err((code, why)) => findings.push(Finding::new(code, path, why)),
    }
    findings.into_vec()
}

fn read_archive(archive: &archive::Archive, path: &str) -> (TensorTable, Vec<Finding>) {
    let mut findings = Findings::default();
    for stray in archive.records.iter().filter(|r| archive.below(r).is_none()) {
        findings.push(Finding::new(
            Code::ArchiveInvalid,
            path,
            format!("record {} lies outside its folder {}", Quote(&stray.name), Quote(&archive.top)),
        ));
    }
    let torchscript = archive.is_torchscript();
    let table = read_records(archive, ("data", &archive.pickle), torchscript, path, &mut findings);
    if let Some(constants) = &archive.constants {
        // Tensors in the code, which are no parameters.
        read_records(archive, ("constants", constants), torchscript, path, &mut findings);
        if !archive.records.iter().any(|r| archive.below(r).is_some_and(|name| name.starts_with("code/"))) {
            let message = "it is a TorchScript archive without its code, and does not load";
            findings.push(Finding::new(Code::ArchiveInvalid, path, message));
        }
    }
    (table, findings.into_vec())
}

/// Holds what `name.pkl` describes against the records in `name/`.
fn read_records(
    archive: &archive::Archive,
    (name, bytes): (&str, &[u8]),
    torchscript: bool,
    path: &str,
    findings: &mut Findings,
) -> TensorTable {
    let pickle = match pickle::read(bytes) {
        Ok(pickle) => pickle,
        Err(error) => {
            findings.push(Finding::new(Code::PickleInvalid, path, format!("its {name}.pkl is no pickle: {error}")));
            return TensorTable::default();
        }
    };
    findings.extend(imports(&pickle, torchscript, path));
    let state = described(&pickle, path, findings);
    let mut held = Storages::new();
    for record in &archive.records {
        let below = archive.below(record).and_then(|below| below.strip_prefix(name)?.strip_prefix('/'));
        let Some(key) = below.map(Box::<str>::from) else { continue };
        if !state.storages.contains_key(&key) {
            let message = format!("the {} bytes of record {} belong to no tensor", record.size, Quote(&record.name));
            let gap = Finding::new(Code::DataGap, path, message);
            // What torch.jit has kept there over the years is not all known.
            findings.push(if torchscript { gap.severity(Severity::Warning) } else { gap });
        }
        held.insert(key, Held { size: record.size, stored: record.stored, start: record.start });
    }
    check_storages(&state, &held, path, findings);
    table(&state, &held)
}

fn read_legacy(file: &mut (impl Read + Seek), length: u64, path: &str) -> (TensorTable, Vec<Finding>) {
    let mut findings = Findings::default();
    let fail = |mut findings: Findings, message: String| {
        findings.push(Finding::new(Code::PickleInvalid, path, message));
        (TensorTable::default(), findings.into_vec())
    };
    // The magic number, the protocol, the system, the object, the storages' keys.
    let (pickles, end) = match legacy::pickles(file, 5) {
        Ok(read) => read,
        Err(cut) => {
            findings.extend(cut.before.iter().flat_map(|p| imports(p, false, path)));
            return fail(findings, format!("it is no sequence of pickles: {}", cut.why));
        }
    };
    findings.extend(pickles.iter().flat_map(|p| imports(p, false, path)));
    let [_, _, _, object, keys] = &*pickles else { return fail(findings, "it has too few pickles".into()) };
    let state = described(object, path, &mut findings);
    // `torch.save` writes it for dtypes of after the format's time.
    for (key, _) in state.storages.iter().filter(|(_, storage)| &*storage.class == "UntypedStorage") {
        let text =
            format!("storage {} is of class UntypedStorage, which torch loads from zip archives alone", Quote(key));
        findings.push(Finding::new(Code::PickleInvalid, path, text));
    }
    match legacy::storages(file, length, &state, keys, end) {
        Ok(storages) => {
            check_storages(&state, &storages, path, &mut findings);
            (table(&state, &storages), findings.into_vec())
        }
        Err(why) => {
            findings.push(Finding::new(Code::TensorOutOfBounds, path, why));
            (table(&state, &Storages::new()), findings.into_vec())
        }
    }
}

fn read_tar(file: &mut (impl Read + Seek), path: &str) -> (TensorTable, Vec<Finding>) {
    let mut findings = Findings::default();
    let mut contents = tar::Contents::default();
    // What is not on torch's list of its own is no news here: it loads nothing of this kind with it.
    findings.push(Finding::new(
        Code::NeedsFullUnpickle,
        path,
        "it is in the tar format from before PyTorch 0.1.10, which loads only with weights_only=False",
    ));
    let read = tar::read(file, &mut contents, &mut |pickle| {
        findings.extend(imports(pickle, false, path).into_iter().filter(|f| f.code == Code::UnsafePickle));
    });
    let problems = contents.state.problems.iter();
    findings.extend(problems.map(|why| Finding::new(Code::PickleInvalid, path, format!("its pickle: {why}"))));
    match read {
        Ok(()) => check_storages(&contents.state, &contents.held, path, &mut findings),
        Err((code, why)) => findings.push(Finding::new(code, path, why)),
    }
    (table(&contents.state, &contents.held), findings.into_vec())
}

/// A pickle that stands alone: what it would run is judged, what it holds is not known here.
fn read_bare(file: &mut (impl Read + Seek), path: &str) -> (TensorTable, Vec<Finding>) {
    let mut findings = Findings::default();
    match legacy::pickles(file, 1) {
        Ok((mut pickles, _)) => {
            // torch loads none of these, by whatever protocol.
            for pickle in &mut pickles {
                pickle.unrestricted = None;
            }
            findings.extend(pickles.iter().flat_map(|p| imports(p, false, path)));
            let message = "it is a bare pickle: its tensors were not checked, only its digest and its imports";
            findings.push(Finding::new(Code::FormatUnexpected, path, message).severity(Severity::Warning));
        }
        Err(cut) => {
            let message = format!("it is a bare pickle: {}", cut.why);
            findings.push(Finding::new(Code::PickleInvalid, path, message));
        }
    }
    (TensorTable::default(), findings.into_vec())
}

/// What a pickle describes, with a finding for each thing in it that makes no sense.
fn described(pickle: &Pickle, path: &str, findings: &mut Findings) -> State {
    let state = state::read(pickle);
    findings
        .extend(state.problems.iter().map(|why| Finding::new(Code::PickleInvalid, path, format!("its pickle: {why}"))));
    state
}

/// Every storage has a record of its size, and every tensor lies within its storage.
fn check_storages(state: &State, held: &Storages, path: &str, findings: &mut Findings) {
    let mut found = |code, message: String| findings.push(Finding::new(code, path, message));
    for (key, storage) in &state.storages {
        match (held.get(key), storage.bytes) {
            (None, _) => found(Code::TensorOutOfBounds, format!("storage {} has no record in the archive", Quote(key))),
            (Some(record), _) if !record.stored => found(
                Code::ArchiveInvalid,
                format!("the record of storage {} is compressed; PyTorch stores data as it is", Quote(key)),
            ),
            (Some(record), Some(bytes)) if record.size != bytes => found(
                Code::SizeMismatch,
                format!(
                    "storage {} is {} elements of {}, which is {bytes} bytes; its record has {}",
                    Quote(key),
                    storage.numel,
                    Quote(&storage.class),
                    record.size
                ),
            ),
            (Some(_), None) => found(
                Code::DtypeUnknown,
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
                found(Code::TensorOutOfBounds, format!("tensor {name} reaches to byte {end} of a storage of {bytes}"));
            }
            None => found(Code::TensorOutOfBounds, format!("the extent of tensor {name} overflows")),
        }
    }
}

fn table(state: &State, held: &Storages) -> TensorTable {
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

/// What the pickle would import, judged.
fn imports(pickle: &Pickle, torchscript: bool, path: &str) -> Vec<Finding> {
    let list = |wanted: Trust| -> Option<String> {
        // A TorchScript archive's own classes are made by its interpreter, not imported.
        let mut of = pickle.globals.iter().filter(|g| {
            !(torchscript && g.module.starts_with("__torch__")) && globals::trust(&g.module, &g.name) == wanted
        });
        let shown: Vec<String> = of
            .by_ref()
            .take(NAMED)
            .map(|g| format!("{}.{} (byte {})", cut(&g.module), cut(&g.name), g.position))
            .collect();
        let more = of.count();
        let names = shown.join(", ");
        match (shown.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(names),
            (false, more) => Some(format!("{names} and {more} more")),
        }
    };
    let mut findings = Vec::new();
    if let Some(position) = pickle.unrestricted.filter(|_| !torchscript) {
        let message = format!(
            "it loads only with weights_only=False: the instruction at byte {position} is of another pickle \
             protocol than torch's own"
        );
        findings.push(Finding::new(Code::NeedsFullUnpickle, path, message));
    }
    if let Some(names) = list(Trust::Dangerous) {
        findings.push(Finding::new(Code::UnsafePickle, path, format!("loading it would run {names}")).hint(
            "do not load it; take the safetensors family, or pass --allow-unsafe-pickle if you made it yourself",
        ));
    }
    if let Some(names) = list(Trust::NeedsFullUnpickle) {
        findings.push(Finding::new(
            Code::NeedsFullUnpickle,
            path,
            format!("it loads only with weights_only=False: it imports {names}"),
        ));
    }
    findings
}
