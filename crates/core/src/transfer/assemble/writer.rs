//! From a connection to the file: blocks are handed to a thread that writes them and notes them in the journal.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::finish::kick;
use super::window::Block;
use crate::store::StoreError;
use crate::transfer::FetchError;
use crate::transfer::part::{Ended, Part};
use crate::transfer::schedule::Schedule;

/// Bytes of a part between two lines of the journal: what a crash can cost each connection.
const RECORD_EVERY: u64 = 1 << 20;
/// Blocks of a part between its connection and its writer.
const WAITING: usize = 2;

/// Hands blocks to a blocking thread that writes them while the next ones are being received.
pub(in crate::transfer) struct Writer<'a> {
    schedule: &'a Arc<Schedule>,
    part: &'a Arc<Part>,
    blocks: mpsc::Sender<Block>,
    thread: JoinHandle<Result<(), StoreError>>,
    pub block: Block,
}

impl<'a> Writer<'a> {
    pub fn new(schedule: &'a Arc<Schedule>, part: &'a Arc<Part>) -> Self {
        let (blocks, waiting) = mpsc::channel(WAITING);
        let (own, theirs) = (Arc::clone(schedule), Arc::clone(part));
        let thread = tokio::task::spawn_blocking(move || write_all(&own, &theirs, waiting));
        Writer { schedule, part, blocks, thread, block: Block::at(part.claim.range.start) }
    }

    /// Hands over what has come; `false` when the thread has met trouble.
    pub async fn flush(&mut self) -> bool {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        block.len == 0 || self.blocks.send(block).await.is_ok()
    }

    /// Waits until all is written and in the journal.
    pub async fn finish(mut self) -> Result<(), Ended> {
        // That the thread has met trouble is what it returns.
        let _ = self.flush().await;
        drop(self.blocks);
        if let Ok(written) = self.thread.await {
            return Ok(written?);
        }
        self.schedule.fatal(FetchError::Worker { path: self.part.open.work.entry.path.clone() });
        Err(Ended::Aside)
    }
}

/// Writes a part's blocks as they come, and notes them in the journal. Blocks.
fn write_all(schedule: &Arc<Schedule>, part: &Arc<Part>, mut blocks: mpsc::Receiver<Block>) -> Result<(), StoreError> {
    let work = &part.open.work;
    let mut recorded = part.claim.range.start;
    let mut written = recorded;
    let mut outcome = Ok(());
    while outcome.is_ok()
        && let Some(block) = blocks.blocking_recv()
    {
        let end = block.end();
        work.pace(&part.claim, &block);
        let length = block.len as u64;
        outcome = work.write(&part.claim, block, &*schedule.progress);
        if outcome.is_ok() {
            schedule.sources[0].retries().arrived(length);
            written = end;
            // Why this order: written, then hashed, then noted. The hash takes the block from memory while it is warm.
            // The journal names only bytes that are in the file: a kill in between costs a part of RECORD_EVERY bytes,
            // and a journal that ran ahead would cost the file.
            kick(schedule, &part.open);
            if written - recorded >= RECORD_EVERY {
                outcome = work.record(&part.claim, recorded..written);
                recorded = written;
            }
        }
    }
    // Whatever went wrong, what is written is worth knowing later.
    outcome.and(work.record(&part.claim, recorded..written))
}
