//! Tests of the whole store's promises: nothing is visible before it is proven, nothing leaves the
//! folder, and files that `huggingface_hub` reads have its exact form.

mod cache;
mod crash;
mod hostile;
mod kept;
mod leftovers;
mod local;
mod proven;
mod recheck;
mod trouble;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::model::{Hasher, Lfs, Listing, Sha256};

const CONTENT: &[u8] = b"the content of a file";

fn commit() -> CommitId {
    "1111111111111111111111111111111111111111".parse().unwrap()
}

fn sha256(content: &[u8]) -> Sha256 {
    let mut hasher = Hasher::sha256();
    hasher.update(content);
    hasher.finish().digest().to_string().parse().unwrap()
}

/// A listed file with `CONTENT`.
fn entry(path: &str) -> Entry {
    entry_of(path, CONTENT)
}

fn entry_of(path: &str, content: &[u8]) -> Entry {
    let lfs = Lfs { sha256: sha256(content), size: content.len() as u64 };
    Entry {
        path: path.parse().unwrap(),
        size: content.len() as u64,
        oid: "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap(),
        lfs: Some(lfs),
        xet_hash: None,
    }
}

fn cache(root: &Path, symlinks: bool) -> Arc<Store> {
    Arc::new(Store::hub_cache(root, RepoType::Model, &"org/name".parse().unwrap(), symlinks))
}

fn local(root: &Path) -> Arc<Store> {
    Arc::new(Store::local_dir(root))
}

/// An endpoint's listing at `commit()`.
fn listing(entries: &[Entry]) -> Listing {
    let id: RepoId = "org/name".parse().unwrap();
    let info = crate::model::RepoInfo::new(RepoType::Model, id, Revision::default(), commit());
    Listing::new(info, entries.to_vec(), Vec::new())
}

/// Stores `CONTENT` as `entry`, as the transfer does.
fn fetch(store: &Arc<Store>, entry: &Entry) -> Result<PathBuf, StoreError> {
    fetch_bytes(store, entry, CONTENT)
}

fn fetch_bytes(store: &Arc<Store>, entry: &Entry, content: &[u8]) -> Result<PathBuf, StoreError> {
    let lock = store.try_lock(entry)?.expect("no other process has it");
    let mut partial = store.partial(lock, &commit(), entry)?;
    partial.write(0, content)?;
    partial.record(0..content.len() as u64)?;
    partial.commit(entry.digest())
}

/// Removes content, with the pointers to it and the notes about it.
fn take_away(store: &Store, entry: &Entry) {
    let place = store.content_path(&commit(), entry);
    let _ = store.strike(&commit(), entry);
    let shown = store.file_path(&commit(), &entry.path);
    for path in [place, shown] {
        let _ = fs::remove_file(path);
    }
    if let Kind::Local { .. } = &store.layout.kind {
        store.layout.remove_file(&entry.path).unwrap();
    }
}

/// Every path below `root`, sorted, with a folder's, a link's or a file's sign.
fn all_of(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let item = item.unwrap();
            let kind = item.file_type().unwrap();
            let sign = if kind.is_dir() {
                "/"
            } else if kind.is_symlink() {
                "@"
            } else {
                ""
            };
            found.push(format!("{}{sign}", item.path().strip_prefix(root).unwrap().display()));
            if kind.is_dir() {
                folders.push(item.path());
            }
        }
    }
    found.sort();
    found
}
