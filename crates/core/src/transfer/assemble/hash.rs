//! How an open file is hashed: which bytes come next, from memory or from the disk. `hashing` has the threads, `window` the
//! bytes that wait in memory; nothing here decides what a digest means.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;

use super::{FAR, FileWork, SMALL, State, Watcher};
use crate::hashing::{Ahead, ENOUGH, Feed, Next};
use crate::model::{Hashed, Hasher};
use crate::mutex::lock;
use crate::platform::{PAGE, begin_at_page, read_exact_at};
use crate::store::StoreError;
use crate::transfer::FetchError;

/// A file with this many bytes more than it needs to be hashed alone is waiting for its hasher.
const MORE: u64 = 2 << 20;
/// The buffer's bytes when a file is hashed from disk.
const READ_BUFFER: usize = 1 << 20;

impl Feed for FileWork {
    /// The end of a run does not keep a complete file from its name.
    type Run = Option<Arc<dyn Watcher>>;

    fn run(&self) -> Self::Run {
        self.watcher.upgrade()
    }

    fn wants_hashing(&self) -> bool {
        let state = lock(&self.state);
        state.partial.is_some() && state.hasher.is_some() && (state.ready() > 0 || state.hashed == self.entry.size)
    }

    fn is_worth_alone(&self) -> bool {
        let state = lock(&self.state);
        let ready = state.ready();
        ready >= state.enough(self.desk.is_alone()) || state.hashed + ready == self.entry.size
    }

    fn ahead(&self) -> Ahead {
        let state = lock(&self.state);
        if state.window.has(state.hashed) {
            Ahead::Memory
        } else if state.ready() > 0 {
            Ahead::Disk
        } else {
            Ahead::Nowhere
        }
    }

    fn take_hasher(&self) -> Option<Hasher> {
        lock(&self.state).hasher.take()
    }

    fn give_back(&self, hasher: Hasher) {
        lock(&self.state).hasher = Some(hasher);
        self.taken.notify_waiters();
    }

    fn next(&self, hasher: Hasher, scratch: &mut BytesMut) -> Next {
        self.next_bytes(hasher, scratch).unwrap_or_else(|error| {
            self.tell(|watcher| watcher.fatal(error.into()));
            // The hasher is gone, so no thread tries again.
            Next::Nothing
        })
    }

    fn whole(self: Arc<Self>, hashed: Hashed) {
        let run = self.run();
        // Its last flush takes time, and the other file must not wait for it.
        tokio::task::spawn_blocking(move || {
            self.tell(|watcher| watcher.whole(&self, hashed));
            drop(run);
        });
    }

    fn lost(&self) {
        let path = self.entry.path.clone();
        self.tell(|watcher| watcher.fatal(FetchError::Worker { path }));
    }
}

impl State {
    /// The bytes that are hashed although no other file has any. `alone` says that no other large file of its home is open.
    /// Otherwise megabytes: connections hand them on at once, and with a lower bound a fifth of the bytes of two files was hashed
    /// alone. But if little memory is left, the next block may not be kept, and be read back: no writer waits for a hasher that
    /// waits for another file.
    fn enough(&self, alone: bool) -> u64 {
        if alone || self.window.is_tight() { ENOUGH } else { self.enough }
    }

    /// Whether the file waits for its hasher, and not for another file, or because an earlier run has left much of it.
    pub(super) fn is_behind(&self, alone: bool) -> bool {
        (self.enough(alone) + MORE..FAR).contains(&self.ready())
    }
}

impl FileWork {
    /// Hashes the bytes that have arrived, on another thread. The watcher hears when the file is complete.
    pub fn catch_up(self: &Arc<Self>) {
        if self.entry.size > SMALL { self.desk.add(self) } else { self.catch_up_small() }
    }

    /// The same for bytes that have just arrived: if the file has a home, this thread hashes them.
    pub fn catch_up_here(self: &Arc<Self>) {
        if self.entry.size > SMALL { self.desk.add_here(self) } else { self.catch_up_small() }
    }

    /// A small file is hashed, and gets its name, on one thread: the flushes of many small files overlap.
    fn catch_up_small(self: &Arc<Self>) {
        if !self.wants_hashing() {
            return;
        }
        let (file, run) = (Arc::clone(self), self.run());
        tokio::task::spawn_blocking(move || {
            match file.hash() {
                // Bytes may have come between the last look and the return of the hasher.
                Ok(None) => file.catch_up(),
                Ok(Some(hashed)) => file.tell(|watcher| watcher.whole(&file, hashed)),
                Err(error) => file.tell(|watcher| watcher.fatal(error.into())),
            }
            drop(run);
        });
    }

    /// Hashes the bytes that have arrived, up to the first gap; returns the digest once the file is whole. Blocks.
    pub(super) fn hash(&self) -> Result<Option<Hashed>, StoreError> {
        let Some(mut hasher) = self.take_hasher() else { return Ok(None) };
        let mut scratch = BytesMut::new();
        loop {
            match self.next_bytes(hasher, &mut scratch)? {
                Next::Bytes(next, batch) => {
                    hasher = next;
                    for piece in batch.pieces {
                        hasher.update(&piece);
                    }
                }
                Next::Nothing => return Ok(None),
                Next::Whole(hashed) => return Ok(Some(hashed)),
            }
        }
    }

    /// Calls the watcher, if the run has not ended.
    fn tell(&self, call: impl FnOnce(&dyn Watcher)) {
        if let Some(watcher) = self.watcher.upgrade() {
            self.span.in_scope(|| call(&*watcher));
        }
    }

    /// Takes the bytes at the hash frontier. Blocks.
    fn next_bytes(&self, hasher: Hasher, scratch: &mut BytesMut) -> Result<Next, StoreError> {
        let mut state = lock(&self.state);
        let at = state.hashed;
        if let Some(block) = state.window.take(at) {
            // Why this order: the frontier moves before the bytes are hashed, so that a writer that looks now
            // knows which bytes memory need not keep. No other thread hashes: the hasher is here.
            let go_on = state.hashed_to(block.end(), self.entry.size, self.desk.is_alone());
            let wake = state.window.has_room();
            drop(state);
            if wake {
                self.taken.notify_waiters();
            }
            self.may_go_on(go_on);
            return Ok(Next::Bytes(hasher, block.pieces.into()));
        }
        let ready = state.ready();
        if ready == 0 {
            if at == self.entry.size {
                drop(state);
                // The hasher is gone, so no thread hashes the file again.
                return Ok(Next::Whole(hasher.finish()));
            }
            state.hasher = Some(hasher);
            drop(state);
            self.taken.notify_waiters();
            return Ok(Next::Nothing);
        }
        // Read only up to the bytes that are in memory.
        let ready = state.window.first().map_or(ready, |first| ready.min(first.saturating_sub(at)));
        let want = usize::try_from(ready).unwrap_or(READ_BUFFER).min(READ_BUFFER);
        let go_on = state.hashed_to(at + want as u64, self.entry.size, self.desk.is_alone());
        let disk = Arc::clone(&state.file);
        drop(state);
        self.may_go_on(go_on);
        // It begins at a page, as a `PageBuffer` does. After `reserve` it does not move.
        scratch.reserve(want + PAGE);
        begin_at_page(scratch);
        scratch.resize(want, 0);
        read_exact_at(&disk, scratch, at).map_err(|e| self.io("read", e))?;
        self.read_back.fetch_add(want as u64, Ordering::Relaxed);
        Ok(Next::Bytes(hasher, vec![scratch.split().freeze()].into()))
    }

    /// Tells the watcher that a part that was held back can be handed out now.
    fn may_go_on(&self, can: bool) {
        if can {
            self.tell(Watcher::has_room);
        }
    }
}
