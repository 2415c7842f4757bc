//! What is known of each host that was asked: how long it wants to be left alone, how close requests may follow one
//! another, and how fast it was. What a request is lives elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::{Position, Url};

/// Between two requests to a host that refused some for being too many, at first and at most.
const SPACING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Between two requests it is at least this, or nothing.
const CLOSE: Duration = Duration::from_millis(1);
/// The longest wait that nobody asked for.
const GROWN: Duration = Duration::from_mins(1);
/// Bytes a second that are as good as nothing, of a host of which nothing is known, and of any host.
const LEAST: (u64, u64) = (1 << 10, 64 << 10);
/// The share of what a host gave before that is as good as nothing.
const SHARE: u64 = 100;
/// Bytes after which a rate says something.
const MEASURED: u64 = 1 << 20;

/// Host and port as they are in a URL.
pub(super) fn name_of(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// All hosts that one client asks.
#[derive(Debug, Default)]
pub(super) struct HostTable(Mutex<HashMap<String, Arc<Host>>>);

impl HostTable {
    pub fn of(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }

    /// Whether one of them wants to be left alone.
    pub fn any_held(&self) -> bool {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.values().any(|host| host.is_held())
    }
}

/// One host.
#[derive(Debug, Default)]
pub(super) struct Host(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nobody asks before.
    until: Option<Instant>,
    /// Holds since a request was answered.
    strikes: u32,
    /// All of them together.
    waited: Duration,
    /// Between two requests.
    spacing: Duration,
    /// When the next request may go.
    next: Option<Instant>,
    /// Bytes a second at best.
    best: u64,
}

/// What comes of a refusal for too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Everybody waits so long.
    Began(Duration),
    /// Everybody waits already.
    Joined,
    /// It asked for too much in a row.
    Spent(Duration),
}

impl Host {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it wants to be left alone.
    pub fn is_held(&self) -> bool {
        self.with(|state| state.until.is_some_and(|until| until > Instant::now()))
    }

    /// Waits until it may be asked.
    pub async fn pass(&self) {
        loop {
            let wait = self.with(|state| {
                let now = Instant::now();
                if let Some(until) = state.until.filter(|until| *until > now) {
                    return Some(until);
                }
                if state.spacing.is_zero() {
                    return None;
                }
                // A place in the row; whoever comes later stands behind.
                let slot = state.next.unwrap_or(now).max(now);
                if slot > now + state.spacing * 2 {
                    return Some(slot - state.spacing);
                }
                state.next = Some(slot + state.spacing);
                None
            });
            match wait {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    /// It refused a request for being one too many. `stated` is the wait that it asks for, `grown` the one that grows
    /// where it asks for none, by how often that happened in a row; `most` bounds them all together.
    pub fn refused(&self, stated: Option<Duration>, grown: impl Fn(u32) -> Duration, most: Duration) -> Hold {
        self.with(|state| {
            let now = Instant::now();
            if let Some(until) = state.until.filter(|until| *until > now) {
                // Requests that were on their way together are refused together.
                if let Some(stated) = stated.filter(|stated| *stated <= most) {
                    state.until = Some(until.max(now + stated));
                }
                return Hold::Joined;
            }
            state.strikes = state.strikes.saturating_add(1);
            let wait = match stated {
                // Whoever refuses again after the wait that it asked for means a longer one.
                Some(stated) if state.strikes > 1 => stated.max(grown(state.strikes - 1).min(GROWN)),
                Some(stated) => stated,
                None => grown(state.strikes).min(GROWN),
            };
            state.waited = state.waited.saturating_add(wait);
            if state.waited > most {
                return Hold::Spent(wait);
            }
            state.until = Some(now + wait);
            state.next = None;
            state.spacing = (state.spacing * 2).clamp(SPACING.0, SPACING.1);
            Hold::Began(wait)
        })
    }

    /// Nobody asks it for so long: it failed, and there are others.
    pub fn leave_alone(&self, wait: Duration) {
        self.with(|state| {
            let until = Instant::now() + wait;
            state.until = Some(state.until.map_or(until, |old| old.max(until)));
        });
    }

    /// It answered.
    pub fn answered(&self) {
        self.with(|state| {
            if state.until.is_some_and(|until| until > Instant::now()) {
                // The answer to what was asked before.
                return;
            }
            (state.strikes, state.waited) = (0, Duration::ZERO);
            state.spacing -= state.spacing / 64;
            if state.spacing < CLOSE {
                state.spacing = Duration::ZERO;
            }
        });
    }

    /// It gave so many bytes in that time.
    pub fn gave(&self, bytes: u64, took: Duration) {
        if bytes >= MEASURED {
            let rate = u128::from(bytes) * 1000 / took.as_millis().max(1);
            self.with(|state| state.best = state.best.max(u64::try_from(rate).unwrap_or(u64::MAX)));
        }
    }

    /// Bytes a second below which it is as good as silent.
    pub fn least(&self) -> u64 {
        self.with(|state| (state.best / SHARE).clamp(LEAST.0, LEAST.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_mins(10);

    fn grown(strikes: u32) -> Duration {
        Duration::from_secs(1) * 2u32.pow(strikes.min(10) - 1)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_that_nobody_asked_for_grow_until_an_answer_comes() {
        let host = Host::default();
        for seconds in [1, 2, 4] {
            assert_eq!(host.refused(None, grown, MOST), Hold::Began(Duration::from_secs(seconds)));
            assert_eq!(host.refused(None, grown, MOST), Hold::Joined, "those that were on their way");
            let before = Instant::now();
            host.pass().await;
            assert_eq!(before.elapsed().as_secs(), seconds);
        }
        host.answered();
        assert_eq!(host.refused(None, grown, MOST), Hold::Began(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_follow_at_a_distance_after_a_refusal_and_come_closer_again() {
        let host = Host::default();
        host.refused(Some(Duration::ZERO), grown, MOST);
        let before = Instant::now();
        for _ in 0..101 {
            host.pass().await;
        }
        assert!(before.elapsed() >= SPACING.0 * 97, "{:?}", before.elapsed());
        for _ in 0..1000 {
            host.answered();
        }
        let before = Instant::now();
        for _ in 0..101 {
            host.pass().await;
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_asks_for_too_much_is_spent_and_its_wait_is_not_kept() {
        let host = Host::default();
        let hour = Duration::from_hours(1);
        assert_eq!(host.refused(Some(hour), grown, MOST), Hold::Spent(hour));
        assert!(!host.is_held());
    }

    #[test]
    fn what_is_as_good_as_nothing_follows_from_what_was_given_before() {
        let host = Host::default();
        assert_eq!(host.least(), 1 << 10);
        host.gave(2_000_000, Duration::from_secs(1));
        assert_eq!(host.least(), 20_000);
        host.gave(1 << 30, Duration::from_secs(1));
        assert_eq!(host.least(), 64 << 10, "a slow line is no silent one");
    }
}
