//! Lockfiles: the exact commit, files, sizes and digests of a repo's selection, as a small text
//! that reads well in a diff. `session` makes and uses lockfiles.
//!
//! The format is TOML, version [`VERSION`]: a table `[[repo]]` for each repo, and in it one line for
//! each file with its size, its digest (`sha256` of LFS files, `git` blob ids of the others) and its
//! Xet hash. Other versions and unknown keys are refused, so that no lockfile is only partly
//! understood.

mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::{
    CommitId, Digest, Entry, Listing, Options, RepoId, RepoInfo, RepoPath, RepoSpec, RepoType, Revision,
};
use crate::platform::{folder_of, give_rights};

/// The version that is written, and the only one that is read.
pub const VERSION: i64 = 1;
/// The most bytes of a lockfile, which has some lines for each file.
const LIMIT: u64 = 256 << 20;

/// The locked state of one repo.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LockedRepo {
    /// The repo's name space.
    pub repo_type: RepoType,
    /// The repo.
    pub id: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit that it was pinned to.
    pub commit: CommitId,
    /// How the files were chosen: for `lock --check` and `--update`.
    pub options: Options,
    /// The files, by path.
    pub files: Vec<LockedFile>,
}

/// One locked file: its exact size and digest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockedFile {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its Xet hash, if it is in Xet storage.
    pub xet_hash: Option<String>,
}

/// A lockfile's content.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Lock {
    /// The repos, by name; each once.
    pub repos: Vec<LockedRepo>,
}

/// Why a lockfile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The lockfile.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Not a lockfile of this version.
    #[error("{}: {why}", .path.display())]
    Invalid {
        /// The lockfile.
        path: PathBuf,
        /// What is wrong, with the line if it is known.
        why: String,
    },
}

impl Lock {
    /// Reads a lockfile.
    ///
    /// # Errors
    /// If it cannot be read, or is not of [`VERSION`].
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let invalid = |why| LockError::Invalid { path: path.to_path_buf(), why };
        let text = String::from_utf8(Self::read_bytes(path)?).map_err(|error| invalid(error.to_string()))?;
        text::parse(&text).map_err(invalid)
    }

    /// A lockfile's bytes, for a caller that must check them before it parses them.
    ///
    /// # Errors
    /// If they cannot be read, or are too many.
    pub fn read_bytes(path: &Path) -> Result<Vec<u8>, LockError> {
        let io = |source| LockError::Io { path: path.to_path_buf(), source };
        if std::fs::metadata(path).map_err(io)?.len() > LIMIT {
            return Err(LockError::Invalid {
                path: path.to_path_buf(),
                why: format!("it is larger than {LIMIT} bytes"),
            });
        }
        std::fs::read(path).map_err(io)
    }

    /// Reads a lockfile's text.
    ///
    /// ```
    /// let lock = hfget_core::unstable::lock::Lock::parse("version = 1").unwrap();
    /// assert!(lock.repos.is_empty());
    /// assert!(hfget_core::unstable::lock::Lock::parse("version = 2").unwrap_err().contains("use another hfget"));
    /// ```
    ///
    /// # Errors
    /// If it is not a lockfile of [`VERSION`]: a sentence that says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        text::parse(text)
    }

    /// Writes a lockfile completely, or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let io = |source| LockError::Io { path: path.to_path_buf(), source };
        let folder = folder_of(path);
        let mut file = tempfile::Builder::new().prefix(".hfget-lock").tempfile_in(folder).map_err(io)?;
        std::io::Write::write_all(&mut file, self.to_string().as_bytes()).map_err(io)?;
        give_rights(file.as_file(), Some(path)).map_err(io)?;
        file.persist(path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// The locked state of a repo.
    pub fn get(&self, repo_type: RepoType, id: &RepoId) -> Option<&LockedRepo> {
        self.repos.iter().find(|r| r.repo_type == repo_type && r.id == *id)
    }

    /// Adds a repo, or replaces its locked state.
    pub fn put(&mut self, repo: LockedRepo) {
        self.repos.retain(|r| (r.repo_type, &r.id) != (repo.repo_type, &repo.id));
        self.repos.push(repo);
        self.repos.sort_by(|a, b| (a.repo_type.plural(), a.id.as_str()).cmp(&(b.repo_type.plural(), b.id.as_str())));
    }
}

impl LockedRepo {
    /// The repo as people name it: `org/name`, `datasets/org/name`.
    pub fn name(&self) -> String {
        self.repo_type.qualify(&self.id)
    }

    /// The repo as it was asked for.
    pub fn spec(&self) -> RepoSpec {
        RepoSpec {
            repo_type: self.repo_type,
            id: self.id.clone(),
            revision: Some(self.revision.clone()),
            path: None,
            tag: None,
            endpoint: None,
        }
    }

    /// The locked files as a listing, as if the repo had no other files.
    pub fn listing(&self) -> Listing {
        let info = RepoInfo::new(self.repo_type, self.id.clone(), self.revision.clone(), self.commit);
        Listing::new(info, self.files.iter().map(LockedFile::entry).collect(), Vec::new())
    }

    /// The differences to a later lock of the same repo, one line for each file.
    pub fn changes(&self, later: &LockedRepo) -> Vec<String> {
        let here: BTreeMap<&RepoPath, &LockedFile> = self.files.iter().map(|f| (&f.path, f)).collect();
        let there: BTreeMap<&RepoPath, &LockedFile> = later.files.iter().map(|f| (&f.path, f)).collect();
        let mut lines = Vec::new();
        for old in &self.files {
            match there.get(&old.path) {
                None => lines.push(format!("- {}", old.path.shown())),
                Some(new) if (new.size, new.digest) != (old.size, old.digest) => {
                    lines.push(format!("~ {}: {} bytes, was {}", old.path.shown(), new.size, old.size));
                }
                Some(_) => {}
            }
        }
        lines.extend(
            later.files.iter().filter(|f| !here.contains_key(&f.path)).map(|f| format!("+ {}", f.path.shown())),
        );
        lines
    }
}

impl LockedFile {
    fn entry(&self) -> Entry {
        Entry { xet_hash: self.xet_hash.clone(), ..Entry::new(self.path.clone(), self.size, self.digest) }
    }
}

impl From<&Entry> for LockedFile {
    fn from(entry: &Entry) -> Self {
        LockedFile {
            path: entry.path.clone(),
            size: entry.size,
            digest: entry.digest(),
            xet_hash: entry.xet_hash.clone(),
        }
    }
}
