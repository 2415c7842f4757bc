//! Listings kept on disk, in the form of `huggingface_hub`'s `trees/<commit>.json` (`_tree_cache.py`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{StoreError, disk};
use crate::hub::{Entry, Lfs};
use crate::repo::{GitOid, RepoPath, Sha256};

/// A listing of a million files stays below this.
const SIZE_LIMIT: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
struct Tree {
    format_version: u32,
    files: BTreeMap<RepoPath, TreeFile>,
}

#[derive(Serialize, Deserialize)]
struct TreeFile {
    size: u64,
    blob_id: GitOid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_sha256: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lfs_size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    xet_hash: Option<String>,
}

/// Reads a kept listing; `None` when there is none that this version understands.
pub(super) fn read(path: &Path) -> Option<Vec<Entry>> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(SIZE_LIMIT).read_to_end(&mut text).ok()?;
    let tree: Tree = serde_json::from_slice(&text).ok()?;
    if tree.format_version != 1 {
        return None;
    }
    let entry = |(path, file): (RepoPath, TreeFile)| {
        let lfs = file.lfs_sha256.map(|sha256| Lfs { sha256, size: file.lfs_size.unwrap_or(file.size) });
        Entry { path, size: lfs.map_or(file.size, |l| l.size), oid: file.blob_id, lfs, xet_hash: file.xet_hash }
    };
    Some(tree.files.into_iter().map(entry).collect())
}

/// Keeps a listing.
pub(super) fn write(path: &Path, entries: &[Entry]) -> Result<(), StoreError> {
    let files = entries.iter().map(|entry| {
        let file = TreeFile {
            size: entry.size,
            blob_id: entry.oid,
            lfs_sha256: entry.lfs.map(|l| l.sha256),
            lfs_size: entry.lfs.map(|l| l.size),
            xet_hash: entry.xet_hash.clone(),
        };
        (entry.path.clone(), file)
    });
    let tree = Tree { format_version: 1, files: files.collect() };
    let text = serde_json::to_vec(&tree).map_err(|e| StoreError::io("write", path)(e.into()))?;
    disk::write_atomic(path, &text)
}
