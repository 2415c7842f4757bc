//! Everything that can end a job without a report: its kind, and what can be done about it.

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
    /// The Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The Hub is away, and everything that is asked for is here.
    #[error("{source}")]
    Away {
        /// What became of the request.
        source: Box<HubError>,
        /// Since when all of it is here.
        since: String,
    },
    /// The transfer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// This machine's disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to choose.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] crate::object_store::ObjectError),
    /// The registry, or the image layout.
    #[error(transparent)]
    Oci(#[from] crate::oci::OciError),
    /// Of the whole repo no file is wanted: to call that verified would help nobody.
    #[error("{repo}: {why}")]
    NothingSelected {
        /// The repo.
        repo: String,
        /// Why there is nothing.
        why: String,
        /// What can be done about it.
        remedy: Option<Remedy>,
    },
    /// The configuration names no place that this job could use.
    #[error("this session has no folder or store for that")]
    NoDestination,
    /// What is to be fetched does not fit.
    #[error("{} are to be fetched, but only {} are free at {}", bytes(*.needed), bytes(*.free), .place.display())]
    NoSpace {
        /// Bytes to be fetched.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Where.
        place: PathBuf,
    },
    /// A plain folder holds files of something else.
    #[error("{} has {holds}, not {wanted}; nothing was fetched, because the two must not mix", .dir.display())]
    OtherFiles {
        /// The folder.
        dir: PathBuf,
        /// What is noted there.
        holds: String,
        /// What was asked for.
        wanted: String,
    },
    /// Nobody here knows what the repo holds as a whole, so a selection of it cannot be fixed.
    #[error("{repo}: its listing is not cached, so hfget cannot tell whether any file is missing")]
    ListingUnknown {
        /// The repo.
        repo: String,
    },
    /// What a lockfile names was never fetched here.
    #[error("{repo} at the locked commit {commit} is not in {place}")]
    LockedNotHere {
        /// The repo.
        repo: String,
        /// The locked commit.
        commit: String,
        /// Where it was looked for.
        place: Location,
    },
    /// The revision was never fetched, and it is not to be fetched now.
    #[error("{repo}@{revision} is not in {place}")]
    NotCached {
        /// The repo.
        repo: String,
        /// The revision.
        revision: String,
        /// Where it was looked for.
        place: Location,
    },
    /// A small file that selection depends on could not be had right.
    #[error("{}: {why}", .path.shown())]
    Document {
        /// Which.
        path: RepoPath,
        /// Why not.
        why: String,
    },
    /// There is nothing to inspect.
    #[error("{} contains no weight files in a supported format", crate::text::printable(.place))]
    NoWeights {
        /// The file, folder or repo.
        place: String,
    },
    /// A folder cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's word.
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
