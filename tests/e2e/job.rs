//! The main job as a user does it: get, get again, plan, verify, offline, plain folder.

use hfget_loopback_hub::{Hub, Options, Repo};

use super::support::{CHATGLM, Machine, fixture, tree};

pub const SELECTED: [&str; 16] = [
    "config.json",
    "configuration_chatglm.py",
    "model-00001-of-00007.safetensors",
    "model-00002-of-00007.safetensors",
    "model-00003-of-00007.safetensors",
    "model-00004-of-00007.safetensors",
    "model-00005-of-00007.safetensors",
    "model-00006-of-00007.safetensors",
    "model-00007-of-00007.safetensors",
    "model.safetensors.index.json",
    "modeling_chatglm.py",
    "quantization.py",
    "special_tokens_map.json",
    "tokenization_chatglm.py",
    "tokenizer.model",
    "tokenizer_config.json",
];

fn chatglm() -> Machine {
    Machine::new([fixture(CHATGLM)])
}

/// One family with its index, configuration, tokenizer and code, each byte right, and the path on stdout.
#[test]
fn one_complete_family_is_in_the_cache() {
    let machine = chatglm();
    let run = machine.hfget("THUDM/chatglm3-6b --prefer safetensors").ends_with(0).says("verified");
    let repo = fixture(CHATGLM);
    Machine::assert_whole(&run.path(), &repo, &SELECTED);
    let folder = machine.model(CHATGLM);
    assert_eq!(run.path(), folder.join("snapshots").join(repo.commit()));
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), repo.commit(), "a ref has no newline");
    let link = std::fs::read_link(run.path().join("config.json")).unwrap();
    assert!(link.starts_with("../../blobs"), "a snapshot is relative links into blobs: {}", link.display());
}

/// The other family on request: the index decides which files are its shards.
#[test]
fn the_other_family_is_fetched_on_request() {
    let machine = chatglm();
    let run = machine.hfget("THUDM/chatglm3-6b --prefer bin").ends_with(0);
    let names: Vec<String> = tree(&run.path()).into_keys().collect();
    assert!(names.iter().any(|n| n == "pytorch_model.bin.index.json"), "{names:?}");
    assert_eq!(names.iter().filter(|n| n.ends_with(".bin")).count(), 7, "{names:?}");
    assert!(!names.iter().any(|n| n.contains("safetensors")), "{names:?}");
}

/// A second run only asks whether the revision moved.
#[test]
fn a_second_run_has_nothing_to_do() {
    let machine = chatglm();
    machine.hfget("THUDM/chatglm3-6b").ends_with(0);
    machine.hub.forget();
    machine.hfget("THUDM/chatglm3-6b").ends_with(0).says("already verified");
    let requests = machine.hub.requests();
    assert!(requests.len() <= 2, "{requests:?}");
    assert_eq!(machine.byte_requests(), 0);
}

/// A plan shows everything and keeps nothing.
#[test]
fn a_plan_leaves_no_trace() {
    let machine = chatglm();
    let run = machine.hfget("plan THUDM/chatglm3-6b --prefer safetensors").ends_with(0);
    for text in ["model-00001-of-00007.safetensors", "bin family", "16 files", "left out", "free"] {
        assert!(run.out.contains(text), "no {text:?} in\n{}", run.out);
    }
    assert!(!machine.cache().exists(), "{:?}", tree(&machine.cache()).keys());
    assert_eq!(machine.hfget("--dry-run THUDM/chatglm3-6b --prefer safetensors").ends_with(0).out, run.out);
}

/// Cached files are used without a Hub, and missing ones are reported.
#[test]
fn offline_uses_the_files_that_are_here() {
    let machine = chatglm();
    machine.hfget("THUDM/chatglm3-6b").ends_with(0);
    machine.hub.forget();
    let run = machine.hfget("THUDM/chatglm3-6b --offline").ends_with(0);
    Machine::assert_whole(&run.path(), &fixture(CHATGLM), &SELECTED);
    machine.hfget("verify THUDM/chatglm3-6b --offline").ends_with(0).says("verified");
    machine.hfget("org/other --offline").ends_with(3).says("run `hfget org/other` without --offline");
    machine.hfget("THUDM/chatglm3-6b@v2 --offline").ends_with(3);
    // A plain folder remembers its repo and commit.
    machine.hfget("THUDM/chatglm3-6b --local-dir here").ends_with(0);
    machine.hub.forget();
    machine.hfget("THUDM/chatglm3-6b --local-dir here --offline").ends_with(0);
    assert_eq!(machine.hub.requests().len(), 0);
    machine.hfget("org/other --local-dir here --offline").ends_with(3);
    machine.hfget("THUDM/chatglm3-6b@v2 --local-dir here --offline").ends_with(3);
    assert_eq!(machine.hub.requests(), []);
}

/// A plain folder has files, not links, and is verified in place.
#[test]
fn a_plain_folder_on_request() {
    let machine = chatglm();
    let run = machine.hfget("THUDM/chatglm3-6b --local-dir here").ends_with(0);
    assert_eq!(run.path(), machine.home.path().canonicalize().unwrap().join("here"));
    let dir = run.path();
    let repo = fixture(CHATGLM);
    for name in SELECTED {
        assert!(!dir.join(name).is_symlink());
        assert_eq!(std::fs::read(dir.join(name)).ok().as_deref(), repo.content(name), "{name}");
    }
    machine.hub.forget();
    machine.hfget("THUDM/chatglm3-6b --local-dir here").ends_with(0).says("already verified");
    assert!(machine.hub.requests().len() <= 2);
    machine.hfget("verify ./here").ends_with(0).says("verified");
}

/// Several repos in one run; the run ends with the worst exit code.
#[test]
fn several_repos_in_one_run() {
    let machine = Machine::new([fixture(CHATGLM), fixture("org/bin-only")]);
    let run = machine.run([CHATGLM, "org/bin-only"]).ends_with(0);
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    let run = machine.run([CHATGLM, "org/absent"]).ends_with(3);
    assert_eq!(run.out.lines().count(), 1, "what is right is still given: {}", run.out);
}

/// A listing of many pages is one listing; legacy servers answer resolve directly with 200.
#[test]
fn many_pages_and_old_servers() {
    for options in
        [Options { page_size: 3, ..Options::default() }, Options { legacy_resolve: true, ..Options::default() }]
    {
        let machine = Machine::on(Hub::with(options, [fixture(CHATGLM)]));
        let run = machine.hfget("THUDM/chatglm3-6b").ends_with(0);
        Machine::assert_whole(&run.path(), &fixture(CHATGLM), &SELECTED);
    }
}

/// stdout is for machines: JSON with a schema version, or just the path; with `-q` stderr stays empty.
#[test]
fn output_for_machines() {
    let machine = chatglm();
    let run = machine.hfget("THUDM/chatglm3-6b --json -q").ends_with(0);
    assert_eq!(run.err, "");
    let json = run.json();
    assert_eq!(json["schema_version"], 1);
    let report = &json["reports"][0];
    assert_eq!(report["repo"], CHATGLM);
    assert_eq!(report["verified"], true);
    assert_eq!(report["totals"]["files"], 16);
    assert_eq!(report["totals"]["digests"], 16);
    assert_eq!(report["files"].as_array().unwrap().len(), 16);
    let plan = machine.hfget("plan THUDM/chatglm3-6b --json").ends_with(0).json();
    assert_eq!(plan["plans"][0]["bytes_to_fetch"], 0);
    let quiet = machine.hfget("THUDM/chatglm3-6b -q").ends_with(0);
    assert_eq!((quiet.err.as_str(), quiet.out.lines().count()), ("", 1));
}

/// A token given for the Hub stays with the Hub.
#[test]
fn the_token_never_reaches_the_cdn() {
    let machine = chatglm();
    let mut command = machine.command();
    command.env("HF_TOKEN", hfget_loopback_hub::TOKEN).arg(CHATGLM);
    let run: super::support::Run = command.output().unwrap().into();
    run.ends_with(0);
    let requests = machine.hub.requests();
    assert!(requests.iter().any(|r| r.cdn), "some bytes come from the CDN");
    assert!(requests.iter().all(|r| r.token != r.cdn), "{requests:?}");
    assert!(requests.iter().all(|r| r.agent.starts_with("hfget/")), "{requests:?}");
}

/// When the branch moves, only changed files are fetched, and the old snapshot stays.
#[test]
fn a_new_commit_reuses_unchanged_files() {
    let machine = chatglm();
    let old = machine.hfget("THUDM/chatglm3-6b").ends_with(0).path();
    let moved = fixture(CHATGLM).file("generation_config.json", "{}");
    machine.hub.replace(moved.clone());
    machine.hub.forget();
    let new = machine.hfget("THUDM/chatglm3-6b").ends_with(0).path();
    assert_ne!(old, new);
    assert!(old.join("config.json").exists());
    assert!(new.join("generation_config.json").exists());
    let fetched: Vec<_> = machine.hub.requests().into_iter().filter(|r| r.path.contains("/resolve/")).collect();
    assert!(fetched.iter().all(|r| r.path.ends_with("generation_config.json")), "{fetched:?}");
}

#[test]
fn a_repo_without_any_selected_file_is_not_called_verified() {
    let machine = Machine::new([Repo::new("org/empty"), Repo::new("org/paper").file("README.md", "# a paper")]);
    machine.hfget("org/empty").ends_with(3).says("there are no files in this repo");
    let run = machine.hfget("org/paper").ends_with(3).says("no weights in this repo").says("--all");
    assert!(run.out.is_empty(), "{}", run.out);
    machine.hfget("lock org/paper").ends_with(3);
    machine.hfget("org/paper --all").ends_with(0).says("verified");
    // A plan shows the files that are left out, and ends with the run's exit code.
    machine.hfget("plan org/paper").ends_with(3).shows("documentation: README.md").says("no weights in this repo");
}
