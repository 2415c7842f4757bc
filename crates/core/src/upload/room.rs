//! Memory for bytes in transit: a limit for all of it, and buffers that are used again. An allocator that serves blocks
//! of megabytes to many threads keeps about as much memory in reserve. Chunks that keep no other memory stay where the
//! network has put them. `fetch` fills the rooms.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::mutex::lock;
use crate::platform::PageBuffer;

/// Blocks of fewer bytes are left to the allocator.
const SMALL: usize = 64 << 10;
/// The bytes that a layer may have around its file.
const AROUND: usize = 8 << 10;

/// The room that all files of a run share.
pub(crate) struct Space {
    budget: Arc<Semaphore>,
    permits: u32,
    /// The bytes of a part.
    part: u64,
    spare: Spare,
}

/// While it lives, no other bytes get the room.
type Permit = Arc<OwnedSemaphorePermit>;
type Spare = Arc<Mutex<Vec<PageBuffer>>>;

/// Room for the next bytes of a file.
pub(super) struct Room {
    /// For the chunks that are copied. Present from the first of them on.
    buffer: Option<Buffer>,
    /// The bytes that are not copied, and their places in the room.
    kept: Vec<(usize, Bytes)>,
    /// The bytes around the file. Then all bytes are copied, and come out as one piece.
    around: Option<(Bytes, Bytes)>,
    length: usize,
    came: usize,
    /// The length of the buffers that are used again.
    usual: usize,
    spare: Spare,
    permit: Permit,
}

/// A buffer that is used again.
struct Buffer {
    /// Present until it is dropped.
    memory: Option<PageBuffer>,
    /// Where it goes then; `None` if it has an unusual length.
    spare: Option<Spare>,
}

/// Bytes that keep their room.
struct Held<T> {
    /// Dropped first: the next one with a permit finds the buffer.
    bytes: T,
    _permit: Permit,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl Space {
    /// Room for `parts` parts of `part` bytes.
    pub fn new(parts: usize, part: u64) -> Self {
        let permits = u32::try_from(parts).unwrap_or(u32::MAX).clamp(1, 1024);
        Space { budget: Arc::new(Semaphore::new(permits as usize)), permits, part, spare: Arc::default() }
    }

    fn permits_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(self.part)).unwrap_or(u32::MAX).clamp(1, self.permits)
    }

    /// Waits until there is room for `bytes` bytes of a file.
    pub(super) async fn room(&self, bytes: u64) -> Room {
        let wanted = Arc::clone(&self.budget).acquire_many_owned(self.permits_of(bytes)).await;
        // It is never closed.
        let permit = wanted.unwrap_or_else(|_| unreachable!("the budget is never closed"));
        Room {
            buffer: None,
            kept: Vec::new(),
            around: None,
            length: usize::try_from(bytes).unwrap_or(usize::MAX),
            came: 0,
            usual: usize::try_from(self.part).unwrap_or(usize::MAX).saturating_add(AROUND),
            spare: Arc::clone(&self.spare),
            permit: Arc::new(permit),
        }
    }
}

impl Room {
    /// The same, but all its bytes come out as one piece, with these around them.
    pub fn around(self, head: Bytes, tail: Bytes) -> Self {
        Room { around: Some((head, tail)), ..self }
    }

    /// How many of the file's bytes have come.
    pub fn came(&self) -> usize {
        self.came
    }

    /// How many of the file's bytes it lacks.
    pub fn left(&self) -> usize {
        self.length - self.came
    }

    /// Adds the next bytes of the file, as they are or as a copy; `false` if that is more than there is room for.
    pub fn push(&mut self, chunk: Bytes, as_it_is: bool) -> bool {
        let n = chunk.len();
        if n > self.left() {
            return false;
        }
        if as_it_is && self.around.is_none() {
            self.kept.push((self.came, chunk));
        } else if let Some(place) = self.rest().get_mut(..n) {
            place.copy_from_slice(&chunk);
        } else {
            return false;
        }
        self.came += n;
        true
    }

    /// Fills an empty room; it stays empty if `with` says that it failed.
    pub fn fill(&mut self, with: impl FnOnce(&mut [u8]) -> bool) {
        if with(self.rest()) {
            self.came = self.length;
        } else {
            self.buffer = None;
        }
    }

    /// The memory for the bytes that it lacks.
    fn rest(&mut self) -> &mut [u8] {
        let (before, after) = self.around.as_ref().map_or((0, 0), |(head, tail)| (head.len(), tail.len()));
        let end = before.saturating_add(self.length);
        let (usual, spare) = (self.usual, &self.spare);
        let buffer = self.buffer.get_or_insert_with(|| Buffer::new(end.saturating_add(after), usual, spare));
        buffer.place(before + self.came..end)
    }

    /// The bytes that have come, in order. They keep the room until the last of them is dropped.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        if let Some((head, tail)) = self.around.take() {
            return vec![self.surrounded(&head, &tail)];
        }
        let copied = self.buffer.take().map(|buffer| held(buffer, &self.permit)).unwrap_or_default();
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (place, chunk) in std::mem::take(&mut self.kept) {
            pieces.extend((at < place).then(|| copied.slice(at..place)));
            at = place + chunk.len();
            pieces.push(held(chunk, &self.permit));
        }
        pieces.extend((at < self.came).then(|| copied.slice(at..self.came)));
        pieces
    }

    /// The bytes that have come, with these around them.
    fn surrounded(mut self, head: &Bytes, tail: &Bytes) -> Bytes {
        let end = head.len() + self.came;
        let whole = end + tail.len();
        let mut buffer = self.buffer.take().unwrap_or_else(|| Buffer::new(whole, self.usual, &self.spare));
        // It has room for both, as `rest` has made it.
        buffer.place(0..head.len()).copy_from_slice(head);
        buffer.place(end..whole).copy_from_slice(tail);
        held(buffer, &self.permit).slice(..whole)
    }
}

/// How many bytes these pieces have.
pub(super) fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// The bytes, which keep their room until they are dropped.
fn held(bytes: impl AsRef<[u8]> + Send + 'static, permit: &Permit) -> Bytes {
    Bytes::from_owner(Held { bytes, _permit: Arc::clone(permit) })
}

impl Buffer {
    fn new(length: usize, usual: usize, spare: &Spare) -> Self {
        if length < SMALL || length > usual {
            return Buffer { memory: Some(PageBuffer::new(length)), spare: None };
        }
        let used = lock(spare).pop();
        Buffer { memory: Some(used.unwrap_or_else(|| PageBuffer::new(usual))), spare: Some(Arc::clone(spare)) }
    }

    /// Some of its bytes; none if it has not all of them.
    fn place(&mut self, at: Range<usize>) -> &mut [u8] {
        self.memory.as_deref_mut().and_then(|memory| memory.get_mut(at)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.as_deref().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(spare) = &self.spare {
            lock(spare).extend(self.memory.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = 1 << 20;

    fn chunk(size: usize, content: u8) -> Bytes {
        vec![content; size].into()
    }

    #[tokio::test]
    async fn there_are_as_many_buffers_as_there_is_room_for_and_each_is_used_again() {
        let space = Space::new(3, PART);
        let mut places = std::collections::BTreeSet::new();
        for turn in 0..20u8 {
            let (head, tail) = (chunk(1000, turn), chunk(24, turn));
            let rooms = [
                space.room(PART).await,
                space.room(PART / 2).await.around(head, tail),
                space.room(PART).await.around(chunk(7, turn), Bytes::new()),
            ];
            assert!(space.budget.try_acquire().is_err(), "there is no room for more");
            let pieces = rooms.map(|mut room| {
                while room.left() > 0 {
                    assert!(room.push(chunk(room.left().min(500_000), turn), false));
                }
                room.into_pieces()
            });
            places.extend(pieces.iter().map(|pieces| pieces[0].as_ptr().addr()));
            let lengths = pieces.map(|pieces| pieces.iter().map(Bytes::len).collect::<Vec<_>>());
            assert_eq!(lengths, [[1 << 20], [(1 << 19) + 1024], [(1 << 20) + 7]]);
        }
        assert_eq!(places.len(), 3, "no new buffer is made");
    }

    #[tokio::test]
    async fn bytes_keep_their_room_until_the_last_of_them_is_gone() {
        let space = Space::new(1, PART);
        let mut room = space.room(PART).await;
        assert!(room.push(chunk(7, 1), true) && room.push(chunk(500_000, 2), false));
        let pieces = room.into_pieces();
        let last = pieces[1].slice(pieces[1].len() - 5..);
        drop(pieces);
        assert!(space.budget.try_acquire().is_err(), "five bytes are still in transit");
        assert_eq!(&last[..], [2; 5]);
        drop(last);
        assert!(space.budget.try_acquire().is_ok());
        // The twin: a file larger than all room gets all of it, and a small one gets a buffer of its own size.
        assert_eq!(space.room(9 * PART).await.rest().len(), 9 << 20);
        assert_eq!(space.room(10).await.rest().len(), 10);
        assert!(space.spare.lock().unwrap().len() == 1, "neither of them is kept");
    }

    #[tokio::test]
    async fn some_chunks_are_not_copied_and_all_come_out_in_order() {
        let space = Space::new(1, 4 * PART);
        let mut room = space.room(4 * PART).await;
        let chunks = [(3, false), (9, true), (10, true), (7, false), (8, false), (11, true)];
        let chunks = chunks.map(|(size, as_it_is)| (chunk(size.into(), size), as_it_is));
        for (chunk, as_it_is) in &chunks {
            assert!(room.push(chunk.clone(), *as_it_is));
        }
        assert!(!room.push(chunk(room.left() + 1, 9), true), "there is no room for that");
        assert_eq!(room.came(), 48);
        let pieces = room.into_pieces();
        assert_eq!(pieces.concat(), chunks.each_ref().map(|(chunk, _)| chunk.clone()).concat());
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 9, 10, 15, 11]);
        for (piece, chunk) in [(1, 1), (2, 2), (4, 5)] {
            assert_eq!(pieces[piece].as_ptr(), chunks[chunk].0.as_ptr());
        }
    }

    #[tokio::test]
    async fn bytes_with_others_around_them_are_one_piece() {
        let space = Space::new(1, PART);
        for sizes in [vec![], vec![5], vec![100_000, 1]] {
            let chunks: Vec<Bytes> = sizes.iter().map(|size| chunk(*size, 7)).collect();
            let room = space.room(chunks.concat().len() as u64).await;
            let mut room = room.around(Bytes::from_static(b"head"), Bytes::from_static(b"tail!"));
            for chunk in &chunks {
                assert!(room.push(chunk.clone(), true));
            }
            assert_eq!(room.into_pieces(), [[b"head", &chunks.concat()[..], b"tail!"].concat()]);
        }
    }
}
