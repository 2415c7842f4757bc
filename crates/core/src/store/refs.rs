//! Which commits are here, and which of them a revision means: refs, snapshot folders, and the place of one.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::Kind;
use super::leftovers::repo_of_folder;
use super::within::Folder;
use super::{Store, StoreError};
use crate::model::{CommitId, RepoId, RepoType, Revision};

/// The most bytes of a ref, which is a commit id.
pub(super) const REF_LIMIT: u64 = 100;

impl Store {
    /// Moves `refs/<revision>` to `commit`. Call it only after everything is verified. The refs of
    /// a local dir are for this program alone.
    pub fn set_ref(&self, revision: &Revision, commit: &CommitId) -> Result<(), StoreError> {
        let Some(below) = self.layout.ref_below(revision) else { return Ok(()) };
        let text = commit.to_string();
        // The bytes must be exact: other tools read a newline as part of the commit.
        if revision.as_commit().is_some() || self.layout.read(&below, REF_LIMIT).as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        self.layout.write(&below, text.as_bytes(), true)?;
        self.layout.flush_way(&below)
    }

    /// The commit in `refs/<revision>`; for a commit hash, that commit.
    pub fn read_ref(&self, revision: &Revision) -> Option<CommitId> {
        if let Some(commit) = revision.as_commit() {
            return Some(commit);
        }
        let below = self.layout.ref_below(revision)?;
        std::str::from_utf8(&self.layout.read(&below, REF_LIMIT)?).ok()?.trim().parse().ok()
    }

    /// The commits that have a snapshot folder here.
    pub fn snapshots(&self) -> Vec<CommitId> {
        let Kind::Cache(cache) = &self.layout.kind else { return Vec::new() };
        let folder = Folder::find(&cache.root, &cache.below("snapshots")).ok().flatten();
        let mut commits: Vec<CommitId> =
            folder.map_or_else(Vec::new, |f| f.names()).iter().filter_map(|name| name.parse().ok()).collect();
        commits.sort_unstable();
        commits
    }
}

/// The place of a cached snapshot folder: the cache's root, the repo and the commit.
pub(crate) fn locate_snapshot(dir: &Path) -> Option<(PathBuf, RepoType, RepoId, CommitId)> {
    let dir = fs::canonicalize(dir).ok()?;
    let commit = dir.file_name()?.to_str()?.parse().ok()?;
    let snapshots = dir.parent()?;
    let repo = snapshots.parent()?;
    if snapshots.file_name()? != "snapshots" {
        return None;
    }
    let (repo_type, id) = repo_of_folder(repo.file_name()?.to_str()?)?;
    Some((repo.parent()?.to_path_buf(), repo_type, id, commit))
}
