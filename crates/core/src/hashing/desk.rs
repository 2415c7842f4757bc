//! The threads that hash files, two at once, and the files that wait for one. `seat` is a file at a thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use super::seat::{Fill, Seat};
use super::{Ahead, Feed};
use crate::mutex::lock;

/// How many files a thread hashes at once.
const SEATS: usize = 2;
/// While a thread hashes, a file without another one beside it waits this long for one before it gets a thread of its own: two
/// threads with one file each need more time of the processor than one thread with two.
const MOMENT: Duration = Duration::from_millis(20);
/// The threads and the files of a run.
pub(crate) struct Desk<F> {
    queue: Mutex<Queue<F>>,
    open: Arc<AtomicUsize>,
    /// Whether a thread that adds a file hashes it.
    hashes_here: bool,
}

/// Files, which it does not keep alive: one that nobody waits for is forgotten.
struct Queue<F> {
    /// Each since this time.
    waiting: VecDeque<(Weak<F>, Instant)>,
    threads: usize,
    /// How many files the threads hash.
    seated: usize,
}

/// A file counts as open until this is dropped.
pub(crate) struct StillOpen(Arc<AtomicUsize>);

impl Drop for StillOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that hashes, with at most two files.
struct Thread<F: Feed> {
    desk: Arc<Desk<F>>,
    one: Option<Seat<F>>,
    other: Option<Seat<F>>,
    /// The run does not end before the thread.
    _run: F::Run,
}

impl<F: Feed> Drop for Thread<F> {
    fn drop(&mut self) {
        // A thread that ends by itself has counted that under the lock of its last look.
        if std::thread::panicking() {
            drop((self.one.take(), self.other.take()));
            let mut queue = lock(&self.desk.queue);
            queue.threads -= 1;
            // Files may wait for it.
            self.desk.start(queue, false);
        }
    }
}

impl<F> Default for Desk<F> {
    fn default() -> Self {
        let queue = Queue { waiting: VecDeque::new(), threads: 0, seated: 0 };
        Desk { queue: Mutex::new(queue), open: Arc::default(), hashes_here: false }
    }
}

impl<F: Feed> Desk<F> {
    /// A desk whose files are hashed by the thread that has their next bytes, as long as there are two of them: the bytes are in its
    /// processor's cache.
    pub fn that_hashes_here() -> Self {
        Desk { hashes_here: true, ..Desk::default() }
    }

    /// Counts a file as open: another one waits for its bytes.
    pub fn open(&self) -> StillOpen {
        self.open.fetch_add(1, Ordering::Relaxed);
        StillOpen(Arc::clone(&self.open))
    }

    /// Whether at most one file is open.
    pub fn is_alone(&self) -> bool {
        self.open.load(Ordering::Relaxed) < SEATS
    }

    /// How many threads hash.
    #[cfg(test)]
    pub fn threads(&self) -> usize {
        lock(&self.queue).threads
    }

    /// A thread hashes the file as soon as that is worth it. If no thread has a free seat, another one starts.
    pub fn add(self: &Arc<Self>, file: &Arc<F>) {
        self.line_up(file, false);
    }

    /// The same, for a file of which bytes have just come. Blocks for some milliseconds if the desk [hashes
    /// here](Self::that_hashes_here).
    pub fn add_here(self: &Arc<Self>, file: &Arc<F>) {
        // Several threads may receive a file that is alone, and another one hashes it meanwhile.
        self.line_up(file, self.hashes_here && !self.is_alone());
    }

    fn line_up(self: &Arc<Self>, file: &Arc<F>, here: bool) {
        let wants = file.wants_hashing();
        let mut queue = lock(&self.queue);
        queue.waiting.retain(|(waiting, _)| waiting.strong_count() > 0);
        if wants && !queue.waiting.iter().any(|(waiting, _)| std::ptr::eq(waiting.as_ptr(), Arc::as_ptr(file))) {
            queue.waiting.push_back((Arc::downgrade(file), Instant::now()));
        }
        // A file that waits may be worth it alone since this one has taken memory.
        self.start(queue, here);
    }

    /// A file has left its seat.
    pub(super) fn is_left(&self) {
        lock(&self.queue).seated -= 1;
    }

    /// Starts a thread, if no other has a seat for the files that wait and they are worth it. Or this thread hashes them `here`.
    fn start(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue<F>>, here: bool) {
        if queue.seated + queue.waiting.len() <= SEATS * queue.threads || !self.is_worth_it(&queue) {
            return;
        }
        let waited = queue.waiting.front().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        if queue.threads > 0 && queue.waiting.len() < SEATS && waited < MOMENT {
            return;
        }
        let Some(file) = queue.waiting.iter().find_map(|(file, _)| file.upgrade()) else { return };
        queue.threads += 1;
        drop(queue);
        let thread = Thread { desk: Arc::clone(self), one: None, other: None, _run: file.run() };
        if here { thread.work(true) } else { thread.begin() }
    }

    /// Whether a thread without a file should begin.
    fn is_worth_it(&self, queue: &Queue<F>) -> bool {
        queue.waiting.len() >= SEATS
            || queue.waiting.iter().filter_map(|(file, _)| file.upgrade()).any(|file| self.is_worth_alone(&*file))
    }

    /// Whether the file should be hashed although no other one has bytes.
    fn is_worth_alone(&self, file: &F) -> bool {
        self.is_alone() || file.is_worth_alone()
    }

    /// The seat with bytes to hash; `None` if the file has none, or too few to hash it alone. `paired` says whether another
    /// file has a seat and bytes.
    fn fill(self: &Arc<Self>, seat: Seat<F>, paired: bool) -> Option<Seat<F>> {
        let file = Arc::clone(seat.file());
        let filled = if seat.is_empty() && !paired && !self.is_worth_alone(&file) {
            seat.leave();
            Fill::Nothing
        } else {
            seat.fill()
        };
        match filled {
            Fill::Ready(seat) => return Some(seat),
            Fill::Whole(hashed) => file.whole(hashed),
            // Bytes may have come between the last look and the return of the hasher.
            Fill::Nothing => self.add(&file),
        }
        None
    }

    /// Gives the next waiting file a seat, if that is worth it.
    fn next(self: &Arc<Self>, paired: bool) -> Option<Seat<F>> {
        let mut queue = lock(&self.queue);
        while paired || self.is_worth_it(&queue) {
            let file = queue.waiting.pop_front()?.0.upgrade();
            if let Some((file, hasher)) = file.and_then(|file| file.take_hasher().map(|hasher| (file, hasher))) {
                queue.seated += 1;
                return Some(Seat::new(Arc::clone(self), file, hasher));
            }
        }
        None
    }
}

impl<F: Feed> Thread<F> {
    /// Begins, or continues, on a thread of its own.
    fn begin(self) {
        tokio::task::spawn_blocking(move || self.work(false));
    }

    /// Hashes files while that is worth it. Blocks. If it works `here`, another thread continues as soon as bytes must be read from the
    /// disk, which may take long.
    fn work(mut self, here: bool) {
        loop {
            // Why this order: both seats are taken before either file is judged, because two files with few bytes are
            // worth it and one is not.
            self.seat();
            if here && self.needs_disk() {
                return self.begin();
            }
            if !self.step() {
                return;
            }
        }
    }

    /// Takes waiting files, if it has seats.
    fn seat(&mut self) {
        self.one = self.one.take().or_else(|| self.desk.next(self.other.is_some()));
        self.other = self.other.take().or_else(|| self.desk.next(self.one.is_some()));
    }

    /// Whether the next bytes of one of the files must be read.
    fn needs_disk(&self) -> bool {
        [&self.one, &self.other].into_iter().flatten().any(|seat| seat.ahead() == Ahead::Disk)
    }

    /// Hashes some bytes, if there are files with bytes and that is worth it. `false` at the end of this thread. Blocks.
    fn step(&mut self) -> bool {
        let desk = &self.desk;
        let has_bytes = |seat: &Option<Seat<F>>| seat.as_ref().is_some_and(|seat| seat.ahead() != Ahead::Nowhere);
        self.one = self.one.take().and_then(|seat| desk.fill(seat, has_bytes(&self.other)));
        self.other = self.other.take().and_then(|seat| desk.fill(seat, has_bytes(&self.one)));
        // A file may have waited long enough.
        desk.start(lock(&desk.queue), false);
        match (&mut self.one, &mut self.other) {
            (Some(a), Some(b)) => Seat::advance_two(a, b),
            (Some(alone), None) | (None, Some(alone)) => alone.advance_alone(),
            (None, None) => {
                let mut queue = lock(&desk.queue);
                // Why this order: looked at and counted under one lock, so that a file that is added now either is
                // seen here or starts a thread.
                if !desk.is_worth_it(&queue) {
                    queue.threads -= 1;
                    return false;
                }
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "tests/desk.rs"]
mod tests;
