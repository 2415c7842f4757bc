//! Partial files that earlier runs left: finding them, and removing those that nobody works on.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use super::lock::FileLock;
use super::within::Folder;
use super::{Store, StoreError};
use crate::model::{Digest, RepoId, RepoType};

/// A partial file that an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The file's digest, which names the partial.
    pub digest: Digest,
    /// What it takes on disk, in bytes, space that was set aside included.
    pub bytes: u64,
    /// When bytes last arrived; `None` where the file system keeps no times.
    pub modified: Option<SystemTime>,
}

impl Store {
    /// Partial files that earlier runs left, and those that another process works on just now.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let files = fs::read_dir(self.layout.partial_dir()).into_iter().flatten().flatten();
        let leftover = |file: fs::DirEntry| {
            let name = file.file_name();
            let digest = Digest::from_etag(name.to_str()?.strip_suffix(".part")?).ok()?;
            let meta = file.metadata().ok().filter(fs::Metadata::is_file)?;
            // Whatever st_blksize is, st_blocks counts units of 512 bytes.
            let bytes = meta.blocks().saturating_mul(512);
            Some(Leftover { digest, bytes, modified: meta.modified().ok() })
        };
        let mut all: Vec<Leftover> = files.filter_map(leftover).collect();
        all.sort_by_key(|leftover| leftover.digest.to_string());
        all
    }

    /// Removes a partial file and its journal; `false` when another process works on it.
    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<bool, StoreError> {
        let Some(_lock) = FileLock::try_take(&self.layout.partial_locks(&leftover.digest)?)? else {
            return Ok(false);
        };
        let Some(folder) = Folder::find(self.layout.anchor(), &self.layout.own().join("partial"))? else {
            return Ok(true);
        };
        folder.remove(&format!("{}.journal", leftover.digest))?;
        folder.remove(&format!("{}.part", leftover.digest))?;
        Ok(true)
    }
}

/// The repos that have a folder in the cache at `root`, by name.
pub fn cached_repos(root: &Path) -> Vec<(RepoType, RepoId)> {
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    let mut repos: Vec<_> = folders.filter_map(|folder| repo_of_folder(folder.file_name().to_str()?)).collect();
    repos.sort_by(|a, b| a.1.as_str().cmp(b.1.as_str()).then(a.0.plural().cmp(b.0.plural())));
    repos
}

/// `models--org--name`.
pub(crate) fn repo_of_folder(name: &str) -> Option<(RepoType, RepoId)> {
    let (plural, id) = name.split_once("--")?;
    let repo_type = RepoType::ALL.into_iter().find(|t| t.plural() == plural)?;
    Some((repo_type, id.replacen("--", "/", 1).parse().ok()?))
}
