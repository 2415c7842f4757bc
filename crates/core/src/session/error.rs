//! The errors that end a job without a report, their kinds and their remedies.

use std::path::PathBuf;

use crate::finding::{BadServer, ErrorKind, Remedy};
use crate::hub::HubError;
use crate::model::{Location, RepoPath};
use crate::select::SelectError;
use crate::store::StoreError;
use crate::text::bytes;
use crate::transfer::FetchError;

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The Hub does not answer, but all files of the request are here.
    #[error("{source}")]
    Away {
        /// The error of the request.
        source: Box<HubError>,
        /// When the last of the files arrived.
        since: String,
    },
    /// An error of the transfer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An error of this machine's disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Selection found nothing to choose.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// An error of the object store.
    #[error(transparent)]
    Objects(#[from] crate::object_store::ObjectError),
    /// The registry, or the image layout.
    #[error(transparent)]
    Oci(#[from] crate::oci::OciError),
    /// No file of the repo is selected. That must not count as verified.
    #[error("{repo}: {why}")]
    NothingSelected {
        /// The repo.
        repo: String,
        /// Why nothing is selected.
        why: String,
        /// What the user can do about it.
        remedy: Option<Remedy>,
    },
    /// The configuration names no destination that this job can use.
    #[error("this session has no folder or store for that")]
    NoDestination,
    /// The files to fetch do not fit.
    #[error("{} are to be fetched, but only {} are free at {}", bytes(*.needed), bytes(*.free), .place.display())]
    NoSpace {
        /// Bytes to fetch.
        needed: u64,
        /// Free bytes.
        free: u64,
        /// The destination.
        place: PathBuf,
    },
    /// A plain folder has files of another repo or revision.
    #[error("{} has {holds}, not {wanted}; nothing was fetched, because the two must not mix", .dir.display())]
    OtherFiles {
        /// The folder.
        dir: PathBuf,
        /// The repo or revision that is noted there.
        holds: String,
        /// The repo or revision of the request.
        wanted: String,
    },
    /// The repo's whole listing is not known here, so no lockfile can be made.
    #[doc(hidden)] // only in the command's jobs
    #[error("{repo}: its listing is not cached, so hfget cannot tell whether any file is missing")]
    ListingUnknown {
        /// The repo.
        repo: String,
    },
    /// The files that a lockfile names were never fetched here.
    #[doc(hidden)] // only in the command's jobs
    #[error("{repo} at the locked commit {commit} is not in {place}")]
    LockedNotHere {
        /// The repo.
        repo: String,
        /// The locked commit.
        commit: String,
        /// The place that was searched.
        place: Location,
    },
    /// The revision was never fetched, and it must not be fetched now.
    #[error("{repo}@{revision} is not in {place}")]
    NotCached {
        /// The repo.
        repo: String,
        /// The revision.
        revision: String,
        /// The place that was searched.
        place: Location,
    },
    /// A small file that selection depends on could not be fetched with the right digest.
    #[error("{}: {why}", .path.shown())]
    Document {
        /// The file.
        path: RepoPath,
        /// The reason.
        why: String,
    },
    /// There is nothing to inspect.
    #[doc(hidden)] // only in the command's jobs
    #[error("{} contains no weight files in a supported format", crate::text::printable(.place))]
    NoWeights {
        /// The file, folder or repo.
        place: String,
    },
    /// A folder cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Hub(error) => error.kind(),
            Error::Away { source, .. } => source.kind(),
            Error::Fetch(error) => error.kind(),
            Error::Objects(error) => error.kind(),
            Error::Oci(error) => error.kind(),
            Error::Store(_) | Error::NoSpace { .. } | Error::OtherFiles { .. } => ErrorKind::Local,
            Error::Select(SelectError::BadGlob { .. }) | Error::NoDestination => ErrorKind::Usage,
            Error::Select(_)
            | Error::NothingSelected { .. }
            | Error::NotCached { .. }
            | Error::LockedNotHere { .. }
            | Error::ListingUnknown { .. }
            | Error::Folder { .. }
            | Error::NoWeights { .. } => ErrorKind::NotAvailable,
            Error::Document { .. } => ErrorKind::Integrity,
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Error::Hub(error) => return error.remedy(),
            Error::Away { source, since } => {
                Remedy::UseWhatIsHere { since: since.clone(), or: source.remedy().map(Box::new) }
            }
            Error::Fetch(error) => return error.remedy(),
            Error::Objects(error) => error.remedy(),
            Error::Oci(error) => return error.remedy(),
            Error::Store(error) => return error.remedy(),
            Error::Select(error) => return error.remedy(),
            Error::NothingSelected { remedy, .. } => return remedy.clone(),
            Error::NoSpace { .. } => Remedy::FreeSpace { checked_first: true },
            Error::OtherFiles { .. } => Remedy::ChooseOtherFolder,
            Error::NotCached { repo, revision, .. } => {
                let revision = (revision != "main").then(|| revision.clone());
                Remedy::Fetch { repo: repo.clone(), revision, was_offline: true }
            }
            Error::ListingUnknown { repo } => Remedy::LockOnline { repo: repo.clone() },
            Error::LockedNotHere { .. } => Remedy::FetchLocked,
            Error::Document { .. } => Remedy::UseOtherEndpoint { why: BadServer::SendsOtherBytes },
            Error::NoWeights { .. } => Remedy::NameSupportedFormat,
            Error::NoDestination => return None,
            Error::Folder { .. } => Remedy::NameExisting,
        })
    }
}
