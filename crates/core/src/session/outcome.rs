//! The results of a job: what the run saw of each file, and the report about it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use super::fleet::Aim;
use super::{Prepared, Session};
use crate::finding::{Code, Evidence, Expectation, Finding, Outcome, Proof, Severity, Stamp, Weights};
use crate::model::{Entry, Family, Hashed, Presence, RepoPath, RepoType, WeightSet};
use crate::report::{Draft, Totals};
use crate::select::Selection;
use crate::transfer::Arrived;

impl Session {
    /// The report of a job, without its verdict.
    pub(super) fn report(prepared: &Prepared, outcome: &Outcome, statuses: &Statuses) -> Draft {
        let info = &prepared.listing.info;
        let mut findings = prepared.selection.findings.clone();
        findings.extend(outcome.findings.iter().cloned());
        one_cause_one_finding(&mut findings);
        let seen: BTreeMap<&RepoPath, &Proof> = outcome.proofs.iter().map(|proof| (&proof.path, proof)).collect();
        let files = prepared.plan.items.iter().map(|item| {
            let path = &item.entry.path;
            let proof = seen.get(path).map_or_else(|| statuses.proof(&item.entry, prepared), |proof| (*proof).clone());
            (proof, item.purpose, statuses.fetched.contains_key(path))
        });
        Draft {
            repo: Some((info.repo_type, info.id.clone())),
            revision: Some(info.revision.clone()),
            commit: Some(info.commit),
            place: prepared.place.clone(),
            weights: prepared.selection.weights.clone(),
            weights_known: prepared.weights_known(),
            partition: prepared.aim.partition(),
            files: files.collect(),
            totals: Totals {
                bytes_fetched: statuses.fetched.values().sum(),
                bytes_over_xet: statuses.over_xet,
                bytes_hashed: outcome.bytes_hashed,
                tensors: outcome.tensors,
                indexed: outcome.indexed,
                parameters: outcome.parameters,
                ..Totals::default()
            },
            findings,
            remembered: false,
            left_out: if prepared.whole { prepared.selection.left_out.clone() } else { Vec::new() },
            signatures: Vec::new(),
            code_repos: prepared.selection.code_repos.clone(),
        }
    }
}

impl Prepared {
    /// Whether the expected weights are in the selection.
    pub(super) fn weights_known(&self) -> Weights {
        if let Aim::Part { weights_known, .. } = self.aim {
            return weights_known;
        }
        let model = self.listing.info.repo_type == RepoType::Model;
        if model && !self.whole && !self.selection.named { weights_here(&self.selection) } else { Weights::Here }
    }
}

/// Milliseconds since a run began, for its report.
pub(super) fn milliseconds_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Whether the weights of a model are here if the repo's whole listing is not known: there are some weights, with the
/// files that loaders need beside them. transformers and diffusers load no weights without `config.json`, and no shards
/// without an index.
pub(super) fn weights_here(selection: &Selection) -> Weights {
    let here = |path: String| selection.files.iter().any(|file| file.path.as_str() == path);
    let whole = |set: &WeightSet| {
        let Some(first) = set.files.first() else { return false };
        let (dir, name) = (first.dir(), first.file_name());
        let standard = matches!(set.family, Family::Safetensors | Family::Bin)
            && ["model.", "model-", "pytorch_model", "diffusion_pytorch_model"]
                .iter()
                .any(|stem| name.starts_with(stem));
        let config = if dir.is_empty() { "config.json".to_owned() } else { format!("{dir}/config.json") };
        !standard || here(config) && (set.index.is_some() || !name.contains("-of-"))
    };
    if selection.weights.is_empty() || !selection.weights.iter().all(whole) { Weights::Unknown } else { Weights::Here }
}

/// The files that findings are about.
pub(super) fn paths_of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> HashSet<&'a str> {
    findings.into_iter().filter_map(|finding| finding.path.as_deref()).collect()
}

/// Removes the finding that selection could not read a file, if the file has an error of its own.
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

/// What the run did with each file, and what it saw of it.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    pub fetched: BTreeMap<RepoPath, u64>,
    pub over_xet: u64,
    pub seen: BTreeMap<RepoPath, (Evidence, Option<Stamp>)>,
}

impl Statuses {
    /// The evidence from earlier runs' records, for the files that the plan found here.
    pub fn recorded(prepared: &Prepared) -> Self {
        let here = prepared.plan.items.iter().filter(|item| item.presence == Presence::Verified);
        let seen = here.map(|i| (i.entry.path.clone(), (Evidence::Recorded(i.entry.digest()), None)));
        Statuses { seen: seen.collect(), ..Statuses::default() }
    }

    /// Notes the files that were fetched.
    pub fn arrived(&mut self, arrived: impl IntoIterator<Item = Arrived>) {
        for file in arrived {
            if let Some(hashed) = file.hashed {
                self.seen.insert(file.path.clone(), (Evidence::Hashed(hashed), None));
            }
            self.fetched.insert(file.path, file.received);
        }
    }

    /// Notes a file that was hashed during its transfer to a destination other than a disk.
    pub fn sent(&mut self, entry: &Entry, hashed: Hashed, received: u64) {
        self.seen.insert(entry.path.clone(), (Evidence::Hashed(hashed), None));
        if received > 0 || entry.size == 0 {
            self.fetched.insert(entry.path.clone(), received);
        }
    }

    /// Notes the evidence from a check.
    pub fn saw(&mut self, proofs: &[Proof]) {
        self.seen.extend(proofs.iter().map(|proof| (proof.path.clone(), (proof.evidence, proof.stamp))));
    }

    /// The evidence about a file.
    pub fn evidence(&self, path: &RepoPath) -> Evidence {
        self.seen.get(path).map_or(Evidence::Unread, |(evidence, _)| *evidence)
    }

    fn proof(&self, entry: &Entry, prepared: &Prepared) -> Proof {
        let (evidence, stamp) = self.seen.get(&entry.path).copied().unwrap_or((Evidence::Absent, None));
        let expected = Expectation::new(entry.size, entry.digest(), prepared.origin);
        Proof { path: entry.path.clone(), expected, evidence, stamp }
    }

    pub fn nothing_done(&self) -> bool {
        self.fetched.is_empty() && self.seen.values().all(|(evidence, _)| matches!(evidence, Evidence::Recorded(_)))
    }
}
