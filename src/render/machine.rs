//! Reports in the forms that CI systems show: `JUnit`'s XML and GitHub's annotations. Plain values in,
//! text out.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite, XmlString};

use hfget_core::finding::{Evidence, Finding, Severity, Verdict};
use hfget_core::report::Report;
use hfget_core::unstable::text::printable;

use crate::exit::{Ends, ExitCode};

/// The result of one repo or folder: a report, or an error before there was a report.
pub type Ended<'a> = (&'a str, Result<&'a Report, &'a str>);

/// `path: message`, or only the message if the finding is about the whole repo, safe to print.
fn sentence(finding: &Finding) -> String {
    match &finding.path {
        Some(path) => format!("{}: {}", printable(path), printable(&finding.message)),
        None => printable(&finding.message).into_owned(),
    }
}

/// A test suite for each repo, a test case for each file and one for the repo as a whole. Errors are
/// failures; warnings and notes are in the case's output.
pub fn junit(all: &[Ended<'_>]) -> String {
    let mut whole = quick_junit::Report::new("hfget");
    for (name, outcome) in all {
        let mut suite = TestSuite::new(XmlString::new(name));
        match outcome {
            Ok(report) => {
                suite.set_time(Duration::from_millis(report.totals.milliseconds));
                if let Some(commit) = report.commit {
                    suite.add_property(("commit", commit.to_string().as_str()));
                }
                let on = |path: Option<&str>| -> Vec<&Finding> {
                    report.findings.iter().filter(|f| f.path.as_deref() == path).collect()
                };
                let mut whole = case(name, "repo", &on(None));
                if report.verdict == Verdict::Nothing && !matches!(whole.status, TestCaseStatus::NonSuccess { .. }) {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(XmlString::new("there was nothing to verify"));
                    whole.status = status;
                }
                suite.add_property(("result", result(report).as_str()));
                suite.add_test_case(whole);
                let unread: HashSet<&str> = report
                    .files
                    .iter()
                    .filter(|file| matches!(file.evidence, Evidence::Unread))
                    .map(|file| file.path.as_str())
                    .collect();
                let mut paths: Vec<&str> = report.files.iter().map(|f| f.path.as_str()).collect();
                paths.extend(report.findings.iter().filter_map(|f| f.path.as_deref()));
                paths.sort_unstable();
                paths.dedup();
                for path in paths {
                    let mut case = case(name, path, &on(Some(path)));
                    // A file that was not hashed has not passed.
                    if unread.contains(path) && matches!(case.status, TestCaseStatus::Success { .. }) {
                        let mut status = TestCaseStatus::skipped();
                        status.set_message(XmlString::new("its bytes were not hashed"));
                        case.status = status;
                    }
                    suite.add_test_case(case);
                }
            }
            Err(error) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message(XmlString::new(printable(error)));
                suite.add_test_case(TestCase::new("repo", status));
            }
        }
        whole.add_test_suite(suite);
    }
    // Writing to memory does not fail.
    whole.to_string().unwrap_or_default()
}

fn case(suite: &str, name: &str, findings: &[&Finding]) -> TestCase {
    let errors: Vec<&&Finding> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
    let status = match errors.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(first.code.as_str());
            status.set_message(XmlString::new(printable(&first.message)));
            let all: Vec<String> = errors.iter().map(|f| format!("{}: {}", f.code, sentence(f))).collect();
            status.set_description(XmlString::new(all.join("\n")));
            status
        }
    };
    let mut case = TestCase::new(XmlString::new(printable(name)), status);
    case.set_classname(XmlString::new(suite));
    let rest: Vec<String> = findings
        .iter()
        .filter(|f| f.severity != Severity::Error)
        .map(|f| format!("{}: {}", f.code, sentence(f)))
        .collect();
    if !rest.is_empty() {
        case.set_system_out(XmlString::new(rest.join("\n")));
    }
    case
}

/// Workflow commands that GitHub shows as annotations, one per line; ends with a newline if there is any.
pub fn github(all: &[Ended<'_>]) -> String {
    let mut out = String::new();
    for (name, outcome) in all {
        match outcome {
            Ok(report) => {
                let level = if report.exit_code() == ExitCode::Verified { "notice" } else { "error" };
                let title = property(&format!("hfget {name}"));
                let _ = writeln!(out, "::{level} title={title}::{}", data(&format!("result={}", result(report))));
                for finding in &report.findings {
                    let level = match finding.severity {
                        Severity::Error => "error",
                        Severity::Warning => "warning",
                        Severity::Note => "notice",
                    };
                    let title = property(&format!("hfget {name}: {}", finding.code));
                    let _ = writeln!(out, "::{level} title={title}::{}", data(&sentence(finding)));
                }
            }
            Err(error) => {
                let _ =
                    writeln!(out, "::error title={}::{}", property(&format!("hfget {name}")), data(&printable(error)));
            }
        }
    }
    out
}

/// Escapes characters that would end a command's text (`@actions/core`, `command.ts`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// `verified against=hub`, `part part=3/8 against=hub`, or the word of another verdict.
fn result(report: &Report) -> String {
    let mut words = report.verdict.as_str().to_owned();
    // Writing to a string cannot fail.
    if let Some(partition) = report.verdict.partition() {
        let _ = write!(words, " part={partition}");
    }
    if let Some(against) = report.verdict.against() {
        let _ = write!(words, " against={}", against.as_str());
    }
    words
}

/// One line for logs: words without spaces, `key=value`, always in this order.
pub fn summary(name: &str, outcome: Result<&Report, &str>) -> String {
    let name = printable(name).replace(' ', "_");
    match outcome {
        Ok(report) => {
            let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
            format!(
                "hfget: result={} repo={name} commit={} files={} bytes={} fetched={} errors={} warnings={} ms={}",
                result(report),
                report.commit.map_or("-".to_owned(), |c| c.to_string()),
                report.totals.files,
                report.totals.bytes,
                report.totals.bytes_fetched,
                count(Severity::Error),
                count(Severity::Warning),
                report.totals.milliseconds
            )
        }
        Err(_) => format!("hfget: result=error repo={name}"),
    }
}
