//! Work of an upload on other tasks and threads: requests that are aborted if their waiter is dropped, and hashing.

#[cfg(feature = "object-store")]
use bytes::Bytes;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

#[cfg(feature = "object-store")]
use crate::model::Hasher;

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

/// Hashes off the async threads.
#[cfg(feature = "object-store")]
pub(super) async fn hash(mut hasher: Hasher, bytes: Bytes) -> Hasher {
    let work = move || {
        hasher.update(&bytes);
        hasher
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
