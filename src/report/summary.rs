//! The report of one repo: a plain value that renders to text or JSON. The schema of its JSON form
//! is this file; fields are only ever added within one `schema_version`.

use std::path::PathBuf;

use serde::Serialize;

use crate::finding::{ExitCode, Finding, Severity};
use crate::model::{CommitId, Digest, Family, Purpose, RepoId, RepoPath, RepoType, Revision, WeightSet};

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileStatus {
    /// Fetched in this run; its digest was computed while it streamed.
    Fetched,
    /// Was here; its digest was computed in this run.
    Checked,
    /// Was here, checked by an earlier run and unchanged since.
    AlreadyVerified,
    /// Was here; nobody says what its digest should be.
    Unchecked,
    /// Not here, or not right: a finding says why.
    Failed,
}

/// One file of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Its bytes as listed.
    pub size: u64,
    /// The digest it must have, when somebody says.
    pub digest: Option<Digest>,
    /// What it is for.
    pub purpose: Purpose,
    /// What became of it.
    pub status: FileStatus,
}

impl Serialize for FileReport {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            path: &'a str,
            size: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            algorithm: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            digest: Option<String>,
            purpose: Purpose,
            status: FileStatus,
        }
        Wire {
            path: self.path.as_str(),
            size: self.size,
            algorithm: self.digest.map(|d| d.algorithm()),
            digest: self.digest.map(|d| d.to_string()),
            purpose: self.purpose,
            status: self.status,
        }
        .serialize(s)
    }
}

/// The weights of one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WeightsReport {
    /// The scope's folder; empty for the root.
    pub scope: String,
    /// The family taken.
    pub family: Family,
    /// The variant taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The index, when sharded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<RepoPath>,
    /// How many weight files.
    pub files: usize,
}

impl From<&WeightSet> for WeightsReport {
    fn from(set: &WeightSet) -> Self {
        WeightsReport {
            scope: set.scope.clone(),
            family: set.family,
            variant: set.variant.clone(),
            index: set.index.clone(),
            files: set.files.len(),
        }
    }
}

/// Figures of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Files of the selection.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that came over the network in this run.
    pub bytes_fetched: u64,
    /// Those of them that came over Xet.
    pub bytes_over_xet: u64,
    /// Bytes read from disk and hashed in this run.
    pub bytes_hashed: u64,
    /// Digests that agreed (in this run or an earlier one).
    pub digests: usize,
    /// Tensors found in the weight files' headers.
    pub tensors: u64,
    /// Names of indexes compared with those headers.
    pub indexed: u64,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Wall-clock milliseconds.
    pub milliseconds: u64,
}

/// Everything there is to say about one repo.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The repo; absent for a plain folder.
    pub repo: Option<(RepoType, RepoId)>,
    /// What was asked for.
    pub revision: Option<Revision>,
    /// What it was pinned to.
    pub commit: Option<CommitId>,
    /// The folder that holds the files.
    pub path: PathBuf,
    /// The weights, one row a scope.
    pub weights: Vec<WeightsReport>,
    /// The files, by path.
    pub files: Vec<FileReport>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Figures.
    pub totals: Totals,
    /// Nothing was fetched and no content was read: an earlier run verified all of it.
    pub already_verified: bool,
}

impl Report {
    /// Whether everything is right.
    pub fn is_verified(&self) -> bool {
        !self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// How the process should end on its account.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_verified() { ExitCode::Verified } else { ExitCode::VerificationFailed }
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            verified: bool,
            already_verified: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            repo_type: Option<RepoType>,
            #[serde(skip_serializing_if = "Option::is_none")]
            repo: Option<&'a RepoId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            revision: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            commit: Option<CommitId>,
            path: String,
            weights: &'a [WeightsReport],
            totals: Totals,
            findings: &'a [Finding],
            files: &'a [FileReport],
        }
        Wire {
            verified: self.is_verified(),
            already_verified: self.already_verified,
            repo_type: self.repo.as_ref().map(|(t, _)| *t),
            repo: self.repo.as_ref().map(|(_, id)| id),
            revision: self.revision.as_ref().map(Revision::as_str),
            commit: self.commit,
            path: self.path.display().to_string(),
            weights: &self.weights,
            totals: self.totals,
            findings: &self.findings,
            files: &self.files,
        }
        .serialize(s)
    }
}
