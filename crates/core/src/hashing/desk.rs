//! The threads that hash files, two at once, and the files that wait for one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Feed, Next, Part};
use crate::model::{Hashed, Hasher};
use crate::mutex::lock;

/// How many files a thread hashes at once.
const SEATS: usize = 2;
/// While a thread hashes, a file without another one beside it waits this long for one before it gets a thread of its own: two
/// threads with one file each need more time of the processor than one thread with two.
const MOMENT: Duration = Duration::from_millis(20);
/// A file that is hashed alone gets at most this many bytes between two looks for another file.
const STEP: usize = 256 << 10;

/// The threads and the files of a run.
pub(crate) struct Desk<F> {
    queue: Mutex<Queue<F>>,
    open: Arc<AtomicUsize>,
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

/// A file whose hasher a thread has, with the bytes that come next.
struct Seat<F: Feed> {
    taken: Taken<F>,
    hasher: Hasher,
    bytes: Bytes,
    /// The bytes after `bytes`.
    more: std::vec::IntoIter<Bytes>,
    /// The SHA-256 of these bytes alone, if somebody waits for it.
    part: Option<Part>,
    scratch: BytesMut,
}

/// A file that a thread has.
struct Taken<F: Feed> {
    desk: Arc<Desk<F>>,
    file: Arc<F>,
}

impl<F: Feed> Drop for Taken<F> {
    fn drop(&mut self) {
        lock(&self.desk.queue).seated -= 1;
        if std::thread::panicking() {
            self.file.lost();
        }
    }
}

/// A thread that hashes.
struct Thread<F: Feed>(Arc<Desk<F>>);

impl<F: Feed> Drop for Thread<F> {
    fn drop(&mut self) {
        // A thread that ends by itself has counted that under the lock of its last look.
        if std::thread::panicking() {
            let mut queue = lock(&self.0.queue);
            queue.threads -= 1;
            // Files may wait for it.
            self.0.start(queue);
        }
    }
}

/// A file after a look for more bytes. Lives for a moment, so its size does not matter.
#[allow(clippy::large_enum_variant)]
enum Fill<F: Feed> {
    /// There are bytes to hash.
    Ready(Seat<F>),
    Nothing,
    Whole(Hashed),
}

impl<F: Feed> Seat<F> {
    /// Whether all bytes that were taken are hashed.
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.more.len() == 0
    }

    /// Looks for the next bytes, if all are hashed. Blocks.
    fn fill(mut self) -> Fill<F> {
        while self.bytes.is_empty() {
            if let Some(piece) = self.more.next() {
                self.bytes = piece;
                continue;
            }
            self.end_part();
            // The scratch memory can be used again only when nothing refers to it.
            self.bytes = Bytes::new();
            match self.taken.file.next(self.hasher, &mut self.scratch) {
                Next::Bytes(hasher, batch) => {
                    self.hasher = hasher;
                    self.more = batch.pieces.into_iter();
                    self.part = batch.part;
                }
                Next::Nothing => return Fill::Nothing,
                Next::Whole(hashed) => return Fill::Whole(hashed),
            }
        }
        Fill::Ready(self)
    }

    /// Hashes the next bytes, this many.
    fn advance(&mut self, n: usize) {
        let step = self.bytes.split_to(n);
        match &mut self.part {
            Some(part) => Hasher::update_two(&mut self.hasher, &step, &mut part.hasher, &step),
            None => self.hasher.update(&step),
        }
        if self.is_empty() {
            self.end_part();
        }
    }

    /// Gives the digest of the part whose bytes are all hashed, if there is one.
    fn end_part(&mut self) {
        if let Some(part) = self.part.take() {
            part.finish();
        }
    }

    /// Hashes the next bytes, a few of them.
    fn advance_alone(&mut self) {
        self.advance(self.bytes.len().min(STEP));
    }

    /// Hashes the next bytes of two files, as many of each.
    fn advance_two(a: &mut Seat<F>, b: &mut Seat<F>) {
        let n = a.bytes.len().min(b.bytes.len());
        if a.part.is_some() || b.part.is_some() {
            a.advance(n);
            b.advance(n);
            return;
        }
        Hasher::update_two(&mut a.hasher, &a.bytes[..n], &mut b.hasher, &b.bytes[..n]);
        a.bytes.advance(n);
        b.bytes.advance(n);
    }
}

impl<F> Default for Desk<F> {
    fn default() -> Self {
        let queue = Queue { waiting: VecDeque::new(), threads: 0, seated: 0 };
        Desk { queue: Mutex::new(queue), open: Arc::default() }
    }
}

impl<F: Feed> Desk<F> {
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
        let wants = file.wants_hashing();
        let mut queue = lock(&self.queue);
        queue.waiting.retain(|(waiting, _)| waiting.strong_count() > 0);
        if wants && !queue.waiting.iter().any(|(waiting, _)| std::ptr::eq(waiting.as_ptr(), Arc::as_ptr(file))) {
            queue.waiting.push_back((Arc::downgrade(file), Instant::now()));
        }
        // A file that waits may be worth it alone since this one has taken memory.
        self.start(queue);
    }

    /// Starts a thread, if no other has a seat for the files that wait and they are worth it.
    fn start(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue<F>>) {
        if queue.seated + queue.waiting.len() <= SEATS * queue.threads || !self.is_worth_it(&queue) {
            return;
        }
        let waited = queue.waiting.front().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        if queue.threads > 0 && queue.waiting.len() < SEATS && waited < MOMENT {
            return;
        }
        let Some(file) = queue.waiting.iter().find_map(|(file, _)| file.upgrade()) else { return };
        let run = file.run();
        queue.threads += 1;
        drop(queue);
        let thread = Thread(Arc::clone(self));
        tokio::task::spawn_blocking(move || {
            thread.0.work();
            drop(run);
        });
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

    /// Hashes files while that is worth it. Blocks.
    fn work(self: &Arc<Self>) {
        let (mut one, mut other) = (None, None);
        loop {
            // Why this order: both seats are taken before either file is judged, because two files with few bytes are
            // worth it and one is not.
            one = one.or_else(|| self.next(other.is_some()));
            other = other.or_else(|| self.next(one.is_some()));
            one = one.and_then(|seat| self.fill(seat, other.is_some()));
            other = other.and_then(|seat| self.fill(seat, one.is_some()));
            // A file may have waited long enough.
            self.start(lock(&self.queue));
            match (&mut one, &mut other) {
                (Some(a), Some(b)) => Seat::advance_two(a, b),
                (Some(alone), None) | (None, Some(alone)) => alone.advance_alone(),
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
    fn fill(self: &Arc<Self>, seat: Seat<F>, paired: bool) -> Option<Seat<F>> {
        let file = Arc::clone(&seat.taken.file);
        let filled = if seat.is_empty() && !paired && !self.is_worth_alone(&file) {
            file.give_back(seat.hasher);
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
            let Some(file) = queue.waiting.pop_front()?.0.upgrade() else { continue };
            if let Some(hasher) = file.take_hasher() {
                queue.seated += 1;
                let taken = Taken { desk: Arc::clone(self), file };
                let (bytes, more) = (Bytes::new(), Vec::new().into_iter());
                return Some(Seat { taken, hasher, bytes, more, part: None, scratch: BytesMut::new() });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::model::{Digest, Sha256};

    /// A file that always has bytes, until it is over.
    struct Endless {
        hasher: Mutex<Option<Hasher>>,
        over: AtomicBool,
        /// Whether its feed panics.
        broken: bool,
        lost: AtomicBool,
    }

    impl Endless {
        fn new(broken: bool) -> Arc<Self> {
            let hasher = Mutex::new(Some(Digest::Sha256(Sha256([0; 32])).hasher(0)));
            Arc::new(Endless { hasher, over: AtomicBool::new(false), broken, lost: AtomicBool::new(false) })
        }

        fn has_seat(&self) -> bool {
            lock(&self.hasher).is_none()
        }
    }

    impl Feed for Endless {
        type Run = ();

        fn run(&self) {}

        fn wants_hashing(&self) -> bool {
            lock(&self.hasher).is_some() && !self.over.load(Ordering::Relaxed)
        }

        fn is_worth_alone(&self) -> bool {
            true
        }

        fn take_hasher(&self) -> Option<Hasher> {
            lock(&self.hasher).take()
        }

        fn give_back(&self, hasher: Hasher) {
            *lock(&self.hasher) = Some(hasher);
        }

        fn next(&self, hasher: Hasher, _: &mut BytesMut) -> Next {
            assert!(!self.broken, "a panic on purpose");
            if self.over.load(Ordering::Relaxed) {
                self.give_back(hasher);
                return Next::Nothing;
            }
            Next::Bytes(hasher, vec![Bytes::from_static(&[0; 64])].into())
        }

        fn whole(self: Arc<Self>, _: Hashed) {}

        fn lost(&self) {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    async fn soon(is_so: impl Fn() -> bool) {
        for _ in 0..1000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never happened");
    }

    #[tokio::test]
    async fn a_third_file_waits_a_moment_for_a_fourth_before_it_gets_a_thread_of_its_own() {
        let desk = Arc::new(Desk::default());
        let files: Vec<_> = (0..5).map(|_| Endless::new(false)).collect();
        let _open: Vec<_> = files.iter().map(|_| desk.open()).collect();
        desk.add(&files[0]);
        desk.add(&files[1]);
        soon(|| files[0].has_seat() && files[1].has_seat()).await;
        assert_eq!(desk.threads(), 1);
        // On a busy machine the moment may be over already.
        let at_once = |file: &Arc<Endless>, threads: usize| {
            let began = Instant::now();
            desk.add(file);
            assert!(desk.threads() == threads || began.elapsed() >= MOMENT);
        };
        at_once(&files[2], 1);
        desk.add(&files[3]);
        assert_eq!(desk.threads(), 2, "two files are worth a thread at once");
        soon(|| files[2].has_seat() && files[3].has_seat()).await;
        at_once(&files[4], 2);
        // Nothing else is added: the threads look themselves.
        soon(|| files[4].has_seat()).await;
        assert_eq!(desk.threads(), 3);
        for file in &files {
            file.over.store(true, Ordering::Relaxed);
        }
        soon(|| desk.threads() == 0).await;
    }

    #[tokio::test]
    async fn a_thread_that_panics_says_so_to_its_files_and_leaves_its_place_to_another() {
        let desk = Arc::new(Desk::default());
        for _ in 0..3 {
            let file = Endless::new(true);
            desk.add(&file);
            soon(|| file.lost.load(Ordering::Relaxed) && desk.threads() == 0).await;
            assert!(file.lost.load(Ordering::Relaxed));
            assert_eq!((desk.threads(), lock(&desk.queue).seated), (0, 0));
        }
    }
}
