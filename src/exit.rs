//! The exit code of each verdict and of each kind of error. The library makes the verdict.

use hfget_core::finding::{ErrorKind, Verdict};
use hfget_core::report::Report;
use hfget_core::session::Error;
use hfget_core::unstable::report::CompareReport;

/// The exit codes. The better ones come before the worse ones, so that `max` is the code for several repos: a known
/// error outweighs a server that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            // A worker with a right part has done its whole job.
            Verdict::Verified { .. } | Verdict::Part { .. } | Verdict::ContentsOnly { allowed: true } => {
                ExitCode::Verified
            }
            Verdict::Nothing => ExitCode::NotAvailable,
            // A verdict that this command does not know does not count as success.
            _ => ExitCode::VerificationFailed,
        }
    }
}

impl From<ErrorKind> for ExitCode {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => ExitCode::Usage,
            ErrorKind::NotAvailable => ExitCode::NotAvailable,
            ErrorKind::Network => ExitCode::Network,
            ErrorKind::Integrity => ExitCode::VerificationFailed,
            _ => ExitCode::Local,
        }
    }
}

/// Values with an exit code.
pub trait Ends {
    /// The exit code for this value.
    fn exit_code(&self) -> ExitCode;
}

impl Ends for Report {
    fn exit_code(&self) -> ExitCode {
        self.verdict.into()
    }
}

impl Ends for Error {
    fn exit_code(&self) -> ExitCode {
        self.kind().into()
    }
}

impl Ends for CompareReport {
    /// A mirror that does not answer for some file counts like a Hub that does not answer.
    fn exit_code(&self) -> ExitCode {
        if self.matches() {
            ExitCode::Verified
        } else if self.is_partly_unanswered() {
            ExitCode::Network
        } else {
            ExitCode::VerificationFailed
        }
    }
}

impl ExitCode {
    fn rank(self) -> u8 {
        match self {
            ExitCode::Verified => 0,
            ExitCode::NotAvailable => 1,
            ExitCode::Network => 2,
            ExitCode::Local => 3,
            ExitCode::Usage => 4,
            ExitCode::VerificationFailed => 5,
            ExitCode::Interrupted => 6,
        }
    }
}

impl Ord for ExitCode {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for ExitCode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorKind as K, ExitCode as E, ExitCode, Verdict};
    use hfget_core::finding::Origin;
    use hfget_core::unstable::model::Partition;

    #[test]
    fn only_a_verdict_of_verified_is_a_success() {
        let code = |verdict: Verdict| ExitCode::from(verdict) as u8;
        assert_eq!(code(Verdict::Verified { against: Origin::Hub }), 0);
        let part = Verdict::Part { partition: Partition::new(1, 2).unwrap(), against: None };
        assert_eq!(code(part), 0);
        assert_eq!(code(Verdict::ContentsOnly { allowed: true }), 0);
        assert_eq!(code(Verdict::ContentsOnly { allowed: false }), 1);
        assert_eq!(code(Verdict::Failed), 1);
        assert_eq!(code(Verdict::Nothing), 3);
        let kinds = [E::Usage, E::NotAvailable, E::Network, E::Local, E::VerificationFailed];
        let of = [K::Usage, K::NotAvailable, K::Network, K::Local, K::Integrity].map(ExitCode::from);
        assert_eq!(of, kinds);
    }

    #[test]
    fn a_known_error_outweighs_a_server_that_did_not_answer() {
        let worst = |all: &[E]| all.iter().copied().max();
        assert_eq!(worst(&[E::Local, E::VerificationFailed, E::Network, E::NotAvailable]), Some(E::VerificationFailed));
        assert_eq!(worst(&[E::Network, E::Local, E::Verified]), Some(E::Local));
        assert_eq!(worst(&[E::NotAvailable, E::Network]), Some(E::Network));
        assert_eq!(worst(&[E::Verified, E::NotAvailable]), Some(E::NotAvailable));
    }
}
