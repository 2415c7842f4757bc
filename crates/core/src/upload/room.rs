//! Memory for bytes in transit: a limit for all of it, and buffers that are used again. An allocator that serves blocks
//! of megabytes to many threads keeps about as much memory in reserve. `fetch` fills the buffers.

use std::ops::{Deref, DerefMut};
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
    spare: Arc<Mutex<Vec<PageBuffer>>>,
}

/// Room for some bytes. When it is dropped, another file may take the room and the buffer.
pub(super) struct Room {
    /// Present until the room is dropped.
    buffer: Option<PageBuffer>,
    length: usize,
    spare: Arc<Mutex<Vec<PageBuffer>>>,
    permit: Option<OwnedSemaphorePermit>,
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

    /// Waits until there is room for `bytes` bytes of a file, and returns as many bytes plus `around`. They may contain
    /// an earlier part.
    pub(super) async fn room(&self, bytes: u64, around: usize) -> Room {
        let wanted = Arc::clone(&self.budget).acquire_many_owned(self.permits_of(bytes)).await;
        // It is never closed.
        let permit = wanted.unwrap_or_else(|_| unreachable!("the budget is never closed"));
        let length = usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(around);
        let usual = usize::try_from(self.part).unwrap_or(usize::MAX).saturating_add(AROUND);
        let buffer = match length {
            0..SMALL => PageBuffer::new(length),
            _ if length > usual => PageBuffer::new(length),
            _ => {
                let spare = lock(&self.spare).pop();
                spare.unwrap_or_else(|| PageBuffer::new(usual))
            }
        };
        let spare = if buffer.len() == usual { Arc::clone(&self.spare) } else { Arc::default() };
        Room { buffer: Some(buffer), length, spare, permit: Some(permit) }
    }
}

impl Room {
    /// The bytes, which keep the room until the last of them is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Room {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buffer.as_deref().and_then(|buffer| buffer.get(..self.length)).unwrap_or_default()
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_deref_mut().and_then(|buffer| buffer.get_mut(..self.length)).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Room {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // The buffer is returned first: the next one with a permit finds it.
        lock(&self.spare).extend(self.buffer.take());
        self.permit.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: u64 = 1 << 20;

    #[tokio::test]
    async fn there_are_as_many_buffers_as_there_is_room_for_and_each_is_used_again() {
        let space = Space::new(3, PART);
        let mut places = std::collections::BTreeSet::new();
        for turn in 0..20u8 {
            let mut rooms = [space.room(PART, 0).await, space.room(PART / 2, 1024).await, space.room(PART, 7).await];
            assert!(space.budget.try_acquire().is_err(), "there is no room for more");
            for room in &mut rooms {
                room.fill(turn);
            }
            places.extend(rooms.iter().map(|room| room.as_ptr().addr()));
            let lengths: Vec<usize> = rooms.iter().map(|room| room.len()).collect();
            assert_eq!(lengths, [1 << 20, (1 << 19) + 1024, (1 << 20) + 7]);
        }
        assert_eq!(places.len(), 3, "no new buffer is made");
    }

    #[tokio::test]
    async fn bytes_keep_their_room_until_the_last_of_them_is_gone() {
        let space = Space::new(1, PART);
        let mut room = space.room(PART, 0).await;
        room.fill(1);
        let bytes = room.into_bytes();
        let last = bytes.slice(bytes.len() - 5..);
        drop(bytes);
        assert!(space.budget.try_acquire().is_err(), "five bytes are still in transit");
        assert_eq!(&last[..], [1; 5]);
        drop(last);
        assert!(space.budget.try_acquire().is_ok());
        // The twin: a file larger than all room gets all of it, and a small one gets a buffer of its own size.
        assert_eq!(space.room(9 * PART, 0).await.len(), 9 << 20);
        assert_eq!(space.room(10, 512).await.len(), 522);
        assert!(space.spare.lock().unwrap().len() == 1, "neither of them is kept");
    }
}
