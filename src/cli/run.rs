//! The commands that fetch, plan and inspect, and which function each command is.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode as ProcessCode;
use std::sync::Arc;
use std::time::Duration;

use clap::FromArgMatches as _;
use hfget_core::finding::{Remedy, Severity};
use hfget_core::lock::LockedRepo;
use hfget_core::model::{Options, RepoId, RepoSpec, RepoType};
use hfget_core::report::Report;
use hfget_core::session::{DestinationConfig, Error, Inspected, Prepared, Session, inspect_path, names_folder};
use hfget_core::text::{hidden, keep_secret, printable};

use super::advice::Advisor;
use super::args::{
    Cli, Command, GetArgs, Help, InspectArgs, Output, PlaceArgs, PlanArgs, Repos, Selection, Target, Transfer,
    command_with, useless,
};
use super::clean::clean;
use super::compare::compare;
use super::follow::CodeRepos;
use super::habits::{asks_for_short_help, understood};
use super::list::list;
use super::lock::{lock, locked};
use super::man::{completions, man, offer};
use super::outcomes::Outcomes;
use super::progress::{say_interrupted, write_line};
use super::remove::remove;
use super::report_file::ReportFile;
use super::screen::{Screen, json_text, print_json, result_as_it_is};
use super::setup::{apply_revision, folders, from_file, hub_cache, named, session, specs};
use super::upfront::{resolve_all, settle, wish};
use super::verify::verify;
use crate::exit::{Ends, ExitCode};
use crate::render::html::Row;
use crate::render::remedies::take_words;
use hfget_core::report::PlanReport;
use serde_json::Value;

/// Hides what is secret in the URLs of the command line from all that is shown.
fn keep_secrets_of(words: &[OsString]) {
    for url in words.iter().filter_map(|word| url::Url::parse(word.to_str()?).ok()) {
        keep_secret(url.password().unwrap_or(url.username()));
    }
}

/// Says what is wrong with the command line, and ends.
fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    match hidden(&text) {
        std::borrow::Cow::Borrowed(_) => error.exit(),
        std::borrow::Cow::Owned(text) => {
            write_line(text.trim_end());
            std::process::exit(error.exit_code())
        }
    }
}

pub fn main() -> ProcessCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    keep_secrets_of(&typed);
    let words = match understood(typed) {
        Ok(words) => words,
        Err(answer) => {
            write_line(&format!("error: {answer}"));
            return code(ExitCode::Usage);
        }
    };
    let help = if asks_for_short_help(&words) { Help::Short } else { Help::Whole };
    let matches = match command_with(help).try_get_matches_from(words) {
        Ok(matches) => match useless(&matches) {
            Some((name, flag)) => {
                write_line(&format!("error: `hfget {name}` has no use for --{flag}\n  → leave it out"));
                return code(ExitCode::Usage);
            }
            None => matches,
        },
        // Help and version are not errors; clap exits with 2 for the rest.
        Err(error) => refuse(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => refuse(&error),
    };
    raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            write_line(&format!("error: cannot start: {error}"));
            return code(ExitCode::Local);
        }
    };
    let end = runtime.block_on(run(cli));
    // Writers that are still busy after an interruption get a moment to note what has arrived.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code(end)
}

/// Each connection and each file on its way takes descriptors; many systems give few of them to who does not ask.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Where that is refused, fewer must do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn code(end: ExitCode) -> ProcessCode {
    // Every code fits a byte.
    ProcessCode::from(end as u8)
}

async fn run(cli: Cli) -> ExitCode {
    let events = cli.writes_events();
    let job = async {
        match cli.command {
            Some(Command::Plan(args)) => plan(&Asked::to_plan(&args), args.deep, args.report.report.as_deref()).await,
            Some(Command::Verify(args)) => verify(&args).await,
            Some(Command::Inspect(args)) => inspect(&args).await,
            Some(Command::Lock(args)) => lock(args).await,
            Some(Command::Clean(args)) => clean(args).await,
            Some(Command::List(args)) => list(args).await,
            Some(Command::Remove(args)) => remove(args).await,
            Some(Command::Compare(args)) => compare(&args).await,
            Some(Command::Completions(args)) => completions(&args),
            Some(Command::Man(args)) => man(&args),
            Some(Command::Offer { what }) => offer(what),
            None if cli.get.dry_run => plan(&Asked::to_get(&cli.get), false, cli.get.reports.report.as_deref()).await,
            None => get(&cli.get).await,
        }
    };
    tokio::select! {
        end = job => end,
        () = interrupted() => {
            say_interrupted(events);
            ExitCode::Interrupted
        }
    }
}

/// Ends on Ctrl-C or a polite kill.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

async fn get(args: &GetArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()).of_commands());
    if let Some(note) = args.habits.note() {
        screen.note(&note);
    }
    let mut outcomes = match Outcomes::new(&screen, &args.reports, "get") {
        Ok(outcomes) => outcomes,
        Err(end) => return end,
    };
    let jobs = match setup(&Asked::to_get(args), &screen).await {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    screen.expect(jobs.len());
    let mut ends = before_the_first_byte(&jobs, args).await;
    // What is said first is said before hours of transfer; the report keeps the order that was asked for.
    for (at, ((job, _), end)) in jobs.iter().zip(&mut ends).enumerate() {
        if let Some(error) = end.take() {
            outcomes.error_at(at, &job.name(), &error);
            // A word that is no repo was meant otherwise, and so was what stands beside it.
            if job.is_bare_word() && at < args.repos.named.len() {
                return outcomes.finish();
            }
        }
    }
    let mut code = CodeRepos::of(&args.repos, jobs.iter().map(|(job, _)| job.name()));
    for (at, (job, session)) in jobs.iter().enumerate().filter(|(at, _)| !outcomes.has(*at)).collect::<Vec<_>>() {
        match job.get(session).await {
            Ok(report) => {
                code.add(&report.code_repos);
                outcomes.report_at(at, &job.name(), report);
            }
            Err(error) => {
                outcomes.error_at(at, &job.name(), &error);
                // What follows a misspelt command was not meant to be fetched.
                if at == 0 && screen.advisor.command_meant(&error).is_some() {
                    break;
                }
            }
        }
    }
    if let Some((_, session)) = jobs.first().filter(|_| !code.is_empty()) {
        match code_session(&Asked::to_get(args), &screen, session) {
            Ok(session) => code.get(&session, jobs.len(), &mut outcomes).await,
            Err(end) => outcomes.worsen(end),
        }
    }
    outcomes.finish()
}

/// The session that takes the code of other repos: loaders look for it in the cache, and what goes into an object store
/// goes there as a whole.
fn code_session(asked: &Asked<'_>, screen: &Screen, of_models: &Arc<Session>) -> Result<Arc<Session>, ExitCode> {
    if asked.place.local_dir.is_none() {
        return Ok(Arc::clone(of_models));
    }
    let cache = hub_cache(asked.place, screen)?;
    session(asked.place, asked.transfer, false, screen, None, Some(cache)).map(Arc::new)
}

/// Which of several repos are not to be had. Of one, the job itself says so.
async fn before_the_first_byte(jobs: &[(Job, Arc<Session>)], args: &GetArgs) -> Vec<Option<Error>> {
    let Some((_, session)) = jobs.first().filter(|_| jobs.len() > 1 && !args.place.offline) else {
        return jobs.iter().map(|_| None).collect();
    };
    let specs: Vec<Option<&RepoSpec>> = jobs
        .iter()
        .map(|(job, _)| match job {
            Job::Chosen(spec, _) => Some(spec),
            Job::Locked(_) => None,
        })
        .collect();
    resolve_all(&specs, session).await
}

/// The flags that say which repos, what of them, and where to.
struct Asked<'a> {
    repos: &'a Repos,
    selection: &'a Selection,
    place: &'a PlaceArgs,
    into: &'a Target,
    transfer: &'a Transfer,
    output: &'a Output,
}

impl<'a> Asked<'a> {
    fn to_get(args: &'a GetArgs) -> Self {
        let GetArgs { repos, selection, place, into, transfer, output, .. } = args;
        Asked { repos, selection, place, into, transfer, output }
    }

    fn to_plan(args: &'a PlanArgs) -> Self {
        let PlanArgs { repos, selection, place, into, transfer, output, .. } = args;
        Asked { repos, selection, place, into, transfer, output }
    }
}

async fn plan(asked: &Asked<'_>, deep: bool, report: Option<&Path>) -> ExitCode {
    let screen = Screen::new(asked.output, Advisor::new(asked.place.cache_dir.as_deref()));
    let file = match ReportFile::open(report, "plan", &screen) {
        Ok(file) => file,
        Err(end) => return end,
    };
    let jobs = match setup(asked, &screen).await {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    // The plan is the result.
    let options = screen.on_stdout();
    let mut end = ExitCode::Verified;
    let (mut values, mut rows) = (Vec::new(), Vec::new());
    let mut code = CodeRepos::of(asked.repos, jobs.iter().map(|(job, _)| job.name()));
    let mut jobs: std::collections::VecDeque<(Job, Arc<Session>)> = jobs.into();
    while let Some((job, session)) = jobs.pop_front() {
        match job.plan(&session).await {
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
                let name = job.name();
                let words = |remedy: &Remedy| screen.words(remedy, &name);
                values.push(plan_json(&screen, &report, &name));
                rows.push(Row::plan(&name, &report, &words));
                if !screen.json {
                    result_as_it_is(&crate::render::plan::human(&report, options, &words));
                }
                if let Err(error) = prepared.not_empty() {
                    screen.error(&job.name(), &error);
                    end = end.max(error.exit_code());
                }
                for finding in prepared.unsafe_names() {
                    let path = finding.path.as_deref().unwrap_or("");
                    let hint = finding.remedy.as_ref().map(|remedy| screen.words(remedy, &job.name()));
                    screen.fail(&printable(path), &printable(&finding.message), hint.as_deref());
                    end = end.max(ExitCode::VerificationFailed);
                }
            }
            Err(error) => {
                let value = screen.error(&job.name(), &error);
                rows.push(Row::error(&job.name(), &error.to_string(), value["hint"].as_str()));
                values.push(value);
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
        Some(file) if file.is_page() => file.write_page(&rows, end, &screen),
        Some(file) => file.write(&json_text("plans", &values), end, &screen),
    }
}

/// A plan as JSON, with what can be done in the words of the command line.
fn plan_json(screen: &Screen, report: &PlanReport<'_>, name: &str) -> Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    let told = value.get_mut("left_out").and_then(Value::as_array_mut).into_iter().flatten();
    for (value, group) in told.zip(&report.selection.left_out) {
        value["take"] = take_words(&group.take, "").into();
    }
    screen.with_hints(value, &report.selection.findings, name)
}

/// A repo to work on: as the flags choose, or as a lockfile says.
enum Job {
    Chosen(RepoSpec, Options),
    Locked(LockedRepo),
}

impl Job {
    fn name(&self) -> String {
        match self {
            Job::Chosen(spec, _) => spec.repo_type.qualify(&spec.id),
            Job::Locked(locked) => locked.name(),
        }
    }

    fn repo(&self) -> (RepoType, &RepoId) {
        match self {
            Job::Chosen(spec, _) => (spec.repo_type, &spec.id),
            Job::Locked(locked) => (locked.repo_type, &locked.id),
        }
    }

    /// Whether it is one word, which could have been meant otherwise.
    fn is_bare_word(&self) -> bool {
        matches!(self, Job::Chosen(spec, _) if spec.repo_type == RepoType::Model && spec.id.owner().is_none())
    }

    async fn get(&self, session: &Session) -> Result<Report, Error> {
        match self {
            Job::Chosen(spec, options) => session.get(spec, options).await,
            Job::Locked(locked) => session.get_locked(locked).await,
        }
    }

    async fn plan(&self, session: &Session) -> Result<Prepared, Error> {
        match self {
            Job::Chosen(spec, options) => session.plan(spec, options).await,
            Job::Locked(locked) => session.plan_locked(locked).await,
        }
    }
}

/// What is to be done, each with the session that does it: one for all, unless each repo has a folder of its own.
async fn setup(asked: &Asked<'_>, screen: &Screen) -> Result<Vec<(Job, Arc<Session>)>, ExitCode> {
    let Asked { repos, selection, place, into, transfer, .. } = asked;
    let open = |folder: Option<DestinationConfig>, pasted: Option<&str>| {
        session(place, transfer, false, screen, pasted, into.destination().or(folder)).map(Arc::new)
    };
    if let Some(file) = &repos.locked {
        let pasted = named(repos, screen)?.specs.first().and_then(|spec| spec.endpoint.clone());
        let jobs = locked(file, repos, selection, screen)?.into_iter().map(Job::Locked).collect();
        return placed(jobs, place, None, screen, |folder| open(folder, pasted.as_deref()));
    }
    let (mut named, listed) = (named(repos, screen)?, from_file(repos, screen)?);
    if let (Some(file), Some(other)) = (named.files.first(), listed.first()) {
        let other = other.repo_type.qualify(&other.id);
        let what = format!("\"{}\" is a file, and --from-file names {other} besides", printable(file));
        screen.fail("", &what, Some("name files of one repo, or several repos"));
        return Err(ExitCode::Usage);
    }
    // What makes no sense is said before any request.
    named.specs = specs(named.specs, repos.revision.as_ref(), screen)?;
    for spec in named.specs.iter().chain(&listed) {
        wish(selection, spec, &named.files, screen)?;
    }
    let certain = named.specs.iter().chain(&listed).map(|spec| (spec.repo_type, &spec.id));
    folders(place, certain, screen)?;
    let pasted = named.specs.iter().chain(&listed).next().and_then(|s| s.endpoint.clone());
    let session = open(None, pasted.as_deref())?;
    settle(&mut named, &session, screen).await?;
    let all = named.specs.into_iter().chain(listed).collect();
    let mut jobs = Vec::new();
    for spec in specs(all, repos.revision.as_ref(), screen)? {
        let options = wish(selection, &spec, &named.files, screen)?;
        jobs.push(Job::Chosen(spec, options));
    }
    placed(jobs, place, Some(session), screen, |folder| open(folder, pasted.as_deref()))
}

/// Each job with its session: `shared`, or one for all that `open` opens, unless each repo has a folder of its own.
fn placed(
    jobs: Vec<Job>,
    place: &PlaceArgs,
    shared: Option<Arc<Session>>,
    screen: &Screen,
    open: impl Fn(Option<DestinationConfig>) -> Result<Arc<Session>, ExitCode>,
) -> Result<Vec<(Job, Arc<Session>)>, ExitCode> {
    let folders = folders(place, jobs.iter().map(Job::repo), screen)?;
    if folders.is_empty() {
        let session = shared.map_or_else(|| open(None), Ok)?;
        return Ok(jobs.into_iter().map(|job| (job, Arc::clone(&session))).collect());
    }
    let sessions: Result<Vec<_>, ExitCode> = folders.into_iter().map(|folder| open(Some(folder))).collect();
    Ok(jobs.into_iter().zip(sessions?).collect())
}

async fn inspect(args: &InspectArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()));
    let filter = match args.filter.as_deref().map(globset::Glob::new).transpose() {
        Ok(filter) => filter.map(|glob| glob.compile_matcher()),
        Err(error) => {
            screen.fail("--filter", &error, None);
            return ExitCode::Usage;
        }
    };
    let width = screen.on_stdout().width;
    let mut end = ExitCode::Verified;
    let mut values = Vec::new();
    for target in &args.targets {
        match inspect_one(args, target, &screen).await {
            Ok(files) => {
                if files.iter().any(Inspected::is_wrong) {
                    end = end.max(ExitCode::VerificationFailed);
                }
                if screen.json {
                    values.push(super::inspect::json(target, &files, filter.as_ref()));
                } else {
                    let text = super::inspect::human(&files, filter.as_ref(), width);
                    result_as_it_is(&text);
                }
            }
            Err(Ended::Error(error)) => {
                values.push(screen.error(target, &error));
                end = end.max(error.exit_code());
            }
            Err(Ended::Said(bad)) => end = end.max(bad),
        }
    }
    if screen.json {
        print_json("inspected", &values);
    }
    end
}

/// Why a target could not be inspected.
enum Ended {
    /// To be said.
    Error(Error),
    /// It has been said.
    Said(ExitCode),
}

async fn inspect_one(args: &InspectArgs, target: &str, screen: &Screen) -> Result<Vec<Inspected>, Ended> {
    let path = std::path::Path::new(target);
    if names_folder(target).is_some() || path.is_file() {
        let path = path.to_path_buf();
        let work = tokio::task::spawn_blocking(move || inspect_path(&path));
        return work.await.map_err(|_| Ended::Said(ExitCode::Local))?.map_err(Ended::Error);
    }
    let mut spec = target.parse::<RepoSpec>().map_err(|error| {
        screen.fail("", &error, Some("name a repo, or a file or folder that exists"));
        Ended::Said(ExitCode::Usage)
    })?;
    apply_revision(&mut spec, args.revision.as_ref());
    let session = session(&args.place, &args.transfer, false, screen, spec.endpoint.as_deref(), None);
    let session = session.map_err(Ended::Said)?;
    let options = wish(&args.selection, &spec, &[], screen).map_err(Ended::Said)?;
    session.inspect(&spec, &options).await.map_err(Ended::Error)
}
