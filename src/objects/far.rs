//! An object as a file that can be read at any place: for the checks, which know of no network.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{ObjectError, Objects};
use crate::verify::{Far, ReadSeek};

/// Bytes asked for at first: most headers fit.
const FIRST: u64 = 256 << 10;
/// Bytes asked for at once when all of it is read.
const MOST: u64 = 8 << 20;
/// Bytes that are kept: an archive's directory and its first record are far apart.
const KEPT: usize = 16 << 20;

/// An object of known size.
pub(crate) struct FarObject {
    objects: Arc<Objects>,
    key: String,
    /// `None`: it is not there.
    size: Option<u64>,
    runtime: Handle,
}

impl FarObject {
    /// For use on blocking threads; made within a runtime.
    pub fn new(objects: Arc<Objects>, key: String, size: Option<u64>) -> Self {
        FarObject { objects, key, size, runtime: Handle::current() }
    }
}

impl fmt::Debug for FarObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FarObject({}, {:?})", self.key, self.size)
    }
}

impl Far for FarObject {
    fn size(&self) -> io::Result<u64> {
        self.size.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(Reader {
            objects: Arc::clone(&self.objects),
            key: self.key.clone(),
            size: self.size()?,
            runtime: self.runtime.clone(),
            at: 0,
            blocks: Vec::new(),
            ahead: None,
        }))
    }
}

/// A block on its way.
struct Ahead {
    range: Range<u64>,
    task: JoinHandle<Result<Bytes, ObjectError>>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Reader {
    objects: Arc<Objects>,
    key: String,
    size: u64,
    runtime: Handle,
    at: u64,
    /// Oldest first.
    blocks: Vec<(u64, Bytes)>,
    ahead: Option<Ahead>,
}

impl Reader {
    /// The block that starts where reading is.
    fn block(&mut self, room: usize) -> io::Result<Bytes> {
        let fail = |objects: &Objects, error: ObjectError| {
            objects.note(&error);
            error.into_io()
        };
        let last = self.blocks.last().map(|(start, bytes)| (start + bytes.len() as u64, bytes.len() as u64));
        // Read on and on: ask for more each time, and for the next before it is needed.
        let on = last.is_some_and(|(end, _)| end == self.at);
        let bytes = match self.ahead.take() {
            Some(mut ahead) if ahead.range.start == self.at => {
                let done = self.runtime.block_on(&mut ahead.task).map_err(io::Error::other)?;
                done.map_err(|error| fail(&self.objects, error))?
            }
            _ => {
                let want = if on { last.map_or(FIRST, |(_, length)| length * 2) } else { FIRST.max(room as u64) };
                let range = self.at..self.size.min(self.at + want.min(MOST));
                let got = self.runtime.block_on(self.objects.range(&self.key, range));
                got.map_err(|error| fail(&self.objects, error))?
            }
        };
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let next = self.at + bytes.len() as u64;
        if on && next < self.size {
            let range = next..self.size.min(next + (bytes.len() as u64 * 2).min(MOST));
            let (objects, key, wanted) = (Arc::clone(&self.objects), self.key.clone(), range.clone());
            let task = self.runtime.spawn(async move { objects.range(&key, wanted).await });
            self.ahead = Some(Ahead { range, task });
        }
        Ok(bytes)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let holds = |at: u64| move |(start, bytes): &&(u64, Bytes)| (*start..start + bytes.len() as u64).contains(&at);
        if !self.blocks.iter().any(|block| holds(self.at)(&block)) {
            let bytes = self.block(buffer.len())?;
            self.blocks.push((self.at, bytes));
            while self.blocks.len() > 1 && self.blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > KEPT {
                self.blocks.remove(0);
            }
        }
        let Some((start, bytes)) = self.blocks.iter().find(holds(self.at)) else { return Ok(0) };
        let from = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let some = bytes.get(from..).unwrap_or_default();
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
