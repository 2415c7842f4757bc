//! How large the parts of large files are: decided by the time that requests need before their first byte, and by the
//! rate of a connection. Nothing is requested here.

use std::time::Duration;

use crate::transfer::assemble::{AHEAD, LARGEST_PART};

/// The least bytes of a part.
const LEAST: u64 = 2 << 20;
/// A part takes at least this many times as long as the wait for its first byte. Another part is requested before it
/// ends, so the connection is idle for less than this share of the time.
const TIMES: f64 = 4.0;
/// The weight of the last part in the average.
const NEWEST: f64 = 0.125;

/// What is known about the network from the parts that have ended.
#[derive(Debug, Default)]
pub(super) struct PartSize {
    /// The least seconds before a first byte, and the average of the bytes a second afterwards. Longer waits are those of a
    /// busy machine, and larger parts would not shorten them.
    seen: Option<(f64, f64)>,
}

impl PartSize {
    /// The bytes of the next part, with this many connections. If the network allows it, all parts in flight fit into
    /// the memory that waits for the hasher, so that their bytes need not be read back from the disk.
    pub fn bytes(&self, connections: usize) -> u64 {
        let fits = (AHEAD / 5 * 4 / (connections as u64).max(1)).clamp(LEAST, LARGEST_PART);
        let Some((first_byte, rate)) = self.seen else { return fits };
        // A rough size is enough, and the conversion of a huge or negative one is bounded.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let wanted = (first_byte * rate * TIMES) as u64;
        wanted.clamp(fits, LARGEST_PART)
    }

    /// Notes a part: how long its first byte took, and how many bytes came in the time afterwards. A short part does
    /// not show the rate of a connection.
    pub fn ended(&mut self, first_byte: Duration, bytes: u64, took: Duration) {
        if bytes < LEAST / 2 {
            return;
        }
        // A rough rate is enough.
        #[allow(clippy::cast_precision_loss)]
        let rate = bytes as f64 / took.as_secs_f64().max(0.001);
        let first_byte = first_byte.as_secs_f64();
        let (wait, speed) = self.seen.get_or_insert((first_byte, rate));
        *wait = wait.min(first_byte);
        *speed += (rate - *speed) * NEWEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn after(first_byte: u64, mib_per_second: u64) -> u64 {
        let mut size = PartSize::default();
        for _ in 0..20 {
            size.ended(Duration::from_millis(first_byte), mib_per_second * MIB, Duration::from_secs(1));
        }
        size.bytes(16)
    }

    #[test]
    fn parts_are_small_where_a_request_costs_little() {
        assert_eq!(PartSize::default().bytes(16), LEAST);
        assert_eq!(after(1, 60), LEAST);
        assert_eq!(after(200, 1), LEAST, "also on a slow connection");
    }

    #[test]
    fn parts_of_few_connections_are_large_because_they_fit_into_memory() {
        assert_eq!([1, 2, 4, 8, 16, 64].map(|n| PartSize::default().bytes(n) / MIB), [8, 8, 8, 4, 2, 2]);
    }

    #[test]
    fn parts_are_large_where_each_request_waits_long() {
        assert_eq!(after(50, 100), LARGEST_PART);
        assert!((5 * MIB..7 * MIB).contains(&after(50, 30)), "{}", after(50, 30));
    }

    #[test]
    fn a_wait_that_the_network_did_not_cause_does_not_count() {
        let mut size = PartSize::default();
        for first_byte in [1, 90, 50, 200] {
            size.ended(Duration::from_millis(first_byte), 500 * MIB, Duration::from_secs(1));
        }
        assert_eq!(size.bytes(16), LEAST);
    }

    #[test]
    fn a_short_part_is_ignored() {
        let mut size = PartSize::default();
        size.ended(Duration::from_secs(9), LEAST / 2 - 1, Duration::from_millis(1));
        assert_eq!(size.bytes(16), LEAST);
    }
}
