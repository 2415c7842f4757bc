//! Tests of objects in memory: reads at any offset give the uploaded bytes, and the small
//! objects read back. Tests with a server cover the wire.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::{Keys, Mark, ObjectError, Objects, SnapshotRecord, StoreConfig, StoredFile};
use crate::finding::Outcome;
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{CommitId, Hashed, Hasher, Options, RepoPath, RepoType};
use crate::verify::Far as _;

fn keys() -> Keys {
    Keys::new(RepoType::Model, &"org/one".parse().unwrap())
}

fn commit() -> CommitId {
    "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap()
}

fn locked() -> LockedRepo {
    let file = LockedFile {
        path: "a b%.json".parse().unwrap(),
        size: 0,
        digest: Hasher::git_blob(0).finish().digest(),
        xet_hash: None,
    };
    LockedRepo {
        repo_type: RepoType::Model,
        id: "org/one".parse().unwrap(),
        revision: "main".parse().unwrap(),
        commit: commit(),
        options: Options::default(),
        files: vec![file],
    }
}

#[tokio::test]
async fn a_manifest_reads_back_and_is_of_its_repo_and_commit_only() {
    let objects = Objects::in_memory();
    assert!(objects.manifest(&keys(), &commit()).await.unwrap().is_none());
    objects.put_manifest(&keys(), &commit(), |_| locked()).await.unwrap();
    let read = objects.manifest(&keys(), &commit()).await.unwrap().unwrap();
    assert_eq!(read.files, locked().files);
    assert_eq!(objects.commits(&keys()).await.unwrap(), [commit()]);
    // A manifest that was copied to another commit does not count.
    let other: CommitId = "0".repeat(40).parse().unwrap();
    let text = objects.small(&keys().manifest(&commit()), 1000).await.unwrap().unwrap();
    objects.put(&keys().manifest(&other), text.clone().into()).await.unwrap();
    assert!(matches!(objects.manifest(&keys(), &other).await, Err(ObjectError::Invalid { .. })));
    let foreign = Keys::new(RepoType::Model, &"org/two".parse().unwrap());
    objects.put(&foreign.manifest(&commit()), text.into()).await.unwrap();
    assert!(matches!(objects.manifest(&foreign, &commit()).await, Err(ObjectError::Invalid { .. })));
}

#[test]
fn a_tag_is_the_same_with_and_without_quotes() {
    assert_eq!(Mark::new(1, Some("\"0x8D\"".into())), Mark::new(1, Some("0x8D".into())));
    assert_ne!(Mark::new(1, Some("0x8D".into())), Mark::new(1, Some("0x8E".into())));
}

#[tokio::test]
async fn a_ref_moves() {
    let objects = Objects::in_memory();
    let main = "main".parse().unwrap();
    assert_eq!(objects.reference(&keys(), &main).await.unwrap(), None);
    objects.set_reference(&keys(), &main, &commit()).await.unwrap();
    objects.set_reference(&keys(), &"refs/pr/1".parse().unwrap(), &commit()).await.unwrap();
    assert_eq!(objects.reference(&keys(), &main).await.unwrap(), Some(commit()));
    assert_eq!(objects.references(&keys()).await.unwrap(), ["main", "refs/pr/1"]);
}

fn file(name: &str) -> LockedFile {
    LockedFile { path: name.parse().unwrap(), ..locked().files.remove(0) }
}

/// Adds one file to the manifest.
fn adding(name: &str) -> impl Fn(Option<&LockedRepo>) -> LockedRepo {
    move |before| {
        let mut files: Vec<_> = before.map(|before| before.files.clone()).unwrap_or_default();
        if files.iter().all(|f| f.path.as_str() != name) {
            files.push(file(name));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        LockedRepo { files, ..locked() }
    }
}

/// The second run writes between the first one's reading and writing, with and without a manifest before.
#[tokio::test]
async fn two_writers_of_a_manifest_keep_each_others_files() {
    let objects = Objects::in_memory();
    for (first, second) in [("a", "b"), ("c", "d")] {
        let once = std::cell::Cell::new(true);
        let merge = |before: Option<&LockedRepo>| {
            if once.take() {
                // A store in memory answers immediately.
                let other = keys();
                let put = objects.put_manifest(&other, &commit(), adding(second)).now_or_never();
                put.unwrap().unwrap();
            }
            adding(first)(before)
        };
        objects.put_manifest(&keys(), &commit(), merge).await.unwrap();
    }
    let read = objects.manifest(&keys(), &commit()).await.unwrap().unwrap();
    assert_eq!(read.files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

/// A mark as a store lists it.
fn mark(etag: &str, modified: i64) -> Mark {
    Mark { modified: Some(modified), ..Mark::new(1, Some(etag.into())) }
}

#[tokio::test]
async fn a_record_counts_for_one_place_one_digest_and_an_unchanged_object() {
    let folder = tempfile::tempdir().unwrap();
    let (path, digest) = ("a".parse().unwrap(), Hasher::sha256().finish().digest());
    let read = |place: &str| SnapshotRecord::read(Some(folder.path()), place.to_owned());
    let mut record = read("here").await;
    record.remember(&path, digest, &mark("x", 7));
    record.remember_check("key".into(), Outcome::default());
    record.save().await;
    let record = read("here").await;
    assert!(record.knows(&path, digest, &mark("x", 7)) && record.check("key").is_some());
    assert!(!record.knows(&path, digest, &mark("y", 7)), "another object");
    assert!(!record.knows(&path, digest, &mark("x", 8)), "another upload of it");
    assert!(!record.knows(&path, Hasher::git_blob(0).finish().digest(), &mark("x", 7)), "another digest");
    assert!(!read("there").await.knows(&path, digest, &mark("x", 7)), "another place");
    // Without a tag or a time the object cannot be distinguished from another.
    let mut record = read("blind").await;
    for blind in [Mark::new(1, Some("x".into())), Mark { etag: None, ..mark("x", 7) }] {
        record.remember(&path, digest, &blind);
        assert!(!record.knows(&path, digest, &blind));
    }
}

#[tokio::test]
async fn runs_that_save_one_record_keep_each_others_results() {
    let folder = tempfile::tempdir().unwrap();
    let digest = Hasher::sha256().finish().digest();
    let read = || SnapshotRecord::read(Some(folder.path()), "here".into());
    let [a, b] = ["a", "b"].map(|name| name.parse().unwrap());
    let mut first = read().await;
    first.remember(&a, digest, &mark("x", 7));
    first.save().await;
    let (mut second, mut third) = (read().await, read().await);
    second.forget("a");
    second.save().await;
    third.remember(&b, digest, &mark("x", 7));
    third.save().await;
    let record = read().await;
    assert!(!record.knows(&a, digest, &mark("x", 7)) && record.knows(&b, digest, &mark("x", 7)));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_or_kept_counts_as_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (path, digest) = ("a".parse().unwrap(), Hasher::sha256().finish().digest());
    let mut record = SnapshotRecord::read(Some(folder.path()), "here".into()).await;
    record.remember(&path, digest, &mark("x", 7));
    record.save().await;
    let [kept] =
        std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
    std::fs::write(&kept, "[1]").unwrap();
    assert!(!SnapshotRecord::read(Some(folder.path()), "here".into()).await.knows(&path, digest, &mark("x", 7)));
    let mut nowhere = SnapshotRecord::read(None, "here".into()).await;
    nowhere.remember(&path, digest, &mark("x", 7));
    nowhere.save().await;
    assert!(!SnapshotRecord::read(None, "here".into()).await.knows(&path, digest, &mark("x", 7)));
}

#[tokio::test]
async fn an_object_that_is_too_large_to_be_small_is_not_read() {
    let objects = Objects::in_memory();
    objects.put("k", vec![0; 100].into()).await.unwrap();
    assert!(matches!(objects.small("k", 99).await, Err(ObjectError::Invalid { .. })));
    assert_eq!(objects.small("k", 100).await.unwrap().unwrap().len(), 100);
    assert!(matches!(objects.range("k", 90..110).await, Err(ObjectError::Failed { .. })));
    objects.delete("k").await.unwrap();
    objects.delete("k").await.unwrap();
    assert!(objects.mark("k").await.unwrap().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a file's name is, the object's key contains it unchanged, and the listing gives it back.
    #[test]
    fn a_name_is_the_same_as_a_key_and_back(
        names in prop::collection::vec(
            prop_oneof!["[a-z%&+~ ]{1,9}", "\\PC{1,12}(/\\PC{1,8})?", "[a\u{200c}\u{200d}\u{301}é]{1,6}"], 1..8),
    ) {
        let names: Vec<RepoPath> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let objects = Objects::in_memory();
            for name in &names {
                objects.put(&keys().file(&commit(), name), "x".into()).await.unwrap();
            }
            let listed = objects.list(&keys().snapshot(&commit())).await.unwrap();
            for name in &names {
                prop_assert!(listed.contains_key(name.as_str()), "{:?} in {:?}", name, listed.keys());
                prop_assert_eq!(&listed.get_key_value(name.as_str()).unwrap().0.parse::<RepoPath>().unwrap(), name);
            }
            Ok(())
        })?;
    }

    /// Long sequential reads and jumps give the object's bytes, as with a file on disk.
    #[test]
    fn a_far_object_reads_as_a_file_does(
        size in 0usize..3_000_000,
        steps in prop::collection::vec((any::<u32>(), 0usize..700_000, any::<bool>()), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let bytes: Vec<u8> = (0..size).map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 13 & 0xff).unwrap()).collect();
        let objects = Arc::new(Objects::in_memory());
        let far = runtime.block_on(async {
            objects.put("k", bytes.clone().into()).await.unwrap();
            StoredFile::new(Arc::clone(&objects), "k".into(), Some(size as u64))
        });
        let mut file = far.open().unwrap();
        let mut at = 0usize;
        for (to, length, jump) in steps {
            if jump {
                at = to as usize % (size + 10);
                file.seek(SeekFrom::Start(at as u64)).unwrap();
            }
            let mut got = Vec::new();
            file.by_ref().take(length as u64).read_to_end(&mut got).unwrap();
            let from = at.min(size);
            let end = (at + length).min(size).max(from);
            prop_assert_eq!(&got[..], &bytes[from..end]);
            at = at.max(end);
        }
        prop_assert!(objects.take_trouble().is_none());
    }
}

/// A store that answers one request with 200; returns the head of that request, in lower case, and its body.
async fn one_put(options: &[(&str, &str)], work: impl AsyncFnOnce(Objects)) -> (String, Vec<u8>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let keys = [("AWS_ENDPOINT_URL", &*endpoint), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let options = keys.iter().chain(options).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = StoreConfig::from("s3://bucket/p".parse::<super::ObjectUrl>().unwrap()).with_options(options);
    let answer = async {
        let (mut socket, _) = server.accept().await.unwrap();
        let mut got = Vec::new();
        loop {
            let end = got.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let head = end.map(|end| String::from_utf8(got[..end].to_vec()).unwrap().to_ascii_lowercase());
            if let (Some(end), Some(head)) = (end, head) {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if got.len() - end - 4 == length.unwrap().parse::<usize>().unwrap() {
                    socket.write_all(b"HTTP/1.1 200 OK\r\netag: \"x\"\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                    return (head, got[end + 4..].to_vec());
                }
            }
            assert!(socket.read_buf(&mut got).await.unwrap() > 0, "the request is cut off");
        }
    };
    tokio::join!(answer, work(Objects::open(&config).unwrap())).0
}

pub(super) fn hashed(content: &[u8]) -> Hashed {
    let mut hasher = Hasher::sha256();
    hasher.update(content);
    hasher.finish()
}

/// It is what a store compares with the bytes that it gets.
#[tokio::test]
async fn a_request_states_the_digest_of_its_content_and_takes_a_known_one() {
    let content = Bytes::from(vec![7; 100_000]);
    let stated = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("x-amz-content-sha256: "));
        line.unwrap().to_owned()
    };
    let put = async |objects: Objects| drop(objects.put("key", content.clone().into()).await.unwrap());
    let (head, body) = one_put(&[], put).await;
    assert_eq!((stated(&head), &body[..]), (hashed(&content).sha256().to_string(), &content[..]));
    // A digest of something else shows that the library asks for it.
    let other = hashed(b"other");
    let put = async |objects: Objects| {
        assert!(objects.needs_digests());
        let pieces = [content.slice(..30_000), content.slice(30_000..)];
        let _known = objects.know(pieces.to_vec(), other).unwrap();
        objects.put("key", pieces.into_iter().collect()).await.unwrap();
    };
    let (head, body) = one_put(&[], put).await;
    assert_eq!((stated(&head), &body[..]), (other.sha256().to_string(), &content[..]));
}

#[tokio::test]
async fn a_request_without_a_signature_of_its_content_needs_no_digest() {
    let content = Bytes::from(vec![7; 100_000]);
    for yes in ["true", "1", "On"] {
        let options = [("AWS_UNSIGNED_PAYLOAD", yes), ("AWS_CHECKSUM_ALGORITHM", "crc64nvme")];
        let put = async |objects: Objects| {
            assert!(!objects.needs_digests() && objects.know(vec![content.clone()], hashed(b"other")).is_none());
            objects.put("key", content.clone().into()).await.unwrap();
        };
        let (head, _) = one_put(&options, put).await;
        assert!(head.contains("x-amz-content-sha256: unsigned-payload"), "{head}");
        assert!(head.contains("x-amz-checksum-crc64nvme: "), "{head}");
    }
}
