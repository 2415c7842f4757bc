//! The result of each repo of a run, shown when it is known and again at the end: paths for people,
//! JSON, `JUnit` or annotations for machines, and a file of them on request.

use std::io::IsTerminal as _;

use hfget_core::report::Report;
use hfget_core::session::Error;

use crate::exit::{Ends, ExitCode};
use crate::render::{Ended, attest, github, html, junit, summary};
use serde_json::Value;

use super::args::{Format, Reports};
use super::document::json_text;
use super::progress::write_line;
use super::report_file::ReportFile;
use super::screen::{Screen, result};

enum Outcome {
    Report(Box<Report>),
    Error { text: String, json: Value },
}

/// Every repo of a run, in order.
pub(super) struct Outcomes<'a> {
    screen: &'a Screen,
    reports: &'a Reports,
    file: Option<ReportFile>,
    /// The results, each with its place in the order of the command line, and its name.
    all: Vec<(usize, String, Outcome)>,
    end: ExitCode,
}

impl<'a> Outcomes<'a> {
    /// The outcomes of a run of `command`. If the report's file cannot be written, it prints the error and fails.
    pub fn new(screen: &'a Screen, reports: &'a Reports, command: &'static str) -> Result<Self, ExitCode> {
        let file = ReportFile::open(reports.report.as_deref(), command, screen)?;
        Ok(Outcomes { screen, reports, file, all: Vec::new(), end: ExitCode::Verified })
    }

    fn format(&self) -> Format {
        if self.screen.json { Format::Json } else { self.reports.format.unwrap_or(Format::Human) }
    }

    pub fn report(&mut self, name: &str, report: Report) {
        self.report_at(self.all.len(), name, report);
    }

    /// Whether the repo at this place has ended.
    pub fn has(&self, at: usize) -> bool {
        self.all.iter().any(|(place, ..)| *place == at)
    }

    pub fn report_at(&mut self, at: usize, name: &str, report: Report) {
        self.screen.report(&report);
        self.line(name, Ok(&report));
        self.end = self.end.max(report.exit_code());
        if self.format() == Format::Human && report.exit_code() == ExitCode::Verified {
            result(&report.place.to_string());
        }
        self.all.push((at, name.to_owned(), Outcome::Report(Box::new(report))));
    }

    pub fn error(&mut self, name: &str, error: &Error) {
        self.error_at(self.all.len(), name, error);
    }

    pub fn error_at(&mut self, at: usize, name: &str, error: &Error) {
        let json = self.screen.error(name, error);
        self.line(name, Err(""));
        self.end = self.end.max(error.exit_code());
        let ending = Outcome::Error { text: error.to_string(), json };
        self.all.push((at, name.to_owned(), ending));
    }

    /// Makes the exit code worse, for a reason that was printed already.
    pub fn worsen(&mut self, end: ExitCode) {
        self.end = self.end.max(end);
    }

    /// Prints the summary line for logs. A terminal does not get it: a person reads the other output.
    fn line(&self, name: &str, outcome: Result<&Report, &str>) {
        if !self.screen.quiet && !self.screen.events && !std::io::stderr().is_terminal() {
            write_line(&summary(name, outcome));
        }
    }

    fn text(&self, format: Format) -> String {
        let ended: Vec<Ended<'_>> = self
            .all
            .iter()
            .map(|(_, name, ending)| {
                let outcome = match ending {
                    Outcome::Report(report) => Ok(&**report),
                    Outcome::Error { text, .. } => Err(text.as_str()),
                };
                (name.as_str(), outcome)
            })
            .collect();
        match format {
            Format::Human => String::new(),
            Format::Junit => junit(&ended),
            Format::Github => github(&ended),
            Format::Json => {
                let value = |ending: &Outcome| match ending {
                    Outcome::Report(report) => self.screen.report_json(report),
                    Outcome::Error { json, .. } => json.clone(),
                };
                let values: Vec<Value> = self.all.iter().map(|(.., ending)| value(ending)).collect();
                json_text("reports", &values)
            }
        }
    }

    /// What was verified, for others to sign. A worker's part is not verified; the whole, of which it is, may be.
    fn verified(&self, form: attest::Form) -> Option<Value> {
        let of = |ending: &Outcome| match ending {
            Outcome::Report(report) if report.verdict.partition().is_some() => None,
            Outcome::Report(report) => Some(Some((**report).clone())),
            Outcome::Error { .. } => Some(None),
        };
        let reports: Vec<Report> = self.all.iter().filter_map(|(.., ending)| of(ending)).collect::<Option<_>>()?;
        attest::of_run(&reports.iter().collect::<Vec<_>>(), form)
    }

    fn rows(&self) -> Vec<html::Row> {
        let row = |name: &str, ending: &Outcome| match ending {
            Outcome::Report(report) => html::Row::report(name, report, &|remedy| self.screen.words(remedy, name)),
            Outcome::Error { text, json } => html::Row::error(name, text, json["hint"].as_str()),
        };
        self.all.iter().map(|(_, name, ending)| row(name, ending)).collect()
    }

    /// Writes the final output, and returns the worst exit code.
    pub fn finish(mut self) -> ExitCode {
        self.all.sort_by_key(|(at, ..)| *at);
        let format = self.format();
        let text = self.text(format);
        if format == Format::Json || !text.is_empty() {
            result(text.trim_end());
        }
        let Some(file) = &self.file else { return self.end };
        if file.is_page() {
            return file.write_page(&self.rows(), self.end, self.screen);
        }
        if let Some(form) = file.form() {
            return file.write_form(self.verified(form).as_ref(), self.end, self.screen);
        }
        // The format of a file follows its name, otherwise the format of stdout.
        let format = match format {
            _ if file.is_xml() => Format::Junit,
            Format::Human => Format::Json,
            other => other,
        };
        file.write(self.text(format).trim_end(), self.end, self.screen)
    }
}
