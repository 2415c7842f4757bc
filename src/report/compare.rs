//! What a comparison of a mirror with its reference found: a plain value that renders to text, to JSON
//! and to one line. How it was found out lives elsewhere.

use std::fmt::Write as _;

use serde::Serialize;

use super::HumanOptions;
use super::human::{Paint, count, finding_lines};
use crate::finding::{Code, ExitCode, Finding, Severity};
use crate::model::{CommitId, RepoId, RepoPath, RepoType, Revision};
use crate::text::{bytes, printable, wrap};

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
    /// What the mirror resolves it to.
    pub mirror_commit: CommitId,
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
    fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.severity == Severity::Error)
    }

    /// Whether the mirror was found to be true to the reference.
    pub fn is_true(&self) -> bool {
        self.errors().next().is_none()
    }

    /// `true`, `different`, or `error` when part of it could not be had and nothing else is wrong.
    pub fn result(&self) -> &'static str {
        match (self.is_true(), self.errors().all(unanswered)) {
            (true, _) => "true",
            (false, true) => "error",
            (false, false) => "different",
        }
    }

    /// How the process should end on its account: 4 when the mirror did not answer for some file.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_true() {
            ExitCode::Verified
        } else if self.errors().any(unanswered) {
            ExitCode::Network
        } else {
            ExitCode::VerificationFailed
        }
    }

    /// One line of `key=value`, for `grep`.
    pub fn line(&self) -> String {
        let errors = self.errors().count();
        line(self.repo_type, &self.repo, &self.mirror, self.level, self.files.len(), errors, self.result())
    }

    /// Draws it; ends with a newline.
    pub fn human(&self, options: HumanOptions) -> String {
        let paint = Paint(options.color);
        let (mark, verdict) = match self.result() {
            "true" => (paint.with("32", "✓"), "the mirror is true".to_owned()),
            "error" => (paint.with("31", "✗"), paint.with("31", "NOT COMPARED: the mirror did not answer")),
            _ => (paint.with("31", "✗"), paint.with("31", "THE MIRROR DIFFERS")),
        };
        let mut out = String::new();
        let name = self.repo_type.qualify(&self.repo);
        let head = format!("{name}@{} ({})", self.revision.shown(), self.commit.short());
        let _ = writeln!(out, "{mark} {} {verdict}", paint.bold(&head));
        wrap(
            &mut out,
            "  ",
            &format!("{} against {}", printable(&self.mirror), printable(&self.endpoint)),
            options.width,
        );
        let of = |how: Checked| self.files.iter().filter(|f| f.checked == how).count();
        let (ranges, digest) = (of(Checked::Ranges), of(Checked::Digest));
        let mut text =
            format!("{} listed; {} compared by metadata", count(self.listed, "file"), count(self.files.len(), "file"));
        if self.level > Level::Metadata {
            let _ = write!(
                text,
                ", {digest} whole by digest, {ranges} by ranges (--seed {}); {} read from the mirror",
                self.seed,
                bytes(self.bytes)
            );
        }
        wrap(&mut out, "  ", &text, options.width);
        if options.verbose {
            for file in self.files.iter().filter(|f| !f.ranges.is_empty()) {
                let ranges: Vec<String> = file.ranges.iter().map(|[a, b]| format!("{a}-{}", b - 1)).collect();
                wrap(
                    &mut out,
                    "  ",
                    &format!("{}: bytes {}", printable(file.path.as_str()), ranges.join(", ")),
                    options.width,
                );
            }
        }
        finding_lines(&mut out, &self.findings, options);
        out
    }

    /// Its JSON form: its fields, and the verdict.
    pub fn json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["result"] = self.result().into();
        value["exit_code"] = (self.exit_code() as u8).into();
        value
    }
}

/// The line of a comparison, also of one that could not be made.
pub fn line(
    repo_type: RepoType,
    repo: &RepoId,
    mirror: &str,
    level: Level,
    files: usize,
    findings: usize,
    result: &str,
) -> String {
    let (repo, mirror, level) = (repo_type.qualify(repo), printable(mirror), level.as_str());
    format!("compare: {repo} mirror={mirror} level={level} files={files} findings={findings} result={result}")
}
