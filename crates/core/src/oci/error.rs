//! What can go wrong between us and OCI content, and what to tell the user.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::finding::{Again, ErrorKind, Remedy};
use crate::hub::HubError;
use crate::model::OciDigest;

/// Why a registry, or an image layout, did not do what was asked. The texts are safe to print.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// It cannot be used at all: credentials that make no sense, a name that is none.
    #[error("{place} cannot be used: {why}")]
    Setup {
        /// The registry, the file or the folder.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// A blob, a tag or a repository is not there.
    #[error("{place} is not there")]
    NotFound {
        /// Which.
        place: String,
    },
    /// It does not let us.
    #[error("{place}: access is refused: {why}")]
    Refused {
        /// What was asked for.
        place: String,
        /// What the registry said.
        why: String,
    },
    /// It failed, after retries.
    #[error("{place}: {why}")]
    Failed {
        /// What was asked for.
        place: String,
        /// What the registry, or the network, said.
        why: String,
        /// Whether the same may work at another time.
        again: bool,
        /// How long the registry wants to be left alone.
        after: Option<Duration>,
    },
    /// The connection to it failed, or it answered that it cannot for now; with the patience of all requests.
    #[error(transparent)]
    Wire(#[from] HubError),
    /// Something that is there is not what it must be.
    #[error("{place}: {why}")]
    Invalid {
        /// Which.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes of a blob do not have the digest that names it.
    #[error("{place}: its bytes do not have the digest {digest}")]
    WrongDigest {
        /// Which blob.
        place: String,
        /// What it should have been.
        digest: OciDigest,
    },
    /// This machine failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's complaint.
        source: Arc<std::io::Error>,
    },
    /// Whoever makes a blob's bytes has stopped, and knows why.
    #[error("its bytes stopped")]
    Stopped,
}

impl OciError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            OciError::Setup { .. } => ErrorKind::Usage,
            OciError::NotFound { .. } | OciError::Refused { .. } => ErrorKind::NotAvailable,
            OciError::Failed { .. } | OciError::Stopped => ErrorKind::Network,
            OciError::Wire(error) => error.kind(),
            OciError::Invalid { .. } | OciError::WrongDigest { .. } => ErrorKind::Integrity,
            OciError::Io { .. } => ErrorKind::Local,
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            OciError::Refused { .. } => Remedy::LogIntoRegistry,
            OciError::NotFound { .. } => Remedy::FillRegistry,
            OciError::Failed { .. } | OciError::Stopped => Remedy::RunAgain { why: Again::ResumesPush },
            OciError::Invalid { .. } | OciError::WrongDigest { .. } => Remedy::FillRegistryAnew,
            OciError::Wire(error) => return error.remedy(),
            OciError::Setup { .. } | OciError::Io { .. } => return None,
        })
    }

    /// Whether the same may work at another time.
    pub(crate) fn is_worth_retrying(&self) -> bool {
        match self {
            OciError::Failed { again, .. } => *again,
            OciError::Wire(error) => error.is_retryable(),
            _ => false,
        }
    }
}
