//! How the process ends. Which verdict or error ends it how is decided beside each.

/// How the process ends, the better before the worse: `max` is how several repos end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitCode {
    /// Everything verified.
    Verified = 0,
    /// Integrity, coverage or unsafe content.
    VerificationFailed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// Repo, revision, file, access or family.
    NotAvailable = 3,
    /// Network or Hub, after retries.
    Network = 4,
    /// Disk full, permission, lock.
    Local = 5,
    /// Interrupted; a second run resumes.
    Interrupted = 130,
}
