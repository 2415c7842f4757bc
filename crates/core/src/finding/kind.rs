//! What kind of trouble ended a job, for callers that act on it. How a process ends on its account is the caller's to
//! decide.

/// What kind of trouble an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for, or the configuration, makes no sense.
    Usage,
    /// The repo, revision, file, access or family is not to be had.
    NotAvailable,
    /// The network or the server failed, after retries.
    Network,
    /// This machine failed: disk, permission.
    Local,
    /// Bytes are not what the listing says.
    Integrity,
}

impl ErrorKind {
    /// The word for it in reports.
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
