//! A file beside another one at a thread of the desk: its hasher, and the bytes that come next. `desk` decides who sits where.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};

use super::desk::Desk;
use super::{Ahead, Feed, Next, Part};
use crate::model::{Hashed, Hasher};

/// A file that is hashed alone gets at most this many bytes between two looks for another file.
const STEP: usize = 256 << 10;

/// A file whose hasher a thread has, with the bytes that come next.
pub(super) struct Seat<F: Feed> {
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
        self.desk.is_left();
        if std::thread::panicking() {
            self.file.lost();
        }
    }
}

/// A file after a look for more bytes. Lives for a moment, so its size does not matter.
#[allow(clippy::large_enum_variant)]
pub(super) enum Fill<F: Feed> {
    /// There are bytes to hash.
    Ready(Seat<F>),
    Nothing,
    Whole(Hashed),
}

impl<F: Feed> Seat<F> {
    /// A seat that the desk has counted.
    pub fn new(desk: Arc<Desk<F>>, file: Arc<F>, hasher: Hasher) -> Self {
        let (bytes, more) = (Bytes::new(), Vec::new().into_iter());
        Seat { taken: Taken { desk, file }, hasher, bytes, more, part: None, scratch: BytesMut::new() }
    }

    pub fn file(&self) -> &Arc<F> {
        &self.taken.file
    }

    /// Gives the hasher back. All bytes that were taken are hashed.
    pub fn leave(self) {
        self.taken.file.give_back(self.hasher);
    }

    /// Whether all bytes that were taken are hashed.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.more.len() == 0
    }

    /// Where the next bytes to hash are.
    pub fn ahead(&self) -> Ahead {
        if self.is_empty() { self.taken.file.ahead() } else { Ahead::Memory }
    }

    /// Looks for the next bytes, if all are hashed. Blocks.
    pub fn fill(mut self) -> Fill<F> {
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
    pub fn advance_alone(&mut self) {
        self.advance(self.bytes.len().min(STEP));
    }

    /// Hashes the next bytes of two files, as many of each.
    pub fn advance_two(a: &mut Seat<F>, b: &mut Seat<F>) {
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
