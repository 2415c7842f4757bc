//! The events that a run sends to its watcher while it works. The watcher shows them.

use std::time::Duration;

use crate::model::{RepoInfo, RepoPath};

/// The plan of a run, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Files of the selection.
    pub files: usize,
    /// How many of them are here already.
    pub here: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that are still to be fetched.
    pub missing: u64,
}

/// Something that happened. Byte counts are increments.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
#[allow(missing_docs)] // the variants' sentences name their fields
pub enum Event<'a> {
    /// The revision was pinned to a commit.
    Resolved(&'a RepoInfo),
    /// The plan is made.
    Planned(Planned),
    /// A file's transfer starts; an earlier run has left `have` of its `size` bytes.
    FileStarted { path: &'a RepoPath, size: u64, have: u64 },
    /// `bytes` more of a file arrived and were written.
    FileBytes { path: &'a RepoPath, bytes: u64 },
    /// The bytes of a file that had arrived were discarded; it starts again from its first byte.
    FileRestarted { path: &'a RepoPath, why: &'a str },
    /// A file has its final name.
    FileDone { path: &'a RepoPath },
    /// A request failed and will be repeated.
    Retry { path: Option<&'a RepoPath>, why: &'a str, attempt: u32, wait: Duration },
    /// The file's fast transport failed; the rest of the file comes over HTTP.
    FellBack { path: &'a RepoPath, why: &'a str },
    /// A host refused a request as one too many, or asked for a pause: no request goes to it for `wait`.
    RateLimited { host: &'a str, wait: Duration },
    /// Something is unusual, but not a problem.
    Notice { text: &'a str },
    /// Another process works on the file; this one has waited for `waited`. Sent once a minute.
    WaitingForLock { path: &'a RepoPath, waited: Duration },
    /// Hashing or reading of files that are already present starts.
    VerifyStarted { files: usize, bytes: u64 },
    /// A file is being read.
    VerifyFile { path: &'a RepoPath, size: u64 },
    /// `bytes` more of it were read.
    VerifyBytes { path: &'a RepoPath, bytes: u64 },
    /// All files are hashed or read.
    VerifyDone,
}

/// A watcher. Called from many threads, also from those of asynchronous tasks; must return quickly, and must not wait for a task.
pub trait Progress: Send + Sync {
    /// Takes an event.
    fn event(&self, event: Event<'_>);
}

/// A watcher that ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
