//! A place in a file of known length: reads that never pass an end, and skips that cost nothing. Each
//! format's reader decides what the bytes mean.

use std::io::{BufRead as _, BufReader, Read, Seek, SeekFrom};

/// Bytes of the read buffer; most headers are read in one go.
const BUFFER: usize = 64 << 10;

/// Reads forward from a place, and jumps.
pub(super) struct Positioned<R> {
    inner: BufReader<R>,
    at: u64,
    /// Nothing is read at or after this.
    pub end: u64,
}

impl<R: Read + Seek> Positioned<R> {
    /// `file` is at its start and has `length` bytes.
    pub fn new(file: R, length: u64) -> Self {
        // Messages in memory are many and small, so their buffers must be small too.
        let capacity = usize::try_from(length).unwrap_or(BUFFER).clamp(1, BUFFER);
        Positioned { inner: BufReader::with_capacity(capacity, file), at: 0, end: length }
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// Checks that `bytes` more bytes are there.
    pub fn room(&self, bytes: u64) -> Result<(), String> {
        if bytes <= self.left() {
            return Ok(());
        }
        Err(format!(
            "{bytes} bytes are needed at {}, and it ends at {}: it is cut short or wrong",
            self.at,
            self.end.max(self.at)
        ))
    }

    fn unread(&self, error: &std::io::Error) -> String {
        format!("it cannot be read at {}: {error}", self.at)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.room(bytes.len() as u64)?;
        self.inner.read_exact(bytes).map_err(|e| self.unread(&e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8, String> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    /// Reads `length` bytes, which the caller knows to be few; checks that they are there before it takes memory.
    pub fn few(&mut self, length: u64) -> Result<Vec<u8>, String> {
        self.room(length)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|e| e.to_string())?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Gives everything before `end` to `each`, piece by piece.
    pub fn scan(&mut self, end: u64, each: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        self.room(end.saturating_sub(self.at))?;
        while self.at < end {
            let buffer = self.inner.fill_buf().map_err(|e| format!("it cannot be read at {}: {e}", self.at))?;
            let some = buffer.len().min(usize::try_from(end - self.at).unwrap_or(usize::MAX));
            if some == 0 {
                return Err(format!("it ends at {}", self.at));
            }
            each(&buffer[..some]);
            self.inner.consume(some);
            self.at += some as u64;
        }
        Ok(())
    }

    pub fn skip(&mut self, bytes: u64) -> Result<(), String> {
        self.room(bytes)?;
        self.to(self.at + bytes)
    }

    /// Goes to a place, forward or back; nothing can be read after the end.
    pub fn to(&mut self, at: u64) -> Result<(), String> {
        let by = i128::from(at) - i128::from(self.at);
        let moved = match i64::try_from(by) {
            Ok(by) => self.inner.seek_relative(by),
            Err(_) => self.inner.seek(SeekFrom::Start(at)).map(drop),
        };
        moved.map_err(|e| format!("it cannot be read at {at}: {e}"))?;
        self.at = at;
        Ok(())
    }
}
