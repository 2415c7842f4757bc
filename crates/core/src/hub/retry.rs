//! When to try again: back-off with full jitter, and the gate that holds every worker while the
//! Hub's rate limit lasts. What is retryable is the error's business.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

/// How often and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Tries in a row without progress before giving up.
    pub attempts: u32,
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

    /// The longest that [`RetryPolicy::pause`] gives.
    pub(crate) fn bound(&self, failures: u32) -> Duration {
        self.base.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.cap)
    }
}

/// Holds all workers of a client together.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// Nobody passes before `wait` is over.
    pub fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Some(held.map_or(until, |h| h.max(until)));
    }

    /// Waits until the gate is open.
    pub async fn pass(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }
}

/// How long the server asks to wait: `Retry-After` in seconds or as an HTTP date, else the reset
/// time of an exhausted `RateLimit` (IETF draft `draft-ietf-httpapi-ratelimit-headers`).
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    if let Some(value) = headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()) {
        let value = value.trim();
        if let Ok(seconds) = value.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(date) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value) {
            return Some(Duration::try_from(date.duration_since(jiff::Timestamp::now())).unwrap_or(Duration::ZERO));
        }
    }
    // One item a limit, and any of them may be the one that is exhausted.
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
