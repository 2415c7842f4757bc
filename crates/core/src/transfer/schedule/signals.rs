//! Wakes workers that should look for work, and the run when an error has ended it. The parent knows what the work is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::transfer::threads::Home;

/// Wakes workers, and knows whether an error has ended the run.
#[derive(Debug)]
pub(super) struct Signals {
    /// Of each home.
    changed: Vec<Notify>,
    /// Only for a task that waits for the end. If that task waited for `changed`, it would take signals that are meant
    /// for one worker.
    ended: Notify,
    over: AtomicBool,
}

impl Signals {
    pub fn new(homes: usize) -> Self {
        let changed = (0..homes).map(|_| Notify::new()).collect();
        Signals { changed, ended: Notify::new(), over: AtomicBool::new(false) }
    }

    /// One worker of each home should look for work: perhaps only those of one can do it. If none waits, the next one that would
    /// wait looks again.
    pub fn one(&self) {
        self.changed.iter().for_each(Notify::notify_one);
    }

    /// One more worker of this home should look for work.
    pub fn one_of(&self, home: Home) {
        self.changed[home.0].notify_one();
    }

    /// All workers should look for work.
    pub fn all(&self) {
        self.changed.iter().for_each(Notify::notify_waiters);
    }

    /// An error has ended the run.
    pub fn end(&self) {
        // Why this order: a woken task must see that the run is over.
        self.over.store(true, Ordering::Relaxed);
        self.ended.notify_waiters();
        self.all();
    }

    /// Whether an error has ended the run.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Calls `look` until it has a result. After `Err` it waits for a signal to a worker of `home`, for this time at most.
    pub async fn until<T>(&self, home: Home, mut look: impl FnMut() -> Result<T, Duration>) -> T {
        loop {
            // Why this order: a change between the look and the wait must wake this worker, so it listens first.
            let mut changed = std::pin::pin!(self.changed[home.0].notified());
            changed.as_mut().enable();
            match look() {
                Ok(found) => return found,
                Err(at_most) => drop(tokio::time::timeout(at_most, changed).await),
            }
        }
    }

    /// Waits until an error ends the run.
    pub async fn until_over(&self) {
        loop {
            // Why this order: the same as above.
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.is_over() {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// Counts the looks of a worker that never finds work.
    fn worker(signals: &Arc<Signals>) -> Arc<AtomicU32> {
        worker_of(signals, Home(0))
    }

    fn worker_of(signals: &Arc<Signals>, home: Home) -> Arc<AtomicU32> {
        let looks = Arc::new(AtomicU32::new(0));
        let (signals, counted) = (Arc::clone(signals), Arc::clone(&looks));
        tokio::spawn(async move {
            let look = || -> Result<(), Duration> {
                counted.fetch_add(1, Ordering::Relaxed);
                Err(LONG)
            };
            signals.until(home, look).await;
        });
        looks
    }

    /// Lets all tasks run that can.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_task_that_waits_for_the_end_takes_no_signal_that_is_meant_for_a_worker() {
        let signals = Arc::new(Signals::new(1));
        let waiting = Arc::clone(&signals);
        let end = tokio::spawn(async move { waiting.until_over().await });
        settle().await;
        let looks = worker(&signals);
        settle().await;
        for count in 2..5 {
            signals.one();
            settle().await;
            assert_eq!(looks.load(Ordering::Relaxed), count);
        }
        assert!(!end.is_finished());
        signals.end();
        settle().await;
        assert!(end.is_finished() && looks.load(Ordering::Relaxed) == 5);
        signals.until_over().await;
    }

    #[tokio::test]
    async fn one_signal_wakes_one_worker_and_the_other_one_wakes_all() {
        let signals = Arc::new(Signals::new(1));
        let (a, b) = (worker(&signals), worker(&signals));
        let looks = || a.load(Ordering::Relaxed) + b.load(Ordering::Relaxed);
        settle().await;
        signals.one();
        settle().await;
        assert_eq!(looks(), 3);
        signals.all();
        settle().await;
        assert_eq!(looks(), 5);
    }

    #[tokio::test]
    async fn one_signal_wakes_one_worker_of_each_home_or_one_of_a_certain_home() {
        let signals = Arc::new(Signals::new(2));
        let workers = [Home(0), Home(0), Home(1)].map(|home| worker_of(&signals, home));
        let looks = || {
            let [a, b, other] = workers.each_ref().map(|looks| looks.load(Ordering::Relaxed));
            (a + b, other)
        };
        settle().await;
        signals.one();
        settle().await;
        assert_eq!(looks(), (3, 2));
        signals.one_of(Home(1));
        settle().await;
        assert_eq!(looks(), (3, 3));
    }

    #[tokio::test]
    async fn a_signal_during_a_look_is_not_lost() {
        let signals = Arc::new(Signals::new(1));
        let mut looks = 0;
        let look = || {
            looks += 1;
            signals.all();
            if looks == 2 { Ok(()) } else { Err(LONG) }
        };
        tokio::time::timeout(LONG / 4, signals.until(Home(0), look)).await.unwrap();
    }
}
