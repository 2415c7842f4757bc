//! The record of an earlier run: it counts as long as nothing touched the file, and is removed if the file proves
//! wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Hub, Options};

use super::super::disk::in_namespace;
use super::super::support::{Machine, Run, one_file, safetensors};
use super::{FIRST, ID, blob, exchange, flip, model, touch};

/// `hfget verify` finds it, and removes it from the record that `hfget REPO` reads.
#[test]
fn a_file_that_verify_finds_wrong_is_fetched_again() {
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_with(0);
    flip(&blob(&machine, "models--org--m", FIRST), true);
    machine.hfget("verify org/m").is(1, "failed").says("checksum-mismatch");
    let run = machine.hfget(ID).is(0, "verified");
    assert!(!run.err.contains("already verified"), "{}", run.err);
    machine.assert_nothing_wrong(&model());
}

/// Like a restored file: the bytes differ, the modification time is the old one.
#[test]
fn a_write_that_resets_the_time_is_noticed() {
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_with(0);
    flip(&blob(&machine, "models--org--m", FIRST), true);
    machine.hfget("org/m --offline").is(1, "failed").says("checksum-mismatch");
    machine.hfget(ID).is(0, "verified");
    machine.assert_nothing_wrong(&model());
}

/// If the record cannot be changed, the advice names a command that works.
#[test]
fn on_a_read_only_cache_the_advice_is_to_force() {
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_with(0);
    flip(&blob(&machine, "models--org--m", FIRST), true);
    let root = machine.home.path().join("hf");
    let root = root.display();
    let script =
        format!("mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec \"$HFGET\" verify org/m");
    let Some(run) = in_namespace(&machine, &script) else { return };
    run.is(1, "failed").says("checksum-mismatch").says("--force");
}

#[test]
fn no_false_alarm_over_a_read_only_cache() {
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_with(0);
    let root = machine.home.path().join("hf");
    let root = root.display();
    for line in ["org/m", "verify org/m", "org/m --offline", "verify org/m --offline"] {
        let script = format!("mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec \"$HFGET\" {line}");
        let Some(run) = in_namespace(&machine, &script) else { return };
        let run = run.is(0, "verified");
        assert!(!run.err.contains("--force"), "{}", run.err);
    }
}

/// Waits until the process `pid` has `path` open, and stops it there.
fn stop_at(pid: u32, path: &Path) {
    let started = Instant::now();
    let open = || {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        all.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to == path)
    };
    while !open() {
        assert!(started.elapsed() < Duration::from_mins(1), "it never opens {}", path.display());
    }
    assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
    assert!(open(), "it was read before it could be stopped: the file must be larger");
}

#[test]
fn a_file_that_is_exchanged_while_it_is_hashed_is_not_recorded_as_right() {
    const SIZE: usize = 96 << 20;
    let machine = Machine::new([one_file(SIZE)]);
    machine.hfget("org/one").ends_with(0);
    let path = blob(&machine, "models--org--one", "model.safetensors");
    let mut other = std::fs::read(&path).unwrap();
    other[SIZE] ^= 1;
    let mut child = machine.command();
    let mut whole = Command::new(child.get_program());
    machine.environment(&mut whole);
    child = whole;
    let child = child.args(["verify", "org/one"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    stop_at(child.id(), &path);
    exchange(&path, &other);
    assert!(Command::new("kill").args(["-CONT", &child.id().to_string()]).status().unwrap().success());
    let run: Run = child.wait_with_output().unwrap().into();
    run.is(1, "failed").says("checksum-mismatch");
    machine.hfget("org/one").is(0, "verified");
    assert!(std::fs::read(&path).unwrap() == one_file(SIZE).content("model.safetensors").unwrap());
}

#[test]
fn a_file_that_is_exchanged_while_others_arrive_is_not_called_verified() {
    let options = Options { rate: Some(1 << 20), ..Options::default() };
    let repo = one_file(3 << 20).file("config.json", r#"{"top_k":1}"#);
    let machine = Machine::on(Hub::with(options, [repo.clone()]));
    let child = machine
        .command()
        .args(["org/one", "--stall-timeout", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let blobs = machine.model("org/one").join("blobs");
    let started = Instant::now();
    let first = loop {
        assert!(started.elapsed() < Duration::from_mins(1), "no file arrives");
        let all = std::fs::read_dir(&blobs).into_iter().flatten().flatten();
        if let Some(path) = all.map(|f| f.path()).find(|p| std::fs::read(p).is_ok_and(|c| c == br#"{"top_k":1}"#)) {
            break path;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // The weights are being fetched now; the files that were here have been checked.
    std::thread::sleep(Duration::from_millis(500));
    exchange(&first, br#"{"top_k":2}"#);
    let run: Run = child.wait_with_output().unwrap().into();
    if run.code == Some(0) {
        machine.assert_nothing_wrong(&repo);
    } else {
        run.is(1, "failed").says("checksum-mismatch").says("config.json");
    }
}

/// A file that was only touched costs a hash, and no alarm.
#[test]
fn no_false_alarm_over_files_that_were_only_touched() {
    for change in [touch, |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }] {
        let machine = Machine::new([model()]);
        machine.hfget(ID).ends_with(0);
        change(&blob(&machine, "models--org--m", FIRST));
        let before = machine.byte_requests();
        machine.hfget(ID).is(0, "verified");
        machine.hfget("verify org/m").is(0, "verified");
        machine.hfget(ID).is(0, "verified").says("already verified");
        assert_eq!(machine.byte_requests(), before);
    }
    // A replacement with the same bytes.
    let machine = Machine::new([model()]);
    machine.hfget(ID).ends_with(0);
    exchange(&blob(&machine, "models--org--m", FIRST), &safetensors("a", 100));
    machine.hfget("org/m --offline").is(0, "verified");
}
