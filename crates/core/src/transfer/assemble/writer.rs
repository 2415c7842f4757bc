//! From a connection to the file: a part's blocks are written and noted in the journal by the thread that received them, while
//! they are in its processor's cache. A stream that comes alone has a thread that writes its blocks.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::window::Block;
use super::{Claim, FileWork, Watcher};
use crate::store::{Flush, StoreError};
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
    hand: Hand<W>,
}

/// Who writes the blocks.
enum Hand<W: Watcher> {
    /// The thread that receives them.
    Own(Pen<W>),
    /// Another thread, which starts with the first block: the bytes come in the only stream of their file, so no other connection
    /// receives during a write.
    Aside(Option<Thread>),
}

struct Thread {
    blocks: mpsc::Sender<Block>,
    handle: JoinHandle<Result<(), StoreError>>,
}

impl<W: Watcher> Writer<W> {
    /// A writer for the bytes of `claim`. `alone` says that they come in the only stream of their file.
    pub fn new(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim, alone: bool) -> Self {
        let (watcher, file, claim) = (Arc::clone(watcher), Arc::clone(file), claim.clone());
        let hand = if alone { Hand::Aside(None) } else { Hand::Own(Pen::new(&watcher, &file, &claim)) };
        Writer { block: Block::at(claim.range.start), watcher, file, claim, hand }
    }

    /// Writes the bytes that have come. Blocks the thread while the system takes them, unless they come alone.
    pub async fn flush(&mut self) -> Result<(), FetchError> {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        if block.len == 0 {
            return Ok(());
        }
        self.file.pace(&self.claim, &block).await;
        let pen = match &mut self.hand {
            Hand::Own(pen) => pen,
            Hand::Aside(thread) => {
                let thread = thread.get_or_insert_with(|| {
                    let (blocks, waiting) = mpsc::channel(WAITING);
                    let pen = Pen::new(&self.watcher, &self.file, &self.claim);
                    Thread { blocks, handle: spawn_blocking(move || pen.write_all(waiting)) }
                });
                let taken = thread.blocks.send(block).await.is_ok();
                // A thread that takes no more blocks has ended with an error.
                return if taken { Ok(()) } else { self.end().await };
            }
        };
        {
            let _alone = self.file.writing.lock().await;
            pen.write(block)?;
        }
        // Another connection may write meanwhile.
        self.file.catch_up_here();
        let due = pen.note_in_time()?;
        self.run(due).await
    }

    /// Writes the rest, and notes all that is written, also after an error: a later run can use it.
    pub async fn finish(mut self) -> Result<(), FetchError> {
        let flushed = self.flush().await;
        flushed.and(self.end().await)
    }

    /// Notes the rest, or waits until the thread has written and noted it.
    async fn end(&mut self) -> Result<(), FetchError> {
        match &mut self.hand {
            Hand::Own(pen) => {
                let due = pen.note()?;
                self.run(due).await
            }
            Hand::Aside(thread) => {
                let Some(Thread { blocks, handle }) = thread.take() else { return Ok(()) };
                drop(blocks);
                self.ended(handle).await
            }
        }
    }

    /// Flushes the file on another thread: that takes seconds on a slow disk, and this one has other connections.
    async fn run(&self, due: Option<Flush>) -> Result<(), FetchError> {
        let Some(flush) = due else { return Ok(()) };
        let file = Arc::clone(&self.file);
        self.ended(spawn_blocking(move || file.flush(&flush))).await
    }

    async fn ended(&self, work: JoinHandle<Result<(), StoreError>>) -> Result<(), FetchError> {
        match work.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(FetchError::Worker { path: self.file.entry.path.clone() }),
        }
    }
}

/// Writes blocks of a part in order, and notes them in the journal. Blocks.
struct Pen<W: Watcher> {
    watcher: Arc<W>,
    file: Arc<FileWork>,
    claim: Claim,
    /// The bytes before this are in the file.
    written: u64,
    /// The bytes before this are in the journal.
    recorded: u64,
}

impl<W: Watcher> Pen<W> {
    fn new(watcher: &Arc<W>, file: &Arc<FileWork>, claim: &Claim) -> Self {
        let (watcher, file, claim) = (Arc::clone(watcher), Arc::clone(file), claim.clone());
        let start = claim.range.start;
        Pen { watcher, file, claim, written: start, recorded: start }
    }

    /// Writes a block, which can be hashed then.
    ///
    /// Why this order: written, then hashed, then noted. The hash takes the block from memory while it is still in the
    /// processor's cache. The journal names only bytes that are in the file: a kill in between costs at most `RECORD_EVERY`
    /// bytes of a part, but a journal ahead of the file would cost the file.
    fn write(&mut self, block: Block) -> Result<(), StoreError> {
        let (end, length) = (block.end(), block.len as u64);
        self.file.write(&self.claim, block, self.watcher.progress())?;
        self.watcher.arrived(length);
        self.written = end;
        Ok(())
    }

    /// Notes what is written, if it is much. Returns the flush that is due now.
    fn note_in_time(&mut self) -> Result<Option<Flush>, StoreError> {
        if self.written - self.recorded >= RECORD_EVERY { self.note() } else { Ok(None) }
    }

    /// Notes what is written. Returns the flush that is due now.
    fn note(&mut self) -> Result<Option<Flush>, StoreError> {
        let range = std::mem::replace(&mut self.recorded, self.written)..self.written;
        self.file.record(&self.claim, range)
    }

    /// Writes, notes and flushes blocks as they come, until there are no more.
    fn write_all(mut self, mut blocks: mpsc::Receiver<Block>) -> Result<(), StoreError> {
        let flush = |file: &FileWork, due: Option<Flush>| due.map_or(Ok(()), |due| file.flush(&due));
        while let Some(block) = blocks.blocking_recv() {
            self.write(block)?;
            self.file.catch_up();
            let due = self.note_in_time()?;
            flush(&self.file, due)?;
        }
        let due = self.note()?;
        flush(&self.file, due)
    }
}

impl<W: Watcher> Drop for Pen<W> {
    /// After an error, or if the run is stopped, the next run can use what is written.
    fn drop(&mut self) {
        // Nobody is left who could hear of an error, and without the line these bytes are only fetched again.
        let _ = self.note();
    }
}
