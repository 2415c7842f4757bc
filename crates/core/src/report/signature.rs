//! A signature in a report. `signature` finds the signer and the signed files.

use serde::Serialize;

use crate::model::RepoPath;
use crate::signature::Signer;

/// The state of a signature after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SignatureStanding {
    /// A trusted signer signed all files that were taken, and no others.
    Verified,
    /// A trusted signer signed all files that were taken, and others that were not selected.
    Partial,
    /// It is not trusted, or a file differs from it.
    Failed,
    /// No trusted signer is configured.
    Unchecked,
}

impl SignatureStanding {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            SignatureStanding::Verified => "verified",
            SignatureStanding::Partial => "partial",
            SignatureStanding::Failed => "failed",
            SignatureStanding::Unchecked => "unchecked",
        }
    }
}

/// A signature of the repo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignatureReport {
    /// The signature's file.
    pub path: RepoPath,
    /// Its state.
    pub standing: SignatureStanding,
    /// The proven signer, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The kind of the signer: `key`, `certificate` or `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// Files of the run that have the signed digest.
    pub files: usize,
    /// Signed files that were not selected.
    pub not_selected: usize,
}

impl SignatureReport {
    /// A signature with a proven signer.
    pub(crate) fn new(path: &RepoPath, standing: SignatureStanding, signer: &Signer) -> Self {
        let (signer, by) = (Some(signer.to_string()), Some(signer.kind()));
        SignatureReport { path: path.clone(), standing, signer, by, files: 0, not_selected: 0 }
    }

    /// A signature without a proven signer.
    pub(crate) fn not_checked(path: &RepoPath, refused: bool) -> Self {
        let standing = if refused { SignatureStanding::Failed } else { SignatureStanding::Unchecked };
        SignatureReport { path: path.clone(), standing, signer: None, by: None, files: 0, not_selected: 0 }
    }

    #[must_use]
    pub(crate) fn with_counts(self, files: usize, not_selected: usize) -> Self {
        SignatureReport { files, not_selected, ..self }
    }
}
