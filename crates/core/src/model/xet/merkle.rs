//! Computes a Xet hash on several threads. Xet's own packages make the chunks and the tree over them; this file only
//! divides the work among threads.
//!
//! The end of a chunk depends on all bytes since its beginning, so the ends in the middle of a file are not known in
//! advance. Each thread assumes that a chunk begins where its segment begins. This is nearly always wrong, but most
//! ends that it finds are right: after the first end that two lists of chunks have in common, both lists are the same.
//! When all segments are done, the bytes up to that common end are divided again, from the last end that is known to be
//! right. In ordinary files these bytes are few. In a file of one repeated byte the lists have no end in common, and
//! one thread divides the rest of the file again: that is slower, but also right.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use xet_core_structures::merklehash::{MerkleHash, compute_data_hash, file_hash};
use xet_data::deduplication::Chunker;

use super::{XetContent, XetHash};
use crate::mutex::lock;
use crate::platform::{PAGE, PageBuffer};

/// The bytes that one thread divides: many enough that few bytes are divided twice.
const SEGMENT: u64 = 16 << 20;
/// The most bytes of a chunk. If a later Xet allowed more, the hashes would differ, and the file would get its SHA-256.
const LONGEST: usize = 128 << 10;
/// How many bytes are read at once: they stay in a core's own cache until they are hashed.
const READ: usize = 512 << 10;
/// The most chunks of a file: their list takes 40 bytes for each, and twice that while the tree is made. Chunks have 64 KiB on average
/// and 8 KiB at least.
const MOST: usize = 4 << 20;
/// The most bytes of a file, so that the number of segments has a bound too.
const LARGEST: u64 = 256 << 30;

/// The end of a chunk in its file, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    end: u64,
    hash: MerkleHash,
}

/// The Xet hash of `content`; `None` if it has too many chunks.
pub(super) fn root(content: &XetContent<'_>, threads: usize) -> io::Result<Option<XetHash>> {
    root_by(content, threads, SEGMENT, MOST)
}

fn root_by(content: &XetContent<'_>, threads: usize, segment: u64, most: usize) -> io::Result<Option<XetHash>> {
    if content.size > LARGEST {
        return Ok(None);
    }
    let Some(guesses) = guess(content, threads, segment, most)? else { return Ok(None) };
    let Some(chunks) = join(content, guesses, segment, most)? else { return Ok(None) };
    file_hash(&chunks).hex().parse().map(Some).map_err(io::Error::other)
}

/// The chunks of each segment, assuming that a chunk begins there; `None` if they are too many.
fn guess(content: &XetContent<'_>, threads: usize, segment: u64, most: usize) -> io::Result<Option<Vec<Vec<Chunk>>>> {
    let guesses: Vec<Mutex<Vec<Chunk>>> = (0..content.size.div_ceil(segment)).map(|_| Mutex::default()).collect();
    let (next, found, stopped) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let too_many = || found.load(Ordering::Relaxed) > most;
    let work = || -> io::Result<()> {
        let mut buffer = PageBuffer::new(LONGEST + READ);
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = guesses.get(n).filter(|_| !stopped.load(Ordering::Relaxed) && !too_many()) else {
                return Ok(());
            };
            let mut list = Vec::new();
            let start = n as u64 * segment;
            let done =
                divide(content, start..start.saturating_add(segment), Some(content.seen), &mut buffer, &mut |chunk| {
                    list.push(chunk);
                    true
                });
            if let Err(error) = done {
                stopped.store(true, Ordering::Relaxed);
                return Err(error);
            }
            found.fetch_add(list.len(), Ordering::Relaxed);
            *lock(place) = list;
        }
    };
    std::thread::scope(|scope| {
        let threads = threads.clamp(1, guesses.len().max(1));
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        // Joins all threads, so that none is running when the first error is returned.
        ended.collect::<Vec<_>>().into_iter().collect::<io::Result<()>>()
    })?;
    let lists = guesses.into_iter().map(|guess| guess.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok((!too_many()).then(|| lists.collect()))
}

/// The chunks of the whole content, each with its length; `None` if they are too many.
fn join(
    content: &XetContent<'_>,
    guesses: Vec<Vec<Chunk>>,
    segment: u64,
    most: usize,
) -> io::Result<Option<Vec<(MerkleHash, u64)>>> {
    let mut chunks = Vec::with_capacity(guesses.iter().map(Vec::len).sum());
    let mut buffer = None;
    let mut at = 0;
    for (n, guess) in guesses.into_iter().enumerate() {
        let start = n as u64 * segment;
        let stop = start.saturating_add(segment).min(content.size);
        // The first chunk of the guess after the end `at`, if the guess has that end.
        let behind = |at: u64| match guess.binary_search_by_key(&at, |chunk| chunk.end) {
            _ if at == start => Some(0),
            Ok(same) => Some(same + 1),
            Err(_) => None,
        };
        let mut right = behind(at);
        if right.is_none() && at < stop {
            let buffer = buffer.get_or_insert_with(|| PageBuffer::new(LONGEST + READ));
            divide(content, at..stop, None, buffer, &mut |chunk| {
                chunks.push((chunk.hash, chunk.end - at));
                at = chunk.end;
                right = behind(at);
                right.is_none() && chunks.len() <= most
            })?;
        }
        for chunk in right.and_then(|first| guess.get(first..)).unwrap_or_default() {
            chunks.push((chunk.hash, chunk.end.saturating_sub(at)));
            at = chunk.end;
        }
        if chunks.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(chunks))
}

/// Gives `each` the chunks that begin in `range`, until it returns false. A chunk is assumed to begin at the range's
/// start. `seen` gets the length of each piece of the range.
fn divide(
    content: &XetContent<'_>,
    range: std::ops::Range<u64>,
    seen: Option<&(dyn Fn(u64) + Sync)>,
    buffer: &mut PageBuffer,
    each: &mut dyn FnMut(Chunk) -> bool,
) -> io::Result<()> {
    let (mut at, mut chunker) = (range.start, Chunker::default());
    let stop = range.end.min(content.size);
    // Bytes are read to the offset `LONGEST`, which is the start of a page; the begun chunk is before it. So `from` and
    // `to` are never further apart than the buffer is long.
    let mut from = LONGEST;
    while at < content.size {
        // Reads after the first begin at a page of the file too. After the range they are short.
        let most = if at < stop { (READ as u64 - at % PAGE as u64).min(stop - at) } else { LONGEST as u64 };
        let length = most.min(content.size - at);
        let to = LONGEST + usize::try_from(length).unwrap_or(READ);
        (content.read)(&mut buffer[LONGEST..to], at)?;
        if let Some(seen) = seen.filter(|_| at < stop) {
            seen(length);
        }
        at += length;
        while to - from >= LONGEST || at == content.size && from < to {
            let rest = &buffer[from..to];
            let length = chunker.next_boundary(rest).unwrap_or(rest.len()).clamp(1, rest.len());
            let hash = compute_data_hash(&rest[..length]);
            from += length;
            let end = at - (to - from) as u64;
            if !each(Chunk { end, hash }) || end >= stop {
                return Ok(());
            }
        }
        let begun = LONGEST - (to - from);
        buffer.copy_within(from..to, begun);
        from = begun;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that neither repeat nor compress.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let words = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ (state >> 32)).to_le_bytes()
        });
        words.flatten().take(length).collect()
    }

    /// The Xet hash by this file, and the count of bytes that it reports.
    fn hash_by(bytes: &[u8], threads: usize, segment: u64) -> (String, u64) {
        let read = |buffer: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        let total = std::sync::atomic::AtomicU64::new(0);
        let seen = |n| {
            total.fetch_add(n, Ordering::Relaxed);
        };
        let content = XetContent { size: bytes.len() as u64, read: &read, seen: &seen };
        let root = root_by(&content, threads, segment, MOST).unwrap().unwrap();
        (root.to_string(), total.into_inner())
    }

    /// The same hash by Xet's own functions, front to back.
    fn in_one_go(bytes: &[u8]) -> String {
        let chunks = Chunker::default().next_block(bytes, true);
        let list: Vec<_> = chunks.iter().map(|chunk| (chunk.hash, chunk.data.len() as u64)).collect();
        file_hash(&list).hex()
    }

    #[track_caller]
    fn assert_same(bytes: &[u8], segment: u64) {
        for threads in [1, 3] {
            assert_eq!(hash_by(bytes, threads, segment), (in_one_go(bytes), bytes.len() as u64), "{segment}");
        }
    }

    /// The hashes are those of `hf_xet` 1.8.0 for Python: `hf_xet.hash_files`.
    #[test]
    fn hashes_match_those_of_the_hub() {
        let mixed = [noise(2, 300_000), vec![0; 700_000], noise(3, 500_000)].concat();
        for (bytes, hash) in [
            (b"hello\n".to_vec(), "fbf3242e7f6725a9dc46e5030d43ca9dd5265dd3690ccd1b1b8dcbdee88cb81b"),
            (noise(1, 1_000_001), "816fd556346f1e2c6f8feb48cb1fc340dd523cb42da1445cba1aaee138002d5a"),
            (mixed, "805c9fbfce37e9997384df9eb171773d6770a9432ac8bcf1ef030904dbdb2e60"),
            (noise(4, (35 << 20) + 1), "22e64d24a8e5e3c7018acc68c69501114069575ed62246223cd745ad99a995ea"),
        ] {
            for segment in [SEGMENT, 400_000] {
                assert_eq!(hash_by(&bytes, 2, segment), (hash.to_owned(), bytes.len() as u64));
            }
        }
    }

    #[test]
    fn odd_files_have_the_same_hash_as_in_one_pass() {
        let segment = 300_000;
        for size in [0, 1, 63, 64, 65, 8191, 8192, 8193, 131_071, 131_072, 131_073, 299_999, 300_000, 300_001, 900_000]
        {
            assert_same(&noise(7, size), segment);
            assert_same(&vec![0; size], segment);
            assert_same(&vec![0xff; size], segment);
        }
        for period in [1, 3, 64, 65, 4096, 100_000, 131_072, 131_073] {
            let bytes: Vec<u8> = noise(8, period).into_iter().cycle().take(2_000_000).collect();
            assert_same(&bytes, segment);
        }
        // No end in common after the zeros begin.
        assert_same(&[noise(9, 123_457), vec![0; 2_000_000]].concat(), segment);
        assert_same(&[vec![0; 1_000_001], noise(9, 700_000), b"text ".repeat(90_000)].concat(), segment);
    }

    #[derive(Debug, Clone)]
    enum Piece {
        Noise(u64, usize),
        Byte(u8, usize),
        Period(u64, usize, usize),
    }

    impl Piece {
        fn bytes(&self) -> Vec<u8> {
            match *self {
                Piece::Noise(seed, length) => noise(seed, length),
                Piece::Byte(byte, length) => vec![byte; length],
                Piece::Period(seed, period, length) => noise(seed, period).into_iter().cycle().take(length).collect(),
            }
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let piece = prop_oneof![
            (any::<u64>(), 0..400_000usize).prop_map(|(seed, length)| Piece::Noise(seed, length)),
            (any::<u8>(), 0..400_000usize).prop_map(|(byte, length)| Piece::Byte(byte, length)),
            (any::<u64>(), 1..200_000usize, 0..400_000usize).prop_map(|(s, p, length)| Piece::Period(s, p, length)),
        ];
        prop::collection::vec(piece, 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_division_among_threads_gives_the_hash_of_one_pass(pieces in pieces(), segment in 5_000..500_000u64) {
            let bytes: Vec<u8> = pieces.iter().flat_map(Piece::bytes).collect();
            prop_assert_eq!(hash_by(&bytes, 3, segment), (in_one_go(&bytes), bytes.len() as u64));
        }

        #[test]
        fn one_wrong_bit_anywhere_gives_another_hash(at in 0..900_000usize, bit in 0..8u32) {
            let right = noise(11, 900_000);
            let mut wrong = right.clone();
            wrong[at] ^= 1 << bit;
            prop_assert_ne!(hash_by(&right, 2, 200_000).0, hash_by(&wrong, 2, 200_000).0);
        }
    }

    #[test]
    fn an_unreadable_end_is_an_error_and_too_many_chunks_give_no_hash() {
        let bytes = noise(12, 900_000);
        let content = |last: u64| {
            let bytes = &bytes;
            move |buffer: &mut [u8], at: u64| {
                if at + buffer.len() as u64 > last {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let at = usize::try_from(at).unwrap();
                buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
                Ok(())
            }
        };
        let hash = |last, most| {
            let read = content(last);
            root_by(&XetContent { size: 900_000, read: &read, seen: &|_| {} }, 3, 100_000, most)
        };
        assert_eq!(hash(899_999, MOST).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(hash(900_000, 4).unwrap(), None);
        assert!(hash(900_000, 400).unwrap().is_some());
        let vast = XetContent { size: u64::MAX, read: &|_, _| Err(io::ErrorKind::Other.into()), seen: &|_| {} };
        assert_eq!(root(&vast, 2).unwrap(), None);
    }
}
