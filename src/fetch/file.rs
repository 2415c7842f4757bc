//! One file's transfer: lock, resume, stream, retry, verify, name.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::sink::Sink;
use super::{FetchError, FileError};
use crate::hub::{Entry, Hub, HubError, Remote, RepoInfo};
use crate::plan::Presence;
use crate::progress::{Event, Progress};
use crate::store::{FileLock, Store, StoreError};
use crate::verify::digest_of;

/// Chunks between the network and the disk: a chunk is at most some 16 KiB to 2 MiB of a read.
const CHANNEL: usize = 16;

/// What all files of a run share.
pub(super) struct Context<'a> {
    pub hub: &'a Hub,
    pub store: &'a Arc<Store>,
    pub info: &'a RepoInfo,
    pub force: bool,
    pub connections: &'a Semaphore,
    pub progress: &'a Arc<dyn Progress>,
}

/// Runs `work` on a blocking thread.
async fn blocking<T: Send + 'static>(
    entry: &Entry,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, FileError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(FileError::Fatal(FetchError::Worker { path: entry.path.clone() })),
    }
}

/// Fetches one file; gives the bytes that came over the network.
pub(super) async fn fetch_file(context: &Context<'_>, entry: &Entry) -> Result<u64, FileError> {
    let Some(lock) = acquire(context, entry).await? else { return Ok(0) };
    context.progress.event(Event::FileStarted { path: &entry.path, size: entry.size, have: 0 });
    let (store, commit, own, progress) =
        (Arc::clone(context.store), context.info.commit, entry.clone(), Arc::clone(context.progress));
    let mut sink = blocking(entry, move || Ok(Sink::resume(store.partial(lock, &commit, &own)?, &*progress))).await?;
    let remote = Remote::new(context.info, entry);
    let mut failures = 0;
    let mut restarts = 0;
    let mut received = 0;
    loop {
        let before = sink.at();
        let outcome;
        (sink, outcome) = stream(context, &remote, entry, sink).await?;
        received += sink.at() - before;
        let error = match outcome {
            Ok(()) if sink.at() == entry.size => {
                let actual = sink.digest();
                if actual == entry.digest() {
                    blocking(entry, move || sink.commit()).await?;
                    context.progress.event(Event::FileDone { path: &entry.path });
                    return Ok(received);
                }
                if restarts > 0 {
                    blocking(entry, move || sink.abandon()).await?;
                    return Err(FileError::Mismatch { expected: entry.digest(), actual });
                }
                restarts += 1;
                sink = restart(context, entry, sink, "its checksum is wrong").await?;
                continue;
            }
            // The body was whole as far as the server said; ask for the rest.
            Ok(()) => continue,
            Err(error) => error,
        };
        if sink.at() > before {
            failures = 0;
        }
        failures += 1;
        let integrity = matches!(error, HubError::WrongLength { .. } | HubError::Changed { .. });
        if integrity && sink.at() > 0 && restarts == 0 {
            restarts += 1;
            sink = restart(context, entry, sink, "the server's answer does not fit what had arrived").await?;
        }
        match context.hub.back_off(Some(&entry.path), error, failures, &**context.progress).await {
            Ok(()) => {}
            Err(error) if integrity => {
                blocking(entry, move || sink.abandon()).await?;
                return Err(FileError::Integrity(error));
            }
            Err(error) => return Err(FileError::Fatal(error.into())),
        }
    }
}

async fn restart(context: &Context<'_>, entry: &Entry, mut sink: Sink, why: &str) -> Result<Sink, FileError> {
    context.progress.event(Event::FileRestarted { path: &entry.path, why });
    blocking(entry, move || sink.restart().map(|()| sink)).await
}

/// Streams from where the sink stands to the end of the file, or until something breaks.
async fn stream(
    context: &Context<'_>,
    remote: &Remote<'_>,
    entry: &Entry,
    mut sink: Sink,
) -> Result<(Sink, Result<(), HubError>), FileError> {
    let from = sink.at();
    if from == entry.size {
        return Ok((sink, Ok(())));
    }
    // The semaphore is never closed, so a permit always comes.
    let _permit = context.connections.acquire().await;
    let mut body = match context.hub.open(remote, from..entry.size).await {
        Ok(body) => body,
        Err(error) => return Ok((sink, Err(error))),
    };
    let (sender, mut receiver) = mpsc::channel(CHANNEL);
    let progress = Arc::clone(context.progress);
    let writer = tokio::task::spawn_blocking(move || {
        let outcome = sink.drain(&mut receiver, &*progress);
        (sink, outcome)
    });
    // A server that ignores ranges sends from the start: what is here already is passed over.
    let mut skip = from.saturating_sub(body.start);
    let outcome = loop {
        match body.chunk().await {
            Ok(Some(mut bytes)) => {
                if skip > 0 {
                    let drop = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                    let _ = bytes.split_to(drop);
                    skip -= drop as u64;
                }
                // The writer only hangs up on an error, which it returns.
                if !bytes.is_empty() && sender.send(bytes).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(sender);
    match writer.await {
        Ok((sink, Ok(()))) => Ok((sink, outcome)),
        Ok((_, Err(error))) => Err(error.into()),
        Err(_) => Err(FileError::Fatal(FetchError::Worker { path: entry.path.clone() })),
    }
}

/// Takes the file's lock, waiting for other processes; `None` when the file turned out to be there
/// and right.
async fn acquire(context: &Context<'_>, entry: &Entry) -> Result<Option<FileLock>, FileError> {
    let mut pause = Duration::from_millis(50);
    let mut said = false;
    let lock = loop {
        let (store, own) = (Arc::clone(context.store), entry.clone());
        if let Some(lock) = blocking(entry, move || store.try_lock(&own)).await? {
            break lock;
        }
        if !said {
            context.progress.event(Event::WaitingForLock { path: &entry.path });
            said = true;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    };
    if context.force {
        return Ok(Some(lock));
    }
    let (store, commit, own) = (Arc::clone(context.store), context.info.commit, entry.clone());
    blocking(entry, move || {
        match store.presence(&commit, &own)? {
            Presence::Verified => {}
            // Another tool may have finished it meanwhile; believe its bytes, not its word.
            Presence::Unverified
                if digest_of(&store.content_path(&commit, &own), own.digest(), own.size)
                    .is_ok_and(|d| d == own.digest()) => {}
            _ => return Ok(Some(lock)),
        }
        store.adopt(&commit, &own)?;
        Ok(None)
    })
    .await
}
