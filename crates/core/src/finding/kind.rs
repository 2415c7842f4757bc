//! The kind of error that ended a job, for callers that act on it. The caller decides how the process ends.

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or the configuration is invalid.
    Usage,
    /// The repo, revision, file, access or family is not available.
    NotAvailable,
    /// The network or the server failed, after retries.
    Network,
    /// This machine failed: disk, permission.
    Local,
    /// Bytes do not match the listing.
    Integrity,
}

impl ErrorKind {
    /// The word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Usage => "usage",
            ErrorKind::NotAvailable => "not-available",
            ErrorKind::Network => "network",
            ErrorKind::Local => "local",
            ErrorKind::Integrity => "integrity",
        }
    }
}
