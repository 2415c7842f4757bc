//! The report of one repo: a plain value that renders to text or JSON. This file defines the JSON
//! form; within one `schema_version`, fields are only added.

use std::collections::HashSet;

use serde::Serialize;

use super::SignatureReport;
use crate::finding::{Code, Evidence, Finding, Origin, Policy, Proof, Severity, Take, Verdict, Weights};
use crate::model::{
    CommitId, Digest, Family, Location, Partition, Purpose, RepoId, RepoPath, RepoType, Revision, WeightSet,
};
use crate::select::LeftOut;

/// The result for one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileStatus {
    /// Fetched in this run; its digest was computed while it streamed.
    Fetched,
    /// It was already present; its digest or its Xet hash was computed in this run.
    Checked,
    /// It was already present; an earlier run checked it, and it is unchanged since.
    AlreadyVerified,
    /// It was already present; nobody states its digest.
    Unchecked,
    /// It is missing or wrong: a finding says why.
    Failed,
}

/// One file of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Its listed size in bytes.
    pub size: u64,
    /// The digest that it must have, if somebody states it.
    pub digest: Option<Digest>,
    /// Its purpose.
    pub purpose: Purpose,
    /// Who stated the digest.
    pub against: Origin,
    /// What the run saw of its bytes.
    pub evidence: Evidence,
    /// The result for it.
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
            against: Origin,
            evidence: &'static str,
            status: FileStatus,
        }
        Wire {
            path: self.path.as_str(),
            size: self.size,
            algorithm: self.digest.map(|d| d.algorithm()),
            digest: self.digest.map(|d| d.to_string()),
            purpose: self.purpose,
            against: self.against,
            evidence: self.evidence.as_str(),
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
    /// The family that was taken.
    pub family: Family,
    /// The variant that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The index, if the weights are sharded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<RepoPath>,
    /// The number of weight files.
    pub files: usize,
    /// Whether its files and its index are all without an error; `None` if they were not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<bool>,
}

impl WeightsReport {
    /// The row of a set. `failed` are the files with errors; `None` if the files were not checked.
    pub(super) fn new(set: &WeightSet, failed: Option<&HashSet<&str>>) -> Self {
        WeightsReport {
            scope: set.scope.clone(),
            family: set.family,
            variant: set.variant.clone(),
            index: set.index.clone(),
            files: set.files.len(),
            sound: failed.map(|failed| !set.files.iter().chain(&set.index).any(|path| failed.contains(path.as_str()))),
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
    /// How many of them came over Xet.
    pub bytes_over_xet: u64,
    /// Bytes read from disk and hashed in this run.
    pub bytes_hashed: u64,
    /// Digests that matched (in this run or an earlier one).
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

/// All results for one repo.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The repo; absent for a plain folder.
    pub repo: Option<(RepoType, RepoId)>,
    /// The revision that was asked for.
    pub revision: Option<Revision>,
    /// The commit that it was pinned to.
    pub commit: Option<CommitId>,
    /// Where the files are.
    pub place: Location,
    /// The verdict. Every output and the exit code follow from this value.
    pub verdict: Verdict,
    /// The weights, one row for each scope.
    pub weights: Vec<WeightsReport>,
    /// The files, by path.
    pub files: Vec<FileReport>,
    /// The findings.
    pub findings: Vec<Finding>,
    /// Figures.
    pub totals: Totals,
    /// Whether nothing was fetched and no content was read, since an earlier run verified everything.
    pub already_verified: bool,
    /// The repo's signatures.
    pub signatures: Vec<SignatureReport>,
    /// Files of the repo that were not selected, in groups, largest first. Empty if the repo's listing is not known.
    pub left_out: Vec<LeftOut>,
    /// Other repos with code of the model. This report does not cover them.
    pub code_repos: Vec<RepoId>,
}

/// A report without the values that follow from the rest: the verdict, and each file's status.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The repo; absent for a plain folder.
    pub repo: Option<(RepoType, RepoId)>,
    /// The revision that was asked for.
    pub revision: Option<Revision>,
    /// The commit that it was pinned to.
    pub commit: Option<CommitId>,
    /// Where the files are.
    pub place: Location,
    /// The sets of weights.
    pub weights: Vec<WeightSet>,
    /// Whether the expected weights are present.
    pub weights_known: Weights,
    /// The part of a shared job that the files belong to; `None` if they are the whole selection.
    pub partition: Option<Partition>,
    /// The files: what the run saw of each, its purpose, and whether this run fetched it.
    pub files: Vec<(Proof, Purpose, bool)>,
    /// The findings, with their usual severity.
    pub findings: Vec<Finding>,
    /// Figures; the numbers of files and digests are counted from `files`.
    pub totals: Totals,
    /// Whether the check of contents was that of an earlier run.
    pub remembered: bool,
    /// The repo's signatures.
    pub signatures: Vec<SignatureReport>,
    /// Files of the repo that were not selected.
    pub left_out: Vec<LeftOut>,
    /// Other repos with code of the model.
    pub code_repos: Vec<RepoId>,
}

impl Draft {
    /// Applies the policy to the findings and draws the verdict, once.
    #[must_use]
    pub fn conclude(mut self, policy: &Policy) -> Report {
        policy.judge(&mut self.findings);
        let proofs = self.files.iter().map(|(proof, ..)| proof);
        let verdict = match self.partition {
            None => Verdict::of(proofs, &self.findings, self.weights_known),
            Some(partition) => Verdict::of_part(partition, proofs, &self.findings, self.weights_known),
        };
        let nothing_done =
            self.files.iter().all(|(proof, _, fetched)| !fetched && matches!(proof.evidence, Evidence::Recorded(_)));
        let failed: HashSet<&str> = self
            .findings
            .iter()
            // A repaired file is right now: the finding is about the run, not about the file.
            .filter(|finding| finding.severity == Severity::Error && finding.code != Code::Repaired)
            .filter_map(|finding| finding.path.as_deref())
            .collect();
        let digests = self.files.iter().filter(|(proof, ..)| proof.holds()).count();
        let files: Vec<FileReport> = self
            .files
            .iter()
            .map(|(proof, purpose, fetched)| FileReport {
                path: proof.path.clone(),
                size: proof.expected.size.unwrap_or(0),
                digest: proof.expected.digest,
                purpose: *purpose,
                against: proof.against(),
                evidence: proof.evidence,
                status: match proof.evidence {
                    _ if failed.contains(proof.path.as_str()) => FileStatus::Failed,
                    Evidence::Absent | Evidence::Wrong => FileStatus::Failed,
                    Evidence::Unread => FileStatus::Unchecked,
                    Evidence::Hashed(_) | Evidence::Recorded(_) if *fetched => FileStatus::Fetched,
                    Evidence::Hashed(_) | Evidence::XetMerkle(_) => FileStatus::Checked,
                    // A digest that only the registry states is not checked here, and the file need not be fetched.
                    Evidence::Recorded(_) | Evidence::Stated(_) => FileStatus::AlreadyVerified,
                },
            })
            .collect();
        let bytes = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
        let weights = self.weights.iter().map(|set| WeightsReport::new(set, Some(&failed))).collect();
        Report {
            repo: self.repo,
            revision: self.revision,
            commit: self.commit,
            place: self.place,
            verdict,
            weights,
            totals: Totals { files: files.len(), bytes, digests, ..self.totals },
            files,
            already_verified: self.remembered && nothing_done && verdict.is_verified(),
            left_out: self.left_out,
            signatures: self.signatures,
            code_repos: self.code_repos,
            findings: self.findings,
        }
    }
}

impl Report {
    /// Whether the verdict is [`Verdict::Verified`].
    pub fn is_verified(&self) -> bool {
        self.verdict.is_verified()
    }
}

/// A group of files that were not selected, without their names, which `plan` has.
#[derive(Serialize)]
struct Group<'a> {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<Family>,
    change: &'a Take,
    bytes: u64,
    files: usize,
}

impl<'a> From<&'a LeftOut> for Group<'a> {
    fn from(group: &'a LeftOut) -> Self {
        Group {
            reason: group.reason.to_string(),
            family: group.family,
            change: &group.take,
            bytes: group.bytes,
            files: group.paths.len(),
        }
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            verdict: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            against: Option<Origin>,
            #[serde(skip_serializing_if = "Option::is_none")]
            part: Option<String>,
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
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            signatures: &'a [SignatureReport],
            findings: &'a [Finding],
            #[serde(skip_serializing_if = "Vec::is_empty")]
            left_out: Vec<Group<'a>>,
            files: &'a [FileReport],
        }
        Wire {
            verdict: self.verdict.as_str(),
            against: self.verdict.against(),
            part: self.verdict.partition().map(|partition| partition.to_string()),
            verified: self.is_verified(),
            already_verified: self.already_verified,
            repo_type: self.repo.as_ref().map(|(t, _)| *t),
            repo: self.repo.as_ref().map(|(_, id)| id),
            revision: self.revision.as_ref().map(Revision::as_str),
            commit: self.commit,
            path: self.place.to_string(),
            weights: &self.weights,
            totals: self.totals,
            signatures: &self.signatures,
            findings: &self.findings,
            left_out: self.left_out.iter().map(Group::from).collect(),
            files: &self.files,
        }
        .serialize(s)
    }
}
