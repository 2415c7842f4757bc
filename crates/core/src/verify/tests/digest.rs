//! Tests of sizes and digests of files on disk.

use std::fs;

use sha2::Digest as _;

use super::{codes, subject_file};
use crate::finding::{Code, Evidence, Outcome};
use crate::model::{Digest, Purpose, Sha256};
use crate::progress::{Event, Progress, Silent};
use crate::verify::{Subject, SubjectFile, verify};

/// `hello\n`: its digests by `sha256sum` and `git hash-object`.
const HELLO: &[u8] = b"hello\n";
const SHA256: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

fn digests() -> [Digest; 2] {
    [Digest::Sha256(SHA256.parse().unwrap()), Digest::GitBlob(GIT.parse().unwrap())]
}

fn check(files: Vec<SubjectFile>) -> Outcome {
    verify(&Subject { files, ..Subject::default() }, 3, &Silent)
}

#[test]
fn both_kinds_of_digest_are_those_of_the_tools() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), HELLO).unwrap();
    for digest in digests() {
        assert_eq!(digest.read(HELLO, 6, &mut |_| {}).unwrap().digest(), digest);
        // The size may be stated or not.
        for size in [Some(6), None] {
            let file = SubjectFile { size, digest: Some(digest), ..subject_file(dir.path(), "f", Purpose::Other) };
            let outcome = check(vec![file]);
            assert_eq!((outcome.findings.clone(), outcome.proven(), outcome.bytes_hashed), (vec![], 1, 6));
        }
    }
}

#[test]
fn each_wrong_file_has_exactly_one_finding() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), HELLO).unwrap();
    fs::write(dir.path().join("other"), b"hullo\n").unwrap();
    fs::write(dir.path().join("pointer"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6\n")
        .unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for (path, size, code) in [
        ("f", Some(7), Code::SizeMismatch),
        ("f", Some(0), Code::SizeMismatch),
        ("other", Some(6), Code::ChecksumMismatch),
        ("other", None, Code::ChecksumMismatch),
        ("nowhere", Some(6), Code::FileMissing),
        ("f/below", Some(6), Code::FileMissing),
        ("folder", Some(6), Code::FileMissing),
        ("folder", None, Code::FileMissing),
        ("pointer", Some(6), Code::LfsPointer),
    ] {
        for digest in digests() {
            let file = SubjectFile { size, digest: Some(digest), ..subject_file(dir.path(), path, Purpose::Other) };
            let outcome = check(vec![file]);
            assert_eq!(codes(&outcome.findings), [code], "{path}");
            assert_eq!((outcome.findings.len(), outcome.proven()), (1, 0), "{path}");
        }
    }
}

#[test]
fn a_checked_digest_is_not_computed_again_but_the_size_is_compared() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), HELLO).unwrap();
    let checked = SubjectFile {
        size: Some(6),
        digest: Some(digests()[0]),
        known: Evidence::Recorded(digests()[0]),
        ..subject_file(dir.path(), "f", Purpose::Other)
    };
    let outcome = check(vec![checked.clone()]);
    assert_eq!((outcome.findings.clone(), outcome.proven(), outcome.bytes_hashed), (vec![], 1, 0));
    assert_eq!(codes(&check(vec![SubjectFile { size: Some(5), ..checked }]).findings), [Code::SizeMismatch]);
}

#[test]
fn many_files_are_all_checked_and_the_findings_sorted() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for i in 0..40 {
        let name = format!("{i:02}");
        fs::write(dir.path().join(&name), if i % 4 == 0 { b"hullo\n" } else { HELLO }).unwrap();
        files.push(SubjectFile {
            size: Some(6),
            digest: Some(digests()[i % 2]),
            ..subject_file(dir.path(), &name, Purpose::Other)
        });
    }
    let outcome = check(files);
    assert_eq!((outcome.proven(), outcome.findings.len(), outcome.bytes_hashed), (30, 10, 240));
    assert!(outcome.findings.is_sorted_by_key(|f| f.path.clone()));
}

/// A file of this many bytes, with its digest by sha2.
fn large(dir: &std::path::Path, name: &str, size: usize) -> SubjectFile {
    let content: Vec<u8> = (0..size).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
    fs::write(dir.join(name), &content).unwrap();
    let digest = Digest::Sha256(Sha256(sha2::Sha256::digest(&content).into()));
    SubjectFile { size: Some(size as u64), digest: Some(digest), ..subject_file(dir, name, Purpose::Other) }
}

#[test]
fn files_that_are_hashed_two_at_a_time_are_each_judged_by_their_own_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [700_001, 700_000, 300_000, 131_072, 64, 1, 0];
    let names: Vec<String> = sizes.iter().map(|size| format!("of-{size}")).collect();
    let files: Vec<_> = names.iter().zip(sizes).map(|(name, size)| large(dir.path(), name, size)).collect();
    let whole: u64 = sizes.iter().map(|size| *size as u64).sum();
    let outcome = verify(&Subject { files: files.clone(), ..Subject::default() }, 1, &Silent);
    assert_eq!((outcome.findings.clone(), outcome.proven(), outcome.bytes_hashed), (vec![], sizes.len(), whole));
    // Each file in turn has one wrong byte, and no other file gets a finding.
    for (name, size) in names.iter().zip(sizes).filter(|(_, size)| *size > 0) {
        let place = dir.path().join(name);
        let right = fs::read(&place).unwrap();
        let mut wrong = right.clone();
        wrong[size - 1] ^= 1;
        fs::write(&place, wrong).unwrap();
        let outcome = verify(&Subject { files: files.clone(), ..Subject::default() }, 1, &Silent);
        assert_eq!(codes(&outcome.findings), [Code::ChecksumMismatch]);
        assert_eq!(outcome.findings[0].path.as_deref(), Some(name.as_str()));
        assert_eq!(outcome.proven(), sizes.len() - 1);
        fs::write(&place, right).unwrap();
    }
}

/// Removes a file before it is opened.
struct Away(std::path::PathBuf);
impl Progress for Away {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::VerifyStarted { .. }) {
            fs::remove_file(&self.0).unwrap();
        }
    }
}

#[test]
fn of_two_files_at_a_time_an_unreadable_one_does_not_affect_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let files = vec![large(dir.path(), "a", 300_000), large(dir.path(), "b", 300_000)];
    let outcome = verify(&Subject { files, ..Subject::default() }, 1, &Away(dir.path().join("b")));
    assert_eq!((codes(&outcome.findings), outcome.proven()), (vec![Code::FileMissing], 1));
    assert_eq!(outcome.findings[0].path.as_deref(), Some("b"));
}

/// Changes the first byte of `b` once, after its first bytes were read.
struct Writes(std::path::PathBuf, std::sync::Once);
impl Progress for Writes {
    fn event(&self, event: Event<'_>) {
        if let Event::VerifyBytes { path, .. } = event
            && path.as_str() == "b"
        {
            self.1.call_once(|| {
                let mut bytes = fs::read(&self.0).unwrap();
                bytes[0] ^= 1;
                fs::write(&self.0, bytes).unwrap();
            });
        }
    }
}

#[test]
fn a_file_that_is_written_to_while_two_are_read_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = vec![large(dir.path(), "a", 300_000), large(dir.path(), "b", 300_000)];
    let progress = Writes(dir.path().join("b"), std::sync::Once::new());
    let outcome = verify(&Subject { files, ..Subject::default() }, 1, &progress);
    // The first byte was read before the change, so only another read finds it.
    assert_eq!((codes(&outcome.findings), outcome.proven()), (vec![Code::ChecksumMismatch], 1));
    assert_eq!(outcome.findings[0].path.as_deref(), Some("b"));
}
