//! Listings kept on disk, in the form of `huggingface_hub`'s `trees/<commit>.json` (`_tree_cache.py`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Entry, GitOid, Lfs, RepoPath, Sha256};

/// The most bytes of a kept listing; one of a million files has fewer.
pub(super) const SIZE_LIMIT: u64 = 1 << 30;

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

/// Reads a kept listing; `None` if this version does not understand it.
pub(super) fn parse(text: &[u8]) -> Option<Vec<Entry>> {
    let tree: Tree = serde_json::from_slice(text).ok()?;
    if tree.format_version != 1 {
        return None;
    }
    let entry = |(path, file): (RepoPath, TreeFile)| {
        let lfs = file.lfs_sha256.map(|sha256| Lfs { sha256, size: file.lfs_size.unwrap_or(file.size) });
        Entry { path, size: lfs.map_or(file.size, |l| l.size), oid: file.blob_id, lfs, xet_hash: file.xet_hash }
    };
    Some(tree.files.into_iter().map(entry).collect())
}

/// The file's content for a listing; `None` if it cannot be written in this form.
pub(super) fn text(entries: &[Entry]) -> Option<Vec<u8>> {
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
    serde_json::to_vec(&Tree { format_version: 1, files: files.collect() }).ok()
}

/// Whether `huggingface_hub` would accept the listing: it refuses one with an invalid Xet hash.
pub(super) fn is_shareable(entries: &[Entry]) -> bool {
    let good = |hash: &String| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    entries.iter().all(|entry| entry.xet_hash.as_ref().is_none_or(good))
}
