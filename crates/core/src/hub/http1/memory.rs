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
/// A body with fewer bytes than the largest piece comes in pieces of this size: many such bodies come at once. Smaller pieces are
/// not kept.
const OF_SHORT: usize = 256 << 10;
/// The bytes of one copy. For longer copies older versions of glibc take an instruction that AMD's Zen 3 and Zen 4 run slowly, if the two
/// addresses do not suit each other (glibc's bug 30994).
const COPY: usize = 2 << 10;
/// The most pieces that are kept: as many as the parts of an upload fill on 16 connections.
const KEPT: usize = 32;

/// Pieces that were filled, and how large they are. Some of their bytes may still be in use.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Kept>);

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

impl Memory {
    /// A piece for `wanted` bytes, or for the first of them. It begins at a page, because the system
    /// copies faster to such an address.
    pub fn piece(&self, wanted: u64) -> Piece {
        let wanted = usize::try_from(wanted).unwrap_or(LARGEST);
        let room = wanted.min(if wanted < LARGEST { OF_SHORT } else { LARGEST });
        if room < OF_SHORT {
            return Piece { bytes: BytesMut::with_capacity(room), size: room, room };
        }
        let mut bytes = self.free(room).unwrap_or_else(|| BytesMut::with_capacity(room + PAGE));
        begin_at_page(&mut bytes);
        Piece { bytes, size: room, room }
    }

    /// The memory of a kept piece of this size whose bytes nobody uses any more.
    fn free(&self, of: usize) -> Option<BytesMut> {
        let mut kept = lock(&self.0);
        // The oldest ones come first, and are the first that nobody uses.
        let place = kept.pieces.iter_mut().position(|(size, bytes)| *size == of && bytes.try_reclaim(of + PAGE))?;
        kept.pieces.remove(place).map(|(_, bytes)| bytes)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.0).pieces.is_empty()
    }

    /// Gives the memory back if none was kept for this long.
    pub fn give_back(&self, unused: Duration) {
        let mut kept = lock(&self.0);
        if kept.last.is_some_and(|last| last.elapsed() >= unused) {
            *kept = Kept::default();
        }
    }

    /// Keeps a piece, to use it again when its bytes are dropped.
    pub fn keep(&self, piece: Piece) {
        if piece.size < OF_SHORT {
            return;
        }
        let mut kept = lock(&self.0);
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
        assert_eq!(lock(&memory.0).pieces.len(), 1);
        let pieces: Vec<_> = (0..2 * KEPT).map(|_| memory.piece(OF_SHORT as u64)).collect();
        for piece in pieces {
            memory.keep(piece);
        }
        assert_eq!(lock(&memory.0).pieces.len(), KEPT);
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
