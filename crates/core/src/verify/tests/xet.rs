//! Tests of files that their stated Xet hash proves: when it is used, and that it never reports a file as wrong.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Mutex, Once};

use super::{codes, subject_file};
use crate::finding::{Code, Evidence};
use crate::model::{Digest, Purpose, XetHash};
use crate::progress::{Event, Progress, Silent};
use crate::verify::xet::{LARGE, worth_it};
use crate::verify::{Content, Subject, SubjectFile, recheck, verify};

/// Of 64 MiB and three bytes: by `sha256sum`, and by `hf_xet` 1.8.0 for Python.
const SHA256: &str = "1c13bc191c6e5bc0ffba183b1f0da1b1e595059c7f7be3fa79c349fb9b54d31d";
const XET: &str = "4af210620749f75112dc6328c10b3e5318f186ba78e337f456889881c9f13c57";
const SIZE: u64 = LARGE + 3;

fn sha256() -> Digest {
    Digest::Sha256(SHA256.parse().unwrap())
}

/// Writes the file with these digests: a repeated block of noise.
fn write(dir: &Path) -> SubjectFile {
    let mut state = 5u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 32)).to_le_bytes()
    });
    let block: Vec<u8> = words.take(1 << 17).flatten().collect();
    let mut file = fs::File::create(dir.join("f")).unwrap();
    for _ in 0..64 {
        file.write_all(&block).unwrap();
    }
    file.write_all(b"end").unwrap();
    SubjectFile {
        size: Some(SIZE),
        digest: Some(sha256()),
        xet: Some(XET.parse().unwrap()),
        ..subject_file(dir, "f", Purpose::Other)
    }
}

/// Changes one byte in place.
fn flip(path: &Path, at: u64) {
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

/// The events of one file, and their bytes.
#[derive(Default)]
struct Told(Mutex<(Vec<&'static str>, u64)>);
impl Progress for Told {
    fn event(&self, event: Event<'_>) {
        let mut told = self.0.lock().unwrap();
        match event {
            Event::VerifyStarted { files: 1, bytes: SIZE } => told.0.push("started"),
            Event::VerifyFile { size: SIZE, .. } => told.0.push("file"),
            Event::VerifyBytes { bytes, .. } => told.1 += bytes,
            Event::VerifyDone => told.0.push("done"),
            _ => told.0.push("other"),
        }
    }
}

#[test]
fn the_stated_xet_hash_proves_a_large_file_and_unproven_files_get_their_sha256() {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (write(dir.path()), dir.path().join("f"));
    let check = |file: &SubjectFile, progress: &dyn Progress| {
        verify(&Subject { files: vec![file.clone()], ..Subject::default() }, 2, progress)
    };

    let told = Told::default();
    let outcome = check(&file, &told);
    let Evidence::XetMerkle(root) = outcome.proofs[0].evidence else { panic!("{:?}", outcome.proofs) };
    assert_eq!((root.hash().to_string().as_str(), outcome.proven(), outcome.bytes_hashed), (XET, 1, SIZE));
    assert_eq!(outcome.findings, []);
    assert_eq!(*told.0.lock().unwrap(), (vec!["started", "file", "done"], SIZE));

    // The last look hashes only what was changed, and by SHA-256.
    let mut proofs = outcome.proofs;
    let files = [file.clone()];
    assert_eq!(recheck(&files, &mut proofs, &Silent), []);
    assert!(matches!(proofs[0].evidence, Evidence::XetMerkle(_)));
    flip(&path, SIZE - 1);
    assert_eq!(codes(&recheck(&files, &mut proofs, &Silent)), [Code::ChecksumMismatch]);

    // A wrong byte is found by the SHA-256.
    let outcome = check(&file, &Silent);
    assert_eq!((codes(&outcome.findings), outcome.proven()), (vec![Code::ChecksumMismatch], 0));
    assert_eq!(outcome.bytes_hashed, 2 * SIZE);
    flip(&path, SIZE - 1);

    // A wrong Xet hash is not a finding.
    let other: XetHash = "a".repeat(64).parse().unwrap();
    let outcome = check(&SubjectFile { xet: Some(other), ..file.clone() }, &Silent);
    assert!(matches!(outcome.proofs[0].evidence, Evidence::Hashed(hashed) if hashed.digest() == sha256()));
    assert_eq!((outcome.findings.clone(), outcome.proven()), (vec![], 1));

    // With one thread, only the SHA-256 is used.
    let outcome = verify(&Subject { files: vec![file.clone()], ..Subject::default() }, 1, &Silent);
    assert!(matches!(outcome.proofs[0].evidence, Evidence::Hashed(_)));
}

/// Changes a file once, after its first bytes were read.
struct Meanwhile<'a>(&'a (dyn Fn() + Send + Sync), Once);
impl Progress for Meanwhile<'_> {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::VerifyBytes { .. }) {
            self.1.call_once(|| {
                // Times of files are as coarse as the clock's ticks.
                std::thread::sleep(std::time::Duration::from_millis(20));
                (self.0)();
            });
        }
    }
}

#[test]
fn a_file_that_changes_or_ends_while_it_is_read_is_not_proven() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let length = |length| fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    let changes: [&(dyn Fn() + Send + Sync); 3] = [&|| flip(&path, 0), &|| length(SIZE / 2), &|| length(SIZE + 1)];
    for (n, change) in changes.into_iter().enumerate() {
        let file = write(dir.path());
        let progress = Meanwhile(change, Once::new());
        let outcome = verify(&Subject { files: vec![file], ..Subject::default() }, 2, &progress);
        assert_eq!((codes(&outcome.findings), outcome.proven()), (vec![Code::ChecksumMismatch], 0), "{n}");
    }
}

#[test]
fn it_is_used_only_where_sha256_would_leave_threads_without_work() {
    let file = |size, xet: bool| SubjectFile {
        size,
        digest: Some(sha256()),
        xet: xet.then(|| XET.parse().unwrap()),
        ..subject_file(Path::new("/nowhere"), "f", Purpose::Other)
    };
    let large = || file(Some(LARGE), true);
    let small = || file(Some(LARGE - 1), true);
    let worth = |files: &[SubjectFile], threads| worth_it(files, &(0..files.len()).collect::<Vec<_>>(), threads);
    assert_eq!(worth(&[large()], 2), [0]);
    assert_eq!(worth(&[small(), large(), small(), small()], 2), [1], "small files take no time");
    assert_eq!(worth(&[large(), large()], 2), [0; 0], "each thread has a file");
    assert_eq!(worth(&[large(), file(Some(LARGE), false)], 2), [0; 0]);
    assert_eq!(worth(&[large(), file(Some(LARGE), false), large()], 4), [0, 2]);
    assert_eq!(worth(&[large()], 1), [0; 0]);
    let git = Digest::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap());
    let far = super::Zeros::content(LARGE).0;
    assert!(matches!(far, Content::Far(_)));
    let others = [
        small(),
        file(Some(LARGE), false),
        file(None, true),
        SubjectFile { digest: None, ..large() },
        SubjectFile { digest: Some(git), ..large() },
        SubjectFile { content: far, ..large() },
    ];
    for other in others {
        assert_eq!(worth(std::slice::from_ref(&other), 2), [0; 0], "{other:?}");
    }
}
