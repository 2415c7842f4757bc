//! How many connections large files may have. Decides by the load of this machine, and opens no connection.

use std::time::{Duration, Instant};

use crate::platform::{cpu_time, idle_time};

/// The number of connections at first, for each home.
const FIRST: usize = 2;
/// How often the number may double.
const EVERY: Duration = Duration::from_millis(40);
/// Linux counts idle time in steps of this. One step more may mean nothing.
const IDLE_STEP: Duration = Duration::from_millis(10);

/// Lets the number grow while the connections wait for the network.
#[derive(Debug)]
pub(super) struct Ramp {
    allowed: usize,
    most: usize,
    /// The time of the last look, and the load then.
    last: Option<(Instant, Load)>,
    cores: u32,
}

/// Times that only grow.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    /// The CPU time of this process.
    own: Duration,
    /// The idle time of all cores of the machine together. `None` if the system does not state it.
    idle: Option<Duration>,
}

impl Ramp {
    /// Allows at most `most` connections, and at least one. They are for this many homes.
    pub fn new(most: usize, homes: usize) -> Self {
        let most = most.max(1);
        let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
        Ramp { allowed: (FIRST * homes).min(most), most, last: None, cores }
    }

    /// How many connections there may be, if `busy` are in use; `hash_bound` says whether some file
    /// waits for its hasher. Shortens `wait` to the time after which it makes sense to ask again.
    pub fn allowed(&mut self, busy: usize, hash_bound: impl FnOnce() -> bool, wait: &mut Duration) -> usize {
        if self.allowed < self.most {
            self.grow(Instant::now(), Load::now, busy, hash_bound, wait);
        }
        self.allowed
    }

    fn grow(
        &mut self,
        now: Instant,
        load: impl Fn() -> Load,
        busy: usize,
        hash_bound: impl FnOnce() -> bool,
        wait: &mut Duration,
    ) {
        // While the first files are opened, every machine is idle.
        if busy < self.allowed {
            return;
        }
        let (then, before) = *self.last.get_or_insert_with(|| (now, load()));
        let passed = now.saturating_duration_since(then);
        if passed < EVERY {
            *wait = (*wait).min(EVERY.saturating_sub(passed));
            return;
        }
        *wait = (*wait).min(EVERY);
        let load = load();
        self.last = Some((now, load));
        let all = passed * self.cores;
        // A server on the same machine, or other programs, may keep it busy too. More connections would only make the parts'
        // order worse.
        let idle = load.idle.zip(before.idle).map(|(now, then)| now.saturating_sub(then));
        let is_idle = |idle: Duration| idle.saturating_sub(IDLE_STEP) * 10 >= all;
        let machine_bound =
            load.own.saturating_sub(before.own) * 5 > all * 3 || idle.is_some_and(|idle| !is_idle(idle));
        if !machine_bound && !hash_bound() {
            self.allowed = self.allowed.saturating_mul(2).min(self.most);
        }
    }
}

impl Load {
    fn now() -> Self {
        Load { own: cpu_time(), idle: idle_time() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The allowed number after `ticks` intervals in which the process used `load` of one core.
    fn after(ticks: u32, load: f64, busy: usize, hash_bound: bool) -> usize {
        under(ticks, load, None, busy, hash_bound)
    }

    /// The same, with this idle time of one core.
    fn under(ticks: u32, load: f64, idle: Option<f64>, busy: usize, hash_bound: bool) -> usize {
        let mut ramp = Ramp { cores: 2, ..Ramp::new(16, 1) };
        let start = Instant::now();
        for i in 0..=ticks {
            let passed = EVERY * i;
            let busy = busy.min(ramp.allowed);
            let load = || Load { own: passed.mul_f64(load), idle: idle.map(|idle| passed.mul_f64(idle)) };
            ramp.grow(start + passed, load, busy, || hash_bound, &mut Duration::MAX.clone());
        }
        ramp.allowed
    }

    #[test]
    fn connections_double_while_the_network_is_the_limit() {
        assert_eq!([0, 1, 2, 3, 9].map(|ticks| after(ticks, 0.2, 99, false)), [2, 4, 8, 16, 16]);
    }

    #[test]
    fn a_busy_machine_or_hasher_gets_no_more_connections() {
        assert_eq!(after(9, 1.4, 99, false), FIRST);
        assert_eq!(after(9, 0.2, 99, true), FIRST);
        assert_eq!(under(9, 0.2, Some(0.1), 99, false), FIRST, "other programs keep it busy");
        assert_eq!(under(9, 0.2, Some(1.0), 99, false), 16);
    }

    #[test]
    fn connections_that_are_not_used_are_not_added_to() {
        assert_eq!(after(9, 0.2, 1, false), FIRST);
    }

    #[test]
    fn homes_have_connections_each() {
        assert_eq!([1, 2, 8].map(|homes| Ramp::new(16, homes).allowed), [2, 4, 16]);
        assert_eq!(Ramp::new(3, 2).allowed, 3);
    }

    /// The allowed number after a first look with `busy` connections, and later ones with all: this machine is idle until the
    /// second look, and busy afterwards.
    fn idle_at_first(busy: usize) -> usize {
        let mut ramp = Ramp { cores: 2, ..Ramp::new(16, 1) };
        let start = Instant::now();
        for i in 0..5 {
            let idle = EVERY * 2 * i.min(1);
            let busy = if i == 0 { busy } else { 99 };
            let load = || Load { own: Duration::ZERO, idle: Some(idle) };
            ramp.grow(start + EVERY * i, load, busy, || false, &mut Duration::MAX.clone());
        }
        ramp.allowed
    }

    /// Its twin: a machine that is idle although all connections are in use gets more.
    #[test]
    fn a_machine_that_waits_for_its_first_files_is_not_idle() {
        assert_eq!(idle_at_first(1), FIRST);
        assert_eq!(idle_at_first(FIRST), 2 * FIRST);
    }

    /// Its twin: two steps mean that it was idle.
    #[test]
    fn one_step_of_idle_time_means_nothing() {
        let after = |steps: u32| {
            let mut ramp = Ramp { cores: 2, ..Ramp::new(16, 1) };
            let start = Instant::now();
            for i in 0..2 {
                let load = || Load { own: Duration::ZERO, idle: Some(IDLE_STEP * steps * i) };
                ramp.grow(start + EVERY * i, load, 99, || false, &mut Duration::MAX.clone());
            }
            ramp.allowed
        };
        assert_eq!([1, 2].map(after), [FIRST, 2 * FIRST]);
    }

    #[test]
    fn the_load_is_read_again_in_time() {
        let mut ramp = Ramp { cores: 2, ..Ramp::new(16, 1) };
        let (start, mut wait) = (Instant::now(), Duration::from_secs(1));
        ramp.grow(start, Load::default, 2, || false, &mut wait);
        assert_eq!(wait, EVERY);
    }
}
