//! What a comparison of a mirror with its reference found: a plain value, and its form in JSON. How it was found out,
//! and how a person sees it, is decided elsewhere.

use serde::Serialize;

use crate::finding::{Code, Finding, Severity};
use crate::model::{CommitId, RepoId, RepoPath, RepoType, Revision};

/// How closely a mirror is looked at. Each level does all that the one before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Commit, listing and headers.
    Metadata,
    /// Also some bytes of each file, and the headers of all shards.
    #[default]
    Sample,
    /// Also every byte, against its digest.
    Full,
}

impl Level {
    /// As flags and reports write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Metadata => "metadata",
            Level::Sample => "sample",
            Level::Full => "full",
        }
    }
}

/// What a file was known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Checked {
    /// What the mirror says of it.
    Metadata,
    /// Ranges of its bytes, held against the reference's.
    Ranges,
    /// All of its bytes, held against the listed digest.
    Digest,
}

/// One selected file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ComparedFile {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Bytes, as the reference lists it.
    pub size: u64,
    /// How far it was looked at.
    pub checked: Checked,
    /// The ranges `[start, end)` that both sides were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<[u64; 2]>,
    /// Nothing about it is wrong.
    pub same: bool,
}

/// Everything there is to say about one repo on a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompareReport {
    /// Which name space.
    pub repo_type: RepoType,
    /// The repo.
    pub repo: RepoId,
    /// What was asked for.
    #[serde(serialize_with = "as_text")]
    pub revision: Revision,
    /// What the reference resolves it to.
    pub commit: CommitId,
    /// What the mirror resolves it to; `None` where it says nothing.
    pub mirror_commit: Option<CommitId>,
    /// The reference.
    pub endpoint: String,
    /// The mirror.
    pub mirror: String,
    /// How closely it was looked at.
    pub level: Level,
    /// What the random ranges follow from.
    pub seed: u64,
    /// Files that the reference lists.
    pub listed: usize,
    /// The selected files, by path.
    pub files: Vec<ComparedFile>,
    /// Bytes that came from the mirror.
    pub bytes: u64,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Wall-clock milliseconds.
    pub milliseconds: u64,
}

fn as_text<S: serde::Serializer>(revision: &Revision, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(revision.as_str())
}

/// What does not say that the mirror is wrong, only that it could not be asked.
fn unanswered(finding: &Finding) -> bool {
    matches!(finding.code, Code::RateLimited | Code::MirrorUnavailable)
}

impl CompareReport {
    /// What is wrong.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Error)
    }

    /// Whether the mirror matches the reference.
    pub fn matches(&self) -> bool {
        self.errors().next().is_none()
    }

    /// `true`, `different`, or `error` when part of it could not be had and nothing else is wrong.
    pub fn result(&self) -> &'static str {
        match (self.matches(), self.errors().all(unanswered)) {
            (true, _) => "true",
            (false, true) => "error",
            (false, false) => "different",
        }
    }

    /// Whether part of the mirror could not be asked.
    pub fn is_partly_unanswered(&self) -> bool {
        self.errors().any(unanswered)
    }
}
