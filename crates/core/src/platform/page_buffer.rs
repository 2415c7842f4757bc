//! Memory for large reads. The rooms above decide what is read.

use std::ops::{Deref, DerefMut};

use bytes::{Buf as _, BytesMut};

/// The bytes of a page, on nearly every system. On other systems reads only take longer.
pub(crate) const PAGE: usize = 4096;

/// Bytes that begin at a page. The system copies a file's pages three times more slowly to an address a few bytes after
/// the beginning of a page, and that is where the allocator puts large blocks.
#[derive(Debug)]
pub(crate) struct PageBuffer {
    /// Larger by one page, so that the beginning can move.
    memory: Vec<u8>,
    from: usize,
    length: usize,
}

impl PageBuffer {
    /// A buffer of this many zeros.
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length.saturating_add(PAGE)];
        // At most one page. Where addresses are not known, the buffer begins at the start of the memory.
        let from = memory.as_ptr().align_offset(PAGE);
        PageBuffer { memory, from: if from < PAGE { from } else { 0 }, length }
    }
}

impl Deref for PageBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.memory.get(self.from..self.from + self.length).unwrap_or_default()
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.from..self.from + self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for PageBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Moves the beginning of empty memory to a page. That takes up to `PAGE` bytes of its capacity.
pub(crate) fn begin_at_page(memory: &mut BytesMut) {
    let before = memory.as_ptr().align_offset(PAGE);
    if before < PAGE {
        memory.resize(before, 0);
        memory.advance(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_page_and_has_as_many_bytes_as_were_asked_for() {
        for length in [0, 1, 4095, 4096, 4097, 65_536, 1 << 20] {
            let mut buffer = PageBuffer::new(length);
            assert_eq!((buffer.len(), buffer.as_ref().len()), (length, length));
            assert_eq!(buffer.as_ptr().addr() % PAGE, 0);
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }
}
