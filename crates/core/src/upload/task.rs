//! Work of an upload on other tasks: requests that are aborted if their waiter is dropped.

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// A task that is aborted if its waiter is dropped.
pub(super) struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Task<T> {
    pub fn spawn(work: impl Future<Output = T> + Send + 'static) -> Self {
        Task(tokio::spawn(work.in_current_span()))
    }

    pub async fn join(mut self) -> T {
        match (&mut self.0).await {
            Ok(done) => done,
            // The task is aborted only if this is dropped, so the error is a panic.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
