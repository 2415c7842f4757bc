//! The two layouts on disk. Both are `huggingface_hub`'s: the cache (`file_download.py`) and the
//! local dir (`_local_folder.py`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::cache::{Cache, folder_name};
pub(super) use super::notes::Noted;
use super::way::Ways;
use super::within::Folder;
use super::writer::{Names, Orphans};
use super::{StoreError, disk};
use crate::finding::Stamp;
use crate::model::{CommitId, Digest, Entry, RepoId, RepoPath, RepoType, Revision};

/// The tag that `huggingface_hub` writes too, word for word.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by huggingface_hub.
# For information about cache directory tags, see:
#\thttps://bford.info/cachedir/
";

/// The places of all files.
#[derive(Debug)]
pub(super) struct Layout {
    pub kind: Kind,
    /// The repo's name as a folder; for a local dir only if its repo is known.
    repo: Option<String>,
    /// Set when the marks are made.
    prepared: OnceLock<()>,
    orphans: OnceLock<Orphans>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Cache(Cache),
    Local { root: PathBuf },
}

/// The path of some content, and its key in the record.
#[derive(Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    pub key: String,
}

impl Layout {
    pub fn cache(root: &Path, repo_type: RepoType, id: &RepoId, symlinks: bool) -> Self {
        Self::of(Kind::Cache(Cache::new(root, repo_type, id, symlinks)), None)
    }

    pub fn local(root: &Path, repo: Option<(RepoType, &RepoId)>) -> Self {
        let repo = repo.map(|(repo_type, id)| folder_name(repo_type, id));
        Self::of(Kind::Local { root: root.to_path_buf() }, repo)
    }

    fn of(kind: Kind, repo: Option<String>) -> Self {
        Layout { kind, repo, prepared: OnceLock::new(), orphans: OnceLock::new() }
    }

    pub fn root(&self) -> &Path {
        match &self.kind {
            Kind::Cache(Cache { root, .. }) | Kind::Local { root } => root,
        }
    }

    /// The folder below which no symlink to our own files is followed.
    pub fn anchor(&self) -> &Path {
        match &self.kind {
            Kind::Cache(cache) => &cache.root,
            Kind::Local { root } => root,
        }
    }

    /// `.cache/huggingface` of a local dir; the repo folder of a cache. Below the anchor.
    pub fn bookkeeping(&self) -> &Path {
        Path::new(match &self.kind {
            Kind::Cache(cache) => cache.name.as_str(),
            Kind::Local { .. } => ".cache/huggingface",
        })
    }

    /// The folder in which the repo's files become visible, below the anchor.
    pub fn snapshot_below(&self, commit: &CommitId) -> PathBuf {
        match &self.kind {
            Kind::Cache(cache) => cache.snapshot_below(commit),
            Kind::Local { .. } => PathBuf::new(),
        }
    }

    /// The folder of hfget's own files, below the anchor.
    pub fn own(&self) -> PathBuf {
        self.bookkeeping().join(match &self.kind {
            Kind::Cache(_) => ".hfget",
            Kind::Local { .. } => "hfget",
        })
    }

    /// The folder of `huggingface_hub`'s kept listings, below the anchor.
    pub fn shared_trees(&self) -> PathBuf {
        self.bookkeeping().join("trees")
    }

    pub fn partial_dir(&self) -> PathBuf {
        self.anchor().join(self.own()).join("partial")
    }

    /// The open folder of partial files. Files that are about to get their names are also made there.
    pub fn partial_folder(&self) -> Result<Folder, StoreError> {
        Folder::make(self.anchor(), &self.own().join("partial"))
    }

    /// The same, if it exists.
    pub fn find_partials(&self) -> Result<Option<Folder>, StoreError> {
        Folder::find(self.anchor(), &self.own().join("partial"))
    }

    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        match &self.kind {
            Kind::Cache(cache) => cache.snapshot_dir(commit),
            Kind::Local { root } => root.clone(),
        }
    }

    /// The revision's ref, below the anchor. The refs of a local dir are hfget's own, and separate for each repo:
    /// several repos may have been put into it.
    pub fn ref_below(&self, revision: &Revision) -> Option<PathBuf> {
        let name: PathBuf = revision.as_str().split('/').collect();
        match &self.kind {
            Kind::Cache(cache) => Some(cache.below("refs").join(name)),
            Kind::Local { .. } => Some(self.own().join("refs").join(self.repo.as_ref()?).join(name)),
        }
    }

    /// The repo's name as a folder, for a local dir whose repo is known.
    pub fn repo_name(&self) -> Option<&str> {
        self.repo.as_deref()
    }

    /// The locks to hold: the one that `huggingface_hub` takes for the same file and, if files that
    /// share a partial have different locks, the partial's own.
    pub fn locks(&self, entry: &Entry) -> Result<Vec<(Folder, String)>, StoreError> {
        let mut locks = Vec::new();
        if let Kind::Local { root } = &self.kind {
            let below = self.beside(&entry.path, "lock");
            let (folder, file) = split(&below);
            locks.push((Folder::make(root, folder)?, file.to_owned()));
        }
        locks.extend(self.partial_locks(&entry.digest())?);
        Ok(locks)
    }

    /// The lock of a process that works on a partial file.
    pub fn partial_locks(&self, digest: &Digest) -> Result<Vec<(Folder, String)>, StoreError> {
        let folder = match &self.kind {
            Kind::Cache(cache) => Folder::make(&cache.root, &cache.locks())?,
            Kind::Local { root } => Folder::make(root, &self.own().join("locks"))?,
        };
        Ok(vec![(folder, format!("{digest}.lock"))])
    }

    /// The place of the content: the blob, or the snapshot's own copy if there is one.
    pub fn place(&self, commit: &CommitId, entry: &Entry) -> Place {
        match &self.kind {
            Kind::Cache(cache) => {
                let own = entry.path.under(&cache.snapshot_dir(commit));
                if fs::symlink_metadata(&own).is_ok_and(|m| m.is_file() && m.len() == entry.size) {
                    return Place { path: own, key: format!("{commit}/{}", entry.path.as_str()) };
                }
                Place { path: cache.blob(entry), key: entry.digest().to_string() }
            }
            Kind::Local { root } => Place { path: entry.path.under(root), key: entry.path.as_str().to_owned() },
        }
    }

    pub fn stamp(&self, path: &Path) -> Result<Option<Stamp>, StoreError> {
        if matches!(&self.kind, Kind::Local { .. }) && fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
            // Older tools linked a local dir's files to the cache: the target of such a link does not belong to this
            // folder.
            return Ok(None);
        }
        disk::stamp_of(path)
    }

    /// Creates the folders of the records, and the files that mark the folder as a cache; once.
    pub fn prepare(&self) -> Result<(), StoreError> {
        if self.prepared.get().is_some() {
            return Ok(());
        }
        let staging = self.partial_folder()?;
        staging.sweep();
        let tagged = match &self.kind {
            Kind::Cache(cache) => Folder::make(&cache.root, Path::new(""))?,
            Kind::Local { root } => Folder::make(root, self.bookkeeping())?,
        };
        // A failure is ignored: the marks are optional, and the folder may be another user's.
        let mark = |name: &str, content: &str| {
            if tagged.identity(name).is_none() {
                let _ = tagged.write(name, &staging, content.as_bytes(), false);
            }
        };
        mark("CACHEDIR.TAG", CACHEDIR_TAG);
        if let Kind::Local { .. } = &self.kind {
            mark(".gitignore", "*");
        }
        let _ = self.prepared.set(());
        Ok(())
    }

    /// Moves a finished file with this `stamp` to its final name and makes it visible. Returns its
    /// place and its stamp there.
    pub fn install(
        &self,
        from: &Folder,
        part: &str,
        stamp: Stamp,
        commit: &CommitId,
        entry: &Entry,
    ) -> Result<(Place, Stamp), StoreError> {
        Ways::new(self, *commit).check(&entry.path)?;
        match &self.kind {
            Kind::Cache(cache) => {
                let blob = cache.blob(entry);
                let (pointers, pointer) = cache.pointer(commit, entry)?;
                let stamp = if !cache.links(from) && fs::symlink_metadata(&blob).is_err() {
                    // Without links `huggingface_hub` does the same: there is no blob, and no second copy.
                    pointers.take(&pointer, from, part, entry)?.unwrap_or(stamp)
                } else {
                    let blobs = Folder::make(&cache.root, &cache.below("blobs"))?;
                    let moved = blobs.take(&entry.digest().to_string(), from, part, entry)?.unwrap_or(stamp);
                    cache.point(from, &pointers, &pointer, entry, true)?.unwrap_or(moved)
                };
                Ok((self.place(commit, entry), stamp))
            }
            Kind::Local { root } => {
                let below = entry.path.under(Path::new(""));
                let (folder, name) = split(&below);
                let stamp = Folder::make(root, folder)?.take(name, from, part, entry)?.unwrap_or(stamp);
                self.note(commit, entry)?;
                Ok((self.place(commit, entry), stamp))
            }
        }
    }

    /// Makes present content visible: by the snapshot's pointer, or the local dir's metadata file.
    /// Returns the stamp of the pointer if it had to be a copy.
    pub fn show(&self, commit: &CommitId, entry: &Entry, place: &Place) -> Result<Option<Stamp>, StoreError> {
        Ways::new(self, *commit).check(&entry.path)?;
        match &self.kind {
            Kind::Cache(cache) => {
                let there = entry.path.under(&cache.snapshot_dir(commit));
                // A link that another tool made in its own way is good enough, and needs no write
                // to a read-only cache.
                if place.path == there || cache.is_shown(&there, entry) {
                    return Ok(None);
                }
                let (pointers, pointer) = cache.pointer(commit, entry)?;
                cache.point(&self.partial_folder()?, &pointers, &pointer, entry, false)
            }
            Kind::Local { .. } => self.note(commit, entry).map(|()| None),
        }
    }

    /// Writes a small file below the anchor.
    pub fn write(&self, below: &Path, content: &[u8], flush: bool) -> Result<(), StoreError> {
        let (folder, name) = split(below);
        Folder::make(self.anchor(), folder)?.write(name, &self.partial_folder()?, content, flush)
    }

    /// Reads a small file below the anchor, through no link; `None` if there is nothing to read.
    pub fn read(&self, below: &Path, limit: u64) -> Option<Vec<u8>> {
        let (folder, name) = split(below);
        Folder::find(self.anchor(), folder).ok()??.read_small(name, limit)
    }

    /// The partials that dead processes have left. They are looked for once: those of a process that dies later are left
    /// to the next run.
    pub fn orphans(&self, partials: &Folder) -> &Orphans {
        self.orphans.get_or_init(|| Names::orphans(partials))
    }

    /// Flushes the folders that lead to the entries' content, so that their names outlive a crash of the machine.
    pub fn flush_names<'a>(
        &self,
        commit: &CommitId,
        entries: impl IntoIterator<Item = &'a Entry>,
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot_below(commit);
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for entry in entries {
            folders.extend(entry.path.under(&snapshot).ancestors().skip(1).map(Path::to_path_buf));
        }
        if let Kind::Cache(cache) = &self.kind {
            folders.insert(cache.below("blobs"));
        }
        // The innermost folders come first.
        for below in folders.iter().rev() {
            if let Some(folder) = Folder::find(self.anchor(), below)? {
                folder.sync()?;
            }
        }
        self.flush_anchor()
    }

    /// Flushes the name of the anchor itself, which may be new. A parent that this user may not open means that it is
    /// not new.
    fn flush_anchor(&self) -> Result<(), StoreError> {
        let Some(parent) = self.anchor().parent() else { return Ok(()) };
        match Folder::find(parent, Path::new("")) {
            Ok(Some(folder)) => folder.sync(),
            Ok(None) => Ok(()),
            Err(error) if error.is_not_allowed() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Flushes a small file's folders, from its own folder up to the anchor.
    pub fn flush_way(&self, below: &Path) -> Result<(), StoreError> {
        for folder in below.ancestors().skip(1) {
            if let Some(folder) = Folder::find(self.anchor(), folder)? {
                folder.sync()?;
            }
        }
        Ok(())
    }

    /// Removes a small file below the anchor.
    pub fn remove_own(&self, below: &Path) -> Result<(), StoreError> {
        remove(self.anchor(), below)
    }

    pub fn noted_digest(&self, commit: &CommitId, path: &RepoPath) -> Option<Digest> {
        match &self.kind {
            Kind::Cache(cache) => {
                let target = fs::read_link(path.under(&cache.snapshot_dir(commit))).ok()?;
                Digest::from_etag(target.file_name()?.to_str()?).ok()
            }
            Kind::Local { .. } => Digest::from_etag(&self.noted_file(path)?.etag).ok(),
        }
    }

    pub fn noted_commit(&self, path: &RepoPath) -> Option<CommitId> {
        self.noted_file(path)?.commit.parse().ok()
    }
}

/// Removes a file below `root`, if its folder is there.
fn remove(root: &Path, below: &Path) -> Result<(), StoreError> {
    let (folder, name) = split(below);
    Folder::find(root, folder)?.map_or(Ok(()), |folder| folder.remove(name))
}

/// A relative path's folder and last name.
pub(super) fn split(path: &Path) -> (&Path, &str) {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    (path.parent().unwrap_or(Path::new("")), name)
}
