//! Another program takes files away, and puts them back, while hfget works on them. After a lost race hfget looks
//! again: a run succeeds, or it reports that another program was at work. It never prints "verified" for a wrong file,
//! and the first undisturbed run succeeds.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hfget_loopback_hub::Repo;

use super::own_files::reads_fail;
use super::support::{Machine, Run, one_file};

const ROUNDS: usize = 25;

/// Takes the files of folders away and puts them back, until it is dropped.
struct Taker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Taker {
    /// `aside` is a folder on the same file system.
    fn of(folders: Vec<PathBuf>, aside: PathBuf) -> Self {
        fs::create_dir_all(&aside).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut taken = 0;
            while !stopped.load(Ordering::Relaxed) {
                for folder in &folders {
                    taken += usize::from(take_and_put_back(folder, &aside));
                }
            }
            taken
        });
        Taker { stop, thread: Some(thread) }
    }

    /// How many times it took files away.
    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Takes the files away, and puts them back; `false` if there was nothing to take. New files in their place stay.
fn take_and_put_back(folder: &Path, aside: &Path) -> bool {
    let Ok(names) = fs::read_dir(folder) else { return false };
    let mut taken = false;
    for name in names.flatten().filter(|entry| !entry.file_name().to_string_lossy().contains("incomplete")) {
        let held = aside.join("held");
        if name.file_type().is_ok_and(|kind| kind.is_dir()) || fs::rename(name.path(), &held).is_err() {
            continue;
        }
        taken = true;
        std::thread::sleep(Duration::from_micros(700));
        let _ = fs::hard_link(&held, name.path());
        let _ = fs::remove_file(&held);
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..60)));
    }
    taken
}

/// Runs while files come and go, and then once undisturbed.
fn race(machine: &Machine, repo: &Repo, taken: Vec<PathBuf>, forget: Option<&Path>, arguments: &[&str]) {
    machine.run(arguments.iter().copied()).ends_with(0);
    let taker = Taker::of(taken, machine.home.path().join("aside"));
    let mut ends = [0; 256];
    for _ in 0..ROUNDS {
        if let Some(forget) = forget {
            let _ = fs::remove_dir_all(forget);
        }
        let run = machine.run(arguments.iter().copied());
        let code = run.code.unwrap_or(255);
        ends[usize::try_from(code).unwrap()] += 1;
        let told = ["error[file-missing]", "changed meanwhile"];
        assert!(code == 0 || told.iter().any(|word| run.err.contains(word)), "{code}: {}", run.err);
        assert!(!run.err.contains("panicked"), "{}", run.err);
    }
    assert!(taker.stop() > ROUNDS, "the race was run");
    assert!(ends[0] > 0, "some runs end well: {ends:?}");
    machine.assert_nothing_wrong(repo);
    let run = machine.run(arguments.iter().copied()).ends_with(0);
    for path in ["model.safetensors", "config.json"] {
        assert!(fs::read(run.path().join(path)).ok().as_deref() == repo.content(path), "{path}");
    }
}

fn repo() -> Repo {
    one_file(300_000)
}

#[test]
fn blobs_that_come_and_go_are_looked_at_again_or_fetched() {
    let (machine, repo) = (Machine::new([repo()]), repo());
    let blobs = machine.model("org/one").join("blobs");
    race(&machine, &repo, vec![blobs], None, &["org/one"]);
}

#[test]
fn blobs_of_another_tool_that_come_and_go_while_they_are_hashed_are_looked_at_again_or_fetched() {
    let (machine, repo) = (Machine::new([repo()]), repo());
    let blobs = machine.model("org/one").join("blobs");
    let records = machine.home.path().join("hf/hfget");
    race(&machine, &repo, vec![blobs], Some(&records), &["org/one"]);
}

#[test]
fn links_that_come_and_go_are_made_again() {
    let (machine, repo) = (Machine::new([repo()]), repo());
    let first = machine.run(["org/one"]).ends_with(0).path();
    race(&machine, &repo, vec![first], None, &["org/one"]);
}

#[test]
fn files_of_a_folder_that_come_and_go_are_looked_at_again_or_fetched() {
    let (machine, repo) = (Machine::new([repo()]), repo());
    let folder = machine.home.path().join("here");
    race(&machine, &repo, vec![folder], None, &["org/one", "--local-dir", "here"]);
}

/// Another tool has put the file there while this run waited for its lock, and the disk cannot read it: nothing is known
/// about it, so it is not replaced.
#[test]
fn what_another_tool_has_finished_meanwhile_and_cannot_be_read_stays() {
    let (machine, repo) = (Machine::new([repo()]), repo());
    let content = repo.content("model.safetensors").unwrap();
    let digest = repo.lfs_sha256("model.safetensors").unwrap();
    let locks = machine.cache().join(".locks/models--org--one");
    fs::create_dir_all(&locks).unwrap();
    let lock = fs::File::create(locks.join(format!("{digest}.lock"))).unwrap();
    lock.lock().unwrap();
    let library = reads_fail(&machine, content.len());
    let mut command = machine.command();
    command.env("LD_PRELOAD", library).arg("org/one").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // The other file is done when the run waits for this one.
    let began = Instant::now();
    while !machine.visible("org/one").keys().any(|name| name.ends_with("config.json")) {
        assert!(began.elapsed() < Duration::from_mins(1), "the run does not come to that");
        std::thread::sleep(Duration::from_millis(5));
    }
    let blob = machine.model("org/one").join("blobs").join(digest);
    fs::write(&blob, content).unwrap();
    let inode = fs::metadata(&blob).unwrap().ino();
    drop(lock);
    let run = Run::from(child.wait_with_output().unwrap()).ends_with(5);
    run.says("Input/output error");
    assert_eq!(fs::metadata(&blob).unwrap().ino(), inode, "it was replaced");
    machine.run(["org/one"]).ends_with(0);
}
