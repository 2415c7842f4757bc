//! Checks large files by the Xet hash that is stated for them, each on all threads at once: SHA-256 is one chain, which one
//! thread computes. `digest` checks everything else, and what this did not prove: here nothing is ever found to be wrong.

use std::sync::atomic::{AtomicU64, Ordering};

use super::content::open_local;
use super::{Content, SubjectFile};
use crate::finding::{Evidence, Stamp};
use crate::model::{Digest, XetContent, XetMerkle};
use crate::platform::read_exact_at;
use crate::progress::{Event, Progress};

/// The fewest bytes of a file for which more threads are worth it.
pub(super) const LARGE: u64 = 64 << 20;

/// Which of the files `to_hash` are worth it: SHA-256 of the large files would leave threads without work.
pub(super) fn worth_it(files: &[SubjectFile], to_hash: &[usize], threads: usize) -> Vec<usize> {
    let large = |file: &SubjectFile| file.size.is_some_and(|size| size >= LARGE);
    let of = |at: &&usize| files.get(**at);
    if !cfg!(feature = "xet") || to_hash.iter().filter(|at| of(at).is_some_and(large)).count() >= threads {
        return Vec::new();
    }
    let provable = |file: &SubjectFile| {
        let local = matches!((&file.content, file.digest), (Content::Local(_), Some(Digest::Sha256(_))));
        large(file) && local && file.xet.is_some()
    };
    to_hash.iter().filter(|at| of(at).is_some_and(provable)).copied().collect()
}

/// Hashes one file. Returns the proof, with the stamp that the file had before the first read and after the last, and how
/// many bytes were read. No proof: the file changed, cannot be read, or has another Xet hash, and its digest decides.
pub(super) fn check(file: &SubjectFile, threads: usize, progress: &dyn Progress) -> (Option<(Evidence, Stamp)>, u64) {
    let read = AtomicU64::new(0);
    let seen = |bytes| {
        read.fetch_add(bytes, Ordering::Relaxed);
        progress.event(Event::VerifyBytes { path: &file.path, bytes });
    };
    let proof = || {
        let (Content::Local(path), Some(size)) = (&file.content, file.size) else { return None };
        let (open, _) = open_local(path).ok()?;
        progress.event(Event::VerifyFile { path: &file.path, size });
        let hash = |open: &std::fs::File| {
            let content = XetContent { size, read: &|buffer, at| read_exact_at(open, buffer, at), seen: &seen };
            XetMerkle::of(&content, threads)
        };
        let (root, stamp) = Stamp::around(&open, hash).ok()??;
        let evidence = Evidence::XetMerkle(root?);
        // A file that was longer before the first read is not this one.
        (stamp.size == size && evidence.proves(&file.expected())).then_some((evidence, stamp))
    };
    (proof(), read.load(Ordering::Relaxed))
}
