//! The hash by which Xet storage names a file: the root of a Merkle tree over chunks that the content itself delimits.
//! `merkle` computes it. Other modules choose the files, and see whether a file changed meanwhile.

#[cfg_attr(not(feature = "xet"), path = "no_merkle.rs")]
mod merkle;

use std::fmt;
use std::io;
use std::str::FromStr;

use super::digest::{DigestError, hex_newtype};

/// The Xet hash of a file's content, as listings write it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XetHash([u8; 32]);

hex_newtype!(XetHash);

/// The Xet hash of bytes that were hashed. Only the hasher makes one, from the bytes that it read: no code can assert
/// that a file has a Xet hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XetMerkle {
    hash: XetHash,
}

impl XetMerkle {
    /// The Xet hash of the bytes.
    pub fn hash(&self) -> XetHash {
        self.hash
    }

    /// Reads `content` on `threads` threads and hashes it. `None` if that would take too much memory, or in a build
    /// without Xet.
    ///
    /// # Errors
    /// The error of reading.
    pub(crate) fn of(content: &XetContent<'_>, threads: usize) -> io::Result<Option<Self>> {
        merkle::root(content, threads).map(|root| root.map(|hash| XetMerkle { hash }))
    }
}

/// Content that several threads read at once.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "xet"), allow(dead_code))] // unused in that build
pub(crate) struct XetContent<'a> {
    /// Its length in bytes.
    pub size: u64,
    /// Fills a buffer with the bytes at an offset; it is never called for bytes past `size`.
    pub read: &'a (dyn Fn(&mut [u8], u64) -> io::Result<()> + Sync),
    /// Gets the length of each piece that was read. Each byte is counted once.
    pub seen: &'a (dyn Fn(u64) + Sync),
}
