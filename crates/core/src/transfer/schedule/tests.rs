//! Which worker gets which job. The files are on no server, and nothing is fetched.

use tempfile::TempDir;

use super::worker::open_blocking;
use super::*;
use crate::finding::{Code, Finding};
use crate::model::{Lfs, RepoType};
use crate::progress::Silent;

struct Bench {
    schedule: Arc<Schedule>,
    _root: TempDir,
}

/// A run with this many large files.
fn bench(files: u64, homes: usize) -> Bench {
    let root = TempDir::new().unwrap();
    let id = "org/name".parse().unwrap();
    let store = Arc::new(Store::hub_cache(root.path(), RepoType::Model, &id, true));
    let commit = "1111111111111111111111111111111111111111".parse().unwrap();
    let info = RepoInfo::new(RepoType::Model, id, "main".parse().unwrap(), commit);
    let size = 40 << 20;
    let entry = |i| Entry {
        path: format!("{i}.safetensors").parse().unwrap(),
        size,
        oid: "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap(),
        lfs: Some(Lfs { sha256: format!("{i:064x}").parse().unwrap(), size }),
        xet_hash: None,
    };
    let entries: Vec<Entry> = (0..files).map(entry).collect();
    let entries: Vec<&Entry> = entries.iter().collect();
    // There are no more at first, and so there will be no more.
    let options = FetchOptions { connections: 2 * homes, ..FetchOptions::default() };
    let schedule = Schedule::new(Vec::new(), store, info, &entries, options, Arc::new(Silent), homes);
    Bench { schedule: Arc::new(schedule), _root: root }
}

impl Bench {
    /// The paths of all files that a home may open at once.
    fn opens(&self, home: Home) -> Vec<String> {
        let next = || match self.schedule.look(home) {
            Ok(Job::Open(entry)) => Some(entry),
            _ => None,
        };
        let entries: Vec<Entry> = std::iter::from_fn(next).collect();
        for entry in &entries {
            self.schedule.opened(entry, open_blocking(&self.schedule, entry, home).unwrap(), home);
        }
        entries.iter().map(|entry| entry.path.as_str().to_owned()).collect()
    }

    /// All parts that the workers of a home may fetch at once.
    fn parts(&self, home: Home) -> Vec<Arc<Part>> {
        let next = || match self.schedule.look(home) {
            Ok(Job::Fetch(part)) => Some(part),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn close(&self, part: &Arc<Part>) {
        self.schedule.parted(part);
        let finding = Finding::new(Code::SizeMismatch, &part.open.work.entry.path, "a test".to_owned());
        self.schedule.closed(&part.open, Err(finding));
    }
}

fn paths(parts: &[Arc<Part>]) -> Vec<String> {
    parts.iter().map(|part| part.open.work.entry.path.as_str().to_owned()).collect()
}

const HOMES: [Home; 2] = [Home(0), Home(1)];

#[test]
fn each_home_opens_two_files_and_has_a_connection_for_each() {
    let bench = bench(5, 2);
    assert_eq!(bench.opens(HOMES[0]), ["0.safetensors", "1.safetensors"]);
    assert_eq!(bench.opens(HOMES[1]), ["2.safetensors", "3.safetensors"]);
    assert_eq!(paths(&bench.parts(HOMES[1])), ["2.safetensors", "3.safetensors"]);
    assert_eq!(paths(&bench.parts(HOMES[0])), ["0.safetensors", "1.safetensors"]);
}

/// Otherwise the bytes of one file would come first, and two files could not be hashed in turn.
#[test]
fn the_next_part_is_of_the_file_with_the_fewest_connections() {
    let bench = bench(5, 2);
    bench.opens(HOMES[0]);
    let first = bench.parts(HOMES[0]);
    for part in [&first[1], &first[0]] {
        part.at.store(part.end.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        let next = bench.parts(HOMES[0]);
        assert_eq!(paths(&next), paths(std::slice::from_ref(part)));
        assert_eq!(next[0].claim.range.start, part.claim.range.end);
    }
}

/// Its twin: as long as it can open files, it opens those.
#[test]
fn a_home_without_files_helps_the_others() {
    let bench = bench(5, 2);
    bench.opens(HOMES[0]);
    bench.opens(HOMES[1]);
    assert_eq!(bench.parts(HOMES[0]).len(), 2);
    for part in bench.parts(HOMES[1]) {
        bench.close(&part);
    }
    assert_eq!(bench.opens(HOMES[1]), ["4.safetensors"]);
    let last = bench.parts(HOMES[1]);
    assert_eq!(paths(&last), ["4.safetensors", "4.safetensors"]);
    for part in &last {
        bench.close(part);
    }
    let helped = bench.parts(HOMES[1]);
    assert_eq!(paths(&helped), ["0.safetensors", "1.safetensors"]);
    assert_eq!(helped[0].claim.range.start, helped[0].claim.range.end - (8 << 20));
    assert!(bench.parts(HOMES[0]).is_empty(), "its own connections are as many as before");
}

#[test]
fn all_threads_together_fetch_all_files() {
    let bench = bench(2, 1);
    assert_eq!(bench.opens(Home(0)).len(), 2);
    assert_eq!(paths(&bench.parts(Home(0))), ["0.safetensors", "1.safetensors"]);
}
