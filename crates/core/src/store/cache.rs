//! One repo's folders in a cache: blobs, and the snapshots' pointers to them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::StoreError;
use super::layout::split;
use super::within::Folder;
use crate::finding::Stamp;
use crate::model::{CommitId, Entry, RepoId, RepoType};
use crate::platform::look_through;

/// The folders of one repo's cache.
#[derive(Debug)]
pub(super) struct Cache {
    pub root: PathBuf,
    /// The repo's folder below the root.
    pub name: String,
    symlinks: bool,
    /// Whether this file system has symlinks; set by the first try.
    can_link: OnceLock<bool>,
}

/// `models--org--name`.
pub(crate) fn folder_name(repo_type: RepoType, id: &RepoId) -> String {
    format!("{}--{}", repo_type.plural(), id.as_str().replace('/', "--"))
}

impl Cache {
    pub fn new(root: &Path, repo_type: RepoType, id: &RepoId, symlinks: bool) -> Self {
        Cache { root: root.to_path_buf(), name: folder_name(repo_type, id), symlinks, can_link: OnceLock::new() }
    }

    /// A folder of the repo, relative to the root. Every access enters it folder by folder from the root.
    pub fn below(&self, folder: &str) -> PathBuf {
        Path::new(&self.name).join(folder)
    }

    /// The folder of the repo's lock files, below the root.
    pub fn locks(&self) -> PathBuf {
        Path::new(".locks").join(&self.name)
    }

    /// The folder of a snapshot, below the root.
    pub fn snapshot_below(&self, commit: &CommitId) -> PathBuf {
        self.below("snapshots").join(commit.to_string())
    }

    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        self.root.join(self.snapshot_below(commit))
    }

    pub fn blob(&self, entry: &Entry) -> PathBuf {
        self.root.join(self.below("blobs")).join(entry.digest().to_string())
    }

    /// The open folder of the entry's pointer in the snapshot, and the pointer's name.
    pub fn pointer(&self, commit: &CommitId, entry: &Entry) -> Result<(Folder, String), StoreError> {
        let below = entry.path.under(Path::new(""));
        let (folder, name) = split(&below);
        Ok((Folder::make(&self.root, &self.snapshot_below(commit).join(folder))?, name.to_owned()))
    }

    /// Whether the pointer is a link that ends at the blob.
    pub fn is_shown(&self, pointer: &Path, entry: &Entry) -> bool {
        // By identity, not by name: the system reads one link for each folder of a path to tell its real name.
        let blob = || look_through(&self.blob(entry));
        fs::read_link(pointer).is_ok()
            && look_through(pointer).is_ok_and(|end| blob().is_ok_and(|blob| blob.identity == end.identity))
    }

    /// Whether snapshots can have links here. Tries it once.
    pub fn links(&self, scratch: &Folder) -> bool {
        self.symlinks
            && *self.can_link.get_or_init(|| {
                let name = format!("link-{:016x}", fastrand::u64(..));
                match scratch.link(&name, scratch, Path::new("nowhere")) {
                    Ok(()) => scratch.remove(&name).is_ok(),
                    // If the disk is full, copies would only need more space.
                    Err(StoreError::Io { source, .. }) => {
                        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    }
                    Err(_) => true,
                }
            })
    }

    /// Makes the pointer a link to the blob, or a copy of it if there are no links. Unless `anew`,
    /// any link that ends at the blob is kept. Returns a copy's stamp.
    pub fn point(
        &self,
        staging: &Folder,
        pointers: &Folder,
        pointer: &str,
        entry: &Entry,
        anew: bool,
    ) -> Result<Option<Stamp>, StoreError> {
        if !anew && self.is_shown(&pointers.path(pointer), entry) {
            return Ok(None);
        }
        if !self.links(staging) {
            return pointers.copy(pointer, staging, &self.blob(entry), entry).map(Some);
        }
        let mut target = PathBuf::new();
        target.extend(std::iter::repeat_n("..", entry.path.segments().count() + 1));
        target.push("blobs");
        target.push(entry.digest().to_string());
        pointers.link(pointer, staging, &target).map(|()| None)
    }
}
