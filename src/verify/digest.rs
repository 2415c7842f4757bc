//! Digests of files on disk, many at once. What else a file must be is checked elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::SubjectFile;
use crate::finding::{Code, Finding, Outcome};
use crate::model::Digest;
use crate::progress::{Event, Progress};

const BUFFER: usize = 1 << 20;

/// The first bytes of a git-lfs pointer file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// The digest of `path`'s content, of the kind that `like` is. `size` is the content's length,
/// which a git blob's digest starts with.
pub fn digest_of(path: &Path, like: Digest, size: u64) -> io::Result<Digest> {
    hash(File::open(path)?, like, size, |_| {})
}

fn hash(mut file: impl Read, like: Digest, size: u64, mut seen: impl FnMut(u64)) -> io::Result<Digest> {
    let mut hasher = like.hasher(size);
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish().digest()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                seen(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Checks that every file is there with its size and digest; adds to `outcome`.
pub(super) fn check(files: &[SubjectFile], threads: usize, progress: &dyn Progress, outcome: &mut Outcome) {
    let mut to_hash: Vec<&SubjectFile> = Vec::new();
    for file in files {
        match standing(file) {
            Err(finding) => outcome.findings.push(*finding),
            Ok(()) if file.digest.is_none() => {}
            Ok(()) if file.digest_checked => outcome.digests += 1,
            Ok(()) => to_hash.push(file),
        }
    }
    if to_hash.is_empty() {
        return;
    }
    // Largest first, so that no thread is left with a giant at the end.
    to_hash.sort_by_key(|f| std::cmp::Reverse(f.size));
    progress.event(Event::VerifyStarted { files: to_hash.len(), bytes: to_hash.iter().filter_map(|f| f.size).sum() });
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(outcome);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, to_hash.len()) {
            scope.spawn(|| {
                while let Some(file) = to_hash.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (finding, bytes) = check_one(file, progress);
                    let mut outcome = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    outcome.bytes_hashed += bytes;
                    match finding {
                        Some(finding) => outcome.findings.push(finding),
                        None => outcome.digests += 1,
                    }
                }
            });
        }
    });
    progress.event(Event::VerifyDone);
}

/// Whether a file is there, is a file, and has its size.
fn standing(file: &SubjectFile) -> Result<(), Box<Finding>> {
    let fail = |code, message: String| Err(Box::new(Finding::new(code, &file.path, message)));
    let length = match file.content.size() {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return fail(Code::FileMissing, error.to_string());
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return fail(Code::FileMissing, "it is not there".into());
        }
        Err(error) => return fail(Code::FileMissing, format!("it cannot be looked at: {error}")),
    };
    let Some(size) = file.size else { return Ok(()) };
    if length == size {
        return Ok(());
    }
    if file.content.open().is_ok_and(|(mut f, _)| is_lfs_pointer(&mut f)) {
        return fail(Code::LfsPointer, format!("a git-lfs pointer lies where {size} bytes of content should be"));
    }
    fail(Code::SizeMismatch, format!("expected {size} bytes, it has {length}"))
}

/// Whether a file starts as git-lfs pointers do. Leaves the file at its start.
pub(super) fn is_lfs_pointer(file: &mut (impl Read + io::Seek)) -> bool {
    let mut head = [0; LFS_POINTER.len()];
    let read = file.read_exact(&mut head);
    file.rewind().is_ok() && read.is_ok() && head == LFS_POINTER
}

/// Hashes one file; gives what is wrong and the bytes read.
fn check_one(file: &SubjectFile, progress: &dyn Progress) -> (Option<Finding>, u64) {
    let Some(expected) = file.digest else { return (None, 0) };
    // A git blob's digest starts with its length: the file's own, when nobody says another.
    let size = file.size.or_else(|| file.content.size().ok()).unwrap_or(0);
    progress.event(Event::VerifyFile { path: &file.path, size });
    let mut read = 0;
    let outcome = file.content.open().and_then(|(open, _)| {
        hash(open, expected, size, |n| {
            read += n;
            progress.event(Event::VerifyBytes { path: &file.path, bytes: n });
        })
    });
    let finding = match outcome {
        Ok(actual) if actual == expected => None,
        Ok(actual) => {
            Some(Finding::new(Code::ChecksumMismatch, &file.path, format!("expected {expected:?}, got {actual:?}")))
        }
        Err(error) => Some(Finding::new(Code::FileMissing, &file.path, format!("it cannot be read: {error}"))),
    };
    (finding, read)
}
