//! Looks for pickles in every file, whatever its name or purpose: a file that begins like a pickle, or
//! like an archive or an array that may contain one, is judged. The formats' own readers read tensors.

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use hfget_formats::registry::Format;
use hfget_formats::torch;

use super::problems::found;
use super::table::reader;
use super::{Subject, SubjectFile, Unread};
use crate::finding::Finding;
use crate::model::RepoPath;
use crate::mutex::lock;

/// Checks every file that is `sound` and that the reader of torch files has not judged.
pub(super) fn all(subject: &Subject, sound: &(dyn Fn(&RepoPath) -> bool + Sync), threads: usize) -> Vec<Finding> {
    let torchs =
        |set: &&crate::model::WeightSet, path: &&RepoPath| matches!(reader(path, set.family), Some(Format::Torch));
    let judged: BTreeSet<&RepoPath> =
        subject.weights.iter().flat_map(|set| set.files.iter().filter(move |path| torchs(&set, path))).collect();
    let files: Vec<&SubjectFile> =
        subject.files.iter().filter(|file| !judged.contains(&file.path) && sound(&file.path)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let findings = scan(file, &subject.unread);
                    lock(&found).extend(findings);
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Judges the code that loading a file could run. Refused reads are noted.
pub(super) fn scan(file: &SubjectFile, unread: &Unread) -> Vec<Finding> {
    let Ok((mut open, length)) = unread.open(&file.content) else { return Vec::new() };
    // The first bytes are enough for most files.
    let mut head = Vec::new();
    if open.by_ref().take(torch::HEAD).read_to_end(&mut head).is_err() || !torch::may_run(&head, file.path.as_str()) {
        return Vec::new();
    }
    found(torch::walk(BufReader::new(open), length, file.path.as_str()))
}
