//! Checks the README's table of other tools, on them and on hfget. `peer_tools.rs` describes how they are installed
//! and run. If one of these tests fails, the tool has changed, and so must the table.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::interop::python;
use super::peer_tools::{Peer, Task};
use super::resume::SIZE;
use super::support::{CHATGLM, Machine, Run, fixture, one_file, safetensors, tree};

const MODEL: &str = "model.safetensors";
const SMALL: &str = "config.json";

fn repo() -> Repo {
    one_file(SIZE).file(SMALL, format!(r#"{{"note":"{}"}}"#, "a".repeat(9000)))
}

/// Checks every peer that is installed, each on a machine of its own, all at once.
fn every_peer(repo: &Repo, machine: impl Fn() -> Machine + Sync, check: impl Fn(Peer, &Task<'_>, &Machine) + Sync) {
    std::thread::scope(|scope| {
        for peer in Peer::ALL {
            let (machine, check) = (&machine, &check);
            scope.spawn(move || {
                let machine = machine();
                if let Some(task) = peer.with(&machine, repo) {
                    check(peer, &task, &machine);
                }
            });
        }
    });
}

fn corrupted(file: &'static str) -> impl Fn() -> Machine + Sync {
    move || {
        let machine = Machine::new([repo()]);
        machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(5000)).on(file));
        machine
    }
}

#[test]
fn a_wrong_byte_in_a_large_file_stays_in_place_but_for_hfget_git_lfs_and_model_mirror() {
    every_peer(&repo(), corrupted(MODEL), |peer, task, _| {
        let (code, in_place) = match peer {
            Peer::HfDownload | Peer::HfHub | Peer::Aria2 => (0, true),
            Peer::Aria2Checksum => (32, true),
            Peer::Hubdl => (1, true),
            Peer::GitLfs => (2, false),
            Peer::ModelMirror => (1, false),
        };
        let run = task.run();
        assert_eq!((run.code, !task.wrong().is_empty()), (Some(code), in_place), "{peer:?}: {}{}", run.out, run.err);
    });
    let machine = corrupted(MODEL)();
    machine.hfget("org/one").ends_with(1).says("checksum-mismatch");
    machine.assert_nothing_wrong(&repo());
}

/// git-lfs takes the small files from git; it never asks the Hub for them.
#[test]
fn a_wrong_byte_in_a_small_file_is_noticed_by_hfget_and_model_mirror_alone() {
    every_peer(&repo(), corrupted(SMALL), |peer, task, _| {
        let (code, in_place) = match peer {
            Peer::GitLfs => return,
            Peer::ModelMirror => (1, false),
            _ => (0, true),
        };
        let run = task.run();
        assert_eq!((run.code, !task.wrong().is_empty()), (Some(code), in_place), "{peer:?}: {}{}", run.out, run.err);
    });
    let machine = corrupted(SMALL)();
    machine.hfget("org/one").ends_with(1).says("config.json: checksum-mismatch: expected git-sha1");
    machine.assert_nothing_wrong(&repo());
}

/// `hf cache verify` is a separate command, which reads everything again.
#[test]
fn hf_cache_verify_finds_afterwards_what_hf_download_let_pass() {
    let Some(bin) = python() else { return };
    for file in [MODEL, SMALL] {
        let (machine, repo) = (corrupted(file)(), repo());
        let Some(task) = Peer::HfDownload.with(&machine, &repo) else { return };
        task.run().ends_with(0);
        let mut verify = Command::new(bin.join("hf"));
        machine.environment(&mut verify);
        let run: Run = verify.args(["cache", "verify", "org/one"]).output().unwrap().into();
        run.ends_with(1).shows(file);
    }
}

#[test]
fn every_peer_takes_both_families_and_hfget_takes_one() {
    let count = |names: &[String], end: &str| names.iter().filter(|name| name.ends_with(end)).count();
    let families = |names: &[String]| (count(names, ".safetensors"), count(names, ".bin"));
    let repo = fixture(CHATGLM);
    every_peer(
        &repo,
        || Machine::new([fixture(CHATGLM)]),
        |peer, task, _| {
            task.run().ends_with(0);
            let names: Vec<String> = task.landed().into_keys().collect();
            assert_eq!(families(&names), (7, 7), "{peer:?}: {names:?}");
        },
    );
    let machine = Machine::new([repo]);
    let path = machine.run([CHATGLM]).ends_with(0).path();
    assert_eq!(families(&tree(&path).into_keys().collect::<Vec<_>>()), (7, 0));
}

/// A repo with right digests, and an index that names a tensor `gone` in `shard` that does not exist.
fn promising_too_much(shard: &str) -> Repo {
    let index = format!(r#"{{"metadata":{{}},"weight_map":{{"w":"model-1.safetensors","gone":"{shard}"}}}}"#);
    Repo::new("org/one")
        .file("config.json", "{}")
        .file("model.safetensors.index.json", index)
        .lfs("model-1.safetensors", safetensors("w", 1000))
}

fn every_peer_is_content_with(repo: &Repo) {
    every_peer(
        repo,
        || Machine::new([repo.clone()]),
        |peer, task, _| {
            task.run().ends_with(0);
            assert_eq!((task.landed().len(), task.wrong()), (3, vec![]), "{peer:?}");
        },
    );
}

#[test]
fn only_hfget_misses_a_tensor_that_the_index_promises() {
    let repo = promising_too_much("model-1.safetensors");
    every_peer_is_content_with(&repo);
    Machine::new([repo]).hfget("org/one").ends_with(1).says("tensor-missing");
}

#[test]
fn only_hfget_misses_a_shard_that_the_index_promises() {
    let repo = promising_too_much("model-2.safetensors");
    every_peer_is_content_with(&repo);
    let machine = Machine::new([repo]);
    machine.hfget("org/one").ends_with(3).says(r#"not in the repo (such as "model-2.safetensors")"#);
    let requests = machine.hub.requests();
    assert!(requests.iter().all(|r| !r.path.ends_with(".safetensors")), "weights were asked for: {requests:?}");
}

/// The tools are killed after half of the bytes. aria2c notes its progress once a minute, and hubdl runs aria2c;
/// hfget loses at most 1 MiB for each connection.
#[test]
fn after_a_kill_hfget_and_model_mirror_resume_and_the_others_begin_again() {
    let size = 2 * SIZE;
    let repo = one_file(size);
    let slow = || Machine::on(Hub::with(Options { rate: Some(12 << 20), ..Options::default() }, [repo.clone()]));
    let half_sent = |machine: &Machine| {
        let start = Instant::now();
        while machine.hub.bytes_sent() < size as u64 / 2 {
            assert!(start.elapsed() < Duration::from_mins(1), "nothing comes");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let percent_again = |machine: &Machine, run: &dyn Fn() -> Run| {
        // The bytes in flight when the connection broke.
        std::thread::sleep(Duration::from_millis(500));
        let before = machine.hub.bytes_sent();
        run().ends_with(0);
        (machine.hub.bytes_sent() - before) * 100 / size as u64
    };
    every_peer(&repo, slow, |peer, task, machine| {
        let mut running = task.start();
        half_sent(machine);
        running.kill();
        let percent = percent_again(machine, &|| task.run());
        eprintln!("{peer:?}: {percent} % again");
        assert_eq!(task.wrong(), Vec::<String>::new(), "{peer:?}");
        match peer {
            Peer::ModelMirror => assert!(percent < 75, "{peer:?}: {percent} %"),
            _ => assert!(percent > 95, "{peer:?}: {percent} %"),
        }
    });
    let machine = slow();
    let mut child = machine.command().args(["org/one", "--connections", "4"]).stderr(Stdio::null()).spawn().unwrap();
    half_sent(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    let percent = percent_again(&machine, &|| machine.hfget("org/one --connections 4"));
    eprintln!("hfget: {percent} % again");
    assert!(percent < 75, "{percent} %");
    machine.assert_nothing_wrong(&repo);
}

/// One connection becomes silent in the middle; the next one would work. Every tool has its default timeouts.
#[test]
#[ignore = "takes two minutes: hf-hub and model-mirror do not end by themselves in that time"]
fn a_connection_that_goes_silent_is_replaced_within_two_minutes_but_by_hf_hub_and_model_mirror() {
    let silent = || {
        let machine = Machine::new([repo()]);
        machine.hub.fault(Fault::new(Place::Bytes, Kind::Stall(1 << 20)).on(MODEL).times(1));
        machine
    };
    let minutes = Duration::from_mins(2);
    every_peer(&repo(), silent, |peer, task, _| {
        let start = Instant::now();
        let code = task.start().ends_within(minutes);
        eprintln!("{peer:?}: {code:?} after {:.0?}", start.elapsed());
        match peer {
            Peer::HfHub | Peer::ModelMirror => assert_eq!(code, None, "{peer:?}"),
            _ => assert_eq!((code, task.wrong()), (Some(0), vec![]), "{peer:?}"),
        }
    });
    let machine = silent();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    let start = Instant::now();
    let run: Run = command.arg("org/one").output().unwrap().into();
    eprintln!("hfget: {:?} after {:.0?}", run.code, start.elapsed());
    run.ends_with(0);
    assert!(start.elapsed() < minutes);
    machine.assert_nothing_wrong(&repo());
}
