//! What a failed request means for its file and for the run: another transport, another endpoint, a wait, or the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Schedule;
use crate::hub::{HubError, Next};
use crate::mutex::lock;
use crate::progress::Event;
use crate::transfer::assemble::Watcher as _;
use crate::transfer::integrity_finding;
use crate::transfer::part::Part;

/// Handles a failed request: decides what it means for its file and for the run.
pub(super) async fn failed(schedule: &Arc<Schedule>, part: &Arc<Part>, endpoint: usize, error: HubError) {
    let open = &part.open;
    if open.leave_xet() {
        schedule.progress.event(Event::FellBack { path: &open.work.entry.path, why: &error.brief() });
        return;
    }
    // This endpoint will never serve the file, but another one may.
    let integrity = matches!(error, HubError::WrongLength { .. } | HubError::Changed { .. });
    if (integrity || !error.is_retryable()) && open.give_up(endpoint) {
        let why = error.brief();
        let wait = Duration::ZERO;
        schedule.progress.event(Event::Retry { path: Some(&open.work.entry.path), why: &why, attempt: 2, wait });
        return;
    }
    if matches!(error, HubError::Held { .. }) {
        return;
    }
    let retries = schedule.sources[endpoint].retries();
    if error.limit().is_some() {
        // A pause that a host asked for is not a failure: the next request to the host waits, and no other endpoint is
        // needed.
        if let Next::Over(error) = retries.judge(error, 1, &*schedule.progress) {
            match schedule.give_up(open, endpoint) {
                None => schedule.fatal(error.into()),
                Some(true) => {
                    let why = format!("{}; it is not asked any more", error.brief());
                    schedule.progress.event(Event::Retry { path: None, why: &why, attempt: 2, wait: Duration::ZERO });
                }
                Some(false) => {}
            }
        }
        return;
    }
    let Some(failures) = open.work.failed(&part.claim) else { return };
    // With mirrors, every endpoint gets its own tries.
    let failures = failures.div_ceil(u32::try_from(schedule.sources.len()).unwrap_or(1));
    let why = error.brief();
    match retries.judge(error, failures, &*schedule.progress) {
        Next::Held => {}
        Next::Again(wait) => {
            if schedule.sources.len() > 1 {
                // Other endpoints have the file.
                retries.leave_alone(wait);
            } else {
                // No worker asks for the file meanwhile, and none sleeps: a part that no worker fetches must not count
                // as one in flight.
                *lock(&open.not_before) = Some(Instant::now() + wait);
            }
            let path = Some(&open.work.entry.path);
            schedule.progress.event(Event::Retry { path, why: &why, attempt: failures + 1, wait });
        }
        Next::Over(error) if integrity => {
            schedule.closed(open, Err(integrity_finding(&open.work.entry.path, &error)));
            let work = Arc::clone(open);
            let abandoned = tokio::task::spawn_blocking(move || work.work.abandon()).await;
            if let Ok(Err(error)) = abandoned {
                schedule.fatal(error.into());
            }
        }
        Next::Over(error) => schedule.fatal(error.into()),
    }
}
