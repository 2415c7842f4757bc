//! The errors of this machine's disk, and their kinds.

use std::io;
use std::path::{Path, PathBuf};

use crate::finding::{Again, Remedy};
use crate::model::{Digest, Entry, RepoPath};
use crate::platform::{Why, why};

/// Why something on this machine's disk could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An operation failed on a path.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// The operation: `"create"`, `"write to"`.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A symbolic link is at a place where files must go; following it could leave the folder.
    #[error("{} is a symbolic link; it is not followed", .0.display())]
    Symlink(PathBuf),
    /// A file is at a place where a folder is needed, or the other way round.
    #[error("{} is in the way: {what}", .path.display())]
    InTheWay {
        /// The path of that place.
        path: PathBuf,
        /// The kind that was needed.
        what: &'static str,
    },
    /// A repo's path that would be among a local dir's own records, and could forge them.
    #[error("{} cannot be kept in a local dir: .cache/huggingface is for the folder's own records", .path.shown())]
    Reserved {
        /// The path.
        path: RepoPath,
    },
    /// The file that should be replaced has changed since this run looked at it.
    #[error("{} was changed during this run, so it was not replaced", .0.display())]
    Edited(PathBuf),
    /// Content that was found before is gone or has another size.
    #[error("{} changed while it was being checked", .0.display())]
    Changed(PathBuf),
    /// Content with a wrong digest or size was about to get its final name.
    #[error("{} does not have the listed content: expected {expected:?} in {size} bytes, got {actual:?} in {length}", .path.display())]
    WrongContent {
        /// The file.
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

/// The kinds of errors that need different advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Disk or quota full.
    NoSpace,
    /// Not allowed.
    Permission,
    /// The file system is read-only.
    ReadOnly,
    /// Another kind of file is there.
    InTheWay,
    /// No repo may use the name.
    Reserved,
    /// Another program works on the same files.
    Changed,
    /// Anything else.
    Other,
}

impl StoreError {
    /// Whether the path does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the system or this process has too many open files at present.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        matches!(self, StoreError::Io { source, .. } if why(source) == Why::TooManyOpen)
    }

    /// Whether this user has no permission for it.
    pub(super) fn is_not_allowed(&self) -> bool {
        matches!(self.kind(), StoreErrorKind::Permission | StoreErrorKind::ReadOnly)
    }

    /// Makes an [`StoreError::Io`].
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::Io { action, path: path.to_path_buf(), source }
    }

    /// The kind of error.
    pub(crate) fn kind(&self) -> StoreErrorKind {
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
            StoreError::Reserved { .. } => StoreErrorKind::Reserved,
            StoreError::Changed(_) | StoreError::Edited(_) => StoreErrorKind::Changed,
            StoreError::WrongContent { .. } => StoreErrorKind::Other,
        }
    }

    /// What the user can do about it.
    #[doc(hidden)] // for the command
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self.kind() {
            StoreErrorKind::NoSpace => Remedy::FreeSpace { checked_first: false },
            StoreErrorKind::Permission => Remedy::MendPermissions,
            StoreErrorKind::ReadOnly => Remedy::ChooseWritablePlace,
            StoreErrorKind::InTheWay => Remedy::MoveAway,
            StoreErrorKind::Reserved => Remedy::AvoidReservedName,
            StoreErrorKind::Changed => Remedy::RunAgain { why: Again::OtherProcess },
            StoreErrorKind::Other => return None,
        })
    }
}

/// The error that a folder is needed where another kind of file is.
pub(super) fn folder_needed(path: &Path) -> StoreError {
    StoreError::InTheWay { path: path.to_path_buf(), what: "a folder is needed here" }
}

/// The error that a file is needed where something else is.
pub(super) fn file_needed(path: &Path) -> StoreError {
    StoreError::InTheWay { path: path.to_path_buf(), what: "a file is needed here" }
}

/// Checks that `path` has the listed content.
pub(super) fn check_content(path: &Path, entry: &Entry, actual: Digest, length: u64) -> Result<(), StoreError> {
    if actual == entry.digest() && length == entry.size {
        return Ok(());
    }
    let (expected, size) = (entry.digest(), entry.size);
    Err(StoreError::WrongContent { path: path.to_path_buf(), expected, actual, size, length })
}
