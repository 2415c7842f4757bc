//! Shows a comparison of a mirror with its reference: as text for a person, and as one line for logs.

use std::fmt::Write as _;

use hfget_core::model::{RepoId, RepoType};
use hfget_core::unstable::report::{Checked, CompareReport, Level};
use hfget_core::unstable::text::{bytes, printable};

use super::human::{Paint, count, finding_lines};
use super::lines::wrap;
use super::{HumanOptions, Words};

/// One line of `key=value`, for `grep`.
pub fn line_of(report: &CompareReport) -> String {
    let errors = report.errors().count();
    line(report.repo_type, &report.repo, &report.mirror, report.level, report.files.len(), errors, report.result())
}

/// The text for a person; ends with a newline.
pub fn human(report: &CompareReport, options: HumanOptions, words: &Words<'_>) -> String {
    let paint = Paint(options.color);
    let (mark, verdict) = match report.result() {
        "true" => (paint.with("32", "✓"), "the mirror matches".to_owned()),
        "error" => (paint.with("31", "✗"), paint.with("31", "NOT COMPARED: the mirror did not answer")),
        _ => (paint.with("31", "✗"), paint.with("31", "THE MIRROR DIFFERS")),
    };
    let mut out = String::new();
    let name = report.repo_type.qualify(&report.repo);
    let head = format!("{name}@{} ({})", report.revision.shown(), report.commit.short());
    wrap(&mut out, "", &format!("{mark} {} {verdict}", paint.bold(&head)), options.width);
    wrap(
        &mut out,
        "  ",
        &format!("{} against {}", printable(&report.mirror), printable(&report.endpoint)),
        options.width,
    );
    let of = |how: Checked| report.files.iter().filter(|f| f.checked == how).count();
    let (ranges, digest) = (of(Checked::Ranges), of(Checked::Digest));
    let mut text =
        format!("{} listed; {} compared by metadata", count(report.listed, "file"), count(report.files.len(), "file"));
    if report.level > Level::Metadata {
        let _ = write!(
            text,
            ", {digest} whole by digest, {ranges} by ranges (--seed {}); {} read from the mirror",
            report.seed,
            bytes(report.bytes)
        );
    }
    wrap(&mut out, "  ", &text, options.width);
    if options.verbose {
        for file in report.files.iter().filter(|f| !f.ranges.is_empty()) {
            let ranges: Vec<String> = file.ranges.iter().map(|[a, b]| format!("{a}-{}", b - 1)).collect();
            wrap(
                &mut out,
                "  ",
                &format!("{}: bytes {}", printable(file.path.as_str()), ranges.join(", ")),
                options.width,
            );
        }
    }
    finding_lines(&mut out, &report.findings, options, words);
    out
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
