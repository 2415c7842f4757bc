//! Links that another user of the machine planted in a cache or folder, or replaces folders with during a run:
//! nothing is read, written or removed through them. Also names that are special only on some file systems.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hfget_loopback_hub::Repo;

use super::resume::{SIZE, half_way, partial, slow};
use super::support::{Machine, one_file, safetensors, tree};

fn repo() -> Repo {
    one_file(20_000).file("sub/tokenizer.json", "{}")
}

/// Every folder below `root`, outer ones first.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        for item in std::fs::read_dir(root.join(&below)).unwrap().flatten() {
            if item.file_type().unwrap().is_dir() {
                let path = below.join(item.file_name());
                found.push(path.clone());
                left.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The destinations, each with its flags and its folder.
fn places(machine: &Machine) -> [(&'static str, PathBuf); 2] {
    [("", machine.cache()), (" --local-dir here", machine.home.path().join("here"))]
}

/// Replaces each folder of a clean run's tree by a link in turn: to an empty folder, and to one with the same content.
#[test]
fn a_link_in_the_place_of_any_folder_of_a_clean_run_is_refused() {
    for place in 0..2 {
        let machine = Machine::new([repo()]);
        let (flags, root) = places(&machine)[place].clone();
        machine.hfget(&format!("org/one --all{flags}")).ends_with(0);
        let all = folders(&root);
        assert!(all.len() > 8, "{all:?}");
        let clean = machine.home.path().join("clean");
        std::fs::rename(&root, &clean).unwrap();
        for below in all {
            for same in [false, true] {
                copy(&clean, &root);
                let (at, outside) = (root.join(&below), machine.home.path().join("outside"));
                if same {
                    std::fs::rename(&at, &outside).unwrap();
                } else {
                    std::fs::remove_dir_all(&at).unwrap();
                    std::fs::create_dir(&outside).unwrap();
                }
                symlink(&outside, &at).unwrap();
                let before = tree(&outside);
                for line in ["org/one --all", "org/one --all --force"] {
                    let run = machine.hfget(&format!("{line}{flags}"));
                    let what = format!("{line}{flags} {} {same}:\n{}", below.display(), run.err);
                    // A run that does not need a folder does not read it.
                    let unused = run.code == Some(0) && !line.ends_with("--force");
                    assert!(unused || run.code == Some(5) && run.err.contains("is a symbolic link"), "{what}");
                    assert_eq!(tree(&outside), before, "{line}{flags} {} {same}", below.display());
                }
                std::fs::remove_dir_all(&outside).unwrap();
                std::fs::remove_dir_all(&root).unwrap();
            }
        }
        // The honest twin: the tree itself still works.
        copy(&clean, &root);
        machine.hfget(&format!("org/one --all{flags}")).ends_with(0);
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Replaces the same folders by links and restores them, as fast as possible, during runs.
#[test]
fn folders_that_are_swapped_for_links_during_a_run_lead_nowhere() {
    for place in 0..2 {
        let machine = Machine::new([repo()]);
        let (flags, root) = places(&machine)[place].clone();
        machine.hfget(&format!("org/one --all{flags}")).ends_with(0);
        let all = folders(&root);
        for below in all {
            let (at, outside) = (root.join(&below), machine.home.path().join("outside"));
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
                for _ in 0..3 {
                    machine.hfget(&format!("org/one --all --force{flags}"));
                }
                over.store(true, Ordering::Relaxed);
            });
            let found: Vec<String> = tree(&outside).into_keys().collect();
            assert_eq!(found, ["precious"], "{flags} {}", below.display());
            std::fs::remove_dir_all(&outside).unwrap();
        }
        machine.hfget(&format!("org/one --all{flags}")).ends_with(0);
        if flags.is_empty() {
            machine.assert_nothing_wrong(&repo());
        }
    }
}

/// The partial is also another file: the run continues in a new file.
#[test]
fn a_partial_with_a_second_name_is_not_written_to() {
    let machine = slow();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    let part = partial(&machine).unwrap();
    let victim = machine.home.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(&part).unwrap();
    std::fs::hard_link(&victim, &part).unwrap();
    machine.run(["org/one"]).ends_with(0);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    machine.assert_nothing_wrong(&one_file(SIZE));
}

/// The record is also another file: the run writes a new one.
#[test]
fn a_record_with_a_second_name_is_not_written_to() {
    let machine = Machine::new([one_file(64)]);
    machine.hfget("org/one").ends_with(0);
    let record = machine.model("org/one").join(".hfget/verified.jsonl");
    let victim = machine.home.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(&record).unwrap();
    std::fs::hard_link(&victim, &record).unwrap();
    machine.hfget("org/one --force").ends_with(0);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    machine.hfget("org/one").ends_with(0).says("already verified");
}

#[test]
fn an_unusable_name_that_is_not_selected_is_a_warning() {
    for name in ["../outside.json", "docs/.g\u{200c}it/config", "git~1/config"] {
        let machine = Machine::new([one_file(64).raw_entry(name, 3)]);
        machine.hfget("org/one").ends_with(0).says("warning[path-unsafe]");
        machine.hfget("org/one --all").ends_with(1).says("error[path-unsafe]").says("nothing was fetched");
        assert!(!machine.home.path().join("hf/outside.json").exists());
    }
    // All files of a dataset are selected.
    let data = Repo::new("org/data").kind("datasets").file("train.csv", "a").raw_entry("../x", 3);
    Machine::new([data]).hfget("datasets/org/data").ends_with(1).says("error[path-unsafe]");
}

/// ISO 639-3 has a language `aux` and one `con`.
#[test]
fn names_of_windows_devices_are_ordinary_here() {
    let data = || Repo::new("org/data").kind("datasets").file("aux.json", "{}").file("con/nul.txt", "x");
    for flags in ["", " --local-dir here"] {
        let run = Machine::new([data()]).hfget(&format!("datasets/org/data{flags}")).ends_with(0);
        assert!(!run.err.contains("path-unsafe"), "{}", run.err);
    }
}

/// The note about a file has a longer name than the file.
#[test]
fn names_as_long_as_a_file_system_takes_them_work_everywhere() {
    let mut data = Repo::new("org/data").kind("datasets");
    for length in 245..=255 {
        data = data.file(&format!("{}.csv", "n".repeat(length - 4)), format!("{length}"));
    }
    for flags in ["", " --local-dir here"] {
        let machine = Machine::new([data.clone()]);
        let path = machine.hfget(&format!("datasets/org/data{flags}")).ends_with(0).path();
        for name in data.paths() {
            assert_eq!(std::fs::read(path.join(name)).ok().as_deref(), data.content(name), "{}", name.len());
        }
        machine.hub.forget();
        machine.hfget(&format!("datasets/org/data{flags}")).ends_with(0).says("already verified");
        assert_eq!(machine.byte_requests(), 0);
        // The records know these files, so an update replaces them.
        let name = format!("{}.csv", "n".repeat(251));
        machine.hub.replace(data.clone().file(&name, "new"));
        let path = machine.hfget(&format!("datasets/org/data{flags}")).ends_with(0).path();
        assert_eq!(std::fs::read(path.join(&name)).unwrap(), b"new");
    }
}

#[test]
fn a_folder_with_the_name_of_a_note_is_reported_before_anything_is_fetched() {
    let data = || Repo::new("org/data").kind("datasets").file("a", "1").file("a.lock/b", "2").file("c.metadata/d", "3");
    let machine = Machine::new([data()]);
    machine.hfget("datasets/org/data --local-dir here").ends_with(1).says("path-unsafe").says("a.lock/b");
    assert_eq!(machine.byte_requests(), 0);
    // A cache has no such notes, and a file that is not taken needs none.
    machine.hfget("datasets/org/data").ends_with(0);
    machine.hfget("datasets/org/data --local-dir there --exclude a").ends_with(0);
}

/// Many connections and files take many descriptors: a low default limit must not make a run fail.
#[test]
fn few_descriptors_are_no_reason_to_fail() {
    let mut data = Repo::new("org/data").kind("datasets");
    for n in 0..120 {
        data = data.file(&format!("{n}.txt"), format!("{n}"));
    }
    for limits in ["ulimit -Sn 24", "ulimit -n 64"] {
        let machine = Machine::new([data.clone()]);
        for line in [
            "datasets/org/data --jobs 64",
            "verify datasets/org/data",
            "datasets/org/data --jobs 64 --local-dir here",
            "datasets/org/data --jobs 64 --to oci:layout",
            "verify oci:layout",
            "datasets/org/data --jobs 64 --to oci-archive:all.tar",
        ] {
            let mut command = std::process::Command::new("sh");
            machine.environment(&mut command);
            let script = format!("{limits}; exec \"$HFGET\" {line} --retry-for 10");
            let run: super::support::Run =
                command.args(["-c", &script]).env("HFGET", super::support::binary()).output().unwrap().into();
            assert_eq!(run.code, Some(0), "{limits} {line}: {}", run.err);
        }
    }
}

/// Equal files are fetched once, and no file waits for another's lock.
#[test]
fn equal_files_of_a_repo_are_fetched_once() {
    let bytes = safetensors("w", 5000);
    let mut data = Repo::new("org/data").kind("datasets");
    for n in 0..60u8 {
        data = data.lfs(&format!("a/{n}.bin"), bytes.clone()).lfs(&format!("b/{n}.bin"), [n; 100]);
        data = data.lfs(&format!("c/{n}.bin"), [n; 100]);
    }
    for flags in ["", " --local-dir here"] {
        let machine = Machine::new([data.clone()]);
        let run = machine.hfget(&format!("datasets/org/data{flags}")).ends_with(0);
        assert!(!run.err.contains("another process"), "{}", run.err);
        let asked: std::collections::BTreeSet<String> = machine
            .hub
            .requests()
            .into_iter()
            .filter(|r| r.method == "GET" && r.path.contains("/resolve/"))
            .map(|r| r.path)
            .collect();
        assert_eq!(asked.len(), 61, "{flags}: {asked:?}");
        let path = run.path();
        for name in data.paths() {
            assert_eq!(std::fs::read(path.join(name)).ok().as_deref(), data.content(name), "{name}");
        }
        assert!(run.err.contains("180 files"), "{}", run.err);
    }
}
