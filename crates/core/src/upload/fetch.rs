//! Fetches ranges of one file from the Hub or its mirrors, for a destination other than this machine's disk. `objects`
//! and `layers` send them on.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use super::room::{Room, Space};
use crate::hashing::Lanes;
use crate::hub::{HubError, ShownUrl};
use crate::model::{Entry, RepoInfo, RepoPath};
use crate::platform::read_exact_at;
use crate::progress::{Event, Progress};
use crate::source::{Source, SourceFile};
use crate::transfer::Limiter;

/// The most bytes that a limit of the rate lets through at once.
const STEP: usize = 256 << 10;

/// Where the files of a run come from, and what their transfers share.
pub(crate) struct Supply {
    /// Endpoints: the first one listed the files.
    pub sources: Vec<Arc<dyn Source>>,
    pub info: Arc<RepoInfo>,
    pub limiter: Option<Limiter>,
    pub progress: Arc<dyn Progress>,
    /// The files that this machine has already, by path. Their bytes are hashed like all others.
    pub nearby: HashMap<RepoPath, Nearby>,
    pub space: Space,
    /// The threads that hash the files.
    pub lanes: Arc<Lanes>,
}

/// The bytes of a file that this machine may have already: in a file of its own, or within another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nearby {
    pub path: PathBuf,
    /// Where it begins.
    pub at: u64,
}

impl Supply {
    /// Prepares to fetch one file.
    pub(super) async fn file(self: &Arc<Self>, entry: &Entry) -> Fetcher {
        let source = |source: &Arc<dyn Source>| Arc::clone(source).file(Arc::clone(&self.info), entry.clone());
        Fetcher {
            remotes: self.sources.iter().map(source).collect(),
            nearby: self.open_nearby(entry).await,
            supply: Arc::clone(self),
            entry: entry.clone(),
            turn: AtomicUsize::new(0),
            alone: AtomicBool::new(false),
            received: AtomicU64::new(0),
            trouble: tokio::sync::Mutex::default(),
            waits: AtomicUsize::new(0),
        }
    }

    /// Opens this machine's copy of a file. If it cannot be opened, the file is fetched.
    async fn open_nearby(&self, entry: &Entry) -> Option<(Arc<std::fs::File>, u64)> {
        let Nearby { path, at } = self.nearby.get(&entry.path)?.clone();
        let file = tokio::task::spawn_blocking(move || std::fs::File::open(path)).await.ok()?.ok()?;
        Some((Arc::new(file), at))
    }
}

/// One file that is being fetched.
pub(super) struct Fetcher {
    pub supply: Arc<Supply>,
    pub entry: Entry,
    remotes: Vec<Box<dyn SourceFile>>,
    /// This machine's copy of the file, and the offset of its first byte.
    nearby: Option<(Arc<std::fs::File>, u64)>,
    /// The endpoint that serves it at present.
    turn: AtomicUsize,
    /// A mirror sent wrong bytes, and which one is not known: only the first endpoint is asked.
    alone: AtomicBool,
    received: AtomicU64,
    /// Parts that fail together wait together.
    trouble: tokio::sync::Mutex<Trouble>,
    /// How often they have waited.
    waits: AtomicUsize,
}

/// Failures in a row of one file.
#[derive(Default)]
struct Trouble {
    failures: u32,
    /// Bytes that had arrived at the last failure.
    received: u64,
}

impl Fetcher {
    /// Bytes that came from endpoints.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Asks only the first endpoint from now on, and begins the file again.
    pub fn start_again_alone(&self, why: &str) {
        self.alone.store(true, Ordering::Relaxed);
        self.restarted(why);
    }

    /// Tells the watcher that the file begins again.
    pub fn restarted(&self, why: &str) {
        self.supply.progress.event(Event::FileRestarted { path: &self.entry.path, why });
    }

    /// Tells the watcher that the file begins, and how many of its bytes exist already.
    pub fn started(&self, have: u64) {
        let (path, size) = (&self.entry.path, self.entry.size);
        self.supply.progress.event(Event::FileStarted { path, size, have });
    }

    /// A range, from whichever endpoint has it, in pieces: as many bytes as there is room for. Bytes that arrived before a failure
    /// are not asked for again.
    #[tracing::instrument(level = "debug", name = "part", skip_all, fields(from = range.start, to = range.end))]
    pub async fn fetch(&self, range: Range<u64>, mut room: Room) -> Result<Vec<Bytes>, HubError> {
        // Wrong bytes of a cache are found like those of a mirror: then only the endpoint is asked.
        if !self.alone.load(Ordering::Relaxed) && self.nearby.is_some() {
            room = self.read_nearby(range.start, room).await;
            if room.left() == 0 {
                return Ok(room.into_pieces());
            }
        }
        loop {
            let waits = self.waits.load(Ordering::Relaxed);
            let turn = self.turn.load(Ordering::Relaxed);
            let endpoints = if self.alone.load(Ordering::Relaxed) { 1 } else { self.remotes.len().max(1) };
            let endpoint = turn % endpoints;
            let remote = &*self.remotes[endpoint];
            let Err(error) = self.try_fetch(remote, &range, &mut room).await else {
                return Ok(room.into_pieces());
            };
            // Other endpoints may have it. If several parts fail together, the endpoint changes once.
            let _ = self.turn.compare_exchange(turn, turn + 1, Ordering::Relaxed, Ordering::Relaxed);
            let mut trouble = self.trouble.lock().await;
            if self.waits.load(Ordering::Relaxed) > waits {
                // Another part has waited meanwhile.
                continue;
            }
            let received = self.received.load(Ordering::Relaxed);
            trouble.failures = if received > trouble.received { 1 } else { trouble.failures + 1 };
            trouble.received = received;
            if trouble.failures as usize >= endpoints {
                let retries = remote.source().retries();
                retries.back_off(Some(&self.entry.path), error, trouble.failures, &*self.supply.progress).await?;
            }
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads a range of a file on this machine. If that fails, the room stays empty.
    async fn read_nearby(&self, from: u64, mut room: Room) -> Room {
        let nearby = self.nearby.clone().and_then(|(file, begins)| Some((file, begins.checked_add(from)?)));
        let Some((file, from)) = nearby else { return room };
        let length = room.left();
        let work = move || {
            room.fill(|memory| read_exact_at(&file, memory, from).is_ok());
            room
        };
        let room = match tokio::task::spawn_blocking(work).await {
            Ok(room) => room,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if room.left() == 0 {
            self.supply.progress.event(Event::FileBytes { path: &self.entry.path, bytes: length as u64 });
        }
        room
    }

    /// Fetches the rest of a range.
    async fn try_fetch(&self, remote: &dyn SourceFile, range: &Range<u64>, room: &mut Room) -> Result<(), HubError> {
        let from = range.start + room.came() as u64;
        let mut body = remote.open(from..range.end).await?;
        let url = || ShownUrl::of_text(&remote.source().endpoint());
        if body.start != from {
            let what = "it ignores requests for ranges, which are needed to upload without a disk".into();
            return Err(HubError::Protocol { url: url(), what });
        }
        let mut came = Bytes::new();
        loop {
            if came.is_empty() {
                let Some(more) = body.chunk().await? else { break };
                came = more;
            }
            let chunk = match &self.supply.limiter {
                None => std::mem::take(&mut came),
                // Megabytes may come at once, and the limit is for the time between them too.
                Some(limiter) => {
                    let chunk = came.split_to(came.len().min(STEP));
                    limiter.pass(chunk.len()).await;
                    chunk
                }
            };
            let bytes = chunk.len() as u64;
            let end = range.start + room.came() as u64 + bytes;
            if !room.push(chunk, body.is_dense()) {
                return Err(HubError::WrongLength { url: url(), got: end, expected: range.end });
            }
            self.received.fetch_add(bytes, Ordering::Relaxed);
            remote.source().retries().arrived(bytes);
            self.supply.progress.event(Event::FileBytes { path: &self.entry.path, bytes });
        }
        if room.left() > 0 {
            return Err(HubError::CutShort { url: url(), got: room.came() as u64, expected: range.end - range.start });
        }
        Ok(())
    }
}
