//! Progress on stderr: bars on a terminal, a line now and then when piped. What happens is told by
//! the library; nothing is decided here.

use std::collections::HashMap;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::render::{lines::wrap, many};
use hfget_core::model::RepoPath;
use hfget_core::progress::{Event, Planned, Progress};
use hfget_core::text::{bytes, hidden, printable};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::ndjson;

/// How often a piped run says where it is.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Bars of single files shown at once; the total is always shown.
const FILE_BARS: usize = 8;
/// Files smaller than this get no bar of their own.
const SMALL: u64 = 4 << 20;

/// Bars for a terminal.
pub struct Bars {
    all: MultiProgress,
    width: usize,
    state: Mutex<BarState>,
}

#[derive(Default)]
struct BarState {
    total: Option<ProgressBar>,
    files: HashMap<RepoPath, Row>,
    /// The total's words say that everybody waits.
    held: bool,
    /// Bytes that each file has counted into the total, to take them back on a restart.
    counted: HashMap<RepoPath, u64>,
    arrived: Arrived,
}

/// The bar of a file.
struct Row {
    bar: ProgressBar,
    name: String,
    /// Columns for it.
    room: usize,
    /// When bytes came last.
    heard: Arc<Mutex<Instant>>,
    /// It says what it waits for, in the place of its name.
    waits: bool,
}

impl Row {
    fn inc(&mut self, n: u64) {
        *lock(&self.heard) = Instant::now();
        if std::mem::take(&mut self.waits) {
            self.bar.set_message(self.name.clone());
        }
        self.bar.inc(n);
    }

    /// Says what it waits for.
    fn wait(&mut self, what: &str) {
        self.waits = true;
        let name = fitting(&self.name, self.room.saturating_sub(what.len() + 3));
        self.bar.set_message(format!("{what}: {name}"));
    }
}

/// Files that have their names, of those that a run is to have.
#[derive(Debug, Clone, Copy, Default)]
struct Arrived {
    done: usize,
    files: usize,
}

impl Arrived {
    fn of(plan: Planned) -> Self {
        Arrived { done: plan.here, files: plan.files }
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.done, many(self.files as u64, "file"))
    }
}

/// Bars for a screen of `width` columns. Where there is no room for everything, the share that is
/// done and the name are left.
fn style(width: usize, colour: &str, heard: Option<Arc<Mutex<Instant>>>) -> ProgressStyle {
    let template = match width {
        WIDE.. => format!("{{prefix:<6}} {{bar:14.{colour}/dim}} {{done:>19}} {{rate:>11}} {{left:>7}}  {{msg}}"),
        USUAL.. => format!("{{bar:9.{colour}/dim}} {{done:>19}} {{rate:>9}} {{left:>7}}  {{msg}}"),
        _ => format!("{{bar:8.{colour}/dim}} {{percent:>3}} % {{left:>7}}  {{msg}}"),
    };
    // The template is known here, and parses.
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .with_key("done", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{} of {}", bytes(state.pos()), bytes(state.len().unwrap_or(0)));
        })
        .with_key("rate", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let silent = heard.as_ref().map_or(Duration::ZERO, |heard| lock(heard).elapsed());
            if silent >= SILENT {
                let _ = write!(out, "silent {} s", silent.as_secs());
                return;
            }
            // A rate for people: never negative, and a fraction of a byte does not matter.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let rate = state.per_sec() as u64;
            let _ = write!(out, "{}/s", bytes(rate));
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let seconds = state.eta().as_secs();
            let _ = match seconds {
                0..100 => write!(out, "{seconds} s"),
                100..6000 => write!(out, "{} min", seconds / 60),
                _ => write!(out, "{} h", seconds / 3600),
            };
        })
}

/// A file of which nothing came for so long is called silent.
const SILENT: Duration = Duration::from_secs(4);

/// Columns from which a bar shows everything.
const WIDE: usize = 90;
/// Columns from which it shows bytes and rate.
const USUAL: usize = 72;

/// Columns of a bar before its name.
fn columns_before_name(width: usize) -> usize {
    match width {
        WIDE.. => 64,
        USUAL.. => 49,
        _ => 25,
    }
}

/// The end of a name, which tells shards apart, where the whole does not fit.
fn fitting(name: &str, room: usize) -> String {
    let width = |text: &str| unicode_width::UnicodeWidthStr::width(text);
    if width(name) <= room {
        return name.to_owned();
    }
    let tails = name.char_indices().map(|(at, _)| &name[at..]);
    let tail = tails.into_iter().find(|tail| width(tail) < room).unwrap_or("");
    format!("…{tail}")
}

/// What is being drawn on, so that an interruption can end it from outside.
static SCREEN: Mutex<Option<Arc<Bars>>> = Mutex::new(None);

/// Ends all drawing. The bars stay as they are: how far each file came is worth seeing, and the
/// terminal's `^C` has moved the cursor to where they could no longer be removed.
fn stop_drawing() {
    if let Some(bars) = lock(&SCREEN).take() {
        bars.all.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// Says that the run was interrupted, below whatever is drawn and the terminal's `^C`.
pub fn say_interrupted(events: bool) {
    const TEXT: &str = "interrupted: run it again to resume";
    stop_drawing();
    if events {
        ndjson::event("message", serde_json::json!({ "text": TEXT }));
    } else if std::io::stderr().is_terminal() {
        write_line(&format!("\n{TEXT}"));
    } else {
        write_line(TEXT);
    }
}

impl Bars {
    /// Draws on stderr.
    pub fn new(width: usize) -> Arc<Self> {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let bars = Arc::new(Bars { all, width, state: Mutex::default() });
        lock(&SCREEN).replace(Arc::clone(&bars));
        bars
    }

    /// Removes what is drawn, so that other text can follow.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        for (_, row) in state.files.drain() {
            row.bar.finish_and_clear();
        }
        if let Some(total) = state.total.take() {
            total.finish_and_clear();
        }
        state.counted.clear();
        let _ = self.all.clear();
    }

    /// Says what both kinds of display say the same way.
    fn tell(&self, event: &Event<'_>) {
        if let Some(line) = notice(event) {
            self.say(&line);
        }
    }

    fn say(&self, line: &str) {
        let mut text = String::new();
        wrap(&mut text, "", line, self.width);
        let _ = self.all.println(hidden(text.trim_end()));
    }

    fn begin(&self, prefix: &'static str, total: u64, message: String) {
        let style = style(self.width, "green", None);
        let bar = self.all.add(ProgressBar::new(total).with_style(style).with_prefix(prefix).with_message(message));
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(old) = lock(&self.state).total.replace(bar) {
            old.finish_and_clear();
        }
    }

    fn file(&self, prefix: &'static str, path: &RepoPath, size: u64, have: u64) {
        let mut state = lock(&self.state);
        if size >= SMALL && state.files.len() < FILE_BARS {
            let room = self.width.saturating_sub(columns_before_name(self.width));
            let name = fitting(&printable(path.as_str()), room);
            let heard = Arc::new(Mutex::new(Instant::now()));
            // Files that are only hashed wait for nobody.
            let watched = (prefix.trim() == "get").then(|| Arc::clone(&heard));
            let bar = ProgressBar::new(size)
                .with_style(style(self.width, "cyan", watched))
                .with_prefix(prefix)
                .with_message(name.clone())
                .with_position(have);
            let bar = match &state.total {
                Some(total) => self.all.insert_before(total, bar),
                None => self.all.add(bar),
            };
            // So that silence shows while it lasts.
            bar.enable_steady_tick(Duration::from_secs(1));
            let bar = Row { bar, name, room, heard, waits: false };
            state.files.insert(path.clone(), bar);
        }
        if have > 0
            && let Some(total) = &state.total
        {
            total.inc(have);
            // What was there before is not speed.
            total.reset_eta();
        }
        *state.counted.entry(path.clone()).or_default() += have;
    }

    fn advance(&self, path: &RepoPath, n: u64) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if let Some(row) = state.files.get_mut(path) {
            row.inc(n);
        }
        if let Some(total) = &state.total {
            if std::mem::take(&mut state.held) {
                total.set_message(state.arrived.to_string());
            }
            total.inc(n);
        }
        *state.counted.entry(path.clone()).or_default() += n;
    }

    fn end_file(&self, path: &RepoPath) {
        let mut state = lock(&self.state);
        state.counted.remove(path);
        state.arrived.done += 1;
        if let Some(total) = &state.total {
            total.set_message(state.arrived.to_string());
        }
        if let Some(row) = state.files.remove(path) {
            row.bar.finish_and_clear();
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Planned(plan) => {
                let arrived = Arrived::of(plan);
                self.begin("fetch", plan.bytes, arrived.to_string());
                let mut state = lock(&self.state);
                state.arrived = arrived;
                if let Some(total) = &state.total {
                    total.inc(plan.bytes - plan.missing.min(plan.bytes));
                    total.reset_eta();
                }
            }
            Event::FileStarted { path, size, have } => {
                self.file("  get", path, size, 0);
                if have > 0
                    && let Some(row) = lock(&self.state).files.get(path)
                {
                    row.bar.inc(have);
                    row.bar.reset_eta();
                }
            }
            Event::FileBytes { path, bytes } | Event::VerifyBytes { path, bytes } => self.advance(path, bytes),
            Event::FileRestarted { path, why } => {
                self.say(&format!("{}: {}; starting this file again", path.shown(), printable(why)));
                let mut state = lock(&self.state);
                let counted = state.counted.remove(path).unwrap_or(0);
                if let Some(row) = state.files.get(path) {
                    row.bar.set_position(0);
                }
                if let Some(total) = &state.total {
                    total.set_position(total.position().saturating_sub(counted));
                }
            }
            Event::FileDone { path } => self.end_file(path),
            Event::Retry { path: Some(path), wait, .. } => {
                if let Some(row) = lock(&self.state).files.get_mut(path) {
                    row.wait(&format!("waiting {}", seconds(wait)));
                }
                self.tell(&event);
            }
            Event::RateLimited { wait, .. } => {
                let mut state = lock(&self.state);
                let text = format!("waiting {} (rate limit)", seconds(wait));
                state.files.values_mut().for_each(|row| row.wait(&text));
                if let Some(total) = &state.total {
                    total.set_message(text);
                    state.held = true;
                }
                drop(state);
                self.tell(&event);
            }
            Event::VerifyStarted { files, bytes } => self.begin("verify", bytes, many(files as u64, "file")),
            Event::VerifyFile { path, size } => self.file("  hash", path, size, 0),
            Event::VerifyDone => self.clear(),
            other => self.tell(&other),
        }
    }
}

/// Lines for a pipe or a log file.
pub struct Lines {
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    total: u64,
    done: u64,
    counted: HashMap<RepoPath, u64>,
    /// Where files arrive; they are not told one by one where they are only read.
    arrived: Option<Arrived>,
    what: &'static str,
    started: Option<Instant>,
    last: Option<Instant>,
    fresh: u64,
}

impl Lines {
    /// Writes to stderr.
    pub fn new() -> Self {
        Lines { state: Mutex::default() }
    }

    fn begin(&self, what: &'static str, total: u64, done: u64, arrived: Option<Arrived>) {
        let now = Instant::now();
        *lock(&self.state) =
            LineState { total, done, arrived, what, started: Some(now), last: Some(now), ..LineState::default() };
    }

    fn advance(&self, path: &RepoPath, n: u64) {
        let mut state = lock(&self.state);
        state.done += n;
        state.fresh += n;
        *state.counted.entry(path.clone()).or_default() += n;
        let Some(last) = state.last else { return };
        if last.elapsed() < LINE_EVERY {
            return;
        }
        state.last = Some(Instant::now());
        let seconds = state.started.map_or(1.0, |s| s.elapsed().as_secs_f64()).max(0.001);
        // A rate for people: an f64's precision is ample and the value is never negative.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = (state.fresh as f64 / seconds) as u64;
        let percent = u128::from(state.done) * 100 / u128::from(state.total.max(1));
        let eta =
            state.total.saturating_sub(state.done).checked_div(rate).map_or(String::new(), |s| format!(", {s} s left"));
        let files = state.arrived.map_or(String::new(), |arrived| format!(", {arrived}"));
        write_line(&format!(
            "{} {} of {} ({percent} %){files}, {}/s{eta}",
            state.what,
            bytes(state.done),
            bytes(state.total),
            bytes(rate)
        ));
    }
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Planned(plan) => {
                let (total, missing) = (plan.bytes, plan.missing);
                if missing > 0 {
                    write_line(&format!(
                        "fetching {} of {} in {}",
                        bytes(missing),
                        bytes(total),
                        many(plan.files as u64, "file")
                    ));
                }
                self.begin("fetched", total, total.saturating_sub(missing), Some(Arrived::of(plan)));
            }
            Event::FileBytes { path, bytes } | Event::VerifyBytes { path, bytes } => self.advance(path, bytes),
            Event::FileRestarted { path, why } => {
                let mut state = lock(&self.state);
                let counted = state.counted.remove(path).unwrap_or(0);
                state.done = state.done.saturating_sub(counted);
                drop(state);
                write_line(&format!("{}: {}; starting this file again", path.shown(), printable(why)));
            }
            Event::FileDone { path } => {
                let mut state = lock(&self.state);
                state.counted.remove(path);
                if let Some(arrived) = &mut state.arrived {
                    arrived.done += 1;
                }
            }
            Event::VerifyStarted { files, bytes: n } => {
                if n > 0 {
                    write_line(&format!("hashing {} in {}", bytes(n), many(files as u64, "file")));
                }
                self.begin("hashed", n, 0, None);
            }
            other => {
                if let Some(line) = notice(&other) {
                    write_line(&line);
                }
            }
        }
    }
}

/// The words for things that both kinds of display say the same way.
fn notice(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Retry { path, why, attempt, wait } => {
            let file = path.map_or(String::new(), |path| format!("{}: ", path.shown()));
            format!("{file}{}; attempt {attempt} in {}", printable(why), seconds(*wait))
        }
        Event::FellBack { path, why } => {
            format!(
                "{}: {}; the file goes on over HTTP (--transport http does so from the start)",
                path.shown(),
                printable(why)
            )
        }
        Event::RateLimited { host, wait } => {
            format!("{} limits requests; waiting {}", printable(host), seconds(*wait))
        }
        Event::Notice { text } => format!("note: {}", printable(text)),
        Event::WaitingForLock { path, waited } if *waited < Duration::from_secs(1) => {
            format!("{}: another process is fetching this file; waiting for it", path.shown())
        }
        Event::WaitingForLock { path, waited } => {
            format!("{}: another process has locked this file; waited {} for it", path.shown(), seconds(*waited))
        }
        _ => return None,
    })
}

fn seconds(wait: Duration) -> String {
    if wait < Duration::from_secs(10) {
        format!("{:.1} s", wait.as_secs_f64())
    } else {
        format!("{} s", wait.as_secs())
    }
}

/// Writes a line to stderr; a closed stderr is nobody's loss.
pub fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", hidden(line));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
