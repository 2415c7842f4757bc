//! How long a run goes on without getting anywhere, and how little of an answer is as good as none. How long to pause
//! between two tries is said in `retry`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many bytes are progress: fewer can be dribbled out for ever.
const PROGRESS: u64 = 64 << 10;
/// Failures in a row that no clock overrules: one slow try is no reason to give up.
const TRIES: u32 = 3;

/// What a whole run got lately, whatever server it came from.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The first failure since there was progress.
    since: Option<Instant>,
    /// Failures since then.
    failures: u32,
    /// Bytes since then.
    fresh: u64,
    /// Something came in this run.
    answered: bool,
}

/// What the run has come to after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// How long nothing came, where that was tried often enough to mean something.
    pub fruitless: Duration,
    /// Something came in this run, before.
    pub answered: bool,
}

impl Patience {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes came that were missing.
    pub fn arrived(&self, bytes: u64) {
        self.with(|state| {
            state.fresh = state.fresh.saturating_add(bytes);
            if state.fresh >= PROGRESS {
                *state = State { answered: true, ..State::default() };
            }
        });
    }

    /// A file is whole, or a question was answered.
    pub fn answered(&self) {
        self.with(|state| *state = State { answered: true, ..State::default() });
    }

    /// A try failed.
    pub(super) fn failed(&self) -> Standing {
        self.with(|state| {
            let since = *state.since.get_or_insert_with(Instant::now);
            state.failures = state.failures.saturating_add(1);
            let fruitless = if state.failures < TRIES { Duration::ZERO } else { since.elapsed() };
            Standing { fruitless, answered: state.answered }
        })
    }

    /// A server asked to wait so long, and that is kept: it is no time without progress.
    pub fn waited(&self, wait: Duration) {
        self.with(|state| state.since = state.since.and_then(|since| since.checked_add(wait)));
    }
}

/// Measures whether an answer comes faster than as good as not at all. Counts only time spent waiting for it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    came: u64,
}

impl Pace {
    /// After so long for so many bytes: gives how many came in a whole `window` when that is less than `least` bytes a
    /// second.
    pub fn is_too_slow(&mut self, waited: Duration, bytes: usize, window: Duration, least: u64) -> Option<u64> {
        self.waited += waited;
        self.came += bytes as u64;
        if self.waited < window {
            return None;
        }
        let (waited, came) = (std::mem::take(&mut self.waited), std::mem::take(&mut self.came));
        // Rates are compared roughly.
        #[allow(clippy::cast_precision_loss)]
        let slow = (came as f64) < least as f64 * waited.as_secs_f64();
        slow.then_some(came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_first_failure_after_progress_and_a_dribble_is_none() {
        let patience = Patience::default();
        assert_eq!(patience.failed(), Standing { fruitless: Duration::ZERO, answered: false });
        patience.failed();
        std::thread::sleep(Duration::from_millis(20));
        patience.arrived(PROGRESS - 1);
        assert!(patience.failed().fruitless >= Duration::from_millis(20), "a dribble is no progress");
        patience.arrived(1);
        assert_eq!(patience.failed(), Standing { fruitless: Duration::ZERO, answered: true });
        std::thread::sleep(Duration::from_millis(20));
        patience.failed();
        patience.waited(Duration::from_secs(1));
        assert_eq!(patience.failed().fruitless, Duration::ZERO, "a kept wait is no failure");
    }

    #[test]
    fn a_trickle_is_told_from_a_slow_line() {
        let (second, least) = (Duration::from_secs(1), 1000);
        let mut pace = Pace::default();
        assert_eq!(pace.is_too_slow(second / 2, 16, second, least), None);
        assert_eq!(pace.is_too_slow(second / 2, 16, second, least), Some(32));
        assert_eq!(pace.is_too_slow(second, 1000, second, least), None);
        // What comes at once is never slow, however little it is.
        assert_eq!(pace.is_too_slow(Duration::ZERO, 1, second, least), None);
    }
}
