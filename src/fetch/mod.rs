//! The transfer engine: bytes from the Hub into the store's partial files, hashed on the way. What
//! the bytes mean lives elsewhere.
//!
//! Each file is one stream, several files at once. A file's bytes go through a bounded channel to
//! a blocking thread that writes them at their place and hashes them; when the stream breaks, the
//! next one starts where the thread stands. Nothing is held in memory but the channel.

mod file;
mod sink;

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use crate::hub::{Entry, Hub, HubError, RepoInfo};
use crate::progress::Progress;
use crate::repo::{Digest, RepoPath};
use crate::report::{Code, ExitCode, Finding};
use crate::store::{Store, StoreError};

/// How to fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions {
    /// Files worked on at once.
    pub jobs: usize,
    /// Connections that carry bytes, all files together.
    pub connections: usize,
    /// Fetch even what is present.
    pub force: bool,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions { jobs: 8, connections: 8, force: false }
    }
}

/// What became of the files.
#[derive(Debug, Clone, Default)]
pub struct FetchReport {
    /// Files that have their final name now, with the bytes that came over the network for each.
    pub done: Vec<(RepoPath, u64)>,
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
    #[error("{path}: a worker thread failed unexpectedly")]
    Worker {
        /// The file it worked on.
        path: RepoPath,
    },
}

impl FetchError {
    /// How the process should end on its account.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            FetchError::Hub(error) => error.exit_code(),
            FetchError::Store(_) | FetchError::Worker { .. } => ExitCode::Local,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            FetchError::Hub(error) => error.hint(),
            FetchError::Store(error) => error.hint(),
            FetchError::Worker { .. } => None,
        }
    }
}

/// Why one file has no final name.
#[derive(Debug)]
enum FileError {
    /// What arrives is not what was listed, twice.
    Mismatch { expected: Digest, actual: Digest },
    /// The size does not agree, after retries.
    Integrity(HubError),
    /// Nothing more can be done for any file.
    Fatal(FetchError),
}

impl From<StoreError> for FileError {
    fn from(error: StoreError) -> Self {
        FileError::Fatal(error.into())
    }
}

/// Fetches `entries` into `store`. A file that does not verify fails alone, the others go on;
/// trouble with the network, the Hub or the disk ends the whole. Dropping the future leaves
/// partial files that a later call resumes.
pub async fn fetch(
    hub: &Hub,
    store: &Arc<Store>,
    info: &RepoInfo,
    entries: &[&Entry],
    options: FetchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<FetchReport, FetchError> {
    let connections = Semaphore::new(options.connections.max(1));
    let context = file::Context { hub, store, info, force: options.force, connections: &connections, progress };
    let mut queue = entries.iter();
    let mut running = FuturesUnordered::new();
    let mut report = FetchReport::default();
    loop {
        while running.len() < options.jobs.max(1)
            && let Some(entry) = queue.next()
        {
            let context = &context;
            running.push(async move { (*entry, file::fetch_file(context, entry).await) });
        }
        match running.next().await {
            None => return Ok(report),
            Some((entry, Ok(bytes))) => report.done.push((entry.path.clone(), bytes)),
            Some((_, Err(FileError::Fatal(error)))) => return Err(error),
            Some((entry, Err(FileError::Mismatch { expected, actual }))) => report.failed.push(
                Finding::new(
                    Code::ChecksumMismatch,
                    &entry.path,
                    format!("expected {expected:?}, got {actual:?}, twice; nothing of it was kept"),
                )
                .hint("the server sends other bytes than it lists: try another --endpoint, or report it"),
            ),
            Some((entry, Err(FileError::Integrity(error)))) => {
                let code =
                    if matches!(error, HubError::Changed { .. }) { Code::ChecksumMismatch } else { Code::SizeMismatch };
                let mut finding = Finding::new(code, &entry.path, error.to_string());
                finding.hint = error.hint();
                report.failed.push(finding);
            }
        }
    }
}
