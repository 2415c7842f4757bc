//! The two layouts on disk. The cache is `huggingface_hub`'s (`file_download.py`), the local dir too
//! (`_local_folder.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::StoreError;
use super::disk::{self, Stamp};
use crate::hub::Entry;
use crate::repo::{CommitId, Digest, RepoId, RepoPath, RepoType, Revision};

/// The tag that `huggingface_hub` writes too, word for word.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by huggingface_hub.
# For information about cache directory tags, see:
#\thttps://bford.info/cachedir/
";

#[derive(Debug)]
pub(super) enum Layout {
    Cache { root: PathBuf, repo: PathBuf, locks: PathBuf, symlinks: bool },
    Local { root: PathBuf },
}

impl Layout {
    pub fn cache(root: &Path, repo_type: RepoType, id: &RepoId, symlinks: bool) -> Self {
        let name = format!("{}--{}", repo_type.plural(), id.as_str().replace('/', "--"));
        Layout::Cache {
            root: root.to_path_buf(),
            repo: root.join(&name),
            locks: root.join(".locks").join(&name),
            symlinks,
        }
    }

    pub fn local(root: &Path) -> Self {
        Layout::Local { root: root.to_path_buf() }
    }

    pub fn root(&self) -> &Path {
        match self {
            Layout::Cache { root, .. } | Layout::Local { root } => root,
        }
    }

    /// The folder for what is ours alone.
    pub fn own(&self) -> PathBuf {
        match self {
            Layout::Cache { repo, .. } => repo.join(".hfget"),
            Layout::Local { .. } => self.bookkeeping().join("hfget"),
        }
    }

    /// `.cache/huggingface` of a local dir; the repo folder of a cache.
    fn bookkeeping(&self) -> PathBuf {
        match self {
            Layout::Cache { repo, .. } => repo.clone(),
            Layout::Local { root } => root.join(".cache").join("huggingface"),
        }
    }

    /// Where `huggingface_hub` keeps listings.
    pub fn shared_trees(&self) -> PathBuf {
        self.bookkeeping().join("trees")
    }

    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        match self {
            Layout::Cache { repo, .. } => repo.join("snapshots").join(commit.to_string()),
            Layout::Local { root } => root.clone(),
        }
    }

    pub fn ref_path(&self, revision: &Revision) -> Option<PathBuf> {
        match self {
            Layout::Cache { repo, .. } => {
                let mut path = repo.join("refs");
                path.extend(revision.as_str().split('/'));
                Some(path)
            }
            Layout::Local { .. } => None,
        }
    }

    /// The lock that `huggingface_hub` takes for the same file.
    pub fn lock_path(&self, entry: &Entry) -> PathBuf {
        match self {
            Layout::Cache { locks, .. } => locks.join(format!("{}.lock", entry.digest())),
            Layout::Local { .. } => self.beside(&entry.path, "lock"),
        }
    }

    /// `.cache/huggingface/download/<path>.<suffix>`.
    fn beside(&self, path: &RepoPath, suffix: &str) -> PathBuf {
        let mut place = path.under(&self.bookkeeping().join("download"));
        place.as_mut_os_string().push(format!(".{suffix}"));
        place
    }

    /// The name under which the record knows a file.
    pub fn key(&self, entry: &Entry) -> String {
        match self {
            Layout::Cache { .. } => entry.digest().to_string(),
            Layout::Local { .. } => entry.path.as_str().to_owned(),
        }
    }

    /// Where the content lies: the blob, or the snapshot's own copy where there is no blob.
    pub fn content(&self, commit: &CommitId, entry: &Entry) -> PathBuf {
        match self {
            Layout::Cache { repo, .. } => {
                let blob = repo.join("blobs").join(entry.digest().to_string());
                let own = entry.path.under(&self.snapshot_dir(commit));
                let copied = !blob.exists() && fs::symlink_metadata(&own).is_ok_and(|m| m.is_file());
                if copied { own } else { blob }
            }
            Layout::Local { root } => entry.path.under(root),
        }
    }

    pub fn stamp(&self, commit: &CommitId, entry: &Entry) -> Result<Option<Stamp>, StoreError> {
        let path = self.content(commit, entry);
        if matches!(self, Layout::Local { .. }) && fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink()) {
            // Older tools linked a local dir to the cache: what the link names is not this folder's.
            return Ok(None);
        }
        Stamp::of(&path)
    }

    pub fn symlink_on_the_way(&self, commit: &CommitId, path: &RepoPath) -> Option<PathBuf> {
        let dir = self.snapshot_dir(commit);
        disk::symlink_on_the_way(&dir, &path.under(&dir))
    }

    /// Creates what marks the folder as a cache.
    pub fn prepare(&self) -> Result<(), StoreError> {
        let tagged = match self {
            Layout::Cache { root, .. } => root.clone(),
            Layout::Local { .. } => self.bookkeeping(),
        };
        disk::create_dirs(&tagged)?;
        let tag = tagged.join("CACHEDIR.TAG");
        if !tag.exists() {
            disk::write_atomic(&tag, CACHEDIR_TAG.as_bytes())?;
        }
        if let Layout::Local { .. } = self {
            let ignore = tagged.join(".gitignore");
            if !ignore.exists() {
                disk::write_atomic(&ignore, b"*")?;
            }
        }
        Ok(())
    }

    /// Moves a finished file to its final name.
    pub fn install(&self, part: &Path, commit: &CommitId, entry: &Entry) -> Result<PathBuf, StoreError> {
        let place = match self {
            Layout::Cache { repo, .. } => {
                let place = repo.join("blobs").join(entry.digest().to_string());
                disk::create_dirs(&repo.join("blobs"))?;
                place
            }
            Layout::Local { root } => {
                let place = self.content(commit, entry);
                disk::create_dirs_within(root, &place)?;
                place
            }
        };
        // rename(2) replaces a symlink itself, never what it names.
        fs::rename(part, &place).map_err(|error| {
            if place.is_dir() {
                StoreError::InTheWay { path: place.clone(), what: "a file is needed here" }
            } else {
                StoreError::io("move the finished file to", &place)(error)
            }
        })?;
        Ok(place)
    }

    /// Makes present content visible: the snapshot's pointer, or the local dir's metadata file.
    pub fn show(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        match self {
            Layout::Cache { repo, symlinks, .. } => {
                let dir = self.snapshot_dir(commit);
                let pointer = entry.path.under(&dir);
                let blob = repo.join("blobs").join(entry.digest().to_string());
                if self.content(commit, entry) == pointer {
                    return Ok(());
                }
                disk::create_dirs_within(&dir, &pointer)?;
                if *symlinks {
                    let mut target = PathBuf::new();
                    target.extend(std::iter::repeat_n("..", entry.path.segments().count() + 1));
                    target.push("blobs");
                    target.push(entry.digest().to_string());
                    match disk::point(&pointer, &target) {
                        Err(StoreError::Io { source, .. }) if cannot_link(&source) => {}
                        done => return done,
                    }
                }
                disk::copy_atomic(&blob, &pointer)
            }
            Layout::Local { .. } => {
                let path = self.beside(&entry.path, "metadata");
                if self.noted(&entry.path).is_some_and(|(c, etag, fresh)| {
                    fresh && c == commit.to_string() && etag == entry.digest().to_string()
                }) {
                    return Ok(());
                }
                self.prepare()?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let text = format!("{commit}\n{}\n{}.{:06}\n", entry.digest(), now.as_secs(), now.subsec_micros());
                disk::write_atomic(&path, text.as_bytes())
            }
        }
    }

    /// The metadata file's commit and `ETag`, and whether the file is unchanged since.
    fn noted(&self, path: &RepoPath) -> Option<(String, String, bool)> {
        let Layout::Local { root } = self else { return None };
        let text = fs::read_to_string(self.beside(path, "metadata")).ok()?;
        let mut lines = text.lines();
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
            Layout::Cache { .. } => {
                let target = fs::read_link(path.under(&self.snapshot_dir(commit))).ok()?;
                Digest::from_etag(target.file_name()?.to_str()?).ok()
            }
            Layout::Local { .. } => Digest::from_etag(&self.noted(path)?.1).ok(),
        }
    }

    pub fn noted_commit(&self, path: &RepoPath) -> Option<CommitId> {
        self.noted(path)?.0.parse().ok()
    }
}

/// Whether the error says that this file system has no symlinks.
fn cannot_link(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::Unsupported | std::io::ErrorKind::PermissionDenied)
        || error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}
