//! Tests of a file that is being fetched, without a network: claims, blocks in any order, restarts.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::hashing::Feed as _;
use crate::model::CommitId;
use crate::progress::Silent;
use crate::store::Store;

struct Bench {
    store: Arc<Store>,
    commit: CommitId,
    content: Vec<u8>,
    entry: Entry,
    _root: TempDir,
}

fn bench(size: usize) -> Bench {
    let content: Vec<u8> = (0..size).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect();
    let mut hasher = Hasher::sha256();
    hasher.update(&content);
    let sha256 = hasher.finish().digest().to_string().parse().unwrap();
    let entry = Entry {
        path: "model.safetensors".parse().unwrap(),
        size: size as u64,
        oid: "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap(),
        lfs: Some(crate::model::Lfs { sha256, size: size as u64 }),
        xet_hash: None,
    };
    let root = TempDir::new().unwrap();
    let id = "org/name".parse().unwrap();
    let store = Arc::new(Store::hub_cache(root.path(), crate::model::RepoType::Model, &id, true));
    let commit = "1111111111111111111111111111111111111111".parse().unwrap();
    Bench { store, commit, content, entry, _root: root }
}

impl Bench {
    fn work(&self) -> Arc<FileWork> {
        self.work_of(&Arc::default(), Weak::<Notes>::new())
    }

    fn work_of(&self, desk: &Arc<Desk>, watcher: Weak<dyn Watcher>) -> Arc<FileWork> {
        self.work_with(&Arc::default(), desk, watcher)
    }

    fn work_with(&self, budget: &Arc<Budget>, desk: &Arc<Desk>, watcher: Weak<dyn Watcher>) -> Arc<FileWork> {
        let lock = self.store.try_lock(&self.entry).unwrap().unwrap();
        let partial = self.store.partial(lock, &self.commit, &self.entry).unwrap();
        Arc::new(FileWork::new(partial, Arc::clone(budget), Arc::clone(desk), watcher))
    }

    /// A file, while another one is open.
    fn beside_another(&self, budget: &Arc<Budget>) -> (Arc<FileWork>, StillOpen) {
        let desk = Arc::default();
        let work = self.work_with(budget, &desk, Weak::<Notes>::new());
        (work, desk.open())
    }

    fn block(&self, range: Range<u64>) -> Block {
        let mut block = Block::at(range.start);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        block.push(Bytes::copy_from_slice(&self.content[range]));
        block
    }

    fn deliver(&self, work: &FileWork, claim: &Claim, range: Range<u64>) {
        work.write(claim, self.block(range.clone()), &Silent).unwrap();
        if let Some(flush) = work.record(claim, range).unwrap() {
            work.flush(&flush).unwrap();
        }
    }
}

/// Parts that do not fit into memory together.
fn up_to(most: u64) -> Ask {
    Ask { most, connections: u64::MAX, files: 1 }
}

fn hash(work: &Arc<FileWork>) -> Option<Digest> {
    work.hash().unwrap().map(|hashed| hashed.digest())
}

#[test]
fn claims_cover_the_file_once() {
    let bench = bench(1000);
    let work = bench.work();
    let mut covered = RangeSet::default();
    while let Some(claim) = work.claim(up_to(300)) {
        assert!(covered.gaps(claim.range.clone()).first() == Some(&claim.range), "no other claim has it");
        covered.insert(claim.range);
    }
    assert_eq!((covered.frontier(), covered.total()), (1000, 1000));
}

#[test]
fn unwritten_bytes_can_be_claimed_again() {
    let bench = bench(1000);
    let work = bench.work();
    let claim = work.claim(up_to(1000)).unwrap();
    bench.deliver(&work, &claim, 0..400);
    assert!(work.claim(up_to(1000)).is_none());
    work.release(&claim, 400..1000);
    assert_eq!(work.claim(up_to(100)).unwrap().range, 400..500);
}

#[test]
fn a_claim_of_an_earlier_round_changes_nothing() {
    let bench = bench(1000);
    let work = bench.work();
    let old = work.claim(up_to(500)).unwrap();
    assert!(work.restart().unwrap());
    bench.deliver(&work, &old, 0..500);
    assert_eq!(work.have(), 0);
    let new = work.claim(up_to(1000)).unwrap();
    work.release(&old, 0..500);
    assert!(work.claim(up_to(1)).is_none(), "the new claim is still valid");
    assert_eq!(new.range, 0..1000);
    assert!(work.failed(&old).is_none(), "and its failure is not counted");
    assert!(!work.restart().unwrap(), "once only");
}

#[test]
fn attempts_that_failed_together_count_once_and_progress_forgives() {
    let bench = bench(1000);
    let work = bench.work();
    let (a, b) = (work.claim(up_to(100)).unwrap(), work.claim(up_to(100)).unwrap());
    assert_eq!(work.failed(&a), Some(1));
    assert_eq!(work.failed(&b), None, "it ran beside the one that counted");
    work.release(&a, 0..100);
    let again = work.claim(up_to(100)).unwrap();
    assert_eq!(work.failed(&again), Some(2));
    work.release(&again, 0..100);
    let last = work.claim(up_to(100)).unwrap();
    bench.deliver(&work, &last, 0..50);
    assert_eq!(work.failures(), 0);
}

#[test]
fn a_server_without_ranges_gets_one_connection_from_the_front() {
    let bench = bench(1000);
    let work = bench.work();
    let claim = work.claim(up_to(100)).unwrap();
    bench.deliver(&work, &claim, 0..60);
    work.release(&claim, 60..100);
    work.ranges_are_ignored();
    assert!(!work.takes_ranges());
    let whole = work.claim(up_to(1)).unwrap();
    assert_eq!(whole.range, 60..1000);
    assert!(work.claim(up_to(1)).is_none());
}

#[test]
fn a_run_continues_from_an_earlier_one() {
    let bench = bench(1000);
    {
        let work = bench.work();
        let claim = work.claim(up_to(1000)).unwrap();
        bench.deliver(&work, &claim, 0..300);
        bench.deliver(&work, &claim, 500..600);
        // The block is written but not in the journal, so a later run does not know about it.
        work.write(&claim, bench.block(700..800), &Silent).unwrap();
    }
    let work = bench.work();
    assert_eq!(work.have(), 400);
    let gaps: Vec<_> = std::iter::from_fn(|| work.claim(up_to(1000))).collect();
    assert_eq!(gaps.iter().map(|c| c.range.clone()).collect::<Vec<_>>(), [300..500, 600..1000]);
    for claim in &gaps {
        bench.deliver(&work, claim, claim.range.clone());
    }
    assert_eq!(hash(&work), Some(bench.entry.digest()), "what was on disk is hashed too");
    work.commit(bench.entry.digest()).unwrap();
    let place = bench.store.content_path(&bench.commit, &bench.entry);
    assert_eq!(std::fs::read(place).unwrap(), bench.content);
    assert!(work.claim(up_to(1)).is_none());
}

#[test]
fn after_a_restart_the_right_bytes_are_accepted() {
    let bench = bench(1000);
    let work = bench.work();
    let claim = work.claim(up_to(1000)).unwrap();
    let mut wrong = Block::at(0);
    wrong.push(Bytes::from(vec![1; 1000]));
    work.write(&claim, wrong, &Silent).unwrap();
    assert_ne!(hash(&work), Some(bench.entry.digest()));
    assert!(work.restart().unwrap());
    let claim = work.claim(up_to(1000)).unwrap();
    bench.deliver(&work, &claim, 0..1000);
    assert_eq!(hash(&work), Some(bench.entry.digest()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..Default::default() })]
    /// Blocks of any sizes in any order, hashed at any moment: the digest is the file's.
    #[test]
    fn order_does_not_matter_to_the_digest(
        cuts in prop::collection::btree_set(1u64..5000, 0..30),
        order in prop::collection::vec(any::<prop::sample::Index>(), 31),
        hash_after in prop::collection::vec(any::<bool>(), 31),
    ) {
        let bench = bench(5000);
        let work = bench.work();
        let claim = work.claim(up_to(5000)).unwrap();
        let ends: Vec<u64> = cuts.into_iter().chain([5000]).collect();
        let mut blocks: Vec<Range<u64>> =
            std::iter::once(0).chain(ends.iter().copied()).zip(&ends).map(|(a, b)| a..*b).collect();
        let mut whole = None;
        for (pick, look) in order.iter().zip(&hash_after) {
            if blocks.is_empty() {
                break;
            }
            let range = blocks.swap_remove(pick.index(blocks.len()));
            work.write(&claim, bench.block(range), &Silent).unwrap();
            if *look {
                prop_assert!(whole.is_none());
                whole = hash(&work);
                prop_assert!(whole.is_none() || blocks.is_empty());
            }
        }
        let whole = whole.or_else(|| hash(&work));
        prop_assert_eq!(whole, Some(bench.entry.digest()));
        prop_assert!(!work.wants_hashing());
    }
}

const MIB: u64 = 1 << 20;

/// Its twins: a part that memory would keep is handed out, and so is each one while the hash waits at a gap.
#[test]
fn a_part_that_memory_would_not_keep_waits_until_the_hash_has_caught_up() {
    let bench = bench(80 << 20);
    let notes = Arc::new(Notes::default());
    let work = bench.work_of(&Arc::default(), notes.weak());
    let part = || work.claim(up_to(4 * MIB));
    let first: Vec<Claim> = std::iter::from_fn(|| part().filter(|claim| claim.range.end <= AHEAD + 4 * MIB)).collect();
    assert_eq!(first.len(), 11, "no bytes can be hashed: the hash waits at a gap, and parts are still handed out");
    bench.deliver(&work, &first[0], first[0].range.clone());
    assert!(part().is_none() && work.is_held_back());
    assert_eq!(hash(&work), None, "most of it is missing");
    assert_eq!(notes.woken.load(Ordering::Relaxed), 1, "a waiting worker is woken");
    assert!(!work.is_held_back());
    assert!(part().is_some());
}

/// Otherwise one file's blocks would fill the memory, and the other's would be read back.
#[test]
fn files_share_the_memory() {
    let bench = bench(80 << 20);
    // The last file has its part and the next one, which is more than its share.
    for (files, end) in [(1, AHEAD - 2 * MIB), (2, AHEAD / 2 - 2 * MIB), (40, 4 * MIB)] {
        let work = bench.work();
        not_stuck(&work);
        let part = || work.claim(Ask { most: 2 * MIB, connections: 16, files });
        assert_eq!(std::iter::from_fn(part).last().map(|claim| claim.range.end), Some(end), "{files}");
        assert!(work.is_held_back());
    }
}

#[test]
fn a_file_waits_for_another_one_to_be_hashed_with_until_it_has_megabytes() {
    let bench = bench(40 << 20);
    let work = bench.work();
    let claim = work.claim(up_to(8 * MIB)).unwrap();
    bench.deliver(&work, &claim, 0..6 * MIB);
    assert!(work.is_worth_alone() && work.is_hash_bound(), "no other file is open");
    let _other = work.desk.open();
    assert!(!work.is_worth_alone());
    assert!(!work.is_hash_bound(), "it waits for bytes of the other one, which more connections would bring");
    assert!(work.claim(Ask { most: 2 * MIB, connections: 16, files: 4 }).is_none(), "memory would not keep it");
    assert!(!work.is_worth_alone(), "also if parts are small");
    bench.deliver(&work, &claim, 6 * MIB..8 * MIB);
    assert!(work.is_worth_alone());
}

/// Its twin: a file that has more bytes waits for its hasher, and gets no part that memory would not keep.
#[test]
fn a_file_that_waits_for_another_one_gets_its_next_part() {
    let bench = bench(40 << 20);
    let (work, _other) = bench.beside_another(&Arc::default());
    let part = || work.claim(Ask { most: 8 * MIB, connections: u64::MAX, files: 2 });
    let claims = [part().unwrap(), part().unwrap()];
    bench.deliver(&work, &claims[0], 0..6 * MIB);
    assert_eq!(part().map(|claim| claim.range), Some(16 * MIB..24 * MIB));
    bench.deliver(&work, &claims[0], 6 * MIB..8 * MIB);
    bench.deliver(&work, &claims[1], 8 * MIB..10 * MIB);
    assert!(work.is_hash_bound());
    assert!(part().is_none());
    assert!(work.is_held_back());
}

/// Otherwise it would wait for another file, and that one for memory.
#[test]
fn a_file_does_not_wait_for_another_one_if_many_share_the_memory_or_it_is_short() {
    let bench = bench(40 << 20);
    let budget = Arc::default();
    let (work, _other) = bench.beside_another(&budget);
    let claim = work.claim(up_to(8 * MIB)).unwrap();
    bench.deliver(&work, &claim, 0..2 * MIB);
    assert!(!work.is_worth_alone());
    let mut of_others = Window::new(Arc::clone(&budget));
    for i in 0..8 {
        of_others.keep(bench.block(i * 4 * MIB..(i + 1) * 4 * MIB), 0);
    }
    assert!(work.is_worth_alone(), "memory is short");
    drop(of_others);
    assert!(!work.is_worth_alone());
    bench.deliver(&work, &claim, 2 * MIB..3 * MIB);
    assert!(!work.is_worth_alone());
    assert!(work.claim(Ask { most: 2 * MIB, connections: 16, files: 16 }).is_none(), "memory would not keep it");
    assert!(work.is_worth_alone(), "many files share it");
}

#[test]
fn the_last_bytes_of_a_file_wait_for_no_other() {
    let bench = bench(5 << 20);
    let (work, _other) = bench.beside_another(&Arc::default());
    let claim = work.claim(up_to(8 * MIB)).unwrap();
    bench.deliver(&work, &claim, 0..5 * MIB - 1);
    assert!(!work.is_worth_alone());
    bench.deliver(&work, &claim, 5 * MIB - 1..5 * MIB);
    assert!(work.is_worth_alone());
}

/// The frontier counts as moving, however slow the test is.
fn not_stuck(work: &FileWork) {
    lock(&work.state).moved = Instant::now() + Duration::from_hours(1);
}

/// Its twin: a connection that hangs holds up no other.
#[test]
fn parts_that_fit_into_memory_wait_for_the_frontier_unless_it_is_stuck() {
    let bench = bench(80 << 20);
    let work = bench.work();
    not_stuck(&work);
    let part = || work.claim(Ask { most: 2 * MIB, connections: 16, files: 1 });
    while let Some(claim) = part() {
        assert!(claim.range.end < AHEAD);
    }
    assert!(work.is_held_back());
    lock(&work.state).moved = Instant::now().checked_sub(STUCK).unwrap();
    assert!(part().is_some());
    assert!(!work.is_held_back(), "so parts in flight may be split again");
}

/// Notes the events of files.
#[derive(Default)]
struct Notes {
    digests: Mutex<Vec<Digest>>,
    woken: AtomicU64,
}

impl Notes {
    fn weak(self: &Arc<Self>) -> Weak<dyn Watcher> {
        Arc::downgrade(self) as _
    }

    fn digests(&self) -> Vec<Digest> {
        lock(&self.digests).clone()
    }
}

impl Watcher for Notes {
    fn progress(&self) -> &dyn Progress {
        &Silent
    }

    fn arrived(&self, _: u64) {}

    fn has_room(&self) {
        self.woken.fetch_add(1, Ordering::Relaxed);
    }

    fn whole(&self, _: &Arc<FileWork>, hashed: Hashed) {
        lock(&self.digests).push(hashed.digest());
    }

    fn fatal(&self, error: FetchError) {
        panic!("{error}");
    }
}

/// Waits until a condition holds, for ten seconds at most.
fn until(what: impl Fn() -> bool) -> bool {
    (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        what()
    })
}

#[tokio::test]
async fn a_part_that_is_stopped_notes_what_it_has_written_and_no_more() {
    let bench = bench(1000);
    let work = bench.work();
    let claim = work.claim(up_to(1000)).unwrap();
    let mut writer = Writer::new(&Arc::new(Notes::default()), &work, &claim, false);
    writer.block = bench.block(0..600);
    writer.flush().await.unwrap();
    writer.block = bench.block(600..700);
    drop(writer);
    assert!(until(|| Arc::strong_count(&work) == 1), "its hasher has ended");
    drop(work);
    assert_eq!(bench.work().have(), 600);
}

#[tokio::test]
async fn blocks_that_come_alone_and_those_beside_others_end_in_the_same_file() {
    for alone in [false, true] {
        let bench = bench(5000);
        let notes = Arc::new(Notes::default());
        let work = bench.work_of(&Arc::default(), notes.weak());
        let claim = work.claim(up_to(5000)).unwrap();
        let mut writer = Writer::new(&notes, &work, &claim, alone);
        for start in (0..5000).step_by(1000) {
            writer.block = bench.block(start..start + 1000);
            writer.flush().await.unwrap();
        }
        writer.finish().await.unwrap();
        assert!(until(|| !notes.digests().is_empty()));
        assert_eq!((notes.digests(), work.have()), (vec![bench.entry.digest()], 5000), "alone: {alone}");
    }
}

/// Its twin: it does not wait once the hasher has caught up. The clock stands still while there is anything to do.
#[tokio::test(start_paused = true)]
async fn a_writer_waits_until_the_hasher_has_caught_up_and_no_longer() {
    let bench = bench(80 << 20);
    let work = bench.work();
    let claim = work.claim(up_to(u64::MAX)).unwrap();
    bench.deliver(&work, &claim, 0..4 * MIB);
    let hasher = work.take_hasher().unwrap();
    let (file, block) = (Arc::clone(&work), bench.block(42 * MIB..43 * MIB));
    let began = tokio::time::Instant::now();
    let writer = tokio::spawn(async move { file.pace(&claim, &block).await });
    tokio::task::yield_now().await;
    assert!(!writer.is_finished());
    let taken = work.next(hasher, &mut BytesMut::new());
    writer.await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(taken);
}

/// Two files of one run.
fn two(size: usize) -> ([Bench; 2], [Arc<FileWork>; 2], Arc<Notes>) {
    let benches = [bench(size), bench(size)];
    let (desk, notes) = (Arc::default(), Arc::new(Notes::default()));
    let works = [0, 1].map(|i: usize| benches[i].work_of(&desk, notes.weak()));
    (benches, works, notes)
}

fn hashed(work: &FileWork) -> u64 {
    lock(&work.state).hashed
}

#[tokio::test]
async fn two_files_that_arrive_side_by_side_are_hashed_to_their_ends() {
    let size = 6 * MIB + 12_345;
    let (benches, works, notes) = two(usize::try_from(size).unwrap());
    let claims = [works[0].claim(up_to(u64::MAX)).unwrap(), works[1].claim(up_to(u64::MAX)).unwrap()];
    for start in (0..size).step_by(100_000) {
        for i in [0, 1] {
            benches[i].deliver(&works[i], &claims[i], start..(start + 100_000).min(size));
            works[i].catch_up();
        }
    }
    assert!(until(|| notes.digests().len() == 2));
    assert_eq!(notes.digests(), [benches[0].entry.digest(), benches[1].entry.digest()]);
}

/// Its twins: a file with much to hash, a complete file and the only file do not wait.
#[tokio::test]
async fn a_file_waits_a_little_for_another_one_to_be_hashed_with_it() {
    let size = 8 * MIB;
    let (benches, works, notes) = two(usize::try_from(size).unwrap());
    let claims = [works[0].claim(up_to(u64::MAX)).unwrap(), works[1].claim(up_to(u64::MAX)).unwrap()];
    let deliver = |i: usize, range: Range<u64>| {
        benches[i].deliver(&works[i], &claims[i], range);
        works[i].catch_up();
    };
    deliver(0, 0..MIB);
    assert_eq!(works[0].desk.threads(), 0, "it waits for the other file");
    deliver(1, 0..MIB);
    assert!(until(|| hashed(&works[0]) == MIB && hashed(&works[1]) == MIB), "both have bytes");
    deliver(0, MIB..4 * MIB);
    assert!(until(|| hashed(&works[0]) >= 3 * MIB), "it has much to hash");
    deliver(0, 4 * MIB..8 * MIB);
    assert!(until(|| notes.digests().len() == 1), "it is complete");
    let [first, second] = works;
    drop(first);
    assert!(until(|| second.desk.is_alone()), "its last thread lets go of it");
    benches[1].deliver(&second, &claims[1], MIB..MIB + 1000);
    second.catch_up();
    assert!(until(|| hashed(&second) == MIB + 1000), "it is the only file");
}

/// Otherwise the file of a run that has failed would stay open, and locked, as long as the process lives.
#[tokio::test]
async fn a_file_that_waits_for_another_one_is_let_go_with_its_run() {
    let (benches, [first, second], _notes) = two(usize::try_from(8 * MIB).unwrap());
    let claim = first.claim(up_to(u64::MAX)).unwrap();
    benches[0].deliver(&first, &claim, 0..MIB);
    first.catch_up();
    let file = Arc::downgrade(&first);
    drop(first);
    assert!(file.upgrade().is_none());
    assert!(benches[0].store.try_lock(&benches[0].entry).unwrap().is_some(), "another run can have it");
    drop(second);
}
