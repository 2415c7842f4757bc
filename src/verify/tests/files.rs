//! Files on disk: sizes, digests, pointers, JSON companions, and a whole subject of them.

use std::path::Path;

use sha2::Digest as _;
use tempfile::TempDir;

use super::codes;
use crate::progress::Silent;
use crate::repo::{Digest, GitOid, Sha256};
use crate::select::Purpose;
use crate::verify::{Outcome, Subject, SubjectFile, digest_of, verify};

fn sha256(content: &[u8]) -> Digest {
    Digest::Sha256(Sha256(sha2::Sha256::digest(content).into()))
}

fn file(dir: &Path, name: &str, content: &[u8]) -> SubjectFile {
    std::fs::write(dir.join(name), content).unwrap();
    SubjectFile {
        path: name.parse().unwrap(),
        local: dir.join(name),
        size: Some(content.len() as u64),
        digest: Some(sha256(content)),
        digest_checked: false,
        purpose: Purpose::Config,
    }
}

fn check(files: Vec<SubjectFile>) -> Outcome {
    verify(&Subject { files, ..Subject::default() }, 2, &Silent)
}

/// Known answers: `git hash-object` and `sha256sum` of "hello\n".
#[test]
fn digests_are_gits_and_sha256sums() {
    let dir = TempDir::new().unwrap();
    let hello = file(dir.path(), "hello", b"hello\n");
    let git = digest_of(&hello.local, Digest::GitBlob(GitOid([0; 20])), 6).unwrap();
    assert_eq!(git.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    let sha = digest_of(&hello.local, Digest::Sha256(Sha256([0; 32])), 6).unwrap();
    assert_eq!(sha.to_string(), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
}

#[test]
fn right_files_are_counted_and_hashed_once() {
    let dir = TempDir::new().unwrap();
    let mut files: Vec<SubjectFile> =
        (0..20).map(|i| file(dir.path(), &format!("f{i}.txt"), &vec![i; 1000 * usize::from(i)])).collect();
    let outcome = check(files.clone());
    assert_eq!((outcome.digests, outcome.bytes_hashed, outcome.findings.len()), (20, 190_000, 0));
    for file in &mut files {
        file.digest_checked = true;
    }
    let outcome = check(files);
    assert_eq!((outcome.digests, outcome.bytes_hashed), (20, 0));
}

#[test]
fn each_defect_has_its_code() {
    type Damage = fn(&mut SubjectFile);
    let dir = TempDir::new().unwrap();
    let good = || file(dir.path(), "a.txt", b"content");
    let cases: [(&str, Damage); 5] = [
        ("size-mismatch", |f| std::fs::write(&f.local, b"contents").unwrap()),
        ("checksum-mismatch", |f| std::fs::write(&f.local, b"CONTENT").unwrap()),
        ("file-missing", |f| std::fs::remove_file(&f.local).unwrap()),
        ("file-missing", |f| {
            std::fs::remove_file(&f.local).unwrap();
            std::fs::create_dir(&f.local).unwrap();
        }),
        ("lfs-pointer", |f| {
            std::fs::remove_dir(&f.local).unwrap();
            std::fs::write(&f.local, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n").unwrap();
        }),
    ];
    for (code, damage) in cases {
        let mut wrong = if dir.path().join("a.txt").is_dir() {
            SubjectFile {
                path: "a.txt".parse().unwrap(),
                local: dir.path().join("a.txt"),
                size: Some(7),
                digest: Some(sha256(b"content")),
                digest_checked: false,
                purpose: Purpose::Config,
            }
        } else {
            good()
        };
        damage(&mut wrong);
        assert_eq!(codes(&check(vec![wrong]).findings), [code]);
    }
}

/// A mismatch shows both digests, so that a person can tell which mirror is wrong.
#[test]
fn a_mismatch_shows_both_digests() {
    let dir = TempDir::new().unwrap();
    let mut wrong = file(dir.path(), "a.txt", b"content");
    wrong.digest = Some(sha256(b"other"));
    let finding = check(vec![wrong]).findings.remove(0);
    for digest in [sha256(b"other"), sha256(b"content")] {
        assert!(finding.message.contains(&digest.to_string()), "{}", finding.message);
    }
}

#[test]
fn json_companions_must_be_json() {
    let dir = TempDir::new().unwrap();
    let deep = "[".repeat(1_000_000);
    for (name, content, wrong) in [
        ("config.json", "{}", false),
        ("config.json", "[]", true),
        ("config.json", "", true),
        ("config.json", "{\"a\":1,}", true),
        // Python writes these; that others refuse them is a warning.
        ("config.json", "{\"a\":[NaN,-Infinity,Infinity],\"b\":\"\\\"NaN\"}", true),
        ("config.json", "{\"a\":Nan}", true),
        ("vocab.json", "[1,2]", false),
        ("vocab.json", &deep, true),
        ("merges.txt", "{", false),
    ] {
        let outcome = check(vec![file(dir.path(), name, content.as_bytes())]);
        let wanted: &[&str] = if wrong { &["config-invalid"] } else { &[] };
        assert_eq!(codes(&outcome.findings), wanted, "{name} {content:.20}");
    }
}

/// Bytes that are wrong are one finding; what could be read out of them is not worth saying.
#[test]
fn one_cause_is_one_finding() {
    let dir = TempDir::new().unwrap();
    let mut wrong = file(dir.path(), "config.json", b"{");
    wrong.digest = Some(sha256(b"{}"));
    wrong.size = Some(1);
    assert_eq!(codes(&check(vec![wrong]).findings), ["checksum-mismatch"]);
}
