//! A report as text for a person: one screen, the worst first. The caller decides about colours.

use std::fmt::Write as _;

use hfget_core::finding::{Finding, Origin, Remedy, Severity, Verdict};
use hfget_core::report::{Report, SignatureReport, SignatureStanding};
use hfget_core::unstable::text::{bytes, group, many, printable};

use super::lines::{columns, wrap};
use crate::exit::{Ends, ExitCode};

/// The form of the text.
#[derive(Debug, Clone, Copy)]
pub struct HumanOptions {
    /// The columns at which lines are wrapped.
    pub width: usize,
    /// Whether to colour.
    pub color: bool,
    /// Whether to show every finding and file instead of the first few.
    pub verbose: bool,
    /// Whether a verified repo gets one line, because there are many.
    pub brief: bool,
}

impl Default for HumanOptions {
    fn default() -> Self {
        HumanOptions { width: 80, color: false, verbose: false, brief: false }
    }
}

/// The most findings of one severity that are shown; the rest is counted.
const SHOWN: usize = 12;

/// Adds colours if the flag is set.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// Words a remedy for the program that the user runs.
pub type Words<'a> = dyn Fn(&Remedy) -> String + 'a;

/// The text; ends with a newline.
pub fn human(report: &Report, options: HumanOptions, words: &Words<'_>) -> String {
    let mut out = String::new();
    let paint = Paint(options.color);
    let verified = report.exit_code() == ExitCode::Verified;
    let mark = if verified { paint.with("32", "✓") } else { paint.with("31", "✗") };
    let mut head = String::new();
    match &report.repo {
        Some((repo_type, id)) => head.push_str(&repo_type.qualify(id)),
        None => head.push_str(&printable(&report.place.to_string())),
    }
    if let Some(revision) = &report.revision
        && revision.as_commit().is_none()
    {
        let _ = write!(head, "@{}", revision.shown());
    }
    if let Some(commit) = report.commit {
        let _ = write!(head, " ({})", commit.short());
    }
    let verdict = match report.verdict {
        Verdict::Verified { against } => {
            format!("{}verified against {}", if report.already_verified { "already " } else { "" }, whom(against))
        }
        Verdict::Part { partition, against } => {
            let (part, of) = (partition.part(), partition.of());
            let against = against.map_or(String::new(), |origin| format!(" against {}", whom(origin)));
            format!("part {part} of {of} is right{against}; the whole is not verified")
        }
        Verdict::ContentsOnly { allowed: true } => "contents checked; digests unknown".to_owned(),
        Verdict::ContentsOnly { allowed: false } => paint.with("31", "NOT VERIFIED: contents checked; digests unknown"),
        Verdict::Nothing => paint.with("31", "NOT VERIFIED: nothing to verify"),
        _ => paint.with("31", "NOT VERIFIED"),
    };
    let head = format!("{mark} {}", paint.bold(&head));
    if options.brief && verified {
        wrap(&mut out, "", &format!("{head} {verdict}; {}", in_short(report)), options.width);
        finding_lines(&mut out, &report.findings, options, words);
        return out;
    }
    if columns(&head) + 1 + columns(&verdict) <= options.width {
        let _ = writeln!(out, "{head} {verdict}");
    } else {
        wrap(&mut out, "", &head, options.width);
        wrap(&mut out, "  ", &verdict, options.width);
    }
    for line in facts(report) {
        wrap(&mut out, "  ", &line, options.width);
    }
    finding_lines(&mut out, &report.findings, options, words);
    out
}

/// Who stated the digests, in words.
fn whom(origin: Origin) -> &'static str {
    match origin {
        Origin::Hub => "the Hub",
        Origin::Lock => "the lockfile",
        Origin::Signature => "the signature",
        Origin::Manifest => "the manifest",
        Origin::KeptListing => "a kept listing",
        Origin::Headers => "the headers of each file",
        Origin::BlobNames => "the cache's blob names",
        Origin::LocalMetadata => "the folder's own metadata",
        Origin::Registry => "the registry's claim",
        _ => "nobody",
    }
}

/// Appends findings, the worst first, each with its remedy.
pub(super) fn finding_lines(out: &mut String, findings: &[Finding], options: HumanOptions, words: &Words<'_>) {
    let paint = Paint(options.color);
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let some: Vec<&Finding> = findings.iter().filter(|f| f.severity == severity).collect();
        let shown = if options.verbose { some.len() } else { SHOWN };
        for (at, finding) in some.iter().take(shown).enumerate() {
            let (word, colour) = match severity {
                Severity::Error => ("error", "31"),
                Severity::Warning => ("warning", "33"),
                Severity::Note => ("note", "36"),
            };
            let mut line = format!("{}[{}]", paint.with(colour, word), finding.code);
            if let Some(path) = &finding.path {
                let _ = write!(line, " {}:", printable(path));
            }
            let _ = write!(line, " {}", printable(&finding.message));
            wrap(out, "", &line, options.width);
            // Findings with one remedy have it once, below the last of them.
            let again = some.get(at + 1).is_some_and(|next| at + 1 < shown && next.remedy == finding.remedy);
            if let Some(remedy) = finding.remedy.as_ref().filter(|_| !again) {
                wrap(out, "  ", &format!("→ {}", printable(&words(remedy))), options.width);
            }
        }
        if some.len() > shown {
            let _ = writeln!(out, "  … and {} more (-v or --json shows all)", some.len() - shown);
        }
    }
}

/// The lines below the head: the weights, the checks that matched, the bytes and the time.
fn facts(report: &Report) -> Vec<String> {
    let totals = &report.totals;
    let mut lines = Vec::new();
    let mut families: Vec<String> = Vec::new();
    for set in &report.weights {
        let mut text = set.family.to_string();
        if let Some(variant) = &set.variant {
            let _ = write!(text, " ({})", printable(variant));
        }
        if set.sound == Some(false) {
            text.push_str(" FAILED");
        }
        if !families.contains(&text) {
            families.push(text);
        }
    }
    let weight_files: usize = report.weights.iter().map(|w| w.files).sum();
    if !families.is_empty() {
        let scopes = match report.weights.len() {
            1 => String::new(),
            n => format!(" in {n} folders"),
        };
        lines.push(format!("{}: {}{scopes}", families.join(", "), count(weight_files, "weight file")));
    }
    lines.push(format!(
        "{}, {}; {} of {} digests right",
        count(totals.files, "file"),
        bytes(totals.bytes),
        totals.digests,
        totals.files
    ));
    lines.extend(report.signatures.iter().filter_map(signed));
    if totals.tensors > 0 {
        let mut line =
            format!("{}, {} read from headers", many(totals.tensors, "tensor"), many(totals.parameters, "parameter"));
        if totals.indexed > 0 {
            let _ = match totals.indexed {
                1 => write!(line, "; 1 index entry compared"),
                n => write!(line, "; {} index entries compared", group(n)),
            };
        }
        lines.push(line);
    }
    if totals.bytes_fetched > 0 || totals.bytes_hashed > 0 {
        let seconds = totals.milliseconds.max(1);
        let mut parts = Vec::new();
        if totals.bytes_fetched > 0 {
            let rate = u128::from(totals.bytes_fetched) * 1000 / u128::from(seconds);
            let over_xet = match totals.bytes_over_xet {
                0 => String::new(),
                all if all == totals.bytes_fetched => ", over Xet".to_owned(),
                part => format!(", {} over Xet", bytes(part)),
            };
            parts.push(format!(
                "fetched {} ({}/s{over_xet})",
                bytes(totals.bytes_fetched),
                bytes(u64::try_from(rate).unwrap_or(u64::MAX))
            ));
        }
        if totals.bytes_hashed > 0 {
            let place = if report.place.folder().is_some() { "on disk" } else { "there" };
            parts.push(format!("hashed {} {place}", bytes(totals.bytes_hashed)));
        }
        lines.push(format!("{} in {}", parts.join(", "), duration(totals.milliseconds)));
    }
    lines
}

/// The signer, if it is proven.
fn signed(signature: &SignatureReport) -> Option<String> {
    let signer = printable(signature.signer.as_deref()?).into_owned();
    let line = format!("signed by {signer}, {}: {}", signature.path.shown(), count(signature.files, "file"));
    match (signature.standing, signature.not_selected) {
        (SignatureStanding::Verified, _) => Some(line),
        (SignatureStanding::Partial, 1) => Some(format!("{line}; 1 signed file was not selected")),
        (SignatureStanding::Partial, n) => Some(format!("{line}; {n} signed files were not selected")),
        _ => None,
    }
}

/// The weights and the downloaded bytes, in a few words.
fn in_short(report: &Report) -> String {
    let totals = &report.totals;
    let size = format!("{}, {}", count(totals.files, "file"), bytes(totals.bytes));
    match totals.bytes_fetched {
        0 => size,
        fetched => format!("{size}, {} fetched in {}", bytes(fetched), duration(totals.milliseconds)),
    }
}

/// `1 file`, `2 files`.
pub(super) fn count(n: usize, noun: &str) -> String {
    many(n as u64, noun)
}

pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::remedies::words;
    use super::*;
    use hfget_core::finding::{Code, Policy};
    use hfget_core::model::{Family, Location, RepoType, WeightSet};
    use hfget_core::report::Totals;
    use hfget_core::unstable::finding::Weights;
    use hfget_core::unstable::report::Draft;

    fn report() -> Report {
        let files = (0..7).map(|at| format!("model-{at}.safetensors").parse().unwrap()).collect();
        let set = WeightSet::new(Family::Safetensors, files);
        let draft = Draft {
            repo: Some((RepoType::Model, "THUDM/chatglm3-6b".parse().unwrap())),
            revision: Some("main".parse().unwrap()),
            commit: Some("103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap()),
            place: Location::Folder("/cache".into()),
            weights: vec![set],
            weights_known: Weights::Here,
            partition: None,
            files: Vec::new(),
            findings: Vec::new(),
            totals: Totals::default(),
            remembered: false,
            left_out: Vec::new(),
            signatures: Vec::new(),
            code_repos: Vec::new(),
        };
        let mut report = draft.conclude(&Policy::default());
        report.verdict = Verdict::Verified { against: Origin::Hub };
        report.totals.files = 16;
        report.totals.bytes = 12_488_000_000;
        report.totals.bytes_fetched = 12_488_000_000;
        report.totals.digests = 16;
        report.totals.tensors = 199;
        report.totals.indexed = 199;
        report.totals.parameters = 6_243_584_032;
        report.totals.milliseconds = 125_300;
        report
    }

    #[test]
    fn a_good_run_shows_what_matched_and_what_it_cost() {
        insta::assert_snapshot!(human(&report(), HumanOptions::default(), &words), @r"
        ✓ THUDM/chatglm3-6b@main (103caa40) verified against the Hub
          safetensors: 7 weight files
          16 files, 12.5 GB; 16 of 16 digests right
          199 tensors, 6,243,584,032 parameters read from headers; 199 index entries
            compared
          fetched 12.5 GB (99.7 MB/s) in 2 min 05 s
        ");
    }

    #[test]
    fn of_many_repos_a_right_one_gets_a_line_and_a_wrong_one_the_full_report() {
        let options = HumanOptions { width: 120, brief: true, ..HumanOptions::default() };
        insta::assert_snapshot!(human(&report(), options, &words), @"✓ THUDM/chatglm3-6b@main (103caa40) verified against the Hub; 16 files, 12.5 GB, 12.5 GB fetched in 2 min 05 s");
        let mut warned = report();
        warned.findings.push(Finding::new(Code::HubScan, "a.bin", "the Hub's own scan calls it suspicious"));
        assert!(human(&warned, options, &words).contains("\nwarning[hub-scan] a.bin"));
        let mut bad = report();
        bad.verdict = Verdict::Failed;
        assert!(human(&bad, options, &words).lines().count() > 3);
    }

    #[test]
    fn a_bad_run_names_each_file_and_what_to_do_and_steers_no_terminal() {
        let mut bad = report();
        bad.totals.digests = 15;
        bad.verdict = Verdict::Failed;
        bad.findings.push(
            Finding::new(Code::ChecksumMismatch, "a\x1b[2J.bin", "expected sha256 00ff, got 11ee")
                .remedy(Remedy::AskForNoVariant),
        );
        bad.findings.extend((0..14).map(|i| {
            Finding::new(Code::TensorUnindexed, "model.safetensors", format!("tensor t{i} is not in the index"))
        }));
        insta::assert_snapshot!(human(&bad, HumanOptions { width: 40, ..HumanOptions::default() }, &words), @r"
        ✗ THUDM/chatglm3-6b@main (103caa40)
          NOT VERIFIED
          safetensors: 7 weight files
          16 files, 12.5 GB; 15 of 16 digests
            right
          199 tensors, 6,243,584,032 parameters
            read from headers; 199 index entries
            compared
          fetched 12.5 GB (99.7 MB/s) in 2 min
            05 s
        error[checksum-mismatch] a\u{1b}[2J.bin:
          expected sha256 00ff, got 11ee
          → the weights have no variants: leave
            out --variant
        warning[tensor-unindexed]
          model.safetensors: tensor t0 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t1 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t2 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t3 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t4 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t5 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t6 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t7 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t8 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t9 is not in
          the index
        warning[tensor-unindexed]
          model.safetensors: tensor t10 is not
          in the index
        warning[tensor-unindexed]
          model.safetensors: tensor t11 is not
          in the index
          … and 2 more (-v or --json shows all)
        ");
    }
}
