//! Runs that are killed, interrupted, or at the same time: nothing is lost and nothing is fetched twice.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::support::{Machine, Run, one_file};

pub const SIZE: usize = 24 << 20;

pub fn slow() -> Machine {
    at(40 << 20)
}

/// A machine whose Hub sends `rate` bytes a second.
fn at(rate: u64) -> Machine {
    Machine::on(Hub::with(Options { rate: Some(rate), ..Options::default() }, [one_file(SIZE)]))
}

/// The largest partial file.
pub fn partial(machine: &Machine) -> Option<PathBuf> {
    let files = std::fs::read_dir(machine.model("org/one").join(".hfget/partial")).ok()?;
    let parts = files.flatten().map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "part"));
    parts.max_by_key(|p| p.metadata().map_or(0, |m| m.len()))
}

#[allow(clippy::zombie_processes)] // the callers wait; a panic ends the test
/// Starts a run and waits until half the file is on disk.
pub fn half_way(machine: &Machine) -> Child {
    let child =
        machine.command().args(["org/one", "--connections", "1"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    loop {
        let length = |path: PathBuf| std::fs::metadata(path).map(|m| m.len()).ok();
        if partial(machine).and_then(length).unwrap_or(0) > SIZE as u64 / 2 {
            return child;
        }
        assert!(start.elapsed() < Duration::from_mins(1), "no partial file");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The requested bytes of the weights.
fn asked_bytes(machine: &Machine) -> u64 {
    let whole = one_file(SIZE).content("model.safetensors").unwrap().len() as u64;
    machine
        .hub
        .requests()
        .iter()
        .filter(|r| r.method == "GET" && r.cdn)
        .map(|r| match r.range.as_ref().and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-')) {
            Some((first, last)) => last.parse::<u64>().map_or(whole, |l| l + 1) - first.parse::<u64>().unwrap(),
            None => whole,
        })
        .sum()
}

#[test]
fn a_killed_run_resumes_where_it_stopped() {
    let machine = slow();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    machine.assert_nothing_wrong(&one_file(SIZE));
    machine.hub.forget();
    machine.run(["org/one", "--connections", "1"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(SIZE));
    let asked = asked_bytes(&machine);
    assert!(asked < SIZE as u64 * 9 / 10, "{asked} bytes were asked for again");
}

#[test]
fn a_killed_run_leaves_nothing_after_another_program_finishes_its_file() {
    let machine = slow();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    // Another program, such as huggingface_hub, writes the blob.
    let repo = machine.model("org/one");
    let model = one_file(SIZE);
    let content = model.content("model.safetensors").unwrap();
    let part = partial(&machine).unwrap();
    let digest = part.file_stem().unwrap();
    std::fs::create_dir_all(repo.join("blobs")).unwrap();
    std::fs::write(repo.join("blobs").join(digest), content).unwrap();
    machine.hub.forget();
    machine.run(["org/one"]).ends_with(0);
    assert_eq!(asked_bytes(&machine), 0);
    assert_eq!(partial(&machine), None);
}

/// The journal of a file of terabytes: the last ranges are far behind the first ones.
#[test]
fn a_journal_beyond_16_mib_is_read_to_its_last_line() {
    let machine = slow();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    let journal = partial(&machine).unwrap().with_extension("journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let (head, ranges) = text.split_once('\n').unwrap();
    let again = format!("{}\n", ranges.lines().next().unwrap());
    std::fs::write(&journal, format!("{head}\n{}{ranges}", again.repeat((17 << 20) / again.len()))).unwrap();
    machine.hub.forget();
    machine.run(["org/one", "--connections", "1"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(SIZE));
    let asked = asked_bytes(&machine);
    assert!(asked < SIZE as u64 * 7 / 10, "{asked} bytes were asked for again");
}

/// The record of a cache with hundreds of thousands of files.
#[test]
fn a_record_beyond_64_mib_is_read_to_its_last_line() {
    let machine = Machine::new([one_file(64)]);
    machine.hfget("org/one").ends_with(0);
    let record = machine.model("org/one").join(".hfget/verified.jsonl");
    let text = std::fs::read_to_string(&record).unwrap();
    let line = text.lines().find(|line| line.contains(r#""kind":"file""#)).unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let key = value["key"].as_str().unwrap();
    let others = (0..(66 << 20) / line.len()).map(|n| line.replace(key, &format!("{n:040}")) + "\n");
    std::fs::write(&record, others.collect::<String>() + &text).unwrap();
    assert!(record.metadata().unwrap().len() > 64 << 20);
    let run = machine.hfget("org/one --json").ends_with(0);
    assert_eq!(run.json()["reports"][0]["totals"]["bytes_hashed"], 0);
    assert_eq!(run.json()["reports"][0]["already_verified"], true);
}

#[test]
fn an_interrupted_run_says_how_to_resume() {
    let machine = slow();
    let mut child = half_way(&machine);
    rustix_kill(&child, "INT");
    let out = child.wait().unwrap();
    assert_eq!(out.code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("interrupted: about ") && said.contains(" are kept; run it again to resume"), "{said}");
    machine.hub.forget();
    machine.run(["org/one", "--connections", "1"]).ends_with(0);
    assert!(asked_bytes(&machine) < SIZE as u64 * 7 / 10);
    let left: Vec<_> = machine.visible("org/one").into_keys().collect();
    assert_eq!(left.len(), 4, "two blobs, two links: {left:?}");
    assert_eq!(partial(&machine), None, "no partial file is left");
}

/// A connection notes its bytes once a megabyte, and has up to a megabyte more.
#[test]
fn an_interruption_keeps_what_every_connection_has_written() {
    let machine = at(1 << 20);
    let mut child = machine.command().args(["org/one"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while machine.hub.requests().iter().filter(|r| r.cdn).count() < 9 {
        assert!(start.elapsed() < Duration::from_mins(1), "too few connections");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(700));
    rustix_kill(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    let kept = said.split_once("about ").and_then(|(_, rest)| rest.split_once(" MB of")).unwrap().0;
    let kept = kept.parse::<f64>().unwrap() * 1e6;
    assert!(kept > 4e6, "{said}");
    let again = machine.run(["org/one", "--json"]).ends_with(0).json();
    let fetched = again["reports"][0]["totals"]["bytes_fetched"].as_f64().unwrap();
    // What was said is rounded, and a block may come while it is said.
    assert!(fetched < f64::from(u32::try_from(SIZE).unwrap()) - kept + 4e5, "{fetched}, and {said}");
    machine.assert_nothing_wrong(&one_file(SIZE));
}

/// So many large files that each thread has two of its own.
#[test]
fn a_killed_run_of_many_large_files_resumes_where_it_stopped() {
    const SHARD: usize = 5 << 20;
    const SHARDS: usize = 16;
    let names: Vec<String> = (1..=SHARDS).map(|i| format!("weights/{i:02}.bin")).collect();
    let content = |i: usize| (0..SHARD).map(|at| u8::try_from((at * 7 + i) % 251).unwrap()).collect::<Vec<u8>>();
    let add = |repo: Repo, (i, name): (usize, &String)| repo.lfs(name, content(i));
    let repo = names.iter().enumerate().fold(Repo::new("org/many"), add);
    let machine = Machine::on(Hub::with(Options { rate: Some(4 << 20), ..Options::default() }, [repo.clone()]));
    let log = machine.home.path().join("log");
    let arguments = ["org/many", "--all", "-vv"];
    let mut child = machine.command().args(arguments).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let start = Instant::now();
    while machine.hub.bytes_sent() < (SHARDS * SHARD / 2) as u64 {
        assert!(start.elapsed() < Duration::from_mins(1), "too few bytes");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(&log).unwrap();
    let homes = log.split_once(" homes=").and_then(|(_, rest)| rest.split_once(' ')).unwrap().0;
    // Machines with more than eight cores are as before.
    let threads = std::thread::available_parallelism().unwrap().get().max(2);
    assert_eq!(homes.parse::<usize>().unwrap(), if threads <= 8 { threads } else { 1 });
    machine.assert_nothing_wrong(&repo);
    machine.hub.forget();
    let again = machine.run(["org/many", "--all", "--json"]).ends_with(0).json();
    let fetched = again["reports"][0]["totals"]["bytes_fetched"].as_u64().unwrap();
    assert!(fetched < (SHARDS * SHARD) as u64 * 9 / 10, "{fetched}");
    machine.assert_nothing_wrong(&repo);
}

fn rustix_kill(child: &Child, signal: &str) {
    let status = std::process::Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_partial_file_with_wrong_bytes_is_found() {
    let machine = slow();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    let partial = partial(&machine).unwrap();
    std::fs::OpenOptions::new().write(true).open(&partial).unwrap().write_all_at(b"rotten", 1 << 20).unwrap();
    machine.run(["org/one"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(SIZE));
}

/// The machine lost power: bytes that were not flushed may be lost, and are fetched again.
#[test]
fn a_power_cut_costs_only_unflushed_bytes() {
    let machine = slow();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    let part = partial(&machine).unwrap();
    let journal = part.with_extension("journal");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    assert!(text.contains(boot.trim()), "{text}");
    std::fs::write(&journal, text.replace(boot.trim(), "the-boot-before")).unwrap();
    // Its blocks were reserved and never written.
    let length = part.metadata().unwrap().len();
    std::fs::write(&part, vec![0; usize::try_from(length).unwrap()]).unwrap();
    machine.hub.forget();
    machine.run(["org/one", "--connections", "1"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(SIZE));
    assert!(asked_bytes(&machine) < SIZE as u64 * 11 / 10, "it was not believed and then started again");
}

/// Two runs at the same time: one fetches, the other waits and prints so; both succeed.
#[test]
fn two_runs_at_once_share_the_work() {
    // Slow enough that the second run starts before the first is done.
    let machine = at(8 << 20);
    let first = half_way(&machine);
    let second: Run = machine.run(["org/one", "--connections", "1"]);
    let second = second.ends_with(0).says("waiting");
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(second.err.contains("verified"));
    machine.assert_nothing_wrong(&one_file(SIZE));
    assert!(asked_bytes(&machine) <= SIZE as u64 + 1000, "the bytes came once");
}

/// On a file system that grants every lock, both runs fetch, and both succeed.
#[test]
fn two_runs_at_once_end_right_where_locks_do_nothing() {
    let machine = slow();
    let source = machine.home.path().join("no_lock.c");
    let library = machine.home.path().join("no_lock.so");
    std::fs::write(&source, "int flock(int fd, int how) { (void)fd; (void)how; return 0; }").unwrap();
    let compiled = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(compiled.expect("a C compiler").success());
    for round in 0..3 {
        let start = || {
            let mut command = machine.command();
            command.env("LD_PRELOAD", &library).args(["org/one", "--connections", "2"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
        };
        let first = start();
        std::thread::sleep(Duration::from_millis(100 * round));
        let second = start();
        for run in [first, second] {
            let run = Run::from(run.wait_with_output().unwrap());
            assert!(!run.err.contains("waiting"), "locks do nothing: {}", run.err);
            // A run whose partial the other one has finished prints so, and succeeds when it is run again.
            if run.code != Some(0) {
                run.ends_with(5).says("changed");
            }
            machine.assert_nothing_wrong(&one_file(SIZE));
        }
        machine.run(["org/one"]).ends_with(0);
        machine.assert_nothing_wrong(&one_file(SIZE));
        std::fs::remove_dir_all(machine.cache()).unwrap();
    }
}

/// A file that was changed after it was verified is noticed by its size or time, and fetched again.
#[test]
fn a_cached_file_that_was_changed_is_repaired() {
    let machine = Machine::new([one_file(5000)]);
    let path = machine.run(["org/one"]).ends_with(0).path().join("model.safetensors");
    let blob = path.canonicalize().unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[3000] ^= 1;
    std::thread::sleep(Duration::from_millis(20));
    std::fs::write(&blob, &bytes).unwrap();
    machine.hfget("verify org/one").ends_with(1).says("checksum-mismatch");
    machine.run(["org/one"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(5000));
    std::fs::remove_file(&blob).unwrap();
    machine.hfget("verify org/one").ends_with(1).says("file-missing");
    machine.run(["org/one"]).ends_with(0);
}

/// A stalled connection is given up and replaced.
#[test]
fn a_stall_in_the_middle_costs_a_moment() {
    let machine = Machine::new([one_file(SIZE)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Stall(SIZE / 2)).on("model.safetensors").times(1));
    machine.run(["org/one"]).ends_with(0);
    let sent = machine.hub.bytes_sent();
    assert!(sent < SIZE as u64 * 16 / 10, "{sent} bytes were sent");
}
