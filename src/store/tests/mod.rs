//! Promises of the whole store: nothing is visible before it is proven, nothing leaves the folder,
//! and what `huggingface_hub` reads has its exact form.

use std::fs;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::hub::Lfs;
use crate::repo::{Hasher, Sha256};

const CONTENT: &[u8] = b"the content of a file";

fn commit() -> CommitId {
    "1111111111111111111111111111111111111111".parse().unwrap()
}

fn sha256(content: &[u8]) -> Sha256 {
    let mut hasher = Hasher::sha256();
    hasher.update(content);
    hasher.finish().to_string().parse().unwrap()
}

fn entry(path: &str) -> Entry {
    let lfs = Lfs { sha256: sha256(CONTENT), size: CONTENT.len() as u64 };
    Entry {
        path: path.parse().unwrap(),
        size: CONTENT.len() as u64,
        oid: "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap(),
        lfs: Some(lfs),
        xet_hash: None,
    }
}

fn cache(root: &Path, symlinks: bool) -> Arc<Store> {
    Arc::new(Store::hub_cache(root, RepoType::Model, &"org/name".parse().unwrap(), symlinks))
}

fn fetch(store: &Arc<Store>, entry: &Entry) -> Result<PathBuf, StoreError> {
    let lock = store.try_lock(entry)?.expect("nobody else holds it");
    let mut partial = store.partial(lock, &commit(), entry)?;
    partial.write(0, CONTENT)?;
    partial.record(0..CONTENT.len() as u64)?;
    partial.commit(entry.digest())
}

#[test]
fn the_cache_has_huggingface_hubs_form() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("unet/model.safetensors");
    fetch(&store, &entry).unwrap();
    let repo = root.path().join("models--org--name");
    let digest = entry.digest().to_string();
    assert_eq!(fs::read(repo.join("blobs").join(&digest)).unwrap(), CONTENT);
    let pointer = repo.join("snapshots").join(commit().to_string()).join("unet/model.safetensors");
    assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../../../blobs").join(&digest));
    assert_eq!(fs::read(&pointer).unwrap(), CONTENT);
    assert!(root.path().join(".locks/models--org--name").join(format!("{digest}.lock")).exists());
    assert!(root.path().join("CACHEDIR.TAG").exists());
    store.set_ref(&"refs/pr/1".parse().unwrap(), &commit()).unwrap();
    assert_eq!(fs::read_to_string(repo.join("refs/refs/pr/1")).unwrap(), commit().to_string());
    assert_eq!(store.read_ref(&"refs/pr/1".parse().unwrap()), Some(commit()));
    assert_eq!(store.snapshots(), [commit()]);
    assert_eq!(store.noted_digest(&commit(), &entry.path), Some(entry.digest()));
    assert_eq!(
        locate_snapshot(&store.snapshot_dir(&commit())).map(|(_, t, id, c)| (t, id.to_string(), c)),
        Some((RepoType::Model, "org/name".to_owned(), commit()))
    );
}

#[test]
fn without_symlinks_snapshots_hold_copies() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), false);
    let entry = entry("model.safetensors");
    fetch(&store, &entry).unwrap();
    let there = store.file_path(&commit(), &entry.path);
    assert!(!there.is_symlink());
    assert_eq!(fs::read(there).unwrap(), CONTENT);
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Verified);
}

#[test]
fn a_plain_folder_has_huggingface_hubs_metadata() {
    let root = TempDir::new().unwrap();
    let store = Arc::new(Store::local_dir(root.path()));
    let entry = entry("sub/model.safetensors");
    fetch(&store, &entry).unwrap();
    assert_eq!(fs::read(root.path().join("sub/model.safetensors")).unwrap(), CONTENT);
    let books = root.path().join(".cache/huggingface");
    let text = fs::read_to_string(books.join("download/sub/model.safetensors.metadata")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], [commit().to_string(), entry.digest().to_string()]);
    assert!(lines[2].parse::<f64>().unwrap() > 1.7e9, "seconds since 1970: {}", lines[2]);
    assert_eq!(fs::read_to_string(books.join(".gitignore")).unwrap(), "*");
    assert_eq!(store.noted_commit(&entry.path), Some(commit()));
}

/// Somebody else's bytes are "unverified" until proven, and a changed file is no longer known.
#[test]
fn only_what_was_proven_is_known() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("model.safetensors");
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Absent);
    let blob = root.path().join("models--org--name/blobs").join(entry.digest().to_string());
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, CONTENT).unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Unverified);
    store.adopt(&commit(), &entry).unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Verified);
    // In a new process too.
    assert_eq!(cache(root.path(), true).presence(&commit(), &entry).unwrap(), Presence::Verified);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&blob, CONTENT.to_ascii_uppercase()).unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Unverified, "same size, other time");
    fs::write(&blob, b"short").unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Absent, "another size is not the file");
}

#[test]
fn wrong_bytes_never_get_the_name() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("model.safetensors");
    for (bytes, actual) in [(CONTENT, Digest::Sha256(sha256(b"x"))), (&b"short"[..], entry.digest())] {
        let mut partial = store.partial(store.try_lock(&entry).unwrap().unwrap(), &commit(), &entry).unwrap();
        partial.reset().unwrap();
        partial.write(0, bytes).unwrap();
        partial.record(0..bytes.len() as u64).unwrap();
        assert!(matches!(partial.commit(actual), Err(StoreError::WrongContent { .. })));
        assert!(!store.file_path(&commit(), &entry.path).exists());
        assert!(!store.content_path(&commit(), &entry).exists());
    }
}

/// Whatever of the partial and the journal is lost or damaged, what is claimed is within the file.
#[test]
fn a_crash_at_any_moment_costs_bytes_and_nothing_else() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("model.safetensors");
    let open = || store.partial(store.try_lock(&entry).unwrap().unwrap(), &commit(), &entry).unwrap();
    let (part, journal);
    {
        let mut partial = open();
        partial.write(0, &CONTENT[..10]).unwrap();
        partial.record(0..5).unwrap();
        partial.record(5..10).unwrap();
        let dir = root.path().join("models--org--name/.hfget/partial");
        part = dir.join(format!("{}.part", entry.digest()));
        journal = dir.join(format!("{}.journal", entry.digest()));
    }
    let (bytes, lines) = (fs::read(&part).unwrap(), fs::read(&journal).unwrap());
    assert_eq!(open().ranges().total(), 10);
    for cut in 0..=lines.len() {
        for length in [0, 3, 10] {
            fs::write(&part, &bytes[..length]).unwrap();
            fs::write(&journal, &lines[..cut]).unwrap();
            let partial = open();
            assert!(partial.ranges().total() <= length as u64, "journal of {cut} bytes, file of {length}");
            let mut found = vec![0; usize::try_from(partial.ranges().frontier()).unwrap()];
            partial.file().read_exact_at(&mut found, 0).unwrap();
            assert_eq!(found, &CONTENT[..found.len()]);
        }
    }
    for at in 0..lines.len() {
        let mut damaged = lines.clone();
        damaged[at] = b'9';
        fs::write(&part, &bytes).unwrap();
        fs::write(&journal, damaged).unwrap();
        assert!(open().ranges().as_slice().iter().all(|r| r.end <= 10));
    }
    // Another commit with the same content goes on from the same bytes.
    fs::write(&part, &bytes).unwrap();
    fs::write(&journal, &lines).unwrap();
    let later: CommitId = "2222222222222222222222222222222222222222".parse().unwrap();
    assert_eq!(store.presence(&later, &entry).unwrap(), Presence::Partial(10));
    assert_eq!(store.leftovers().len(), 1);
    open().abandon().unwrap();
    assert_eq!(store.leftovers().len(), 0);
}

/// Links that lie in a plain folder are replaced or refused, never written through.
#[test]
fn nothing_is_written_through_a_link() {
    let outside = TempDir::new().unwrap();
    let root = TempDir::new().unwrap();
    let store = Arc::new(Store::local_dir(root.path()));
    symlink(outside.path(), root.path().join("sub")).unwrap();
    assert!(matches!(store.presence(&commit(), &entry("sub/a.bin")), Err(StoreError::Symlink(_))));
    assert!(matches!(fetch(&store, &entry("sub/a.bin")), Err(StoreError::Symlink(_))));
    fs::write(outside.path().join("victim"), "precious").unwrap();
    symlink(outside.path().join("victim"), root.path().join("a.bin")).unwrap();
    fetch(&store, &entry("a.bin")).unwrap();
    assert!(!root.path().join("a.bin").is_symlink(), "the link itself is replaced");
    symlink(outside.path().join("absent"), root.path().join("dangling.bin")).unwrap();
    fetch(&store, &entry("dangling.bin")).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "precious");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // Nor is a partial file that somebody replaced by a link.
    let dir = root.path().join(".cache/huggingface/hfget/partial");
    let other = entry("b.bin");
    symlink(outside.path().join("victim"), dir.join(format!("{}.part", other.digest()))).unwrap();
    assert!(fetch(&store, &other).is_err());
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "precious");
}

#[test]
fn what_is_in_the_way_is_named_and_left() {
    let root = TempDir::new().unwrap();
    let store = Arc::new(Store::local_dir(root.path()));
    fs::create_dir_all(root.path().join("a.bin/mine")).unwrap();
    assert!(matches!(fetch(&store, &entry("a.bin")), Err(StoreError::InTheWay { .. })));
    fs::write(root.path().join("file"), "mine").unwrap();
    assert!(fetch(&store, &entry("file/a.bin")).is_err());
    assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), "mine");
}

#[test]
fn a_lock_is_the_files_and_other_files_are_free() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let held = store.try_lock(&entry("a.bin")).unwrap();
    assert!(held.is_some());
    assert!(store.try_lock(&entry("a.bin")).unwrap().is_none());
    let mut other = entry("b.bin");
    other.lfs = None;
    assert!(store.try_lock(&other).unwrap().is_some());
    drop(held);
    assert!(store.try_lock(&entry("a.bin")).unwrap().is_some());
}

#[test]
fn discarding_removes_only_the_file() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let (a, mut b) = (entry("a.bin"), entry("b.bin"));
    b.lfs = None;
    fetch(&store, &a).unwrap();
    store.discard(&commit(), &a).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
    assert!(!store.file_path(&commit(), &a.path).exists());
    store.discard(&commit(), &b).unwrap();
}

/// A local error says where, and what the user can do.
#[test]
fn errors_name_the_path_and_the_way_out() {
    let full = StoreError::io("write to", Path::new("/x/model.part"))(std::io::ErrorKind::StorageFull.into());
    assert!(full.to_string().contains("/x/model.part"), "{full}");
    assert!(full.hint().unwrap().contains("free some space"));
    let forbidden = StoreError::io("create", Path::new("/x"))(std::io::ErrorKind::PermissionDenied.into());
    assert!(forbidden.hint().unwrap().contains("--cache-dir"));
}
