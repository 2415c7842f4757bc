//! Proving that files on disk are right: digests, tensor tables read from untrusted bytes without
//! executing anything, and coverage of the index. No network; where files came from is unknown here.

mod companions;
mod content;
mod coverage;
mod digest;
mod findings;
pub mod flax;
pub mod gguf;
pub mod hdf5;
pub mod onnx;
mod place;
mod proto;
pub mod safetensors;
pub mod saved_model;
pub mod tf_checkpoint;
pub mod torch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufReader, Read, Seek};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use content::{Content, Far, ReadSeek};
pub use digest::digest_of;

use self::findings::complaint;
use crate::progress::Progress;
use crate::repo::{Digest, RepoPath};
use crate::report::{Code, Finding, Severity};
use crate::select::{Family, Purpose, WeightIndex, WeightSet};

/// Changes whenever a check is added or changed, so that remembered results are not taken for new ones.
pub const RULES_VERSION: u32 = 4;

/// What selection does not read is no index here either.
const INDEX_LIMIT: u64 = crate::select::INDEX_LIMIT;

/// A file to check.
#[derive(Debug, Clone)]
pub struct SubjectFile {
    /// Its name in the repo, for findings.
    pub path: RepoPath,
    /// Where to read it.
    pub content: Content,
    /// The size it must have; `None` when nobody says (a plain folder, offline).
    pub size: Option<u64>,
    /// The digest it must have; `None` when nobody says.
    pub digest: Option<Digest>,
    /// The digest was checked already (while streaming, or by an earlier run): do not read it all.
    pub digest_checked: bool,
    /// What it is for.
    pub purpose: Purpose,
}

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Every file.
    pub files: Vec<SubjectFile>,
    /// Which of them are weights, by scope; their paths are among `files`.
    pub weights: Vec<WeightSet>,
    /// Files of `weights` that could not be had, which somebody has said already.
    pub unavailable: BTreeSet<RepoPath>,
    /// Report `unsafe-pickle` as a warning.
    pub allow_unsafe_pickle: bool,
    /// Also read every byte that a format checksums itself.
    pub deep: bool,
}

/// What a check found, and how much it covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Sorted by path, worst first within a path.
    pub findings: Vec<Finding>,
    /// How many digests were computed or known to be right.
    pub digests: usize,
    /// Bytes hashed in this run.
    pub bytes_hashed: u64,
    /// Tensors read from headers.
    pub tensors: u64,
    /// Names in indexes that were compared with headers.
    pub indexed: u64,
    /// Elements of all tensors: the parameter count.
    pub parameters: u64,
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: Box<str>,
    /// Its dtype in the format's own spelling (`F32`, `BF16`, `torch.float16`...).
    pub dtype: Box<str>,
    /// Its shape; empty for a scalar.
    pub shape: Box<[u64]>,
    /// Its bytes in the file, where the format says.
    pub bytes: Option<Range<u64>>,
}

impl Tensor {
    /// Elements, saturating.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d))
    }
}

/// Every tensor of one weight file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorTable {
    /// In the file's order.
    pub tensors: Vec<Tensor>,
    /// `(dropped, kept)`: names that the writer left out because they share another's storage.
    pub aliases: Vec<(Box<str>, Box<str>)>,
}

/// The formats of which something is read.
enum Reader {
    Safetensors,
    Torch,
    Gguf,
    Onnx,
    Flax,
    /// An index of a checkpoint, or a checkpoint in one file.
    TfCheckpoint,
    Hdf5,
    /// A proto beside weights, which has no tensors that are listed.
    Graph(saved_model::Message),
}

/// By the name first: a pipeline in one file may be either, and indexes name what they like.
fn reader(name: &RepoPath, family: Family) -> Option<Reader> {
    let file = name.file_name().to_ascii_lowercase();
    let ending = file.rsplit('.').next();
    Some(match family {
        _ if file.ends_with(".safetensors") => Reader::Safetensors,
        _ if ending == Some("gguf") => Reader::Gguf,
        _ if ending == Some("onnx") => Reader::Onnx,
        Family::Safetensors | Family::Mistral => Reader::Safetensors,
        Family::Bin | Family::Meta | Family::Pt | Family::TorchScript | Family::DiffusersSingle => Reader::Torch,
        Family::Gguf => Reader::Gguf,
        Family::Flax => Reader::Flax,
        Family::TfCheckpoint | Family::SavedModel if ending == Some("index") => Reader::TfCheckpoint,
        Family::TfCheckpoint | Family::SavedModel if ending == Some("meta") => {
            Reader::Graph(saved_model::Message::MetaGraph)
        }
        Family::SavedModel if file == "saved_model.pb" => Reader::Graph(saved_model::Message::SavedModel),
        Family::SavedModel if matches!(&*file, "fingerprint.pb" | "keras_metadata.pb") => {
            Reader::Graph(saved_model::Message::Other)
        }
        Family::TfCheckpoint if file == "checkpoint" || file.contains(".data-") => return None,
        Family::TfCheckpoint => Reader::TfCheckpoint,
        Family::Tf if matches!(ending, Some("h5" | "hdf5")) => Reader::Hdf5,
        _ => return None,
    })
}

/// Whether [`table_of`] reads a table of a file by this name.
pub(crate) fn has_table(name: &RepoPath, family: Family) -> bool {
    reader(name, family).is_some_and(|reader| !matches!(reader, Reader::Graph(_)))
}

/// Reads the tensors of a weight file without executing anything in it; the findings are about `name`.
/// There is no table of formats that are not read here: their digests are all that is checked.
pub fn tensor_table(local: &Path, name: &RepoPath, family: Family) -> (Option<TensorTable>, Vec<Finding>) {
    content_table(&Content::Local(local.to_path_buf()), name, family)
}

fn content_table(content: &Content, name: &RepoPath, family: Family) -> (Option<TensorTable>, Vec<Finding>) {
    let fail = |code, message: String| (None, vec![Finding::new(code, name, message)]);
    let (mut file, length) = match content.open() {
        Ok(open) => open,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return fail(Code::FileMissing, error.to_string());
        }
        Err(error) => return fail(Code::FileMissing, format!("it cannot be read: {error}")),
    };
    // Its size and digest may be right: mirrors commit pointers as if they were the content.
    if digest::is_lfs_pointer(&mut file) {
        return fail(Code::LfsPointer, "it is a git-lfs pointer, and the weights are elsewhere".into());
    }
    table_of(BufReader::new(file), length, name, family)
}

/// The same for a file of `length` bytes that is read through `file`, wherever it lies.
///
/// ```
/// use hfget::{select::Family, verify::table_of};
///
/// let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// file.extend_from_slice(header);
/// file.extend_from_slice(&[0; 8]);
/// let length = file.len() as u64;
/// let name = "model.safetensors".parse()?;
/// let (table, findings) = table_of(std::io::Cursor::new(&file), length, &name, Family::Safetensors);
/// assert!(findings.is_empty());
/// assert_eq!(&*table.unwrap().tensors[0].name, "w");
///
/// // A byte less, and the last tensor is not all there.
/// let (_, findings) = table_of(std::io::Cursor::new(&file[..file.len() - 1]), length - 1, &name, Family::Safetensors);
/// assert_eq!(findings[0].code.to_string(), "tensor-out-of-bounds");
/// # Ok::<(), hfget::repo::PathError>(())
/// ```
pub fn table_of(
    mut file: impl Read + Seek,
    length: u64,
    name: &RepoPath,
    family: Family,
) -> (Option<TensorTable>, Vec<Finding>) {
    let fail = |code, message: String| (None, vec![Finding::new(code, name, message)]);
    let (table, findings) = match reader(name, family) {
        None => return (None, Vec::new()),
        Some(Reader::Safetensors) => safetensors::read(&mut file, length, name.as_str()),
        // The first checkpoints of TensorFlow were called so too.
        Some(Reader::Torch)
            if name.file_name().rsplit('.').next() == Some("ckpt")
                && tf_checkpoint::is_table(&mut file, length).unwrap_or(false) =>
        {
            tf_checkpoint::read(&mut file, length, name.as_str())
        }
        Some(Reader::Torch) => torch::read(&mut file, length, name.as_str()),
        Some(Reader::Gguf) => match starts_with(&mut file, &gguf::OLD_MAGICS) {
            Err(error) => return fail(Code::FileMissing, format!("it cannot be read: {error}")),
            Ok(true) => return (None, Vec::new()),
            Ok(false) => gguf::read(&mut file, length, name.as_str()),
        },
        Some(Reader::Flax) => flax::read(&mut file, length, name.as_str()),
        Some(Reader::TfCheckpoint) => tf_checkpoint::read(&mut file, length, name.as_str()),
        Some(Reader::Onnx) => onnx::read(&mut file, length, name.as_str()),
        Some(Reader::Graph(message)) => return (None, saved_model::read(&mut file, length, name.as_str(), message).1),
        Some(Reader::Hdf5) => hdf5::read(&mut file, length, name.as_str()),
    };
    let mut findings = findings;
    if matches!(reader(name, family), Some(Reader::Torch)) && findings.iter().all(|f| f.severity < Severity::Error) {
        findings.extend(torchscript_or_not(&mut file, length, name, family));
    }
    // A table that was not read whole, or not at all, would make every promised tensor "missing".
    let unread = |f: &Finding| match f.code {
        Code::UnsafePickle => false,
        Code::FormatUnexpected => true,
        _ => f.severity == Severity::Error,
    };
    let whole = !findings.iter().any(unread);
    (whole.then_some(table), findings)
}

/// A complaint where `torch.load` is needed and a TorchScript archive lies, or the other way round.
fn torchscript_or_not(file: impl Read + Seek, length: u64, name: &RepoPath, family: Family) -> Option<Finding> {
    let want = match family {
        Family::TorchScript => true,
        Family::Bin | Family::Meta => false,
        _ => return None,
    };
    let message = match (torch::is_torchscript(file, length), want) {
        (true, false) => "it is a TorchScript archive, which loaders of this family do not take",
        (false, true) => "it is no TorchScript archive, but weights alone",
        _ => return None,
    };
    Some(Finding::new(Code::FormatUnexpected, name, message))
}

/// Whether a file starts with one of these; leaves it at its start.
fn starts_with(file: &mut (impl Read + Seek), known: &[&[u8; 4]]) -> std::io::Result<bool> {
    let mut head = Vec::with_capacity(4);
    file.by_ref().take(4).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(known.iter().any(|magic| head == **magic))
}

/// Compares an index with its shards' tables, of which there is `None` for shards that were not read.
pub fn coverage_of(
    set: &WeightSet,
    index_path: &RepoPath,
    index: &WeightIndex,
    tables: &BTreeMap<&RepoPath, Option<&TensorTable>>,
) -> Vec<Finding> {
    let mut findings = coverage::duplicates(set, tables);
    findings.extend(coverage::check(set, index_path, index, tables).0);
    findings
}

/// Checks everything about `subject` on up to `threads` threads of its own. Blocks.
pub fn verify(subject: &Subject, threads: usize, progress: &dyn Progress) -> Outcome {
    let mut outcome = Outcome::default();
    digest::check(&subject.files, threads, progress, &mut outcome);
    // Bytes that are known to be wrong are not worth reading further.
    let bad: HashSet<String> = outcome.findings.iter().filter_map(|f| f.path.clone()).collect();
    let sound = |path: &RepoPath| !bad.contains(path.as_str());
    let local: BTreeMap<&RepoPath, &SubjectFile> = subject.files.iter().map(|f| (&f.path, f)).collect();
    for set in &subject.weights {
        check_weights(subject, set, &local, &sound, threads, &mut outcome);
    }
    let mut companions = Vec::new();
    companions::check(subject, &mut companions);
    outcome.findings.extend(companions.into_iter().filter(|f| f.path.as_ref().is_none_or(|p| !bad.contains(p))));
    if subject.allow_unsafe_pickle {
        for finding in outcome.findings.iter_mut().filter(|f| f.code == Code::UnsafePickle) {
            finding.severity = Severity::Warning;
        }
    }
    outcome.findings.sort_by(|a, b| a.path.cmp(&b.path).then(b.severity.cmp(&a.severity)));
    outcome
}

/// Whether the files of a set are one model's, in which a name stands for one tensor. An ONNX encoder
/// and its decoder may well share names, so may a pipeline's `.pth` parts, and Meta's files each hold a
/// slice of every tensor.
fn shares_names(family: Family) -> bool {
    use Family as F;
    matches!(family, F::Safetensors | F::Bin | F::Mistral | F::Gguf | F::Flax | F::Tf)
}

/// What is known of a weight file: its tensors, and on request every checksum of the format's own.
fn read_weights(
    file: &SubjectFile,
    path: &RepoPath,
    set: &WeightSet,
    deep: bool,
) -> (Option<TensorTable>, Vec<Finding>) {
    let (table, mut findings) = content_table(&file.content, path, set.family);
    let sound = findings.iter().all(|f| f.severity < Severity::Error);
    if deep && sound && matches!(reader(path, set.family), Some(Reader::Torch)) {
        match file.content.open() {
            Ok((open, length)) => findings.extend(torch::deep(BufReader::new(open), length, path.as_str())),
            Err(error) => findings.push(Finding::new(Code::FileMissing, path, format!("it cannot be read: {error}"))),
        }
    }
    (table, findings)
}

/// Reads every weight file of a set and compares them with the index.
fn check_weights(
    subject: &Subject,
    set: &WeightSet,
    local: &BTreeMap<&RepoPath, &SubjectFile>,
    sound: &dyn Fn(&RepoPath) -> bool,
    threads: usize,
    outcome: &mut Outcome,
) {
    let files: Vec<&RepoPath> = set.files.iter().filter(|p| local.contains_key(p) && sound(p)).collect();
    let next = AtomicUsize::new(0);
    let read = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let table = read_weights(local[path], path, set, subject.deep);
                    read.lock().unwrap_or_else(PoisonError::into_inner).insert(*path, table);
                }
            });
        }
    });
    let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut tables: coverage::Tables<'_> =
        set.files.iter().filter(|p| local.contains_key(p)).map(|p| (p, None)).collect();
    // Files that could not be had: their own finding says so, and nothing is said of their tensors.
    tables.extend(set.files.iter().filter(|p| subject.unavailable.contains(*p)).map(|p| (p, None)));
    let one_name_space = shares_names(set.family);
    let mut names: HashSet<&str> = HashSet::new();
    for (path, (table, findings)) in &read {
        outcome.findings.extend(findings.iter().cloned());
        let Some(table) = table else { continue };
        tables.insert(path, Some(table));
        for tensor in &table.tensors {
            outcome.tensors += 1;
            if names.insert(&tensor.name) || !one_name_space {
                outcome.parameters = outcome.parameters.saturating_add(tensor.elements());
            }
        }
    }
    match set.family {
        Family::Onnx => outcome.findings.extend(onnx::check_set(set, local, subject.deep)),
        Family::Gguf => outcome.findings.extend(gguf::check_set(set, local)),
        Family::TfCheckpoint | Family::SavedModel => {
            outcome.findings.extend(tf_checkpoint::check_set(set, local, subject.deep));
            outcome.findings.extend(saved_model::check_set(set, local));
        }
        _ => {}
    }
    if one_name_space {
        outcome.findings.extend(coverage::duplicates(set, &tables));
    }
    let Some(index_path) = set.index.as_ref().filter(|p| sound(p) && !subject.unavailable.contains(*p)) else { return };
    match read_index(index_path, local) {
        Ok(index) => {
            let (findings, compared) = coverage::check(set, index_path, &index, &tables);
            outcome.findings.extend(findings);
            outcome.indexed += compared;
        }
        Err(Some(finding)) => outcome.findings.push(*finding),
        Err(None) => {}
    }
}

/// `Err(None)`: the file is not there, which is a finding already.
fn read_index(path: &RepoPath, local: &BTreeMap<&RepoPath, &SubjectFile>) -> Result<WeightIndex, Option<Box<Finding>>> {
    let invalid = |why: String| Some(Box::new(Finding::new(Code::IndexInvalid, path, why)));
    let file =
        local.get(path).ok_or_else(|| Some(Box::new(Finding::new(Code::FileMissing, path, "it is not there"))))?;
    let mut bytes = Vec::new();
    let (open, length) = file.content.open().map_err(|_| None)?;
    if length > INDEX_LIMIT {
        return Err(invalid(format!("it is larger than {INDEX_LIMIT} bytes")));
    }
    open.take(INDEX_LIMIT).read_to_end(&mut bytes).map_err(|e| invalid(format!("it cannot be read: {e}")))?;
    WeightIndex::parse(&bytes).map_err(|e| invalid(complaint(&e)))
}

#[cfg(test)]
mod tests;
