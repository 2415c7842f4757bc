//! Lockfiles: made on one Hub, fetched from another, verified without any, and reported as old when
//! the repo moves.

use hfget_loopback_hub::{Fault, Hub, Kind, Place, Repo};

use super::job::SELECTED;
use super::support::{CHATGLM, Machine, fixture, safetensors};

fn model(weights: usize) -> Repo {
    Repo::new("org/one")
        .file("config.json", "{}")
        .file("notes.txt", "not for loaders")
        .lfs("model.safetensors", safetensors("w", weights))
}

impl Machine {
    fn lockfile(&self) -> String {
        std::fs::read_to_string(self.home.path().join("hfget.lock")).expect("a lockfile")
    }
}

#[test]
fn locked_files_are_fetched_from_any_server_and_checked_without_a_hub() {
    let machine = Machine::new([fixture(CHATGLM)]);
    let run = machine.hfget(&format!("lock {CHATGLM} --prefer safetensors")).ends_with(0);
    assert_eq!(run.out.trim_end(), "hfget.lock");
    let lock = machine.lockfile();
    assert!(lock.starts_with("# Made by `hfget lock`."), "{lock}");
    assert!(lock.contains("select = { prefer = \"safetensors\" }"), "{lock}");
    assert_eq!(lock.lines().filter(|l| l.contains("path = ")).count(), SELECTED.len(), "{lock}");
    assert!(machine.visible(CHATGLM).is_empty(), "nothing was fetched");

    // Another Hub, which is asked only for the bytes.
    let mirror = Hub::start([fixture(CHATGLM)]);
    let endpoint = mirror.endpoint().clone();
    let run = machine.hfget(&format!("--locked --endpoint {endpoint}")).ends_with(0).says("verified");
    Machine::assert_whole(&run.path(), &fixture(CHATGLM), &SELECTED);
    assert!(mirror.requests().iter().all(|r| !r.path.starts_with("/api/models/")), "{:?}", mirror.requests());
    machine.hub.forget();
    machine.hfget("verify --lock hfget.lock").ends_with(0).says("verified");
    machine.hfget(&format!("verify --lock hfget.lock {CHATGLM}")).ends_with(0);
    machine.hfget(&format!("--locked --local-dir here --endpoint {endpoint}")).ends_with(0);
    machine.hfget("verify --lock hfget.lock ./here").ends_with(0).says("200 tensors");
    assert_eq!(machine.hub.requests(), []);
    // The ref moved, as in any other run.
    assert!(machine.model(CHATGLM).join("refs/main").exists());
}

#[test]
fn a_file_that_differs_from_the_lock_is_named() {
    let machine = Machine::new([model(64)]);
    machine.hfget("lock org/one").ends_with(0);
    machine.hfget("verify --lock hfget.lock").ends_with(3).says("run `hfget --locked`");
    machine.hfget("--locked --local-dir here").ends_with(0);
    let here = machine.home.path().join("here");
    let weights = here.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    machine.hfget("verify --lock hfget.lock ./here").ends_with(1).says("checksum-mismatch");
    std::fs::remove_file(&weights).unwrap();
    machine.hfget("verify --lock hfget.lock ./here").ends_with(1).says("file-missing");
    // The user may want to keep the changed file.
    std::fs::write(&weights, &bytes).unwrap();
    machine.hfget("--locked --local-dir here").ends_with(1).says("local-changes");
    machine.hfget("--locked --local-dir here --force").ends_with(0);
    std::fs::write(here.join("more.bin"), "x").unwrap();
    let run = machine.hfget("verify --lock hfget.lock ./here").ends_with(0).says("file-extra");
    // The repo may have it: only the lockfile was asked.
    assert!(run.err.contains("the lockfile does not name it") && !run.err.contains("in the repo"), "{}", run.err);
}

#[test]
fn a_repo_that_moved_is_reported_and_locked_again_on_request() {
    let machine = Machine::new([model(64)]);
    machine.hfget("lock org/one --only safetensors").ends_with(0);
    machine.hfget("lock --check").ends_with(0).says("as locked");
    let before = machine.lockfile();
    machine.hub.replace(model(128).file("tokenizer.json", "{}"));
    let run = machine.hfget("lock --check").ends_with(1);
    assert!(run.err.contains("~ model.safetensors") && run.err.contains("+ tokenizer.json"), "{}", run.err);
    let json = machine.hfget("lock --check --json").ends_with(1).json();
    assert_eq!((&json["locks"][0]["moved"], json["locks"][0]["changes"].as_array().unwrap().len()), (&true.into(), 2));
    assert_eq!(machine.lockfile(), before, "a check changes nothing");
    machine.hfget("lock --update").ends_with(0);
    assert!(machine.lockfile().contains("select = { only = \"safetensors\" }"));
    machine.hfget("lock --check").ends_with(0);
    machine.hfget("--locked").ends_with(0);
    // If one of several repos is not available, nothing is written.
    let now = machine.lockfile();
    machine.hfget("lock org/one org/none").ends_with(3).says("was not changed");
    assert_eq!(machine.lockfile(), now);
}

#[test]
fn the_lock_decides_and_not_the_server() {
    let machine = Machine::new([model(6 << 20)]);
    machine.hfget("lock org/one").ends_with(0);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(5 << 20)));
    machine.hfget("--locked").ends_with(1).says("checksum-mismatch");
    machine.assert_nothing_wrong(&model(6 << 20));
    machine.hub.heal();
    machine.hfget("--locked org/one").ends_with(0);
    // A lockfile is not a listing of the repo: files outside it can still be fetched.
    let run = machine.hfget("org/one --all").ends_with(0);
    assert!(run.path().join("notes.txt").exists());
}

#[test]
fn flags_that_contradict_a_lock_are_refused() {
    let machine = Machine::new([model(64)]);
    machine.hfget("--locked").ends_with(2).says("hfget lock REPO");
    machine.hfget("lock org/one").ends_with(0);
    machine.hfget("--locked --only bin").ends_with(2).says("selection flags");
    machine.hfget("--locked org/two").ends_with(2).says("is not in hfget.lock");
    machine.hfget("--locked org/one@v2").ends_with(2).says("has org/one of main");
    machine.hfget("lock").ends_with(2);
    let path = machine.home.path().join("hfget.lock");
    let text = machine.lockfile();
    std::fs::write(&path, text.replace("version = 1", "version = 7")).unwrap();
    for line in ["--locked", "verify --lock hfget.lock", "lock --check", "lock org/one"] {
        machine.hfget(line).ends_with(2).says("it is of version 7");
    }
    std::fs::write(&path, text.replace("path = \"config.json\"", "path = \"../../config.json\"")).unwrap();
    machine.hfget("--locked").ends_with(2).says("../../config.json");
}

#[test]
fn a_plan_of_locked_files_shows_what_would_be_fetched() {
    let machine = Machine::new([model(64)]);
    machine.hfget("lock org/one").ends_with(0);
    machine.hfget("plan --locked=hfget.lock").ends_with(0).shows("model.safetensors").shows("2 files");
}
