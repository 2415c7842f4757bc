//! One worker: opens files, streams parts into them, and decides what a failure means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::engine::{Engine, Job, Opened};
use super::inflight::{Open, Part};
use super::window::Block;
use super::work::{BLOCK, FileWork, Frontier};
use super::{FetchError, integrity_finding, mismatch_finding};
use crate::hub::{Body, HubError, Remote, Verdict};
use crate::model::{Entry, Presence};
use crate::progress::Event;
use crate::store::StoreError;

/// Bytes of a part between two lines of the journal: what a crash can cost each connection.
const RECORD_EVERY: u64 = 1 << 20;
/// Blocks of a part between its connection and its writer.
const WAITING: usize = 2;
/// How often a connection compares itself with the others.
const COMPARE_EVERY: Duration = Duration::from_secs(3);

/// Why a part ended early.
enum Ended {
    Hub(HubError),
    Store(StoreError),
    /// The file needs another way; nothing is wrong.
    Aside,
}

impl From<HubError> for Ended {
    fn from(error: HubError) -> Self {
        Ended::Hub(error)
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Ended::Store(error)
    }
}

/// Works until there is nothing left to do. `number` tells workers apart.
pub(super) async fn work(engine: Arc<Engine>, number: usize) {
    loop {
        match engine.next().await {
            Job::Stop => return engine.wake(),
            Job::Open(entry) => {
                let outcome = open(&engine, &entry).await;
                if let Opened::Work(open) = &outcome {
                    started(&engine, open);
                }
                engine.opened(&entry, outcome);
            }
            Job::Fetch(part) => {
                let endpoint = engine.endpoint(&part.open, number);
                let outcome = fetch(&engine, &part, endpoint).await;
                let left = part.at.load(Ordering::Relaxed)..part.end.load(Ordering::Relaxed);
                part.open.work.release(&part.claim, left);
                let retry = match outcome {
                    Ok(()) | Err(Ended::Aside) => None,
                    Err(Ended::Store(error)) => {
                        engine.fatal(error.into());
                        None
                    }
                    Err(Ended::Hub(error)) => Some(error),
                };
                if let Some(error) = retry {
                    failed(&engine, &part, endpoint, error).await;
                }
                engine.parted(&part);
            }
        }
    }
}

fn started(engine: &Arc<Engine>, open: &Arc<Open>) {
    let (path, size) = (&open.work.entry.path, open.work.entry.size);
    engine.progress.event(Event::FileStarted { path, size, have: open.work.have() });
    kick(engine, open);
}

/// Takes the file's lock and looks at what is there.
async fn open(engine: &Arc<Engine>, entry: &Entry) -> Opened {
    let (own, entry) = (Arc::clone(engine), entry.clone());
    let path = entry.path.clone();
    match tokio::task::spawn_blocking(move || open_blocking(&own, &entry)).await {
        Ok(Ok(opened)) => opened,
        // Files that are open will be closed: the system is asked again.
        Ok(Err(error)) if error.is_out_of_descriptors() => Opened::Crowded(error.into()),
        Ok(Err(error)) => Opened::Failed(error.into()),
        Err(_) => Opened::Failed(FetchError::Worker { path }),
    }
}

fn open_blocking(engine: &Arc<Engine>, entry: &Entry) -> Result<Opened, StoreError> {
    let (store, commit) = (&engine.store, engine.info.commit);
    let lock = match store.try_lock(entry)? {
        // Two writers do no harm, and who holds it may never let go.
        None if engine.has_waited(&entry.path) => store.lock_anyway(entry)?,
        lock => lock,
    };
    let Some(lock) = lock else {
        return Ok(Opened::Locked);
    };
    if !engine.options.force {
        let here = match store.presence(&commit, entry)? {
            Presence::Verified => match store.adopt(&commit, entry, None) {
                // Another process took it away meanwhile.
                Err(StoreError::Changed(_)) => false,
                adopted => adopted.map(|_| true)?,
            },
            // Another tool may have finished it meanwhile; believe its bytes, not its word.
            Presence::Unverified => store.adopt(&commit, entry, None).is_ok(),
            _ => false,
        };
        if here {
            return Ok(Opened::Here);
        }
    }
    let partial = store.partial(lock, &commit, entry)?;
    if entry.size > super::engine::SMALL {
        partial.reserve()?;
    }
    let remote = |_| Remote::new(Arc::clone(&engine.info), entry.clone());
    let remotes: Vec<Remote> = engine.hubs.iter().map(remote).collect();
    if entry.size > super::engine::SMALL && engine.hubs[0].uses_xet(entry) {
        remotes[0].use_xet(true);
    }
    let useless = engine.useless.iter().map(|given_up| AtomicBool::new(given_up.load(Ordering::Relaxed))).collect();
    let not_before = std::sync::Mutex::default();
    Ok(Opened::Work(Arc::new(Open {
        work: FileWork::new(partial, Arc::clone(&engine.budget)),
        remotes,
        useless,
        not_before,
    })))
}

/// Hashes what has arrived, on a thread of its own, and finishes the file when that is all of it.
fn kick(engine: &Arc<Engine>, open: &Arc<Open>) {
    if !open.work.wants_hashing() {
        return;
    }
    let (engine, open) = (Arc::clone(engine), Arc::clone(open));
    tokio::task::spawn_blocking(move || match open.work.hash() {
        Ok(Frontier::Behind) => {
            // What came between the last look and the hand-back of the hasher.
            if open.work.wants_hashing() {
                kick(&engine, &open);
            }
        }
        Ok(Frontier::Whole(hashed)) => finish(&engine, &open, hashed),
        Err(error) => engine.fatal(error.into()),
    });
}

fn finish(engine: &Arc<Engine>, open: &Arc<Open>, hashed: crate::model::Hashed) {
    let actual = hashed.digest();
    let path = &open.work.entry.path;
    let expected = open.work.entry.digest();
    let done = if actual == expected {
        open.work.commit(actual).map(|()| {
            engine.hubs[0].answered();
            engine.progress.event(Event::FileDone { path });
            engine.closed(open, Ok(hashed));
        })
    } else {
        // Which mirror sent the wrong bytes is not known: from now on only the endpoint is asked.
        for mirror in 1..open.remotes.len() {
            open.give_up(mirror);
        }
        leave_xet(engine, open);
        open.work.restart().and_then(|again| {
            if again {
                engine.progress.event(Event::FileRestarted { path, why: "its checksum is wrong" });
                engine.wake();
                return Ok(());
            }
            engine.closed(open, Err(mismatch_finding(path, expected, actual)));
            open.work.abandon()
        })
    };
    if let Err(error) = done {
        engine.fatal(error.into());
    }
}

/// From now on the file comes over HTTP; `false` when that is so already, or not wanted.
fn leave_xet(engine: &Engine, open: &Open) -> bool {
    let leave = open.is_over_xet() && engine.hubs[0].may_leave_xet();
    if leave {
        open.remotes[0].use_xet(false);
        engine.hubs[0].xet_failed();
    }
    leave
}

/// What a failed request means for its file and for the run.
async fn failed(engine: &Arc<Engine>, part: &Arc<Part>, endpoint: usize, error: HubError) {
    let open = &part.open;
    if leave_xet(engine, open) {
        let why = format!("{}; on over HTTP (--transport http asks for that at once)", error.brief());
        let wait = Duration::ZERO;
        engine.progress.event(Event::Retry { path: Some(&open.work.entry.path), why: &why, attempt: 2, wait });
        return;
    }
    // What this endpoint will never serve, another one may.
    let integrity = matches!(error, HubError::WrongLength { .. } | HubError::Changed { .. });
    if (integrity || !error.is_retryable()) && open.give_up(endpoint) {
        let why = error.brief();
        let wait = Duration::ZERO;
        engine.progress.event(Event::Retry { path: Some(&open.work.entry.path), why: &why, attempt: 2, wait });
        return;
    }
    if matches!(error, HubError::Held { .. }) {
        return;
    }
    let hub = &engine.hubs[endpoint];
    if error.limit().is_some() {
        // A wait that is kept is no failure: who asks the host next waits for it, and others need not be asked.
        if let Verdict::Over(error) = hub.judge(error, 1, &*engine.progress) {
            match engine.give_up(open, endpoint) {
                None => engine.fatal(error.into()),
                Some(true) => {
                    let why = format!("{}; it is not asked any more", error.brief());
                    engine.progress.event(Event::Retry { path: None, why: &why, attempt: 2, wait: Duration::ZERO });
                }
                Some(false) => {}
            }
        }
        return;
    }
    let Some(failures) = open.work.failed(&part.claim) else { return };
    // With mirrors every endpoint gets its tries.
    let failures = failures.div_ceil(u32::try_from(engine.hubs.len()).unwrap_or(1));
    let why = error.brief();
    match hub.judge(error, failures, &*engine.progress) {
        Verdict::Held => {}
        Verdict::Again(wait) => {
            if engine.hubs.len() > 1 {
                // Others have the file.
                hub.leave_alone(wait);
            } else {
                // Nobody asks for the file meanwhile, and no worker sleeps over it: a part that nobody fetches must not
                // count as one on its way.
                *super::work::lock(&open.not_before) = Some(Instant::now() + wait);
            }
            let path = Some(&open.work.entry.path);
            engine.progress.event(Event::Retry { path, why: &why, attempt: failures + 1, wait });
        }
        Verdict::Over(error) if integrity => {
            engine.closed(open, Err(integrity_finding(&open.work.entry.path, &error)));
            let work = Arc::clone(open);
            let abandoned = tokio::task::spawn_blocking(move || work.work.abandon()).await;
            if let Ok(Err(error)) = abandoned {
                engine.fatal(error.into());
            }
        }
        Verdict::Over(error) => engine.fatal(error.into()),
    }
}

/// Streams a part to where it belongs.
async fn fetch(engine: &Arc<Engine>, part: &Arc<Part>, endpoint: usize) -> Result<(), Ended> {
    let work = &part.open.work;
    let range = part.claim.range.clone();
    let hub = &engine.hubs[endpoint];
    let mut body = hub.open(&part.open.remotes[endpoint], range.clone()).await?;
    let skip = range.start - body.start.min(range.start);
    if skip > 0 && work.takes_ranges() {
        // A server that ignores ranges sends the whole file to every connection: one is enough.
        work.ranges_are_ignored();
        if range.start != work.frontier() {
            return Err(Ended::Aside);
        }
    }
    let mut writer = Writer::new(engine, part);
    let outcome = stream(engine, part, &mut writer, &mut body, skip).await;
    if body.is_over_xet() {
        let came = part.at.load(Ordering::Relaxed).saturating_sub(range.start);
        engine.over_xet.fetch_add(came, Ordering::Relaxed);
    }
    // Also after a failure: what came is worth keeping.
    writer.finish().await.and(outcome)
}

/// Moves a body's bytes into blocks until the part is whole.
async fn stream(
    engine: &Arc<Engine>,
    part: &Arc<Part>,
    writer: &mut Writer<'_>,
    body: &mut Body<'_>,
    mut skip: u64,
) -> Result<(), Ended> {
    let mut compared = Instant::now();
    let mut near = false;
    while let Some(mut bytes) = body.chunk().await? {
        if let Some(limiter) = &engine.limiter {
            limiter.pass(bytes.len()).await;
        }
        if skip > 0 {
            let drop = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            let _ = bytes.split_to(drop);
            skip -= drop as u64;
        }
        // The end may have come nearer: another worker took what is behind it.
        let end = part.end.load(Ordering::Relaxed);
        bytes.truncate(usize::try_from(end.saturating_sub(writer.block.end())).unwrap_or(usize::MAX));
        writer.block.push(bytes);
        part.at.store(writer.block.end(), Ordering::Relaxed);
        let over = writer.block.end() >= end;
        if (writer.block.len >= BLOCK || over) && !writer.flush().await {
            return Ok(());
        }
        if !near && part.is_near_its_end() {
            // Another worker may ask for the next part, so that its first bytes are not waited for.
            near = true;
            engine.wake_one();
        }
        if over && end < part.claim.range.end || engine.is_over() {
            return Ok(());
        }
        if compared.elapsed() > COMPARE_EVERY {
            if engine.lags(part) {
                return Err(Ended::Aside);
            }
            compared = Instant::now();
        }
    }
    Ok(())
}

/// Hands blocks to a blocking thread that writes them while the next ones are being received.
struct Writer<'a> {
    engine: &'a Arc<Engine>,
    part: &'a Arc<Part>,
    blocks: mpsc::Sender<Block>,
    thread: JoinHandle<Result<(), StoreError>>,
    block: Block,
}

impl<'a> Writer<'a> {
    fn new(engine: &'a Arc<Engine>, part: &'a Arc<Part>) -> Self {
        let (blocks, waiting) = mpsc::channel(WAITING);
        let (own, theirs) = (Arc::clone(engine), Arc::clone(part));
        let thread = tokio::task::spawn_blocking(move || write_all(&own, &theirs, waiting));
        Writer { engine, part, blocks, thread, block: Block::at(part.claim.range.start) }
    }

    /// Hands over what has come; `false` when the thread has met trouble.
    async fn flush(&mut self) -> bool {
        let next = Block::at(self.block.end());
        let block = std::mem::replace(&mut self.block, next);
        block.len == 0 || self.blocks.send(block).await.is_ok()
    }

    /// Waits until all is written and in the journal.
    async fn finish(mut self) -> Result<(), Ended> {
        // That the thread has met trouble is what it returns.
        let _ = self.flush().await;
        drop(self.blocks);
        if let Ok(written) = self.thread.await {
            return Ok(written?);
        }
        self.engine.fatal(FetchError::Worker { path: self.part.open.work.entry.path.clone() });
        Err(Ended::Aside)
    }
}

/// Writes a part's blocks as they come, and notes them in the journal. Blocks.
fn write_all(engine: &Arc<Engine>, part: &Arc<Part>, mut blocks: mpsc::Receiver<Block>) -> Result<(), StoreError> {
    let work = &part.open.work;
    let mut recorded = part.claim.range.start;
    let mut written = recorded;
    let mut outcome = Ok(());
    while outcome.is_ok()
        && let Some(block) = blocks.blocking_recv()
    {
        let end = block.end();
        work.pace(&part.claim, &block);
        let length = block.len as u64;
        outcome = work.write(&part.claim, block, &*engine.progress);
        if outcome.is_ok() {
            engine.hubs[0].arrived(length);
            written = end;
            kick(engine, &part.open);
            if written - recorded >= RECORD_EVERY {
                outcome = work.record(&part.claim, recorded..written);
                recorded = written;
            }
        }
    }
    // Whatever went wrong, what is written is worth knowing later.
    outcome.and(work.record(&part.claim, recorded..written))
}
