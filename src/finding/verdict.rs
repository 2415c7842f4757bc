//! The one place that says "verified": a pure function of what each file must be, what was seen of its bytes, and
//! what was found. How the verdict is shown, and which exit code it is, is decided by whoever shows it.

use super::{Code, Evidence, ExitCode, Finding, Origin, Proof, Severity};

/// What a run comes to, for one repo or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Every selected file has the digest that it must have, and nothing is wrong.
    Verified {
        /// Who stated the digests: of several, the weakest.
        against: Origin,
    },
    /// What formats say of themselves was checked, but nobody says what the bytes of some file must be.
    ContentsOnly {
        /// Whether the policy lets that pass.
        allowed: bool,
    },
    /// Something is wrong.
    Failed,
    /// There was nothing to verify.
    Nothing,
}

impl Verdict {
    /// The word after `result=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Verified { .. } => "verified",
            Verdict::ContentsOnly { .. } => "contents-only",
            Verdict::Failed => "failed",
            Verdict::Nothing => "nothing",
        }
    }

    /// Who stated the digests that the files have.
    pub fn against(self) -> Option<Origin> {
        match self {
            Verdict::Verified { against } => Some(against),
            _ => None,
        }
    }

    /// Whether it is [`Verdict::Verified`].
    pub fn is_verified(self) -> bool {
        matches!(self, Verdict::Verified { .. })
    }

    /// How the process ends on its account.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Verdict::Verified { .. } | Verdict::ContentsOnly { allowed: true } => ExitCode::Verified,
            Verdict::ContentsOnly { allowed: false } | Verdict::Failed => ExitCode::VerificationFailed,
            Verdict::Nothing => ExitCode::NotAvailable,
        }
    }

    /// What follows from the files of the selection and from what was found; `findings` have the severity that the
    /// policy gives them. `weights` says whether the weights of the selection are here.
    ///
    /// An error outweighs everything; then comes that there is nothing; then what no evidence proves.
    pub fn of<'a>(proofs: impl IntoIterator<Item = &'a Proof>, findings: &[Finding], weights: Weights) -> Self {
        let error = |finding: &Finding| finding.severity == Severity::Error && finding.code != Code::DigestsUnknown;
        if findings.iter().any(error) {
            return Verdict::Failed;
        }
        // `Ord` has the strongest first.
        let mut against: Option<Origin> = None;
        let mut contents_only = false;
        for proof in proofs {
            let origin = proof.expected.against();
            against = Some(against.map_or(origin, |weakest| weakest.max(origin)));
            match (&proof.evidence, origin) {
                (Evidence::Absent | Evidence::Wrong, _) => return Verdict::Failed,
                (_, Origin::Nobody) => contents_only = true,
                // Nobody looked at it, or its bytes are others: that nobody said so is no excuse.
                _ if !proof.holds() => return Verdict::Failed,
                _ => {}
            }
        }
        let said: Vec<&Finding> = findings.iter().filter(|finding| finding.code == Code::DigestsUnknown).collect();
        match against {
            None => Verdict::Nothing,
            Some(_) if weights == Weights::Unknown => Verdict::Nothing,
            Some(_) if contents_only || !said.is_empty() => {
                // Only a policy makes the finding less than an error; where nobody said it, nothing was allowed.
                let allowed = !said.is_empty() && said.iter().all(|finding| finding.severity < Severity::Error);
                Verdict::ContentsOnly { allowed }
            }
            Some(against) => Verdict::Verified { against },
        }
    }
}

/// Whether a selection has the weights that it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// They are here; or the repo's whole listing has none, or is no model's.
    #[default]
    Here,
    /// There are none here, and what the repo has is not known as a whole: what is missing cannot be told.
    Unknown,
}
