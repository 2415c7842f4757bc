//! A file that is being fetched: which of its bytes were asked for, have arrived and were hashed. There is no network
//! and no scheduling here: workers ask for ranges and give blocks, and a [`Watcher`] gets the results.

mod hash;
mod window;
mod writer;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{Span, debug_span};

pub(super) use self::window::AHEAD;
pub(super) use self::window::{Block, Budget};
use self::window::{FAR, Window};
pub(super) use self::writer::Writer;
use crate::hashing::{self, ENOUGH, StillOpen};
use crate::model::{Digest, Entry, Hashed, Hasher};
use crate::mutex::lock;
use crate::platform::write_all_at;
use crate::progress::{Event, Progress};
use crate::store::{Flush, Partial, RangeSet, StoreError};
use crate::transfer::FetchError;

/// Files up to this size in bytes are small: one request fetches each, and many are fetched at once.
pub(super) const SMALL: u64 = 4 << 20;
/// Bytes of a block, which is written as a whole.
pub(super) const BLOCK: usize = 256 << 10;
/// The most bytes of a part, unless all missing bytes of a file come as one stream: few enough that the hash follows closely, enough that
/// the cost of a request does not matter.
pub(super) const LARGEST_PART: u64 = 8 << 20;
/// Parts that fit into memory together wait for the frontier, unless it has not moved for this long: then a connection
/// may hang.
pub(super) const STUCK: Duration = Duration::from_millis(100);
/// A writer lets the hasher catch up for this long at most, this many times.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: u32 = 100;

/// The threads that hash large files, for all files of a run.
pub(super) type Desk = hashing::Desk<FileWork>;

/// Receives the files' results. The schedule is one; files know only this trait of it.
pub(super) trait Watcher: Send + Sync + 'static {
    /// The watcher of the run's progress.
    fn progress(&self) -> &dyn Progress;

    /// `bytes` more bytes are in their file.
    fn arrived(&self, bytes: u64);

    /// One more part may start.
    fn has_room(&self);

    /// All bytes of a file are here, with this digest. Blocks.
    fn whole(&self, file: &Arc<FileWork>, hashed: Hashed);

    /// The run cannot continue.
    fn fatal(&self, error: FetchError);
}

/// The ranges that were asked for and that came, under one lock.
struct State {
    /// `None` once the file has its name, or has failed.
    partial: Option<Partial>,
    /// The partial's file; another one after a restart.
    file: Arc<File>,
    /// The ranges on disk.
    written: RangeSet,
    /// The ranges that were handed out or are on disk.
    claimed: RangeSet,
    /// Blocks near the hash frontier, still in memory.
    window: Window,
    /// A part that was not handed out: the hasher must catch up first.
    held_back: Option<Ask>,
    /// With this many bytes to hash, the file does not wait for another one.
    enough: u64,
    /// `None` while a thread hashes.
    hasher: Option<Hasher>,
    hashed: u64,
    /// When `hashed`, or the first gap after it, changed last.
    moved: Instant,
    /// Counts restarts: results of an earlier round are dropped.
    round: u32,
    /// Failures without progress in between.
    failures: u32,
    /// Counts the failures that counted: attempts that began before the last one do not count again.
    epoch: u32,
}

impl State {
    /// The bytes that can be hashed, up to the first gap.
    fn ready(&self) -> u64 {
        self.written.covered_from(self.hashed).saturating_sub(self.hashed)
    }

    /// Whether a part from `start` on must wait for the hasher. `alone` says that no other large file of its home is open.
    fn must_wait(&self, start: u64, ask: Ask, alone: bool) -> bool {
        let end = start.saturating_add(ask.most).saturating_sub(self.hashed);
        let moves = || ask.most.saturating_mul(ask.connections) <= AHEAD && self.moved.elapsed() < STUCK;
        (ask.share()..FAR).contains(&end) && (self.is_behind(alone) || moves())
    }

    /// Moves the frontier. Returns whether a part that was held back can be handed out now, once.
    fn hashed_to(&mut self, at: u64, size: u64, alone: bool) -> bool {
        (self.hashed, self.moved) = (at, Instant::now());
        let Some(ask) = self.held_back else { return false };
        let go_on = self.claimed.first_gap(size).is_none_or(|gap| !self.must_wait(gap.start, ask, alone));
        if go_on {
            self.held_back = None;
        }
        go_on
    }
}

/// One file that is being fetched.
pub(super) struct FileWork {
    pub entry: Entry,
    /// The span of its log lines.
    pub span: Span,
    path: PathBuf,
    state: Mutex<State>,
    /// Signals that the hasher took a block out of memory.
    taken: Notify,
    /// Held while a block is written. Two threads that write to one file would spin on the system's lock of that file.
    writing: tokio::sync::Mutex<()>,
    /// Whether the server ignores ranges, so that one connection takes the file from its front.
    whole_only: AtomicBool,
    /// Bytes that came over the network.
    pub received: AtomicU64,
    /// Bytes that were hashed from the disk, because they were not in memory any more.
    pub read_back: AtomicU64,
    restarted: AtomicBool,
    /// The threads that hash it, if it is large.
    desk: Arc<Desk>,
    /// A large file is counted as open there.
    _open: Option<StillOpen>,
    watcher: Weak<dyn Watcher>,
}

/// What a worker would fetch next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// The most bytes of a part.
    pub most: u64,
    /// How many parts there may be at once.
    pub connections: u64,
    /// How many large files are open that lack bytes.
    pub files: u64,
}

impl Ask {
    /// The memory of a file: it is for all open files together, but no file has less than the part that it is at and the next one.
    fn share(self) -> u64 {
        (AHEAD / self.files.max(1)).max(self.most.saturating_mul(2).saturating_add(1))
    }

    /// The bytes with which a file does not wait for another one: it has got so many when its next part must wait. But the bytes of a
    /// stream come little by little.
    fn enough(self) -> u64 {
        if self.most > LARGEST_PART { ENOUGH } else { (self.share() - self.most).clamp(ENOUGH, LARGEST_PART) }
    }
}

/// A range that one worker must fetch.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub range: Range<u64>,
    round: u32,
    epoch: u32,
}

impl FileWork {
    /// Takes over the bytes that an earlier run has left. `watcher` hears of the file as long as its run lasts.
    pub fn new(partial: Partial, budget: Arc<Budget>, desk: Arc<Desk>, watcher: Weak<dyn Watcher>) -> Self {
        let entry = partial.entry().clone();
        let known = partial.ranges().clone();
        let (file, path) = (Arc::clone(partial.file()), partial.path());
        let state = State {
            file,
            written: known.clone(),
            claimed: known,
            window: Window::new(budget),
            held_back: None,
            enough: ENOUGH,
            hasher: Some(entry.digest().hasher(entry.size)),
            hashed: 0,
            moved: Instant::now(),
            round: 0,
            failures: 0,
            epoch: 0,
            partial: Some(partial),
        };
        FileWork {
            span: debug_span!("file", file = %entry.path.shown()),
            path,
            state: Mutex::new(state),
            taken: Notify::new(),
            writing: tokio::sync::Mutex::default(),
            whole_only: AtomicBool::new(false),
            received: AtomicU64::new(0),
            read_back: AtomicU64::new(0),
            restarted: AtomicBool::new(false),
            _open: (entry.size > SMALL).then(|| desk.open()),
            entry,
            desk,
            watcher,
        }
    }

    /// Bytes that are here.
    pub fn have(&self) -> u64 {
        lock(&self.state).written.total()
    }

    /// Hands out the first bytes that no worker fetches yet. None are handed out while the hasher is
    /// behind and memory would not keep them: they would be read back from the disk, and the hasher would be further behind.
    pub fn claim(&self, ask: Ask) -> Option<Claim> {
        let mut state = lock(&self.state);
        state.partial.as_ref()?;
        // A part that an earlier call held back continues, unless this call holds it back again.
        state.held_back = None;
        state.enough = ask.enough();
        let range = if self.whole_only.load(Ordering::Relaxed) {
            // One connection at a time, from the first missing byte to the end.
            let busy = state.claimed.total() != state.written.total();
            let from = state.written.frontier();
            if busy || from == self.entry.size {
                return None;
            }
            from..self.entry.size
        } else {
            let gap = state.claimed.first_gap(self.entry.size)?;
            if state.must_wait(gap.start, ask, self.desk.is_alone()) {
                state.held_back = Some(ask);
                return None;
            }
            gap.start..gap.end.min(gap.start.saturating_add(ask.most))
        };
        state.claimed.insert(range.clone());
        Some(Claim { range, round: state.round, epoch: state.epoch })
    }

    /// A claim of the same round on other bytes, which the caller took from another worker.
    pub fn claim_stolen(&self, range: Range<u64>) -> Claim {
        let state = lock(&self.state);
        Claim { range, round: state.round, epoch: state.epoch }
    }

    /// Gives back the parts of `range` that were not written.
    pub fn release(&self, claim: &Claim, range: Range<u64>) {
        let mut state = lock(&self.state);
        if state.round == claim.round {
            for gap in state.written.gaps(range) {
                state.claimed.remove(gap);
            }
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        lock(&self.state).failures
    }

    /// Whether the server answers ranges, as far as the run knows.
    pub fn takes_ranges(&self) -> bool {
        !self.whole_only.load(Ordering::Relaxed)
    }

    /// From now on one connection takes the file from its front.
    pub fn ranges_are_ignored(&self) {
        self.whole_only.store(true, Ordering::Relaxed);
    }

    /// The place from which on a connection that gets the whole file must keep bytes.
    pub fn frontier(&self) -> u64 {
        lock(&self.state).written.frontier()
    }

    /// Counts a failure; returns the number of failures in a row, or `None` if an attempt at the
    /// same time was counted already.
    pub fn failed(&self, claim: &Claim) -> Option<u32> {
        let mut state = lock(&self.state);
        if state.epoch != claim.epoch || state.round != claim.round {
            return None;
        }
        state.epoch = state.epoch.wrapping_add(1);
        state.failures += 1;
        Some(state.failures)
    }

    /// Whether the file waits for hashing, so that more connections would not help.
    pub fn is_hash_bound(&self) -> bool {
        lock(&self.state).is_behind(self.desk.is_alone())
    }

    /// Whether a part waits until the hasher has caught up.
    pub fn is_held_back(&self) -> bool {
        lock(&self.state).held_back.is_some()
    }

    /// Waits while the hasher is behind: bytes that it takes from memory need not be read back from disk, and the hasher needs
    /// the processor more than the network does. Waits two seconds at most.
    pub async fn pace(&self, claim: &Claim, block: &Block) {
        for _ in 0..PATIENCE {
            // Why this order: bytes that the hasher takes between the look and the wait must end the wait, so it listens first.
            let mut taken = std::pin::pin!(self.taken.notified());
            taken.as_mut().enable();
            if !self.must_pace(claim, block) {
                return;
            }
            let _ = tokio::time::timeout(PAUSE, taken).await;
        }
    }

    fn must_pace(&self, claim: &Claim, block: &Block) -> bool {
        let state = lock(&self.state);
        let hashing = state.hasher.is_none() && state.round == claim.round;
        hashing && state.window.is_behind(block, state.hashed, state.written.covered_from(state.hashed))
    }

    /// Writes a block at its place. Blocks.
    pub fn write(&self, claim: &Claim, block: Block, progress: &dyn Progress) -> Result<(), StoreError> {
        let file = {
            let state = lock(&self.state);
            if state.round != claim.round {
                return Ok(());
            }
            Arc::clone(&state.file)
        };
        let mut at = block.start;
        for piece in &block.pieces {
            write_all_at(&file, piece, at).map_err(|e| self.io("write to", e))?;
            at += piece.len() as u64;
        }
        let len = block.len as u64;
        {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            if state.round != claim.round {
                return Ok(());
            }
            // Why this order: the block counts as written only after the system has taken all of it. The hash may read
            // written bytes back from the file.
            let ready = state.ready();
            state.written.insert(block.start..block.end());
            if state.ready() > ready {
                state.moved = Instant::now();
            }
            state.failures = 0;
            // While a thread hashes, `hashed` is the end of the bytes that it has taken already.
            state.window.keep(block, state.hashed);
        }
        self.received.fetch_add(len, Ordering::Relaxed);
        progress.event(Event::FileBytes { path: &self.entry.path, bytes: len });
        Ok(())
    }

    /// Notes in the journal that a range is on disk. Returns the flush that is due now.
    pub fn record(&self, claim: &Claim, range: Range<u64>) -> Result<Option<Flush>, StoreError> {
        let mut state = lock(&self.state);
        let current = state.round == claim.round && !range.is_empty();
        let Some(partial) = state.partial.as_mut().filter(|_| current) else { return Ok(None) };
        partial.record(range)?;
        Ok(partial.flush_due())
    }

    /// Flushes the file, and notes that in the journal. Blocks.
    pub fn flush(&self, flush: &Flush) -> Result<(), StoreError> {
        // Why this order: the bytes are flushed before the journal says that they are, and no thread waits for the lock
        // meanwhile.
        let ended = flush.run();
        let mut state = lock(&self.state);
        match state.partial.as_mut() {
            Some(partial) => partial.flushed(flush, ended),
            None => ended,
        }
    }

    /// Starts the file again, once: `false` if that was done before. Blocks.
    pub fn restart(&self) -> Result<bool, StoreError> {
        if self.restarted.swap(true, Ordering::Relaxed) {
            return Ok(false);
        }
        let mut state = lock(&self.state);
        // Why this order: the journal is emptied before the file is replaced and before the new round begins. After a
        // kill in between, the next run starts the file again, and uses no byte of the old round.
        if let Some(partial) = &mut state.partial {
            partial.reset()?;
            let file = Arc::clone(partial.file());
            state.file = file;
        }
        state.round += 1;
        state.written = RangeSet::default();
        state.claimed = RangeSet::default();
        state.window.clear();
        state.held_back = None;
        state.hasher = Some(self.entry.digest().hasher(self.entry.size));
        (state.hashed, state.moved) = (0, Instant::now());
        Ok(true)
    }

    /// Gives the file its name. Blocks.
    pub fn commit(&self, digest: Digest) -> Result<(), StoreError> {
        match lock(&self.state).partial.take() {
            Some(partial) => partial.commit(digest).map(drop),
            None => Ok(()),
        }
    }

    /// Keeps nothing. Blocks.
    pub fn abandon(&self) -> Result<(), StoreError> {
        match lock(&self.state).partial.take() {
            Some(partial) => partial.abandon(),
            None => Ok(()),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { action, path: self.path.clone(), source }
    }
}

#[cfg(test)]
#[path = "tests/assemble.rs"]
mod tests;
