//! Checks the digests of files, many at once. Other modules check the content.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::content::open_local;
use super::{Content, SubjectFile, two, xet};
use crate::finding::{Code, Evidence, Finding, Outcome, Proof, Stamp};
use crate::model::{Digest, Hashed};
use crate::mutex::lock;
use crate::platform::look_through;
use crate::progress::{Event, Progress};

/// The first bytes of a git-lfs pointer file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";

/// How often to read a file that changes meanwhile.
const TRIES: usize = 2;

/// Hashes a whole file. For a file on disk, also returns the stamp that its descriptor had before the first byte and
/// after the last: a file that is renamed over the name meanwhile has another stamp.
fn read_whole(
    content: &Content,
    like: Digest,
    size: u64,
    seen: &mut dyn FnMut(u64),
) -> io::Result<(Hashed, Option<Stamp>)> {
    let Content::Local(path) = content else {
        let (open, _) = content.open()?;
        return Ok((like.read(open, size, seen)?, None));
    };
    for _ in 0..TRIES {
        let (file, _) = open_local(path)?;
        if let Some((hashed, stamp)) = Stamp::around(&file, |file| like.read(file, size, seen))? {
            return Ok((hashed, Some(stamp)));
        }
    }
    Err(io::Error::other("it changes while it is read"))
}

/// Looks at every file, and hashes those that are not proven yet. Returns the proofs, in the order of the files;
/// adds findings to `outcome`.
pub(super) fn check(
    files: &[SubjectFile],
    threads: usize,
    progress: &dyn Progress,
    outcome: &mut Outcome,
) -> Vec<Proof> {
    let mut proofs: Vec<Proof> = Vec::with_capacity(files.len());
    let mut to_hash: Vec<usize> = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let mut proof = Proof::unread(file.path.clone(), file.expected());
        match standing(file) {
            Err((evidence, finding)) => {
                proof.evidence = evidence;
                outcome.findings.push(*finding);
            }
            Ok(()) if file.digest.is_none() => {}
            Ok(()) if file.known.proves(&proof.expected) => proof.evidence = file.known,
            Ok(()) => to_hash.push(at),
        }
        proofs.push(proof);
    }
    if to_hash.is_empty() {
        return proofs;
    }
    // The largest come first, so that no thread has a huge file left at the end.
    to_hash.sort_by_key(|at| std::cmp::Reverse(files[*at].size));
    let bytes = to_hash.iter().filter_map(|at| files[*at].size).fold(0, u64::saturating_add);
    progress.event(Event::VerifyStarted { files: to_hash.len(), bytes });
    for at in xet::worth_it(files, &to_hash, threads) {
        let (proof, bytes) = xet::check(&files[at], threads, progress);
        outcome.bytes_hashed += bytes;
        // Without a proof nothing is known: the digest decides.
        if let Some((evidence, stamp)) = proof {
            (proofs[at].evidence, proofs[at].stamp) = (evidence, Some(stamp));
            to_hash.retain(|other| *other != at);
        }
    }
    if to_hash.is_empty() {
        progress.event(Event::VerifyDone);
        return proofs;
    }
    let threads = threads.clamp(1, to_hash.len());
    // A thread takes two files at once only if there are more files than threads: two threads hash two files sooner
    // than one thread.
    let turns: Vec<&[usize]> = to_hash.chunks(if to_hash.len() > threads { 2 } else { 1 }).collect();
    let next = AtomicUsize::new(0);
    let shared = Mutex::new((outcome, &mut proofs));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let turn_files: Vec<&SubjectFile> = turn.iter().map(|at| &files[*at]).collect();
                    for (at, seen) in turn.iter().zip(check_turn(&turn_files, progress)) {
                        let mut shared = lock(&shared);
                        let (outcome, proofs) = &mut *shared;
                        outcome.bytes_hashed += seen.bytes;
                        outcome.findings.extend(seen.finding);
                        (proofs[*at].evidence, proofs[*at].stamp) = (seen.evidence, seen.stamp);
                    }
                }
            });
        }
    });
    progress.event(Event::VerifyDone);
    proofs
}

/// Looks again at files on disk whose bytes were read in this run. Hashes those again that were written, replaced or
/// removed meanwhile. `proofs` are the proofs of these files. Returns the findings.
pub fn recheck(files: &[SubjectFile], proofs: &mut [Proof], progress: &dyn Progress) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, proof) in files.iter().zip(proofs) {
        let (Content::Local(path), Some(stamp)) = (&file.content, proof.stamp) else { continue };
        if look_through(path).is_ok_and(|stat| Stamp::from(&stat) == stamp) {
            continue;
        }
        let seen = match standing(file) {
            Ok(()) => check_one(file, progress),
            Err((evidence, finding)) => Seen { evidence, finding: Some(*finding), ..Seen::default() },
        };
        (proof.evidence, proof.stamp) = (seen.evidence, seen.stamp);
        findings.extend(seen.finding);
    }
    findings
}

/// Checks that a file exists, is a regular file, and has its size.
fn standing(file: &SubjectFile) -> Result<(), (Evidence, Box<Finding>)> {
    let absent =
        |message: String| Err((Evidence::Absent, Box::new(Finding::new(Code::FileMissing, &file.path, message))));
    let wrong = |code, message: String| Err((Evidence::Wrong, Box::new(Finding::new(code, &file.path, message))));
    let length = match file.content.size() {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return absent(error.to_string());
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return absent("it is missing".into());
        }
        Err(error) => {
            let finding = Finding::new(Code::FileMissing, &file.path, format!("its size cannot be read: {error}"));
            return Err((Evidence::Unread, Box::new(finding)));
        }
    };
    let Some(size) = file.size else { return Ok(()) };
    if length == size {
        return Ok(());
    }
    if file.content.open().is_ok_and(|(mut f, _)| is_lfs_pointer(&mut f)) {
        return wrong(Code::LfsPointer, format!("it is a git-lfs pointer; {size} bytes of content should be here"));
    }
    wrong(Code::SizeMismatch, format!("expected {size} bytes, it has {length}"))
}

/// Whether a file starts like a git-lfs pointer. Goes back to the file's start.
pub(super) fn is_lfs_pointer(file: &mut (impl Read + io::Seek)) -> bool {
    let mut head = [0; LFS_POINTER.len()];
    let read = file.read_exact(&mut head);
    file.rewind().is_ok() && read.is_ok() && head == LFS_POINTER
}

/// What the check saw of one file.
#[derive(Default)]
struct Seen {
    evidence: Evidence,
    stamp: Option<Stamp>,
    finding: Option<Finding>,
    bytes: u64,
}

/// Hashes the one or two files of a thread's turn.
fn check_turn(files: &[&SubjectFile], progress: &dyn Progress) -> Vec<Seen> {
    let both = if let [a, b] = files { check_two(a, b, progress) } else { None };
    // A file that changes or cannot be read is checked alone, again from its start.
    let [of_a, of_b] = both.unwrap_or_default();
    files.iter().zip([of_a, of_b]).map(|(file, seen)| seen.unwrap_or_else(|| check_one(file, progress))).collect()
}

/// Hashes two files on disk at once. `None` for a file that changed meanwhile, and for both if either cannot be read.
fn check_two(a: &SubjectFile, b: &SubjectFile, progress: &dyn Progress) -> Option<[Option<Seen>; 2]> {
    let begin = |file: &SubjectFile| {
        let Content::Local(path) = &file.content else { return None };
        let like @ Digest::Sha256(_) = file.digest? else { return None };
        two::Reading::open(path, like, file.size.unwrap_or(0)).ok()
    };
    let (mut reading_a, mut reading_b) = (begin(a)?, begin(b)?);
    for (file, size) in [(a, a.size), (b, b.size)] {
        progress.event(Event::VerifyFile { path: &file.path, size: size.or_else(|| file.content.size().ok())? });
    }
    let seen = |file: &SubjectFile, bytes: u64| {
        if bytes > 0 {
            progress.event(Event::VerifyBytes { path: &file.path, bytes });
        }
    };
    two::read(&mut reading_a, &mut reading_b, |n| seen(a, n), |n| seen(b, n)).ok()?;
    let end = |file: &SubjectFile, reading: two::Reading| {
        let bytes = reading.bytes;
        let (hashed, stamp) = reading.finish().ok()??;
        Some(judge(file, file.digest?, hashed, Some(stamp), bytes))
    };
    Some([end(a, reading_a), end(b, reading_b)])
}

/// Compares a file's digest with the expected one.
fn judge(file: &SubjectFile, expected: Digest, hashed: Hashed, stamp: Option<Stamp>, bytes: u64) -> Seen {
    if hashed.digest() == expected {
        return Seen { evidence: Evidence::Hashed(hashed), stamp, finding: None, bytes };
    }
    let message = format!("expected {expected:?}, got {:?}", hashed.digest());
    let finding = Some(Finding::new(Code::ChecksumMismatch, &file.path, message));
    Seen { evidence: Evidence::Wrong, stamp, finding, bytes }
}

/// Hashes one file.
fn check_one(file: &SubjectFile, progress: &dyn Progress) -> Seen {
    let Some(expected) = file.digest else { return Seen::default() };
    // A git blob's digest starts with its length: the stated one, otherwise the file's own.
    let size = file.size.or_else(|| file.content.size().ok()).unwrap_or(0);
    progress.event(Event::VerifyFile { path: &file.path, size });
    let mut bytes = 0;
    let outcome = read_whole(&file.content, expected, size, &mut |n| {
        bytes += n;
        progress.event(Event::VerifyBytes { path: &file.path, bytes: n });
    });
    match outcome {
        Ok((hashed, stamp)) => judge(file, expected, hashed, stamp, bytes),
        // A file that could not be read is not known to be wrong.
        Err(error) => {
            let finding = Finding::new(Code::FileMissing, &file.path, format!("it cannot be read: {error}"));
            Seen { evidence: Evidence::Unread, stamp: None, finding: Some(finding), bytes }
        }
    }
}
