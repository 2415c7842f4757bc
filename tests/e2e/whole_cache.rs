//! `hfget verify --all` and `--repair`: a cache that several programs filled, with wrong files, and with files that
//! only look wrong.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use hfget_loopback_hub::{Repo, sha256};

use super::interop::{python, script};
use super::support::{CHATGLM, Machine, codes, fixture, one_file, safetensors};

const MODEL: &str = "model.safetensors";

/// Changes the last byte of the file that a name in the cache leads to.
fn damage(file: &Path) {
    let blob = file.canonicalize().unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
}

fn snapshot(machine: &Machine, repo: &Repo) -> PathBuf {
    machine.model(repo.id()).join("snapshots").join(repo.commit())
}

fn other() -> Repo {
    Repo::new("org/other").file("config.json", "{}").lfs(MODEL, safetensors("v", 5000))
}

fn names(machine: &Machine, line: &str) -> Vec<String> {
    let report = machine.hfget(line).json();
    report["reports"].as_array().unwrap().iter().map(|r| r["repo"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_wrong_byte_in_a_cache_is_found_and_its_repair_is_a_failure_once() {
    let machine = Machine::new([one_file(1000), other()]);
    machine.hfget("org/one org/other").ends_with(0);
    let run = machine.hfget("verify --all").ends_with(0);
    run.says("result=verified against=hub repo=org/one").says("result=verified against=hub repo=org/other");
    damage(&snapshot(&machine, &one_file(1000)).join(MODEL));
    std::fs::remove_file(snapshot(&machine, &other()).join("config.json").canonicalize().unwrap()).unwrap();
    machine.hub.forget();
    for line in ["verify --all --json", "verify --all --offline --json"] {
        let report = machine.hfget(line).ends_with(1).json();
        let found: Vec<_> = report["reports"].as_array().unwrap().iter().map(|r| codes(r)).collect();
        assert_eq!(found, [["checksum-mismatch"], ["file-missing"]], "{line}");
    }
    assert_eq!(machine.byte_requests(), 0, "nothing is fetched unless it is asked for");
    let run = machine.hfget("verify --all --repair --format junit --report cache.html").ends_with(1);
    let run = run.shows("failures=\"2\"").shows("type=\"repaired\"").says("it was wrong or missing, and was put right");
    assert_eq!(run.err.matches("the next run says so").count(), 2, "once for each repo: {}", run.err);
    assert!(!run.out.contains("checksum-mismatch"), "{}", run.out);
    assert_eq!(machine.byte_requests(), 2, "only the wrong files");
    let page = std::fs::read_to_string(machine.home.path().join("cache.html")).unwrap();
    assert!(page.contains("org/one") && page.contains("org/other") && page.contains("repaired"));
    machine.assert_nothing_wrong(&one_file(1000));
    // One repair is enough: now every file is right, and nothing is fetched.
    machine.hub.forget();
    machine.hfget("verify --all --repair").ends_with(0);
    assert_eq!(machine.byte_requests(), 0);
    // `--allow repaired` accepts it.
    damage(&snapshot(&machine, &one_file(1000)).join(MODEL));
    machine.hfget("verify --all --repair --allow repaired").ends_with(0).says("warning[repaired]");
}

#[test]
fn every_commit_is_checked_and_repaired_not_only_the_newest() {
    let machine = Machine::new([one_file(1000)]);
    machine.hfget("org/one").ends_with(0);
    let old = snapshot(&machine, &one_file(1000));
    let newer = one_file(1000).lfs(MODEL, safetensors("newer", 2000));
    machine.hub.replace(newer.clone());
    machine.hfget("org/one").ends_with(0);
    assert_eq!(names(&machine, "verify --all --offline --json"), ["org/one", "org/one"]);
    damage(&old.join(MODEL));
    let run = machine.hfget("verify --all --offline --json").ends_with(1);
    let report = run.json();
    let failed: Vec<_> = report["reports"].as_array().unwrap().iter().filter(|r| r["verdict"] != "verified").collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["commit"], one_file(1000).commit());
    // The refs do not move.
    assert_eq!(std::fs::read_to_string(machine.model("org/one").join("refs/main")).unwrap(), newer.commit());
}

/// Python wrote everything: a whole repo, documents alone, some shards of a set, a dataset.
#[test]
fn a_cache_of_python_is_checked_for_the_files_that_python_chose() {
    let Some(bin) = python() else { return };
    let data = Repo::new("org/data").kind("datasets").file("train.csv", "a,b\n1,2\n").lfs("big.bin", vec![7; 5000]);
    let machine = Machine::new([fixture(CHATGLM), one_file(1000), other(), data]);
    script(
        &machine,
        &bin,
        false,
        r#"
from huggingface_hub import snapshot_download
snapshot_download("org/one")
snapshot_download("THUDM/chatglm3-6b", allow_patterns="*.json")
snapshot_download("org/data", repo_type="dataset")
"#,
    );
    for how in ["", " --offline"] {
        let run = machine.hfget(&format!("verify --all{how} --json")).ends_with(0);
        let report = run.json();
        for one in report["reports"].as_array().unwrap() {
            assert_eq!(one["verdict"], "verified", "{how}: {one}");
            assert_eq!(codes(one), [""; 0], "{how}: {one}");
        }
        assert_eq!(report["reports"].as_array().unwrap().len(), 3);
    }
    // A set with only some shards is an unfinished download.
    script(
        &machine,
        &bin,
        false,
        r#"
from huggingface_hub import snapshot_download
snapshot_download("THUDM/chatglm3-6b", allow_patterns=["*.json", "model-0000[123]*"])
"#,
    );
    let report = machine.hfget("verify THUDM/chatglm3-6b --all --json").json();
    assert!(codes(&report["reports"][0]).contains(&"file-missing"));
    let report = machine.hfget("verify --all --json").ends_with(1).json();
    let chatglm = report["reports"].as_array().unwrap().iter().find(|r| r["repo"] == CHATGLM).unwrap();
    assert_eq!(codes(chatglm), ["file-missing"; 4], "{chatglm}");
    // A wrong byte in Python's blob is found and repaired, and Python reads the file.
    damage(&snapshot(&machine, &one_file(1000)).join(MODEL));
    machine
        .hfget("verify --all --repair")
        .ends_with(1)
        .says("error[repaired] model.safetensors")
        .says("repo=datasets/org/data");
    machine.hfget("verify --all --offline").ends_with(0);
    let said = script(
        &machine,
        &bin,
        true,
        "from huggingface_hub import hf_hub_download as d\nprint(open(d('org/one','model.safetensors'),'rb').read().hex())",
    );
    let bytes = one_file(1000).content(MODEL).unwrap().to_vec();
    let mut hex = String::new();
    for byte in &bytes {
        write!(hex, "{byte:02x}").unwrap();
    }
    assert_eq!((said.trim(), sha256(&bytes)), (hex.as_str(), sha256(&bytes)));
}

#[test]
fn one_repo_is_repaired_in_the_cache_and_in_a_folder_except_files_that_the_user_changed() {
    let machine = Machine::new([one_file(1000)]);
    machine.hfget("org/one").ends_with(0);
    damage(&snapshot(&machine, &one_file(1000)).join(MODEL));
    machine.hfget("verify org/one --repair").ends_with(1).says("error[repaired] model.safetensors");
    machine.hfget("verify org/one --repair").ends_with(0);
    machine.hfget("org/one --local-dir folder").ends_with(0);
    let folder = machine.home.path().join("folder");
    std::fs::remove_file(folder.join("config.json")).unwrap();
    machine.hfget("verify org/one --local-dir folder --repair").ends_with(1).says("error[repaired] config.json");
    machine.hfget("verify org/one --local-dir folder --repair").ends_with(0);
    std::fs::write(folder.join("config.json"), r#"{"mine":1}"#).unwrap();
    let run = machine.hfget("verify org/one --local-dir folder --repair").ends_with(1).says("local-changes");
    assert!(!run.err.contains("repaired"), "{}", run.err);
    assert_eq!(std::fs::read_to_string(folder.join("config.json")).unwrap(), r#"{"mine":1}"#);
}

#[test]
fn a_failed_repair_and_contradictory_flags_are_reported() {
    let machine = Machine::new([one_file(1000)]);
    machine.hfget("verify --all").ends_with(3).says("there is no snapshot in");
    machine.hfget("org/one").ends_with(0);
    damage(&snapshot(&machine, &one_file(1000)).join(MODEL));
    machine.hub.down(true);
    machine.hfget("verify --all --repair").ends_with(4);
    machine.hub.down(false);
    machine.hfget("verify --all --repair --offline").ends_with(2);
    machine.hfget("verify ./hf --repair").ends_with(2).says("--repair is for repos");
    machine.hfget("verify --all --only bin").ends_with(2).says("checks the whole cache");
    machine.hfget("verify").ends_with(2);
}
