//! Connections that wait for another request. `mod.rs` decides when one is added, and when to close old ones.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, is_quiet};
use crate::mutex::lock;

/// How long a connection may wait, as in the HTTP library.
pub(super) const LONGEST: Duration = Duration::from_secs(90);

/// The connections, the one that waits longest first.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    host: String,
    connection: Connection,
    since: Instant,
}

impl Idle {
    /// Keeps a connection for the next request to this host and port.
    pub fn add(&self, host: String, connection: Connection) {
        lock(&self.0).push(Waiting { host, connection, since: Instant::now() });
    }

    /// An open connection to this host and port. It may have been closed a moment ago.
    pub fn take(&self, host: &str) -> Option<Connection> {
        let mut waiting = lock(&self.0);
        while let Some(place) = waiting.iter().rposition(|waiting| waiting.host == host) {
            let Waiting { connection, since, .. } = waiting.remove(place);
            if is_quiet(&connection) && since.elapsed() < LONGEST {
                return Some(connection);
            }
        }
        None
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// Closes all connections to this host and port.
    pub fn forget(&self, host: &str) {
        lock(&self.0).retain(|waiting| waiting.host != host);
    }

    /// Closes the connections that have waited too long.
    pub fn close_old(&self) {
        lock(&self.0).retain(|waiting| waiting.since.elapsed() < LONGEST);
    }
}
