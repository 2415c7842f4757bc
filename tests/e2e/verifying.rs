//! `hfget verify`: problems of files that are already here.

use std::path::{Path, PathBuf};

use hfget_loopback_hub::Repo;

use super::support::{CHATGLM, Machine, Run, codes, fixture, fixture_dir, safetensors};

/// A copy of a miniature in a plain folder.
fn folder(machine: &Machine, id: &str) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for item in std::fs::read_dir(from).unwrap() {
            let item = item.unwrap();
            let target = to.join(item.file_name());
            if item.path().is_dir() { copy(&item.path(), &target) } else { drop(std::fs::copy(item.path(), target)) }
        }
    }
    let to = machine.home.path().join("model");
    copy(&fixture_dir(id), &to);
    to
}

#[test]
fn a_folder_from_anywhere_is_checked_without_a_hub() {
    for id in [CHATGLM, "org/tied-gpt2", "org/tiny-sdxl", "org/tiny-minilm", "org/tiny-lora", "org/bin-only"] {
        let machine = Machine::new([]);
        folder(&machine, id);
        machine.hfget("verify ./model --offline").ends_with(1).says("result=contents-only").says("digests-unknown");
        machine.hfget("verify ./model --offline --allow digests-unknown").ends_with(0).says("contents checked");
        assert_eq!(machine.hub.requests(), [], "{id}");
    }
}

/// As an interrupted run leaves it: the Hub's listing is not kept yet.
#[test]
fn a_shard_that_is_missing_without_a_listing_says_how_to_fetch_it() {
    let machine = Machine::new([fixture(CHATGLM)]);
    let snapshot = machine.hfget(CHATGLM).ends_with(0).path();
    std::fs::remove_dir_all(machine.model(CHATGLM).join(".hfget")).unwrap();
    let shard = snapshot.join("model-00002-of-00007.safetensors");
    std::fs::remove_file(shard.canonicalize().unwrap()).unwrap();
    std::fs::remove_file(shard).unwrap();
    let run = machine.hfget(&format!("verify {CHATGLM} --offline")).ends_with(1).says("error[shard-missing]");
    assert!(run.err.contains(&format!("run `hfget {CHATGLM}`")), "{}", run.err);
    // "verified" in a list is not about the whole snapshot.
    let list = || Run::from(machine.bare().arg("list").output().unwrap()).ends_with(0);
    list().shows("not verified; incomplete: 1 of 7 shards are missing");
    machine.hfget(CHATGLM).ends_with(0);
    machine.hfget(&format!("verify {CHATGLM} --offline")).ends_with(0);
    std::fs::remove_file(snapshot.join("model-00003-of-00007.safetensors")).unwrap();
    list().shows("the present files are verified; incomplete: 1 of 7 shards are missing");
}

/// Each defect of a folder has its code, and sets the exit code.
#[test]
fn defects_have_names() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 6] = [
        ("shard-missing", |dir| std::fs::remove_file(dir.join("model-00002-of-00007.safetensors")).unwrap()),
        ("header-invalid", |dir| std::fs::write(dir.join("model-00002-of-00007.safetensors"), [0xff; 64]).unwrap()),
        ("tensor-missing", |dir| {
            std::fs::write(dir.join("model-00002-of-00007.safetensors"), safetensors("other", 8)).unwrap();
        }),
        ("tensor-out-of-bounds", |dir| {
            let path = dir.join("model-00002-of-00007.safetensors");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        }),
        ("tensor-misplaced", |dir| {
            let (a, b) = (dir.join("model-00002-of-00007.safetensors"), dir.join("model-00003-of-00007.safetensors"));
            let (x, y) = (std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
            std::fs::write(a, y).unwrap();
            std::fs::write(b, x).unwrap();
        }),
        ("index-invalid", |dir| std::fs::write(dir.join("model.safetensors.index.json"), "{").unwrap()),
    ];
    for (code, damage) in cases {
        let machine = Machine::new([]);
        damage(&folder(&machine, CHATGLM));
        let run = machine.hfget("verify ./model --offline --prefer safetensors --json");
        assert_eq!(run.code, Some(1), "{code}: {}", run.err);
        let json = run.json();
        assert!(codes(&json["reports"][0]).contains(&code), "{code}: {json:#}");
    }
}

/// A git pointer instead of the content is distinguished from damage.
#[test]
fn a_clone_without_git_lfs_is_recognised() {
    let machine =
        Machine::new([Repo::new("org/one").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 999))]);
    let dir = machine.run(["org/one", "--local-dir", "here"]).ends_with(0).path();
    std::fs::write(
        dir.join("model.safetensors"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 999\n",
    )
    .unwrap();
    machine.hfget("verify ./here").ends_with(1).says("lfs-pointer");
}

/// With the Hub's listing every byte is checked, and an extra file is reported.
#[test]
fn a_plain_folder_is_compared_with_its_commit() {
    let machine = Machine::new([fixture(CHATGLM)]);
    let dir = machine.run([CHATGLM, "--local-dir", "here"]).ends_with(0).path();
    std::fs::write(dir.join("config.json"), std::fs::read_to_string(dir.join("config.json")).unwrap() + " ").unwrap();
    machine.hfget("verify ./here").ends_with(1).says("config.json").says("size-mismatch");
    machine.run([CHATGLM, "--local-dir", "here"]).ends_with(1).says("local-changes");
    machine.run([CHATGLM, "--local-dir", "here", "--force"]).ends_with(0);
    machine.hfget("verify ./here").ends_with(0);
}

#[test]
fn nothing_to_verify_is_reported() {
    let machine = Machine::new([]);
    machine.hfget("verify org/none --offline").ends_with(3);
    machine.hfget("verify ./nowhere").ends_with(3);
}

/// Opening a pipe would wait for its other end, which never comes.
#[test]
fn a_pipe_in_place_of_a_file_is_named_and_not_waited_for() {
    let machine = Machine::new([]);
    let dir = folder(&machine, CHATGLM);
    for name in ["config.json", "model-00002-of-00007.safetensors"] {
        std::fs::remove_file(dir.join(name)).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, dir.join(name), mode).unwrap();
    }
    let run = machine.hfget("verify ./model --offline --prefer safetensors").ends_with(1);
    run.says("config.json: it is not a file").says("model-00002-of-00007.safetensors: it is not a file");
}
