//! Lockfiles that name no files, or a commit that does not exist.

use std::fs;

use super::super::support::Machine;
use super::{FIRST, ID, blob, flip, model};

fn locked(change: impl Fn(String) -> String) -> Machine {
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_with(0);
    machine.hfget("lock org/m").ends_with(0);
    let path = machine.home.path().join("hfget.lock");
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    machine
}

#[test]
fn a_lockfile_that_names_no_repo_is_wrong_usage() {
    let machine = locked(|_| "version = 1\n".into());
    for line in ["--locked", "--locked --offline", "verify --lock hfget.lock"] {
        machine.hfget(line).ends_with(2).ends_not_green();
    }
}

#[test]
fn a_lock_of_no_files_verifies_nothing() {
    let machine = locked(|text| text.split("files = [").next().unwrap().to_owned() + "files = []\n");
    for line in ["--locked", "--locked --offline", "verify --lock hfget.lock"] {
        machine.hfget(line).ends_with(3).ends_not_green();
    }
}

#[test]
fn no_ref_moves_to_a_commit_that_does_not_exist() {
    let commit = model().commit();
    let machine = locked(|text| text.replace(&model().commit(), &"1".repeat(40)));
    machine.hfget("--locked");
    assert_eq!(fs::read_to_string(machine.model(ID).join("refs/main")).unwrap().trim(), commit);
}

#[test]
fn no_false_alarm_over_a_lock_and_its_files() {
    let machine = locked(|text| text);
    for line in ["--locked", "--locked --offline", "verify --lock hfget.lock", "--locked --local-dir here"] {
        machine.hfget(line).ends_against("lock");
    }
    machine.hfget("verify --lock hfget.lock ./here").ends_against("lock");
    flip(&blob(&machine, "models--org--m", FIRST), true);
    machine.hfget("--locked --offline").is(1, "failed").says("checksum-mismatch");
}
