//! A file whose bytes come in order and stay nowhere: its digest is all that is kept. A few of its bytes wait in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, oneshot};

use super::{Ahead, Batch, Desk, ENOUGH, Feed, Next, Part, StillOpen};
use crate::model::{Hashed, Hasher};
use crate::mutex::lock;

/// A chunk counts as at least this many bytes, because it takes as much memory by itself.
const LEAST: u64 = 64;

/// The threads that hash the lanes of a run.
pub(crate) type Lanes = Desk<Waiting>;

/// One file. It may be dropped at any time, and holds up no other then.
pub(crate) struct Lane {
    lanes: Arc<Lanes>,
    file: Arc<Waiting>,
    _open: StillOpen,
}

/// The bytes of a lane that are not hashed yet.
pub(crate) struct Waiting {
    state: Mutex<State>,
    /// Signals the lane's only user: bytes were taken, all are hashed, or never will be.
    changed: Notify,
}

struct State {
    batches: VecDeque<Batch>,
    /// The sum of the batches' bytes, or a little more.
    waiting: u64,
    /// The bytes that have not come yet, if the file is as long as it should be.
    missing: u64,
    /// No more bytes will come.
    ended: bool,
    /// `None` while a thread hashes, and afterwards.
    hasher: Option<Hasher>,
    hashed: Option<Hashed>,
    /// The thread has panicked.
    lost: bool,
}

/// How much the pieces count of the bytes that wait.
fn weight(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| (piece.len() as u64).max(LEAST)).sum()
}

impl Lane {
    /// A lane for a file of `size` bytes.
    pub fn new(lanes: &Arc<Lanes>, hasher: Hasher, size: u64) -> Self {
        let state = State {
            batches: VecDeque::new(),
            waiting: 0,
            missing: size,
            ended: false,
            hasher: Some(hasher),
            hashed: None,
            lost: false,
        };
        let file = Arc::new(Waiting { state: Mutex::new(state), changed: Notify::new() });
        Lane { lanes: Arc::clone(lanes), file, _open: lanes.open() }
    }

    /// Adds the file's next bytes. Waits while as many wait as are hashed at once in any case: a thread has these, or will
    /// take them soon.
    ///
    /// # Panics
    /// If the thread has panicked that hashed the file.
    pub async fn push(&mut self, bytes: Bytes) {
        self.push_all(vec![bytes]).await;
    }

    /// Adds pieces at once: if they are enough together, none of them waits for another file.
    ///
    /// # Panics
    /// If the thread has panicked that hashed the file.
    pub async fn push_all(&mut self, pieces: Vec<Bytes>) {
        self.add(pieces.into()).await;
    }

    /// Adds pieces at once, whose own SHA-256 is computed beside the file's. It comes without more bytes of the file if the pieces are
    /// as many bytes as never wait for another file, or the file's last ones. An error of the receiver means that it never comes: the
    /// lane was dropped, or the thread has panicked.
    ///
    /// # Panics
    /// If the thread has panicked that hashed the file.
    // Only uploads to object stores need it.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code))]
    pub async fn push_part(&mut self, pieces: Vec<Bytes>) -> oneshot::Receiver<Hashed> {
        let (digest, receiver) = oneshot::channel();
        let part = Some(Part { hasher: Hasher::sha256(), digest });
        self.add(Batch { pieces, part }).await;
        receiver
    }

    async fn add(&mut self, mut batch: Batch) {
        self.wait(|state| (state.waiting < ENOUGH).then_some(())).await;
        {
            let mut state = lock(&self.file.state);
            state.waiting += weight(&batch.pieces);
            let bytes = batch.pieces.iter().map(|piece| piece.len() as u64).sum();
            state.missing = state.missing.saturating_sub(bytes);
            // A thread takes a batch at once.
            match state.batches.back_mut().filter(|last| last.part.is_none() && batch.part.is_none()) {
                Some(last) => last.pieces.append(&mut batch.pieces),
                None => state.batches.push_back(batch),
            }
        }
        self.lanes.add(&self.file);
    }

    /// The digest of all bytes.
    ///
    /// # Panics
    /// If the thread has panicked that hashed the file.
    pub async fn finish(self) -> Hashed {
        lock(&self.file.state).ended = true;
        self.lanes.add(&self.file);
        self.wait(|state| state.hashed).await
    }

    async fn wait<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            {
                let state = lock(&self.file.state);
                if let Some(ready) = ready(&state) {
                    return ready;
                }
                assert!(!state.lost, "the thread that hashed the file has panicked");
            }
            // A signal between the look and this call is kept.
            self.file.changed.notified().await;
        }
    }
}

impl Feed for Waiting {
    /// Whoever waits for the digest keeps all that is needed.
    type Run = ();

    fn run(&self) {}

    fn wants_hashing(&self) -> bool {
        let state = lock(&self.state);
        state.hasher.is_some() && (!state.batches.is_empty() || state.ended)
    }

    fn is_worth_alone(&self) -> bool {
        let state = lock(&self.state);
        state.waiting >= ENOUGH || state.ended || state.missing == 0
    }

    fn ahead(&self) -> Ahead {
        if lock(&self.state).batches.is_empty() { Ahead::Nowhere } else { Ahead::Memory }
    }

    fn take_hasher(&self) -> Option<Hasher> {
        lock(&self.state).hasher.take()
    }

    fn give_back(&self, hasher: Hasher) {
        lock(&self.state).hasher = Some(hasher);
    }

    fn next(&self, hasher: Hasher, _: &mut BytesMut) -> Next {
        let mut state = lock(&self.state);
        if let Some(batch) = state.batches.pop_front() {
            state.waiting -= weight(&batch.pieces);
            drop(state);
            self.changed.notify_one();
            return Next::Bytes(hasher, batch);
        }
        if state.ended {
            return Next::Whole(hasher.finish());
        }
        state.hasher = Some(hasher);
        Next::Nothing
    }

    fn whole(self: Arc<Self>, hashed: Hashed) {
        lock(&self.state).hashed = Some(hashed);
        self.changed.notify_one();
    }

    fn lost(&self) {
        lock(&self.state).lost = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Digest, GitOid, Sha256};

    const MIB: usize = 1 << 20;
    const LFS: Digest = Digest::Sha256(Sha256([0; 32]));
    const GIT: Digest = Digest::GitBlob(GitOid([0; 20]));

    fn content(seed: u8, size: usize) -> Bytes {
        (0..size).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect::<Vec<u8>>().into()
    }

    fn digest(like: Digest, content: &[u8]) -> Digest {
        let mut hasher = like.hasher(content.len() as u64);
        hasher.update(content);
        hasher.finish().digest()
    }

    async fn hash(lanes: &Arc<Lanes>, like: Digest, content: Bytes, piece: usize) -> Digest {
        let mut lane = Lane::new(lanes, like.hasher(content.len() as u64), content.len() as u64);
        for from in (0..content.len()).step_by(piece) {
            lane.push(content.slice(from..(from + piece).min(content.len()))).await;
        }
        lane.finish().await.digest()
    }

    async fn soon<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_mins(1), work).await.unwrap()
    }

    /// Waits until a file's bytes are taken.
    async fn taken(lane: &Lane) -> bool {
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if lock(&lane.file.state).waiting == 0 {
                return true;
            }
        }
        false
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn each_file_has_its_own_digest_however_many_come_at_once_and_in_whatever_pieces(
            files in proptest::collection::vec((any::<bool>(), 0..200_000usize, 1..70_000usize), 1..7),
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let lanes = Arc::default();
            let work = files.iter().enumerate().map(|(i, (git, size, piece))| {
                let like = if *git { GIT } else { LFS };
                let content = content(u8::try_from(i).unwrap(), *size);
                let expected = digest(like, &content);
                let lanes = &lanes;
                async move { (soon(hash(lanes, like, content, *piece)).await, expected) }
            });
            for (got, expected) in runtime.block_on(futures_util::future::join_all(work)) {
                prop_assert_eq!(got, expected);
            }
            prop_assert!(lanes.is_alone(), "no file is open any more");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn each_part_has_its_own_digest_beside_that_of_the_file(
            parts in prop::collection::vec((any::<bool>(), 0..3 * MIB, 1..MIB), 0..5),
            git: bool,
            another: bool,
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let parts: Vec<(bool, Bytes, usize)> = (0..)
                .zip(parts)
                .map(|(seed, (is_part, size, piece))| (is_part, content(seed, size), piece))
                .collect();
            let whole: Bytes = parts.iter().flat_map(|(_, bytes, _)| bytes.to_vec()).collect();
            let like = if git { GIT } else { LFS };
            let (file, digests) = runtime.block_on(soon(async {
                let lanes = Arc::default();
                // A file that never has bytes.
                let _other = another.then(|| Lane::new(&lanes, LFS.hasher(9), 9));
                let mut lane = Lane::new(&lanes, like.hasher(whole.len() as u64), whole.len() as u64);
                let mut digests = Vec::new();
                for (is_part, bytes, piece) in &parts {
                    let piece = (*piece).min(bytes.len().max(1));
                    let pieces = (0..bytes.len()).step_by(piece);
                    let pieces = pieces.map(|at| bytes.slice(at..(at + piece).min(bytes.len()))).collect();
                    if *is_part {
                        digests.push((digest(LFS, bytes), lane.push_part(pieces).await));
                    } else {
                        lane.push_all(pieces).await;
                    }
                }
                (lane.finish().await, digests)
            }));
            prop_assert_eq!(file.digest(), digest(like, &whole));
            for (expected, mut got) in digests {
                prop_assert_eq!(got.try_recv().unwrap().digest(), expected);
            }
        }
    }

    /// It is uploaded next, and the file's next bytes may need its room.
    #[tokio::test]
    async fn the_digest_of_a_part_comes_before_the_files_next_bytes() {
        let lanes = Arc::default();
        let _other = Lane::new(&lanes, LFS.hasher(9), 9);
        let mut lane = Lane::new(&lanes, LFS.hasher(99 << 20), 99 << 20);
        let part = content(1, 3 * MIB);
        let got = lane.push_part(vec![part.slice(..MIB), part.slice(MIB..)]).await;
        assert_eq!(soon(got).await.unwrap().digest(), digest(LFS, &part));
    }

    #[tokio::test]
    async fn a_part_that_will_not_be_hashed_says_so() {
        let lanes: Arc<Lanes> = Arc::default();
        let mut lane = Lane::new(&lanes, LFS.hasher(99 << 20), 99 << 20);
        // As if a thread had it.
        let hasher = lane.file.take_hasher();
        let got = lane.push_part(vec![content(1, 9)]).await;
        drop((lane, hasher));
        soon(got).await.unwrap_err();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_files_are_hashed_to_their_ends_though_they_end_at_different_times() {
        let lanes = Arc::default();
        let files = [(1, 9 * MIB + 17), (2, 3 * MIB), (3, 20 * MIB + 1), (4, MIB)];
        let work = files.map(|(seed, size)| soon(hash(&lanes, LFS, content(seed, size), 300_000)));
        let expected = files.map(|(seed, size)| digest(LFS, &content(seed, size)));
        assert_eq!(futures_util::future::join_all(work).await, expected);
    }

    /// The small rest would keep its part's room, and the other file would wait for that.
    #[tokio::test]
    async fn a_small_rest_of_pieces_that_came_at_once_does_not_wait_for_another_file() {
        let lanes = Arc::default();
        let _other = Lane::new(&lanes, LFS.hasher(9), 9);
        let mut lane = Lane::new(&lanes, LFS.hasher(99 << 20), 99 << 20);
        lane.push_all(vec![content(1, 3 * MIB), content(2, MIB / 2)]).await;
        assert!(taken(&lane).await);
    }

    /// Its twins: a file with much to hash, one whose bytes are all here, and the only one do not wait.
    #[tokio::test]
    async fn a_file_waits_a_little_for_another_one_to_be_hashed_with_it() {
        let lanes = Arc::default();
        let whole = content(0, 8 * MIB);
        let [mut one, mut other] = [0, 1].map(|_| Lane::new(&lanes, Hasher::sha256(), 8 << 20));
        one.push(whole.slice(..MIB)).await;
        assert_eq!(lanes.threads(), 0, "it waits for the other file");
        other.push(whole.slice(..MIB)).await;
        assert!(taken(&one).await && taken(&other).await, "both have bytes");
        one.push(whole.slice(MIB..4 * MIB)).await;
        assert!(taken(&one).await, "it has much to hash");
        one.push(whole.slice(4 * MIB..7 * MIB)).await;
        assert!(taken(&one).await);
        one.push(whole.slice(7 * MIB..)).await;
        assert!(taken(&one).await, "all its bytes are here");
        assert_eq!(soon(one.finish()).await.digest(), digest(LFS, &whole));
        other.push(whole.slice(MIB..MIB + 1000)).await;
        assert!(taken(&other).await, "it is the only file");
    }

    #[tokio::test]
    async fn a_file_that_is_given_up_holds_up_no_other() {
        let lanes = Arc::default();
        let whole = content(0, 8 * MIB);
        for given_up in [0, 1, 3 * MIB] {
            let mut one = Lane::new(&lanes, Hasher::sha256(), 8 << 20);
            one.push(whole.slice(..given_up)).await;
            let mut other = Lane::new(&lanes, Hasher::sha256(), 8 << 20);
            drop(one);
            other.push(whole.slice(..500)).await;
            assert!(taken(&other).await, "it is the only file now");
            other.push(whole.slice(500..1000)).await;
            assert_eq!(soon(other.finish()).await.digest(), digest(LFS, &whole[..1000]));
        }
        // Also one of which somebody waited for the digest.
        let mut one = Lane::new(&lanes, Hasher::sha256(), 8 << 20);
        one.push(whole.clone()).await;
        let _ = one.finish().now_or_never();
        assert_eq!(soon(hash(&lanes, LFS, whole.clone(), MIB)).await, digest(LFS, &whole));
    }

    #[tokio::test]
    async fn few_bytes_of_a_file_wait_in_memory_and_the_next_ones_wait_outside() {
        let lanes = Arc::default();
        let whole = content(0, 8 * MIB);
        let mut lane = Lane::new(&lanes, Hasher::sha256(), 8 << 20);
        // As if a thread had it.
        let hasher = lane.file.take_hasher().unwrap();
        lane.push(whole.slice(..MIB)).await;
        lane.push(whole.slice(MIB..5 * MIB)).await;
        assert!(lane.push(whole.slice(5 * MIB..)).now_or_never().is_none());
        let Next::Bytes(mut hasher, batch) = lane.file.next(hasher, &mut BytesMut::new()) else { panic!() };
        for piece in batch.pieces {
            hasher.update(&piece);
        }
        soon(lane.push(whole.slice(5 * MIB..))).await;
        lane.file.give_back(hasher);
        assert_eq!(soon(lane.finish()).await.digest(), digest(LFS, &whole));
    }

    #[tokio::test]
    #[should_panic(expected = "has panicked")]
    async fn a_panic_of_the_thread_reaches_the_one_who_waits() {
        let lane = Lane::new(&Arc::default(), Hasher::sha256(), 8 << 20);
        let hasher = lane.file.take_hasher();
        let file = Arc::clone(&lane.file);
        let thread = tokio::spawn(async move { file.lost() });
        soon(lane.finish()).await;
        drop((hasher, thread));
    }

    #[tokio::test]
    async fn a_file_longer_or_shorter_than_it_should_be_has_the_digest_of_what_came() {
        let lanes = Arc::default();
        for came in [0, 700, 1300] {
            let mut lane = Lane::new(&lanes, Hasher::sha256(), 1000);
            lane.push(content(0, came)).await;
            let hashed = soon(lane.finish()).await;
            assert_eq!((hashed.digest(), hashed.length()), (digest(LFS, &content(0, came)), came as u64));
        }
    }
}
