//! Where files land: the Hub cache (byte-compatible with `huggingface_hub`) and local folders.
//! Locks, partial files and their journal, atomic commit, free space. No HTTP, no formats.
//!
//! What is ours alone lies in a folder that the other tools pass over: `.hfget/` in the repo's
//! cache folder, `.cache/huggingface/hfget/` in a local dir.

mod conflict;
mod disk;
mod error;
mod layout;
mod lock;
mod partial;
mod ranges;
mod record;
mod tree;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use conflict::{Conflict, conflicts};
pub use error::{StoreError, StoreErrorKind};
pub use lock::FileLock;
pub use partial::Partial;
pub use ranges::RangeSet;

use crate::hub::{Entry, Listing};
use crate::plan::Presence;
use crate::repo::{CommitId, Digest, RepoId, RepoPath, RepoType, Revision};
use crate::verify::Outcome;
use layout::Layout;
use partial::PartialPaths;
use record::Record;

/// A place for one repo's files. Every method blocks; call it off the async threads.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    record: Record,
}

/// A partial file that an earlier run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The file's digest, which names the partial.
    pub digest: Digest,
    /// Its length on disk.
    pub bytes: u64,
}

impl Store {
    /// `$HF_HUB_CACHE`-shaped: `root/models--org--name/{blobs,refs,snapshots}`. With `symlinks`
    /// off, snapshots hold copies, as where symlinks fail.
    pub fn hub_cache(root: &Path, repo_type: RepoType, id: &RepoId, symlinks: bool) -> Self {
        Self::new(Layout::cache(root, repo_type, id, symlinks))
    }

    /// `--local-dir`: the files themselves, with `.cache/huggingface/` beside them.
    pub fn local_dir(dir: &Path) -> Self {
        Self::new(Layout::local(dir))
    }

    fn new(layout: Layout) -> Self {
        let record = Record::new(layout.own().join("verified.jsonl"));
        Store { layout, record }
    }

    /// Whether this is a plain folder.
    pub fn is_local_dir(&self) -> bool {
        matches!(self.layout, Layout::Local { .. })
    }

    /// The folder that holds the snapshot: what the program prints.
    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        self.layout.snapshot_dir(commit)
    }

    /// Where `path` is (or will be) readable.
    pub fn file_path(&self, commit: &CommitId, path: &RepoPath) -> PathBuf {
        path.under(&self.snapshot_dir(commit))
    }

    /// Where the bytes of a present entry can be read before it is linked into the snapshot.
    pub fn content_path(&self, commit: &CommitId, entry: &Entry) -> PathBuf {
        self.layout.content(commit, entry)
    }

    /// What is there of `entry`. Reads no content.
    pub fn presence(&self, commit: &CommitId, entry: &Entry) -> Result<Presence, StoreError> {
        if let Some(link) = self.layout.symlink_on_the_way(commit, &entry.path) {
            return Err(StoreError::Symlink(link));
        }
        if let Some(stamp) = self.layout.stamp(commit, entry)?
            && stamp.size == entry.size
        {
            let known = self.record.knows(&self.layout.key(entry), &entry.digest(), &stamp);
            return Ok(if known { Presence::Verified } else { Presence::Unverified });
        }
        let arrived = PartialPaths::new(&self.partial_dir(), &entry.digest()).ranges(entry).map_or(0, |r| r.total());
        Ok(if arrived > 0 { Presence::Partial(arrived) } else { Presence::Absent })
    }

    /// Takes the file's lock, or `None` when another process holds it.
    pub fn try_lock(&self, entry: &Entry) -> Result<Option<FileLock>, StoreError> {
        self.layout.prepare()?;
        let path = self.layout.lock_path(entry);
        disk::create_dirs(path.parent().unwrap_or(Path::new(".")))?;
        FileLock::try_take(&path)
    }

    /// Opens what an earlier run left of the file, or starts one.
    pub fn partial(self: &Arc<Self>, lock: FileLock, commit: &CommitId, entry: &Entry) -> Result<Partial, StoreError> {
        Partial::open(Arc::clone(self), lock, *commit, entry)
    }

    fn partial_dir(&self) -> PathBuf {
        self.layout.own().join("partial")
    }

    /// Moves a finished partial to its final name and makes it visible.
    fn install(&self, part: &Path, commit: &CommitId, entry: &Entry) -> Result<PathBuf, StoreError> {
        let place = self.layout.install(part, commit, entry)?;
        self.adopt(commit, entry)?;
        Ok(place)
    }

    /// Makes a file whose content is present and right visible in the snapshot (pointer,
    /// metadata), and remembers that its digest was checked. Remembering is a courtesy: that a
    /// read-only cache cannot keep the note is no error.
    pub fn adopt(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        self.layout.show(commit, entry)?;
        if let Some(stamp) = self.layout.stamp(commit, entry)? {
            let _ = self.record.remember(&self.layout.key(entry), &entry.digest(), stamp);
        }
        Ok(())
    }

    /// Removes content that proved wrong, so that it is fetched again.
    pub fn discard(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        disk::remove(&self.layout.content(commit, entry))?;
        disk::remove(&self.file_path(commit, &entry.path))
    }

    /// Moves `refs/<revision>` to `commit`: only after everything verified. A local dir has no refs.
    pub fn set_ref(&self, revision: &Revision, commit: &CommitId) -> Result<(), StoreError> {
        match self.layout.ref_path(revision) {
            Some(path) if revision.as_commit().is_none() && self.read_ref(revision) != Some(*commit) => {
                disk::write_atomic(&path, commit.to_string().as_bytes())
            }
            _ => Ok(()),
        }
    }

    /// What `refs/<revision>` says; a commit hash stands for itself.
    pub fn read_ref(&self, revision: &Revision) -> Option<CommitId> {
        if let Some(commit) = revision.as_commit() {
            return Some(commit);
        }
        let mut text = String::new();
        File::open(self.layout.ref_path(revision)?).ok()?.take(100).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// The commits that have a snapshot folder here.
    pub fn snapshots(&self) -> Vec<CommitId> {
        let Layout::Cache { repo, .. } = &self.layout else { return Vec::new() };
        let names = fs::read_dir(repo.join("snapshots")).into_iter().flatten().flatten();
        let mut commits: Vec<CommitId> = names.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
        commits.sort_unstable();
        commits
    }

    /// The listing kept from an earlier run at this commit, ours or `huggingface_hub`'s.
    pub fn read_listing(&self, commit: &CommitId) -> Option<Vec<Entry>> {
        let name = format!("{commit}.json");
        tree::read(&self.layout.own().join("trees").join(&name))
            .or_else(|| tree::read(&self.layout.shared_trees().join(&name)))
    }

    /// Keeps a listing for later runs. With `whole` (every file of the repo was taken) it is kept
    /// where `huggingface_hub` looks too; for a partial selection that would make
    /// `snapshot_download(local_files_only=True)` call the snapshot incomplete.
    pub fn write_listing(&self, listing: &Listing, whole: bool) -> Result<(), StoreError> {
        if !listing.rejected.is_empty() {
            return Ok(());
        }
        let dir = if whole { self.layout.shared_trees() } else { self.layout.own().join("trees") };
        let path = dir.join(format!("{}.json", listing.info.commit));
        if path.exists() { Ok(()) } else { tree::write(&path, &listing.entries) }
    }

    /// The outcome of an earlier full check. `key` must stand for the digests of everything that
    /// was checked, and the caller must know that the files still have them ([`Self::presence`]).
    pub fn checked_contents(&self, key: &str) -> Option<Outcome> {
        self.record.check(key)
    }

    /// Remembers the outcome of a full check; as with [`Self::adopt`], failing to is no error.
    pub fn remember_contents(&self, key: &str, outcome: &Outcome) {
        let _ = self.record.remember_check(key, outcome);
    }

    /// Free bytes where the files land; `None` when the system does not say.
    pub fn free_space(&self) -> Option<u64> {
        disk::free_space(self.layout.root())
    }

    /// Whether names that differ only in case are one file here. Looks once, by trying.
    pub fn case_insensitive(&self) -> bool {
        let at = disk::nearest_existing(self.layout.root());
        tempfile::Builder::new()
            .prefix(".hfget-Case")
            .tempfile_in(at)
            .ok()
            .and_then(|file| {
                let name = file.path().file_name()?.to_str()?.to_lowercase();
                Some(file.path().with_file_name(name).exists())
            })
            .unwrap_or(false)
    }

    /// Partial files that earlier runs left.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let files = fs::read_dir(self.partial_dir()).into_iter().flatten().flatten();
        let leftover = |file: fs::DirEntry| {
            let name = file.file_name();
            let digest = Digest::from_etag(name.to_str()?.strip_suffix(".part")?).ok()?;
            Some(Leftover { digest, bytes: file.metadata().ok()?.len() })
        };
        files.filter_map(leftover).collect()
    }

    /// The digest that the store itself knows for a file of a snapshot, without a listing: the
    /// blob's name in a cache, the `ETag` noted beside a local dir's file.
    pub fn noted_digest(&self, commit: &CommitId, path: &RepoPath) -> Option<Digest> {
        self.layout.noted_digest(commit, path)
    }

    /// The commit that most recently wrote into a local dir, from its metadata files.
    pub fn noted_commit(&self, path: &RepoPath) -> Option<CommitId> {
        self.layout.noted_commit(path)
    }
}

/// Where a cached snapshot folder lies in its cache: the cache's root, the repo and the commit.
pub fn locate_snapshot(dir: &Path) -> Option<(PathBuf, RepoType, RepoId, CommitId)> {
    let dir = fs::canonicalize(dir).ok()?;
    let commit = dir.file_name()?.to_str()?.parse().ok()?;
    let snapshots = dir.parent()?;
    let repo = snapshots.parent()?;
    if snapshots.file_name()? != "snapshots" {
        return None;
    }
    let (plural, id) = repo.file_name()?.to_str()?.split_once("--")?;
    let repo_type = [RepoType::Model, RepoType::Dataset, RepoType::Space].into_iter().find(|t| t.plural() == plural)?;
    Some((repo.parent()?.to_path_buf(), repo_type, id.replacen("--", "/", 1).parse().ok()?, commit))
}

#[cfg(test)]
mod tests;
