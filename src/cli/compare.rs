//! `hfget compare`: repos by repos on two servers, with one line for each. The comparison lives in the library.

use std::sync::Arc;

use hfget_core::finding::{ExitCode, Finding, Severity};
use hfget_core::hub::ShownUrl;
use hfget_core::model::RepoSpec;
use hfget_core::progress::{Event, Progress};
use hfget_core::session::{CompareConfig, Comparison};
use serde_json::json;

use super::advice::Advisor;
use super::args::CompareArgs;
use super::keyless::job_token;
use super::report_file::ReportFile;
use super::screen::{Screen, json_text, print_json, result};
use super::setup::{hub, listed};
use super::upfront::wish;
use crate::render;
use crate::render::html::Row;

/// Passes on what is worth a line: small files that are read on the way are not.
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
        Err(Stop::Because(text)) => {
            screen.fail("", &text, None);
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
        match comparison.compare(spec, &options).await {
            Ok(mut report) => {
                end = end.max(report.exit_code());
                values.push(report.json());
                rows.push(Row::comparison(&report.repo_type.qualify(&report.repo), &report));
                if screen.json {
                    continue;
                }
                let line = render::compare::line_of(&report);
                if screen.quiet {
                    report.findings.retain(|f: &Finding| f.severity == Severity::Error);
                }
                if !screen.quiet || !report.is_true() {
                    screen.say(&render::compare::human(&report, screen.human));
                }
                result(&line);
            }
            Err(error) => {
                let mut value = screen.error(&spec.repo_type.qualify(&spec.id), &error);
                end = end.max(error.exit_code());
                value["result"] = json!("error");
                let name = spec.repo_type.qualify(&spec.id);
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
    /// The command line makes no sense.
    Because(String),
    /// Somebody has said so.
    Said(ExitCode),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Stop::Because(why)
    }
}

impl From<&str> for Stop {
    fn from(why: &str) -> Self {
        Stop::Because(why.to_owned())
    }
}

fn setup(args: &CompareArgs, screen: &Screen) -> Result<(Vec<RepoSpec>, Comparison), Stop> {
    let mut specs = args.repos.clone();
    if let Some(file) = &args.from_file {
        specs.extend(listed(file)?);
    }
    if specs.is_empty() {
        return Err("there are no repos to compare".into());
    }
    for spec in &mut specs {
        spec.revision = spec.revision.take().or_else(|| args.revision.clone());
    }
    if specs.iter().any(|spec| spec.endpoint != specs[0].endpoint) {
        return Err("the URLs name different hosts; run once for each".into());
    }
    let mut reference =
        hub(args.endpoint.as_deref(), specs[0].endpoint.as_deref(), false).map_err(|e| e.to_string())?;
    if let Some(withheld) = &reference.withheld {
        screen.note(withheld);
    }
    args.patience.apply(&mut reference);
    if specs[0].endpoint.is_none() || args.endpoint.is_some() {
        job_token(&mut reference, screen).map_err(Stop::Said)?;
    }
    if ["s3://", "gs://", "az://"].iter().any(|scheme| args.mirror.starts_with(scheme)) {
        return Err(
            "an object store is no server to compare with: `hfget verify URL` holds it against its manifest".into()
        );
    }
    let mirror = reference.mirror(&args.mirror).map_err(|e| e.to_string())?;
    if ShownUrl::from(&mirror.endpoint) == ShownUrl::from(&reference.endpoint) {
        return Err("the mirror and the endpoint are the same server".into());
    }
    let mut config = CompareConfig::new(reference, mirror);
    config.level = args.level;
    config.seed = args.seed.unwrap_or(config.seed);
    config.jobs = args.jobs.into();
    config.allow_hosts.clone_from(&args.allow_host);
    let progress: Arc<dyn Progress> = Arc::new(Quiet(Arc::clone(&screen.progress)));
    Ok((specs, Comparison::new(config, progress).map_err(|e| e.to_string())?))
}
