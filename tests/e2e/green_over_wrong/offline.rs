//! Without a Hub: files that are here are hashed, and the hash decides.

use super::super::support::{Machine, Run, tree};
use super::{FIRST, ID, blob, flip, forget_notes, model};
use hfget_loopback_hub::Repo;

const DATA: &str = "datasets--org--data";

/// Runs every command without a Hub, after `between` has changed a byte of the weights.
fn every_way(between: fn(&std::path::Path)) -> Vec<(&'static str, Run)> {
    let fresh = || {
        let data = Repo::new("org/data").kind("datasets").lfs("train.parquet", "rows and rows");
        let machine = Machine::new([model(), data]);
        machine.hfget(ID).ends_with(0);
        machine
    };
    let weights = |machine: &Machine| blob(machine, "models--org--m", FIRST);
    let mut all = Vec::new();
    for line in ["org/m --offline", "verify org/m --offline"] {
        let machine = fresh();
        between(&weights(&machine));
        all.push((line, machine.hfget(line)));
    }
    let machine = fresh();
    between(&weights(&machine));
    all.push(("HF_HUB_OFFLINE=1", machine.command().env("HF_HUB_OFFLINE", "1").arg(ID).output().unwrap().into()));
    let machine = fresh();
    machine.hfget("lock org/m").ends_with(0);
    between(&weights(&machine));
    all.push(("--locked --offline", machine.hfget("--locked --offline")));
    let machine = fresh();
    machine.hfget("org/m --local-dir here").ends_with(0);
    between(&machine.home.path().join("here").join(FIRST));
    all.push(("a local dir", machine.hfget("org/m --offline --local-dir here")));
    let machine = fresh();
    machine.hfget("datasets/org/data").ends_with(0);
    between(&blob(&machine, DATA, "train.parquet"));
    all.push(("a dataset", machine.hfget("datasets/org/data --offline")));
    let machine = fresh();
    forget_notes(&machine.model(ID));
    between(&weights(&machine));
    all.push(("another tool's cache", machine.hfget("org/m --offline")));
    all
}

#[test]
fn a_flipped_byte_is_found_without_a_hub() {
    for (way, run) in every_way(|path| flip(path, false)) {
        assert!(run.err.contains("checksum-mismatch"), "{way}: {}", run.err);
        run.is(1, "failed");
    }
}

#[test]
fn no_false_alarm_without_a_hub() {
    for change in [|_: &std::path::Path| {}, super::touch] {
        for (way, run) in every_way(change) {
            assert_eq!(run.code, Some(0), "{way}: {}", run.err);
            run.is(0, "verified");
        }
    }
}

/// A copied cache verifies like the original.
#[test]
fn no_false_alarm_over_a_copied_cache() {
    for how in ["-al", "-a", "-r"] {
        let machine = Machine::new([model()]);
        machine.hfget(ID).ends_with(0);
        let copy = machine.home.path().join("copy");
        let done = std::process::Command::new("cp").arg(how).arg(machine.cache()).arg(&copy).status().unwrap();
        assert!(done.success());
        let before = machine.byte_requests();
        for line in ["org/m", "org/m --offline", "verify org/m", "verify org/m --offline"] {
            machine.hfget(&format!("{line} --cache-dir copy")).is(0, "verified");
        }
        assert_eq!(machine.byte_requests(), before, "cp {how}: nothing is fetched again");
        let right = |path: &std::path::Path| tree(&path.join("models--org--m/snapshots"));
        assert_eq!(right(&copy), right(&machine.cache()));
    }
}

/// Each verdict names its evidence.
#[test]
fn verified_says_against_what() {
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_against("hub");
    machine.hfget("org/m --offline").ends_against("kept-listing");
    machine.hfget("lock org/m").ends_with(0);
    machine.hfget("verify --lock hfget.lock").ends_against("lock");
    machine.hfget("--locked").ends_against("lock");
    forget_notes(&machine.model(ID));
    machine.hfget("org/m --offline").ends_against("blob-names");
}
