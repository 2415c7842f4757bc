//! One lock a file, shared with other tools: flock(2) on the paths that `huggingface_hub` locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::StoreError;

/// Exclusive use of one file's partial, until dropped.
#[derive(Debug)]
pub struct FileLock {
    /// `None` where the file system cannot lock: going on is safe, since partial files are
    /// positional and two writers write the same bytes to the same places.
    _file: Option<File>,
}

impl FileLock {
    /// Takes the lock, or returns `None` when another process holds it.
    pub(super) fn try_take(path: &Path) -> Result<Option<FileLock>, StoreError> {
        // A tool that removes its lock file on release leaves us holding a lock on a file that
        // nobody else will open: look whether the path still names what we locked.
        for _ in 0..8 {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(StoreError::io("open the lock file", path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if cannot_lock(&error) => return Ok(Some(FileLock { _file: None })),
                Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
            }
            let ours = file.metadata().map_err(StoreError::io("look at", path))?;
            match std::fs::metadata(path) {
                Ok(there) if (there.ino(), there.dev()) == (ours.ino(), ours.dev()) => {
                    return Ok(Some(FileLock { _file: Some(file) }));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Whether the error says that this file system has no locks (some NFS, FUSE and Lustre mounts).
fn cannot_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|code| {
            [rustix::io::Errno::NOLCK, rustix::io::Errno::NOSYS, rustix::io::Errno::OPNOTSUPP]
                .iter()
                .any(|e| e.raw_os_error() == code)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = FileLock::try_take(&path).unwrap().expect("free");
        assert!(FileLock::try_take(&path).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_file_removed_by_its_last_holder_does_not_fool_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = FileLock::try_take(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let fresh = FileLock::try_take(&path).unwrap().expect("a new file, a new lock");
        assert!(FileLock::try_take(&path).unwrap().is_none());
        drop((held, fresh));
    }
}
