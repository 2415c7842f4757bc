//! The thread of the floor that hashes: two files at once, as hfget does. The receivers tell it what came.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender};

use super::sha256::Stream;

/// How many files are hashed at once.
pub const COUNT: usize = 2;
/// Copies to memory that begins at a page are the fastest.
const PAGE: usize = 4096;

/// Memory that begins at a page, with bytes of a file.
pub struct Block {
    memory: Vec<u8>,
    /// The bytes that are not hashed yet, from the first page on.
    from: usize,
    to: usize,
}

impl Block {
    /// Memory for `size` bytes.
    pub fn new(size: usize) -> Self {
        Block { memory: vec![0; size + PAGE], from: 0, to: 0 }
    }

    /// The first `len` bytes, to be filled.
    pub fn first(&mut self, len: usize) -> &mut [u8] {
        (self.from, self.to) = (0, len);
        let page = self.page();
        &mut self.memory[page..page + len]
    }

    fn page(&self) -> usize {
        self.memory.as_ptr().align_offset(PAGE).min(PAGE)
    }

    fn left(&self) -> &[u8] {
        &self.memory[self.page() + self.from..self.page() + self.to]
    }
}

/// What a receiver tells the hasher.
pub enum News {
    /// A file begins. Used blocks go back to `used`, and its SHA-256 to `digest`.
    Begins { lane: usize, used: Sender<Block>, digest: Sender<[u8; 32]> },
    /// Its next bytes came.
    Came { lane: usize, block: Block },
    /// It had no more.
    Ends { lane: usize },
}

struct Lane {
    stream: Stream,
    blocks: VecDeque<Block>,
    ended: bool,
    used: Sender<Block>,
    digest: Sender<[u8; 32]>,
}

impl Lane {
    /// Notes that the next `n` bytes are hashed.
    fn advance(&mut self, n: usize) {
        let Some(block) = self.blocks.front_mut() else { return };
        block.from += n;
        if block.from == block.to
            && let Some(block) = self.blocks.pop_front()
        {
            // The receiver may have ended.
            let _ = self.used.send(block);
        }
    }

    fn hash_one(&mut self) {
        let Some(block) = self.blocks.front() else { return };
        let left = block.left();
        let n = left.len();
        self.stream.update(left);
        self.advance(n);
    }
}

/// Hashes what the receivers get, until all have ended.
pub fn hash(news: Receiver<News>) {
    let mut lanes: [Option<Lane>; COUNT] = [None, None];
    for news in news {
        match news {
            News::Begins { lane, used, digest } => {
                let (stream, blocks) = (Stream::new(), VecDeque::new());
                lanes[lane] = Some(Lane { stream, blocks, ended: false, used, digest });
            }
            News::Came { lane, block } => {
                if let Some(lane) = &mut lanes[lane] {
                    lane.blocks.push_back(block);
                }
            }
            News::Ends { lane } => {
                if let Some(lane) = &mut lanes[lane] {
                    lane.ended = true;
                }
            }
        }
        while step(&mut lanes) {}
        for lane in &mut lanes {
            if let Some(lane) = lane.take_if(|lane| lane.ended && lane.blocks.is_empty()) {
                let _ = lane.digest.send(lane.stream.finish());
            }
        }
    }
}

/// Hashes some bytes; `false` if one of the lanes must get more before.
fn step(lanes: &mut [Option<Lane>; COUNT]) -> bool {
    match lanes {
        [Some(a), Some(b)] if !(a.ended && a.blocks.is_empty() || b.ended && b.blocks.is_empty()) => {
            let (Some(of_a), Some(of_b)) = (a.blocks.front(), b.blocks.front()) else { return false };
            let n = of_a.left().len().min(of_b.left().len());
            Stream::update_two(&mut a.stream, &of_a.left()[..n], &mut b.stream, &of_b.left()[..n]);
            a.advance(n);
            b.advance(n);
            true
        }
        _ => match lanes.iter_mut().flatten().find(|lane| !lane.blocks.is_empty()) {
            Some(lane) => {
                lane.hash_one();
                true
            }
            None => false,
        },
    }
}
