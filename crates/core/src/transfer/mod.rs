//! The transfer: bytes from the Hub into the partial files of the store, hashed on the way. What
//! the bytes mean lives elsewhere.
//!
//! `schedule` decides which part comes next, `part` is one request, `assemble` brings the bytes of parts to the file.
//!
//! One queue of parts for all files, and many workers. A worker opens files (lock, what an earlier run
//! left) and streams parts of them; blocking threads write each block at its place and hash the file
//! as far as it is whole. Large files are cut into parts that several connections fetch, as many files
//! at once as there are cores to hash them; small files go by one request each, many at once. A worker
//! without work takes half of the part that has most left. Memory is a block or two a worker, whatever
//! the size of the files.

mod assemble;
mod limit;
mod part;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{Instrument as _, info};

#[cfg(feature = "object-store")]
pub(crate) use self::limit::Limiter;
use self::schedule::Schedule;

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
    /// Use this many connections for large files, all files together.
    pub connections: usize,
    /// Bytes a second, all connections together.
    pub limit_rate: Option<u64>,
    /// Fetch even what is present.
    pub force: bool,
    /// Do not begin what does not fit, as far as the file system says.
    pub check_space: bool,
    /// How long to wait for a file that another process has locked, before it is fetched all the same.
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
    /// Which.
    pub path: RepoPath,
    /// The bytes of it that came over the network.
    pub received: u64,
    /// What its bytes hashed to on their way. `None` when another process had finished it meanwhile.
    pub hashed: Option<Hashed>,
}

/// What became of the files.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FetchReport {
    /// Files that have their final name now.
    pub done: Vec<Arrived>,
    /// Bytes of those files that came over Xet.
    pub over_xet: u64,
    /// Files whose content could not be made to agree with the listing.
    pub failed: Vec<Finding>,
}

/// Why fetching stopped altogether.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The Hub, after retries.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker died.
    #[error("{}: a worker thread failed unexpectedly", .path.shown())]
    Worker {
        /// The file it worked on.
        path: RepoPath,
    },
}

impl FetchError {
    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            FetchError::Hub(error) => error.kind(),
            FetchError::Store(_) | FetchError::Worker { .. } => ErrorKind::Local,
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            FetchError::Hub(error) => error.remedy(),
            FetchError::Store(error) => error.remedy(),
            FetchError::Worker { .. } => None,
        }
    }
}

/// Two different digests, twice.
pub(crate) fn mismatch_finding(path: &RepoPath, expected: Digest, actual: Digest) -> Finding {
    let message = format!("expected {expected:?}, got {actual:?}, after a retry; the download was discarded");
    Finding::new(Code::ChecksumMismatch, path, message)
        .remedy(Remedy::UseOtherEndpoint { why: BadServer::SendsOtherBytes })
}

/// A size or `ETag` that does not agree, after retries.
pub(crate) fn integrity_finding(path: &RepoPath, error: &HubError) -> Finding {
    let changed = matches!(error, HubError::Changed { .. });
    let code = if changed { Code::ChecksumMismatch } else { Code::SizeMismatch };
    let mut finding = Finding::new(code, path, error.to_string());
    finding.remedy = error.remedy();
    finding
}

/// Fetches `entries` into `store`, from the first of `sources` that has them. A file that does not verify
/// fails alone, the others go on; trouble with the network, the Hub or the disk ends the whole.
/// Dropping the future leaves partial files that a later call resumes.
pub async fn fetch(
    sources: &[Arc<dyn Source>],
    store: &Arc<Store>,
    info: &RepoInfo,
    entries: &[&Entry],
    options: FetchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<FetchReport, FetchError> {
    let schedule =
        Schedule::new(sources.to_vec(), Arc::clone(store), info.clone(), entries, options, Arc::clone(progress));
    let schedule = Arc::new(schedule);
    let began = std::time::Instant::now();
    // Dropping the set stops the workers.
    let mut workers = JoinSet::new();
    for number in 0..schedule.workers() {
        workers.spawn(schedule::work(Arc::clone(&schedule), number).in_current_span());
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
