//! From a connection to the file: a part's blocks are written and noted in the journal by the thread that received them, while
//! they are in its processor's cache.

use std::sync::Arc;

use super::window::Block;
use super::{Claim, FileWork, Watcher};
use crate::store::StoreError;
use crate::transfer::FetchError;

/// Bytes of a part between two lines of the journal. A crash can cost each connection at most this many bytes.
const RECORD_EVERY: u64 = 1 << 20;

/// Writes a part's blocks as they come.
pub(in crate::transfer) struct Writer<W> {
    watcher: Arc<W>,
    file: Arc<FileWork>,
    claim: Claim,
    pub block: Block,
    /// The bytes before this are in the file.
    written: u64,
    /// The bytes before this are in the journal.
    recorded: u64,
}

impl<W: Watcher> Writer<W> {
    /// A writer for the bytes of `claim`.
    pub fn new(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim) -> Self {
        let (watcher, file, claim) = (Arc::clone(watcher), Arc::clone(file), claim.clone());
        let start = claim.range.start;
        Writer { watcher, file, claim, block: Block::at(start), written: start, recorded: start }
    }

    /// Writes the bytes that have come. Blocks the thread while the system takes them.
    pub async fn flush(&mut self) -> Result<(), FetchError> {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        if block.len == 0 {
            return Ok(());
        }
        let (end, length) = (block.end(), block.len as u64);
        self.file.pace(&self.claim, &block).await;
        {
            let _alone = self.file.writing.lock().await;
            self.file.write(&self.claim, block, self.watcher.progress())?;
        }
        self.watcher.arrived(length);
        self.written = end;
        // Why this order: written, then hashed, then noted. The hash takes the block from memory while it is still in the
        // processor's cache. The journal names only bytes that are in the file: a kill in between costs at most
        // RECORD_EVERY bytes of a part, but a journal ahead of the file would cost the file.
        self.file.catch_up(&self.watcher);
        if self.written - self.recorded >= RECORD_EVERY { self.record().await } else { Ok(()) }
    }

    /// Writes the rest, and notes all that is written, also after an error: a later run can use it.
    pub async fn finish(mut self) -> Result<(), FetchError> {
        let written = self.flush().await;
        written.and(self.record().await)
    }

    /// Notes in the journal what is written, and flushes the file when it is time.
    async fn record(&mut self) -> Result<(), FetchError> {
        let range = std::mem::replace(&mut self.recorded, self.written)..self.written;
        let Some(flush) = self.file.record(&self.claim, range)? else { return Ok(()) };
        // It takes seconds on a slow disk, and the thread has other connections.
        let file = Arc::clone(&self.file);
        let flushed: Result<Result<(), StoreError>, _> = tokio::task::spawn_blocking(move || file.flush(&flush)).await;
        match flushed {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(FetchError::Worker { path: self.file.entry.path.clone() }),
        }
    }
}

impl<W> Drop for Writer<W> {
    /// If the run is stopped, the next one can use what is written.
    fn drop(&mut self) {
        // Nobody is left who could hear of an error, and without the line these bytes are only fetched again.
        let _ = self.file.record(&self.claim, self.recorded..self.written);
    }
}
