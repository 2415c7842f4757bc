//! Where files land: the Hub cache (byte-compatible with `huggingface_hub`) and local folders.
//! Locks, partial files and their journal, atomic commit, free space. No HTTP, no formats.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::hub::{Entry, Listing};
use crate::plan::Presence;
use crate::repo::{CommitId, Digest, RepoId, RepoPath, RepoType, Revision};
use crate::report::Finding;

/// Why something on this machine's disk could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An operation failed on a path.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried: `"create"`, `"write to"`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A place for one repo's files. Every method blocks; call it off the async threads.
#[derive(Debug)]
pub struct Store {}

#[allow(unused_variables, missing_docs, clippy::unused_self)]
impl Store {
    /// `$HF_HUB_CACHE`-shaped: `root/models--org--name/{blobs,refs,snapshots}`.
    pub fn hub_cache(root: &Path, repo_type: RepoType, id: &RepoId) -> Self {
        unimplemented!()
    }
    /// `--local-dir`: the files themselves, with `.cache/huggingface/` beside them.
    pub fn local_dir(dir: &Path) -> Self {
        unimplemented!()
    }
    /// The folder that holds the snapshot: what the program prints.
    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        unimplemented!()
    }
    /// Where `path` is (or will be) readable.
    pub fn file_path(&self, commit: &CommitId, path: &RepoPath) -> PathBuf {
        unimplemented!()
    }
    /// Where the bytes of a present entry can be read before it is linked into the snapshot.
    pub fn content_path(&self, commit: &CommitId, entry: &Entry) -> PathBuf {
        unimplemented!()
    }
    /// What is there of `entry`. Reads no content.
    pub fn presence(&self, commit: &CommitId, entry: &Entry) -> Result<Presence, StoreError> {
        unimplemented!()
    }
    /// Takes the file's lock, or `None` when another process holds it.
    pub fn try_lock(&self, entry: &Entry) -> Result<Option<FileLock>, StoreError> {
        unimplemented!()
    }
    /// Opens what an earlier run left of the file, or starts one.
    pub fn partial(&self, lock: FileLock, commit: &CommitId, entry: &Entry) -> Result<Partial, StoreError> {
        unimplemented!()
    }
    /// Makes a file whose content is present visible in the snapshot (pointer, metadata), and
    /// remembers that its digest was checked.
    pub fn adopt(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Removes content that proved wrong, so that it is fetched again.
    pub fn discard(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Moves `refs/<revision>` to `commit`. Only after everything verified. Nothing for a local dir.
    pub fn set_ref(&self, revision: &Revision, commit: &CommitId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// What `refs/<revision>` says (offline use).
    pub fn read_ref(&self, revision: &Revision) -> Result<Option<CommitId>, StoreError> {
        unimplemented!()
    }
    /// The listing kept from an earlier run at this commit, ours or `huggingface_hub`'s.
    pub fn read_listing(&self, commit: &CommitId) -> Option<Listing> {
        unimplemented!()
    }
    /// Keeps a listing for later runs. `whole`: every file was taken, so `huggingface_hub`'s own
    /// `trees/<commit>.json` is written too (see the house rule on partial selections).
    pub fn write_listing(&self, listing: &Listing, whole: bool) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// The findings of an earlier full check of exactly these contents, if every file is still as it was.
    pub fn checked_contents(&self, key: &str) -> Option<Vec<Finding>> {
        unimplemented!()
    }
    /// Remembers the findings of a full check.
    pub fn remember_contents(&self, key: &str, findings: &[Finding]) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Free bytes where the files land; `None` when the system does not say.
    pub fn free_space(&self) -> Option<u64> {
        unimplemented!()
    }
}

/// Exclusive use of one file's partial. Released on drop.
#[derive(Debug)]
pub struct FileLock {}

/// A file on its way. Dropping it without [`commit`](Partial::commit) keeps it for a later run.
#[derive(Debug)]
pub struct Partial {}

#[allow(unused_variables, missing_docs, clippy::unused_self, clippy::needless_pass_by_value)]
impl Partial {
    /// Open for positional reads and writes (`std::os::unix::fs::FileExt`).
    pub fn file(&self) -> &Arc<File> {
        unimplemented!()
    }
    /// The byte ranges that the journal says are on disk: sorted, disjoint, not adjacent.
    pub fn ranges(&self) -> &[Range<u64>] {
        unimplemented!()
    }
    /// Notes that `range` was written (the journal is kept cheap: callers call this every few MiB).
    pub fn record(&mut self, range: Range<u64>) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Forgets all content: the file starts again.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Gives the file its final name and makes it visible, if `actual` is the digest the listing
    /// gave and the length agrees; else an error and nothing visible.
    pub fn commit(self, actual: Digest) -> Result<PathBuf, StoreError> {
        unimplemented!()
    }
}
