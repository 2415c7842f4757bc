//! From arguments to a session, and from its result to stdout, stderr and the exit code.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode as ProcessCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use hfget::fetch::FetchOptions;
use hfget::hub::{HubConfig, cache_dir, is_truthy};
use hfget::lock::LockedRepo;
use hfget::progress::{Progress, Silent};
use hfget::repo::{RepoSpec, Revision};
use hfget::report::{ExitCode, Finding, HumanOptions, PlanReport, Policy, Report, Severity, human};
use hfget::select::Options;
use hfget::session::{Config, Destination, Error, Inspected, Prepared, Session, inspect_path, names_folder, worse};
use hfget::text::printable;
use serde_json::{Value, json};

use super::args::{self, Cli, Command, GetArgs, InspectArgs, Output, Place, Repos, Selection, Transfer};
use super::clean::clean;
use super::compare::compare;
use super::endings::Endings;
use super::lock::{lock, locked};
use super::ndjson::{self, Ndjson};
use super::progress::{Bars, Lines, stop_drawing, write_line};
use super::verify::verify;

/// The version of the JSON that goes to stdout.
const SCHEMA_VERSION: u32 = 1;

pub fn main() -> ProcessCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        // Help and version are not errors; clap exits with 2 for the rest.
        Err(error) => error.exit(),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
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

fn code(end: ExitCode) -> ProcessCode {
    // Every code fits a byte.
    ProcessCode::from(end as u8)
}

async fn run(cli: Cli) -> ExitCode {
    let job = async {
        match cli.command {
            Some(Command::Plan(args)) => {
                plan(&args.repos, &args.selection, &args.place, &args.transfer, &args.output, args.deep).await
            }
            Some(Command::Verify(args)) => verify(&args).await,
            Some(Command::Inspect(args)) => inspect(&args).await,
            Some(Command::Lock(args)) => lock(args).await,
            Some(Command::Clean(args)) => clean(args).await,
            Some(Command::Compare(args)) => compare(&args).await,
            None if cli.get.dry_run => {
                let args = &cli.get;
                plan(&args.repos, &args.selection, &args.place, &args.transfer, &args.output, false).await
            }
            None => get(&cli.get).await,
        }
    };
    tokio::select! {
        end = job => end,
        () = interrupted() => {
            stop_drawing();
            write_line("interrupted: what has arrived is kept, and a second run goes on from there");
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

/// How to show things, settled once.
pub(super) struct Screen {
    pub(super) human: HumanOptions,
    pub(super) quiet: bool,
    pub(super) json: bool,
    /// Stderr carries events, and nothing else.
    pub(super) events: bool,
    bars: Option<Arc<Bars>>,
    pub(super) progress: Arc<dyn Progress>,
}

pub(super) fn env_flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| is_truthy(&value))
}

impl Screen {
    pub(super) fn new(output: &Output) -> Self {
        let stderr = std::io::stderr();
        let terminal = stderr.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let columns =
            rustix::termios::tcgetwinsize(&stderr).ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
        let width = if terminal { columns.unwrap_or(80) } else { 100 };
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
            args::Progress::Lines => Arc::new(Lines::new()),
            args::Progress::Bars => {
                let drawn = Bars::new(width);
                bars = Some(Arc::clone(&drawn));
                drawn
            }
        };
        Screen {
            human: HumanOptions { width, color, verbose: output.verbose },
            quiet: output.quiet,
            json: output.json,
            events: how == args::Progress::Json,
            bars,
            progress,
        }
    }

    pub(super) fn say(&self, text: &str) {
        if self.events {
            ndjson::event("message", json!({ "text": text.trim_end() }));
            return;
        }
        if let Some(bars) = &self.bars {
            bars.clear();
        }
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    pub(super) fn fail(&self, name: &str, error: &dyn std::fmt::Display, hint: Option<&str>) {
        if self.events {
            ndjson::event("error", json!({ "about": name, "message": error.to_string(), "hint": hint }));
            return;
        }
        let paint = |code: &str, text: &str| {
            if self.human.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut text = format!(
            "{}: {}{error}\n",
            paint("31", "error"),
            // Most errors name the repo or folder themselves.
            if name.is_empty() || error.to_string().contains(name) { String::new() } else { format!("{name}: ") }
        );
        if let Some(hint) = hint {
            text.push_str(&["  → ", &*printable(hint), "\n"].concat());
        }
        self.say(&text);
    }

    pub(super) fn report(&self, report: &Report) {
        if self.events {
            ndjson::event("report", serde_json::to_value(report).unwrap_or_default());
            return;
        }
        if !self.quiet {
            self.say(&human(report, self.human));
        } else if !report.is_verified() {
            let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
            let only_errors = Report { findings: errors.cloned().collect::<Vec<Finding>>(), ..report.clone() };
            self.say(&human(&only_errors, self.human));
        }
    }
}

/// Writes the result; a closed pipe is the reader's choice.
pub(super) fn result(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

pub(super) fn print_json(key: &str, values: &[Value]) {
    result(&json_text(key, values));
}

pub(super) fn json_text(key: &str, values: &[Value]) -> String {
    let whole = json!({ "schema_version": SCHEMA_VERSION, key: values });
    serde_json::to_string_pretty(&whole).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
}

pub(super) fn error_json(name: &str, error: &Error) -> Value {
    json!({ "repo": name, "verified": false, "error": error.to_string(), "hint": error.hint(), "exit_code": error.exit_code() as u8 })
}

/// The specs with `--revision` applied, and the endpoint that pasted URLs name.
pub(super) fn specs(repos: &Repos, screen: &Screen) -> Result<Vec<RepoSpec>, ExitCode> {
    let mut specs = repos.named.clone();
    if let Some(file) = &repos.from_file {
        specs.extend(listed(file).map_err(|why| {
            screen.fail("--from-file", &why, None);
            ExitCode::Usage
        })?);
    }
    for spec in &mut specs {
        apply_revision(spec, repos.revision.as_ref());
    }
    if specs.len() > 1 && specs.iter().any(|s| s.endpoint != specs[0].endpoint) {
        screen.fail("", &"the URLs name different hosts; run once for each", None);
        return Err(ExitCode::Usage);
    }
    Ok(specs)
}

/// The repos that a file names. The error is a sentence that names the file.
fn listed(file: &Path) -> Result<Vec<RepoSpec>, String> {
    /// A name is short; nobody lists millions.
    const LIMIT: u64 = 16 << 20;
    let shown = file.display();
    let unread = |e: std::io::Error| format!("{shown}: {e}");
    let mut text = String::new();
    std::fs::File::open(file).map_err(unread)?.take(LIMIT).read_to_string(&mut text).map_err(unread)?;
    let mut specs = Vec::new();
    for (at, line) in text.lines().enumerate() {
        // A '#' in a name would be part of a URL's fragment, which names no repo.
        let name = line.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            specs.push(name.parse().map_err(|e| format!("{shown}:{}: {e}", at + 1))?);
        }
    }
    if specs.is_empty() { Err(format!("{shown} names no repo")) } else { Ok(specs) }
}

pub(super) fn apply_revision(spec: &mut RepoSpec, revision: Option<&Revision>) {
    if spec.revision.is_none() {
        spec.revision = revision.cloned();
    }
}

pub(super) fn session(
    place: &Place,
    transfer: &Transfer,
    deep: bool,
    screen: &Screen,
    pasted: Option<&str>,
) -> Result<Session, ExitCode> {
    let env = |name: &str| std::env::var_os(name);
    let endpoint = place.endpoint.as_deref().or(pasted);
    let mut hub = HubConfig::from_env(endpoint, env).map_err(|error| {
        screen.fail("", &error, None);
        ExitCode::Usage
    })?;
    if let Some(transport) = transfer.transport {
        hub.transport = transport;
    }
    if let Some(ms) = transfer.retry_base_ms {
        hub.retry.base = Duration::from_millis(ms);
    }
    if let Some(stall) =
        transfer.stall_timeout.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| !d.is_zero())
    {
        hub.stall_timeout = stall;
        hub.response_timeout = stall;
    }
    let mut mirrors = Vec::new();
    for url in &place.mirror {
        let mirror = hub.mirror(url).map_err(|error| {
            screen.fail("", &error, None);
            ExitCode::Usage
        })?;
        mirrors.push(mirror);
    }
    let destination = match (&place.local_dir, &place.cache_dir) {
        (Some(dir), _) => Destination::LocalDir(dir.clone()),
        (None, dir) => {
            let Some(root) = dir.clone().or_else(|| cache_dir(env)) else {
                screen.fail(
                    "",
                    &"there is no home folder to put the cache into",
                    Some("pass --cache-dir DIR, or set HF_HOME"),
                );
                return Err(ExitCode::Usage);
            };
            Destination::Cache { root, symlinks: !env_flag("HF_HUB_DISABLE_SYMLINKS") }
        }
    };
    let policy = Policy::new(transfer.deny.iter().copied(), transfer.allow.iter().copied()).map_err(|error| {
        screen.fail("--allow", &error, None);
        ExitCode::Usage
    })?;
    let default = FetchOptions::default();
    let config = Config {
        hub,
        mirrors,
        destination: destination.absolute(),
        offline: place.offline || env_flag("HF_HUB_OFFLINE") || env_flag("TRANSFORMERS_OFFLINE"),
        fetch: FetchOptions {
            jobs: transfer.jobs.map_or(default.jobs, usize::from),
            connections: transfer.connections.map_or(default.connections, usize::from),
            limit_rate: transfer.limit_rate,
            force: transfer.force,
        },
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        allow_unsafe_pickle: transfer.allow_unsafe_pickle,
        deep,
        policy,
    };
    Session::new(config, Arc::clone(&screen.progress)).map_err(|error| {
        screen.fail("", &error, error.hint().as_deref());
        error.exit_code()
    })
}

async fn get(args: &GetArgs) -> ExitCode {
    let screen = Screen::new(&args.output);
    let (jobs, session) = match setup(&args.repos, &args.selection, &args.place, &args.transfer, &screen) {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    let mut endings = Endings::new(&screen, &args.reports);
    for job in &jobs {
        match job.get(&session).await {
            Ok(report) => endings.report(job.name(), report),
            Err(error) => endings.error(job.name(), &error),
        }
    }
    endings.finish()
}

async fn plan(
    repos: &Repos,
    selection: &Selection,
    place: &Place,
    transfer: &Transfer,
    output: &Output,
    deep: bool,
) -> ExitCode {
    let screen = Screen::new(output);
    let (jobs, session) = match setup(repos, selection, place, transfer, &screen) {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    // The plan is the result: it goes to stdout, as wide as that is.
    let stdout = std::io::stdout();
    let columns = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
    let options = HumanOptions {
        width: if stdout.is_terminal() { columns.unwrap_or(80) } else { 100 },
        color: stdout.is_terminal() && screen.human.color,
        ..screen.human
    };
    let mut end = ExitCode::Verified;
    let mut values = Vec::new();
    for job in &jobs {
        match job.plan(&session).await {
            Ok(mut prepared) => {
                if deep {
                    let findings = session.check_deep(&prepared).await;
                    if !findings.is_empty() {
                        end = worse(end, ExitCode::VerificationFailed);
                    }
                    prepared.selection.findings.extend(findings);
                }
                if prepared.selection.findings.iter().any(|f| f.severity == Severity::Error) {
                    end = worse(end, ExitCode::VerificationFailed);
                }
                let report =
                    PlanReport { info: &prepared.listing.info, selection: &prepared.selection, plan: &prepared.plan };
                if screen.json {
                    values.push(serde_json::to_value(report).unwrap_or_default());
                } else {
                    let _ = std::io::stdout().lock().write_all(report.human(options).as_bytes());
                }
                for finding in prepared.unsafe_names() {
                    let path = finding.path.as_deref().unwrap_or("");
                    screen.fail(&printable(path), &printable(&finding.message), finding.hint.as_deref());
                    end = worse(end, ExitCode::VerificationFailed);
                }
            }
            Err(error) => {
                screen.fail(job.name(), &error, error.hint().as_deref());
                end = worse(end, error.exit_code());
                values.push(error_json(job.name(), &error));
            }
        }
    }
    if screen.json {
        print_json("plans", &values);
    }
    end
}

/// A repo to work on: as the flags choose, or as a lockfile says.
enum Job {
    Chosen(RepoSpec, Options),
    Locked(LockedRepo),
}

impl Job {
    fn name(&self) -> &str {
        match self {
            Job::Chosen(spec, _) => spec.id.as_str(),
            Job::Locked(locked) => locked.id.as_str(),
        }
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

fn setup(
    repos: &Repos,
    selection: &Selection,
    place: &Place,
    transfer: &Transfer,
    screen: &Screen,
) -> Result<(Vec<Job>, Session), ExitCode> {
    let specs = specs(repos, screen)?;
    let session = session(place, transfer, false, screen, specs.first().and_then(|s| s.endpoint.as_deref()))?;
    let jobs = match &repos.locked {
        Some(file) => locked(file, repos, selection, screen)?.into_iter().map(Job::Locked).collect(),
        None => specs.into_iter().map(|spec| Job::Chosen(spec, selection.options())).collect(),
    };
    Ok((jobs, session))
}

async fn inspect(args: &InspectArgs) -> ExitCode {
    let screen = Screen::new(&args.output);
    let filter = match args.filter.as_deref().map(globset::Glob::new).transpose() {
        Ok(filter) => filter.map(|glob| glob.compile_matcher()),
        Err(error) => {
            screen.fail("--filter", &error, None);
            return ExitCode::Usage;
        }
    };
    let stdout = std::io::stdout();
    let columns = rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
    let width = if stdout.is_terminal() { columns.unwrap_or(80) } else { 100 };
    let mut end = ExitCode::Verified;
    let mut values = Vec::new();
    for target in &args.targets {
        match inspect_one(args, target, &screen).await {
            Ok(files) => {
                if files.iter().any(Inspected::is_wrong) {
                    end = worse(end, ExitCode::VerificationFailed);
                }
                if screen.json {
                    values.push(super::inspect::json(target, &files, filter.as_ref()));
                } else {
                    let text = super::inspect::human(&files, filter.as_ref(), width);
                    let _ = std::io::stdout().lock().write_all(text.as_bytes());
                }
            }
            Err(Ok(error)) => {
                screen.fail(&printable(target), &error, error.hint().as_deref());
                end = worse(end, error.exit_code());
                values.push(error_json(target, &error));
            }
            Err(Err(bad)) => end = worse(end, bad),
        }
    }
    if screen.json {
        print_json("inspected", &values);
    }
    end
}

/// `Err(Err(_))`: it has been said already.
async fn inspect_one(
    args: &InspectArgs,
    target: &str,
    screen: &Screen,
) -> Result<Vec<Inspected>, Result<Error, ExitCode>> {
    let path = std::path::Path::new(target);
    if names_folder(target).is_some() || path.is_file() {
        let path = path.to_path_buf();
        let work = tokio::task::spawn_blocking(move || inspect_path(&path));
        return work.await.map_err(|_| Err(ExitCode::Local))?.map_err(Ok);
    }
    let mut spec = target.parse::<RepoSpec>().map_err(|error| {
        screen.fail("", &error, Some("name a repo, or a file or folder that exists"));
        Err(ExitCode::Usage)
    })?;
    apply_revision(&mut spec, args.revision.as_ref());
    let session = session(&args.place, &args.transfer, false, screen, spec.endpoint.as_deref()).map_err(Err)?;
    session.inspect(&spec, &args.selection.options()).await.map_err(Ok)
}
