//! A local dir's notes about itself and its files, in the form of `huggingface_hub`'s metadata files: the commit,
//! the digest and the time of each file. Other modules draw conclusions from them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::StoreError;
use super::layout::{Kind, Layout, split};
use super::within::{Folder, slashed};
use crate::model::{CommitId, Entry, Hasher, RepoPath};

/// The most bytes of a metadata file, which has three short lines.
const METADATA_LIMIT: u64 = 4096;
/// The most files of one folder; the rest is not read.
const FILES_LIMIT: usize = 1_000_000;
/// The most bytes of a name on today's file systems.
const NAME_LIMIT: usize = 255;

/// Whether a name belongs to an empty file that only marks something.
fn is_mark(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "lock")
        || matches!(name, "CACHEDIR.TAG" | ".gitignore" | "folder")
}

/// The note about a file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) struct Noted {
    pub commit: String,
    pub etag: String,
    /// When it was noted, in seconds since 1970.
    pub time: f64,
}

/// The repo, revision and commit that a local dir is noted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Belongs {
    /// The repo's name as a folder.
    pub repo: String,
    pub revision: String,
    pub commit: CommitId,
}

impl Layout {
    /// `.cache/huggingface/download/<path>.<suffix>`. If that name is too long, a digest replaces it:
    /// `huggingface_hub` cannot keep such a file at all.
    pub fn beside(&self, path: &RepoPath, suffix: &str) -> PathBuf {
        let mut place = path.under(&self.bookkeeping().join("download"));
        if path.file_name().len() + 1 + suffix.len() > NAME_LIMIT {
            let mut hasher = Hasher::sha256();
            hasher.update(path.file_name().as_bytes());
            place.set_file_name(format!("{}.{suffix}", hasher.finish().digest()));
        } else {
            place.as_mut_os_string().push(format!(".{suffix}"));
        }
        place
    }

    /// Reads the note about a file.
    pub fn noted_file(&self, path: &RepoPath) -> Option<Noted> {
        let Kind::Local { .. } = &self.kind else { return None };
        let text = self.read(&self.beside(path, "metadata"), METADATA_LIMIT)?;
        let mut lines = std::str::from_utf8(&text).ok()?.lines();
        let (commit, etag, time) = (lines.next()?.trim(), lines.next()?.trim(), lines.next()?.trim());
        Some(Noted { commit: commit.to_owned(), etag: etag.to_owned(), time: time.parse().ok()? })
    }

    /// The files with a note, without those whose names are too long for a note of that name.
    pub fn noted_paths(&self) -> Result<Vec<RepoPath>, StoreError> {
        let download = self.bookkeeping().join("download");
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            let Some(folder) = Folder::find(self.anchor(), &download.join(&below))? else { continue };
            for name in folder.names() {
                if found.len() + folders.len() > FILES_LIMIT {
                    return Ok(found);
                }
                if folder.is_folder(&name) {
                    folders.push(below.join(name));
                } else if let Some(file) = name.strip_suffix(".metadata")
                    && let Some(Ok(path)) = slashed(&below.join(file)).map(|name| name.parse())
                {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    /// Writes a file's metadata, unless they are the same already.
    pub fn note(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        let Kind::Local { root } = &self.kind else { return Ok(()) };
        let etag = entry.digest().to_string();
        let stamp = self.stamp(&entry.path.under(root))?;
        // Seconds since 1970 are far below an f64's exact range.
        #[allow(clippy::cast_precision_loss)]
        let fresh = |noted: &Noted| stamp.is_some_and(|stamp| stamp.mtime as f64 - 1.0 <= noted.time);
        if self.noted_file(&entry.path).is_some_and(|n| fresh(&n) && n.commit == commit.to_string() && n.etag == etag) {
            return Ok(());
        }
        self.prepare()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = format!("{commit}\n{etag}\n{}.{:06}\n", now.as_secs(), now.subsec_micros());
        self.write(&self.beside(&entry.path, "metadata"), text.as_bytes(), false)
    }

    /// Removes a file, its notes, and the folders that become empty.
    pub fn remove_file(&self, path: &RepoPath) -> Result<(), StoreError> {
        let below = path.under(Path::new(""));
        let (folder, name) = split(&below);
        if let Some(folder) = Folder::find(self.anchor(), folder)? {
            folder.remove(name)?;
        }
        self.remove_own(&self.beside(path, "metadata"))?;
        for empty in below.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            let (parent, name) = split(empty);
            // A folder that is not empty stays, and so do its parents.
            let Some(parent) = Folder::find(self.anchor(), parent)? else { break };
            if !parent.remove_folder(name) {
                break;
            }
        }
        Ok(())
    }

    /// Removes unheld lock files and empty folders of a repo or local dir that has no other files here. If it has any
    /// other file, everything stays.
    pub fn remove_empty(&self) {
        let root = match &self.kind {
            Kind::Cache(cache) => PathBuf::from(&cache.name),
            Kind::Local { .. } => PathBuf::from(".cache/huggingface"),
        };
        if self.holds_anything(&root) {
            return;
        }
        self.remove_folders(&root);
        if let Kind::Cache(cache) = &self.kind {
            self.remove_folders(&cache.locks());
            self.remove_folder_of(Path::new(".locks"));
            let Ok(Some(top)) = Folder::find(&cache.root, Path::new("")) else { return };
            // The tag alone does not matter.
            if top.names() == ["CACHEDIR.TAG"] {
                let _ = top.remove("CACHEDIR.TAG");
                drop(top);
                let _ = std::fs::remove_dir(&cache.root);
            }
        } else {
            self.remove_folder_of(Path::new(".cache"));
        }
    }

    /// Whether there is any file below, other than locks and marks.
    fn holds_anything(&self, below: &Path) -> bool {
        let Ok(Some(folder)) = Folder::find(self.anchor(), below) else { return false };
        folder
            .names()
            .iter()
            .any(|name| if folder.is_folder(name) { self.holds_anything(&below.join(name)) } else { !is_mark(name) })
    }

    fn remove_folders(&self, below: &Path) {
        let Ok(Some(folder)) = Folder::find(self.anchor(), below) else { return };
        for name in folder.names() {
            if folder.is_folder(&name) {
                self.remove_folders(&below.join(&name));
            } else if is_mark(&name) && super::lock::is_unheld(&folder, &name) {
                let _ = folder.remove(&name);
            }
        }
        // Some systems do not remove an open folder.
        drop(folder);
        self.remove_folder_of(below);
    }

    fn remove_folder_of(&self, below: &Path) {
        let (parent, name) = split(below);
        if let Ok(Some(parent)) = Folder::find(self.anchor(), parent) {
            parent.remove_folder(name);
        }
    }

    fn belongs_below(&self) -> PathBuf {
        self.own().join("folder")
    }

    /// The repo and commit that the folder was last filled from.
    pub fn belongs(&self) -> Option<Belongs> {
        let Kind::Local { .. } = &self.kind else { return None };
        let text = self.read(&self.belongs_below(), METADATA_LIMIT)?;
        let mut lines = std::str::from_utf8(&text).ok()?.lines();
        let (repo, revision, commit) = (lines.next()?, lines.next()?, lines.next()?);
        Some(Belongs { repo: repo.to_owned(), revision: revision.to_owned(), commit: commit.parse().ok()? })
    }

    /// Notes the repo and commit. The note is flushed when this returns: two repos must not mix even after a crash.
    pub fn set_belongs(&self, belongs: &Belongs) -> Result<(), StoreError> {
        if self.belongs().as_ref() == Some(belongs) {
            return Ok(());
        }
        let text = format!("{}\n{}\n{}\n", belongs.repo, belongs.revision, belongs.commit);
        match self.prepare().and_then(|()| self.write(&self.belongs_below(), text.as_bytes(), true)) {
            // No file can get into a read-only folder, so nothing can mix there.
            Err(error) if error.is_not_allowed() => Ok(()),
            done => done,
        }
    }
}
