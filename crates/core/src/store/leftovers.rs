//! Leftovers of earlier runs: finds them, and removes those that no process works on.

use std::collections::HashSet;
use std::fs::{self, TryLockError};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::lock::FileLock;
use super::within::{Folder, TEMPORARY};
use super::{Store, StoreError, writer};
use crate::model::{Digest, RepoId, RepoType};
use crate::mutex::lock;
use crate::platform::{Access, Create, FileKind};

/// A leftover of an earlier run: a partial file, a journal without one, or a temporary file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The digest of the final file, if the leftover's name has it.
    pub digest: Option<Digest>,
    /// Its name in the folder of partial files.
    pub name: String,
    /// The bytes that it takes on disk, including reserved space.
    pub bytes: u64,
    /// When bytes last arrived; `None` if the file system keeps no times.
    pub modified: Option<SystemTime>,
}

/// The pause for threads that still write, and how many pauses to make: one second together.
const LET_GO_PAUSE: Duration = Duration::from_millis(10);
const LET_GO_TRIES: u32 = 100;
/// A link has no lock, so a link younger than this may still be in use.
const LINK_AGE: Duration = Duration::from_mins(1);

impl Store {
    /// The leftovers of earlier runs, and the files that another process works on at present.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let Ok(Some(folder)) = self.layout.find_partials() else { return Vec::new() };
        let names = folder.names();
        let leftover = |name: &String| {
            let digest = match name.rsplit_once('.') {
                Some((stem, "part")) => Some(writer::read_name(stem)?.0),
                // A journal beside its partial is not a leftover of its own.
                Some((stem, "journal")) if !names.contains(&format!("{stem}.part")) => Some(writer::read_name(stem)?.0),
                _ if name.starts_with(TEMPORARY) => None,
                _ => return None,
            };
            let stat = folder.stat(name).ok()?.filter(|stat| stat.kind != FileKind::Folder)?;
            Some(Leftover { digest, name: name.clone(), bytes: stat.taken, modified: stat.modified.to_second() })
        };
        names.iter().filter_map(leftover).collect()
    }

    /// Removes a leftover, a partial file together with its journal; `false` if another process is working on it.
    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<bool, StoreError> {
        let Some(folder) = self.layout.find_partials()? else { return Ok(true) };
        let name = leftover.name.as_str();
        let Some(digest) = leftover.digest else {
            if !is_free(&folder, name)? {
                return Ok(false);
            }
            folder.remove(name)?;
            return Ok(true);
        };
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        // A partial that is named after a process is used without the file's lock.
        if writer::read_name(stem).is_some_and(|(_, alive)| alive) {
            return Ok(false);
        }
        let Some(_lock) = FileLock::try_take(&self.layout.partial_locks(&digest)?, digest, &self.busy)? else {
            return Ok(false);
        };
        folder.remove(&format!("{stem}.journal"))?;
        folder.remove(&format!("{stem}.part"))?;
        Ok(true)
    }

    /// Removes the parts that killed runs have left of files with these digests. The whole files are in the store:
    /// another program may have finished a file that a run had begun. Files that cannot be removed stay for
    /// `hfget clean`.
    pub(crate) fn remove_finished(&self, here: &HashSet<Digest>) {
        for leftover in self.leftovers() {
            if leftover.digest.is_some_and(|digest| here.contains(&digest)) {
                let _ = self.remove_leftover(&leftover);
            }
        }
    }

    /// Removes files that a run made for nothing: partials without any bytes, and empty folders. Files that cannot
    /// be removed stay for `hfget clean`.
    pub(crate) fn tidy(&self) {
        let Ok(Some(folder)) = self.layout.find_partials() else { return };
        // Threads that still write for a run that has just ended need a moment to release their files.
        for _ in 0..LET_GO_TRIES {
            if lock(&self.busy).is_empty() {
                break;
            }
            std::thread::sleep(LET_GO_PAUSE);
        }
        for leftover in self.leftovers() {
            let stem = leftover.name.rsplit_once('.').map_or("", |(stem, _)| stem);
            let empty =
                |name: &str| folder.read_small(name, 4096).is_none_or(|text| text.split(|b| *b == b'\n').count() <= 2);
            if leftover.digest.is_some() && empty(&format!("{stem}.journal")) {
                let _ = self.remove_leftover(&leftover);
            }
        }
        self.layout.remove_empty();
    }
}

/// Whether no process is making this temporary file at present: such a process holds a lock on it.
fn is_free(folder: &Folder, name: &str) -> Result<bool, StoreError> {
    let Some(stat) = folder.stat(name)? else { return Ok(true) };
    if stat.kind == FileKind::Link {
        let made = stat.modified.to_second().unwrap_or(SystemTime::UNIX_EPOCH);
        return Ok(SystemTime::now().duration_since(made).is_ok_and(|age| age > LINK_AGE));
    }
    let file = folder.open(name, Access::Read, Create::Never);
    Ok(file.is_ok_and(|file| !matches!(file.try_lock(), Err(TryLockError::WouldBlock))))
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
