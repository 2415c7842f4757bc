//! From a connection to the file: a part's blocks are written and noted in the journal by the thread that received them, while
//! they are in its processor's cache.

use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};

use super::window::Block;
use super::{Claim, FileWork, Watcher};
use crate::store::StoreError;
use crate::transfer::FetchError;

/// Bytes of a part between two lines of the journal. A crash can cost each connection at most this many bytes.
const RECORD_EVERY: u64 = 1 << 20;

/// Writes a part's blocks as they come.
pub(in crate::transfer) struct Writer<W: Watcher> {
    watcher: Arc<W>,
    file: Arc<FileWork>,
    claim: Claim,
    pub block: Block,
    /// Whether another thread writes each block while the next one is received.
    aside: bool,
    /// The write that another thread does.
    writing: Option<JoinHandle<Result<u64, StoreError>>>,
    /// The bytes before this are in the file.
    written: u64,
    /// The bytes before this are in the journal.
    recorded: u64,
}

impl<W: Watcher> Writer<W> {
    /// A writer for the bytes of `claim`. `alone` says that they come in the only stream of their file: then no other
    /// connection uses the time of a write to receive.
    pub fn new(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim, alone: bool) -> Self {
        let (watcher, file, claim) = (Arc::clone(watcher), Arc::clone(file), claim.clone());
        let start = claim.range.start;
        let block = Block::at(start);
        Writer { watcher, file, claim, block, aside: alone, writing: None, written: start, recorded: start }
    }

    /// Writes the bytes that have come. Blocks the thread while the system takes them, unless they come alone.
    pub async fn flush(&mut self) -> Result<(), FetchError> {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        if block.len == 0 {
            return Ok(());
        }
        self.file.pace(&self.claim, &block).await;
        if self.aside {
            self.settle().await?;
            let (watcher, file, claim) = (Arc::clone(&self.watcher), Arc::clone(&self.file), self.claim.clone());
            self.writing = Some(spawn_blocking(move || write(&watcher, &file, &claim, block)));
            return Ok(());
        }
        let end = {
            let _alone = self.file.writing.lock().await;
            write(&self.watcher, &self.file, &self.claim, block)?
        };
        self.wrote(end).await
    }

    /// Writes the rest, and notes all that is written, also after an error: a later run can use it.
    pub async fn finish(mut self) -> Result<(), FetchError> {
        let flushed = self.flush().await;
        let settled = self.settle().await;
        flushed.and(settled).and(self.record().await)
    }

    /// Waits for the write that another thread does.
    async fn settle(&mut self) -> Result<(), FetchError> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        match writing.await {
            Ok(end) => self.wrote(end?).await,
            Err(_) => Err(self.broken()),
        }
    }

    async fn wrote(&mut self, end: u64) -> Result<(), FetchError> {
        self.written = end;
        if self.written - self.recorded >= RECORD_EVERY { self.record().await } else { Ok(()) }
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

impl<W: Watcher> Drop for Writer<W> {
    /// If the run is stopped, the next one can use what is written.
    fn drop(&mut self) {
        // Nobody is left who could hear of an error, and without the line these bytes are only fetched again.
        let _ = self.file.record(&self.claim, self.recorded..self.written);
    }
}
