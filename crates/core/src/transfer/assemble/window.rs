//! Blocks that wait in memory for the hasher, so that it need not read them back from disk. There
//! is no hashing and no file here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The most bytes of blocks that wait in memory, for all files together.
const KEPT: usize = 40 << 20;
/// A block further ahead of the hasher than this is not kept.
pub(in crate::transfer) const AHEAD: u64 = 40 << 20;
/// With this many bytes in memory, the hasher gets more before it runs out.
const PLENTY: usize = 4 << 20;
/// A hasher this far behind is working on the bytes that an earlier run has left.
pub(super) const FAR: u64 = 256 << 20;

/// Consecutive bytes in the pieces in which they came from the network, without a copy.
#[derive(Debug, Default)]
pub(in crate::transfer) struct Block {
    pub start: u64,
    pub pieces: Vec<Bytes>,
    pub len: usize,
}

impl Block {
    pub fn at(start: u64) -> Self {
        Block { start, ..Block::default() }
    }

    pub fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.pieces.push(bytes);
    }

    pub fn end(&self) -> u64 {
        self.start + self.len as u64
    }
}

/// Memory for blocks that wait, shared by all files.
#[derive(Debug)]
pub(in crate::transfer) struct Budget(AtomicUsize);

impl Default for Budget {
    fn default() -> Self {
        Budget(AtomicUsize::new(KEPT))
    }
}

impl Budget {
    fn take(&self, n: usize) -> bool {
        let less = |left: usize| left.checked_sub(n);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give(&self, n: usize) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// One file's blocks from the hash frontier on, as far as the memory allows.
#[derive(Debug)]
pub(super) struct Window {
    budget: Arc<Budget>,
    blocks: BTreeMap<u64, Block>,
    bytes: usize,
}

impl Window {
    pub fn new(budget: Arc<Budget>) -> Self {
        Window { budget, blocks: BTreeMap::new(), bytes: 0 }
    }

    /// Keeps a block, unless the hasher at `hashed` is past it or far from it, or memory is short.
    pub fn keep(&mut self, block: Block, hashed: u64) {
        if is_near(&block, hashed) && block.len > 0 && self.budget.take(block.len) {
            self.bytes += block.len;
            self.blocks.insert(block.start, block);
        }
    }

    /// Whether the writer should let the hasher catch up before `block` is written: the bytes from
    /// `hashed` to `whole` can be hashed, which is nearly everything before the block, and memory
    /// would not keep the block. A hasher that is very far behind reads the bytes of an earlier run,
    /// and no writer waits for that.
    pub fn is_behind(&self, block: &Block, hashed: u64, whole: u64) -> bool {
        let crowded = self.bytes >= PLENTY && self.budget.0.load(Ordering::Relaxed) < block.len;
        block.start > hashed
            && block.start - hashed <= FAR
            && block.start <= whole.saturating_add(AHEAD)
            && (crowded || !is_near(block, hashed))
    }

    /// Whether there is no memory for what several connections hand on at once.
    pub fn is_tight(&self) -> bool {
        self.budget.0.load(Ordering::Relaxed) < 2 * PLENTY
    }

    /// Whether writers that wait for the hasher should continue, so that it does not run out of bytes.
    pub fn has_room(&self) -> bool {
        self.bytes <= PLENTY
    }

    /// Takes the block that starts at `at`; drops the blocks before it.
    pub fn take(&mut self, at: u64) -> Option<Block> {
        while let Some(first) = self.blocks.first_entry().filter(|first| *first.key() <= at) {
            let block = first.remove();
            self.bytes -= block.len;
            self.budget.give(block.len);
            if block.start == at {
                return Some(block);
            }
        }
        None
    }

    /// Whether a block starts there.
    pub fn has(&self, at: u64) -> bool {
        self.blocks.contains_key(&at)
    }

    /// Where the first block starts.
    pub fn first(&self) -> Option<u64> {
        self.blocks.keys().next().copied()
    }

    /// Drops all blocks.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.budget.give(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.clear();
    }
}

fn is_near(block: &Block, hashed: u64) -> bool {
    block.start >= hashed && block.end() <= hashed.saturating_add(AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(start: u64, len: usize) -> Block {
        let mut block = Block::at(start);
        block.push(Bytes::from(vec![0; len]));
        block
    }

    #[test]
    fn blocks_come_out_in_order_however_they_came_in() {
        let mut window = Window::new(Arc::default());
        for start in [20, 0, 10] {
            window.keep(block(start, 10), 0);
        }
        assert_eq!(window.first(), Some(0));
        assert_eq!(window.take(0).map(|b| b.end()), Some(10));
        assert_eq!(window.take(10).map(|b| b.end()), Some(20));
        assert!(window.take(25).is_none(), "a block that starts before is of no use");
        assert_eq!(window.first(), None);
    }

    #[test]
    fn memory_is_bounded_over_all_files_and_comes_back() {
        let budget = Arc::new(Budget::default());
        let mut windows = [Window::new(Arc::clone(&budget)), Window::new(Arc::clone(&budget))];
        let half = 4 << 20;
        for i in 0..5u64 {
            for window in &mut windows {
                window.keep(block(i * half as u64, half), 0);
            }
        }
        let kept: usize = windows.iter().map(|w| w.bytes).sum();
        assert!(kept <= KEPT && kept > KEPT / 2, "{kept}");
        let [mut first, second] = windows;
        assert!(first.is_behind(&block(1, half), 0, 1));
        assert!(!Window::new(Arc::clone(&budget)).is_behind(&block(1, half), 0, 1), "nothing of its own would drain");
        drop(second);
        first.clear();
        assert_eq!(budget.0.load(Ordering::Relaxed), KEPT);
    }

    #[test]
    fn only_a_writer_just_ahead_of_the_hasher_waits_for_it() {
        let window = Window::new(Arc::default());
        let ahead = block(AHEAD + 1, 10);
        assert!(window.is_behind(&ahead, 0, AHEAD));
        assert!(!window.is_behind(&ahead, 0, 0), "a gap is what the hasher would wait for");
        assert!(!window.is_behind(&block(5, 10), 0, 5), "it is kept");
        assert!(!window.is_behind(&block(FAR + 1, 10), 0, FAR + 1), "an earlier run left that much");
    }

    #[test]
    fn blocks_behind_or_far_ahead_of_the_hasher_are_not_kept() {
        let mut window = Window::new(Arc::default());
        window.keep(block(5, 10), 6);
        window.keep(block(AHEAD + 1, 10), 6);
        assert_eq!(window.first(), None);
        window.keep(block(6, 10), 6);
        assert_eq!(window.first(), Some(6));
    }
}
