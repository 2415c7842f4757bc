//! The two layouts on disk. The cache is `huggingface_hub`'s (`file_download.py`), the local dir too
//! (`_local_folder.py`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk::{self, Stamp};
use super::within::Folder;
use super::{StoreError, error};
use crate::hub::Entry;
use crate::repo::{CommitId, Digest, RepoId, RepoPath, RepoType, Revision};

/// A metadata file is three short lines.
const METADATA_LIMIT: u64 = 4096;

/// The tag that `huggingface_hub` writes too, word for word.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by huggingface_hub.
# For information about cache directory tags, see:
#\thttps://bford.info/cachedir/
";

#[derive(Debug)]
pub(super) enum Layout {
    Cache(Cache),
    Local { root: PathBuf },
}

#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    pub repo: PathBuf,
    locks: PathBuf,
    symlinks: bool,
    /// Whether this file system has symlinks, once tried.
    can_link: OnceLock<bool>,
}

/// Where content lies, and the name under which the record knows it.
#[derive(Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    pub key: String,
}

impl Layout {
    pub fn cache(root: &Path, repo_type: RepoType, id: &RepoId, symlinks: bool) -> Self {
        let name = format!("{}--{}", repo_type.plural(), id.as_str().replace('/', "--"));
        Layout::Cache(Cache {
            root: root.to_path_buf(),
            repo: root.join(&name),
            locks: root.join(".locks").join(&name),
            symlinks,
            can_link: OnceLock::new(),
        })
    }

    pub fn local(root: &Path) -> Self {
        Layout::Local { root: root.to_path_buf() }
    }

    pub fn root(&self) -> &Path {
        match self {
            Layout::Cache(Cache { root, .. }) | Layout::Local { root } => root,
        }
    }

    /// The folder below which no symlink is followed to what is ours.
    pub fn anchor(&self) -> &Path {
        match self {
            Layout::Cache(cache) => &cache.repo,
            Layout::Local { root } => root,
        }
    }

    /// `.cache/huggingface` of a local dir; the repo folder of a cache. Below the anchor.
    fn bookkeeping(&self) -> &'static Path {
        Path::new(match self {
            Layout::Cache(_) => "",
            Layout::Local { .. } => ".cache/huggingface",
        })
    }

    /// The folder for what is ours alone, below the anchor.
    pub fn own(&self) -> PathBuf {
        self.bookkeeping().join(match self {
            Layout::Cache(_) => ".hfget",
            Layout::Local { .. } => "hfget",
        })
    }

    /// Where `huggingface_hub` keeps listings, below the anchor.
    pub fn shared_trees(&self) -> PathBuf {
        self.bookkeeping().join("trees")
    }

    pub fn partial_dir(&self) -> PathBuf {
        self.anchor().join(self.own()).join("partial")
    }

    /// The open folder of partial files; also where what is about to get its name is made.
    pub fn partial_folder(&self) -> Result<Folder, StoreError> {
        Folder::make(self.anchor(), &self.own().join("partial"))
    }

    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        match self {
            Layout::Cache(cache) => cache.snapshot_dir(commit),
            Layout::Local { root } => root.clone(),
        }
    }

    /// The folder of refs, and the revision's file below it.
    pub fn ref_path(&self, revision: &Revision) -> Option<(PathBuf, PathBuf)> {
        match self {
            Layout::Cache(cache) => Some((cache.repo.join("refs"), revision.as_str().split('/').collect())),
            Layout::Local { .. } => None,
        }
    }

    /// The locks to hold: the one that `huggingface_hub` takes for the same file, and where files
    /// that share a partial have different ones, the partial's own.
    pub fn locks(&self, entry: &Entry) -> Result<Vec<(Folder, String)>, StoreError> {
        let name = format!("{}.lock", entry.digest());
        match self {
            Layout::Cache(cache) => Ok(vec![(Folder::make(&cache.locks, Path::new(""))?, name)]),
            Layout::Local { root } => {
                let below = self.beside(&entry.path, "lock");
                let (folder, file) = split(&below);
                Ok(vec![(Folder::make(root, folder)?, file.to_owned()), (self.partial_folder()?, name)])
            }
        }
    }

    /// `.cache/huggingface/download/<path>.<suffix>`.
    fn beside(&self, path: &RepoPath, suffix: &str) -> PathBuf {
        let mut place = path.under(&self.bookkeeping().join("download"));
        place.as_mut_os_string().push(format!(".{suffix}"));
        place
    }

    /// Where the content lies: the blob, or the snapshot's own copy where there is one.
    pub fn place(&self, commit: &CommitId, entry: &Entry) -> Place {
        match self {
            Layout::Cache(cache) => {
                let own = entry.path.under(&cache.snapshot_dir(commit));
                if fs::symlink_metadata(&own).is_ok_and(|m| m.is_file() && m.len() == entry.size) {
                    return Place { path: own, key: format!("{commit}/{}", entry.path.as_str()) };
                }
                Place { path: cache.blob(entry), key: entry.digest().to_string() }
            }
            Layout::Local { root } => Place { path: entry.path.under(root), key: entry.path.as_str().to_owned() },
        }
    }

    pub fn stamp(&self, path: &Path) -> Result<Option<Stamp>, StoreError> {
        if matches!(self, Layout::Local { .. }) && fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) {
            // Older tools linked a local dir to the cache: what the link names is not this folder's.
            return Ok(None);
        }
        Stamp::of(path)
    }

    /// That nothing stands in the file's way: links and files among its folders, a folder in its
    /// place, a name that is not for repos.
    pub fn check_way(&self, commit: &CommitId, path: &RepoPath) -> Result<(), StoreError> {
        if let Layout::Local { .. } = self {
            // A file system that ignores case must not be a way around this.
            let mut folders = path.segments().map(str::to_ascii_lowercase);
            if folders.next().as_deref() == Some(".cache") && folders.next().is_none_or(|f| f == "huggingface") {
                return Err(StoreError::Reserved { path: path.clone() });
            }
        }
        let below = path.under(Path::new(""));
        let (folder, name) = split(&below);
        let Some(folder) = Folder::find(&self.snapshot_dir(commit), folder)? else { return Ok(()) };
        let there = folder.path(name);
        if fs::symlink_metadata(&there).is_ok_and(|m| m.is_dir()) {
            return Err(error::file_needed(&there));
        }
        Ok(())
    }

    /// Creates the folders of the bookkeeping, and what marks it as a cache.
    pub fn prepare(&self) -> Result<(), StoreError> {
        let staging = self.partial_folder()?;
        staging.sweep();
        let tagged = match self {
            Layout::Cache(cache) => Folder::make(&cache.root, Path::new(""))?,
            Layout::Local { root } => Folder::make(root, self.bookkeeping())?,
        };
        // Marks are a courtesy: the folder may be another user's, with only the repo's ours.
        let mark = |name: &str, content: &str| {
            if tagged.identity(name).is_none() {
                let _ = tagged.write(name, &staging, content.as_bytes(), false);
            }
        };
        mark("CACHEDIR.TAG", CACHEDIR_TAG);
        if let Layout::Local { .. } = self {
            mark(".gitignore", "*");
        }
        Ok(())
    }

    /// Moves a finished file, which looks like `stamp`, to its final name and makes it visible.
    /// Gives its place and what it looks like there.
    pub fn install(
        &self,
        from: &Folder,
        part: &str,
        stamp: Stamp,
        commit: &CommitId,
        entry: &Entry,
    ) -> Result<(Place, Stamp), StoreError> {
        self.check_way(commit, &entry.path)?;
        match self {
            Layout::Cache(cache) => {
                let blob = cache.blob(entry);
                let (pointers, pointer) = cache.pointer(commit, entry)?;
                let stamp = if !cache.links(from) && fs::symlink_metadata(&blob).is_err() {
                    // As `huggingface_hub` does where there are no links: no blob, no second copy.
                    pointers.take(&pointer, from, part, entry)?.unwrap_or(stamp)
                } else {
                    let blobs = Folder::make(&cache.repo.join("blobs"), Path::new(""))?;
                    let moved = blobs.take(&entry.digest().to_string(), from, part, entry)?.unwrap_or(stamp);
                    cache.point(from, &pointers, &pointer, entry, true)?.unwrap_or(moved)
                };
                Ok((self.place(commit, entry), stamp))
            }
            Layout::Local { root } => {
                let below = entry.path.under(Path::new(""));
                let (folder, name) = split(&below);
                let stamp = Folder::make(root, folder)?.take(name, from, part, entry)?.unwrap_or(stamp);
                self.note(commit, entry)?;
                Ok((self.place(commit, entry), stamp))
            }
        }
    }

    /// Makes present content visible: the snapshot's pointer, or the local dir's metadata file.
    /// Gives the stamp of a copy, when the pointer had to become one.
    pub fn show(&self, commit: &CommitId, entry: &Entry, place: &Place) -> Result<Option<Stamp>, StoreError> {
        self.check_way(commit, &entry.path)?;
        match self {
            Layout::Cache(cache) => {
                let there = entry.path.under(&cache.snapshot_dir(commit));
                // Also what another tool linked in its own way is as good as a link of ours, and
                // asks nothing of a cache that cannot be written.
                if place.path == there || cache.is_shown(&there, entry) {
                    return Ok(None);
                }
                let (pointers, pointer) = cache.pointer(commit, entry)?;
                cache.point(&self.partial_folder()?, &pointers, &pointer, entry, false)
            }
            Layout::Local { .. } => self.note(commit, entry).map(|()| None),
        }
    }

    /// Writes a local dir's metadata file, unless it says the same already.
    fn note(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        let etag = entry.digest().to_string();
        if self.noted(&entry.path).is_some_and(|(c, e, fresh)| fresh && c == commit.to_string() && e == etag) {
            return Ok(());
        }
        self.prepare()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = format!("{commit}\n{etag}\n{}.{:06}\n", now.as_secs(), now.subsec_micros());
        self.write(self.anchor(), &self.beside(&entry.path, "metadata"), text.as_bytes(), false)
    }

    /// Writes a small file below `root`.
    pub fn write(&self, root: &Path, below: &Path, content: &[u8], flush: bool) -> Result<(), StoreError> {
        let (folder, name) = split(below);
        Folder::make(root, folder)?.write(name, &self.partial_folder()?, content, flush)
    }

    /// Removes content, what points to it in this snapshot, and what is noted beside it.
    pub fn discard(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        let below = entry.path.under(Path::new(""));
        let place = self.place(commit, entry);
        if let Layout::Cache(cache) = self
            && place.path == cache.blob(entry)
            && let Some(blobs) = Folder::find(&cache.repo.join("blobs"), Path::new(""))?
        {
            blobs.remove(&entry.digest().to_string())?;
        }
        self.check_way(commit, &entry.path)?;
        remove(&self.snapshot_dir(commit), &below)?;
        match self {
            Layout::Cache(_) => Ok(()),
            Layout::Local { root } => remove(root, &self.beside(&entry.path, "metadata")),
        }
    }

    /// The metadata file's commit and `ETag`, and whether the file is unchanged since.
    fn noted(&self, path: &RepoPath) -> Option<(String, String, bool)> {
        let Layout::Local { root } = self else { return None };
        let text = disk::read_small(&root.join(self.beside(path, "metadata")), METADATA_LIMIT)?;
        let mut lines = std::str::from_utf8(&text).ok()?.lines();
        let (commit, etag, time) = (lines.next()?.trim(), lines.next()?.trim(), lines.next()?.trim());
        let time: f64 = time.parse().ok()?;
        let stamp = Stamp::of(&path.under(root)).ok()??;
        // Seconds since 1970 are far below an f64's exact range.
        #[allow(clippy::cast_precision_loss)]
        let fresh = stamp.mtime as f64 - 1.0 <= time;
        Some((commit.to_owned(), etag.to_owned(), fresh))
    }

    pub fn noted_digest(&self, commit: &CommitId, path: &RepoPath) -> Option<Digest> {
        match self {
            Layout::Cache(cache) => {
                let target = fs::read_link(path.under(&cache.snapshot_dir(commit))).ok()?;
                Digest::from_etag(target.file_name()?.to_str()?).ok()
            }
            Layout::Local { .. } => Digest::from_etag(&self.noted(path)?.1).ok(),
        }
    }

    pub fn noted_commit(&self, path: &RepoPath) -> Option<CommitId> {
        self.noted(path)?.0.parse().ok()
    }
}

impl Cache {
    fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        self.repo.join("snapshots").join(commit.to_string())
    }

    fn blob(&self, entry: &Entry) -> PathBuf {
        self.repo.join("blobs").join(entry.digest().to_string())
    }

    /// The open folder of the snapshot that the entry's pointer lies in, and the pointer's name.
    fn pointer(&self, commit: &CommitId, entry: &Entry) -> Result<(Folder, String), StoreError> {
        let below = entry.path.under(Path::new(""));
        let (folder, name) = split(&below);
        Ok((Folder::make(&self.snapshot_dir(commit), folder)?, name.to_owned()))
    }

    /// Whether the pointer is a link that ends at the blob.
    fn is_shown(&self, pointer: &Path, entry: &Entry) -> bool {
        fs::read_link(pointer).is_ok()
            && fs::canonicalize(pointer).is_ok_and(|end| fs::canonicalize(self.blob(entry)).is_ok_and(|b| b == end))
    }

    /// Whether snapshots can hold links here. Looks once, by trying.
    fn links(&self, scratch: &Folder) -> bool {
        self.symlinks
            && *self.can_link.get_or_init(|| {
                let name = format!("link-{:016x}", fastrand::u64(..));
                match scratch.link(&name, scratch, Path::new("nowhere")) {
                    Ok(()) => scratch.remove(&name).is_ok(),
                    // A full disk is no reason to put more on it.
                    Err(StoreError::Io { source, .. }) => {
                        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                    }
                    Err(_) => true,
                }
            })
    }

    /// Makes the pointer a link to the blob, or a copy of it where there are no links. Unless
    /// `anew`, a link that ends there is good enough. Gives a copy's stamp.
    fn point(
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

/// Removes a file below `root`, if its folder is there.
fn remove(root: &Path, below: &Path) -> Result<(), StoreError> {
    let (folder, name) = split(below);
    Folder::find(root, folder)?.map_or(Ok(()), |folder| folder.remove(name))
}

/// A relative path's folder and last name.
fn split(path: &Path) -> (&Path, &str) {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    (path.parent().unwrap_or(Path::new("")), name)
}
