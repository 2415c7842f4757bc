//! Large pieces of memory for bodies, which are used again and again: new memory costs the system nearly as much as the copy
//! of the bytes. Nothing is received here.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::mutex::lock;
use crate::platform::{PAGE, begin_at_page};

/// The most bytes of a piece, and so of a read. `docs/src/path-of-a-byte.md` has the figures of other sizes.
const LARGEST: usize = 4 << 20;
/// A body with fewer bytes than the largest piece comes in pieces of this size: many such bodies come at once. So do all bodies of
/// connections that take turns. Smaller pieces are not kept.
const OF_SHORT: usize = 256 << 10;
/// The bytes of one copy. For longer copies older versions of glibc take an instruction that AMD's Zen 3 and Zen 4 run slowly, if the two
/// addresses do not suit each other (glibc's bug 30994).
const COPY: usize = 2 << 10;
/// The most pieces that are kept: as many as the parts of an upload fill on 16 connections.
const KEPT: usize = 32;

/// Pieces that were filled, and how large they are. Some of their bytes may still be in use.
#[derive(Debug)]
pub(super) struct Memory {
    /// The most bytes of a piece.
    largest: usize,
    /// Which of the pieces that nobody uses is taken first.
    newest_first: bool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: VecDeque<(usize, BytesMut)>,
    /// When one was kept last.
    last: Option<Instant>,
}

/// A piece that is being filled.
#[derive(Debug, Default)]
pub(super) struct Piece {
    bytes: BytesMut,
    size: usize,
    /// How many bytes it can still take.
    room: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { largest: LARGEST, newest_first: false, kept: Mutex::default() }
    }
}

impl Memory {
    /// Memory for connections that take turns: little of it is used at a time, and stays in the processor's cache.
    pub fn of_turns() -> Self {
        Memory { largest: OF_SHORT, newest_first: true, ..Memory::default() }
    }

    /// A piece for `wanted` bytes, or for the first of them. It begins at a page, because the system
    /// copies faster to such an address.
    pub fn piece(&self, wanted: u64) -> Piece {
        let wanted = usize::try_from(wanted).unwrap_or(LARGEST);
        let room = wanted.min(if wanted < LARGEST { OF_SHORT } else { self.largest });
        if room < OF_SHORT {
            return Piece { bytes: BytesMut::with_capacity(room), size: room, room };
        }
        let mut bytes = self.free(room).unwrap_or_else(|| BytesMut::with_capacity(room + PAGE));
        begin_at_page(&mut bytes);
        Piece { bytes, size: room, room }
    }

    /// The memory of a kept piece of this size whose bytes nobody uses any more.
    fn free(&self, of: usize) -> Option<BytesMut> {
        let mut kept = lock(&self.kept);
        let is_free = |(size, bytes): &mut (usize, BytesMut)| *size == of && bytes.try_reclaim(of + PAGE);
        let place = if self.newest_first {
            kept.pieces.iter_mut().rposition(is_free)?
        } else {
            // The oldest ones come first, and are the first that nobody uses.
            kept.pieces.iter_mut().position(is_free)?
        };
        kept.pieces.remove(place).map(|(_, bytes)| bytes)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.kept).pieces.is_empty()
    }

    /// Gives the memory back if none was kept for this long.
    pub fn give_back(&self, unused: Duration) {
        let mut kept = lock(&self.kept);
        if kept.last.is_some_and(|last| last.elapsed() >= unused) {
            *kept = Kept::default();
        }
    }

    /// Keeps a piece, to use it again when its bytes are dropped.
    pub fn keep(&self, piece: Piece) {
        if piece.size < OF_SHORT {
            return;
        }
        let mut kept = lock(&self.kept);
        if kept.pieces.len() == KEPT {
            kept.pieces.pop_front();
        }
        kept.pieces.push_back((piece.size, piece.bytes));
        kept.last = Some(Instant::now());
    }
}

impl Piece {
    /// Whether it can take no more bytes.
    pub fn is_full(&self) -> bool {
        self.room == 0
    }

    /// The number of bytes that `split` returns.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies as many of these bytes as there is room for, and returns how many.
    pub fn copy(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.room);
        for part in from[..n].chunks(COPY) {
            self.bytes.extend_from_slice(part);
        }
        self.room -= n;
        n
    }

    /// Reads at most `limit` bytes, and returns how many came: none at the end, or if there is no room.
    pub fn poll_read(
        &mut self,
        from: Pin<&mut impl AsyncRead>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let limit = limit.min(self.room);
        let read = poll_read_buf(from, cx, &mut (&mut self.bytes).limit(limit))?;
        read.map(|n| {
            self.room -= n;
            Ok(n)
        })
    }

    /// Takes the bytes that it has. What it gets later comes after them.
    pub fn split(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(memory: &Memory, size: usize) -> (Bytes, Piece) {
        let mut piece = memory.piece(size as u64);
        assert_eq!(piece.copy(&vec![7; size]), size);
        (piece.split(), piece)
    }

    #[test]
    fn memory_is_used_again_when_its_bytes_are_dropped_and_not_before() {
        let memory = Memory::default();
        let (first, piece) = filled(&memory, LARGEST);
        assert!(piece.is_full());
        assert_eq!(first.as_ptr().addr() % PAGE, 0);
        memory.keep(piece);
        let (second, piece) = filled(&memory, LARGEST);
        assert_ne!(first.as_ptr(), second.as_ptr());
        assert_eq!(second[0], 7);
        memory.keep(piece);
        let at = first.as_ptr();
        drop(first);
        let (small, _) = filled(&memory, OF_SHORT);
        assert_ne!(small.as_ptr(), at, "few bytes keep no large piece");
        let (third, _) = filled(&memory, LARGEST);
        assert_eq!(third.as_ptr(), at);
    }

    #[test]
    fn few_and_only_large_pieces_are_kept() {
        let memory = Memory::default();
        for size in [OF_SHORT - 1, OF_SHORT] {
            for _ in 0..2 * KEPT {
                memory.keep(memory.piece(size as u64));
            }
        }
        assert_eq!(lock(&memory.kept).pieces.len(), 1);
        let pieces: Vec<_> = (0..2 * KEPT).map(|_| memory.piece(OF_SHORT as u64)).collect();
        for piece in pieces {
            memory.keep(piece);
        }
        assert_eq!(lock(&memory.kept).pieces.len(), KEPT);
    }

    #[test]
    fn connections_that_take_turns_get_small_pieces_and_the_newest_first() {
        let memory = Memory::of_turns();
        let mut piece = memory.piece(LARGEST as u64);
        assert_eq!(piece.copy(&vec![7; LARGEST]), OF_SHORT);
        let (older, newer) = (filled(&memory, OF_SHORT), filled(&memory, OF_SHORT));
        let places = [older.0.as_ptr(), newer.0.as_ptr()];
        memory.keep(older.1);
        memory.keep(newer.1);
        drop((older.0, newer.0));
        let again = [filled(&memory, OF_SHORT), filled(&memory, OF_SHORT)];
        assert_eq!([again[0].0.as_ptr(), again[1].0.as_ptr()], [places[1], places[0]]);
    }

    #[test]
    fn a_piece_takes_no_more_than_was_wanted() {
        let mut piece = Memory::default().piece(5);
        assert_eq!(piece.copy(b"12"), 2);
        assert_eq!(piece.split(), "12");
        assert_eq!(piece.copy(b"34567"), 3);
        assert_eq!(piece.split(), "345");
        assert!(piece.is_full());
    }
}
