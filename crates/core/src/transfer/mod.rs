//! The transfer: bytes from the Hub into the partial files of the store, hashed on the way. Other
//! rooms know what the bytes mean.
//!
//! `schedule` decides which part comes next, `part` is one request, `assemble` writes the bytes of parts to the file, and
//! `threads` are those on which all this runs.
//!
//! There is one queue of parts for all files, and many workers. A worker opens files (takes the lock,
//! reads the journal of an earlier run) and streams parts of them: it writes each block at its place. Other threads
//! hash the file up to the first gap; if there are many large files, each thread has two, and hashes them itself. Large files are cut
//! into parts that several connections fetch, as many files at once as there are cores to hash them; small files go by one
//! request each, many at once. A worker without work takes half of the part that has most left. Memory
//! is a block for each worker and the window before the hash, whatever the size of the files.

mod assemble;
mod limit;
mod part;
mod schedule;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{Instrument as _, debug, info};

pub(crate) use self::limit::Limiter;
use self::schedule::Schedule;
use self::threads::Home;
pub(crate) use self::threads::Threads;

use crate::finding::{BadServer, Code, ErrorKind, Finding, Remedy};
use crate::hub::HubError;
use crate::model::{Digest, Entry, Hashed, RepoInfo, RepoPath};
use crate::progress::Progress;
use crate::source::Source;
use crate::store::{Store, StoreError};

/// How to fetch.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FetchOptions {
    /// Work on this many small files at once.
    pub jobs: usize,
    /// Use this many connections for all large files together.
    pub connections: usize,
    /// The most bytes a second, for all connections together.
    pub limit_rate: Option<u64>,
    /// Fetch files even if they are here.
    pub force: bool,
    /// Do not start if the file system says that the files do not fit.
    pub check_space: bool,
    /// How long to wait for a file that another process has locked, before it is fetched anyway.
    pub lock_wait: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions {
            jobs: 32,
            connections: 16,
            limit_rate: None,
            force: false,
            check_space: true,
            lock_wait: Duration::from_mins(5),
        }
    }
}

/// A file that has its final name now.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Arrived {
    /// Its path in the repo.
    pub path: RepoPath,
    /// How many of its bytes came over the network.
    pub received: u64,
    /// The digest of its bytes, computed while they arrived. `None` if another process has finished it meanwhile.
    pub hashed: Option<Hashed>,
}

/// The results for the files.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FetchReport {
    /// Files that have their final name now.
    pub done: Vec<Arrived>,
    /// How many bytes of those files came over Xet.
    pub over_xet: u64,
    /// Findings about files whose content did not match the listing even after retries.
    pub failed: Vec<Finding>,
}

/// Why fetching stopped completely.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// An error of the Hub, after retries.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An error of the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker panicked.
    #[error("{}: a worker thread failed unexpectedly", .path.shown())]
    Worker {
        /// The file it worked on.
        path: RepoPath,
    },
}

impl FetchError {
    /// What kind of trouble it is.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            FetchError::Hub(error) => error.kind(),
            FetchError::Store(_) | FetchError::Worker { .. } => ErrorKind::Local,
        }
    }

    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> Option<Remedy> {
        match self {
            FetchError::Hub(error) => error.remedy(),
            FetchError::Store(error) => error.remedy(),
            FetchError::Worker { .. } => None,
        }
    }
}

/// The finding for a digest that did not match, even after a second download.
pub(crate) fn mismatch_finding(path: &RepoPath, expected: Digest, actual: Digest) -> Finding {
    let message = format!("expected {expected:?}, got {actual:?}, after a retry; the download was discarded");
    Finding::new(Code::ChecksumMismatch, path, message)
        .remedy(Remedy::UseOtherEndpoint { why: BadServer::SendsOtherBytes })
}

/// The finding for a size or `ETag` that did not match, even after retries.
pub(crate) fn integrity_finding(path: &RepoPath, error: &HubError) -> Finding {
    let changed = matches!(error, HubError::Changed { .. });
    let code = if changed { Code::ChecksumMismatch } else { Code::SizeMismatch };
    let mut finding = Finding::new(code, path, error.to_string());
    finding.remedy = error.remedy();
    finding
}

/// Fetches `entries` into `store`, from the first of `sources` that has them. A file that does not verify
/// fails alone, and the others continue; an error of the network, the Hub or the disk ends the run. Dropping
/// the future leaves partial files that a later call resumes. The watcher of the progress is called on `threads`.
pub async fn fetch(
    sources: &[Arc<dyn Source>],
    store: &Arc<Store>,
    info: &RepoInfo,
    entries: &[&Entry],
    options: FetchOptions,
    progress: &Arc<dyn Progress>,
    threads: &Threads,
) -> Result<FetchReport, FetchError> {
    let homes = threads.homes(schedule::number_of_homes(sources, entries, options.connections, Threads::count()));
    let schedule = Schedule::new(
        sources.to_vec(),
        Arc::clone(store),
        info.clone(),
        entries,
        options,
        Arc::clone(progress),
        homes.len(),
    );
    let schedule = Arc::new(schedule);
    let began = std::time::Instant::now();
    debug!(homes = homes.len(), files = entries.len(), "fetching");
    // Dropping the set stops the workers.
    let mut workers = JoinSet::new();
    for i in 0..schedule.workers() {
        let home = i % homes.len();
        workers.spawn_on(schedule::work(Arc::clone(&schedule), Home(home)).in_current_span(), &homes[home]);
    }
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Some(_) => {}
            },
            () = schedule.overdue() => break,
        }
    }
    let outcome = schedule.outcome();
    if let Ok(report) = &outcome {
        let bytes = report.done.iter().map(|file| file.received).sum::<u64>();
        info!(files = entries.len(), bytes, failed = report.failed.len(), took = ?began.elapsed(), "fetched");
    }
    outcome
}
