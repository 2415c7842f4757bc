//! Reads and hashes two files of this machine at once with one thread: hashing two takes little longer than hashing
//! one. `digest` compares the digests.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::content::open_local;
use crate::finding::Stamp;
use crate::model::{Digest, Hashed, Hasher};
use crate::platform::PageBuffer;

/// How many bytes are read at once. The buffers of both files fit into a core's own cache. `docs/src/path-of-a-byte.md` has the
/// figures of other sizes.
const BUFFER: usize = 256 << 10;

/// A file that is being hashed.
pub(super) struct Reading {
    file: File,
    before: Stamp,
    hasher: Hasher,
    buffer: PageBuffer,
    /// The part of the buffer that was read and not hashed.
    from: usize,
    to: usize,
    /// Bytes that were read.
    pub bytes: u64,
}

impl Reading {
    /// Opens a file; `size` is the content's length in bytes, which a git blob's digest starts with.
    pub fn open(path: &Path, like: Digest, size: u64) -> io::Result<Self> {
        let (file, _) = open_local(path)?;
        let before = Stamp::of(&file)?;
        Ok(Reading {
            file,
            before,
            hasher: like.hasher(size),
            buffer: PageBuffer::new(BUFFER),
            from: 0,
            to: 0,
            bytes: 0,
        })
    }

    /// Reads more when all bytes of the buffer are hashed. Returns how many bytes came: none at the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.from < self.to {
            return Ok(0);
        }
        let read = loop {
            match self.file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        (self.from, self.to) = (0, read);
        self.bytes += read as u64;
        Ok(read)
    }

    /// The hasher and the next bytes for it, at most `most` bytes.
    fn take(&mut self, most: usize) -> (&mut Hasher, &[u8]) {
        let end = self.to.min(self.from.saturating_add(most));
        let bytes = self.buffer.get(self.from..end).unwrap_or_default();
        self.from = end;
        (&mut self.hasher, bytes)
    }

    /// The digest, with the stamp that the file had before its first byte and after its last; `None` if it changed
    /// meanwhile.
    pub fn finish(self) -> io::Result<Option<(Hashed, Stamp)>> {
        let after = Stamp::of(&self.file)?;
        Ok((after == self.before).then(|| (self.hasher.finish(), after)))
    }
}

/// Reads two files to their ends; `seen` gets the length of each piece of either file.
///
/// # Errors
/// The error of reading. Then neither file is done.
pub(super) fn read(
    a: &mut Reading,
    b: &mut Reading,
    mut seen_a: impl FnMut(u64),
    mut seen_b: impl FnMut(u64),
) -> io::Result<()> {
    loop {
        seen_a(a.fill()? as u64);
        seen_b(b.fill()? as u64);
        let (length_a, length_b) = (a.to - a.from, b.to - b.from);
        // If one file is at its end, the other continues alone.
        let most = match (length_a, length_b) {
            (0, 0) => return Ok(()),
            (0, alone) | (alone, 0) => alone,
            (one, other) => one.min(other),
        };
        let ((hasher_a, bytes_a), (hasher_b, bytes_b)) = (a.take(most), b.take(most));
        Hasher::update_two(hasher_a, bytes_a, hasher_b, bytes_b);
    }
}
