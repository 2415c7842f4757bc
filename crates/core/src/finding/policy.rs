//! The findings that a team accepts: codes that fail a run, and codes that do not. A policy changes
//! only the severity of a finding.

use std::collections::BTreeSet;

use super::{Code, Finding, Severity};

/// Codes for bytes that are not the listed or not the signed ones. No policy can allow them.
const INTEGRITY: &[Code] = &[
    Code::SizeMismatch,
    Code::ChecksumMismatch,
    Code::FileMissing,
    Code::LfsPointer,
    Code::PathUnsafe,
    Code::LocalChanges,
    Code::SignatureInvalid,
    Code::SignatureMissing,
];

/// Codes that fail a run, and codes that do not. `deny` wins if both name a code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    deny: BTreeSet<Code>,
    allow: BTreeSet<Code>,
}

/// A code that cannot be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code} cannot be allowed: {why}", code = .0, why = .0.why_not())]
pub struct NotAllowable(pub Code);

impl Code {
    /// Why it cannot be allowed.
    fn why_not(self) -> &'static str {
        match self {
            Code::SignatureInvalid | Code::SignatureMissing => "the bytes are not known to be the signed ones",
            _ => "the bytes are not the listed ones",
        }
    }
}

impl Policy {
    /// A policy of these codes.
    ///
    /// # Errors
    /// If `allow` has a code of broken integrity.
    pub fn new(
        deny: impl IntoIterator<Item = Code>,
        allow: impl IntoIterator<Item = Code>,
    ) -> Result<Self, NotAllowable> {
        let allow: BTreeSet<Code> = allow.into_iter().collect();
        match allow.iter().find(|code| INTEGRITY.contains(code)) {
            Some(code) => Err(NotAllowable(*code)),
            None => Ok(Policy { deny: deny.into_iter().collect(), allow }),
        }
    }

    /// Whether findings of a code fail a run, whatever their severity.
    pub(crate) fn denies(&self, code: Code) -> bool {
        self.deny.contains(&code)
    }

    /// Applies the policy to the severity of findings: denied ones become errors, allowed errors become warnings.
    pub(crate) fn judge(&self, findings: &mut [Finding]) {
        for finding in findings {
            if self.denies(finding.code) {
                finding.severity = Severity::Error;
            } else if self.allow.contains(&finding.code) {
                finding.severity = finding.severity.min(Severity::Warning);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_findings_are_errors_and_allowed_errors_warnings() {
        let policy = Policy::new([Code::ForeignCode, Code::UnsafePickle], [Code::UnsafePickle, Code::DataGap]).unwrap();
        let mut findings: Vec<Finding> =
            [Code::ForeignCode, Code::UnsafePickle, Code::DataGap, Code::BaseModel, Code::HeaderInvalid]
                .map(|code| Finding::repo(code, "x"))
                .into();
        policy.judge(&mut findings);
        let severities: Vec<Severity> = findings.iter().map(|f| f.severity).collect();
        let [note, warning, error] = [Severity::Note, Severity::Warning, Severity::Error];
        assert_eq!(severities, [error, error, warning, note, error]);
    }

    #[test]
    fn wrong_bytes_can_never_be_allowed() {
        assert_eq!(Policy::new([], [Code::ChecksumMismatch]), Err(NotAllowable(Code::ChecksumMismatch)));
    }
}
