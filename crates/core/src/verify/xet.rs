//! Checks large files by their stated Xet hash, each on all threads at once: SHA-256 is one chain, which only one
//! thread can compute. This file only proves files, and never reports one as wrong. `digest` checks all files that are
//! not proven here.

use std::sync::atomic::{AtomicU64, Ordering};

use super::content::open_local;
use super::{Content, SubjectFile};
use crate::finding::{Evidence, Stamp};
use crate::model::{Digest, XetContent, XetMerkle};
use crate::platform::read_exact_at;
use crate::progress::{Event, Progress};

/// The fewest bytes of a file for which more threads are worth it.
pub(super) const LARGE: u64 = 64 << 20;

/// The files of `to_hash` for which this is worth it: there are so few large files that SHA-256 would leave threads
/// without work.
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
/// many bytes were read. Without a proof, the file changed, cannot be read, or has another Xet hash; then its digest
/// decides.
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
        // If the size differs before the first read, this is not the listed file.
        (stamp.size == size && evidence.proves(&file.expected())).then_some((evidence, stamp))
    };
    (proof(), read.load(Ordering::Relaxed))
}
