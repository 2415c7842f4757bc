//! Small file-system steps: stamps of unchanged content, small reads, free space, how names are distinguished.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::StoreError;
use crate::finding::Stamp;
use crate::model::{Digest, Hashed};
use crate::platform::{self, FileKind, look_through, patiently};

/// The stamp of the file that `path` names; follows a symlink. `None` if there is no such file.
pub(super) fn stamp_of(path: &Path) -> Result<Option<Stamp>, StoreError> {
    match look_through(path) {
        Ok(stat) if stat.kind == FileKind::File => Ok(Some(Stamp::from(&stat))),
        Ok(_) => Ok(None),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(StoreError::io("look at", path)(error)),
    }
}

/// How often to read a file that changes meanwhile: another process may put the same content there.
const LOOKS: usize = 4;

/// Hashes a whole file. Returns its digest, and the stamp that it had both before and after; an error if it changes
/// each time.
pub(super) fn hash(path: &Path, like: Digest, size: u64) -> Result<(Hashed, Stamp), StoreError> {
    for _ in 1..LOOKS {
        match hash_once(path, like, size) {
            Err(StoreError::Changed(_)) => {}
            other => return other,
        }
    }
    hash_once(path, like, size)
}

fn hash_once(path: &Path, like: Digest, size: u64) -> Result<(Hashed, Stamp), StoreError> {
    let file = patiently(|| File::open(path)).map_err(StoreError::io("read", path))?;
    let read = Stamp::around(&file, |file| like.read(file, size, &mut |_| {})).map_err(StoreError::io("read", path))?;
    read.ok_or_else(|| StoreError::Changed(path.to_path_buf()))
}

/// Flushes a file that another program wrote.
pub(super) fn flush(path: &Path) -> Result<(), StoreError> {
    platform::flush(path).map_err(StoreError::io("flush", path))
}

/// Whether two stamps mean the same bytes. The change time may differ: renaming or linking a file sets it.
pub(super) fn same_bytes(one: &Stamp, other: &Stamp) -> bool {
    let bytes = |stamp: &Stamp| (stamp.size, stamp.mtime, stamp.mtime_ns, stamp.inode);
    bytes(one) == bytes(other)
}

/// Whether an error only says that the file does not exist.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Creates a folder and its parents.
pub(super) fn create_dirs(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => StoreError::InTheWay {
            path: path.to_path_buf(),
            what: "a folder is needed here, but its path leads through a file",
        },
        _ => StoreError::io("create", path)(error),
    })
}

/// `path` or its nearest ancestor that exists.
pub(super) fn nearest_existing(path: &Path) -> &Path {
    let mut at = path;
    while !at.exists() {
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => return Path::new("."),
        }
    }
    at
}

/// Whether a file in `folder` is also found by another spelling of its name.
pub(super) fn folds_names(folder: &Path) -> bool {
    let Ok(file) = tempfile::Builder::new().prefix(".hfget-Case-\u{e9}-").tempfile_in(folder) else { return false };
    let Some(name) = file.path().file_name().and_then(std::ffi::OsStr::to_str) else { return false };
    let others = [name.to_ascii_lowercase(), name.replace('\u{e9}', "e\u{301}")];
    others.iter().any(|other| file.path().with_file_name(other).exists())
}

/// The bytes that an unprivileged user can still write below `path`.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    platform::free_space(nearest_existing(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/proc` counts no blocks at all, like some network mounts.
    #[test]
    fn a_file_system_that_counts_no_blocks_is_not_full_but_unknown() {
        assert_eq!(free_space(Path::new("/proc/self")), None);
        assert!(free_space(&std::env::temp_dir()).is_some_and(|free| free > 0));
    }
}
