//! Verifies files: digests, tensor tables read from untrusted bytes without executing anything, and
//! coverage of the index. It uses no network, and does not know where files come from.

mod compact_table;
mod companions;
mod content;
mod coverage;
mod digest;
mod files;
mod names;
mod problems;
mod scan;
mod table;
mod two;
mod xet;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufReader, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use compact_table::CompactTable;
#[doc(hidden)] // of `Subject`
pub use content::Unread;
pub use content::{Content, Far};
pub(crate) use digest::recheck;
pub use hfget_formats::ReadSeek;
pub(crate) use hfget_formats::TensorTable;
pub(crate) use names::Names;

pub(crate) use table::{has_table, table_by_bytes, table_of};

use self::files::Here;
use self::problems::found;
use self::table::{content_table, reader};
use crate::finding::{Code, Evidence, Expectation, Finding, Origin, Outcome, Severity};
use crate::model::{Digest, Family, Purpose, RepoPath, WeightIndex, WeightSet, XetHash};
use crate::mutex::lock;
use crate::progress::Progress;
use hfget_formats::registry::Format;
use hfget_formats::{complaint, gguf, onnx, saved_model, tf_checkpoint, torch};

/// Changes whenever a check is added or changed, so that recorded outcomes of old checks do not count.
pub(crate) const RULES_VERSION: u32 = 7;

/// The same limit as in selection: a larger index is not read there either.
const INDEX_LIMIT: u64 = crate::model::INDEX_LIMIT;

/// A file to check.
#[derive(Debug, Clone)]
pub struct SubjectFile {
    /// Its name in the repo, for findings.
    pub path: RepoPath,
    /// Where its bytes are.
    pub content: Content,
    /// The size that it must have; `None` if nobody states it (a plain folder, offline).
    pub size: Option<u64>,
    /// The digest that it must have; `None` if nobody states it.
    pub digest: Option<Digest>,
    /// The Xet hash that it must have. A large file may be proven by it, and its digest is not computed then. `None` if
    /// nobody states it, or if the digest is needed.
    pub xet: Option<XetHash>,
    /// Who states them.
    pub origin: Origin,
    /// The evidence so far. If it proves the file, the file is not read again.
    pub known: Evidence,
    /// Its purpose.
    pub purpose: Purpose,
}

impl SubjectFile {
    /// The size and digest that it must have.
    pub(crate) fn expected(&self) -> Expectation {
        Expectation { size: self.size, digest: self.digest, origin: self.origin, xet: self.xet }
    }
}

/// The files to check, and how.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Every file.
    pub files: Vec<SubjectFile>,
    /// The sets of weights, by scope; their paths are among `files`.
    pub weights: Vec<WeightSet>,
    /// Files of `weights` that could not be fetched, and have their findings already.
    pub unavailable: BTreeSet<RepoPath>,
    /// Report `unsafe-pickle` as a warning instead of an error.
    pub allow_unsafe_pickle: bool,
    /// Also check the checksums that the formats themselves have, which reads every byte.
    pub deep: bool,
    /// The first read of the content checks that the disk refused.
    #[doc(hidden)] // for sessions
    pub unread: Unread,
}

/// Compares the tables of a set's files with one another, and with its index if it has one; `None` for a file that was
/// not read. `names` has the names of the tables.
pub(crate) fn coverage_of(
    set: &WeightSet,
    index: Option<(&RepoPath, &WeightIndex)>,
    names: &Names,
    tables: &BTreeMap<&RepoPath, Option<&CompactTable>>,
) -> Vec<Finding> {
    let mut problems = coverage::duplicates(set, names, tables);
    if let Some((path, index)) = index {
        problems.extend(coverage::check(set, path, index, names, tables).0);
    }
    found(problems)
}

/// Checks everything about `subject` on up to `threads` threads of its own. Blocks.
pub fn verify(subject: &Subject, threads: usize, progress: &dyn Progress) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.proofs = digest::check(&subject.files, threads, progress, &mut outcome);
    // The content of files with wrong bytes need not be checked.
    let bad: HashSet<String> = outcome.findings.iter().filter_map(|f| f.path.clone()).collect();
    let sound = |path: &RepoPath| !bad.contains(path.as_str());
    let local: BTreeMap<&RepoPath, &SubjectFile> = subject.files.iter().map(|f| (&f.path, f)).collect();
    for set in &subject.weights {
        check_weights(subject, set, &local, &sound, threads, &mut outcome);
    }
    outcome.findings.extend(scan::all(subject, &sound, threads));
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

/// Whether all files of a set belong to one model, in which a name means one tensor. An ONNX encoder
/// and its decoder may share names, and so may a pipeline's `.pth` parts; each of Meta's files has a
/// slice of every tensor.
fn shares_names(family: Family) -> bool {
    use Family as F;
    matches!(family, F::Safetensors | F::Bin | F::Mistral | F::Gguf | F::Flax | F::Tf)
}

/// Reads a weight file: its tensors and, on request, every checksum of the format's own.
fn read_weights(
    file: &SubjectFile,
    path: &RepoPath,
    set: &WeightSet,
    subject: &Subject,
) -> (Option<TensorTable>, Vec<Finding>) {
    let (table, mut findings) = content_table(&file.content, path, set.family, &subject.unread);
    let sound = findings.iter().all(|f| f.severity < Severity::Error);
    if subject.deep && sound && matches!(reader(path, set.family), Some(Format::Torch)) {
        match subject.unread.open(&file.content) {
            Ok((open, length)) => findings.extend(found(torch::deep(BufReader::new(open), length, path.as_str()))),
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
    let index_path = set.index.as_ref().filter(|p| sound(p) && !subject.unavailable.contains(*p));
    // The index that selection parsed had the digest of the file that was hashed here.
    let index = index_path.map(|path| match set.parsed.get() {
        Some(index) => Ok(Arc::clone(index)),
        None => read_index(path, local, &subject.unread).map(Arc::new),
    });
    // The index is read before the shards: a shard's table keeps only the names that the index does not have.
    let names = Mutex::new(Names::of(index.as_ref().and_then(|index| index.as_ref().ok().cloned())));
    let files: Vec<&RepoPath> = set.files.iter().filter(|p| local.contains_key(p) && sound(p)).collect();
    let next = AtomicUsize::new(0);
    let read = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (table, findings) = read_weights(local[path], path, set, subject);
                    // Keep only the compact table: full tables of a million tensors would take too much memory at once.
                    let mut names = lock(&names);
                    let compact = table.map(|table| CompactTable::new(table, &mut names));
                    drop(names);
                    lock(&read).insert(*path, (compact, findings));
                }
            });
        }
    });
    let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
    let names = names.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut tables: coverage::Tables<'_> =
        set.files.iter().filter(|p| local.contains_key(p)).map(|p| (p, None)).collect();
    // Files that could not be fetched have their own findings, so their tensors get none.
    tables.extend(set.files.iter().filter(|p| subject.unavailable.contains(*p)).map(|p| (p, None)));
    let one_name_space = shares_names(set.family);
    let mut counted = vec![false; names.len()];
    for (path, (table, findings)) in &read {
        outcome.findings.extend(findings.iter().cloned());
        let Some(table) = table else { continue };
        outcome.weights_read += 1;
        tables.insert(path, Some(table));
        for (number, elements) in table.tensors() {
            outcome.tensors += 1;
            if !one_name_space || !std::mem::replace(&mut counted[number], true) {
                outcome.parameters = outcome.parameters.saturating_add(elements);
            }
        }
    }
    drop(counted);
    let (paths, here): (Vec<&str>, _) =
        (set.files.iter().map(RepoPath::as_str).collect(), Here::new(local, &subject.unread));
    outcome.findings.extend(found(match set.family {
        Family::Onnx => onnx::check_set(&paths, &here, subject.deep),
        Family::Gguf => gguf::check_set(&paths, &here),
        Family::TfCheckpoint | Family::SavedModel => {
            let mut problems = tf_checkpoint::check_set(&paths, &here, subject.deep);
            problems.extend(saved_model::check_set(&paths, &here));
            problems
        }
        _ => Vec::new(),
    }));
    if one_name_space {
        outcome.findings.extend(found(coverage::duplicates(set, &names, &tables)));
    }
    match index_path.zip(index) {
        Some((path, Ok(index))) => {
            let (findings, compared) = coverage::check(set, path, &index, &names, &tables);
            outcome.findings.extend(found(findings));
            outcome.indexed += compared;
        }
        Some((_, Err(Some(finding)))) => outcome.findings.push(*finding),
        Some((_, Err(None))) | None => {}
    }
}

/// `Err(None)`: the file is missing, and has its finding already, or it is noted that it cannot be read.
fn read_index(
    path: &RepoPath,
    local: &BTreeMap<&RepoPath, &SubjectFile>,
    unread: &Unread,
) -> Result<WeightIndex, Option<Box<Finding>>> {
    let invalid = |why: String| Some(Box::new(Finding::new(Code::IndexInvalid, path, why)));
    let file = local.get(path).ok_or_else(|| Some(Box::new(Finding::new(Code::FileMissing, path, "it is missing"))))?;
    let mut bytes = Vec::new();
    let (open, length) = unread.open(&file.content).map_err(|_| None)?;
    if length > INDEX_LIMIT {
        return Err(invalid(format!("it is larger than {INDEX_LIMIT} bytes")));
    }
    open.take(INDEX_LIMIT).read_to_end(&mut bytes).map_err(|e| invalid(format!("it cannot be read: {e}")))?;
    WeightIndex::parse(&bytes).map_err(|e| invalid(complaint(&e)))
}

#[cfg(test)]
mod tests;
