//! Files on their way: positional partial files, each with its journal beside it. What a journal's
//! text means is settled in `journal`, what the two are called in `writer`.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};

use super::journal::Believed;
use super::within::{Folder, identity_of};
use super::writer::Names;
use super::{FileLock, RangeSet, Store, StoreError, error, journal};
use crate::finding::Stamp;
use crate::model::{CommitId, Digest, Entry};

/// Bytes after which a partial is flushed: what a crash of the machine costs at most, beside the
/// parts in flight.
const FLUSH_EVERY: u64 = 256 << 20;
/// A finished file of this size gets its name only when its journal is on the disk, and keeps the journal until its
/// name is: a crash of the machine in between must not cost it. Smaller ones are quicker fetched again.
const WORTH_A_FLUSH: u64 = 64 << 20;
/// Journals are some lines; of one larger than this the rest is not believed.
const JOURNAL_LIMIT: u64 = 64 << 20;
/// Range lines after which a journal is written anew, with what has merged meanwhile as one line.
const LINES_KEPT: usize = 20_000;

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
    /// Those of the ranges that no crash of the machine can undo.
    durable: RangeSet,
    /// Range lines of the journal.
    lines: usize,
    /// Counts how often the journal was written anew.
    journals: u32,
    /// Bytes recorded since the last time they were flushed.
    unsynced: u64,
    /// The folder's names for the two are on the disk.
    named: bool,
    /// After a failed flush nothing is noted any more.
    void: bool,
    _lock: FileLock,
}

/// What is to be flushed to the disk, so that a crash of the machine costs no more than what came after.
#[derive(Debug)]
pub(crate) struct Flush {
    file: Arc<File>,
    path: PathBuf,
    lines: usize,
    journals: u32,
    ranges: RangeSet,
}

impl Flush {
    /// Flushes. Blocks, for as long as the disk takes: nothing should be locked meanwhile.
    pub fn run(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("flush", &self.path))
    }
}

/// What the journal of a partial in `folder` says has arrived, as far as the partial is long enough to hold it.
fn read(folder: &Folder, names: &Names, entry: &Entry) -> Option<Believed> {
    let stat = folder.stat(&names.part).ok()??;
    // With another name it is somebody else's file too, and will be begun anew.
    if stat.st_nlink > 1 {
        return None;
    }
    let length = u64::try_from(stat.st_size).ok().filter(|_| FileType::from_raw_mode(stat.st_mode).is_file())?;
    let text = folder.read_small(&names.journal, JOURNAL_LIMIT)?;
    journal::parse(std::str::from_utf8(&text).ok()?, entry, length, journal::boot())
}

/// Whichever partial of the entry a run would go on with, and what has arrived of it.
fn known(folder: &Folder, entry: &Entry, lock: Option<&FileLock>) -> Option<(Names, Believed)> {
    let digest = entry.digest();
    let mut all = Names::orphans(folder, &digest);
    // Whose the shared one is only a lock can tell.
    if lock.is_none_or(FileLock::is_sure) {
        all.push(Names::shared(&digest));
    }
    let read = all.into_iter().filter_map(|names| read(folder, &names, entry).map(|known| (names, known)));
    read.max_by_key(|(_, known)| known.ranges.total())
}

/// What of an entry has arrived in an earlier run, and the bytes that are set aside for it on the disk.
pub(super) fn arrived(folder: &Folder, entry: &Entry) -> (u64, u64) {
    known(folder, entry, None).map_or((0, 0), |(names, known)| {
        let blocks = folder.stat(&names.part).ok().flatten().and_then(|stat| u64::try_from(stat.st_blocks).ok());
        // Whatever st_blksize is, st_blocks counts units of 512 bytes.
        (known.ranges.total(), blocks.unwrap_or(0).saturating_mul(512))
    })
}

impl Partial {
    pub(super) fn open(store: Arc<Store>, lock: FileLock, commit: CommitId, entry: &Entry) -> Result<Self, StoreError> {
        let folder = store.layout.partial_folder()?;
        let names = if lock.is_sure() { Names::shared(&entry.digest()) } else { Names::own(&entry.digest()) };
        let known = match known(&folder, entry, Some(&lock)) {
            Some((there, known)) if there == names => Some(known),
            // Another process may have been faster: then this file begins.
            Some((orphan, known)) => names.take_over(&folder, &orphan).is_ok().then_some(known),
            None => None,
        };
        let file = Arc::new(folder.open_file(&names.part, OFlags::empty())?);
        let is_new = known.is_none();
        let known = known.unwrap_or_default();
        // As a new file: a kill between two writes must not cost what is known, nor a torn last line
        // be continued.
        let text = known.text(entry, journal::boot());
        let flush = known.flushed && !known.ranges.as_slice().is_empty();
        folder.write(&names.journal, &folder, text.as_bytes(), flush)?;
        let journal = folder.open_file(&names.journal, OFlags::APPEND)?;
        let lines = known.ranges.as_slice().len();
        let unsynced = if known.flushed { 0 } else { known.ranges.total() };
        let durable = if known.flushed { known.ranges.clone() } else { RangeSet::default() };
        let (entry, ranges) = (entry.clone(), known.ranges);
        let mut partial = Partial {
            store,
            commit,
            entry,
            folder,
            names,
            file,
            journal,
            ranges,
            durable,
            lines,
            journals: 0,
            unsynced,
            named: false,
            void: false,
            _lock: lock,
        };
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
        if self.void {
            return Ok(());
        }
        self.append(&journal::range_line(&range))?;
        self.lines += 1;
        self.unsynced = self.unsynced.saturating_add(range.end.saturating_sub(range.start));
        self.ranges.insert(range);
        // Where that would not make it much shorter it is left.
        let many = LINES_KEPT.saturating_add(self.ranges.as_slice().len().saturating_mul(2));
        if self.lines > many { self.rewrite_journal() } else { Ok(()) }
    }

    /// What should be flushed now, if it is time; [`flushed`](Self::flushed) afterwards.
    pub fn flush_due(&mut self) -> Option<Flush> {
        if self.unsynced < FLUSH_EVERY {
            return None;
        }
        self.unsynced = 0;
        let (file, ranges) = (Arc::clone(&self.file), self.ranges.clone());
        Some(Flush { file, path: self.path(), lines: self.lines, journals: self.journals, ranges })
    }

    /// Notes how a flush ended: well, so that the journal may say so, or not, so that nothing of the file is believed
    /// any more. After a failed flush the system may call bytes written that it has dropped. A flush of a file that was
    /// started again meanwhile says nothing.
    pub fn flushed(&mut self, flush: &Flush, ended: Result<(), StoreError>) -> Result<(), StoreError> {
        if !Arc::ptr_eq(&flush.file, &self.file) {
            return ended;
        }
        if let Err(error) = ended {
            // The first error is the one to tell.
            let _ = self.reset_journal();
            self.void = true;
            return Err(error);
        }
        self.durable = flush.ranges.clone();
        if flush.journals == self.journals {
            self.append(&journal::synced_line(flush.lines))?;
        } else {
            self.rewrite_journal()?;
        }
        self.flush_journal()
    }

    /// Flushes the journal, and once the names of it and of its partial.
    fn flush_journal(&mut self) -> Result<(), StoreError> {
        self.journal.sync_data().map_err(StoreError::io("flush", &self.journal_path()))?;
        if !self.named {
            self.folder.sync()?;
            self.named = true;
        }
        Ok(())
    }

    /// Writes the journal anew, as short as it can be said.
    fn rewrite_journal(&mut self) -> Result<(), StoreError> {
        let (text, lines) = journal::text_of(&self.entry, journal::boot(), &self.durable, &self.ranges);
        let flush = !self.durable.as_slice().is_empty();
        self.folder.write(&self.names.journal, &self.folder, text.as_bytes(), flush)?;
        self.journal = self.folder.open_file(&self.names.journal, OFlags::APPEND)?;
        (self.lines, self.named) = (lines, false);
        self.journals = self.journals.wrapping_add(1);
        Ok(())
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
        self.durable = RangeSet::default();
        write(&mut self.journal, &header).map_err(StoreError::io("write to", &self.journal_path()))
    }

    /// Forgets all content: the file starts again, as a new file. Where locks do not work, another
    /// process may have given the old one its final name; truncating it would empty what is visible.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        self.reset_journal()?;
        self.ranges = RangeSet::default();
        self.void = false;
        self.folder.remove(&self.names.part)?;
        self.file = Arc::new(self.folder.open_file(&self.names.part, OFlags::empty())?);
        Ok(())
    }

    /// Gives the file its final name and makes it visible, if `actual` is the digest that the
    /// listing gave and the length agrees; else an error, and nothing visible.
    pub fn commit(mut self, actual: Digest) -> Result<PathBuf, StoreError> {
        let look = |own: &Self| own.file.metadata().map_err(StoreError::io("look at", &own.path()));
        error::check_content(&self.path(), &self.entry, actual, look(&self)?.len())?;
        if let Err(error) = self.file.sync_data() {
            // What was not flushed may be gone whatever is read now: it is fetched again.
            let _ = self.reset_journal();
            return Err(StoreError::io("flush", &self.path())(error));
        }
        let large = self.entry.size >= WORTH_A_FLUSH;
        if large {
            self.ranges.insert(0..self.entry.size);
            self.durable = self.ranges.clone();
            self.rewrite_journal()?;
            self.flush_journal()?;
        }
        let stamp = Stamp::from(&look(&self)?);
        // Where locks do not work, another process may have started the partial again.
        let ours = rustix::fs::fstat(&*self.file).map_err(|e| StoreError::io("look at", &self.path())(e.into()))?;
        let taken = || self.folder.identity(&self.names.part) != Some(identity_of(&ours));
        if taken() {
            return self.finish_beside();
        }
        let place = match self.store.install(&self.folder, &self.names.part, stamp, &self.commit, &self.entry) {
            // It may be finished by the other between the look and the move.
            Err(error) if error.is_not_found() && taken() => return self.finish_beside(),
            other => other?,
        };
        if large {
            self.store.layout.flush_names(&self.commit, [&self.entry])?;
        }
        // A journal without its partial says nothing; that it stays is no error.
        let _ = self.folder.remove(&self.names.journal);
        Ok(place)
    }

    /// Ends a race that was lost: another process has the partial's name. Where it has finished the file, there is nothing
    /// left to do; else our bytes, which are whole and right, are copied to where they belong.
    fn finish_beside(&self) -> Result<PathBuf, StoreError> {
        if self.store.presence(&self.commit, &self.entry)?.is_here()
            && self.store.adopt(&self.commit, &self.entry, None).is_ok()
        {
            return Ok(self.store.content_path(&self.commit, &self.entry));
        }
        // The file has no name any more, or not for long.
        let bytes = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        match self.store.install_copy(&self.commit, &self.entry, &bytes, &mut |_| {}) {
            Ok((_, place)) => Ok(place),
            // The other writes into the same file, or there is no /proc to find ours in.
            Err(StoreError::WrongContent { .. }) => Err(StoreError::Changed(self.path())),
            Err(error) if error.is_not_found() => Err(StoreError::Changed(self.path())),
            Err(error) => Err(error),
        }
    }

    /// Removes the partial and its journal.
    pub fn abandon(self) -> Result<(), StoreError> {
        self.folder.remove(&self.names.journal)?;
        self.folder.remove(&self.names.part)
    }
}
