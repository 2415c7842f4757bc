//! The hash catches up with the file, and a file that is whole gets its name, or starts again.

use std::sync::Arc;

use tracing::debug;

use super::Frontier;
use crate::model::Hashed;
use crate::progress::Event;
use crate::transfer::mismatch_finding;
use crate::transfer::part::{Open, leave_xet};
use crate::transfer::schedule::Schedule;

/// Hashes what has arrived, on a thread of its own, and finishes the file when that is all of it.
pub(in crate::transfer) fn kick(schedule: &Arc<Schedule>, open: &Arc<Open>) {
    if !open.work.wants_hashing() {
        return;
    }
    let (schedule, open) = (Arc::clone(schedule), Arc::clone(open));
    tokio::task::spawn_blocking(move || match open.work.hash() {
        Ok(Frontier::Behind) => {
            // What came between the last look and the hand-back of the hasher.
            if open.work.wants_hashing() {
                kick(&schedule, &open);
            }
        }
        Ok(Frontier::Whole(hashed)) => finish(&schedule, &open, hashed),
        Err(error) => schedule.fatal(error.into()),
    });
}

fn finish(schedule: &Arc<Schedule>, open: &Arc<Open>, hashed: Hashed) {
    let actual = hashed.digest();
    let path = &open.work.entry.path;
    let expected = open.work.entry.digest();
    let done = if actual == expected {
        // Why this order: the name comes first, and the watcher and the report hear of it afterwards. Whoever hears
        // that a file is done can open it, and it is on the disk.
        open.work.commit(actual).map(|()| {
            schedule.sources[0].retries().answered();
            debug!(file = %path.shown(), digest = %actual, "the file is whole and has its name");
            schedule.progress.event(Event::FileDone { path });
            schedule.closed(open, Ok(hashed));
        })
    } else {
        // Why this order: the ways that may have sent the wrong bytes are closed before the file starts again, so that
        // no worker asks them for the new round. Which mirror it was is not known: from now on only the endpoint is
        // asked.
        for mirror in 1..open.remotes.len() {
            open.give_up(mirror);
        }
        leave_xet(open);
        open.work.restart().and_then(|again| {
            if again {
                schedule.progress.event(Event::FileRestarted { path, why: "its checksum is wrong" });
                schedule.wake();
                return Ok(());
            }
            schedule.closed(open, Err(mismatch_finding(path, expected, actual)));
            open.work.abandon()
        })
    };
    if let Err(error) = done {
        schedule.fatal(error.into());
    }
}
