//! The threads on which a session's transfers run. They write to the disk, which may take long, so they are not the caller's. What
//! runs on them is decided elsewhere.

use std::num::NonZero;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// The fewest threads. A thread that waits for a slow disk holds up the connections that it serves.
const FEWEST: usize = 2;
/// How long the end waits for threads that note the bytes of a stopped transfer.
const END: Duration = Duration::from_secs(2);

/// As many threads as cores, but at least two. They start with the first transfer.
#[derive(Default)]
pub(crate) struct Threads {
    /// `None` if the system has no descriptors left for them: then the caller's threads have to do.
    runtime: OnceLock<Option<Runtime>>,
}

impl Threads {
    /// Where tasks can be started.
    pub(super) fn handle(&self) -> Handle {
        let start = || {
            let cores = std::thread::available_parallelism().map_or(FEWEST, NonZero::get);
            let threads = Builder::new_multi_thread()
                .worker_threads(cores.max(FEWEST))
                .thread_name("transfer")
                .enable_all()
                .build();
            threads.ok()
        };
        self.runtime.get_or_init(start).as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take().flatten() else { return };
        match Handle::try_current() {
            // Why not here: the caller must not wait. At its own end it waits for this, and so the bytes that arrived before an
            // interruption are noted.
            Ok(callers) => drop(callers.spawn_blocking(move || runtime.shutdown_timeout(END))),
            Err(_) => runtime.shutdown_background(),
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
        threads.handle().spawn(async move {
            started.send(()).unwrap();
            let _ = answer.recv();
        });
        start.recv().unwrap();
        drop(threads);
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
        let callers = Builder::new_current_thread().build().unwrap();
        let (note, notes) = mpsc::channel();
        callers.block_on(async {
            let threads = Threads::default();
            let (started, start) = tokio::sync::oneshot::channel();
            let work = threads.handle().spawn(async move {
                let _noted = Noted(note);
                started.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            start.await.unwrap();
            work.abort();
        });
        callers.shutdown_timeout(END);
        notes.try_recv().unwrap();
    }

    /// The caller's runtime has one thread here.
    #[tokio::test]
    async fn work_that_blocks_does_not_hold_up_the_caller() {
        let threads = Threads::default();
        let (disk, answer) = mpsc::channel();
        let blocked = threads.handle().spawn(async move { answer.recv().unwrap() });
        tokio::task::yield_now().await;
        disk.send(7).unwrap();
        assert_eq!(blocked.await.unwrap(), 7);
    }
}
