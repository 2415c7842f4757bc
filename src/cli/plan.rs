//! `hfget plan` and `--dry-run`: the files that a run would fetch, as text, as JSON and as a page. `render` shows a
//! plan.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use hfget_core::finding::{Remedy, Severity};
use hfget_core::session::{Prepared, Session};
use hfget_core::unstable::report::PlanReport;
use hfget_core::unstable::text::printable;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::advice::Advisor;
use super::args::Share;
use super::document::{json_text, print_json};
use super::fleet::parts;
use super::follow::CodeRepos;
use super::job::{Asked, Job, code_session, setup};
use super::report_file::ReportFile;
use super::screen::{Screen, result_as_it_is, with_takes};
use crate::exit::{Ends, ExitCode};
use crate::render::html::Row;

pub(super) async fn plan(asked: &Asked<'_>, share: &Share, deep: bool, report: Option<&Path>) -> ExitCode {
    let screen = Screen::new(asked.output, Advisor::new(asked.place.cache_dir.as_deref()));
    let file = match ReportFile::open(report, "plan", &screen) {
        Ok(file) => file,
        Err(end) => return end,
    };
    let jobs = match setup(asked, &screen).await {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    let page = file.as_ref().is_some_and(ReportFile::is_page);
    let document = screen.json || file.is_some() && !page;
    // The plan is the result.
    let options = screen.on_stdout();
    let mut end = ExitCode::Verified;
    let (mut values, mut rows) = (Vec::new(), Vec::new());
    let mut code = CodeRepos::of(asked.repos, jobs.iter().map(|(job, _)| job.name()));
    let mut parts: VecDeque<Prepared> = match share.partition {
        None => VecDeque::new(),
        Some(partition) => match parts(&jobs, partition).await {
            Ok(parts) => parts.into(),
            Err((at, error)) => {
                let name = jobs.get(at).map_or_else(String::new, |(job, _)| job.name());
                screen.error(&name, &error);
                return error.exit_code();
            }
        },
    };
    let mut jobs: VecDeque<(Job, Arc<Session>)> = jobs.into();
    while let Some((job, session)) = jobs.pop_front() {
        let name = job.name();
        let planned = match parts.pop_front() {
            Some(part) => session.plan_part(part).await,
            None => job.plan(&session).await,
        };
        match planned {
            Ok(mut prepared) => {
                code.add(&prepared.selection.code_repos);
                if deep {
                    let findings = session.check_deep(&prepared).await;
                    if !findings.is_empty() {
                        end = end.max(ExitCode::VerificationFailed);
                    }
                    prepared.selection.findings.extend(findings);
                }
                if prepared.selection.findings.iter().any(|f| f.severity == Severity::Error) {
                    end = end.max(ExitCode::VerificationFailed);
                }
                let report = prepared.report();
                let words = |remedy: &Remedy| screen.words(remedy, &name);
                let frame = document.then(|| plan_json(&screen, &report, &name));
                if page {
                    rows.push(Row::plan(&name, &report, &words));
                }
                if !screen.json {
                    result_as_it_is(&crate::render::plan::human(&report, options, &words));
                }
                // A part may have no files.
                if let Err(error) = if share.partition.is_some() { Ok(()) } else { prepared.not_empty() } {
                    screen.error(&name, &error);
                    end = end.max(error.exit_code());
                }
                for finding in prepared.unsafe_names() {
                    let path = finding.path.as_deref().unwrap_or("");
                    let hint = finding.remedy.as_ref().map(|remedy| screen.words(remedy, &name));
                    screen.fail(&printable(path), &printable(&finding.message), hint.as_deref());
                    end = end.max(ExitCode::VerificationFailed);
                }
                values.extend(frame.map(|frame| Planned::Plan(frame, Box::new(prepared))));
            }
            Err(error) => {
                let value = screen.error(&name, &error);
                rows.push(Row::error(&name, &error.to_string(), value["hint"].as_str()));
                values.push(Planned::Error(value));
                end = end.max(error.exit_code());
            }
        }
        if jobs.is_empty()
            && let Some((spec, options)) = code.next()
        {
            match code_session(asked, &screen, &session) {
                Ok(session) => jobs.push_back((Job::Chosen(spec, options), session)),
                Err(bad) => return bad,
            }
        }
    }
    if screen.json {
        print_json("plans", &values);
    }
    match file {
        None => end,
        Some(file) if page => file.write_page(&rows, end, &screen),
        Some(file) => file.write(&json_text("plans", &values), end, &screen),
    }
}

/// The result for a repo, for the JSON document.
enum Planned {
    /// The plan without its files as JSON, and the job with the files: 100,000 of them would take 100 MB as JSON
    /// values.
    Plan(Value, Box<Prepared>),
    Error(Value),
}

impl Serialize for Planned {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (frame, prepared) = match self {
            Planned::Plan(Value::Object(frame), prepared) => (frame, prepared),
            Planned::Plan(value, _) | Planned::Error(value) => return value.serialize(s),
        };
        let report = prepared.report();
        let mut map = s.serialize_map(Some(frame.len()))?;
        for (key, value) in frame {
            if key == "files" {
                map.serialize_entry(key, &report.files())?;
            } else {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// A plan as JSON without its files, with remedies in the words of the command line.
fn plan_json(screen: &Screen, report: &PlanReport<'_>, name: &str) -> Value {
    let value = serde_json::to_value(report.frame()).unwrap_or_default();
    screen.with_hints(with_takes(value, &report.selection.left_out), &report.selection.findings, name)
}
