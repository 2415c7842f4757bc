//! The folders of files: the Hub cache (byte-compatible with `huggingface_hub`) and local folders.
//! Locks, partial files and their journal, atomic commit, free space. No HTTP, no formats.
//!
//! hfget's own files are in a folder that other tools ignore: `.hfget/` in the repo's cache folder,
//! `.cache/huggingface/hfget/` in a local dir.

mod absent;
mod cache;
mod conflict;
mod copying;
mod disk;
mod elsewhere;
mod error;
mod import;
mod inventory;
mod journal;
mod kept;
mod layout;
mod leftovers;
mod lock;
mod notes;
mod owned;
mod partial;
mod ranges;
mod record;
mod refs;
mod temporary;
mod tree;
mod way;
mod within;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(feature = "object-store")]
pub(crate) use cache::folder_name;
pub(crate) use conflict::{Conflict, conflicts, noted_clashes};
pub(crate) use disk::free_space;
pub(crate) use elsewhere::{Mark, SnapshotRecord};
pub use error::{StoreError, StoreErrorKind};
pub(crate) use import::Imported;
pub use inventory::Removal;
pub(crate) use leftovers::repo_of_folder;
pub use leftovers::{Leftover, cached_repos};
pub(crate) use lock::{FileLock, take_briefly};
pub(crate) use notes::Belongs;
pub(crate) use owned::{Earlier, Standing};
pub(crate) use partial::{Flush, Partial};
pub(crate) use ranges::RangeSet;
pub(crate) use refs::locate_snapshot;
pub(crate) use temporary::{Dead, Temporary, dead, open_regular, write_whole};
pub(crate) use within::Folder;

use crate::finding::{Evidence, Outcome, Stamp};
use crate::model::{CommitId, Digest, Entry, Presence, RepoId, RepoPath, RepoType, Revision};
use crate::mutex::lock;
use layout::{Kind, Layout};
use record::DigestRecord;
use way::Ways;

/// How often to look again at a file that changes meanwhile.
const LOOKS: usize = 3;

/// A place for one repo's files. Every method blocks; call it off the async threads.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    record: DigestRecord,
    /// The last stamp of each content that [`Store::presence`] or a proof saw.
    seen: Mutex<HashMap<String, Stamp>>,
    /// The stamps of content that proved wrong in this run.
    wrong: Mutex<HashMap<String, Stamp>>,
    /// The files that may be replaced in a local dir, if a session has set them.
    free: owned::Free,
    /// The partials that this process works on.
    busy: lock::Busy,
}

/// Checks files of one commit, one after another. Each is judged by its present state.
pub(crate) struct Look<'a> {
    store: &'a Store,
    commit: CommitId,
    ways: Ways<'a>,
    /// The folder of partial files, if there is one.
    partials: Option<Folder>,
    /// Whether that folder was looked for.
    looked: bool,
}

impl Look<'_> {
    /// How much of `entry` is in the store. Reads no content.
    pub fn presence(&mut self, entry: &Entry) -> Result<Presence, StoreError> {
        if let Some(presence) = self.whole(entry)? {
            return Ok(presence);
        }
        let (arrived, _) = self.arrived(entry)?;
        Ok(if arrived > 0 { Presence::Partial(arrived) } else { Presence::Absent })
    }

    /// How many bytes of an entry arrived in an earlier run, and how many bytes are reserved for it on the disk.
    pub fn arrived(&mut self, entry: &Entry) -> Result<(u64, u64), StoreError> {
        let layout = &self.store.layout;
        if !self.looked {
            self.partials = layout.find_partials()?;
            self.looked = true;
        }
        let folder = self.partials.as_ref();
        Ok(folder.map_or((0, 0), |folder| partial::arrived(folder, layout.orphans(folder), entry)))
    }

    /// Whether a file of the right size is there, and whether the record knows its digest; `None` if there is none.
    fn whole(&mut self, entry: &Entry) -> Result<Option<Presence>, StoreError> {
        let Store { layout, record, .. } = self.store;
        self.ways.check(&entry.path)?;
        let place = layout.place(&self.commit, entry);
        if let Some(stamp) = layout.stamp(&place.path)?
            && stamp.size == entry.size
            && self.store.known_wrong(&place.key) != Some(stamp)
        {
            let known = record.knows(&place.key, &entry.digest(), &stamp);
            self.store.seen().insert(place.key, stamp);
            return Ok(Some(if known { Presence::Verified } else { Presence::Unverified }));
        }
        Ok(None)
    }

    fn is_unchanged(&mut self, entry: &Entry) -> Result<bool, StoreError> {
        let Store { layout, record, .. } = self.store;
        // If a folder became a link, it leads to other files.
        if self.ways.check(&entry.path).is_err() {
            return Ok(false);
        }
        let place = layout.place(&self.commit, entry);
        let Some(stamp) = layout.stamp(&place.path)?.filter(|stamp| stamp.size == entry.size) else {
            return Ok(false);
        };
        // The file that a loader opens must be that content.
        let shown = layout.stamp(&self.store.file_path(&self.commit, &entry.path))?;
        Ok(shown == Some(stamp) && record.knows(&place.key, &entry.digest(), &stamp))
    }
}

impl Store {
    /// `$HF_HUB_CACHE`-shaped: `root/models--org--name/{blobs,refs,snapshots}`. Without `symlinks`,
    /// snapshots have copies, as on a file system without symlinks.
    pub fn hub_cache(root: &Path, repo_type: RepoType, id: &RepoId, symlinks: bool) -> Self {
        Self::new(Layout::cache(root, repo_type, id, symlinks))
    }

    /// `--local-dir`: the files themselves, with `.cache/huggingface/` beside them.
    pub fn local_dir(dir: &Path) -> Self {
        Self::new(Layout::local(dir, None))
    }

    /// The same for files of this repo, whose commit it remembers.
    pub fn local_dir_of(dir: &Path, repo_type: RepoType, id: &RepoId) -> Self {
        Self::new(Layout::local(dir, Some((repo_type, id))))
    }

    fn new(layout: Layout) -> Self {
        let record = DigestRecord::new(layout.anchor(), layout.own());
        Store {
            layout,
            record,
            seen: Mutex::default(),
            wrong: Mutex::default(),
            free: owned::Free::default(),
            busy: lock::Busy::default(),
        }
    }

    /// The folder of the snapshot, which the program prints.
    pub fn snapshot_dir(&self, commit: &CommitId) -> PathBuf {
        self.layout.snapshot_dir(commit)
    }

    /// The path where the file is, or will be, readable.
    pub fn file_path(&self, commit: &CommitId, path: &RepoPath) -> PathBuf {
        path.under(&self.snapshot_dir(commit))
    }

    /// The path of a present entry's bytes, even before it is linked into the snapshot.
    pub fn content_path(&self, commit: &CommitId, entry: &Entry) -> PathBuf {
        self.layout.place(commit, entry).path
    }

    /// How much of `entry` is in the store. Reads no content.
    pub fn presence(&self, commit: &CommitId, entry: &Entry) -> Result<Presence, StoreError> {
        self.look(commit).presence(entry)
    }

    /// Whether a file of the right size is there. Its bytes need not be right.
    pub(crate) fn is_here(&self, commit: &CommitId, entry: &Entry) -> Result<bool, StoreError> {
        Ok(self.look(commit).whole(entry)?.is_some())
    }

    /// Checks one file after another. This is quicker than a separate check of each.
    pub(crate) fn look(&self, commit: &CommitId) -> Look<'_> {
        Look { store: self, commit: *commit, ways: Ways::new(&self.layout, *commit), partials: None, looked: false }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Stamp>> {
        lock(&self.seen)
    }

    /// Takes the file's lock; `None` if another process holds it.
    pub(crate) fn try_lock(&self, entry: &Entry) -> Result<Option<FileLock>, StoreError> {
        self.layout.prepare()?;
        match self.layout.locks(entry) {
            Ok(places) => FileLock::try_take(&places, entry.digest(), &self.busy),
            // The folder of locks may be another user's; continue without the lock.
            Err(error) if error.is_not_allowed() => Ok(FileLock::without(entry.digest(), &self.busy)),
            Err(error) => Err(error),
        }
    }

    fn known_wrong(&self, key: &str) -> Option<Stamp> {
        lock(&self.wrong).get(key).copied()
    }

    /// Treats content as absent from now on, as long as it has this `stamp`, because its bytes proved wrong. The file
    /// stays until verified bytes replace it.
    pub(crate) fn reject(&self, commit: &CommitId, entry: &Entry, stamp: Option<Stamp>) {
        let place = self.layout.place(commit, entry);
        if let Some(stamp) = stamp.or_else(|| self.layout.stamp(&place.path).ok().flatten()) {
            lock(&self.wrong).insert(place.key, stamp);
        }
    }

    /// Flushes the names of these files and their folders, so that they survive a crash of the machine. Their
    /// content was flushed before it got its name.
    pub(crate) fn flush_names(&self, commit: &CommitId, entries: &[Entry]) -> Result<(), StoreError> {
        self.layout.flush_names(commit, entries)?;
        // Without its record a local dir could not distinguish our files from the user's.
        if let Kind::Local { .. } = &self.layout.kind { self.record.flush() } else { Ok(()) }
    }

    /// The repo and commit that a local dir was last filled from.
    pub(crate) fn belongs(&self) -> Option<Belongs> {
        self.layout.belongs()
    }

    /// Notes the commit of its repo that a local dir is filled from. Does nothing for a cache.
    pub(crate) fn set_belongs(&self, revision: &Revision, commit: &CommitId) -> Result<(), StoreError> {
        let Some(repo) = self.repo_name() else { return Ok(()) };
        self.layout.set_belongs(&Belongs { repo, revision: revision.as_str().to_owned(), commit: *commit })
    }

    /// The commits in the metadata of a local dir's files.
    pub(crate) fn noted_commits(&self) -> Result<BTreeSet<CommitId>, StoreError> {
        let paths = self.layout.noted_paths()?;
        // The metadata of a file that is gone does not count.
        let here =
            paths.iter().filter(|path| self.layout.stamp(&path.under(self.layout.root())).ok().flatten().is_some());
        Ok(here.filter_map(|path| self.layout.noted_commit(path)).collect())
    }

    /// Whether this is a plain folder, with metadata beside its files.
    pub(crate) fn is_local_dir(&self) -> bool {
        matches!(&self.layout.kind, Kind::Local { .. })
    }

    /// The repo's name as a folder, for a local dir that belongs to one repo.
    pub(crate) fn repo_name(&self) -> Option<String> {
        self.layout.repo_name().map(str::to_owned)
    }

    /// Opens the partial that an earlier run has left, or starts one.
    pub(crate) fn partial(
        self: &Arc<Self>,
        lock: FileLock,
        commit: &CommitId,
        entry: &Entry,
    ) -> Result<Partial, StoreError> {
        Partial::open(Arc::clone(self), lock, *commit, entry)
    }

    /// Moves a finished partial with this `stamp` to its final name and makes it visible.
    fn install(
        &self,
        from: &Folder,
        part: &str,
        stamp: Stamp,
        commit: &CommitId,
        entry: &Entry,
    ) -> Result<PathBuf, StoreError> {
        self.check_free(entry)?;
        let (place, stamp) = self.layout.install(from, part, stamp, commit, entry)?;
        self.note(&place, entry, &stamp)?;
        if matches!(&self.layout.kind, Kind::Local { .. }) {
            let now = self.layout.stamp(&place.path)?;
            lock(&self.free).entry(place.key).and_modify(|seen| *seen = now);
        }
        Ok(place.path)
    }

    /// Makes a file whose content is present and right visible in the snapshot (pointer, metadata), and remembers
    /// that its digest was checked. `hashed` is the file's stamp before and after the caller read all of it and
    /// found the digest right. Without it the record is used. A file with another stamp now, or without a record,
    /// is hashed here. Returns the evidence for the file: [`Evidence::Hashed`] only if it was hashed here. It is
    /// not an error if a read-only cache cannot keep the record.
    pub fn adopt(&self, commit: &CommitId, entry: &Entry, hashed: Option<Stamp>) -> Result<Evidence, StoreError> {
        let mut changed = None;
        for _ in 0..=LOOKS {
            // Another process may put the same content there at this moment, or remove it, so look again.
            match self.adopt_once(commit, entry, hashed) {
                Err(StoreError::Changed(path)) => changed = Some(path),
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
        }
        Err(StoreError::Changed(changed.unwrap_or_else(|| self.layout.place(commit, entry).path)))
    }

    fn adopt_once(&self, commit: &CommitId, entry: &Entry, hashed: Option<Stamp>) -> Result<Evidence, StoreError> {
        let digest = entry.digest();
        let place = self.layout.place(commit, entry);
        let stamp = self.layout.stamp(&place.path)?.filter(|stamp| stamp.size == entry.size);
        let stamp = stamp.ok_or_else(|| StoreError::Changed(place.path.clone()))?;
        let unchanged = hashed == Some(stamp) || hashed.is_none() && self.record.knows(&place.key, &digest, &stamp);
        if !self.record.knows(&place.key, &digest, &stamp) {
            // Another tool put it there, so it may be only in the machine's memory.
            disk::flush(&place.path)?;
        }
        let (evidence, proven) = if unchanged {
            (Evidence::Recorded(digest), stamp)
        } else {
            let (hashed, proven) = disk::hash(&place.path, digest, entry.size)?;
            error::check_content(&place.path, entry, hashed.digest(), hashed.length())?;
            (Evidence::Hashed(hashed), proven)
        };
        if let Some(copy) = self.layout.show(commit, entry, &place)? {
            self.note(&self.layout.place(commit, entry), entry, &copy)?;
        } else if self.layout.stamp(&place.path)? == Some(proven) {
            let _ = self.record.remember(&place.key, &digest, proven);
            self.seen().insert(place.key, proven);
        } else {
            return Err(StoreError::Changed(place.path));
        }
        Ok(evidence)
    }

    /// Records content that has just got its name, if it is still the `proven` content. Renaming set a new change
    /// time, so the stamp is taken again.
    fn note(&self, place: &layout::Place, entry: &Entry, proven: &Stamp) -> Result<(), StoreError> {
        if let Some(now) = self.layout.stamp(&place.path)?.filter(|now| disk::same_bytes(now, proven)) {
            let _ = self.record.remember(&place.key, &entry.digest(), now);
            self.seen().insert(place.key.clone(), now);
        }
        Ok(())
    }

    /// Those of `entries` that changed since this run proved them or found them recorded: they were written to,
    /// replaced, removed, or hidden by another file. Reads no content. For the end of a run; the caller must hash the
    /// returned entries again.
    pub(crate) fn recheck(&self, commit: &CommitId, entries: &[Entry]) -> Result<Vec<Entry>, StoreError> {
        let mut look = self.look(commit);
        let mut changed = Vec::new();
        for entry in entries {
            if !look.is_unchanged(entry)? {
                changed.push(entry.clone());
            }
        }
        Ok(changed)
    }

    /// Removes this file's content from the record, because it proved wrong. The removal is on the disk when this
    /// returns: a later run reads the file again, even after a power cut. A read-only cache is an error.
    pub fn strike(&self, commit: &CommitId, entry: &Entry) -> Result<(), StoreError> {
        let key = self.layout.place(commit, entry).key;
        self.seen().remove(&key);
        self.record.strike(&key)
    }

    /// The outcome of an earlier full check. `key` must identify the digests of all files that were
    /// checked, and the caller must know that the files still have them ([`Self::presence`]).
    pub(crate) fn checked_contents(&self, key: &str) -> Option<Outcome> {
        self.record.check(key)
    }

    /// Records the outcome of a full check. As in [`Self::adopt`], a failure to write is not an error.
    pub(crate) fn remember_contents(&self, key: &str, outcome: &Outcome) {
        let _ = self.record.remember_check(key, outcome);
    }

    /// Free bytes in the folder of the files; `None` if the system does not say.
    pub(crate) fn free_space(&self) -> Option<u64> {
        disk::free_space(&self.layout.partial_dir())
    }

    /// Whether names that differ only in case or in the Unicode form of their letters are one file here. Tries it
    /// once.
    pub(crate) fn case_insensitive(&self) -> bool {
        disk::folds_names(disk::nearest_existing(self.layout.root()))
    }

    /// The digest that the store itself knows for a file of a snapshot, without a listing: the
    /// blob's name in a cache, the `ETag` noted beside a local dir's file.
    pub(crate) fn noted_digest(&self, commit: &CommitId, path: &RepoPath) -> Option<Digest> {
        self.layout.noted_digest(commit, path)
    }

    /// The commit in the metadata of a local dir's file.
    pub(crate) fn noted_commit(&self, path: &RepoPath) -> Option<CommitId> {
        self.layout.noted_commit(path)
    }
}

/// Checks that a file can be read from its first byte to its last; its content does not matter.
pub(crate) fn read_whole(path: &Path, like: Digest, size: u64) -> Result<(), StoreError> {
    disk::hash(path, like, size).map(drop)
}

#[cfg(test)]
mod tests;
