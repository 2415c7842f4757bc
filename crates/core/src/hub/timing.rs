//! How patient a run is with a server: timeouts and the policy of retries. `retry` decides which errors are worth
//! another try.

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
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the first byte of an answer.
    pub response_timeout: Duration,
    /// The longest wait between two reads of a body.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// The recent progress of the run; mirrors share it with the endpoint.
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
    /// If one of them is not a number of seconds.
    pub(crate) fn from_env(get: &impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
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
