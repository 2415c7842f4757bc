//! How the process ends. Which verdict or error ends it how is decided beside each.

/// How the process ends. The order is by meaning, the better before the worse, so that `max` is how several repos end
/// together: what is known to be wrong outweighs what could not be asked.
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
    use super::ExitCode as E;

    #[test]
    fn what_is_known_wrong_outweighs_what_could_not_be_asked() {
        let worst = |all: &[E]| all.iter().copied().max();
        assert_eq!(worst(&[E::Local, E::VerificationFailed, E::Network, E::NotAvailable]), Some(E::VerificationFailed));
        assert_eq!(worst(&[E::Network, E::Local, E::Verified]), Some(E::Local));
        assert_eq!(worst(&[E::NotAvailable, E::Network]), Some(E::Network));
        assert_eq!(worst(&[E::Verified, E::NotAvailable]), Some(E::NotAvailable));
    }
}
