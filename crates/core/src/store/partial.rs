//! Partial files that are written at any place, each with its journal beside it. `journal` defines
//! a journal's text; `writer` defines the names of both.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::journal::Believed;
use super::within::Folder;
use super::writer::{Names, Orphans};
use super::{FileLock, RangeSet, Store, StoreError, error, journal};
use crate::finding::Stamp;
use crate::model::{CommitId, Digest, Entry};
use crate::platform::{self, Access, Create, FileKind, Why, look_at_file, why};

/// A partial is flushed after this many bytes. A crash of the machine costs at most these, and the
/// parts in flight.
const FLUSH_EVERY: u64 = 256 << 20;
/// The flushes of the last bytes become smaller, down to this. The flush at the end, for which the user waits, has at most
/// about as many bytes.
const FLUSH_LAST: u64 = 16 << 20;
/// A finished file of this size gets its name only when its journal is on the disk, and keeps the journal until its
/// name is on the disk: a crash in between must not cost the file. Smaller files are quicker to fetch again.
const WORTH_A_FLUSH: u64 = 64 << 20;
/// The most bytes of a journal that are read; the rest does not count.
const JOURNAL_LIMIT: u64 = 64 << 20;
/// After this many range lines a journal is written again, with one line for ranges that have merged.
const LINES_KEPT: usize = 20_000;

/// A file that is being fetched. Dropping it without [`commit`](Partial::commit) keeps it for a later run.
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
    /// The ranges that survive a crash of the machine.
    durable: RangeSet,
    /// Range lines of the journal.
    lines: usize,
    /// Counts how often the journal was written again.
    journals: u32,
    /// Bytes recorded since the last flush.
    unsynced: u64,
    /// Whether the names of the partial and the journal are on the disk.
    named: bool,
    /// Whether a flush has failed; nothing is noted after that.
    void: bool,
    _lock: FileLock,
}

/// A flush of the partial to the disk. A crash of the machine then costs only bytes that came later.
#[derive(Debug)]
pub(crate) struct Flush {
    file: Arc<File>,
    path: PathBuf,
    lines: usize,
    journals: u32,
    ranges: RangeSet,
}

impl Flush {
    /// Flushes. Blocks as long as the disk takes, so the caller should hold no lock.
    pub fn run(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("flush", &self.path))
    }
}

/// The ranges in the journal of a partial in `folder`, as far as the partial is long enough.
fn read(folder: &Folder, names: &Names, entry: &Entry) -> Option<Believed> {
    let stat = folder.stat(&names.part).ok()??;
    // A partial with a second name also belongs to somebody else, so it will be started again.
    if stat.links > 1 || stat.kind != FileKind::File {
        return None;
    }
    let text = folder.read_small(&names.journal, JOURNAL_LIMIT)?;
    journal::parse(std::str::from_utf8(&text).ok()?, entry, stat.size, journal::boot())
}

/// The partial of the entry that a run would continue, and the ranges that have arrived.
fn known(folder: &Folder, orphans: &Orphans, entry: &Entry, lock: Option<&FileLock>) -> Option<(Names, Believed)> {
    let digest = entry.digest();
    let mut all = orphans.get(&digest).cloned().unwrap_or_default();
    // Only a lock can tell whose the shared partial is.
    if lock.is_none_or(FileLock::is_sure) {
        all.push(Names::shared(&digest));
    }
    let read = all.into_iter().filter_map(|names| read(folder, &names, entry).map(|known| (names, known)));
    read.max_by_key(|(_, known)| known.ranges.total())
}

/// How many bytes of an entry arrived in an earlier run, and how many bytes are reserved for it on the disk.
pub(super) fn arrived(folder: &Folder, orphans: &Orphans, entry: &Entry) -> (u64, u64) {
    known(folder, orphans, entry, None).map_or((0, 0), |(names, known)| {
        let taken = folder.stat(&names.part).ok().flatten().map_or(0, |stat| stat.taken);
        (known.ranges.total(), taken)
    })
}

/// A new file that replaces an older one. The older one is not emptied: without locks, another process may have given
/// it its final name.
fn new_file(folder: &Folder, name: &str) -> Result<File, StoreError> {
    match folder.open(name, Access::ReadWrite, Create::New) {
        Err(error) if why(&error) == Why::Exists => {
            // Only a regular file is replaced.
            folder.open_file(name, Access::ReadWrite)?;
            folder.remove(name)?;
            folder.open_file(name, Access::ReadWrite)
        }
        made => made.map_err(StoreError::io("create", &folder.path(name))),
    }
}

impl Partial {
    pub(super) fn open(store: Arc<Store>, lock: FileLock, commit: CommitId, entry: &Entry) -> Result<Self, StoreError> {
        let folder = store.layout.partial_folder()?;
        let names = if lock.is_sure() { Names::shared(&entry.digest()) } else { Names::own(&entry.digest()) };
        let known = match known(&folder, store.layout.orphans(&folder), entry, Some(&lock)) {
            Some((there, known)) if there == names => Some(known),
            // Another process may have been faster; then this file starts from zero.
            Some((orphan, known)) => names.take_over(&folder, &orphan).is_ok().then_some(known),
            None => None,
        };
        let (file, journal) = if let Some(known) = &known {
            let file = folder.open_file(&names.part, Access::ReadWrite)?;
            // The journal is written as a new file: a kill between two writes must not lose the known
            // ranges, and no line may continue a torn one.
            let text = known.text(entry, journal::boot());
            let flush = known.flushed && !known.ranges.as_slice().is_empty();
            folder.write(&names.journal, &folder, text.as_bytes(), flush)?;
            (file, folder.open_file(&names.journal, Access::Journal)?)
        } else {
            let file = new_file(&folder, &names.part)?;
            folder.remove(&names.journal)?;
            let mut journal = folder.open_file(&names.journal, Access::Journal)?;
            let text = Believed::default().text(entry, journal::boot());
            let write = journal.write_all(text.as_bytes());
            write.map_err(StoreError::io("write to", &folder.path(&names.journal)))?;
            (file, journal)
        };
        let known = known.unwrap_or_default();
        let lines = known.ranges.as_slice().len();
        let unsynced = if known.flushed { 0 } else { known.ranges.total() };
        let durable = if known.flushed { known.ranges.clone() } else { RangeSet::default() };
        let (entry, ranges) = (entry.clone(), known.ranges);
        Ok(Partial {
            store,
            commit,
            entry,
            folder,
            names,
            file: Arc::new(file),
            journal,
            ranges,
            durable,
            lines,
            journals: 0,
            unsynced,
            named: false,
            void: false,
            _lock: lock,
        })
    }

    /// Its path, for messages.
    pub fn path(&self) -> PathBuf {
        self.folder.path(&self.names.part)
    }

    fn journal_path(&self) -> PathBuf {
        self.folder.path(&self.names.journal)
    }

    /// The listed file that this will become.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Open for reads and writes at any place.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Reserves disk space, if the system can, so that a full disk is noticed early.
    pub fn reserve(&self) -> Result<(), StoreError> {
        platform::reserve(&self.file, self.entry.size).map_err(StoreError::io("reserve space for", &self.path()))
    }

    /// Writes at an offset; [`record`](Self::record) it afterwards. The transfer writes to [`file`](Self::file)
    /// itself, so that it need not lock the partial meanwhile.
    #[cfg(test)]
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        platform::write_all_at(&self.file, bytes, at).map_err(StoreError::io("write to", &self.path()))
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
        // If the journal would not become much shorter, it stays.
        let many = LINES_KEPT.saturating_add(self.ranges.as_slice().len().saturating_mul(2));
        if self.lines > many { self.rewrite_journal() } else { Ok(()) }
    }

    /// The flush that is due now, if any; call [`flushed`](Self::flushed) after it.
    pub fn flush_due(&mut self) -> Option<Flush> {
        let left = self.entry.size.saturating_sub(self.ranges.total());
        // A small file is flushed once, at its end.
        let least = if self.entry.size < WORTH_A_FLUSH { FLUSH_EVERY } else { left.clamp(FLUSH_LAST, FLUSH_EVERY) };
        if self.unsynced < least || left == 0 {
            return None;
        }
        self.unsynced = 0;
        let (file, ranges) = (Arc::clone(&self.file), self.ranges.clone());
        Some(Flush { file, path: self.path(), lines: self.lines, journals: self.journals, ranges })
    }

    /// Notes the result of a flush. After a success the journal says so. After a failure no byte of the file counts any
    /// more: the system may report bytes as written that it has dropped. A flush of a file that was started again
    /// meanwhile has no effect.
    pub fn flushed(&mut self, flush: &Flush, ended: Result<(), StoreError>) -> Result<(), StoreError> {
        if !Arc::ptr_eq(&flush.file, &self.file) {
            return ended;
        }
        if let Err(error) = ended {
            // The first error is reported.
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

    /// Flushes the journal and, once, its name and the partial's name.
    fn flush_journal(&mut self) -> Result<(), StoreError> {
        self.journal.sync_data().map_err(StoreError::io("flush", &self.journal_path()))?;
        if !self.named {
            self.folder.sync()?;
            self.named = true;
        }
        Ok(())
    }

    /// Writes the journal again, as short as possible.
    fn rewrite_journal(&mut self) -> Result<(), StoreError> {
        let (text, lines) = journal::text_of(&self.entry, journal::boot(), &self.durable, &self.ranges);
        let flush = !self.durable.as_slice().is_empty();
        self.folder.write(&self.names.journal, &self.folder, text.as_bytes(), flush)?;
        self.journal = self.folder.open_file(&self.names.journal, Access::Journal)?;
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
            // Not every system finds the end by itself.
            journal.rewind()?;
            journal.write_all(line.as_bytes())
        };
        let header = Believed::default().text(&self.entry, journal::boot());
        (self.lines, self.unsynced) = (0, 0);
        self.durable = RangeSet::default();
        write(&mut self.journal, &header).map_err(StoreError::io("write to", &self.journal_path()))
    }

    /// Drops all content: the file starts again, as a new file.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        self.reset_journal()?;
        self.ranges = RangeSet::default();
        self.void = false;
        self.file = Arc::new(new_file(&self.folder, &self.names.part)?);
        Ok(())
    }

    /// Gives the file its final name and makes it visible, if `actual` is the listed digest and the
    /// length matches; otherwise an error, and nothing becomes visible.
    pub fn commit(mut self, actual: Digest) -> Result<PathBuf, StoreError> {
        let look = |own: &Self| look_at_file(&own.file).map_err(StoreError::io("look at", &own.path()));
        error::check_content(&self.path(), &self.entry, actual, look(&self)?.size)?;
        if let Err(error) = self.file.sync_data() {
            // Bytes that were not flushed may be lost, even if they can be read now, so the file is fetched again.
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
        let ours = look(&self)?;
        let stamp = Stamp::from(&ours);
        // Without locks, another process may have started the partial again.
        let taken = || self.folder.identity(&self.names.part) != Some(ours.identity);
        if taken() {
            return self.finish_beside();
        }
        let place = match self.store.install(&self.folder, &self.names.part, stamp, &self.commit, &self.entry) {
            // The other process may have finished it between the look and the move.
            Err(error) if error.is_not_found() && taken() => return self.finish_beside(),
            other => other?,
        };
        if large {
            self.store.layout.flush_names(&self.commit, [&self.entry])?;
        }
        // A journal without its partial has no effect, so it is not an error if it stays.
        let _ = self.folder.remove(&self.names.journal);
        Ok(place)
    }

    /// Ends a lost race: another process has the partial's name. If that process has finished the file, nothing is left
    /// to do; otherwise our complete and right bytes are copied to their place.
    fn finish_beside(&self) -> Result<PathBuf, StoreError> {
        if self.store.is_here(&self.commit, &self.entry)? && self.store.adopt(&self.commit, &self.entry, None).is_ok() {
            return Ok(self.store.content_path(&self.commit, &self.entry));
        }
        // The file has no name any more, or will lose it soon.
        let Some(bytes) = platform::path_of(&self.file) else { return Err(StoreError::Changed(self.path())) };
        match self.store.install_copy(&self.commit, &self.entry, &bytes, &mut |_| {}) {
            Ok((_, place)) => Ok(place),
            // The other process writes into the same file.
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
