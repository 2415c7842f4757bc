//! One worker's loop: it takes jobs from the schedule, and opens files. `part` fetches parts; `failure` handles
//! failures.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tracing::{Span, debug};

use super::failure::failed;
use super::{Job, Opened, SMALL, Schedule};
use crate::model::Entry;
use crate::progress::Event;
use crate::source::{Source, SourceFile};
use crate::store::StoreError;
use crate::transfer::FetchError;
use crate::transfer::assemble::{FileWork, Watcher};
use crate::transfer::part::{Ended, Open, fetch};
use crate::transfer::threads::Home;

/// Works until there is nothing left to do.
pub(in crate::transfer) async fn work(schedule: Arc<Schedule>, home: Home) {
    // Numbers follow the order of the first parts, so that the first connections of a run use different servers.
    let mut number = None;
    loop {
        match schedule.next(home).await {
            Job::Stop => return schedule.wake(),
            Job::Open(entry) => {
                let outcome = open(&schedule, &entry, home).await;
                debug!(file = %entry.path.shown(), size = entry.size, outcome = outcome.as_str(), "opened");
                // Why this order: the watcher hears of the file before any worker can report bytes of it. The bytes
                // that an earlier run has left are hashed only when the file is on the list, because they may
                // complete the file.
                let file = if let Opened::Work(open) = &outcome { Some(Arc::clone(&open.work)) } else { None };
                if let Some(file) = &file {
                    let (path, size) = (&entry.path, entry.size);
                    schedule.progress.event(Event::FileStarted { path, size, have: file.have() });
                }
                schedule.opened(&entry, outcome, home);
                if let Some(file) = file {
                    file.catch_up();
                }
            }
            Job::Fetch(part) => {
                let number = *number.get_or_insert_with(|| schedule.fetchers.fetch_add(1, Ordering::Relaxed));
                let endpoint = schedule.endpoint(&part.open, number);
                let outcome = fetch(&schedule, &part, endpoint).await;
                let left = part.at.load(Ordering::Relaxed)..part.end.load(Ordering::Relaxed);
                // Why this order: the missing bytes are given back first, then the failure is handled, and only then
                // the part leaves the list. While it is on the list the file does not count as idle.
                part.open.work.release(&part.claim, left);
                let retry = match outcome {
                    Ok(()) | Err(Ended::Aside) => None,
                    Err(Ended::Fatal(error)) => {
                        schedule.fatal(error);
                        None
                    }
                    Err(Ended::Hub(error)) => Some(error),
                };
                if let Some(error) = retry {
                    failed(&schedule, &part, endpoint, error).await;
                }
                schedule.parted(&part);
            }
        }
    }
}

/// Takes the file's lock, and finds out how much of the file is here.
async fn open(schedule: &Arc<Schedule>, entry: &Entry, home: Home) -> Opened {
    let (own, entry) = (Arc::clone(schedule), entry.clone());
    let path = entry.path.clone();
    let span = Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(|| open_blocking(&own, &entry, home))).await {
        Ok(Ok(opened)) => opened,
        // Other open files will be closed, so this is tried again.
        Ok(Err(error)) if error.is_out_of_descriptors() => Opened::Crowded(error.into()),
        Ok(Err(error)) => Opened::Failed(error.into()),
        Err(_) => Opened::Failed(FetchError::Worker { path }),
    }
}

pub(super) fn open_blocking(schedule: &Arc<Schedule>, entry: &Entry, home: Home) -> Result<Opened, StoreError> {
    let (store, commit) = (&schedule.store, schedule.info.commit);
    let lock = match store.try_lock(entry)? {
        // Two writers do no harm, and the other process may never release the lock.
        None if schedule.has_waited(&entry.path) => store.lock_anyway(entry)?,
        lock => lock,
    };
    let Some(lock) = lock else {
        return Ok(Opened::Locked);
    };
    // Why this order: the lock comes before the look. Under the lock, the file cannot be half written by another
    // process.
    if !schedule.options.force {
        // Another tool may have finished it meanwhile; `adopt` hashes its bytes.
        if store.is_here(&commit, entry)? {
            match store.adopt(&commit, entry, None) {
                // Another process removed it meanwhile, or has put other bytes there.
                Err(StoreError::Changed(_) | StoreError::WrongContent { .. }) => {}
                // A file that cannot be read is not known to be wrong, so it is not replaced.
                adopted => return adopted.map(|_| Opened::Here),
            }
        }
    }
    let partial = store.partial(lock, &commit, entry)?;
    if entry.size > SMALL {
        partial.reserve()?;
    }
    let remote = |source: &Arc<dyn Source>| Arc::clone(source).file(Arc::clone(&schedule.info), entry.clone());
    let remotes: Vec<Box<dyn SourceFile>> = schedule.sources.iter().map(remote).collect();
    if let Some(first) = remotes.first().filter(|_| entry.size > SMALL) {
        first.take_fast_transport();
    }
    let useless = schedule.useless.iter().map(|given_up| AtomicBool::new(given_up.load(Ordering::Relaxed))).collect();
    let not_before = std::sync::Mutex::default();
    let watcher: Weak<dyn Watcher> = Arc::downgrade(schedule) as _;
    Ok(Opened::Work(Arc::new(Open {
        home,
        work: Arc::new(FileWork::new(partial, Arc::clone(&schedule.budget), schedule.desk(home), watcher)),
        remotes,
        useless,
        not_before,
    })))
}
