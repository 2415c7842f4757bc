//! When to try again, and when to give up. The error decides whether it is retryable; `host` decides which hosts
//! get a pause.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use tracing::{debug, info};
use url::Url;

use super::host::{Hold, HostTable, name_of};
use super::{HubError, Timing};
use crate::model::RepoPath;
use crate::progress::{Event, Progress};

/// How long a result may be late.
const MOMENT: Duration = Duration::from_millis(100);

/// How often to retry, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The most tries of a file if the server answers but sends a wrong answer.
    pub attempts: u32,
    /// A run gives up after this time without any progress.
    pub patience: Duration,
    /// The same until the first answer: nothing is lost yet, and the address may be wrong.
    pub first_patience: Duration,
    /// Upper bound of the first pause; doubles with each further one.
    pub base: Duration,
    /// Upper bound of any pause that the server did not ask for.
    pub cap: Duration,
    /// A server that asks for a longer pause than this is given up.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 6,
            patience: Duration::from_mins(5),
            first_patience: Duration::from_secs(30),
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            longest_wait: Duration::from_mins(10),
        }
    }
}

impl RetryPolicy {
    /// The pause after the `failures`-th failure in a row (from 1): uniform between zero and the
    /// exponential bound ("full jitter"), so that many clients do not come back together.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        self.bound(failures).mul_f64(fastrand::f64())
    }

    /// The longest result of [`RetryPolicy::pause`].
    pub(crate) fn bound(&self, failures: u32) -> Duration {
        self.base.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.cap)
    }
}

/// What follows from a failed request.
#[derive(Debug)]
pub(crate) enum Next {
    /// Try again after this pause.
    Again(Duration),
    /// The host asked for a pause, and the next request to it waits for the end of the pause. The watcher was notified
    /// if the pause is new.
    Held,
    /// Give up.
    Over(HubError),
}

/// When to ask a server again, which of its hosts have a pause, and how long to wait for an answer.
#[derive(Debug)]
pub struct Retries {
    timing: Timing,
    /// The host of the endpoint.
    home: String,
    pub(super) hosts: HostTable,
}

impl Retries {
    /// The retries for the server at `url`.
    pub(crate) fn new(timing: &Timing, url: &Url) -> Self {
        Retries { timing: timing.clone(), home: name_of(url).to_owned(), hosts: HostTable::default() }
    }

    /// How patient the run is.
    pub(crate) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Waits for a result, for a bounded time. The disk may have kept this program's threads from reading bytes that came in
    /// time, so the result may come a moment later.
    pub(crate) async fn within<T>(
        &self,
        url: &Url,
        what: &'static str,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, HubError> {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(limit, work.as_mut()).await {
            return Ok(done);
        }
        let late = tokio::time::timeout(MOMENT, work).await;
        late.map_err(|_| HubError::Timeout { url: url.into(), what, after: limit })
    }

    /// Notes that missing bytes arrived.
    pub(crate) fn arrived(&self, bytes: u64) {
        self.timing.patience.arrived(bytes);
    }

    /// Notes that a file is complete, or that a request was answered.
    pub(crate) fn answered(&self) {
        self.timing.patience.answered();
    }

    /// Whether one of its hosts asked for a pause that is not over.
    pub(crate) fn is_held(&self) -> bool {
        self.hosts.any_held()
    }

    /// Sends no request to the endpoint for a while, if other servers have the same files.
    pub(crate) fn leave_alone(&self, wait: Duration) {
        self.hosts.of(&self.home).leave_alone(wait);
    }

    /// Judges a failed request, the `failures`-th in a row; notifies the watcher of a wait that begins.
    pub(crate) fn judge(&self, error: HubError, failures: u32, progress: &dyn Progress) -> Next {
        let policy = &self.timing.retry;
        if !error.is_retryable() {
            return Next::Over(error);
        }
        let standing = self.timing.patience.failed();
        let patience = if standing.answered { policy.patience } else { policy.first_patience };
        if standing.fruitless >= patience {
            return Next::Over(error);
        }
        if let Some((url, stated)) = error.limit() {
            let host = self.hosts.of(url.host());
            // The wait is a little longer than asked, and differs for each client, so that they do not come back
            // together.
            let stated = stated.map(|wait| wait.saturating_add(policy.pause(1)));
            let grown = |strikes: u32| policy.bound(strikes.saturating_add(1)) + policy.pause(1);
            match host.refused(stated, grown, policy.longest_wait) {
                Hold::Spent(wait) => return Next::Over(HubError::RateLimited { url: url.clone(), wait }),
                Hold::Began(wait) => {
                    // A wait that the host asks for does not count as time without progress; a wait of our own does.
                    self.timing.patience.waited(stated.unwrap_or_default());
                    info!(host = url.host(), ?wait, "the host asks clients to pause");
                    progress.event(Event::RateLimited { host: url.host(), wait });
                }
                Hold::Joined => {}
            }
            return Next::Held;
        }
        // A server that gives wrong answers is not worth waiting for.
        if !error.is_outage() && failures >= policy.attempts {
            return Next::Over(error);
        }
        Next::Again(policy.pause(failures))
    }

    /// Sleeps for the pause after `error`, or returns the error if it is time to give up.
    pub(crate) async fn back_off(
        &self,
        path: Option<&RepoPath>,
        error: HubError,
        failures: u32,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let why = error.brief();
        debug!(%why, failures, "a request failed");
        match self.judge(error, failures, progress) {
            Next::Over(error) => return Err(error),
            Next::Held => {}
            Next::Again(wait) => {
                progress.event(Event::Retry { path, why: &why, attempt: failures + 1, wait });
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }
}

/// How long the server asks to wait: `Retry-After` in seconds or as an HTTP date, otherwise the
/// reset time of an exhausted `RateLimit` (IETF draft `draft-ietf-httpapi-ratelimit-headers`).
pub(crate) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    if let Some(value) = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()) {
        let value = value.trim();
        if let Ok(seconds) = value.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(date) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value) {
            return Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or(Duration::ZERO));
        }
    }
    // The header has one item for each limit, and any of the limits may be exhausted.
    let limits = headers.get("ratelimit")?.to_str().ok()?.split(',');
    let exhausted = limits.filter_map(|limit| {
        let number = |key: &str| limit.split(';').find_map(|p| p.trim().strip_prefix(key)?.parse::<u64>().ok());
        number("t=").filter(|_| number("r=") == Some(0))
    });
    exhausted.max().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (reqwest::header::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_server_is_understood_in_all_its_dialects() {
        assert_eq!(asked_wait(&headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
        assert_eq!(asked_wait(&headers(&[("ratelimit", "\"api\";r=0;t=55")])), Some(Duration::from_secs(55)));
        assert_eq!(asked_wait(&headers(&[("ratelimit", "\"api\";r=12;t=55")])), None);
        let limits = |text| asked_wait(&headers(&[("ratelimit", text)]));
        assert_eq!(limits("\"api\";r=12;t=55, \"pages\";r=0;t=90"), Some(Duration::from_secs(90)));
        assert_eq!(limits("\"api\";r=0;t=55, \"pages\";r=7;t=90"), Some(Duration::from_secs(55)));
        assert_eq!(asked_wait(&headers(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")])), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + Duration::from_secs(100);
        let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wait = asked_wait(&headers(&[("retry-after", &date)])).unwrap();
        assert!((95..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(asked_wait(&headers(&[("retry-after", "whenever")])), None);
    }

    #[test]
    fn pauses_grow_to_the_cap_and_no_further() {
        let policy = RetryPolicy::default();
        for failures in [1, 2, 10, 40, u32::MAX] {
            assert!(policy.pause(failures) <= policy.cap);
        }
        assert!(policy.pause(1) <= policy.base);
    }
}
