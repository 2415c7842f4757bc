//! How connections for bytes are opened: their times and probes. `http1` uses them.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;

use super::HubConfig;

/// A connection that is silent for this long is probed, and again after as long. The HTTP library has the same three values.
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// A connection is given up after this many probes without an answer.
const PROBES: u32 = 3;
/// How long sent bytes may stay without an answer of the other machine.
#[cfg(target_os = "linux")]
const UNANSWERED: Duration = Duration::from_secs(30);

/// Bytes that may wait for a reader on this machine. The system lets up to 32 MB wait, so that a far and fast network is
/// used fully. Here they would only fall out of the processor's cache.
const WAITING_HERE: usize = 128 << 10;

/// The HTTP library's words if there is no connection in time.
pub(super) const TIMED_OUT: &str = "operation timed out";

/// Opens connections to the host of a URL, whatever its scheme.
pub(super) fn connector(config: &HubConfig) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // All addresses of a name share this time.
    tcp.set_connect_timeout(Some(config.timing.connect_timeout));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_AFTER));
    tcp.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNANSWERED));
    tcp
}

/// The same for hosts on this machine that encrypt what they send. (Without encryption, a server may have the
/// system hand on the memory of its files, and more reads cost more.)
pub(super) fn connector_here(config: &HubConfig) -> HttpConnector {
    let mut tcp = connector(config);
    // Measured on Linux only.
    if cfg!(target_os = "linux") {
        tcp.set_recv_buffer_size(Some(WAITING_HERE));
    }
    tcp
}
