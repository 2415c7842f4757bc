//! How patient a run is with a server: timeouts and when to try again. What is worth another try is decided in `retry`.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use super::environment::seconds;
use super::patience::Patience;
use super::{ConfigError, RetryPolicy};

/// How patient a run is with a server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Timing {
    /// Until a connection is made.
    pub connect_timeout: Duration,
    /// Until the first byte of an answer.
    pub response_timeout: Duration,
    /// Between two reads of a body.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// What the run got lately; a mirror's is the endpoint's.
    pub(crate) patience: Arc<Patience>,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            patience: Arc::default(),
        }
    }
}

impl Timing {
    /// From the variables that Hub users set.
    ///
    /// # Errors
    /// When one of them is no number of seconds.
    pub fn from_env(get: &impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
        let mut timing = Timing::default();
        if let Some(timeout) = seconds("HF_HUB_DOWNLOAD_TIMEOUT", &text)? {
            timing.stall_timeout = timeout;
            timing.response_timeout = timing.response_timeout.max(timeout);
        }
        if let Some(timeout) = seconds("HF_HUB_ETAG_TIMEOUT", &text)? {
            timing.response_timeout = timeout;
        }
        Ok(timing)
    }
}
