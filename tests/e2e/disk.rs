//! Disks that are full or read-only or cannot read, and files in the way.

use std::process::{Command, Stdio};

use super::own_files::reads_fail;
use super::support::{Machine, Run, one_file, tree};

const BIG: usize = 3 << 20;

/// Runs a script as root of a namespace of its own, where it may mount; `None` if that is not allowed.
pub fn in_namespace(machine: &Machine, script: &str) -> Option<Run> {
    let allowed = Command::new("unshare")
        .args(["-rm", "sh", "-c", "mount -t tmpfs -o size=64k x /mnt"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !allowed {
        eprintln!("skipped: this machine does not let us mount (unshare -rm)");
        return None;
    }
    let mut command = Command::new("unshare");
    machine.environment(&mut command);
    command.args(["-rm", "sh", "-c", script]).env("HFGET", env!("CARGO_BIN_EXE_hfget"));
    Some(command.output().expect("a namespace").into())
}

/// A repo that is too large for the disk is not started.
#[test]
fn a_disk_that_is_too_small_is_noticed_before_the_first_byte() {
    let machine = Machine::new([one_file(BIG)]);
    let script = "mount -t tmpfs -o size=2m x /mnt && exec \"$HFGET\" org/one --cache-dir /mnt/hub";
    let Some(run) = in_namespace(&machine, script) else { return };
    run.ends_with(5).says("3.15 MB are to be fetched").says("free").says("/mnt/hub");
    let weights = machine.hub.requests().into_iter().filter(|r| r.path.contains("model.safetensors")).count();
    assert_eq!(weights, 0);
}

/// A file system that counts no blocks (`statfs` gives zeros) is not full: its free space is unknown.
#[test]
fn a_disk_that_does_not_know_its_free_space_is_used() {
    let machine = Machine::new([one_file(BIG)]);
    for options in ["size=0,nr_inodes=0", "size=0"] {
        let script = format!(
            "mount -t tmpfs -o {options} x /mnt && stat -f -c 'blocks: %b' /mnt >&2 && \
             exec \"$HFGET\" org/one --cache-dir /mnt/hub"
        );
        let Some(run) = in_namespace(&machine, &script) else { return };
        let run = run.ends_with(0).says("blocks: 0").says("verified");
        assert!(!run.err.contains("free"), "{}", run.err);
    }
}

/// A write that fails in the middle (here by a limit on the file's size) is a local error. The
/// bytes that arrived are kept, and a run with enough space continues from there.
#[test]
fn a_disk_that_fills_up_is_reported_and_nothing_is_lost() {
    let machine = Machine::new([one_file(BIG)]);
    let mut command = Command::new("sh");
    machine.environment(&mut command);
    // 2048 blocks of 512 bytes: 1 MiB. Without the trap the kernel would kill the process.
    command.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$HFGET\" org/one"]);
    let run: Run = command.env("HFGET", env!("CARGO_BIN_EXE_hfget")).output().unwrap().into();
    run.ends_with(5).says("cannot").says("free some space");
    machine.assert_nothing_wrong(&one_file(BIG));
    assert!(!machine.model("org/one").join("refs/main").exists());
    machine.hub.forget();
    machine.run(["org/one"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(BIG));
    let ranges: Vec<_> = machine.hub.requests().into_iter().filter_map(|r| r.range).collect();
    assert!(!ranges.is_empty(), "the second run continues after the bytes that had arrived");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let machine = Machine::new([one_file(64)]);
    let run = machine.run(["org/one", "--cache-dir", "/sys/hfget"]).ends_with(5).says("/sys/hfget");
    assert_eq!(run.out, "");
    std::fs::write(machine.home.path().join("file"), "x").unwrap();
    machine.run(["org/one", "--cache-dir", "file/hub"]).ends_with(5).says("file");
    machine.run(["org/one", "--local-dir", "file"]).ends_with(5).says("file");
    assert_eq!(std::fs::read(machine.home.path().join("file")).unwrap(), b"x");
}

/// A read-only cache with all files works as any other.
#[test]
fn a_read_only_cache_serves_its_files() {
    let machine = Machine::new([one_file(64)]);
    machine.run(["org/one"]).ends_with(0);
    let read_only = |command: &str| {
        let root = machine.home.path().join("hf");
        let root = root.display();
        format!("mount --bind {root} {root} && mount -o remount,ro,bind {root} && {command}")
    };
    let before = tree(machine.home.path());
    let Some(run) = in_namespace(&machine, &read_only("exec \"$HFGET\" org/one")) else { return };
    run.ends_with(0).says("already verified");
    in_namespace(&machine, &read_only("exec \"$HFGET\" verify org/one")).unwrap().ends_with(0);
    in_namespace(&machine, &read_only("exec \"$HFGET\" verify --offline org/one")).unwrap().ends_with(0);
    assert_eq!(tree(machine.home.path()), before);
    // A file that it lacks is not available.
    machine.hub.replace(one_file(128));
    in_namespace(&machine, &read_only("exec \"$HFGET\" org/one")).unwrap().ends_with(5).says("read-only");
}

/// A user's folder in the place of a file is not removed: the run ends with a local error.
#[test]
fn a_folder_in_the_place_of_a_file_is_left_alone() {
    let machine = Machine::new([one_file(64)]);
    std::fs::create_dir_all(machine.home.path().join("here/model.safetensors/mine")).unwrap();
    machine.run(["org/one", "--local-dir", "here"]).ends_with(5).says("model.safetensors").says("in the way");
    assert!(machine.home.path().join("here/model.safetensors/mine").is_dir());
}

/// The bytes are known to be right, but the disk does not let hfget read the bytes for the other checks. That says
/// nothing about the file: it is neither "wrong" nor "verified", and no later run takes it for an answer.
#[test]
fn contents_that_cannot_be_read_are_neither_wrong_nor_verified() {
    let repo = || one_file(5000).lfs("optimizer.dat", vec![1; 777]).file("tokenizer.json", "{ }");
    let weights = repo().content("model.safetensors").unwrap().len();
    for place in ["", " --local-dir here"] {
        let machine = Machine::new([repo()]);
        let with = |length: usize, line: &str| -> Run {
            let mut command = machine.command();
            command.env("LD_PRELOAD", reads_fail(&machine, length)).args(line.split_whitespace());
            command.output().unwrap().into()
        };
        // The fetch hashes the bytes in memory, and the header is read from the disk.
        let line = format!("org/one --all{place}");
        let run = with(weights, &line).ends_with(5).says("cannot read").says("Input/output error");
        assert!(!run.err.contains("header-invalid") && run.out.is_empty(), "{}", run.err);
        let sent = machine.hub.bytes_sent();
        machine.hfget(&line).ends_with(0);
        assert_eq!(machine.hub.bytes_sent(), sent, "the bytes were right");
        // The files are recorded, and only the contents are checked again: the search for pickles, and JSON.
        for length in [777, 3] {
            with(length, &format!("{line} --allow-unsafe-pickle")).ends_with(5).says("cannot read");
        }
        machine.hfget(&format!("{line} --allow-unsafe-pickle")).ends_with(0);
    }
}
