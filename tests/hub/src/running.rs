//! A server in a thread of its own, which stops when it is dropped. Its maker decides what it serves.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tokio::sync::oneshot;

/// A running server; it stops when dropped.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Runs `serve` until it is dropped, and waits for what `serve` sends when it is ready.
    ///
    /// # Panics
    /// If the server does not start.
    pub fn start<T, S>(serve: impl FnOnce(Sender<T>) -> S + Send + 'static) -> (T, Self)
    where
        T: Send + 'static,
        S: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, wait) = channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(ready) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        });
        let made = wait.recv().expect("the server thread starts");
        (made, Running { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
