//! Models whose code is in another repo: the hint's command works, and `--follow-code` takes the code in the same run.

use std::time::Duration;

use hfget_loopback_hub::{Hub, Options, Repo};

use super::support::{Machine, one_file, tree};

/// A model, the repo with its code, and a third repo that this code's configuration names.
fn machine() -> Machine {
    let model =
        one_file(64).file("config.json", r#"{"auto_map": {"AutoModel": "code/one--modeling_x.Model"}}"#).revision("v1");
    let code = Repo::new("code/one")
        .file("modeling_x.py", "from .helper import y\n")
        .file("helper.py", "y = 1\n")
        .file("config.json", r#"{"auto_map": {"AutoConfig": "code/two--conf.Config"}}"#)
        .lfs("model.safetensors", vec![1; 5000]);
    let more = Repo::new("code/two").file("conf.py", "x = 1\n").file("README.md", "about");
    Machine::new([model, code, more])
}

/// The files of a repo in the cache's snapshot.
fn here(machine: &Machine, id: &str) -> Vec<String> {
    let snapshots = tree(&machine.model(id).join("snapshots"));
    snapshots.into_keys().filter_map(|name| Some(name.split_once('/')?.1.to_owned())).collect()
}

#[test]
fn code_in_another_repo_comes_in_the_same_run_pinned_to_a_commit() {
    let machine = machine();
    let run = machine.hfget("org/one --follow-code").ends_with(0);
    assert_eq!(run.out.lines().count(), 2, "a path for each repo: {}", run.out);
    assert_eq!(here(&machine, "code/one"), ["helper.py", "modeling_x.py"]);
    let pinned = std::fs::read_to_string(machine.model("code/one").join("refs/main")).unwrap();
    assert!(machine.model("code/one").join("snapshots").join(pinned).is_dir());
    // The twin: without the flag the repo is named but not taken.
    let machine = self::machine();
    machine.hfget("org/one").ends_with(0).says("foreign-code").says("--follow-code");
    assert!(!machine.model("code/one").exists());
    machine.hfget("org/one --follow-code --no-code").ends_with(2);
}

#[test]
fn a_folder_gets_the_model_and_the_cache_its_code() {
    let machine = machine();
    machine.hfget("org/one --local-dir here --revision v1 --follow-code").ends_with(0);
    assert!(machine.home.path().join("here/model.safetensors").exists());
    assert!(!machine.home.path().join("here/modeling_x.py").exists());
    assert_eq!(here(&machine, "code/one"), ["helper.py", "modeling_x.py"]);
}

#[test]
fn a_plan_names_the_code_too_and_a_report_has_both() {
    let machine = machine();
    let plan = machine.hfget("plan org/one --follow-code --json").ends_with(0).json();
    let repos: Vec<&str> = plan["plans"].as_array().unwrap().iter().filter_map(|p| p["repo"].as_str()).collect();
    assert_eq!(repos, ["org/one", "code/one"]);
    assert!(!machine.model("code/one").exists());
    let report = machine.hfget("org/one --follow-code --json").ends_with(0).json();
    let repos: Vec<&str> = report["reports"].as_array().unwrap().iter().filter_map(|r| r["repo"].as_str()).collect();
    assert_eq!(repos, ["org/one", "code/one"]);
    // A repo that is not available is reported, and the model is there nevertheless.
    let model = one_file(64).file("config.json", r#"{"auto_map": {"AutoModel": "code/none--m.M"}}"#);
    let machine = Machine::new([model]);
    machine.hfget("org/one --follow-code").ends_with(3).says("code/none was not found");
    assert_eq!(here(&machine, "org/one"), ["config.json", "model.safetensors"]);
}

#[test]
fn the_command_in_a_hint_works_when_pasted() {
    let machine = machine();
    for flags in ["", " --local-dir here --revision v1 --only safetensors"] {
        let run = machine.hfget(&format!("org/one{flags}")).ends_with(0);
        let line = run.err.split('`').find(|part| part.starts_with("hfget code/one")).expect("a command in the hint");
        let words: Vec<&str> = line.split(' ').skip(1).map(|word| word.trim_matches('\'')).collect();
        machine.run(words).ends_with(0);
        assert_eq!(here(&machine, "code/one"), ["helper.py", "modeling_x.py"]);
        std::fs::remove_dir_all(machine.model("code/one")).unwrap();
    }
}

/// With `--all` no document decides which files come, so no file waits for one, and code in other repos is named
/// nevertheless: in the first run, in later ones, and offline.
#[test]
fn all_files_are_fetched_at_once_and_code_elsewhere_is_named() {
    let model = one_file(64)
        .file("config.json", r#"{"auto_map": {"AutoModel": "code/one--modeling_x.Model"}}"#)
        .file("other.json", "{}");
    let code = Repo::new("code/one").file("modeling_x.py", "x = 1\n");
    let latency = Duration::from_millis(150);
    let machine = Machine::on(Hub::with(Options { latency, ..Options::default() }, [model, code]));
    for place in [" --local-dir here", ""] {
        for flags in ["", "", " --offline"] {
            machine.hfget(&format!("org/one --all{place}{flags}")).ends_with(0).says("foreign-code").says("code/one");
        }
        let requests = machine.hub.requests();
        let bytes: Vec<_> = requests.iter().filter(|r| r.path.contains("/org/one/resolve/")).collect();
        let (config, others): (Vec<_>, Vec<_>) = bytes.into_iter().partition(|r| r.path.ends_with("/config.json"));
        assert_eq!(config.len(), 1, "it is fetched once");
        let other = others.iter().map(|r| r.at).min().unwrap();
        assert!(other.saturating_duration_since(config[0].at) < latency, "no file waits for it");
        machine.hub.forget();
    }
    machine.hfget("org/one --all --local-dir less --exclude *.json").ends_with(0).says("foreign-code");
    machine.hfget("org/one --all --follow-code").ends_with(0);
    assert_eq!(here(&machine, "code/one"), ["modeling_x.py"]);
    // The twins: code that is denied must be found before anything is fetched, and a plan fetches nothing.
    let denied = machine.hfget("org/one --all --local-dir new --deny foreign-code").ends_with(1).says("foreign-code");
    assert!(denied.out.is_empty() && !machine.home.path().join("new/model.safetensors").exists());
    let plan = machine.hfget("plan org/one --all --local-dir new").ends_with(0);
    assert!(plan.out.contains("foreign-code"), "{}", plan.out);
}
