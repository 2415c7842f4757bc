//! The result of comparing a mirror with its reference: a plain value, and its form in JSON. `session` compares; the
//! command shows the result.

use serde::Serialize;

use crate::finding::{Code, Finding, Severity};
use crate::model::{CommitId, RepoId, RepoPath, RepoType, Revision};

/// How closely a mirror is compared. Each level includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Commit, listing and headers.
    Metadata,
    /// Also some bytes of each file, and the headers of all shards.
    #[default]
    Sample,
    /// Also every byte, with the digest.
    Full,
}

impl Level {
    /// The word in flags and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Metadata => "metadata",
            Level::Sample => "sample",
            Level::Full => "full",
        }
    }
}

/// Which part of a file was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Checked {
    /// The mirror's metadata about it.
    Metadata,
    /// Ranges of its bytes, compared with the reference's.
    Ranges,
    /// All of its bytes, compared with the listed digest.
    Digest,
}

/// One selected file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ComparedFile {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Its size in bytes, as the reference lists it.
    pub size: u64,
    /// How much of it was compared.
    pub checked: Checked,
    /// The ranges `[start, end)` that were fetched from both sides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<[u64; 2]>,
    /// Whether it matches in everything that was compared.
    pub same: bool,
}

/// All results for one repo on a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompareReport {
    /// The repo's name space.
    pub repo_type: RepoType,
    /// The repo.
    pub repo: RepoId,
    /// The revision that was asked for.
    #[serde(serialize_with = "as_text")]
    pub revision: Revision,
    /// The commit that the reference resolves it to.
    pub commit: CommitId,
    /// The commit that the mirror resolves it to; `None` if it does not say.
    pub mirror_commit: Option<CommitId>,
    /// The reference.
    pub endpoint: String,
    /// The mirror.
    pub mirror: String,
    /// How closely it was compared.
    pub level: Level,
    /// The seed of the random ranges.
    pub seed: u64,
    /// Files that the reference lists.
    pub listed: usize,
    /// The selected files, by path.
    pub files: Vec<ComparedFile>,
    /// Bytes that came from the mirror.
    pub bytes: u64,
    /// The findings.
    pub findings: Vec<Finding>,
    /// Wall-clock milliseconds.
    pub milliseconds: u64,
}

fn as_text<S: serde::Serializer>(revision: &Revision, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(revision.as_str())
}

/// Whether a finding says only that the mirror did not answer, not that it is wrong.
fn unanswered(finding: &Finding) -> bool {
    matches!(finding.code, Code::RateLimited | Code::MirrorUnavailable)
}

impl CompareReport {
    /// The findings that are errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Error)
    }

    /// Whether the mirror matches the reference.
    pub fn matches(&self) -> bool {
        self.errors().next().is_none()
    }

    /// `true`, `different`, or `error` if part of the mirror did not answer and nothing else is wrong.
    pub fn result(&self) -> &'static str {
        match (self.matches(), self.errors().all(unanswered)) {
            (true, _) => "true",
            (false, true) => "error",
            (false, false) => "different",
        }
    }

    /// Whether part of the mirror did not answer.
    pub fn is_partly_unanswered(&self) -> bool {
        self.errors().any(unanswered)
    }
}
