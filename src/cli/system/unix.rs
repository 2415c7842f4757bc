//! Systems with Unix's signals, terminals and descriptors.

use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::{SignalKind, signal};

pub(in crate::cli) use std::os::fd::AsFd as Stream;

/// Raises the limit of descriptors: each connection and each open file takes some, and many systems give few by
/// default.
pub(in crate::cli) fn prepare() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // If the system refuses, the run works with fewer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// How many descriptors this process may have; `None` without a limit.
pub(in crate::cli) fn descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The columns of a terminal; `None` if the terminal does not state them.
pub(in crate::cli) fn columns(stream: &impl Stream) -> Option<usize> {
    tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether this user may make files in a folder; the error says why not.
pub(in crate::cli) fn may_write(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)?)
}

/// Returns on SIGINT or SIGTERM.
pub(in crate::cli) async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}
