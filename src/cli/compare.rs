//! `hfget compare`: compares repos on two servers, with one line for each repo. The library compares.

use std::sync::Arc;

use hfget_core::finding::{Finding, Severity};
use hfget_core::hub::{ConfigError, ShownUrl};
use hfget_core::model::RepoSpec;
use hfget_core::progress::{Event, Progress};
use hfget_core::unstable::session::{CompareConfig, Comparison};
use serde_json::json;

use super::advice::Advisor;
use super::args::CompareArgs;
use super::document::{json_text, print_json};
use super::keyless::job_token;
use super::report_file::ReportFile;
use super::screen::{Screen, result};
use super::setup::{hub, listed};
use super::upfront::wish;
use crate::exit::{Ends, ExitCode};
use crate::render;
use crate::render::html::Row;

/// Passes on the events that are worth a line. Small files that are read on the way are not.
struct Quiet(Arc<dyn Progress>);

impl Progress for Quiet {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Retry { .. } | Event::RateLimited { .. }) {
            self.0.event(event);
        }
    }
}

pub async fn compare(args: &CompareArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(None));
    let (specs, comparison) = match setup(args, &screen) {
        Ok(ready) => ready,
        Err(Stop::Said(end)) => return end,
        Err(Stop::Because(text, hint)) => {
            screen.fail("", &text, hint);
            return ExitCode::Usage;
        }
    };
    let file = match ReportFile::open(args.report.report.as_deref(), "compare", &screen) {
        Ok(file) => file,
        Err(end) => return end,
    };
    let mut end = ExitCode::Verified;
    let (mut values, mut rows) = (Vec::new(), Vec::new());
    for spec in &specs {
        let options = match wish(&args.selection, spec, &[], &screen) {
            Ok(options) => options,
            Err(bad) => return bad,
        };
        let name = spec.repo_type.qualify(&spec.id);
        match comparison.compare(spec, &options).await {
            Ok(mut report) => {
                end = end.max(report.exit_code());
                let mut value = serde_json::to_value(&report).unwrap_or_default();
                value["result"] = report.result().into();
                value["exit_code"] = (report.exit_code() as u8).into();
                values.push(screen.with_hints(value, &report.findings, &name));
                rows.push(Row::comparison(&name, &report, &|remedy| screen.words(remedy, &name)));
                if screen.json {
                    continue;
                }
                let line = render::compare::line_of(&report);
                if screen.quiet {
                    report.findings.retain(|f: &Finding| f.severity == Severity::Error);
                }
                if !screen.quiet || !report.matches() {
                    screen.say(&render::compare::human(&report, screen.human, &|remedy| screen.words(remedy, &name)));
                }
                result(&line);
            }
            Err(error) => {
                let mut value = screen.error(&name, &error);
                end = end.max(error.exit_code());
                value["result"] = json!("error");
                rows.push(Row::error(&name, &error.to_string(), value["hint"].as_str()));
                values.push(value);
                if !screen.json {
                    let mirror = comparison.mirror();
                    result(&render::compare::line(spec.repo_type, &spec.id, &mirror, args.level, 0, 0, "error"));
                }
            }
        }
    }
    if screen.json {
        print_json("comparisons", &values);
    }
    match file {
        None => end,
        Some(file) if file.is_page() => file.write_page(&rows, end, &screen),
        Some(file) => file.write(&json_text("comparisons", &values), end, &screen),
    }
}

/// Why there is nothing to compare.
enum Stop {
    /// The command line is invalid; with a hint.
    Because(String, Option<&'static str>),
    /// The error was printed already.
    Said(ExitCode),
}

/// The stop for a wrong configuration of a server.
fn misconfigured(error: &ConfigError) -> Stop {
    Stop::Because(error.to_string(), render::remedies::of_config(error))
}

fn setup(args: &CompareArgs, screen: &Screen) -> Result<(Vec<RepoSpec>, Comparison), Stop> {
    let complain = |text: &str| Err(Stop::Because(text.to_owned(), None));
    let mut specs = args.repos.clone();
    if let Some(file) = &args.from_file {
        specs.extend(listed(file).map_err(|error| Stop::Because(error, None))?);
    }
    if specs.is_empty() {
        return complain("name a repo to compare");
    }
    for spec in &mut specs {
        spec.revision = spec.revision.take().or_else(|| args.revision.clone());
    }
    if specs.iter().any(|spec| spec.endpoint != specs[0].endpoint) {
        return complain("the URLs name different hosts; run once for each");
    }
    let mut reference =
        hub(args.endpoint.as_deref(), specs[0].endpoint.as_deref()).map_err(|error| misconfigured(&error))?;
    if let Some(withheld) = &reference.withheld {
        screen.note(&render::remedies::withheld(withheld));
    }
    args.patience.apply(&mut reference.timing);
    if specs[0].endpoint.is_none() || args.endpoint.is_some() {
        job_token(&mut reference, screen).map_err(Stop::Said)?;
    }
    if ["s3://", "gs://", "az://"].iter().any(|scheme| args.mirror.starts_with(scheme)) {
        return complain(
            "hfget cannot compare with an object store; to check one against its manifest, run `hfget verify URL`",
        );
    }
    let mirror = reference.mirror(&args.mirror).map_err(|error| misconfigured(&error))?;
    if ShownUrl::from(&mirror.endpoint) == ShownUrl::from(&reference.endpoint) {
        let hint =
            "name the mirror with --mirror, and the Hub with --endpoint: HF_ENDPOINT may name the mirror already";
        return Err(Stop::Because("the mirror and the endpoint are the same server".to_owned(), Some(hint)));
    }
    let mut config = CompareConfig::new(reference, mirror);
    config.level = args.level;
    config.seed = args.seed.unwrap_or(config.seed);
    config.jobs = args.jobs.into();
    config.allow_hosts.clone_from(&args.allow_host);
    let progress: Arc<dyn Progress> = Arc::new(Quiet(Arc::clone(&screen.progress)));
    Ok((specs, Comparison::new(config, progress).map_err(|error| Stop::Because(error.to_string(), None))?))
}
