//! Files on their way: positional partial files and the journal of what of them has arrived.
//!
//! The journal is a text file beside the partial: a header line with digest and size, then one line
//! `start end` per range, appended after its bytes were written. A torn or foreign journal means
//! that nothing is believed. It never proves content: the final digest does.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::{FileLock, RangeSet, Store, StoreError, disk};
use crate::hub::Entry;
use crate::repo::{CommitId, Digest};

/// Journals are a few lines; one larger than this is not ours.
const JOURNAL_LIMIT: u64 = 16 << 20;

/// A file on its way. Dropping it without [`commit`](Partial::commit) keeps it for a later run.
#[derive(Debug)]
pub struct Partial {
    store: Arc<Store>,
    commit: CommitId,
    entry: Entry,
    paths: PartialPaths,
    file: Arc<File>,
    journal: File,
    ranges: RangeSet,
    _lock: FileLock,
}

/// Where a partial and its journal lie.
#[derive(Debug, Clone)]
pub(super) struct PartialPaths {
    pub part: PathBuf,
    pub journal: PathBuf,
}

impl PartialPaths {
    pub fn new(dir: &Path, digest: &Digest) -> Self {
        PartialPaths { part: dir.join(format!("{digest}.part")), journal: dir.join(format!("{digest}.journal")) }
    }

    /// What the journal says has arrived, as far as the partial file is long enough to hold it.
    pub fn ranges(&self, entry: &Entry) -> Option<RangeSet> {
        let length = fs::symlink_metadata(&self.part).ok().filter(fs::Metadata::is_file)?.len();
        let mut text = String::new();
        File::open(&self.journal).ok()?.take(JOURNAL_LIMIT).read_to_string(&mut text).ok()?;
        parse_journal(&text, entry, length)
    }
}

fn header(entry: &Entry) -> String {
    format!("hfget-journal 1 {} {}", entry.digest(), entry.size)
}

/// `None` when the journal is not one for this content.
fn parse_journal(text: &str, entry: &Entry, length: u64) -> Option<RangeSet> {
    let mut ranges = RangeSet::default();
    // A line without its newline was torn by a crash.
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    if lines.next()? != header(entry) {
        return None;
    }
    for line in lines {
        let (start, end) = line.split_once(' ')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        if start > end || end > entry.size {
            return None;
        }
        ranges.insert(start..end.min(length).max(start));
    }
    Some(ranges)
}

/// Opens for reading and writing without following a symlink; the umask decides the mode.
fn open_no_follow(path: &Path, flags: OFlags) -> Result<File, StoreError> {
    let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)) {
        Ok(fd) => Ok(File::from(fd)),
        Err(rustix::io::Errno::LOOP) => Err(StoreError::Symlink(path.to_path_buf())),
        Err(error) => Err(StoreError::io("open", path)(error.into())),
    }
}

impl Partial {
    pub(super) fn open(store: Arc<Store>, lock: FileLock, commit: CommitId, entry: &Entry) -> Result<Self, StoreError> {
        let dir = store.partial_dir();
        disk::create_dirs(&dir)?;
        let paths = PartialPaths::new(&dir, &entry.digest());
        let known = paths.ranges(entry);
        let file = Arc::new(open_no_follow(&paths.part, OFlags::empty())?);
        let journal = open_no_follow(&paths.journal, OFlags::APPEND)?;
        let fresh = known.is_none();
        let mut partial = Partial {
            store,
            commit,
            entry: entry.clone(),
            paths,
            file,
            journal,
            ranges: known.unwrap_or_default(),
            _lock: lock,
        };
        if fresh {
            partial.reset()?;
        } else {
            // Written anew, so that a torn last line is not continued.
            let ranges = partial.ranges.clone();
            partial.reset_journal()?;
            for range in ranges.as_slice() {
                partial.append(range)?;
            }
        }
        Ok(partial)
    }

    /// The listed file this is to become.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Open for positional reads (`std::os::unix::fs::FileExt`).
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where it lies, for messages.
    pub fn path(&self) -> &Path {
        &self.paths.part
    }

    /// Sets disk space aside, so that the file lies together and a full disk is noticed at once. That
    /// a file system cannot do that is no error; on tmpfs it would cost what it saves elsewhere.
    pub fn reserve(&self) -> Result<(), StoreError> {
        use rustix::fs::{FallocateFlags, fallocate, fstatfs};
        const TMPFS: i64 = 0x0102_1994;
        if fstatfs(&*self.file).is_ok_and(|stat| i64::from(stat.f_type) == TMPFS) {
            return Ok(());
        }
        match fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, self.entry.size) {
            Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG)) => {
                Err(StoreError::io("reserve space for", &self.paths.part)(error.into()))
            }
            _ => Ok(()),
        }
    }

    /// Writes at an offset; [`record`](Self::record) it afterwards.
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, at).map_err(StoreError::io("write to", &self.paths.part))
    }

    /// The byte ranges that have arrived.
    pub fn ranges(&self) -> &RangeSet {
        &self.ranges
    }

    /// Notes that `range` was written. Cheap, but not free: once every few MiB is right.
    pub fn record(&mut self, range: Range<u64>) -> Result<(), StoreError> {
        self.append(&range)?;
        self.ranges.insert(range);
        Ok(())
    }

    fn append(&mut self, range: &Range<u64>) -> Result<(), StoreError> {
        self.journal
            .write_all(format!("{} {}\n", range.start, range.end).as_bytes())
            .map_err(StoreError::io("write to", &self.paths.journal))
    }

    fn reset_journal(&mut self) -> Result<(), StoreError> {
        let write = |journal: &mut File, line: String| -> io::Result<()> {
            journal.set_len(0)?;
            journal.write_all(line.as_bytes())
        };
        write(&mut self.journal, header(&self.entry) + "\n").map_err(StoreError::io("write to", &self.paths.journal))
    }

    /// Forgets all content: the file starts again.
    pub fn reset(&mut self) -> Result<(), StoreError> {
        self.reset_journal()?;
        self.ranges = RangeSet::default();
        self.file.set_len(0).map_err(StoreError::io("truncate", &self.paths.part))
    }

    /// Gives the file its final name and makes it visible, if `actual` is the digest that the
    /// listing gave and the length agrees; else an error, and nothing visible.
    pub fn commit(self, actual: Digest) -> Result<PathBuf, StoreError> {
        let expected = self.entry.digest();
        let length = self.file.metadata().map_err(StoreError::io("look at", &self.paths.part))?.len();
        if actual != expected || length != self.entry.size {
            return Err(StoreError::WrongContent {
                path: self.paths.part.clone(),
                expected,
                actual,
                size: self.entry.size,
                length,
            });
        }
        self.file.sync_data().map_err(StoreError::io("flush", &self.paths.part))?;
        let place = self.store.install(&self.paths.part, &self.commit, &self.entry)?;
        disk::remove(&self.paths.journal)?;
        Ok(place)
    }

    /// Removes the partial and its journal.
    pub fn abandon(self) -> Result<(), StoreError> {
        disk::remove(&self.paths.journal)?;
        disk::remove(&self.paths.part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> Entry {
        Entry {
            path: "model.bin".parse().unwrap(),
            size: 100,
            oid: "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap(),
            lfs: None,
            xet_hash: None,
        }
    }

    #[test]
    fn a_torn_last_line_is_not_believed() {
        let text = format!("{}\n0 10\n20 30\n40 9", header(&entry()));
        assert_eq!(parse_journal(&text, &entry(), 100).unwrap().as_slice(), [0..10, 20..30]);
    }

    #[test]
    fn what_the_file_is_too_short_to_hold_is_not_believed() {
        let text = format!("{}\n0 10\n20 30\n", header(&entry()));
        assert_eq!(parse_journal(&text, &entry(), 25).unwrap().as_slice(), [0..10, 20..25]);
    }

    #[test]
    fn a_journal_of_other_content_is_ignored() {
        let mut other = entry();
        other.size = 99;
        assert_eq!(parse_journal(&format!("{}\n0 10\n", header(&other)), &entry(), 100), None);
    }

    proptest! {
        #[test]
        fn no_journal_claims_more_than_the_file(tail in "[0-9 \\n-]{0,60}", length in 0u64..120) {
            if let Some(set) = parse_journal(&format!("{}\n{tail}", header(&entry())), &entry(), length) {
                prop_assert!(set.as_slice().iter().all(|r| r.end <= length.min(100)));
            }
        }
    }
}
