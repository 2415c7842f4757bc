//! Connections that wait for another request. `mod.rs` decides when one is added, and when to close old ones.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::mutex::lock;

/// How long a connection may wait, as in the HTTP library.
pub(super) const LONGEST: Duration = Duration::from_secs(90);

/// The connections, the one that waits longest first.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    host: String,
    connection: TcpStream,
    since: Instant,
}

impl Idle {
    /// Keeps a connection for the next request to this host and port.
    pub fn add(&self, host: String, connection: TcpStream) {
        lock(&self.0).push(Waiting { host, connection, since: Instant::now() });
    }

    /// An open connection to this host and port. It may have been closed a moment ago.
    pub fn take(&self, host: &str) -> Option<TcpStream> {
        let mut waiting = lock(&self.0);
        while let Some(place) = waiting.iter().rposition(|waiting| waiting.host == host) {
            let Waiting { connection, since, .. } = waiting.remove(place);
            // Nothing may come without a request, and nothing comes from a closed connection.
            let is_quiet = connection.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            if is_quiet && since.elapsed() < LONGEST {
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
