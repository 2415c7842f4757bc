//! Progress on a terminal: bars, and the parts that bars and the lines of `progress_lines.rs` share. The library sends
//! the events; nothing is decided here.

use std::collections::HashMap;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::render::{lines::wrap, many};
use hfget_core::model::RepoPath;
use hfget_core::progress::{Event, Planned, Progress};
use hfget_core::unstable::text::{hidden, printable};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::ndjson;
use super::progress_row::{Row, style};
use super::speed::{self, Speed};
use super::system::columns;

/// The most bars of single files at once; the total always has a bar.
const FILE_BARS: usize = 8;
/// Files smaller than this get no bar of their own.
const SMALL: u64 = 4 << 20;

/// Bars for a terminal.
pub struct Bars {
    all: MultiProgress,
    state: Mutex<BarState>,
}

#[derive(Default)]
struct BarState {
    /// The columns of the terminal, and the time of the last look.
    width: usize,
    looked: Option<Instant>,
    total: Option<Total>,
    files: HashMap<RepoPath, Row>,
    /// Whether the total's text says that all transfers wait.
    held: bool,
    /// The bytes that each file has added to the total, to subtract them on a restart.
    counted: HashMap<RepoPath, u64>,
    arrived: Arrived,
}

/// The bar of everything.
struct Total {
    bar: ProgressBar,
    speed: Arc<Mutex<Speed>>,
}

/// How many of a run's files have their final names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrived {
    pub done: usize,
    files: usize,
}

impl Arrived {
    pub fn of(plan: Planned) -> Self {
        Arrived { done: plan.here, files: plan.files }
    }
}

impl fmt::Display for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.done, many(self.files as u64, "file"))
    }
}

/// The bars that are being drawn, so that an interruption can end the drawing from outside.
static SCREEN: Mutex<Option<Arc<Bars>>> = Mutex::new(None);

/// Ends all drawing. The bars stay: they show how far each file came, and they cannot be removed
/// any more since the terminal's `^C` has moved the cursor.
fn stop_drawing() {
    if let Some(bars) = lock(&SCREEN).take() {
        bars.all.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// Prints that the run was interrupted, below the bars and the terminal's `^C`.
pub fn say_interrupted(events: bool) {
    let text = speed::interrupted();
    stop_drawing();
    if events {
        ndjson::event("message", serde_json::json!({ "text": text }));
    } else if std::io::stderr().is_terminal() {
        let mut wrapped = String::from("\n");
        wrap(&mut wrapped, "", &text, columns(&std::io::stderr()).unwrap_or(80));
        write_line(wrapped.trim_end());
    } else {
        write_line(&text);
    }
}

impl Bars {
    /// Draws on stderr.
    pub fn new(width: usize) -> Arc<Self> {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let state = Mutex::new(BarState { width, ..BarState::default() });
        let bars = Arc::new(Bars { all, state });
        lock(&SCREEN).replace(Arc::clone(&bars));
        bars
    }

    /// Removes the bars, so that other text can follow.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        for (_, row) in state.files.drain() {
            row.bar.finish_and_clear();
        }
        if let Some(total) = state.total.take() {
            total.bar.finish_and_clear();
        }
        state.counted.clear();
        let _ = self.all.clear();
    }

    /// Prints the events that both kinds of display print in the same way.
    fn tell(&self, event: &Event<'_>) {
        if let Some(line) = notice(event) {
            self.say(&line);
        }
    }

    fn say(&self, line: &str) {
        let mut text = String::new();
        wrap(&mut text, "", line, lock(&self.state).width);
        let _ = self.all.println(hidden(text.trim_end()));
    }

    fn begin(&self, prefix: &'static str, total: u64, message: String) {
        let mut state = lock(&self.state);
        let speed = Arc::new(Mutex::new(Speed::new(Instant::now())));
        let style = style(state.width, "green", &speed, None);
        let bar = self.all.add(ProgressBar::new(total).with_style(style).with_prefix(prefix).with_message(message));
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(old) = state.total.replace(Total { bar, speed }) {
            old.bar.finish_and_clear();
        }
    }

    fn file(&self, prefix: &'static str, path: &RepoPath, size: u64, have: u64) {
        let mut state = lock(&self.state);
        // These bytes count as here from the start; a file that begins again loses them.
        *state.counted.entry(path.clone()).or_default() += have;
        if size >= SMALL && state.files.len() < FILE_BARS {
            let bar = ProgressBar::new(size).with_prefix(prefix).with_position(have);
            let bar = match &state.total {
                Some(total) => self.all.insert_before(&total.bar, bar),
                None => self.all.add(bar),
            };
            let now = Instant::now();
            let mut row = Row {
                bar,
                speed: Arc::new(Mutex::new(Speed::new(now))),
                whole: printable(path.as_str()).into_owned(),
                name: String::new(),
                room: 0,
                heard: Arc::new(Mutex::new(now)),
                watched: prefix.trim() == "get",
                waits: false,
            };
            row.fit(state.width);
            // The tick redraws the bar, so that it shows silence.
            row.bar.enable_steady_tick(Duration::from_secs(1));
            state.files.insert(path.clone(), row);
        }
    }

    /// Draws for the terminal's new width, if it has changed.
    fn follow_the_terminal(state: &mut BarState, now: Instant) {
        if state.looked.is_some_and(|looked| now.duration_since(looked) < Duration::from_secs(1)) {
            return;
        }
        state.looked = Some(now);
        let Some(width) = columns(&std::io::stderr()) else { return };
        if width == state.width {
            return;
        }
        state.width = width;
        if let Some(total) = &state.total {
            total.bar.set_style(style(width, "green", &total.speed, None));
        }
        state.files.values_mut().for_each(|row| row.fit(width));
    }

    fn advance(&self, path: &RepoPath, n: u64) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        let now = Instant::now();
        Self::follow_the_terminal(state, now);
        if let Some(row) = state.files.get_mut(path) {
            row.inc(n);
        }
        if let Some(total) = &state.total {
            if std::mem::take(&mut state.held) {
                total.bar.set_message(state.arrived.to_string());
            }
            lock(&total.speed).add(now, n);
            total.bar.inc(n);
        }
        *state.counted.entry(path.clone()).or_default() += n;
    }

    fn end_file(&self, path: &RepoPath) {
        let mut state = lock(&self.state);
        state.counted.remove(path);
        state.arrived.done += 1;
        if let Some(total) = &state.total {
            total.bar.set_message(state.arrived.to_string());
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
                    // Bytes that were here before do not count for the rate.
                    total.bar.set_position(plan.bytes - plan.missing.min(plan.bytes));
                }
                speed::fetching(plan.bytes, plan.bytes.saturating_sub(plan.missing));
            }
            Event::FileStarted { path, size, have } => self.file("  get", path, size, have),
            Event::FileBytes { path, bytes } => {
                speed::arrived(bytes);
                self.advance(path, bytes);
            }
            Event::VerifyBytes { path, bytes } => self.advance(path, bytes),
            Event::FileRestarted { path, why } => {
                self.say(&format!("{}: {}; starting this file again", path.shown(), printable(why)));
                let mut state = lock(&self.state);
                let counted = state.counted.remove(path).unwrap_or(0);
                speed::lost(counted);
                if let Some(row) = state.files.get(path) {
                    row.bar.set_position(0);
                }
                if let Some(total) = &state.total {
                    total.bar.set_position(total.bar.position().saturating_sub(counted));
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
                    total.bar.set_message(text);
                    state.held = true;
                }
                drop(state);
                self.tell(&event);
            }
            Event::VerifyStarted { files, bytes } => {
                speed::fetched();
                self.begin("verify", bytes, many(files as u64, "file"));
            }
            Event::VerifyFile { path, size } => self.file("  hash", path, size, 0),
            Event::VerifyDone => self.clear(),
            other => self.tell(&other),
        }
    }
}

/// The text for events that both kinds of display print in the same way.
pub(super) fn notice(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Retry { path, why, attempt, wait } => {
            let file = path.map_or(String::new(), |path| format!("{}: ", path.shown()));
            format!("{file}{}; attempt {attempt} in {}", printable(why), seconds(*wait))
        }
        Event::FellBack { path, why } => {
            format!(
                "{}: {}; the file continues over HTTP (--transport http does so from the start)",
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

/// Writes a line to stderr. An error of a closed stderr is ignored.
pub fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", hidden(line));
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
