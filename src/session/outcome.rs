//! What a job comes to: what was done to each file, and the report that is made of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{Prepared, Session};
use crate::finding::{Code, Finding, Outcome, Severity};
use crate::model::{Presence, RepoPath};
use crate::report::{FileReport, FileStatus, Report, Totals, WeightsReport};

impl Session {
    pub(super) fn report(prepared: &Prepared, outcome: &Outcome, statuses: &Statuses) -> Report {
        let info = &prepared.listing.info;
        let mut findings = prepared.selection.findings.clone();
        findings.extend(outcome.findings.iter().cloned());
        one_cause_one_finding(&mut findings);
        let failed = paths_of(findings.iter().filter(|f| f.severity == Severity::Error));
        let files: Vec<FileReport> = prepared
            .plan
            .items
            .iter()
            .map(|item| FileReport {
                path: item.entry.path.clone(),
                size: item.entry.size,
                digest: Some(item.entry.digest()),
                purpose: item.purpose,
                status: match statuses.of(&item.entry.path) {
                    _ if failed.contains(item.entry.path.as_str()) => FileStatus::Failed,
                    // Neither touched in this run nor known from an earlier one.
                    FileStatus::AlreadyVerified if item.presence != Presence::Verified => FileStatus::Unchecked,
                    status => status,
                },
            })
            .collect();
        Report {
            repo: Some((info.repo_type, info.id.clone())),
            revision: Some(info.revision.clone()),
            commit: Some(info.commit),
            path: prepared.place.clone().unwrap_or_else(|| prepared.store.snapshot_dir(&info.commit)),
            weights: prepared.selection.weights.iter().map(WeightsReport::from).collect(),
            totals: Totals {
                files: files.len(),
                bytes: prepared.plan.total_bytes(),
                bytes_fetched: statuses.fetched.values().sum(),
                bytes_over_xet: statuses.over_xet,
                bytes_hashed: outcome.bytes_hashed,
                digests: outcome.digests,
                tensors: outcome.tensors,
                indexed: outcome.indexed,
                parameters: outcome.parameters,
                milliseconds: 0,
            },
            files,
            findings,
            already_verified: false,
        }
    }
}

/// The files that findings are about.
pub(super) fn paths_of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> HashSet<&'a str> {
    findings.into_iter().filter_map(|finding| finding.path.as_deref()).collect()
}

/// A file that is wrong has its error; that selection could not read it either is no news.
pub(super) fn one_cause_one_finding(findings: &mut Vec<Finding>) {
    let wrong: BTreeSet<String> =
        findings.iter().filter(|f| f.severity == Severity::Error).filter_map(|f| f.path.clone()).collect();
    let echo = |f: &Finding| {
        f.severity != Severity::Error
            && matches!(f.code, Code::ConfigInvalid | Code::FamilyIncomplete)
            && f.path.as_ref().is_some_and(|p| wrong.contains(p))
    };
    findings.retain(|f| !echo(f));
}

/// What was done to each file in this run.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    pub fetched: BTreeMap<RepoPath, u64>,
    pub over_xet: u64,
    pub checked: BTreeSet<RepoPath>,
}

impl Statuses {
    pub fn of(&self, path: &RepoPath) -> FileStatus {
        if self.fetched.contains_key(path) {
            FileStatus::Fetched
        } else if self.checked.contains(path) {
            FileStatus::Checked
        } else {
            FileStatus::AlreadyVerified
        }
    }

    pub fn nothing_done(&self) -> bool {
        self.fetched.is_empty() && self.checked.is_empty()
    }
}
