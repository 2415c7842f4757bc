//! An open file, and a part of it in flight: the endpoints that have it, how far it came, how fast. The schedule
//! decides which part comes next.

mod request;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(super) use self::request::fetch;

use super::FetchError;
use super::assemble::{Claim, FileWork, Watcher};
use super::limit::Limiter;
use super::threads::Home;
use crate::hub::HubError;
use crate::source::SourceFile;

/// A part with less than this share of its bytes left does not count as a connection any more, so the next one is opened.
const NEAR: u64 = 8;

/// Why a part ended early.
pub(super) enum Ended {
    /// The request failed.
    Hub(HubError),
    /// The bytes could not be written: the run is over.
    Fatal(FetchError),
    /// The file needs another transport; nothing is wrong.
    Aside,
}

impl From<HubError> for Ended {
    fn from(error: HubError) -> Self {
        Ended::Hub(error)
    }
}

impl From<FetchError> for Ended {
    fn from(error: FetchError) -> Self {
        Ended::Fatal(error)
    }
}

/// A request's view of its run.
pub(super) trait Run: Watcher {
    /// The limit of the rate of all requests together.
    fn limiter(&self) -> Option<&Limiter>;

    /// `bytes` bytes came over Xet.
    fn came_over_xet(&self, bytes: u64);

    /// A part has ended: the time to its first byte, and the bytes that came in the time afterwards.
    fn measured(&self, first_byte: Duration, bytes: u64, took: Duration);

    /// Whether connections that share a thread take turns: after some bytes of one come some of another one.
    fn takes_turns(&self) -> bool;

    /// Whether an error has ended the run.
    fn is_over(&self) -> bool;

    /// Whether a part is far slower than the others, so that a new connection is worth it.
    fn lags(&self, part: &Part) -> bool;
}

/// A file with the endpoints that have it.
pub(super) struct Open {
    /// The home that has it, if it is large.
    pub home: Home,
    pub work: Arc<FileWork>,
    /// The remote file of each endpoint.
    pub remotes: Vec<Box<dyn SourceFile>>,
    /// Whether each endpoint proved useless for this file.
    pub useless: Vec<AtomicBool>,
    /// No part is handed out before this time.
    pub not_before: Mutex<Option<Instant>>,
}

impl Open {
    /// Whether its bytes come over Xet, as one stream for all missing bytes.
    pub fn is_over_xet(&self) -> bool {
        self.remotes.first().is_some_and(|remote| remote.is_one_stream())
    }

    /// The endpoint to ask. Each worker keeps to one endpoint, and changes to the next one while there are
    /// failures. An endpoint that asked for a pause is used only if there is no other.
    pub fn endpoint(&self, worker: usize, is_held: impl Fn(usize) -> bool) -> usize {
        if self.is_over_xet() {
            return 0;
        }
        let useful = || (0..self.remotes.len()).filter(|i| !self.useless[*i].load(Ordering::Relaxed));
        let mut good: Vec<usize> = useful().filter(|i| !is_held(*i)).collect();
        if good.is_empty() {
            good.extend(useful());
        }
        let turn = worker + self.work.failures() as usize;
        good.get(turn % good.len().max(1)).copied().unwrap_or(0)
    }

    /// From now on the file comes over HTTP; `false` if it does already, or if that is not allowed.
    pub fn leave_xet(&self) -> bool {
        self.remotes.first().is_some_and(|remote| remote.fall_back())
    }

    /// Gives up an endpoint for this file; `false` if it is the last one.
    pub fn give_up(&self, endpoint: usize) -> bool {
        let others = (0..self.remotes.len()).any(|i| i != endpoint && !self.useless[i].load(Ordering::Relaxed));
        if others && let Some(useless) = self.useless.get(endpoint) {
            useless.store(true, Ordering::Relaxed);
        }
        others
    }
}

/// A part in flight: how far it came, and where it ends (nearer than at first if it was split).
pub(super) struct Part {
    pub open: Arc<Open>,
    pub claim: Claim,
    /// The home of the worker that fetches it.
    pub home: Home,
    pub at: AtomicU64,
    pub end: AtomicU64,
    pub began: Instant,
}

impl Part {
    pub fn new(open: Arc<Open>, claim: Claim, home: Home) -> Arc<Self> {
        let (at, end) = (AtomicU64::new(claim.range.start), AtomicU64::new(claim.range.end));
        Arc::new(Part { open, claim, home, at, end, began: Instant::now() })
    }

    /// Whether the next part should be requested already.
    pub fn is_near_its_end(&self) -> bool {
        self.left() <= (self.claim.range.end - self.claim.range.start) / NEAR
    }

    pub fn left(&self) -> u64 {
        self.end.load(Ordering::Relaxed).saturating_sub(self.at.load(Ordering::Relaxed))
    }

    /// The rate in bytes a second since it began.
    pub fn rate(&self) -> f64 {
        let done = self.at.load(Ordering::Relaxed).saturating_sub(self.claim.range.start);
        // A rough comparison of rates is enough.
        #[allow(clippy::cast_precision_loss)]
        let done = done as f64;
        done / self.began.elapsed().as_secs_f64().max(0.001)
    }
}
