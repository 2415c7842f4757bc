//! Progress for a pipe or a log file: a line now and then. The library sends the events.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::render::many;
use hfget_core::model::RepoPath;
use hfget_core::progress::{Event, Progress};
use hfget_core::unstable::text::{bytes, printable};

use super::progress::{Arrived, lock, notice, write_line};
use super::speed::{self, Speed, in_words};

/// How often a piped run prints its progress.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Lines for a pipe or a log file.
pub struct Lines {
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    total: u64,
    done: u64,
    counted: HashMap<RepoPath, u64>,
    /// Counts files that arrive. `None` if files are only read; then they have no line each.
    arrived: Option<Arrived>,
    what: &'static str,
    speed: Option<Speed>,
    last: Option<Instant>,
}

impl Lines {
    /// Writes to stderr.
    pub fn new() -> Self {
        Lines { state: Mutex::default() }
    }

    fn begin(&self, what: &'static str, total: u64, done: u64, arrived: Option<Arrived>) {
        let now = Instant::now();
        *lock(&self.state) = LineState {
            total,
            done,
            arrived,
            what,
            speed: Some(Speed::new(now)),
            last: Some(now),
            ..LineState::default()
        };
    }

    fn advance(&self, path: &RepoPath, n: u64) {
        let mut state = lock(&self.state);
        let now = Instant::now();
        state.done += n;
        state.speed.get_or_insert_with(|| Speed::new(now)).add(now, n);
        *state.counted.entry(path.clone()).or_default() += n;
        let Some(last) = state.last else { return };
        if last.elapsed() < LINE_EVERY {
            return;
        }
        state.last = Some(now);
        let rate = state.speed.as_ref().and_then(|speed| speed.rate(now)).unwrap_or(0);
        let percent = u128::from(state.done) * 100 / u128::from(state.total.max(1));
        let rest = state.total.saturating_sub(state.done);
        let left = state.speed.as_ref().and_then(|speed| speed.left(now, rest));
        let eta = left.map_or(String::new(), |left| format!(", {} left", in_words(left)));
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
                speed::fetching(total, total.saturating_sub(missing));
            }
            Event::FileStarted { path, have, .. } => {
                *lock(&self.state).counted.entry(path.clone()).or_default() += have;
            }
            Event::FileBytes { path, bytes } => {
                speed::arrived(bytes);
                self.advance(path, bytes);
            }
            Event::VerifyBytes { path, bytes } => self.advance(path, bytes),
            Event::FileRestarted { path, why } => {
                let mut state = lock(&self.state);
                let counted = state.counted.remove(path).unwrap_or(0);
                state.done = state.done.saturating_sub(counted);
                drop(state);
                speed::lost(counted);
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
                speed::fetched();
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
