//! From a connection to the file: blocks are handed to a thread that writes them and notes them in the journal.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::window::Block;
use super::{Claim, FileWork, Watcher};
use crate::store::StoreError;
use crate::transfer::FetchError;

/// Bytes of a part between two lines of the journal. A crash can cost each connection at most this many bytes.
const RECORD_EVERY: u64 = 1 << 20;
/// The most blocks of a part that wait between its connection and its writer.
const WAITING: usize = 2;

/// Hands blocks to a blocking thread that writes them while the next ones are being received.
pub(in crate::transfer) struct Writer<W> {
    watcher: Arc<W>,
    file: Arc<FileWork>,
    claim: Claim,
    /// It starts with the first block: a thread that waited for the first bytes would go to sleep and be woken.
    thread: Option<Thread>,
    pub block: Block,
}

struct Thread {
    blocks: mpsc::Sender<Block>,
    handle: JoinHandle<Result<(), StoreError>>,
}

impl<W: Watcher> Writer<W> {
    /// A writer for the bytes of `claim`.
    pub fn new(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim) -> Self {
        let (watcher, file, claim) = (Arc::clone(watcher), Arc::clone(file), claim.clone());
        Writer { watcher, file, block: Block::at(claim.range.start), claim, thread: None }
    }

    /// Hands over the blocks that have come; `false` if the thread had an error.
    pub async fn flush(&mut self) -> bool {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        if block.len == 0 {
            return true;
        }
        let thread = self.thread.get_or_insert_with(|| {
            let (blocks, waiting) = mpsc::channel(WAITING);
            let (watcher, file, claim) = (Arc::clone(&self.watcher), Arc::clone(&self.file), self.claim.clone());
            let handle = tokio::task::spawn_blocking(move || write_all(&watcher, &file, &claim, waiting));
            Thread { blocks, handle }
        });
        thread.blocks.send(block).await.is_ok()
    }

    /// Waits until all blocks are written and in the journal.
    pub async fn finish(mut self) -> Result<(), FetchError> {
        // The thread itself returns its error.
        let _ = self.flush().await;
        let Some(Thread { blocks, handle }) = self.thread else { return Ok(()) };
        drop(blocks);
        match handle.await {
            Ok(written) => Ok(written?),
            Err(_) => Err(FetchError::Worker { path: self.file.entry.path.clone() }),
        }
    }
}

/// Writes a part's blocks as they come, and notes them in the journal. Blocks.
fn write_all(
    watcher: &Arc<impl Watcher>,
    file: &Arc<FileWork>,
    claim: &Claim,
    mut blocks: mpsc::Receiver<Block>,
) -> Result<(), StoreError> {
    let mut recorded = claim.range.start;
    let mut written = recorded;
    let mut outcome = Ok(());
    while outcome.is_ok()
        && let Some(block) = blocks.blocking_recv()
    {
        let end = block.end();
        file.pace(claim, &block);
        let length = block.len as u64;
        outcome = file.write(claim, block, watcher.progress());
        if outcome.is_ok() {
            watcher.arrived(length);
            written = end;
            // Why this order: written, then hashed, then noted. The hash takes the block from memory while it is still
            // in the processor's cache. The journal names only bytes that are in the file: a kill in between costs at
            // most RECORD_EVERY bytes of a part, but a journal ahead of the file would cost the file.
            file.catch_up(watcher);
            if written - recorded >= RECORD_EVERY {
                outcome = file.record(claim, recorded..written);
                recorded = written;
            }
        }
    }
    // Even after an error, a later run can use the bytes that are written.
    outcome.and(file.record(claim, recorded..written))
}
