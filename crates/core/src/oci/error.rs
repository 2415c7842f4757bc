//! The errors of OCI content, and their remedies.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::finding::{Again, ErrorKind, Remedy};
use crate::hub::HubError;
use crate::model::OciDigest;
use crate::store::StoreError;

/// Why a request to a registry or an image layout failed. The texts are safe to print.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OciError {
    /// It cannot be used at all: the credentials or the name are invalid.
    #[error("{place} cannot be used: {why}")]
    Setup {
        /// The registry, the file or the folder.
        place: String,
        /// The reason.
        why: String,
    },
    /// A blob, a tag or a repository does not exist.
    #[error("{place} does not exist")]
    NotFound {
        /// Its name.
        place: String,
    },
    /// The registry refuses access.
    #[error("{place}: access is refused: {why}")]
    Refused {
        /// The name of the request.
        place: String,
        /// The registry's reason.
        why: String,
    },
    /// The request failed after all retries.
    #[error("{place}: {why}")]
    Failed {
        /// The name of the request.
        place: String,
        /// The reason that the registry or the network gave.
        why: String,
        /// Whether a later try may succeed.
        again: bool,
        /// How long the registry asks to wait.
        after: Option<Duration>,
    },
    /// The connection failed, or the registry answered that it is unavailable for now. Retries use the patience of
    /// all requests.
    #[error(transparent)]
    Wire(#[from] HubError),
    /// Content that exists is invalid.
    #[error("{place}: {why}")]
    Invalid {
        /// Its name.
        place: String,
        /// What is invalid about it.
        why: String,
    },
    /// The bytes of a blob do not have the digest that names it.
    #[error("{place}: its bytes do not have the digest {digest}")]
    WrongDigest {
        /// The blob.
        place: String,
        /// The expected digest.
        digest: OciDigest,
    },
    /// This machine's disk failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<std::io::Error>,
    },
    /// This machine's disk failed, or something is in the way on it.
    #[error(transparent)]
    Disk(Arc<StoreError>),
    /// The producer of a blob's bytes stopped, and knows the reason.
    #[error("its bytes stopped")]
    Stopped,
}

impl From<StoreError> for OciError {
    fn from(error: StoreError) -> Self {
        OciError::Disk(Arc::new(error))
    }
}

impl OciError {
    /// The kind of error.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            OciError::Setup { .. } => ErrorKind::Usage,
            OciError::NotFound { .. } | OciError::Refused { .. } => ErrorKind::NotAvailable,
            OciError::Failed { .. } | OciError::Stopped => ErrorKind::Network,
            OciError::Wire(error) => error.kind(),
            OciError::Invalid { .. } | OciError::WrongDigest { .. } => ErrorKind::Integrity,
            OciError::Io { .. } | OciError::Disk(_) => ErrorKind::Local,
        }
    }

    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            OciError::Refused { .. } => Remedy::LogIntoRegistry,
            OciError::NotFound { .. } => Remedy::FillRegistry,
            OciError::Failed { .. } | OciError::Stopped => Remedy::RunAgain { why: Again::ResumesPush },
            OciError::Invalid { .. } | OciError::WrongDigest { .. } => Remedy::FillRegistryAnew,
            OciError::Wire(error) if error.is_plain_http() => Remedy::ServeRegistryOverHttps,
            OciError::Wire(error) => return error.remedy(),
            OciError::Disk(error) => return error.remedy(),
            OciError::Setup { .. } | OciError::Io { .. } => return None,
        })
    }

    /// Whether a later try may succeed.
    pub(crate) fn is_worth_retrying(&self) -> bool {
        match self {
            OciError::Failed { again, .. } => *again,
            OciError::Wire(error) => error.is_retryable(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{NO_TLS, ShownUrl};

    #[test]
    fn a_registry_that_speaks_plain_http_is_another_trouble_than_one_that_nobody_reaches() {
        let no_connection = |what: &str| {
            let url = ShownUrl::of_text("https://registry.example/v2/");
            OciError::Wire(HubError::NoConnection { url, what: what.to_owned() })
        };
        let plain = no_connection(NO_TLS);
        assert_eq!((plain.remedy(), plain.is_worth_retrying()), (Some(Remedy::ServeRegistryOverHttps), false));
        let away = no_connection("connection refused");
        assert_eq!((away.remedy(), away.is_worth_retrying()), (Some(Remedy::CheckNetwork), true));
    }
}
