//! Files on their way: positional partial files, each with its journal beside it. What a journal's
//! text means is settled in `journal`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::journal::Believed;
use super::within::{Folder, identity_of};
use super::{FileLock, RangeSet, Store, StoreError, disk, error, journal};
use crate::finding::Stamp;
use crate::model::{CommitId, Digest, Entry};

/// Bytes after which a partial is flushed: what a crash of the machine costs at most, beside the
/// parts in flight.
const FLUSH_EVERY: u64 = 256 << 20;
/// Journals are a few lines; of one larger than this the rest is not believed.
const JOURNAL_LIMIT: u64 = 16 << 20;

/// A file on its way. Dropping it without [`commit`](Partial::commit) keeps it for a later run.
#[derive(Debug)]
pub(crate) struct Partial {
    store: Arc<Store>,
    commit: CommitId,
    entry: Entry,
    folder: Folder,
    names: Names,
    file: Arc<File>,
    journal: File,
    ranges: RangeSet,
    /// Range lines of the journal.
    lines: usize,
    /// Bytes recorded since the last time they were flushed.
    unsynced: u64,
    _lock: FileLock,
}

/// What is to be flushed to the disk, so that a crash of the machine costs no more than what came after.
#[derive(Debug)]
pub(crate) struct Flush {
    file: Arc<File>,
    path: PathBuf,
    lines: usize,
}

impl Flush {
    /// Flushes. Blocks, for as long as the disk takes: nothing should be locked meanwhile.
    pub fn run(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("flush", &self.path))
    }
}

/// What a partial and its journal are called.
#[derive(Debug, Clone)]
struct Names {
    part: String,
    journal: String,
}

impl Names {
    fn new(digest: &Digest) -> Self {
        Names { part: format!("{digest}.part"), journal: format!("{digest}.journal") }
    }
}

/// What the journal in `dir` says has arrived, as far as the partial file is long enough to hold it.
pub(super) fn arrived(dir: &Path, entry: &Entry) -> Option<Believed> {
    let names = Names::new(&entry.digest());
    let length = fs::symlink_metadata(dir.join(names.part)).ok().filter(fs::Metadata::is_file)?.len();
    let text = disk::read_small(&dir.join(names.journal), JOURNAL_LIMIT)?;
    journal::parse(std::str::from_utf8(&text).ok()?, entry, length, journal::boot())
}

impl Partial {
    pub(super) fn open(store: Arc<Store>, lock: FileLock, commit: CommitId, entry: &Entry) -> Result<Self, StoreError> {
        let folder = store.layout.partial_folder()?;
        let names = Names::new(&entry.digest());
        let known = arrived(&store.layout.partial_dir(), entry);
        let file = Arc::new(folder.open_file(&names.part, OFlags::empty())?);
        let is_new = known.is_none();
        let known = known.unwrap_or_default();
        // As a new file: a kill between two writes must not cost what is known, nor a torn last line
        // be continued.
        let text = known.text(entry, journal::boot());
        folder.write(&names.journal, &folder, text.as_bytes(), false)?;
        let journal = folder.open_file(&names.journal, OFlags::APPEND)?;
        let lines = known.ranges.as_slice().len();
        let unsynced = if known.flushed { 0 } else { known.ranges.total() };
        let (entry, ranges) = (entry.clone(), known.ranges);
        let mut partial =
            Partial { store, commit, entry, folder, names, file, journal, ranges, lines, unsynced, _lock: lock };
        if is_new {
            partial.reset()?;
        }
        Ok(partial)
    }

    /// Where it lies, for messages.
    pub fn path(&self) -> PathBuf {
        self.folder.path(&self.names.part)
    }

    fn journal_path(&self) -> PathBuf {
        self.folder.path(&self.names.journal)
    }

    /// The listed file this is to become.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Open for positional reads (`std::os::unix::fs::FileExt`).
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Sets disk space aside, so that the file lies together and a full disk is noticed at once. That
    /// a file system cannot do that is no error; on tmpfs it would cost what it saves elsewhere.
    pub fn reserve(&self) -> Result<(), StoreError> {
        use rustix::fs::{FallocateFlags, fallocate, fstatfs};
        const TMPFS: i64 = 0x0102_1994;
        #[allow(clippy::useless_conversion)] // the field's type differs from system to system
        if fstatfs(&*self.file).is_ok_and(|stat| i64::from(stat.f_type) == TMPFS) {
            return Ok(());
        }
        match fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, self.entry.size) {
            Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG)) => {
                Err(StoreError::io("reserve space for", &self.path())(error.into()))
            }
            _ => Ok(()),
        }
    }

    /// Writes at an offset; [`record`](Self::record) it afterwards. Fetching writes to [`file`](Self::file) itself,
    /// so as not to hold on to the partial meanwhile.
    #[cfg(test)]
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        use std::os::unix::fs::FileExt as _;
        self.file.write_all_at(bytes, at).map_err(StoreError::io("write to", &self.path()))
    }

    /// The byte ranges that have arrived.
    pub fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// Notes that `range` was written. Cheap, but not free: once every few MiB is right.
    pub fn record(&mut self, range: Range<u64>) -> Result<(), StoreError> {
        self.append(&journal::range_line(&range))?;
        self.lines += 1;
        self.unsynced = self.unsynced.saturating_add(range.end.saturating_sub(range.start));
        self.ranges.insert(range);
        Ok(())
    }

    /// What should be flushed now, if it is time; [`flushed`](Self::flushed) afterwards.
    pub fn flush_due(&mut self) -> Option<Flush> {
        if self.unsynced < FLUSH_EVERY {
            return None;
        }
        self.unsynced = 0;
        Some(Flush { file: Arc::clone(&self.file), path: self.path(), lines: self.lines })
    }

    /// Notes that a flush has ended well. One of a file that was started again meanwhile says nothing.
    pub fn flushed(&mut self, flush: &Flush) -> Result<(), StoreError> {
        if !Arc::ptr_eq(&flush.file, &self.file) {
            return Ok(());
        }
        self.append(&journal::synced_line(flush.lines))
    }

    fn append(&mut self, line: &str) -> Result<(), StoreError> {
        self.journal.write_all(line.as_bytes()).map_err(StoreError::io("write to", &self.journal_path()))
    }

    fn reset_journal(&mut self) -> Result<(), StoreError> {
        let write = |journal: &mut File, line: &str| -> io::Result<()> {
            journal.set_len(0)?;
            journal.write_all(line.as_bytes())
        };
        let header = Believed::default().text(&self.entry, journal::boot());
        (self.lines, self.unsynced) = (0, 0);
        write(&mut self.journal, &header).map_err(StoreError::io("write to", &self.journal_path()))
    }

    /// Forgets all content: the file starts again, as a new file. Where locks do not work, another
    /// process may have given the old one its final name; truncating it would empty what is visible.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        self.reset_journal()?;
        self.ranges = RangeSet::default();
        self.folder.remove(&self.names.part)?;
        self.file = Arc::new(self.folder.open_file(&self.names.part, OFlags::empty())?);
        Ok(())
    }

    /// Gives the file its final name and makes it visible, if `actual` is the digest that the
    /// listing gave and the length agrees; else an error, and nothing visible.
    pub fn commit(self, actual: Digest) -> Result<PathBuf, StoreError> {
        let look = || self.file.metadata().map_err(StoreError::io("look at", &self.path()));
        error::check_content(&self.path(), &self.entry, actual, look()?.len())?;
        self.file.sync_data().map_err(StoreError::io("flush", &self.path()))?;
        let stamp = Stamp::from(&look()?);
        // Where locks do not work, another process may have started the partial again.
        let ours = rustix::fs::fstat(&*self.file).map_err(|e| StoreError::io("look at", &self.path())(e.into()))?;
        let taken = || self.folder.identity(&self.names.part) != Some(identity_of(&ours));
        if taken() {
            return Err(StoreError::Changed(self.path()));
        }
        let place = match self.store.install(&self.folder, &self.names.part, stamp, &self.commit, &self.entry) {
            // It may be finished by the other between the look and the move.
            Err(error) if error.is_not_found() && taken() => return Err(StoreError::Changed(self.path())),
            other => other?,
        };
        // A journal without its partial says nothing; that it stays is no error.
        let _ = self.folder.remove(&self.names.journal);
        Ok(place)
    }

    /// Removes the partial and its journal.
    pub fn abandon(self) -> Result<(), StoreError> {
        self.folder.remove(&self.names.journal)?;
        self.folder.remove(&self.names.part)
    }
}
