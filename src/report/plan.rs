//! What a dry run says: the selection, what is here already, what would be fetched, what is left
//! out and why. Text for a person and a value for JSON.

use std::fmt::Write as _;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::WeightsReport;
use super::human::{HumanOptions, Paint, count, finding_lines};
use crate::finding::Finding;
use crate::model::{CommitId, Family, Gated, Presence, Purpose, RepoInfo};
use crate::plan::Plan;
use crate::select::{LeftOut, Selection};
use crate::text::{bytes, printable, wrap, wrap_after};

/// Below so many columns there is no table.
const NARROW: usize = 64;

/// A plan together with the selection it comes from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PlanReport<'a> {
    /// The repo and commit.
    pub info: &'a RepoInfo,
    /// What was chosen and why.
    pub selection: &'a Selection,
    /// What is here and what is to be fetched.
    pub plan: &'a Plan,
}

impl PlanReport<'_> {
    /// Bytes of everything left out.
    fn bytes_left_out(&self) -> u64 {
        self.selection.left_out.iter().fold(0, |sum, group| sum.saturating_add(group.bytes))
    }

    /// Draws the plan; ends with a newline.
    pub fn human(&self, options: HumanOptions) -> String {
        let mut out = String::new();
        let paint = Paint(options.color);
        let info = self.info;
        let mut head = paint.bold(&info.repo_type.qualify(&info.id));
        if info.canonical_id != info.id {
            let _ = write!(head, " (now {})", info.canonical_id);
        }
        if info.revision.as_commit().is_none() {
            let _ = write!(head, "@{}", info.revision.shown());
        }
        let _ = write!(head, " ({})", info.commit.short());
        if info.gated != Gated::No {
            head.push_str(" gated");
        }
        if info.private {
            head.push_str(" private");
        }
        if let Some(license) = &info.card.license {
            let _ = write!(head, " license {}", printable(license));
        }
        wrap(&mut out, "", &head, options.width);
        for set in &self.selection.weights {
            let place = if set.scope.is_empty() { String::new() } else { format!("{}/: ", printable(&set.scope)) };
            let variant = set.variant.as_ref().map_or(String::new(), |v| format!(", variant {}", printable(v)));
            let index = set.index.as_ref().map_or(String::new(), |path| format!(" named by {}", path.file_name()));
            let line =
                format!("{place}{}{variant}, {}{}", set.family, count(set.files.len(), "file"), printable(&index));
            wrap(&mut out, "  ", &line, options.width);
        }
        if self.selection.weights.is_empty() {
            out.push_str("  no weights\n");
        }
        out.push('\n');
        self.table(&mut out, options);
        self.left_out(&mut out, options);
        self.sums(&mut out, options);
        finding_lines(&mut out, &self.selection.findings, options);
        out
    }

    fn table(&self, out: &mut String, options: HumanOptions) {
        let wide = options.width >= NARROW;
        if wide {
            let _ = writeln!(out, "{:>9}  {:<8}  {:<13}  FILE", "SIZE", "STATE", "PURPOSE");
        }
        for (item, selected) in self.plan.items.iter().zip(&self.selection.files) {
            let state = state(item.presence);
            let size = bytes(item.entry.size);
            let lead = if wide {
                format!("{size:>9}  {state:<8}  {:<13}", item.purpose.as_str())
            } else {
                format!("{size:>9}  {state}")
            };
            let name = item.entry.path.shown().to_string();
            let room = options.width.saturating_sub(lead.len() + 2);
            if wide || name.width() <= room {
                let _ = write!(out, "{lead}  {name}");
            } else {
                // Whole names can be copied.
                let _ = write!(out, "{lead}\n  {name}");
            }
            let reason = if options.verbose { format!("({})", printable(&selected.reason)) } else { String::new() };
            match reason.width() {
                0 => out.push('\n'),
                n if wide && name.width() + 2 + n <= room => {
                    let _ = writeln!(out, "  {reason}");
                }
                _ => {
                    let indent = if wide { lead.len() + 2 } else { 4 };
                    wrap_after(out, &format!("\n{:indent$}", ""), indent + 1, &reason, options.width);
                }
            }
        }
    }

    fn left_out(&self, out: &mut String, options: HumanOptions) {
        if self.selection.left_out.is_empty() {
            return;
        }
        let paint = Paint(options.color);
        let _ = writeln!(out, "\n{}", paint.bold("Left out"));
        let shown = if options.verbose { usize::MAX } else { 8 };
        let groups = &self.selection.left_out;
        for group in groups.iter().take(shown) {
            let line = format!(
                "{}: {} ({})",
                printable(&group.reason),
                examples(group, options.verbose),
                printable(&group.take)
            );
            let hang = if options.width >= NARROW { 13 } else { 4 };
            wrap_after(out, &format!("{:>9}  ", bytes(group.bytes)), hang, &line, options.width);
        }
        if groups.len() > shown {
            let rest = &groups[shown..];
            let files: usize = rest.iter().map(|g| g.paths.len()).sum();
            let size = rest.iter().fold(0u64, |sum, g| sum.saturating_add(g.bytes));
            let _ =
                writeln!(out, "{:>9}  {} more for other reasons (-v shows them)", bytes(size), count(files, "file"));
        }
    }

    fn sums(&self, out: &mut String, options: HumanOptions) {
        let total = self.plan.total_bytes();
        let missing = self.plan.missing_bytes();
        let mut line = format!("{}, {}", count(self.plan.items.len(), "file"), bytes(total));
        let _ = write!(line, "; {} cached, {} to fetch", bytes(total - missing.min(total)), bytes(missing));
        if let Some(free) = self.plan.free_space {
            let _ = write!(line, "; {} free", bytes(free));
        }
        let saved = self.bytes_left_out();
        if saved > 0 {
            let _ = write!(line, "; {} left out", bytes(saved));
        }
        out.push('\n');
        wrap(out, "", &line, options.width);
    }
}

/// A word for what is there of a file.
fn state(presence: Presence) -> &'static str {
    match presence {
        Presence::Verified => "verified",
        Presence::Unverified => "cached",
        Presence::Partial(_) => "resume",
        Presence::Absent => "fetch",
    }
}

/// `a.onnx, b.onnx and 7 more`.
fn examples(group: &LeftOut, all: bool) -> String {
    let shown = if all || group.paths.len() <= 3 { group.paths.len() } else { 2 };
    let names: Vec<String> = group.paths.iter().take(shown).map(|path| path.shown().to_string()).collect();
    let mut text = names.join(", ");
    if group.paths.len() > shown {
        let _ = write!(text, " and {} more", group.paths.len() - shown);
    }
    text
}

impl Serialize for PlanReport<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            path: &'a str,
            size: u64,
            algorithm: &'static str,
            digest: String,
            purpose: Purpose,
            reason: &'a str,
            state: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            bytes_here: Option<u64>,
        }
        #[derive(Serialize)]
        struct Left<'a> {
            reason: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            family: Option<Family>,
            take: &'a str,
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
            files: Vec<File<'a>>,
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
            files: self
                .plan
                .items
                .iter()
                .zip(&self.selection.files)
                .map(|(item, selected)| File {
                    path: item.entry.path.as_str(),
                    size: item.entry.size,
                    algorithm: item.entry.digest().algorithm(),
                    digest: item.entry.digest().to_string(),
                    purpose: item.purpose,
                    reason: &selected.reason,
                    state: state(item.presence),
                    bytes_here: if let Presence::Partial(have) = item.presence { Some(have) } else { None },
                })
                .collect(),
            left_out: self
                .selection
                .left_out
                .iter()
                .map(|g| Left {
                    reason: &g.reason,
                    family: g.family,
                    take: &g.take,
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
