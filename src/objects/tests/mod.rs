//! Objects in memory: what is read at any place is what was put there, and what is kept beside the files
//! reads back. The wire is for the tests with a server.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use proptest::prelude::*;

use super::{FarObject, Keys, Mark, ObjectError, Objects, Record};
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{CommitId, Hasher, Options, RepoType};
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
    objects.put_manifest(&keys(), locked()).await.unwrap();
    let read = objects.manifest(&keys(), &commit()).await.unwrap().unwrap();
    assert_eq!(read.files, locked().files);
    assert_eq!(objects.commits(&keys()).await.unwrap(), [commit()]);
    // One that was copied to another place is none.
    let other: CommitId = "0".repeat(40).parse().unwrap();
    let text = objects.small(&keys().manifest(&commit()), 1000).await.unwrap().unwrap();
    objects.put(&keys().manifest(&other), text.clone()).await.unwrap();
    assert!(matches!(objects.manifest(&keys(), &other).await, Err(ObjectError::Invalid { .. })));
    let foreign = Keys::new(RepoType::Model, &"org/two".parse().unwrap());
    objects.put(&foreign.manifest(&commit()), text).await.unwrap();
    assert!(matches!(objects.manifest(&foreign, &commit()).await, Err(ObjectError::Invalid { .. })));
}

#[test]
fn a_tag_is_the_same_with_and_without_quotes() {
    assert_eq!(Mark::new(1, Some("\"0x8D\"".into())), Mark::new(1, Some("0x8D".into())));
    assert_ne!(Mark::new(1, Some("0x8D".into())), Mark::new(1, Some("0x8E".into())));
}

#[tokio::test]
async fn a_ref_moves_and_a_record_that_cannot_be_read_is_none() {
    let objects = Objects::in_memory();
    let main = "main".parse().unwrap();
    assert_eq!(objects.reference(&keys(), &main).await.unwrap(), None);
    objects.set_reference(&keys(), &main, &commit()).await.unwrap();
    objects.set_reference(&keys(), &"refs/pr/1".parse().unwrap(), &commit()).await.unwrap();
    assert_eq!(objects.reference(&keys(), &main).await.unwrap(), Some(commit()));
    assert_eq!(objects.references(&keys()).await.unwrap(), ["main", "refs/pr/1"]);
    let mut record = Record::default();
    record.files.insert("a".into(), Mark { size: 1, etag: Some("\"x\"".into()) });
    objects.put_record(&keys(), &commit(), record.clone()).await.unwrap();
    assert_eq!(objects.record(&keys(), &commit()).await.unwrap().files, record.files);
    objects.put(&keys().record(&commit()), "[1]".into()).await.unwrap();
    assert!(objects.record(&keys(), &commit()).await.unwrap().files.is_empty());
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

    /// As a file on disk would be: reads that go on and on, and jumps, give the object's bytes.
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
            FarObject::new(Arc::clone(&objects), "k".into(), Some(size as u64))
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
