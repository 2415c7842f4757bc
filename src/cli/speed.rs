//! How fast bytes arrive, for people: the rate of the last seconds, and the remaining time at that rate. Bytes that
//! were here before a run do not count.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hfget_core::unstable::text::bytes;

/// The rate covers this time, so that a pause affects it only for a short time.
const WINDOW: Duration = Duration::from_secs(15);
/// A rate over a shorter time is meaningless.
const ENOUGH: Duration = Duration::from_millis(500);
/// Bytes that arrive within this time are one sample, so that a window has few samples.
const SAMPLE: Duration = Duration::from_millis(100);

/// The bytes that arrived lately.
#[derive(Debug)]
pub(super) struct Speed {
    began: Instant,
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    pub fn new(now: Instant) -> Self {
        Speed { began: now, samples: VecDeque::new() }
    }

    /// Counts bytes that have just arrived.
    pub fn add(&mut self, now: Instant, bytes: u64) {
        match self.samples.back_mut() {
            Some((at, sum)) if now.duration_since(*at) < SAMPLE => *sum = sum.saturating_add(bytes),
            _ => self.samples.push_back((now, bytes)),
        }
        while self.samples.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The rate in bytes a second; `None` if nothing arrived lately, or if too little time has passed.
    pub fn rate(&self, now: Instant) -> Option<u64> {
        let since = now.duration_since(self.began).min(WINDOW);
        let recent = self.samples.iter().filter(|(at, _)| now.duration_since(*at) <= WINDOW);
        let sum = recent.fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        (sum > 0 && since >= ENOUGH)
            .then(|| u64::try_from(u128::from(sum) * 1000 / u128::from(milliseconds)).unwrap_or(u64::MAX))
    }

    /// The time for the rest at that rate.
    pub fn left(&self, now: Instant, rest: u64) -> Option<Duration> {
        let rate = self.rate(now).filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(rest.div_ceil(rate)))
    }
}

/// `42 s`, `7 min`, `3 h`.
pub(super) fn in_words(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6000 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// How many bytes of the present repo are on this disk, and how many it has; 0 if nothing is being fetched.
static HERE: AtomicU64 = AtomicU64::new(0);
static WHOLE: AtomicU64 = AtomicU64::new(0);

/// A fetch of a repo of `whole` bytes begins; `here` of them are here already.
pub(super) fn fetching(whole: u64, here: u64) {
    HERE.store(here, Ordering::Relaxed);
    WHOLE.store(whole, Ordering::Relaxed);
}

/// The fetch has ended.
pub(super) fn fetched() {
    fetching(0, 0);
}

pub(super) fn arrived(bytes: u64) {
    HERE.fetch_add(bytes, Ordering::Relaxed);
}

/// A file starts again.
pub(super) fn lost(bytes: u64) {
    // The number never goes below zero.
    let _ = HERE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |here| Some(here.saturating_sub(bytes)));
}

/// The message for an interrupted run.
pub(super) fn interrupted() -> String {
    let (here, whole) = (HERE.load(Ordering::Relaxed), WHOLE.load(Ordering::Relaxed));
    match (here, whole) {
        (0, _) | (_, 0) => "interrupted: run it again to resume".to_owned(),
        _ => format!(
            "interrupted: about {} of {} are kept; run it again to resume",
            bytes(here.min(whole)),
            bytes(whole)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGA: u64 = 1_000_000;

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_rate_is_what_arrived_in_the_last_seconds() {
        let start = Instant::now();
        let mut speed = Speed::new(start);
        for second in 1..=60u64 {
            for tenth in 0..10 {
                speed.add(after(start, second * 1000 - 1000 + tenth * 100), 3 * MEGA / 10);
            }
        }
        let rate = speed.rate(after(start, 60_000)).unwrap();
        assert!((2_900_000..3_100_000).contains(&rate), "{rate}");
        assert_eq!(in_words(speed.left(after(start, 60_000), 30 * MEGA).unwrap()).split(' ').next_back(), Some("s"));
        assert!(speed.samples.len() <= 200, "{}", speed.samples.len());
    }

    /// Bytes that were here before the run do not arrive in it, so they do not count for the rate.
    #[test]
    fn a_resumed_run_begins_without_a_rate_and_then_has_its_own() {
        let start = Instant::now();
        let mut speed = Speed::new(start);
        assert_eq!(speed.rate(after(start, 100)), None);
        speed.add(after(start, 100), 300_000);
        assert_eq!(speed.rate(after(start, 200)), None, "too early to tell");
        speed.add(after(start, 1000), 2_700_000);
        let rate = speed.rate(after(start, 1000)).unwrap();
        assert_eq!(rate, 3 * MEGA);
    }

    #[test]
    fn a_wait_has_no_time_left_and_is_forgotten_soon_after() {
        let start = Instant::now();
        let mut speed = Speed::new(start);
        speed.add(after(start, 1000), 3 * MEGA);
        let waited = after(start, 200_000);
        assert_eq!((speed.rate(waited), speed.left(waited, 500 * MEGA)), (None, None));
        for second in 200..220u64 {
            speed.add(after(start, second * 1000), 3 * MEGA);
        }
        let left = speed.left(after(start, 219_500), 300 * MEGA).unwrap();
        assert!((90..=110).contains(&left.as_secs()), "{left:?}");
    }

    #[test]
    fn long_times_are_shown_in_hours() {
        let words = [5, 99, 100, 5999, 6000, 90_000].map(|s| in_words(Duration::from_secs(s)));
        assert_eq!(words, ["5 s", "99 s", "1 min", "99 min", "1 h", "25 h"]);
    }
}
