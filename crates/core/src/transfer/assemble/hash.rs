//! Hashing of open files: a thread hashes two large files at once, because two take little longer than one. So a file
//! waits a little for another one. `window` has the bytes that wait in memory; nothing here decides what a digest means.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{FileWork, SMALL, Watcher, lock};
use crate::model::{Entry, Hashed, Hasher};
use crate::platform::{PAGE, read_exact_at};
use crate::store::StoreError;

/// The buffer's bytes when a file is hashed from disk.
const READ_BUFFER: usize = 1 << 20;
/// How many files a thread hashes at once.
const SEATS: usize = 2;
/// A file with this many bytes is hashed alone, if no other file has any. It must be less than the memory for waiting
/// bytes.
const ENOUGH: u64 = 2 << 20;

/// The threads that hash large files, and the files that wait for one: for all files of a run.
#[derive(Default)]
pub(in crate::transfer) struct Desk {
    queue: Mutex<Queue>,
    /// How many large files are open.
    open: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<FileWork>>,
    threads: usize,
    /// How many files the threads hash.
    seated: usize,
}

/// A file whose hasher a thread has, with the bytes that come next.
pub(super) struct Seat {
    file: Arc<FileWork>,
    hasher: Hasher,
    bytes: Bytes,
    /// The bytes after `bytes`.
    more: std::vec::IntoIter<Bytes>,
    /// Memory for bytes from the disk, used again and again.
    buffer: BytesMut,
    /// A part that was held back can be handed out now.
    pub(super) go_on: bool,
}

/// A file after a look for more bytes. Lives for a moment, so its size does not matter.
#[allow(clippy::large_enum_variant)]
pub(super) enum Fill {
    /// There are bytes to hash.
    Ready(Seat),
    /// More bytes must come. The file has its hasher again.
    Behind,
    /// The whole file is hashed.
    Whole(Hashed),
}

impl FileWork {
    /// Whether there are bytes to hash that no thread hashes.
    pub fn wants_hashing(&self) -> bool {
        let state = lock(&self.state);
        state.partial.is_some() && state.hasher.is_some() && (state.ready() > 0 || state.hashed == self.entry.size)
    }

    /// Whether there is much to hash, or all the rest.
    fn is_far_behind(&self) -> bool {
        let state = lock(&self.state);
        let ready = state.ready();
        ready >= ENOUGH || state.hashed + ready == self.entry.size
    }

    /// Hashes the bytes that have arrived, on another thread, and tells `watcher` when the file is complete.
    pub fn catch_up(self: &Arc<Self>, watcher: &Arc<impl Watcher>) {
        if !self.wants_hashing() {
            return;
        }
        // A small file is hashed, and gets its name, on one thread: the flushes of many small files overlap.
        if self.entry.size > SMALL {
            return self.desk.add(self, watcher);
        }
        let (file, watcher) = (Arc::clone(self), Arc::clone(watcher));
        tokio::task::spawn_blocking(move || {
            let _span = file.span.clone().entered();
            match file.hash() {
                // Bytes may have come between the last look and the return of the hasher.
                Ok(None) => file.catch_up(&watcher),
                Ok(Some(hashed)) => watcher.whole(&file, hashed),
                Err(error) => watcher.fatal(error.into()),
            }
        });
    }

    /// Hashes the bytes that have arrived, up to the first gap; returns the digest once the file is whole. Blocks.
    pub(super) fn hash(self: &Arc<Self>) -> Result<Option<Hashed>, StoreError> {
        let Some(mut seat) = self.sit() else { return Ok(None) };
        loop {
            match seat.fill()? {
                Fill::Ready(next) => seat = next,
                Fill::Behind => return Ok(None),
                Fill::Whole(hashed) => return Ok(Some(hashed)),
            }
            seat.advance();
        }
    }

    /// Takes the hasher, if no thread has it.
    pub(super) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let hasher = lock(&self.state).hasher.take()?;
        let (file, more) = (Arc::clone(self), Vec::new().into_iter());
        Some(Seat { file, hasher, bytes: Bytes::new(), more, buffer: BytesMut::new(), go_on: false })
    }
}

impl Seat {
    /// Whether all its bytes are hashed.
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.more.len() == 0
    }

    /// Gives the file its hasher back; all bytes that were taken are hashed.
    fn stand_up(self) {
        lock(&self.file.state).hasher = Some(self.hasher);
        self.file.taken.notify_waiters();
    }

    /// Looks for the next bytes, if all are hashed. Blocks.
    pub(super) fn fill(mut self) -> Result<Fill, StoreError> {
        while self.bytes.is_empty() {
            if let Some(piece) = self.more.next() {
                self.bytes = piece;
                continue;
            }
            // The buffer can be used again only when nothing refers to it.
            self.bytes = Bytes::new();
            let file = Arc::clone(&self.file);
            let mut state = lock(&file.state);
            let at = state.hashed;
            if let Some(block) = state.window.take(at) {
                // Why this order: the frontier moves before the bytes are hashed, so that a writer that looks now
                // knows which bytes memory need not keep. No other thread hashes: the hasher is here.
                self.go_on |= state.hashed_to(block.end(), file.entry.size);
                let wake = state.window.has_room();
                drop(state);
                if wake {
                    file.taken.notify_waiters();
                }
                self.more = block.pieces.into_iter();
                continue;
            }
            let ready = state.ready();
            if ready == 0 {
                if at == file.entry.size {
                    drop(state);
                    // The hasher is gone, so no thread hashes the file again.
                    return Ok(Fill::Whole(self.hasher.finish()));
                }
                state.hasher = Some(self.hasher);
                drop(state);
                file.taken.notify_waiters();
                return Ok(Fill::Behind);
            }
            // Read only up to the bytes that are in memory.
            let ready = state.window.first().map_or(ready, |first| ready.min(first.saturating_sub(at)));
            let want = usize::try_from(ready).unwrap_or(READ_BUFFER).min(READ_BUFFER);
            self.go_on |= state.hashed_to(at + want as u64, file.entry.size);
            let disk = Arc::clone(&state.file);
            drop(state);
            // It begins at a page, as a `PageBuffer` does. After `reserve` it does not move.
            self.buffer.reserve(want + PAGE);
            let before = self.buffer.as_ptr().align_offset(PAGE).min(PAGE);
            self.buffer.resize(before + want, 0);
            self.buffer.advance(before);
            read_exact_at(&disk, &mut self.buffer, at).map_err(|e| file.io("read", e))?;
            self.bytes = self.buffer.split().freeze();
            file.read_back.fetch_add(want as u64, Ordering::Relaxed);
        }
        Ok(Fill::Ready(self))
    }

    /// Hashes the next bytes.
    pub(super) fn advance(&mut self) {
        self.hasher.update(&self.bytes);
        self.bytes.clear();
    }

    /// Hashes the next bytes of two files, as many of each.
    fn advance_two(a: &mut Seat, b: &mut Seat) {
        let n = a.bytes.len().min(b.bytes.len());
        Hasher::update_two(&mut a.hasher, &a.bytes[..n], &mut b.hasher, &b.bytes[..n]);
        a.bytes.advance(n);
        b.bytes.advance(n);
    }
}

impl Desk {
    /// Notes that a file is open.
    pub(super) fn opened(&self, entry: &Entry) {
        self.open.fetch_add(usize::from(entry.size > SMALL), Ordering::Relaxed);
    }

    /// Notes that a file is open no more.
    pub(super) fn closed(&self, entry: &Entry) {
        self.open.fetch_sub(usize::from(entry.size > SMALL), Ordering::Relaxed);
    }

    /// A thread hashes the file as soon as that is worth it. If no thread has a free seat, another one starts.
    fn add(self: &Arc<Self>, file: &Arc<FileWork>, watcher: &Arc<impl Watcher>) {
        let mut queue = lock(&self.queue);
        if !queue.waiting.iter().any(|waiting| Arc::ptr_eq(waiting, file)) {
            queue.waiting.push_back(Arc::clone(file));
        }
        if queue.seated + queue.waiting.len() > SEATS * queue.threads && self.is_worth_it(&queue) {
            queue.threads += 1;
            let (desk, watcher) = (Arc::clone(self), Arc::clone(watcher));
            tokio::task::spawn_blocking(move || desk.work(&watcher));
        }
    }

    /// Whether a thread without a file should begin.
    fn is_worth_it(&self, queue: &Queue) -> bool {
        queue.waiting.len() >= SEATS || queue.waiting.iter().any(|file| self.is_worth_alone(file))
    }

    /// Whether the file should be hashed although no other one has bytes.
    fn is_worth_alone(&self, file: &FileWork) -> bool {
        self.is_alone() || file.is_far_behind()
    }

    /// Whether at most one large file is open.
    pub(super) fn is_alone(&self) -> bool {
        self.open.load(Ordering::Relaxed) < SEATS
    }

    /// Hashes files while that is worth it. Blocks.
    fn work(self: &Arc<Self>, watcher: &Arc<impl Watcher>) {
        let (mut one, mut other) = (None, None);
        loop {
            // Why this order: both seats are taken before either file is judged, because two files with few bytes are
            // worth it and one is not.
            one = one.or_else(|| self.next(other.is_some()));
            other = other.or_else(|| self.next(one.is_some()));
            one = one.and_then(|seat| self.fill(seat, other.is_some(), watcher));
            other = other.and_then(|seat| self.fill(seat, one.is_some(), watcher));
            match (&mut one, &mut other) {
                (Some(a), Some(b)) => Seat::advance_two(a, b),
                (Some(alone), None) | (None, Some(alone)) => alone.advance(),
                (None, None) => {
                    let mut queue = lock(&self.queue);
                    // Why this order: looked at and counted under one lock, so that a file that is added now either is
                    // seen here or starts a thread.
                    if !self.is_worth_it(&queue) {
                        queue.threads -= 1;
                        return;
                    }
                }
            }
        }
    }

    /// The seat with bytes to hash; `None` if the file has none, or too few to hash it alone. `paired` says whether another
    /// file has a seat.
    fn fill(self: &Arc<Self>, seat: Seat, paired: bool, watcher: &Arc<impl Watcher>) -> Option<Seat> {
        let file = Arc::clone(&seat.file);
        let filled = if seat.is_empty() && !paired && !self.is_worth_alone(&file) {
            seat.stand_up();
            Ok(Fill::Behind)
        } else {
            seat.fill()
        };
        let ended = match filled {
            Ok(Fill::Ready(mut seat)) => {
                if std::mem::take(&mut seat.go_on) {
                    watcher.has_room();
                }
                return Some(seat);
            }
            ended => ended,
        };
        lock(&self.queue).seated -= 1;
        match ended {
            Ok(Fill::Whole(hashed)) => {
                let watcher = Arc::clone(watcher);
                // Its last flush takes time, and the other file must not wait for it.
                tokio::task::spawn_blocking(move || file.span.in_scope(|| watcher.whole(&file, hashed)));
            }
            // Bytes may have come between the last look and the return of the hasher.
            Ok(_) if file.wants_hashing() => self.add(&file, watcher),
            Ok(_) => {}
            Err(error) => file.span.in_scope(|| watcher.fatal(error.into())),
        }
        None
    }

    /// Gives the next waiting file a seat, if that is worth it.
    fn next(&self, paired: bool) -> Option<Seat> {
        let mut queue = lock(&self.queue);
        while paired || self.is_worth_it(&queue) {
            let file = queue.waiting.pop_front()?;
            if let Some(seat) = file.sit() {
                queue.seated += 1;
                return Some(seat);
            }
        }
        None
    }
}
