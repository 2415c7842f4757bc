//! From a connection to the file: a part's blocks are written and noted in the journal by the thread that received them, while
//! they are in its processor's cache. A stream that comes alone has a thread that writes its blocks.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::window::Block;
use super::{Claim, FileWork, Watcher};
use crate::store::StoreError;
use crate::transfer::FetchError;

/// Bytes of a part between two lines of the journal. A crash can cost each connection at most this many bytes.
const RECORD_EVERY: u64 = 1 << 20;
/// The most blocks that wait between a stream that comes alone and its thread.
const WAITING: usize = 2;

/// Writes a part's blocks as they come.
pub(in crate::transfer) struct Writer<W: Watcher> {
    watcher: Arc<W>,
    file: Arc<FileWork>,
    claim: Claim,
    pub block: Block,
    /// Whether the bytes come in the only stream of their file. Then no other connection receives during a write, so a thread
    /// writes each block while the next one is received.
    alone: bool,
    /// It starts with the first block.
    thread: Option<Thread>,
    /// The bytes before this are in the file.
    written: u64,
    /// The bytes before this are in the journal.
    recorded: u64,
}

struct Thread {
    blocks: mpsc::Sender<Block>,
    handle: JoinHandle<Result<(), StoreError>>,
}

impl<W: Watcher> Writer<W> {
    /// A writer for the bytes of `claim`. `alone` says that they come in the only stream of their file.
    pub fn new(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim, alone: bool) -> Self {
        let (watcher, file, claim) = (Arc::clone(watcher), Arc::clone(file), claim.clone());
        let start = claim.range.start;
        let block = Block::at(start);
        Writer { watcher, file, claim, block, alone, thread: None, written: start, recorded: start }
    }

    /// Writes the bytes that have come. Blocks the thread while the system takes them, unless they come alone.
    pub async fn flush(&mut self) -> Result<(), FetchError> {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        if block.len == 0 {
            return Ok(());
        }
        self.file.pace(&self.claim, &block).await;
        if self.alone {
            return self.hand_over(block).await;
        }
        self.written = {
            let _alone = self.file.writing.lock().await;
            write(&self.watcher, &self.file, &self.claim, block)?
        };
        if self.written - self.recorded >= RECORD_EVERY { self.record().await } else { Ok(()) }
    }

    /// Writes the rest, and notes all that is written, also after an error: a later run can use it.
    pub async fn finish(mut self) -> Result<(), FetchError> {
        let flushed = self.flush().await;
        let ended = self.end_thread().await;
        flushed.and(ended).and(self.record().await)
    }

    /// Gives a block to the thread.
    async fn hand_over(&mut self, block: Block) -> Result<(), FetchError> {
        let thread = self.thread.get_or_insert_with(|| {
            let (blocks, waiting) = mpsc::channel(WAITING);
            let (watcher, file, claim) = (Arc::clone(&self.watcher), Arc::clone(&self.file), self.claim.clone());
            Thread { blocks, handle: spawn_blocking(move || write_all(&watcher, &file, &claim, waiting)) }
        });
        // A thread that takes no more blocks has ended with an error.
        if thread.blocks.send(block).await.is_ok() { Ok(()) } else { self.end_thread().await }
    }

    /// Waits until the thread has written its blocks and noted them.
    async fn end_thread(&mut self) -> Result<(), FetchError> {
        let Some(Thread { blocks, handle }) = self.thread.take() else { return Ok(()) };
        drop(blocks);
        match handle.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(self.broken()),
        }
    }

    /// Notes in the journal what is written, and flushes the file when it is time.
    async fn record(&mut self) -> Result<(), FetchError> {
        let range = std::mem::replace(&mut self.recorded, self.written)..self.written;
        let Some(flush) = self.file.record(&self.claim, range)? else { return Ok(()) };
        // It takes seconds on a slow disk, and the thread has other connections.
        let file = Arc::clone(&self.file);
        match spawn_blocking(move || file.flush(&flush)).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(self.broken()),
        }
    }

    fn broken(&self) -> FetchError {
        FetchError::Worker { path: self.file.entry.path.clone() }
    }
}

/// Writes a block, and lets the hasher have it; returns where it ends. Blocks.
fn write<W: Watcher>(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim, block: Block) -> Result<u64, StoreError> {
    let (end, length) = (block.end(), block.len as u64);
    file.write(claim, block, watcher.progress())?;
    watcher.arrived(length);
    // Why this order: written, then hashed, and noted later. The hash takes the block from memory while it is still in the
    // processor's cache. The journal names only bytes that are in the file: a kill in between costs at most RECORD_EVERY bytes
    // of a part, but a journal ahead of the file would cost the file.
    file.catch_up(watcher);
    Ok(end)
}

/// Writes blocks as they come, and notes them in the journal. Blocks.
fn write_all<W: Watcher>(
    watcher: &Arc<W>,
    file: &Arc<FileWork>,
    claim: &Claim,
    mut blocks: mpsc::Receiver<Block>,
) -> Result<(), StoreError> {
    let (mut recorded, mut written) = (claim.range.start, claim.range.start);
    let note = |range| match file.record(claim, range)? {
        Some(flush) => file.flush(&flush),
        None => Ok(()),
    };
    let mut outcome = Ok(());
    while outcome.is_ok()
        && let Some(block) = blocks.blocking_recv()
    {
        outcome = write(watcher, file, claim, block).and_then(|end| {
            written = end;
            if written - recorded < RECORD_EVERY {
                return Ok(());
            }
            note(std::mem::replace(&mut recorded, end)..end)
        });
    }
    // Even after an error, a later run can use the bytes that are written.
    outcome.and(note(recorded..written))
}

impl<W: Watcher> Drop for Writer<W> {
    /// If the run is stopped, the next one can use what is written.
    fn drop(&mut self) {
        // Nobody is left who could hear of an error, and without the line these bytes are only fetched again.
        let _ = self.file.record(&self.claim, self.recorded..self.written);
    }
}
