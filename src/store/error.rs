//! What can go wrong on this machine's disk, and what kind of trouble it is.

use std::io;
use std::path::{Path, PathBuf};

use crate::repo::Digest;

/// Why something on this machine's disk could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An operation failed on a path.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried: `"create"`, `"write to"`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A symbolic link stands where files are about to be put; following it could leave the folder.
    #[error("{} is a symbolic link; it is not followed", .0.display())]
    Symlink(PathBuf),
    /// A file stands where a folder is needed, or the other way round.
    #[error("{} is in the way: {what}", .path.display())]
    InTheWay {
        /// What stands there.
        path: PathBuf,
        /// What was needed.
        what: &'static str,
    },
    /// Content that is not what the listing promises was about to get its name.
    #[error("{} does not hold the listed content: expected {expected:?} in {size} bytes, got {actual:?} in {length}", .path.display())]
    WrongContent {
        /// The partial file.
        path: PathBuf,
        /// The listed digest.
        expected: Digest,
        /// The computed digest.
        actual: Digest,
        /// The listed size.
        size: u64,
        /// The file's length.
        length: u64,
    },
}

/// The kinds of trouble that call for different advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Disk or quota full.
    NoSpace,
    /// Not allowed.
    Permission,
    /// The file system is read-only.
    ReadOnly,
    /// Something else stands there.
    InTheWay,
    /// Anything else.
    Other,
}

impl StoreError {
    /// An [`StoreError::Io`].
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::Io { action, path: path.to_path_buf(), source }
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                    StoreErrorKind::NoSpace
                }
                io::ErrorKind::PermissionDenied => StoreErrorKind::Permission,
                io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
                io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => StoreErrorKind::InTheWay,
                _ => StoreErrorKind::Other,
            },
            StoreError::Symlink(_) | StoreError::InTheWay { .. } => StoreErrorKind::InTheWay,
            StoreError::WrongContent { .. } => StoreErrorKind::Other,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self.kind() {
            StoreErrorKind::NoSpace => "free some space or choose another place with --cache-dir or --local-dir; what has arrived is kept and a second run goes on from there".into(),
            StoreErrorKind::Permission => "check the owner and mode of that path, or choose another place with --cache-dir or --local-dir".into(),
            StoreErrorKind::ReadOnly => "that file system is read-only: choose another place with --cache-dir or --local-dir, or use --offline for what is already there".into(),
            StoreErrorKind::InTheWay => "move it away, or choose another folder".into(),
            StoreErrorKind::Other => return None,
        })
    }
}
