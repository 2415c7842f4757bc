//! A file of any length that takes no space: for tests of how much of a large file is read, here and in
//! `tests/bounds.rs`.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A file with a given start and then zeros. It counts the bytes that are read from it.
#[derive(Debug, Clone, Default)]
pub struct Zeros {
    pub start: Vec<u8>,
    pub length: u64,
    pub at: u64,
    pub read: Arc<AtomicU64>,
}

impl Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.start.get(usize::try_from(self.at).unwrap()..).unwrap_or_default();
        let count = start.chain(io::repeat(0)).take(self.length.saturating_sub(self.at)).read(buffer)?;
        self.at += count as u64;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Zeros {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => self.length.checked_add_signed(by).unwrap(),
            SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
        };
        Ok(self.at)
    }
}
