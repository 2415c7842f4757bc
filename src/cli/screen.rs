//! The output to stderr and stdout, and its form, which is decided once for a run.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hfget_core::finding::{Finding, Remedy, Severity};
use hfget_core::progress::{Progress, Silent};
use hfget_core::report::Report;
use hfget_core::select::LeftOut;
use hfget_core::session::Error;
use hfget_core::unstable::hub::is_truthy;
use hfget_core::unstable::text::{hidden, printable};

use crate::exit::{Ends, ExitCode};
use crate::render::{self, HumanOptions, lines::wrap};
use serde_json::{Value, json};

use super::advice::Advisor;
use super::args::{self, Output};
use super::ndjson::{self, Ndjson};
use super::paste::Kept;
use super::progress::{Bars, write_line};
use super::progress_lines::Lines;
use super::system::{Stream, columns};
use super::trace;
use crate::render::remedies::{take_words, words};

/// More repos than this count as many: their reports do not fit a screen.
const MANY: usize = 3;

/// The form of the output, decided once.
pub(super) struct Screen {
    pub(super) human: HumanOptions,
    pub(super) quiet: bool,
    pub(super) json: bool,
    /// Whether stderr has only events.
    pub(super) events: bool,
    /// The columns of stderr, if it is a terminal.
    columns: Option<usize>,
    bars: Option<Arc<Bars>>,
    pub(super) advisor: Advisor,
    kept: Kept,
    pub(super) progress: Arc<dyn Progress>,
    /// Whether the report of a verified repo is one line.
    many: AtomicBool,
}

/// The columns of a terminal, or a width that reads well in a file.
fn width(stream: &(impl Stream + IsTerminal)) -> usize {
    if !stream.is_terminal() {
        return 100;
    }
    columns(stream).unwrap_or(80)
}

pub(super) fn env_flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| is_truthy(&value))
}

impl Screen {
    pub(super) fn new(output: &Output, advisor: Advisor) -> Self {
        let stderr = std::io::stderr();
        let terminal = stderr.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let width = width(&stderr);
        let events = output.progress == Some(args::Progress::Json);
        if let Err(error) = trace::start(output.verbose, events, color, stderr.is_terminal().then_some(width)) {
            write_line(&format!("warning: {error}; nothing is logged"));
        }
        let mut bars = None;
        let silent = output.quiet || env_flag("HF_HUB_DISABLE_PROGRESS_BARS");
        let how = output.progress.unwrap_or(match terminal {
            _ if silent => args::Progress::None,
            true => args::Progress::Bars,
            false => args::Progress::Lines,
        });
        let progress: Arc<dyn Progress> = match how {
            args::Progress::None => Arc::new(Silent),
            args::Progress::Json => Arc::new(Ndjson::default()),
            args::Progress::Bars if terminal => {
                let drawn = Bars::new(width);
                bars = Some(Arc::clone(&drawn));
                drawn
            }
            args::Progress::Lines | args::Progress::Bars => Arc::new(Lines::new()),
        };
        Screen {
            human: HumanOptions { width, color, verbose: output.verbose > 0, brief: false },
            quiet: output.quiet,
            json: output.json,
            events: how == args::Progress::Json,
            columns: stderr.is_terminal().then_some(width),
            bars,
            advisor,
            kept: Kept::of(std::env::args_os().skip(1).filter_map(|word| word.into_string().ok())),
            progress,
            many: AtomicBool::new(false),
        }
    }

    /// The options for text on stdout, with its width.
    pub(super) fn on_stdout(&self) -> HumanOptions {
        let stdout = std::io::stdout();
        HumanOptions { width: width(&stdout), color: stdout.is_terminal() && self.human.color, ..self.human }
    }

    pub(super) fn say(&self, text: &str) {
        if self.events {
            ndjson::event("message", json!({ "text": text.trim_end() }));
            return;
        }
        if let Some(bars) = &self.bars {
            bars.clear();
        }
        let _ = std::io::stderr().lock().write_all(hidden(text).as_bytes());
    }

    /// Prints a note that is not about a problem.
    pub(super) fn note(&self, text: &dyn std::fmt::Display) {
        if !self.quiet {
            self.say(&self.fitting("", &format!("note: {text}")));
        }
    }

    /// Prints an error that is not an `Error`, with a hint.
    pub(super) fn fail(&self, name: &str, error: &dyn std::fmt::Display, hint: Option<&str>) {
        self.fail_with(name, error, &hint.map(str::to_owned).into_iter().collect::<Vec<_>>());
    }

    /// Prints an error with all advice, and returns it as JSON.
    pub(super) fn error(&self, name: &str, error: &Error) -> Value {
        let advice: Vec<String> = self.advisor.on(error).iter().map(|line| self.kept.paste(line, name)).collect();
        self.fail_with(&printable(name), error, &advice);
        let hint = (!advice.is_empty()).then(|| advice.join("; "));
        let mut value = json!({
            "repo": name, "verified": false, "error": error.to_string(), "kind": error.kind(), "hint": hint,
            "exit_code": error.exit_code() as u8,
        });
        if let Some(remedy) = error.remedy() {
            value["remedy"] = json!(remedy);
        }
        value
    }

    /// A line that is wrapped for the terminal, with a newline. A line in a log is not wrapped, since programs read it
    /// too; nor is a text with its own lines.
    pub(super) fn fitting(&self, indent: &str, line: &str) -> String {
        let width = self.columns.filter(|_| !line.contains('\n')).unwrap_or(usize::MAX);
        let mut text = String::new();
        wrap(&mut text, indent, line, width);
        text
    }

    /// A line of the result, wrapped if stdout is a terminal. Elsewhere programs read it.
    pub(super) fn fitting_result(&self, line: &str) -> String {
        let mut text = String::new();
        let width = if std::io::stdout().is_terminal() { self.on_stdout().width } else { usize::MAX };
        wrap(&mut text, "", line, width);
        text.truncate(text.trim_end().len());
        text
    }

    fn fail_with(&self, name: &str, error: &dyn std::fmt::Display, advice: &[String]) {
        let advice: Vec<String> = advice.iter().map(|line| self.kept.paste(line, name)).collect();
        let error = error.to_string();
        if self.events {
            let hint = (!advice.is_empty()).then(|| advice.join("; "));
            ndjson::event("error", json!({ "about": name, "message": error, "hint": hint }));
            return;
        }
        let word = if self.human.color { "\x1b[31merror\x1b[0m" } else { "error" };
        // Most errors name the repo or folder themselves.
        let about = if name.is_empty() || error.contains(name) { String::new() } else { format!("{name}: ") };
        let mut text = self.fitting("", &format!("{word}: {about}{error}"));
        for line in &advice {
            text.push_str(&self.fitting("  ", &format!("→ {}", printable(line))));
        }
        self.say(&text);
    }

    /// A remedy about `repo`, in a line that can be pasted.
    pub(super) fn words(&self, remedy: &Remedy, repo: &str) -> String {
        self.kept.paste(&words(remedy), repo)
    }

    /// A value with findings, with the remedy of each in words.
    pub(super) fn with_hints(&self, mut value: Value, findings: &[Finding], repo: &str) -> Value {
        let told = value.get_mut("findings").and_then(Value::as_array_mut).into_iter().flatten();
        for (value, finding) in told.zip(findings) {
            if let Some(remedy) = &finding.remedy {
                value["hint"] = self.words(remedy, repo).into();
            }
        }
        value
    }

    /// A report as JSON.
    pub(super) fn report_json(&self, report: &Report) -> Value {
        let value = serde_json::to_value(report).unwrap_or_default();
        self.with_hints(with_takes(value, &report.left_out), &report.findings, &name_of(report))
    }

    /// If there are many repos, each verified one gets one line, unless the output is verbose.
    pub(super) fn expect(&self, repos: usize) {
        self.many.store(repos > MANY && !self.human.verbose, Ordering::Relaxed);
    }

    pub(super) fn report(&self, report: &Report) {
        if self.events {
            ndjson::event("report", self.report_json(report));
            return;
        }
        let name = name_of(report);
        let words = |remedy: &Remedy| self.words(remedy, &name);
        if !self.quiet {
            let brief = self.many.load(Ordering::Relaxed);
            self.say(&render::human(report, HumanOptions { brief, ..self.human }, &words));
        } else if report.exit_code() != ExitCode::Verified {
            let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
            let mut only_errors = report.clone();
            only_errors.findings = errors.cloned().collect();
            self.say(&render::human(&only_errors, self.human, &words));
        }
    }
}

/// The repo that a report is about; empty for a folder without a repo.
fn name_of(report: &Report) -> String {
    report.repo.as_ref().map(|(repo_type, id)| repo_type.qualify(id)).unwrap_or_default()
}

/// Writes the result. A closed pipe is not an error.
pub(super) fn result(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", hidden(text));
}

/// The same for a text that has its own newlines.
pub(super) fn result_as_it_is(text: &str) {
    let _ = std::io::stdout().lock().write_all(hidden(text).as_bytes());
}

/// A value with the groups of files that were left out, each with the flag that takes it.
pub(super) fn with_takes(mut value: Value, left_out: &[LeftOut]) -> Value {
    let told = value.get_mut("left_out").and_then(Value::as_array_mut).into_iter().flatten();
    for (value, group) in told.zip(left_out) {
        value["take"] = take_words(&group.take, "").into();
    }
    value
}
