//! How long a run continues without progress, and how slow an answer may be. `retry` decides the pause between two
//! tries.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::mutex::lock;

/// The number of bytes that count as progress: a server could send fewer without end.
const PROGRESS: u64 = 64 << 10;
/// The fewest failures in a row before a run may give up, whatever the time: one slow try is not enough.
const TRIES: u32 = 3;

/// The recent progress of a whole run, from all servers together.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The first failure since the last progress.
    since: Option<Instant>,
    /// Failures since the last progress.
    failures: u32,
    /// Bytes since the last progress.
    fresh: u64,
    /// Whether the run has had any answer.
    answered: bool,
}

/// The state of the run after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// How long there was no progress; zero until there were enough tries.
    pub fruitless: Duration,
    /// Whether the run has had any answer before.
    pub answered: bool,
}

impl Patience {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut lock(&self.0))
    }

    /// Missing bytes arrived.
    pub fn arrived(&self, bytes: u64) {
        self.with(|state| {
            state.fresh = state.fresh.saturating_add(bytes);
            if state.fresh >= PROGRESS {
                *state = State { answered: true, ..State::default() };
            }
        });
    }

    /// A file is complete, or a request was answered.
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

    /// The run waits because a server asked for it. This time does not count as time without progress.
    pub fn waited(&self, wait: Duration) {
        self.with(|state| state.since = state.since.and_then(|since| since.checked_add(wait)));
    }
}

/// Measures whether an answer is too slow. Counts only time spent waiting for it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    came: u64,
}

impl Pace {
    /// Adds a read: `bytes` came after `waited`. Returns how many bytes came in a whole `window` if they are fewer
    /// than `least` bytes a second.
    pub fn is_too_slow(&mut self, waited: Duration, bytes: usize, window: Duration, least: u64) -> Option<u64> {
        self.waited += waited;
        self.came += bytes as u64;
        if self.waited < window {
            return None;
        }
        let (waited, came) = (std::mem::take(&mut self.waited), std::mem::take(&mut self.came));
        // A rough comparison of rates is enough.
        #[allow(clippy::cast_precision_loss)]
        let slow = (came as f64) < least as f64 * waited.as_secs_f64();
        slow.then_some(came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_first_failure_after_progress_and_a_dribble_is_not_progress() {
        let patience = Patience::default();
        assert_eq!(patience.failed(), Standing { fruitless: Duration::ZERO, answered: false });
        patience.failed();
        std::thread::sleep(Duration::from_millis(20));
        patience.arrived(PROGRESS - 1);
        assert!(patience.failed().fruitless >= Duration::from_millis(20), "a dribble is not progress");
        patience.arrived(1);
        assert_eq!(patience.failed(), Standing { fruitless: Duration::ZERO, answered: true });
        std::thread::sleep(Duration::from_millis(20));
        patience.failed();
        patience.waited(Duration::from_secs(1));
        assert_eq!(patience.failed().fruitless, Duration::ZERO, "a requested wait is not a failure");
    }

    #[test]
    fn a_trickle_is_distinguished_from_a_slow_line() {
        let (second, least) = (Duration::from_secs(1), 1000);
        let mut pace = Pace::default();
        assert_eq!(pace.is_too_slow(second / 2, 16, second, least), None);
        assert_eq!(pace.is_too_slow(second / 2, 16, second, least), Some(32));
        assert_eq!(pace.is_too_slow(second, 1000, second, least), None);
        // Bytes that come without a wait are never slow, even if they are few.
        assert_eq!(pace.is_too_slow(Duration::ZERO, 1, second, least), None);
    }
}
