//! A complete file gets its name, or starts again. Also the other calls of files and requests to the schedule.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::debug;

use super::{SMALL, Schedule};
use crate::model::Hashed;
use crate::mutex::lock;
use crate::progress::{Event, Progress};
use crate::transfer::assemble::{FileWork, Watcher};
use crate::transfer::limit::Limiter;
use crate::transfer::part::{Part, Run};
use crate::transfer::{FetchError, mismatch_finding};

impl Watcher for Schedule {
    fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    fn arrived(&self, bytes: u64) {
        self.sources[0].retries().arrived(bytes);
    }

    fn has_room(&self) {
        self.signals.one();
    }

    fn whole(&self, file: &Arc<FileWork>, hashed: Hashed) {
        let open = lock(&self.state).open.iter().find(|open| Arc::ptr_eq(&open.work, file)).cloned();
        // A file that is not open any more has failed meanwhile, and has its finding already.
        let Some(open) = open else { return };
        let actual = hashed.digest();
        let path = &file.entry.path;
        let expected = file.entry.digest();
        let done = if actual == expected {
            // Why this order: the name comes first, and the watcher and the report hear of it afterwards. When they
            // hear that a file is done, it is on the disk and can be opened.
            file.commit(actual).map(|()| {
                self.sources[0].retries().answered();
                let (received, read_back) = (&file.received, &file.read_back);
                debug!(digest = %actual, ?received, ?read_back, "the file is whole and has its name");
                self.progress.event(Event::FileDone { path });
                self.closed(&open, Ok(hashed));
            })
        } else {
            // Why this order: the endpoints and transports that may have sent the wrong bytes are closed before the
            // file starts again, so that no worker uses them in the new round. The mirror that sent them is not
            // known, so from now on only the endpoint is asked.
            for mirror in 1..open.remotes.len() {
                open.give_up(mirror);
            }
            open.leave_xet();
            file.restart().and_then(|again| {
                if again {
                    self.progress.event(Event::FileRestarted { path, why: "its checksum is wrong" });
                    self.wake();
                    return Ok(());
                }
                // Why this order: the run may end when the file is closed, and then nobody waits for this thread.
                let abandoned = file.abandon();
                self.closed(&open, Err(mismatch_finding(path, expected, actual)));
                abandoned
            })
        };
        if let Err(error) = done {
            self.fatal(error.into());
        }
    }

    fn fatal(&self, error: FetchError) {
        lock(&self.state).fatal.get_or_insert(error);
        self.signals.end();
    }
}

impl Run for Schedule {
    fn limiter(&self) -> Option<&Limiter> {
        self.limiter.as_ref()
    }

    fn came_over_xet(&self, bytes: u64) {
        self.over_xet.fetch_add(bytes, Ordering::Relaxed);
    }

    fn measured(&self, first_byte: Duration, bytes: u64, took: Duration) {
        lock(&self.part_size).ended(first_byte, bytes, took);
    }

    fn takes_turns(&self) -> bool {
        self.desks.len() > 1
    }

    fn is_over(&self) -> bool {
        self.signals.is_over()
    }

    fn lags(&self, part: &Part) -> bool {
        let state = lock(&self.state);
        let others: Vec<f64> = state
            .parts
            .iter()
            .filter(|p| p.open.work.entry.size > SMALL && !std::ptr::eq(Arc::as_ptr(p), part))
            .map(|p| p.rate())
            .collect();
        // A rough comparison of rates is enough.
        #[allow(clippy::cast_precision_loss)]
        let mean = others.iter().sum::<f64>() / others.len().max(1) as f64;
        others.len() >= 2 && part.rate() * 10.0 < mean
    }
}
