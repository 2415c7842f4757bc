//! The page's row for one repo, as plain values: from a report, a plan, a comparison or an error.

use hfget_core::finding::{Code, Finding, Origin, Severity};
use hfget_core::report::{FileReport, Report};
use hfget_core::select::LeftOut;
use hfget_core::unstable::report::{CompareReport, PlanReport, state};
use hfget_core::unstable::text::{bytes, group};

use super::super::Words;
use super::super::plan::examples;
use super::super::remedies::take_words;
use crate::exit::{Ends, ExitCode};

/// The checks, as columns of the matrix and as sections of the documentation's page on findings.
pub const GROUPS: [&str; 7] = ["Bytes", "Weights", "Code", "Selection", "Folder", "Mirror", "Signature"];

/// The index in [`GROUPS`] of a finding's group.
pub fn group_of(code: Code) -> usize {
    match code {
        Code::SizeMismatch
        | Code::ChecksumMismatch
        | Code::FileMissing
        | Code::Repaired
        | Code::LfsPointer
        | Code::DigestsUnknown
        | Code::ConfigInvalid
        | Code::PathUnsafe
        | Code::HubScan
        | Code::FileExtra => 0,
        Code::UnsafePickle
        | Code::NeedsFullUnpickle
        | Code::TorchscriptCode
        | Code::KerasLambda
        | Code::GraphFileAccess
        | Code::RemoteCode
        | Code::ForeignCode => 2,
        Code::FamilyFallback
        | Code::FamilyIncomplete
        | Code::VariantFallback
        | Code::OverlappingWeights
        | Code::PartLeftOut
        | Code::WeightsAbsent
        | Code::CompanionMissing
        | Code::BaseModel
        | Code::Excluded
        | Code::FilesOnly => 3,
        Code::LocalChanges | Code::StaleFile | Code::FileRemoved | Code::MixedCommits => 4,
        Code::CommitStale
        | Code::MetadataMismatch
        | Code::MetadataMissing
        | Code::BytesDiffer
        | Code::RangeBroken
        | Code::HtmlInsteadOfBytes
        | Code::RedirectForeign
        | Code::PlainHttp
        | Code::AccessDenied
        | Code::RateLimited
        | Code::MirrorUnavailable => 5,
        Code::SignatureInvalid
        | Code::SignatureMissing
        | Code::SignaturePartial
        | Code::SignatureUnchecked
        | Code::FileUnsigned => 6,
        // The other codes are about weights; so are codes that this version does not know.
        _ => 1,
    }
}

/// How a result looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
}

impl Tone {
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Bad => "bad",
        }
    }
}

/// One repo, folder or mirror.
#[derive(Debug)]
pub struct Row {
    pub name: String,
    pub result: String,
    pub tone: Tone,
    /// The indexes of the [`GROUPS`] that were checked.
    pub looked: &'static [usize],
    /// Files whose digest matches, of all.
    pub digests: Option<(usize, usize)>,
    pub files: usize,
    pub bytes: u64,
    /// Bytes that came over the network, or will.
    pub moved: u64,
    pub milliseconds: Option<u64>,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// The findings, each with its remedy in words.
    pub findings: Vec<(Finding, Option<String>)>,
    /// The groups that were left out: bytes, reason, and the flag that takes the group.
    pub left_out: Vec<(u64, String, String)>,
    /// Path, state, bytes and digest of each file.
    pub list: Vec<(String, String, u64, String)>,
    /// The error and a hint, if there is no result.
    pub error: Option<(String, Option<String>)>,
}

impl Row {
    fn new(name: &str, result: String, tone: Tone) -> Self {
        Row {
            name: name.to_owned(),
            result,
            tone,
            looked: &[],
            digests: None,
            files: 0,
            bytes: 0,
            moved: 0,
            milliseconds: None,
            facts: Vec::new(),
            findings: Vec::new(),
            left_out: Vec::new(),
            list: Vec::new(),
            error: None,
        }
    }

    /// The row for a repo that is not available.
    pub fn error(name: &str, error: &str, hint: Option<&str>) -> Self {
        let mut row = Row::new(name, "error".to_owned(), Tone::Bad);
        row.error = Some((error.to_owned(), hint.map(str::to_owned)));
        row
    }

    /// The row for a repo or folder that was fetched or checked.
    pub fn report(name: &str, report: &Report, words: &Words<'_>) -> Self {
        let tone = if report.exit_code() == ExitCode::Verified { Tone::Good } else { Tone::Bad };
        let mut result = report.verdict.as_str().to_owned();
        if let Some(partition) = report.verdict.partition() {
            result = format!("{result} {} of {} right", partition.part(), partition.of());
        }
        if let Some(against) = report.verdict.against() {
            result = format!("{result} against {}", Origin::as_str(against));
        }
        let mut row = Row::new(name, result, tone);
        let totals = &report.totals;
        (row.files, row.bytes, row.moved) = (totals.files, totals.bytes, totals.bytes_fetched);
        row.milliseconds = Some(totals.milliseconds);
        row.digests = Some((totals.digests, totals.files));
        row.looked = if report.signatures.is_empty() { &[0, 1, 2, 3] } else { &[0, 1, 2, 3, 6] };
        row.facts.extend(report.revision.as_ref().map(|revision| ("Revision", revision.as_str().to_owned())));
        row.facts.extend(report.commit.map(|commit| ("Commit", commit.to_string())));
        row.facts.push(("Place", report.place.to_string()));
        for set in &report.weights {
            let scope = if set.scope.is_empty() { String::new() } else { format!("{}/: ", set.scope) };
            let variant = set.variant.as_ref().map_or(String::new(), |variant| format!(" ({variant})"));
            let failed = if set.sound == Some(false) { ", not right" } else { "" };
            let files = super::many(set.files as u64, "file");
            row.facts.push(("Weights", format!("{scope}{}{variant}, {files}{failed}", set.family)));
        }
        if totals.tensors > 0 {
            let text = format!("{}, with {} parameters", group(totals.tensors), group(totals.parameters));
            row.facts.push(("Tensors", text));
        }
        if totals.bytes_hashed > 0 {
            row.facts.push(("Hashed on disk", bytes(totals.bytes_hashed)));
        }
        row.findings = told(&report.findings, words);
        row.left_out = groups(&report.left_out);
        row.list = report.files.iter().map(file).collect();
        row
    }

    /// The row for a plan.
    pub fn plan(name: &str, plan: &PlanReport<'_>, words: &Words<'_>) -> Self {
        let wrong = plan.selection.findings.iter().any(|finding| finding.severity == Severity::Error);
        let missing = plan.plan.missing_bytes();
        let result = match missing {
            _ if wrong => "would fail".to_owned(),
            0 => "everything is here".to_owned(),
            some => format!("{} to fetch", bytes(some)),
        };
        let mut row = Row::new(name, result, if wrong { Tone::Bad } else { Tone::Good });
        (row.files, row.bytes, row.moved) = (plan.plan.items.len(), plan.plan.total_bytes(), missing);
        row.looked = &[3];
        row.facts.push(("Revision", plan.info.revision.as_str().to_owned()));
        row.facts.push(("Commit", plan.info.commit.to_string()));
        row.facts.extend(plan.info.card.license.clone().map(|license| ("Licence", license)));
        for set in &plan.selection.weights {
            let scope = if set.scope.is_empty() { String::new() } else { format!("{}/: ", set.scope) };
            row.facts
                .push(("Weights", format!("{scope}{}, {}", set.family, super::many(set.files.len() as u64, "file"))));
        }
        row.findings = told(&plan.selection.findings, words);
        row.left_out = groups(&plan.selection.left_out);
        row.list = plan
            .plan
            .items
            .iter()
            .map(|item| {
                let digest = item.entry.digest().to_string();
                (item.entry.path.as_str().to_owned(), state(item.presence).to_owned(), item.entry.size, digest)
            })
            .collect();
        row
    }

    /// The row for a mirror.
    pub fn comparison(name: &str, report: &CompareReport, words: &Words<'_>) -> Self {
        let result = match report.result() {
            "true" => "the mirror matches",
            "error" => "the mirror did not answer",
            _ => "the mirror differs",
        };
        let tone = if report.exit_code() == ExitCode::Verified { Tone::Good } else { Tone::Bad };
        let mut row = Row::new(name, result.to_owned(), tone);
        row.looked = &[0, 1, 5];
        row.files = report.files.len();
        row.bytes = report.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size));
        row.moved = report.bytes;
        row.milliseconds = Some(report.milliseconds);
        row.facts = vec![
            ("Mirror", report.mirror.clone()),
            ("Endpoint", report.endpoint.clone()),
            ("Revision", report.revision.as_str().to_owned()),
            ("Commit", report.commit.to_string()),
            (
                "Commit on the mirror",
                report.mirror_commit.map_or_else(|| "unknown".to_owned(), |commit| commit.to_string()),
            ),
            ("Level", format!("{} (--seed {})", report.level.as_str(), report.seed)),
        ];
        row.findings = told(&report.findings, words);
        row.list = report
            .files
            .iter()
            .map(|file| {
                let state = if file.same { "the same" } else { "differs" };
                (file.path.as_str().to_owned(), state.to_owned(), file.size, String::new())
            })
            .collect();
        row
    }
}

/// The findings, each with its remedy in words.
fn told(findings: &[Finding], words: &Words<'_>) -> Vec<(Finding, Option<String>)> {
    findings.iter().map(|finding| (finding.clone(), finding.remedy.as_ref().map(words))).collect()
}

fn groups(left_out: &[LeftOut]) -> Vec<(u64, String, String)> {
    let what = |group: &LeftOut| format!("{}: {}", group.reason, examples(group, false));
    left_out.iter().map(|group| (group.bytes, what(group), take_words(&group.take, ""))).collect()
}

fn file(file: &FileReport) -> (String, String, u64, String) {
    let digest = file.digest.map_or_else(String::new, |digest| format!("{} {digest}", digest.algorithm()));
    (file.path.as_str().to_owned(), file.evidence.as_str().to_owned(), file.size, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page and the documentation sort findings in the same way.
    #[test]
    fn every_code_is_in_the_column_of_its_section_in_the_documentation() {
        let page = include_str!("../../../docs/src/findings.md");
        let headings =
            ["Files and digests", "Weights", "Code", "The selection", "Plain folders", "Mirrors", "Signatures"];
        for code in Code::ALL {
            let heading = headings[group_of(*code)];
            let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
            assert!(section.contains(&format!("| `{code}` |")), "{code} is not below {heading}");
        }
    }
}
