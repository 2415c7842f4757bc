//! Image layouts on disk (`--to oci:`, `--to oci-archive:`) under planted links, with other runs at the same time, where
//! locks have no effect, and after a power cut. Tests of a layout's content are in `oci`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Hub, Options, Repo};

use super::odd_disks::{Disk, KINDS, instead};
use super::support::{Machine, Run, one_file, tree};

const LINE: &str = "org/one --all --to oci:layout";

fn repo() -> Repo {
    one_file(20_000).file("sub/tokenizer.json", "{}")
}

fn layout(machine: &Machine) -> PathBuf {
    machine.home.path().join("layout")
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Starts a run beside the test.
fn begin(machine: &Machine, line: &str, library: Option<&Path>) -> Child {
    let mut command = machine.command();
    command.args(line.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    command.spawn().unwrap()
}

fn end(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// Another user plants a link where a folder of the layout was: to an empty folder, and to one with the same content.
#[test]
fn a_link_in_the_place_of_any_folder_of_a_layout_is_refused() {
    let machine = Machine::new([repo()]);
    machine.hfget(LINE).ends_with(0);
    let (root, clean) = (layout(&machine), machine.home.path().join("clean"));
    std::fs::rename(&root, &clean).unwrap();
    for below in ["blobs", "blobs/sha256"] {
        for same in [false, true] {
            copy(&clean, &root);
            let (at, outside) = (root.join(below), machine.home.path().join("outside"));
            if same {
                std::fs::rename(&at, &outside).unwrap();
            } else {
                std::fs::remove_dir_all(&at).unwrap();
                std::fs::create_dir(&outside).unwrap();
            }
            symlink(&outside, &at).unwrap();
            let before = tree(&outside);
            for line in [LINE, "org/one --all --force --to oci:layout", "verify oci:layout"] {
                let run = machine.hfget(line);
                let what = format!("{line} {below} {same}:\n{}", run.err);
                assert!(run.code == Some(5) && run.err.contains("is a symbolic link"), "{what}");
                assert_eq!(tree(&outside), before, "{what}");
            }
            std::fs::remove_dir_all(&outside).unwrap();
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
    // The same for the small files beside the blobs. The one that only marks a layout is replaced.
    copy(&clean, &root);
    let outside = machine.home.path().join("precious");
    for (name, code) in [("index.json", 5), ("oci-layout", 0)] {
        std::fs::write(&outside, "precious").unwrap();
        std::fs::remove_file(root.join(name)).unwrap();
        symlink(&outside, root.join(name)).unwrap();
        machine.hfget("org/one --all --force --to oci:layout").ends_with(code);
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious", "{name}");
        std::fs::remove_file(root.join(name)).unwrap();
        std::fs::copy(clean.join(name), root.join(name)).unwrap();
    }
    // The honest twins: the layout itself, and one whose own path has a link.
    machine.hfget("verify oci:layout").ends_with(0);
    symlink(&root, machine.home.path().join("elsewhere")).unwrap();
    machine.hfget("org/one --all --to oci:elsewhere").ends_with(0);
    machine.hfget("verify oci:elsewhere").ends_with(0);
}

/// The same folders are replaced by links and restored, as fast as possible, during runs.
#[test]
fn folders_of_a_layout_that_are_swapped_for_links_during_a_run_lead_nowhere() {
    let machine = Machine::new([repo()]);
    machine.hfget(LINE).ends_with(0);
    for below in ["blobs", "blobs/sha256"] {
        let (at, outside) = (layout(&machine).join(below), machine.home.path().join("outside"));
        let aside = machine.home.path().join("aside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "precious").unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // The run may have made another folder there meanwhile.
                    if std::fs::rename(&at, &aside).is_ok() {
                        let _ = symlink(&outside, &at);
                        std::thread::sleep(Duration::from_micros(300));
                        let _ = std::fs::remove_file(&at);
                        while std::fs::rename(&aside, &at).is_err() {
                            let _ = std::fs::remove_dir_all(&at);
                        }
                    }
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
            for _ in 0..8 {
                machine.hfget("org/one --all --force --to oci:layout");
            }
            over.store(true, Ordering::Relaxed);
        });
        let found: Vec<String> = tree(&outside).into_keys().collect();
        assert_eq!(found, ["precious"], "{below}");
        std::fs::remove_dir_all(&outside).unwrap();
    }
    machine.hfget("org/one --all --force --to oci:layout").ends_with(0);
    machine.hfget("verify oci:layout").ends_with(0);
}

/// A slow run does not undo another run's changes to the same layout.
#[test]
fn two_runs_at_once_are_both_in_the_index_of_a_layout() {
    let quick = Repo::new("org/quick").file("config.json", "{}").file("README.md", "x");
    let options = Options { rate: Some(10 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(24 << 20), quick]));
    let slow = begin(&machine, "org/one --to oci:layout:one", None);
    let began = Instant::now();
    while machine.hub.bytes_sent() < 4 << 20 {
        assert!(began.elapsed() < Duration::from_mins(1), "no byte came");
        std::thread::sleep(Duration::from_millis(5));
    }
    machine.hfget("org/quick --all --to oci:layout:quick").ends_with(0);
    machine.hfget("verify oci:layout:quick").ends_with(0).says("verified");
    end(slow).ends_with(0);
    for tag in ["one", "quick"] {
        machine.hfget(&format!("verify oci:layout:{tag}")).ends_with(0).says("verified");
    }
}

/// Whatever a file system answers to a request for a lock: runs at the same time all succeed, and so does the next one.
#[test]
fn layouts_are_written_by_several_runs_at_once_where_locks_do_not_work() {
    let options = Options { rate: Some(30 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(12 << 20)]));
    for (n, answer) in ["0", "ENOSYS", "ENOLCK"].iter().enumerate() {
        let fails = if *answer == "0" { "return 0;".to_owned() } else { format!("errno = {answer}; return -1;") };
        let code = format!("#include <errno.h>\nint flock(int fd, int how) {{ (void)fd; (void)how; {fails} }}\n");
        let library = instead(&machine, &format!("lock{n}"), &code);
        for place in ["oci:layout", "oci-archive:one.tar"] {
            let line = format!("org/one --to {place}");
            let runs: Vec<Child> = (0..3)
                .map(|_| {
                    std::thread::sleep(Duration::from_millis(60));
                    begin(&machine, &line, Some(&library))
                })
                .collect();
            for run in runs {
                let run = end(run);
                assert_eq!(run.code, Some(0), "{answer} {place}: {}", run.err);
            }
            machine.hfget(&format!("verify {place}")).ends_with(0).says("verified");
            machine.hfget(&line).ends_with(0);
        }
        std::fs::remove_dir_all(layout(&machine)).unwrap();
        std::fs::remove_file(machine.home.path().join("one.tar")).unwrap();
    }
}

/// The name alone does not make a file a leftover of hfget's.
#[test]
fn what_only_has_the_name_of_a_leftover_of_an_archive_stays() {
    let machine = Machine::new([repo()]);
    let own = [".one.tar.notes.part", ".one.tar.Ab3dEf.part"].map(|name| machine.home.path().join(name));
    for path in &own {
        std::fs::write(path, "mine").unwrap();
    }
    machine.hfget("org/one --to oci-archive:one.tar").ends_with(0);
    for path in &own {
        assert_eq!(std::fs::read_to_string(path).ok().as_deref(), Some("mine"), "{}", path.display());
    }
}

/// After a power cut directly after exit code 0, the layout is there, and is right.
#[test]
fn what_exit_0_promises_of_a_layout_is_there_after_a_power_cut() {
    for (kind, ..) in KINDS {
        for place in ["oci:", "oci-archive:"] {
            let machine = Machine::new([one_file(3 << 20)]);
            let Some(disk) = Disk::of(kind, &machine, "disk", 64) else { continue };
            let at = |disk: &Disk| format!("{place}{}", disk.at.join("new/folder/layout").display());
            machine.hfget(&format!("org/one --to {}", at(&disk))).ends_with(0);
            let after = disk.cut(&machine, "after", || {});
            machine.hfget(&format!("verify {}", at(&after))).ends_with(0).says("verified");
        }
    }
}

/// Files of a killed run must not block the next one.
#[test]
fn a_layout_is_begun_again_in_the_space_that_a_killed_run_has_taken() {
    const SIZE: usize = 24 << 20;
    for place in ["oci:", "oci-archive:"] {
        let options = Options { rate: Some(20 << 20), ..Options::default() };
        let machine = Machine::on(Hub::with(options, [one_file(SIZE)]));
        let Some(disk) = Disk::new(&machine, "disk", 40) else { return };
        let line = format!("org/one --to {place}{}", disk.at.join("layout").display());
        let mut child = begin(&machine, &line, None);
        let began = Instant::now();
        while machine.hub.bytes_sent() < SIZE as u64 * 3 / 4 {
            assert!(began.elapsed() < Duration::from_mins(1), "no bytes come");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        machine.hfget(&line).ends_with(0).says("verified");
        // The twin: an image that does not fit is not begun, unless the user says so.
        let other = Repo::new("org/two").file("config.json", "{}").lfs("model.safetensors", vec![1; 30 << 20]);
        machine.hub.replace(other);
        let line = line.replace("org/one", "org/two").replace("layout", "another");
        machine.hfget(&line).ends_with(5).says("are free").says("--no-space-check");
        machine.hfget(&format!("{line} --no-space-check")).ends_with(5).says("No space left");
    }
}

/// An outage of the Hub in the middle costs its time, and no byte that had come.
#[test]
fn an_outage_of_the_hub_in_the_middle_of_a_layout_is_outlasted() {
    const SIZE: usize = 24 << 20;
    for place in ["oci:layout", "oci-archive:one.tar"] {
        let options = Options { rate: Some(8 << 20), ..Options::default() };
        let machine = Machine::on(Hub::with(options, [one_file(SIZE)]));
        let mut command = machine.bare();
        command
            .args(["org/one", "--retry-base-ms", "100", "--to", place])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let began = Instant::now();
        while machine.hub.bytes_sent() < 6 << 20 {
            assert!(began.elapsed() < Duration::from_mins(1), "no bytes come");
            std::thread::sleep(Duration::from_millis(5));
        }
        machine.hub.down(true);
        std::thread::sleep(Duration::from_secs(3));
        machine.hub.down(false);
        end(child).ends_with(0).says("verified");
        let sent = machine.hub.bytes_sent();
        assert!(sent < SIZE as u64 + (8 << 20), "{sent} bytes of {SIZE}");
    }
}

/// What the cache of this machine has is not fetched again, and a wrong byte of it never gets there.
#[test]
fn layouts_are_filled_from_the_cache() {
    for place in ["oci:layout", "oci-archive:one.tar"] {
        for wrong in [false, true] {
            let machine = Machine::new([one_file(9 << 20)]);
            let blob = machine.hfget("org/one").ends_with(0).path().join("model.safetensors").canonicalize().unwrap();
            if wrong {
                let mut bytes = std::fs::read(&blob).unwrap();
                bytes[5 << 20] ^= 1;
                std::fs::write(&blob, bytes).unwrap();
            }
            machine.hub.forget();
            machine.hfget(&format!("org/one --to {place}")).ends_with(0).says("verified");
            let asked = machine.hub.requests().iter().filter(|r| r.path.ends_with("model.safetensors")).count();
            assert_eq!(asked > 0, wrong, "{place}: {:?}", machine.hub.requests());
            machine.hfget(&format!("verify {place}")).ends_with(0).says("verified");
        }
    }
}
