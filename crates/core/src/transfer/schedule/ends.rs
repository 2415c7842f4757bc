//! The ends of jobs: the schedule notes the result, and wakes a worker if there is new work for another one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{LOCK_PAUSE, SMALL, Schedule, TELL_EVERY, Wait};
use crate::finding::Finding;
use crate::model::{Entry, Hashed};
use crate::mutex::lock;
use crate::progress::Event;
use crate::transfer::part::{Open, Part};
use crate::transfer::threads::Home;
use crate::transfer::{Arrived, FetchError, FetchReport};

/// The result of opening a file.
pub(super) enum Opened {
    /// Another process has finished it meanwhile.
    Here,
    /// Another process works on it.
    Locked,
    /// The system has no descriptor left at present.
    Crowded(FetchError),
    Work(Arc<Open>),
    Failed(FetchError),
}

impl Opened {
    /// The word in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Opened::Here => "here",
            Opened::Locked => "locked",
            Opened::Crowded(_) => "no descriptor left",
            Opened::Work(_) => "to fetch",
            Opened::Failed(_) => "failed",
        }
    }
}

impl Schedule {
    /// The end of [`Job::Open`].
    pub(super) fn opened(&self, entry: &Entry, outcome: Opened, home: Home) {
        let mut state = lock(&self.state);
        state.opening -= 1;
        if entry.size > SMALL
            && let Some(place) = state.opening_large.iter().position(|at| *at == home)
        {
            state.opening_large.swap_remove(place);
        }
        match outcome {
            Opened::Here => {
                state.report.done.push(Arrived { path: entry.path.clone(), received: 0, hashed: None });
            }
            Opened::Locked => {
                let now = Instant::now();
                let wait = state.waits.entry(entry.path.clone()).or_insert(Wait { since: now, told: None });
                if wait.told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY) {
                    wait.told = Some(now);
                    let waited = now.duration_since(wait.since);
                    self.progress.event(Event::WaitingForLock { path: &entry.path, waited });
                }
                state.locked.push((entry.clone(), now + LOCK_PAUSE));
            }
            Opened::Crowded(error) => {
                let now = Instant::now();
                let wait = state.waits.entry(entry.path.clone()).or_insert(Wait { since: now, told: None });
                if now.duration_since(wait.since) > self.options.lock_wait {
                    state.fatal.get_or_insert(error);
                    self.signals.end();
                } else {
                    state.locked.push((entry.clone(), now + LOCK_PAUSE));
                }
            }
            Opened::Work(open) => state.open.push(open),
            Opened::Failed(error) => {
                state.fatal.get_or_insert(error);
                self.signals.end();
            }
        }
        drop(state);
        // The caller looks for work itself, and may find another file's part first.
        self.signals.one();
    }

    /// The end of [`Job::Fetch`], whatever its result. The caller looks for work itself, and is the first to find
    /// what this makes possible, unless it has helped another home.
    pub fn parted(&self, part: &Arc<Part>) {
        lock(&self.state).parts.retain(|p| !Arc::ptr_eq(p, part));
        if part.home != part.open.home {
            self.signals.one_of(part.open.home);
        }
    }

    /// A file has its name, or will not get it.
    pub fn closed(&self, open: &Arc<Open>, end: Result<Hashed, Finding>) {
        let mut state = lock(&self.state);
        let before = state.open.len();
        state.open.retain(|o| !Arc::ptr_eq(o, open));
        if state.open.len() < before {
            match end {
                Ok(hashed) => {
                    let received = open.work.received.load(Ordering::Relaxed);
                    let path = open.work.entry.path.clone();
                    state.report.done.push(Arrived { path, received, hashed: Some(hashed) });
                }
                Err(finding) => state.report.failed.push(finding),
            }
        }
        drop(state);
        // The file's place is free for one more, or this was the last file. No worker may be at work: the hasher calls
        // this.
        self.signals.one();
    }

    /// The result of the run.
    pub fn outcome(&self) -> Result<FetchReport, FetchError> {
        let mut state = lock(&self.state);
        if let Some(error) = state.fatal.take() {
            return Err(error);
        }
        state.report.over_xet = self.over_xet.load(Ordering::Relaxed);
        Ok(std::mem::take(&mut state.report))
    }
}
