//! Sizes and digests of what is on disk.

use std::fs;

use super::{codes, subject_file};
use crate::finding::{Code, Evidence, Outcome};
use crate::model::{Digest, Purpose};
use crate::progress::Silent;
use crate::verify::{Subject, SubjectFile, verify};

/// `hello\n`: what `sha256sum` and `git hash-object` say of it.
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
fn both_kinds_of_digest_are_what_the_tools_say() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), HELLO).unwrap();
    for digest in digests() {
        assert_eq!(digest.read(HELLO, 6, &mut |_| {}).unwrap().digest(), digest);
        // Whether or not anybody says its size.
        for size in [Some(6), None] {
            let file = SubjectFile { size, digest: Some(digest), ..subject_file(dir.path(), "f", Purpose::Other) };
            let outcome = check(vec![file]);
            assert_eq!((outcome.findings.clone(), outcome.proven(), outcome.bytes_hashed), (vec![], 1, 6));
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_named_and_only_once() {
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
fn a_digest_that_was_checked_is_not_computed_again_but_the_size_is_looked_at() {
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
