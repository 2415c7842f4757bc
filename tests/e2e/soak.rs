//! Runs that are killed again and again, on a Hub with random faults: the result is still verified,
//! and the number of bytes that come twice is bounded. `HFGET_SOAK=200` asks for more kills than the
//! few of an ordinary test run, `HFGET_SOAK_SEED` repeats a run.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::support::{Machine, safetensors};

const ID: &str = "org/soaked";
const SHARD: usize = 24 << 20;
const SHARDS: usize = 2;
/// The bytes that a kill can cost each connection: those that are not in the journal yet, and those in flight.
const LOST: u64 = (1 << 20) + (1 << 20);
const CONNECTIONS: u64 = 4;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

fn repo(rng: &mut fastrand::Rng) -> Repo {
    let mut repo = Repo::new(ID).file("config.json", "{}");
    let mut map = serde_json::Map::new();
    for i in 1..=SHARDS {
        let name = format!("model-{i:05}-of-{SHARDS:05}.safetensors");
        let mut content = safetensors(&format!("t{i}"), SHARD);
        let at = content.len() - SHARD;
        rng.fill(&mut content[at..]);
        map.insert(format!("t{i}"), name.clone().into());
        repo = repo.lfs(&name, content);
    }
    let index = serde_json::json!({ "metadata": { "total_size": SHARD * SHARDS }, "weight_map": map });
    repo.file("model.safetensors.index.json", index.to_string())
}

/// A random fault that happens once, with any file.
fn some_fault(rng: &mut fastrand::Rng) -> Fault {
    let kind = match rng.u32(..9) {
        0 => Kind::Status(500, vec![]),
        1 => Kind::Status(429, vec![("retry-after", "0".into())]),
        2 => Kind::Cut(rng.usize(..4 << 20)),
        3 => Kind::Stall(rng.usize(..1 << 20)),
        4 => Kind::Html,
        5 => Kind::WrongContentRange,
        6 => Kind::Short(rng.usize(1..100)),
        7 => Kind::Status(403, vec![]),
        _ => Kind::Delay(Duration::from_millis(50)),
    };
    Fault::new(Place::Bytes, kind).on("*.safetensors").times(1)
}

fn start(machine: &Machine, more: &[&str]) -> Child {
    let connections = CONNECTIONS.to_string();
    let mut command = machine.command();
    command.args([ID, "-q", "--connections", &connections]).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let _ = std::process::Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
}

/// Kills runs again and again, and checks that the Hub sends no more bytes than the kills can cost.
fn soak(more: &[&str], at_once: usize) {
    let kills = number("HFGET_SOAK", 8);
    let seed = number("HFGET_SOAK_SEED", u64::from(std::process::id()));
    let mut rng = fastrand::Rng::with_seed(seed);
    let repo = repo(&mut rng);
    let machine = Machine::on(Hub::with(Options { rate: Some(6 << 20), ..Options::default() }, [repo.clone()]));
    let began = Instant::now();
    let (mut killed, mut finished, mut most) = (0, 0, 0);
    let whole = (SHARD * SHARDS) as u64;
    let mut fetched = 0;
    while killed < kills {
        machine.hub.heal();
        for _ in 0..rng.u32(..3) {
            machine.hub.fault(some_fault(&mut rng));
        }
        let mut running: Vec<Child> = (0..at_once).map(|_| start(&machine, more)).collect();
        let until = Instant::now() + Duration::from_millis(rng.u64(20..900));
        while Instant::now() < until && running[0].try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let name = ["KILL", "KILL", "KILL", "INT", "TERM"][rng.usize(..5)];
        for child in &mut running {
            if child.try_wait().unwrap().is_none() {
                killed += 1;
                signal(child, name);
            }
            let status = child.wait().unwrap();
            assert!(matches!(status.code(), None | Some(0 | 4 | 130)), "seed {seed}: {status} after SIG{name}");
        }
        machine.assert_nothing_wrong(&repo);
        fetched = machine.hub.bytes_sent();
        most = most.max(fetched);
        if machine.run([ID, "--offline", "-q"].into_iter().chain(more.iter().copied())).code == Some(0) {
            // The run was faster than the kills, so begin again from the start.
            finished += 1;
            let bound = whole * finished + killed * CONNECTIONS * LOST * at_once as u64;
            assert!(fetched <= bound, "seed {seed}: {fetched} bytes sent, {bound} at most, {killed} kills");
            let _ = std::fs::remove_dir_all(machine.model(ID));
            let _ = std::fs::remove_dir_all(machine.home.path().join("here"));
        }
    }
    machine.hub.heal();
    let end = machine.run([ID].into_iter().chain(more.iter().copied()));
    assert_eq!(end.code, Some(0), "seed {seed}:\n{}", end.err);
    machine.assert_nothing_wrong(&repo);
    finished += 1;
    fetched = fetched.max(machine.hub.bytes_sent());
    let twice = fetched.saturating_sub(whole * finished);
    let bound = killed * CONNECTIONS * LOST * at_once as u64;
    assert!(twice <= bound, "seed {seed}: {twice} bytes came twice, {bound} at most, {killed} kills");
    println!(
        "soak {more:?} × {at_once}: {killed} kills, {finished} times to the end, {} kB sent twice ({} kB a kill), {} s, seed {seed}",
        twice / 1000,
        twice / 1000 / killed.max(1),
        began.elapsed().as_secs()
    );
}

#[test]
fn killed_at_random_it_still_ends_verified() {
    soak(&[], 1);
}

#[test]
fn killed_at_random_a_folder_still_ends_verified() {
    soak(&["--local-dir", "here"], 1);
}

#[test]
fn two_at_once_killed_at_random_still_end_verified() {
    soak(&[], 2);
}
