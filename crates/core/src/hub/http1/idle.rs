//! Connections that wait for another request. `content` adds them when their last byte has come.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::mutex::lock;

/// How long a connection may wait, as in the HTTP library.
const LONGEST: Duration = Duration::from_secs(90);

/// The connections, the one that waits longest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(Arc<Mutex<Vec<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    host: String,
    connection: TcpStream,
    since: Instant,
}

impl Idle {
    /// Keeps a connection for the next request to this host and port.
    pub fn add(&self, host: String, connection: TcpStream) {
        let mut waiting = lock(&self.0);
        if waiting.is_empty() {
            tokio::spawn(close_in_time(Arc::downgrade(&self.0)));
        }
        waiting.push(Waiting { host, connection, since: Instant::now() });
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

    /// Closes all connections to this host and port.
    pub fn forget(&self, host: &str) {
        lock(&self.0).retain(|waiting| waiting.host != host);
    }
}

/// Closes connections that have waited too long, as long as there are any.
async fn close_in_time(waiting: Weak<Mutex<Vec<Waiting>>>) {
    loop {
        sleep(LONGEST).await;
        let Some(waiting) = waiting.upgrade() else { return };
        let mut waiting = lock(&waiting);
        waiting.retain(|waiting| waiting.since.elapsed() < LONGEST);
        if waiting.is_empty() {
            return;
        }
    }
}
