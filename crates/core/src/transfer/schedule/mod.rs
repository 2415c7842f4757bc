//! Which part comes next, and with how many connections: it knows the waiting files, the open files and the parts in
//! flight. It decides under one lock and does nothing itself; the workers act.

mod ends;
mod failure;
mod homes;
mod ramp;
mod signals;
mod size;
#[cfg(test)]
mod tests;
mod whole;
mod worker;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use self::ends::Opened;
pub(super) use self::homes::number_of_homes;
use self::ramp::Ramp;
use self::signals::Signals;
use self::size::PartSize;
pub(super) use self::worker::work;
use super::assemble::{Ask, Budget, Desk, SMALL, STUCK};
use super::limit::Limiter;
use super::part::{Open, Part};
use super::threads::{Home, Threads};
use super::{FetchError, FetchOptions, FetchReport};
use crate::model::{Entry, RepoInfo, RepoPath};
use crate::mutex::lock;
use crate::progress::Progress;
use crate::source::Source;
use crate::store::Store;

/// A part in flight is split for an idle worker while at least twice this is left of it.
const STEAL: u64 = 1 << 20;
/// Pause before a file that another process has locked is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// How often the watcher hears of a wait for another process.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// The next job of a worker.
pub(super) enum Job {
    /// Lock a file, look at it and open it.
    Open(Entry),
    /// Fetch a part.
    Fetch(Arc<Part>),
    /// All work is done.
    Stop,
}

/// A wait for another process.
struct Wait {
    since: Instant,
    told: Option<Instant>,
}

#[derive(Default)]
struct State {
    /// Large and small files that no worker has opened yet.
    large: VecDeque<Entry>,
    small: VecDeque<Entry>,
    /// Files that other processes have locked, with the time to look again.
    locked: Vec<(Entry, Instant)>,
    /// The start of each wait, and the time of the last event about it.
    waits: HashMap<RepoPath, Wait>,
    /// How many workers are opening a file, and the homes of those that are opening a large file.
    opening: usize,
    opening_large: Vec<Home>,
    open: Vec<Arc<Open>>,
    parts: Vec<Arc<Part>>,
    report: FetchReport,
    fatal: Option<FetchError>,
}

/// The state that the workers of a run share.
pub(super) struct Schedule {
    /// Endpoints: the first one listed the files.
    pub sources: Vec<Arc<dyn Source>>,
    /// Whether each endpoint is given up for all files.
    pub useless: Vec<AtomicBool>,
    pub store: Arc<Store>,
    pub info: Arc<RepoInfo>,
    pub options: FetchOptions,
    pub limiter: Option<Limiter>,
    pub progress: Arc<dyn Progress>,
    /// Memory for blocks that wait to be hashed.
    pub budget: Arc<Budget>,
    /// The threads that hash large files, for each home.
    desks: Vec<Arc<Desk>>,
    /// Bytes that came over Xet.
    pub over_xet: AtomicU64,
    /// How many workers have fetched a part.
    pub fetchers: AtomicUsize,
    state: Mutex<State>,
    ramp: Mutex<Ramp>,
    part_size: Mutex<PartSize>,
    signals: Signals,
    /// How many large files a home has open at once.
    lanes: usize,
}

impl Schedule {
    pub fn new(
        sources: Vec<Arc<dyn Source>>,
        store: Arc<Store>,
        info: RepoInfo,
        entries: &[&Entry],
        options: FetchOptions,
        progress: Arc<dyn Progress>,
        homes: usize,
    ) -> Self {
        let desk = || if homes > 1 { Desk::that_hashes_here() } else { Desk::default() };
        let (large, small): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|e| e.size > SMALL);
        let own = |entries: Vec<&Entry>| entries.into_iter().cloned().collect();
        Schedule {
            useless: sources.iter().map(|_| AtomicBool::new(false)).collect(),
            sources,
            store,
            info: Arc::new(info),
            options,
            limiter: options.limit_rate.map(Limiter::new),
            progress,
            state: Mutex::new(State { large: own(large), small: own(small), ..State::default() }),
            budget: Arc::default(),
            desks: (0..homes).map(|_| Arc::new(desk())).collect(),
            over_xet: AtomicU64::new(0),
            fetchers: AtomicUsize::new(0),
            ramp: Mutex::new(Ramp::new(options.connections, homes)),
            part_size: Mutex::default(),
            signals: Signals::new(homes),
            lanes: if homes > 1 {
                homes::FILES
            } else {
                // A hasher is one thread, so there are as many files at once as there are cores to hash them.
                Threads::count().min(8)
            },
        }
    }

    /// How many workers to start: for large files twice the connections, since each may have a
    /// successor that opens the next part.
    pub fn workers(&self) -> usize {
        let state = lock(&self.state);
        let large = if state.large.is_empty() { 0 } else { self.options.connections.max(1).saturating_mul(2) };
        large + state.small.len().min(self.options.jobs.max(1))
    }

    /// Wakes all workers to look for work.
    pub fn wake(&self) {
        self.signals.all();
    }

    /// The endpoint that a worker asks for a part of a file.
    pub fn endpoint(&self, open: &Open, worker: usize) -> usize {
        if self.sources.len() == 1 {
            return 0;
        }
        let endpoint = open.endpoint(worker, |i| self.sources[i].retries().is_held());
        // An endpoint that asked for a pause is used only if it is the only one left. Only then the request waits.
        open.remotes[endpoint].hurry(!self.sources[endpoint].retries().is_held());
        endpoint
    }

    /// Gives up an endpoint for this file and all that are opened later. `None` if it is the last one, otherwise
    /// whether this is new.
    pub fn give_up(&self, open: &Open, endpoint: usize) -> Option<bool> {
        open.give_up(endpoint).then(|| !self.useless[endpoint].swap(true, Ordering::Relaxed))
    }

    /// The threads that hash the large files of a home.
    pub fn desk(&self, home: Home) -> Arc<Desk> {
        Arc::clone(&self.desks[home.0])
    }

    /// Waits for the next job of a worker of `home`, and returns it.
    pub async fn next(&self, home: Home) -> Job {
        let job = self.signals.until(home, || self.look(home)).await;
        if let Job::Fetch(_) = &job {
            // One signal may mean jobs for several workers: the one that finds a part passes it on.
            self.signals.one_of(home);
        }
        job
    }

    /// Whether another process has been waited for long enough.
    pub fn has_waited(&self, path: &RepoPath) -> bool {
        lock(&self.state).waits.get(path).is_some_and(|wait| wait.since.elapsed() >= self.options.lock_wait)
    }

    /// Ends a while after an error has ended the run: workers get this time to note the bytes that they have.
    pub async fn overdue(&self) {
        self.signals.until_over().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// The next job. Otherwise the time after which to look again if nothing changes before.
    fn look(&self, home: Home) -> Result<Job, Duration> {
        let mut state = lock(&self.state);
        if self.signals.is_over() {
            return Ok(Job::Stop);
        }
        // Why this order: bytes of open files come first, because a complete file frees its lock, its lane and its
        // place in memory. Then another file is opened, so that its first request overlaps with the last bytes of the
        // others. A part in flight is split last: two requests for one part cost more than a request for a new one.
        let now = Instant::now();
        let mut wait = Duration::from_millis(500);
        let large_parts = || state.parts.iter().filter(|p| p.open.work.entry.size > SMALL);
        let busy: Vec<_> = large_parts().filter(|p| !p.is_near_its_end()).collect();
        let bound = || state.open.iter().any(|o| o.work.is_hash_bound());
        let allowed = lock(&self.ramp).allowed(busy.len(), bound, &mut wait);
        let share = home.share_of(allowed, self.desks.len());
        let is_own = |p: &&Arc<Part>| p.home == home;
        let room =
            busy.iter().copied().filter(is_own).count() < share && large_parts().filter(is_own).count() < 2 * share;
        // Files that have all their bytes need no memory for more.
        let needs_memory = |open: &&Arc<Open>| open.work.entry.size > SMALL && open.work.have() < open.work.entry.size;
        let files = state.open.iter().filter(needs_memory).count() as u64;
        // A home without files helps the others.
        let helps = state.large.is_empty()
            && !state.opening_large.contains(&home)
            && !state.open.iter().filter(needs_memory).any(|open| open.home == home);
        // Why this order: two files that are hashed in turn need as many bytes of each.
        let in_flight = |open: &&Arc<Open>| busy.iter().filter(|part| Arc::ptr_eq(&part.open, open)).count();
        let mut opens: Vec<_> = state.open.iter().collect();
        opens.sort_by_cached_key(in_flight);
        let mut claimed = None;
        for open in opens {
            if open.work.entry.size > SMALL && !(room && (helps || open.home == home)) {
                continue;
            }
            if let Some(left) = lock(&open.not_before).and_then(|t| t.checked_duration_since(now)) {
                wait = wait.min(left);
                continue;
            }
            // A stream of Xet already has many connections inside.
            let most = if open.is_over_xet() { u64::MAX } else { lock(&self.part_size).bytes(allowed) };
            if let Some(claim) = open.work.claim(Ask { most, connections: allowed as u64, files }) {
                claimed = Some(Part::new(Arc::clone(open), claim, home));
                break;
            }
        }
        if let Some(part) = claimed {
            // Why this order: the lanes take turns, so that the hasher of each file always has bytes.
            if let Some(i) = state.open.iter().position(|o| Arc::ptr_eq(o, &part.open)) {
                let lane = state.open.remove(i);
                state.open.push(lane);
            }
            state.parts.push(Arc::clone(&part));
            return Ok(Job::Fetch(part));
        }
        if let Some(entry) = self.to_open(&mut state, home, now, &mut wait) {
            state.opening += 1;
            if entry.size > SMALL {
                state.opening_large.push(home);
            }
            return Ok(Job::Open(entry));
        }
        let held_back = state.open.iter().any(|open| open.work.is_held_back());
        if room
            && !held_back
            && let Some(part) = steal(&state.parts, home, helps)
        {
            state.parts.push(Arc::clone(&part));
            return Ok(Job::Fetch(part));
        }
        if held_back {
            // Then the part that was held back may be handed out, without a signal.
            wait = wait.min(STUCK);
        }
        let idle = state.open.is_empty() && state.opening == 0 && state.parts.is_empty();
        if idle && state.locked.is_empty() { Ok(Job::Stop) } else { Err(wait) }
    }

    fn to_open(&self, state: &mut State, home: Home, now: Instant, wait: &mut Duration) -> Option<Entry> {
        if let Some(i) = state.locked.iter().position(|(_, again)| *again <= now) {
            return Some(state.locked.swap_remove(i).0);
        }
        for (_, again) in &state.locked {
            *wait = (*wait).min(again.saturating_duration_since(now));
        }
        // Why this order: large files before small ones, because the run ends when the longest of them does. Small files
        // fill the rest of the workers. The files that another process had locked come first of all: they have waited
        // already. A lane is free when no open large file has bytes left to hand out.
        let large = state.open.iter().filter(|o| o.work.entry.size > SMALL && o.home == home).count()
            + state.opening_large.iter().filter(|at| **at == home).count();
        if large < self.lanes
            && let Some(entry) = state.large.pop_front()
        {
            return Some(entry);
        }
        let small = state.open.len() + state.opening;
        if small < self.options.jobs.max(1) + self.lanes { state.small.pop_front() } else { None }
    }
}

/// Takes the second half of the rest of the part that has most left: one of `home`, or any if that home helps the others.
fn steal(parts: &[Arc<Part>], home: Home, helps: bool) -> Option<Arc<Part>> {
    let may = |p: &&Arc<Part>| p.open.work.takes_ranges() && !p.open.is_over_xet() && (helps || p.home == home);
    let victim = parts.iter().filter(may).max_by_key(|p| p.left())?;
    let left = victim.left();
    if left < 2 * STEAL {
        return None;
    }
    let end = victim.end.load(Ordering::Relaxed);
    // Why this order: the victim continues with the first half, which the hash needs first. Its end moves before the
    // second half is handed out, so that only bytes in flight may be asked for twice.
    let middle = end - left / 2;
    victim.end.store(middle, Ordering::Relaxed);
    let claim = victim.open.work.claim_stolen(middle..end);
    Some(Part::new(Arc::clone(&victim.open), claim, home))
}
