//! The files that a set's check may look at, by their names. The caller decides where they are, and which names are
//! safe.

use std::io::{self, Read, Seek};

/// Bytes that can be read from any place on.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// Files of one repo. A name is relative, with `/` between its segments.
pub trait Files {
    /// Opens a file, and returns its length in bytes. `None`: it is not here.
    fn open(&self, name: &str) -> Option<io::Result<(Box<dyn ReadSeek>, u64)>>;

    /// The length of a file in bytes. `None`: it is not here.
    fn length(&self, name: &str) -> Option<io::Result<u64>>;

    /// The full name of the file that a file in `folder` calls `name`.
    ///
    /// # Errors
    /// Why the name is not safe to use.
    fn join(&self, folder: &str, name: &str) -> Result<String, &'static str>;
}

/// The last segment of a name, without its folders.
pub(crate) fn file_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}

/// The part before the last segment of a name; empty at the root.
pub(crate) fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}
