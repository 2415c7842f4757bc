//! The state of each host: how long it asked for a pause, how far requests must be apart, and how fast it was.
//! Requests are made elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use url::{Position, Url};

use crate::mutex::lock;

/// The time between two requests to a host that refused some as too many: at first, and at most.
const SPACING: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// A shorter time between two requests than this becomes zero.
const CLOSE: Duration = Duration::from_millis(1);
/// The longest wait that no server asked for.
const GROWN: Duration = Duration::from_mins(1);
/// The rate in bytes a second below which a host counts as silent: for a host whose speed is not known, and at most for
/// any host.
const LEAST: (u64, u64) = (1 << 10, 64 << 10);
/// A host counts as silent below its best rate divided by this.
const SHARE: u64 = 100;
/// The number of bytes from which on a rate is meaningful.
const MEASURED: u64 = 1 << 20;

/// Host and port as they are in a URL.
pub(super) fn name_of(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// Whether a URL's host is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// All hosts that one client sends requests to.
#[derive(Debug, Default)]
pub(super) struct HostTable(Mutex<HashMap<String, Arc<Host>>>);

impl HostTable {
    pub fn of(&self, name: &str) -> Arc<Host> {
        let mut hosts = lock(&self.0);
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }

    /// Whether one of them asked for a pause that is not over.
    pub fn any_held(&self) -> bool {
        let hosts = lock(&self.0);
        hosts.values().any(|host| host.is_held())
    }
}

/// One host.
#[derive(Debug, Default)]
pub(super) struct Host(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// No request goes out before this time.
    until: Option<Instant>,
    /// Pauses since the last answer.
    strikes: u32,
    /// The length of these pauses together.
    waited: Duration,
    /// The time between two requests.
    spacing: Duration,
    /// When the next request may go.
    next: Option<Instant>,
    /// The best rate so far, in bytes a second.
    best: u64,
}

/// What follows from a refusal for too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// A pause of this length began.
    Began(Duration),
    /// A pause is on already.
    Joined,
    /// The host asked for too long a pause, or for too many in a row.
    Spent(Duration),
}

impl Host {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut lock(&self.0))
    }

    /// Whether it asked for a pause that is not over.
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
                // Each request takes the next free slot.
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

    /// The host refused a request as one too many. `stated` is the pause that it asks for. If it asks for none,
    /// `grown` gives the pause for the number of refusals in a row. `most` bounds all these pauses together.
    pub fn refused(&self, stated: Option<Duration>, grown: impl Fn(u32) -> Duration, most: Duration) -> Hold {
        self.with(|state| {
            let now = Instant::now();
            if let Some(until) = state.until.filter(|until| *until > now) {
                // Requests that were sent at the same time are refused at the same time.
                if let Some(stated) = stated.filter(|stated| *stated <= most) {
                    state.until = Some(until.max(now + stated));
                }
                return Hold::Joined;
            }
            state.strikes = state.strikes.saturating_add(1);
            let wait = match stated {
                // A host that refuses again after its own pause needs a longer one.
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

    /// No request goes to it for `wait`: it failed, and other servers have the files.
    pub fn leave_alone(&self, wait: Duration) {
        self.with(|state| {
            let until = Instant::now() + wait;
            state.until = Some(state.until.map_or(until, |old| old.max(until)));
        });
    }

    /// The host answered a request.
    pub fn answered(&self) {
        self.with(|state| {
            if state.until.is_some_and(|until| until > Instant::now()) {
                // This answers a request from before the pause.
                return;
            }
            (state.strikes, state.waited) = (0, Duration::ZERO);
            state.spacing -= state.spacing / 64;
            if state.spacing < CLOSE {
                state.spacing = Duration::ZERO;
            }
        });
    }

    /// The host gave `bytes` bytes in the time `took`.
    pub fn gave(&self, bytes: u64, took: Duration) {
        if bytes >= MEASURED {
            let rate = u128::from(bytes) * 1000 / took.as_millis().max(1);
            self.with(|state| state.best = state.best.max(u64::try_from(rate).unwrap_or(u64::MAX)));
        }
    }

    /// The rate in bytes a second below which it counts as silent.
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
    async fn waits_that_no_server_asked_for_grow_until_an_answer_comes() {
        let host = Host::default();
        for seconds in [1, 2, 4] {
            assert_eq!(host.refused(None, grown, MOST), Hold::Began(Duration::from_secs(seconds)));
            assert_eq!(host.refused(None, grown, MOST), Hold::Joined, "requests that were already sent");
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
    async fn a_host_that_asks_for_too_long_a_pause_is_given_up_and_not_waited_for() {
        let host = Host::default();
        let hour = Duration::from_hours(1);
        assert_eq!(host.refused(Some(hour), grown, MOST), Hold::Spent(hour));
        assert!(!host.is_held());
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, own) in [
            ("http://127.0.0.1:5000/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:5000/", true),
            ("http://localhost:5000/", true),
            ("http://localhost.example.com/", false),
            ("http://10.0.0.1/", false),
            ("http://registry:5000/", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), own, "{url}");
        }
    }

    #[test]
    fn the_rate_that_counts_as_silence_follows_from_the_best_rate_so_far() {
        let host = Host::default();
        assert_eq!(host.least(), 1 << 10);
        host.gave(2_000_000, Duration::from_secs(1));
        assert_eq!(host.least(), 20_000);
        host.gave(1 << 30, Duration::from_secs(1));
        assert_eq!(host.least(), 64 << 10, "a slow line is not a silent one");
    }
}
