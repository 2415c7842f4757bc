//! Which thread hashes which file, with files of which no byte is real.

use std::sync::atomic::AtomicBool;

use bytes::{Bytes, BytesMut};

use super::super::Next;
use super::*;
use crate::model::{Digest, Hashed, Hasher, Sha256};

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

    fn ahead(&self) -> Ahead {
        if self.over.load(Ordering::Relaxed) { Ahead::Nowhere } else { Ahead::Memory }
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

/// A file of which bytes come when the test says so.
struct Fed {
    hasher: Mutex<Option<Hasher>>,
    /// The blocks to hash, and where they are.
    blocks: Mutex<(usize, Ahead)>,
    /// The threads that have taken blocks.
    threads: Mutex<Vec<std::thread::ThreadId>>,
}

impl Fed {
    fn new() -> Arc<Self> {
        let hasher = Mutex::new(Some(Digest::Sha256(Sha256([0; 32])).hasher(0)));
        Arc::new(Fed { hasher, blocks: Mutex::new((0, Ahead::Memory)), threads: Mutex::default() })
    }

    fn get(&self, blocks: usize, place: Ahead) {
        *lock(&self.blocks) = (blocks, place);
    }

    /// Who has hashed how many blocks since the last call: this thread, and others.
    fn hashed(&self) -> (usize, usize) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        let here = threads.iter().filter(|thread| **thread == std::thread::current().id()).count();
        (here, threads.len() - here)
    }
}

impl Feed for Fed {
    type Run = ();

    fn run(&self) {}

    fn wants_hashing(&self) -> bool {
        lock(&self.hasher).is_some() && lock(&self.blocks).0 > 0
    }

    fn is_worth_alone(&self) -> bool {
        false
    }

    fn ahead(&self) -> Ahead {
        let (blocks, place) = *lock(&self.blocks);
        if blocks > 0 { place } else { Ahead::Nowhere }
    }

    fn take_hasher(&self) -> Option<Hasher> {
        lock(&self.hasher).take()
    }

    fn give_back(&self, hasher: Hasher) {
        *lock(&self.hasher) = Some(hasher);
    }

    fn next(&self, hasher: Hasher, _: &mut BytesMut) -> Next {
        let mut blocks = lock(&self.blocks);
        if blocks.0 == 0 {
            self.give_back(hasher);
            return Next::Nothing;
        }
        blocks.0 -= 1;
        lock(&self.threads).push(std::thread::current().id());
        Next::Bytes(hasher, vec![Bytes::from_static(&[0; 64])].into())
    }

    fn whole(self: Arc<Self>, _: Hashed) {}

    fn lost(&self) {}
}

/// Two files of a desk, which both count as open.
fn two(desk: Desk<Fed>) -> (Arc<Desk<Fed>>, [Arc<Fed>; 2], [StillOpen; 2]) {
    let open = [desk.open(), desk.open()];
    (Arc::new(desk), [Fed::new(), Fed::new()], open)
}

#[tokio::test]
async fn a_thread_hashes_what_it_adds_of_its_own_two_files_as_far_as_both_have_bytes() {
    let (desk, [a, b], _open) = two(Desk::that_hashes_here());
    a.get(3, Ahead::Memory);
    desk.add_here(&a);
    assert_eq!((a.hashed(), desk.threads()), ((0, 0), 0), "the other one has none");
    b.get(2, Ahead::Memory);
    desk.add_here(&b);
    assert_eq!([a.hashed(), b.hashed()], [(2, 0), (2, 0)]);
    assert!(a.wants_hashing() && desk.threads() == 0);
    b.get(1, Ahead::Memory);
    desk.add_here(&b);
    assert_eq!([a.hashed(), b.hashed()], [(1, 0), (1, 0)]);
}

/// Its twins: bytes on the disk, a file that was added elsewhere, and a desk of all threads.
#[tokio::test]
async fn bytes_that_must_be_read_are_hashed_by_another_thread() {
    let cases = [(Ahead::Disk, true, true), (Ahead::Memory, false, true), (Ahead::Memory, true, false)];
    for (place, here, own) in cases {
        let (desk, [a, b], _open) = two(if own { Desk::that_hashes_here() } else { Desk::default() });
        a.get(4, Ahead::Memory);
        desk.add(&a);
        b.get(4, place);
        if here {
            desk.add_here(&b);
        } else {
            desk.add(&b);
        }
        soon(|| desk.threads() == 0).await;
        assert_eq!([a.hashed(), b.hashed()], [(0, 4), (0, 4)], "{place:?}, {here}, {own}");
    }
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

/// Its twin: beside another one that has no bytes, it waits.
#[tokio::test]
async fn a_file_that_is_alone_is_hashed_by_another_thread() {
    let (desk, [a, _], [one, _other]) = two(Desk::that_hashes_here());
    a.get(3, Ahead::Memory);
    desk.add_here(&a);
    assert_eq!(a.hashed(), (0, 0));
    drop(one);
    desk.add_here(&a);
    soon(|| desk.threads() == 0).await;
    assert_eq!(a.hashed(), (0, 3));
}
