//! A part of a file: a record of an archive, a member of a tar, or the whole file. It is a stream, or a file of
//! its own if it must be read at any place. The bytes' meaning is read elsewhere.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::directory::{DirectoryEntry, Method};

/// The most bytes of a compressed part that are kept in memory, so that it can be read at any place.
const HELD: u64 = 64 << 20;

/// The most bytes that are unpacked from a file that does not state its size.
const UNPACKED: u64 = 16 << 30;

/// Bytes that can be read from any place on.
pub(crate) trait Seekable: Read + Seek {}

impl<T: Read + Seek + ?Sized> Seekable for T {}

/// How a part is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Deflate,
    Gzip,
    Zlib,
}

/// A part.
pub(crate) struct FilePart<'f> {
    file: &'f mut dyn Seekable,
    start: u64,
    packed: u64,
    packing: Packing,
    /// Bytes of the content that are skipped first.
    passed: u64,
    /// Bytes of its content.
    pub size: u64,
}

impl<'f> FilePart<'f> {
    /// The bytes of a file between two places.
    pub fn plain(file: &'f mut dyn Seekable, start: u64, size: u64) -> Self {
        FilePart { file, start, packed: size, packing: Packing::Plain, passed: 0, size }
    }

    /// A whole compressed file of `packed` bytes.
    pub fn packed(file: &'f mut dyn Seekable, packed: u64, packing: Packing) -> Self {
        FilePart { file, start: 0, packed, packing, passed: 0, size: UNPACKED }
    }

    /// Skips the first `bytes` bytes.
    pub fn pass(&mut self, bytes: u64) {
        self.passed = self.passed.saturating_add(bytes);
        self.size = self.size.saturating_sub(bytes);
    }

    /// How many bytes a compressed file has, if memory may keep that many; they are taken off the budget.
    pub fn length_within(&mut self, budget: &Cell<u64>) -> io::Result<Option<u64>> {
        let length = io::copy(&mut self.stream()?.take(HELD + 1), &mut io::sink())?;
        let left = budget.get().checked_sub(length);
        budget.set(left.unwrap_or(0));
        Ok((length <= HELD && left.is_some()).then_some(length))
    }

    pub fn is_plain(&self) -> bool {
        self.packing == Packing::Plain
    }

    /// A record; `None` if it is packed in a way that torch does not know.
    pub fn of(file: &'f mut dyn Seekable, entry: &DirectoryEntry) -> Option<Self> {
        let packing = match entry.method {
            Method::Stored => Packing::Plain,
            Method::Deflated => Packing::Deflate,
            Method::Other => return None,
        };
        Some(FilePart { file, start: entry.start, packed: entry.packed, packing, passed: 0, size: entry.size })
    }

    /// Its content from the start, and never more than its size.
    pub fn stream(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        let (size, passed) = (self.size, self.passed);
        if self.packing == Packing::Plain {
            self.file.seek(SeekFrom::Start(self.start.saturating_add(passed)))?;
            return Ok(Box::new(BufReader::new((&mut *self.file).take(size))));
        }
        self.file.seek(SeekFrom::Start(self.start))?;
        let packed = BufReader::new((&mut *self.file).take(self.packed));
        let mut content: Box<dyn Read + '_> = match self.packing {
            Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Packing::Zlib => Box::new(ZlibDecoder::new(packed)),
            Packing::Plain | Packing::Deflate => Box::new(DeflateDecoder::new(packed)),
        };
        io::copy(&mut (&mut content).take(passed), &mut io::sink())?;
        Ok(Box::new(BufReader::new(content.take(size))))
    }

    /// Its first bytes.
    pub fn head(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.stream()?.take(length).read_to_end(&mut head)?;
        Ok(head)
    }

    /// Its content between two places as a file of its own. Compressed content is kept in memory, and refused
    /// if it is too large for that.
    pub fn within(&mut self, start: u64, length: u64) -> io::Result<Box<dyn Seekable + '_>> {
        if start.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.packing == Packing::Plain {
            let start = self.start.saturating_add(self.passed).saturating_add(start);
            return Ok(Box::new(Window { file: &mut *self.file, start, length, at: 0 }));
        }
        if length > HELD {
            return Err(io::Error::other(format!("it has {length} bytes compressed; more than {HELD} are not read")));
        }
        let mut stream = self.stream()?;
        io::copy(&mut (&mut stream).take(start), &mut io::sink())?;
        let mut held = Vec::new();
        stream.take(length).read_to_end(&mut held)?;
        Ok(Box::new(Cursor::new(held)))
    }
}

/// Some bytes of a file, seen as a file.
struct Window<'f> {
    file: &'f mut dyn Seekable,
    start: u64,
    length: u64,
    at: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        self.file.seek(SeekFrom::Start(self.start.saturating_add(self.at)))?;
        let read = (&mut *self.file).take(left).read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
