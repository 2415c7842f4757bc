//! The result of a dry run: the selection, the files that are present, the files to fetch, the files left out and why;
//! and its form in JSON. The command shows it.

use serde::Serialize;

use super::WeightsReport;
use crate::finding::{Finding, Take};
use crate::model::{CommitId, Family, Gated, Presence, Purpose, RepoInfo};
use crate::plan::Plan;
use crate::select::Selection;

/// A plan together with the selection it comes from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PlanReport<'a> {
    /// The repo and commit.
    pub info: &'a RepoInfo,
    /// The chosen files, and why.
    pub selection: &'a Selection,
    /// The files that are present, and those to fetch.
    pub plan: &'a Plan,
}

impl PlanReport<'_> {
    /// Bytes of all files that are left out.
    pub fn bytes_left_out(&self) -> u64 {
        self.selection.left_out.iter().fold(0, |sum, group| sum.saturating_add(group.bytes))
    }
}

/// The word for how much of a file is present.
pub fn state(presence: Presence) -> &'static str {
    match presence {
        Presence::Verified => "verified",
        Presence::Unverified => "cached",
        Presence::Partial(_) => "resume",
        Presence::Absent => "fetch",
    }
}

/// A planned file in JSON. The fields have the order that they get in a map.
#[derive(Serialize)]
struct File<'a> {
    algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_here: Option<u64>,
    digest: String,
    path: &'a str,
    purpose: Purpose,
    reason: &'a str,
    size: u64,
    state: &'static str,
}

/// The `files` of a plan in JSON; without a plan an empty list.
#[derive(Debug)]
pub struct Files<'a>(Option<&'a PlanReport<'a>>);

impl Serialize for Files<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let both = self.0.iter().flat_map(|report| report.plan.items.iter().zip(&report.selection.files));
        s.collect_seq(both.map(|(item, selected)| File {
            algorithm: item.entry.digest().algorithm(),
            bytes_here: if let Presence::Partial(have) = item.presence { Some(have) } else { None },
            digest: item.entry.digest().to_string(),
            path: item.entry.path.as_str(),
            purpose: item.purpose,
            reason: &selected.reason,
            size: item.entry.size,
            state: state(item.presence),
        }))
    }
}

/// A plan in JSON with an empty list of `files`, for a caller that writes [`Files`] itself, one after the other.
#[derive(Debug)]
pub struct Frame<'a>(&'a PlanReport<'a>);

impl Serialize for Frame<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.write(Files(None), s)
    }
}

impl Serialize for PlanReport<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.write(self.files(), s)
    }
}

impl PlanReport<'_> {
    /// The planned files in JSON.
    pub fn files(&self) -> Files<'_> {
        Files(Some(self))
    }

    /// Everything else in JSON.
    pub fn frame(&self) -> Frame<'_> {
        Frame(self)
    }

    fn write<S: serde::Serializer>(&self, files: Files<'_>, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Left<'a> {
            reason: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            family: Option<Family>,
            change: &'a Take,
            bytes: u64,
            paths: Vec<&'a str>,
        }
        #[derive(Serialize)]
        struct Wire<'a> {
            repo_type: crate::model::RepoType,
            repo: &'a str,
            canonical_repo: &'a str,
            revision: &'a str,
            commit: CommitId,
            private: bool,
            gated: Gated,
            #[serde(skip_serializing_if = "Option::is_none")]
            license: Option<&'a str>,
            weights: Vec<WeightsReport>,
            files: Files<'a>,
            left_out: Vec<Left<'a>>,
            other_repos: &'a [String],
            findings: &'a [Finding],
            bytes: u64,
            bytes_to_fetch: u64,
            bytes_left_out: u64,
            free_space: Option<u64>,
        }
        Wire {
            repo_type: self.info.repo_type,
            repo: self.info.id.as_str(),
            canonical_repo: self.info.canonical_id.as_str(),
            revision: self.info.revision.as_str(),
            commit: self.info.commit,
            private: self.info.private,
            gated: self.info.gated,
            license: self.info.card.license.as_deref(),
            weights: self.selection.weights.iter().map(|set| WeightsReport::new(set, None)).collect(),
            files,
            left_out: self
                .selection
                .left_out
                .iter()
                .map(|g| Left {
                    reason: g.reason.to_string(),
                    family: g.family,
                    change: &g.take,
                    bytes: g.bytes,
                    paths: g.paths.iter().map(crate::model::RepoPath::as_str).collect(),
                })
                .collect(),
            other_repos: &self.selection.other_repos,
            findings: &self.selection.findings,
            bytes: self.plan.total_bytes(),
            bytes_to_fetch: self.plan.missing_bytes(),
            bytes_left_out: self.bytes_left_out(),
            free_space: self.plan.free_space,
        }
        .serialize(s)
    }
}
