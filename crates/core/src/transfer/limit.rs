//! A limit of the rate of bytes for the whole process: callers wait.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::mutex::lock;

/// Hands out bytes at a rate; a tenth of a second's worth may be taken at once.
pub(crate) struct Limiter {
    rate: f64,
    /// The time from which on the rate allows more bytes.
    paid: Mutex<Instant>,
}

impl Limiter {
    /// A limit of `rate` bytes a second.
    pub fn new(rate: u64) -> Self {
        // An f64 is precise enough for a rate.
        #[allow(clippy::cast_precision_loss)]
        let rate = rate.max(1) as f64;
        Limiter { rate, paid: Mutex::new(Instant::now()) }
    }

    /// Waits until `n` bytes may pass.
    pub async fn pass(&self, n: usize) {
        // Chunks are far below an f64's exact range.
        #[allow(clippy::cast_precision_loss)]
        let cost = Duration::from_secs_f64(n as f64 / self.rate);
        let until = {
            let mut paid = lock(&self.paid);
            let now = Instant::now();
            let burst = Duration::from_millis(100);
            *paid = (*paid).max(now.checked_sub(burst).unwrap_or(now)) + cost;
            *paid
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_at_the_rate() {
        let limiter = Limiter::new(1_000_000);
        let start = Instant::now();
        for _ in 0..50 {
            limiter.pass(100_000).await;
        }
        let took = start.elapsed().as_secs_f64();
        assert!((4.8..=5.1).contains(&took), "{took}");
    }
}
