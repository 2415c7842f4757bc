//! The source of a file's bytes for the checks: this machine's disk, or anything else that can be read
//! at any place. Other modules check the bytes. A read that the disk refuses is noted, because it proves nothing.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hfget_formats::ReadSeek;

use crate::mutex::lock;
use crate::platform::patiently;

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

/// The first file that this machine's disk did not let us read. The readers of formats make findings of it, as of a file
/// that ends too early; the caller decides.
#[derive(Debug, Clone, Default)]
pub struct Unread(Arc<Mutex<Option<(PathBuf, io::Error)>>>);

impl Unread {
    /// Takes the noted error.
    pub(crate) fn take(&self) -> Option<(PathBuf, io::Error)> {
        lock(&self.0).take()
    }

    fn note(&self, path: &Path, error: &io::Error) {
        // A missing file, or a folder in its place, has its own finding. Such errors are not the disk's.
        let of_the_disk = error.raw_os_error().is_some() || error.kind() == io::ErrorKind::PermissionDenied;
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::Interrupted];
        if of_the_disk && !absent.contains(&error.kind()) {
            let again = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            lock(&self.0).get_or_insert((path.to_path_buf(), again));
        }
    }

    /// Opens a file as [`Content::open`] does, and notes what the disk refuses from then on. A file that is not on disk
    /// notes its own trouble.
    pub(super) fn open(&self, content: &Content) -> io::Result<(Box<dyn ReadSeek>, u64)> {
        let Content::Local(path) = content else { return content.open() };
        let (file, length) = open_local(path).inspect_err(|error| self.note(path, error))?;
        Ok((Box::new(Noting { file, path: path.clone(), unread: self.clone() }), length))
    }
}

/// A file on disk whose refused reads are noted.
struct Noting {
    file: File,
    path: PathBuf,
    unread: Unread,
}

impl Read for Noting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).inspect_err(|error| self.unread.note(&self.path, error))
    }
}

impl Seek for Noting {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // An impossible offset comes from the file's own bytes.
        self.file.seek(to)
    }
}

/// Opens a regular file, and returns its length in bytes.
pub(super) fn open_local(path: &Path) -> io::Result<(File, u64)> {
    // The check comes before the open, which could block.
    regular(path)?;
    let file = patiently(|| File::open(path))?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn regular(path: &Path) -> io::Result<u64> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() { Ok(meta.len()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")) }
}
