//! The source of a file's bytes for the checks: this machine's disk, or anything else that can be read
//! at any place. Other modules check the bytes.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfget_formats::ReadSeek;

/// A file that is not on a disk of this machine. Its methods block.
pub trait Far: fmt::Debug + Send + Sync {
    /// How many bytes it has; [`io::ErrorKind::NotFound`] if it does not exist.
    ///
    /// # Errors
    /// If the size cannot be found out.
    fn size(&self) -> io::Result<u64>;

    /// Opens it at its first byte.
    ///
    /// # Errors
    /// If the bytes are not available.
    fn open(&self) -> io::Result<Box<dyn ReadSeek>>;
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    /// On disk.
    Local(PathBuf),
    /// Elsewhere.
    Far(Arc<dyn Far>),
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Content::Local(path)
    }
}

impl Content {
    /// Opens it, and returns its length in bytes. Anything but a regular file is an error: opening a pipe
    /// would wait for its other end.
    ///
    /// # Errors
    /// If it does not exist, or cannot be read.
    pub(crate) fn open(&self) -> io::Result<(Box<dyn ReadSeek>, u64)> {
        match self {
            Content::Local(path) => {
                open_local(path).map(|(file, length)| (Box::new(file) as Box<dyn ReadSeek>, length))
            }
            Content::Far(far) => Ok((far.open()?, far.size()?)),
        }
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// As [`Content::open`].
    pub(crate) fn size(&self) -> io::Result<u64> {
        match self {
            Content::Local(path) => regular(path),
            Content::Far(far) => far.size(),
        }
    }
}

/// Opens a regular file, and returns its length in bytes.
pub(super) fn open_local(path: &Path) -> io::Result<(File, u64)> {
    // The check comes before the open, which could block.
    regular(path)?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn regular(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() { Ok(meta.len()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")) }
}
