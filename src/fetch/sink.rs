//! The blocking half of a transfer: writes at the frontier, hashes, keeps the journal. It runs on
//! a blocking thread and is fed through a bounded channel.

use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;

use crate::progress::{Event, Progress};
use crate::repo::{Digest, Hasher};
use crate::store::{Partial, StoreError};

/// Bytes between two lines of the journal: what a crash can cost.
const RECORD_EVERY: u64 = 8 << 20;
/// Read buffer when bytes of an earlier run are hashed.
const READ_BUFFER: usize = 1 << 20;

/// A partial file with the hash of everything up to `at`.
pub(super) struct Sink {
    partial: Partial,
    hasher: Hasher,
    at: u64,
    recorded: u64,
}

impl Sink {
    /// Hashes what an earlier run left up to the frontier.
    pub fn resume(partial: Partial, progress: &dyn Progress) -> Self {
        let entry = partial.entry();
        let frontier = partial.ranges().frontier().min(entry.size);
        let mut hasher = entry.digest().hasher(entry.size);
        let mut buffer = vec![0; READ_BUFFER];
        let mut at = 0;
        let file = partial.file().clone();
        while at < frontier {
            let want = usize::try_from(frontier - at).unwrap_or(READ_BUFFER).min(READ_BUFFER);
            match file.read_at(&mut buffer[..want], at) {
                // The file is shorter than its journal: what is missing is fetched.
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    at += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Unreadable bytes are no loss that the network cannot mend.
                Err(_) => break,
            }
        }
        if at > 0 {
            progress.event(Event::FileStarted { path: &entry.path, size: entry.size, have: at });
        }
        Sink { partial, hasher, at, recorded: at }
    }

    /// How far the file is whole and hashed.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Writes and hashes whatever comes through the channel until it closes.
    pub fn drain(&mut self, from: &mut Receiver<Bytes>, progress: &dyn Progress) -> Result<(), StoreError> {
        let outcome = self.drain_inner(from, progress);
        // Also after an error: what was written is worth keeping.
        if self.at > self.recorded {
            self.partial.record(self.recorded..self.at)?;
            self.recorded = self.at;
        }
        outcome
    }

    fn drain_inner(&mut self, from: &mut Receiver<Bytes>, progress: &dyn Progress) -> Result<(), StoreError> {
        let path = self.partial.entry().path.clone();
        while let Some(bytes) = from.blocking_recv() {
            self.partial.write(self.at, &bytes)?;
            self.hasher.update(&bytes);
            self.at += bytes.len() as u64;
            if self.at - self.recorded >= RECORD_EVERY {
                self.partial.record(self.recorded..self.at)?;
                self.recorded = self.at;
            }
            progress.event(Event::FileBytes { path: &path, bytes: bytes.len() as u64 });
        }
        Ok(())
    }

    /// Starts the file again.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.partial.reset()?;
        let entry = self.partial.entry();
        self.hasher = entry.digest().hasher(entry.size);
        self.at = 0;
        self.recorded = 0;
        Ok(())
    }

    /// The digest of everything so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Gives the file its name.
    pub fn commit(self) -> Result<(), StoreError> {
        let digest = self.digest();
        self.partial.commit(digest).map(drop)
    }

    /// Keeps nothing.
    pub fn abandon(self) -> Result<(), StoreError> {
        self.partial.abandon()
    }
}
