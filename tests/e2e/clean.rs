//! Partial files of runs that will not be finished: `clean` finds them, and removes them on request.

use std::process::Command;

use super::resume::{half_way, partial, slow};
use super::support::{Machine, Run};

fn clean(machine: &Machine, line: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    command.arg("clean").args(line.split_whitespace()).output().expect("the binary runs").into()
}

#[test]
fn leftovers_of_a_killed_run_are_listed_and_removed_on_request() {
    let machine = slow();
    clean(&machine, "").ends_with(0).says("no partial files");
    let mut child = half_way(&machine);
    // Another run works on it.
    let while_running = clean(&machine, "--remove").ends_with(0).says("another run works on it");
    assert!(while_running.out.contains("org/one  in use, kept"), "{}", while_running.out);
    child.kill().unwrap();
    child.wait().unwrap();

    let listed = clean(&machine, "").ends_with(0).says("1 partial file, ").says("--remove frees it");
    assert!(listed.out.contains("org/one"), "{}", listed.out);
    assert!(partial(&machine).is_some(), "listing removes nothing");
    assert_eq!(clean(&machine, "--remove --older-than 1h").ends_with(0).out, "");
    assert_eq!(clean(&machine, "--remove other/repo").ends_with(0).out, "");
    assert!(partial(&machine).is_some());

    let json = clean(&machine, "--json org/one").ends_with(0).json();
    assert!(json["partial_files"][0]["bytes"].as_u64().unwrap() > 0, "{json}");
    let removed = clean(&machine, "--remove").ends_with(0).says("removed 1 partial file").says("freed");
    assert!(removed.out.trim_end().ends_with("org/one  removed"), "{}", removed.out);
    assert_eq!(partial(&machine), None);
    machine.run(["org/one"]).ends_with(0);
}

#[test]
fn a_folder_has_leftovers_too() {
    let machine = slow();
    let dir = machine.home.path().join("here");
    let mut child = machine.command().args(["org/one", "--local-dir", "here"]).spawn().unwrap();
    while !std::fs::read_dir(dir.join(".cache/huggingface/hfget/partial")).is_ok_and(|mut files| files.next().is_some())
    {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    child.kill().unwrap();
    child.wait().unwrap();
    clean(&machine, "--local-dir here").ends_with(0).says("partial file");
    clean(&machine, "--local-dir here --remove").ends_with(0).says("freed");
    clean(&machine, "--local-dir here").ends_with(0).says("no partial files");
}
