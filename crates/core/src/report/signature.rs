//! What a report says of a signature. Who signed and what is signed is found out elsewhere.

use serde::Serialize;

use crate::model::RepoPath;
use crate::signature::Signer;

/// How a signature stands after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SignatureStanding {
    /// Somebody who is trusted signed all files that were taken, and no others.
    Verified,
    /// Somebody who is trusted signed all files that were taken, and others that were not selected.
    Partial,
    /// It does not count, or a file is not what it says.
    Failed,
    /// Nobody said whose signatures count.
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
    /// How it stands.
    pub standing: SignatureStanding,
    /// Who is proven to have signed, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// How: `key`, `certificate` or `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'static str>,
    /// Files of the run that have the digest that is signed.
    pub files: usize,
    /// Signed files that were not selected.
    pub not_selected: usize,
}

impl SignatureReport {
    /// One whose signer is proven.
    pub(crate) fn new(path: &RepoPath, standing: SignatureStanding, signer: &Signer) -> Self {
        let (signer, by) = (Some(signer.to_string()), Some(signer.kind()));
        SignatureReport { path: path.clone(), standing, signer, by, files: 0, not_selected: 0 }
    }

    /// One of which nothing is proven.
    pub(crate) fn not_checked(path: &RepoPath, refused: bool) -> Self {
        let standing = if refused { SignatureStanding::Failed } else { SignatureStanding::Unchecked };
        SignatureReport { path: path.clone(), standing, signer: None, by: None, files: 0, not_selected: 0 }
    }

    #[must_use]
    pub(crate) fn with_counts(self, files: usize, not_selected: usize) -> Self {
        SignatureReport { files, not_selected, ..self }
    }
}
