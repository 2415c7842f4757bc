//! The threads on which a session's transfers run. They write to the disk, which may take long, so they are not the caller's. What
//! runs on them is decided elsewhere.

use std::num::NonZero;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::hub;
use crate::mutex::lock;

/// The fewest threads. A thread that waits for a slow disk holds up the connections that it serves.
const FEWEST: usize = 2;
/// How long the end waits for threads that note the bytes of a stopped transfer.
const END: Duration = Duration::from_secs(2);

/// One of the runtimes on which a run has started its tasks, counted from 0: all threads together, or a thread that has files of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Home(pub usize);

impl Home {
    /// Its share, if some things are divided among this many homes.
    pub fn share_of(self, things: usize, homes: usize) -> usize {
        things / homes + usize::from(self.0 < things % homes)
    }
}

/// As many threads as cores, but at least two, and as many threads by themselves. They start with the first transfer that needs them.
#[derive(Default)]
pub(crate) struct Threads {
    /// Tasks run on any of them. `None` if the system has no descriptors left for them: then the caller's threads have to do.
    all: OnceLock<Option<Runtime>>,
    /// Threads by themselves: each keeps the tasks that are started on it.
    single: Mutex<Vec<Runtime>>,
}

impl Threads {
    /// How many there are for a run.
    pub(super) fn count() -> usize {
        std::thread::available_parallelism().map_or(FEWEST, NonZero::get).max(FEWEST)
    }

    /// Where tasks can be started: `wanted` threads by themselves, or all threads together if one is wanted. All together also if the
    /// system has no descriptors left.
    pub(super) fn homes(&self, wanted: usize) -> Vec<Handle> {
        if wanted > 1 {
            let mut single = lock(&self.single);
            while single.len() < wanted
                && let Some(thread) = start(1)
            {
                single.push(thread);
            }
            if single.len() >= wanted {
                return single[..wanted].iter().map(|thread| thread.handle().clone()).collect();
            }
            // Files and sockets need their descriptors.
            single.drain(..).for_each(Runtime::shutdown_background);
        }
        let all = self.all.get_or_init(|| start(Self::count()));
        vec![all.as_ref().map_or_else(Handle::current, |threads| threads.handle().clone())]
    }
}

fn start(threads: usize) -> Option<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if threads == 1 {
        builder.on_thread_start(hub::take_turns);
    }
    builder.worker_threads(threads).thread_name("transfer").enable_all().build().ok()
}

impl Drop for Threads {
    fn drop(&mut self) {
        let single = std::mem::take(&mut *lock(&self.single));
        let runtimes: Vec<_> = self.all.take().flatten().into_iter().chain(single).collect();
        if runtimes.is_empty() {
            return;
        }
        match Handle::try_current() {
            // Why not here: the caller must not wait. At its own end it waits for this, and so the bytes that arrived before an
            // interruption are noted.
            Ok(callers) => {
                for runtime in runtimes {
                    callers.spawn_blocking(move || runtime.shutdown_timeout(END));
                }
            }
            Err(_) => runtimes.into_iter().for_each(Runtime::shutdown_background),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_caller_does_not_wait_for_a_thread_that_waits_for_the_disk() {
        let threads = Threads::default();
        let (started, start) = mpsc::channel();
        let (_disk, answer) = mpsc::channel::<()>();
        threads.homes(1)[0].spawn(async move {
            started.send(()).unwrap();
            let _ = answer.recv();
        });
        start.recv().unwrap();
        drop(threads);
    }

    #[test]
    fn the_shares_of_all_homes_are_all_there_is() {
        for (things, homes) in [(16, 3), (5, 2), (16, 8), (4, 2), (1, 1)] {
            let shares: Vec<usize> = (0..homes).map(|home| Home(home).share_of(things, homes)).collect();
            assert_eq!(shares.iter().sum::<usize>(), things);
            assert!(shares.iter().all(|share| *share > 0));
        }
    }

    #[tokio::test]
    async fn homes_are_threads_by_themselves_and_used_again() {
        let threads = Threads::default();
        let workers = |handle: &Handle| handle.metrics().num_workers();
        let (three, two, all) = (threads.homes(3), threads.homes(2), threads.homes(1));
        assert_eq!(three.iter().map(workers).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(all.iter().map(workers).collect::<Vec<_>>(), [Threads::count()]);
        let ids = |handles: &[Handle]| handles.iter().map(Handle::id).collect::<Vec<_>>();
        assert_eq!(ids(&two), ids(&three)[..2]);
        assert!(!ids(&three).contains(&all[0].id()));
    }

    struct Noted(mpsc::Sender<()>);

    impl Drop for Noted {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(50));
            self.0.send(()).unwrap();
        }
    }

    #[test]
    fn at_its_own_end_the_caller_waits_for_work_that_was_stopped() {
        for homes in [1, 2] {
            let callers = Builder::new_current_thread().build().unwrap();
            let (note, notes) = mpsc::channel();
            callers.block_on(async {
                let threads = Threads::default();
                for home in threads.homes(homes) {
                    let (started, start) = tokio::sync::oneshot::channel();
                    let note = note.clone();
                    let work = home.spawn(async move {
                        let _noted = Noted(note);
                        started.send(()).unwrap();
                        std::future::pending::<()>().await;
                    });
                    start.await.unwrap();
                    work.abort();
                }
            });
            callers.shutdown_timeout(END);
            assert_eq!(notes.try_iter().count(), homes);
        }
    }

    /// The caller's runtime has one thread here.
    #[tokio::test]
    async fn work_that_blocks_does_not_hold_up_the_caller() {
        let threads = Threads::default();
        let (disk, answer) = mpsc::channel();
        let blocked = threads.homes(1)[0].spawn(async move { answer.recv().unwrap() });
        tokio::task::yield_now().await;
        disk.send(7).unwrap();
        assert_eq!(blocked.await.unwrap(), 7);
    }
}
