//! The real Python `huggingface_hub` on our files, and hfget on its files. `.ci/run` makes the
//! virtual environment; without it these tests print that they were skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use hfget_loopback_hub::{Hub, Options, Repo};

use super::support::{CHATGLM, Machine, Run, fixture, one_file, tree};

/// The folder of `python` and `hf`: `$HFGET_PYTHON_BIN`, or `.venv/bin` beside `Cargo.toml`.
pub fn python() -> Option<PathBuf> {
    let bin = std::env::var_os("HFGET_PYTHON_BIN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin"), PathBuf::from);
    let there = bin.join("python").exists() && bin.join("hf").exists();
    assert!(there || std::env::var_os("CI").is_none(), "CI needs huggingface_hub in {}", bin.display());
    if !there {
        eprintln!("skipped: no huggingface_hub in {} (.ci/run makes it)", bin.display());
    }
    there.then_some(bin)
}

fn tool(machine: &Machine, program: &Path) -> Command {
    let mut command = Command::new(program);
    machine.environment(&mut command);
    // Its Xet client has no loopback server here.
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1").env("NO_COLOR", "1");
    command
}

/// Runs a Python script; returns its output.
#[track_caller]
pub fn script(machine: &Machine, bin: &Path, offline: bool, text: &str) -> String {
    let mut command = tool(machine, &bin.join("python"));
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    }
    let run: Run = command.arg("-c").arg(text).output().unwrap().into();
    run.ends_with(0).out
}

#[track_caller]
fn hf(machine: &Machine, bin: &Path, line: &str) -> Run {
    tool(machine, &bin.join("hf")).args(line.split_whitespace()).output().unwrap().into()
}

/// `snapshot_download(local_files_only=True)`, `try_to_load_from_cache`, `scan_cache_dir`.
#[test]
fn python_finds_our_files_in_the_cache() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([fixture(CHATGLM)]);
    let path = machine.run([CHATGLM, "--all"]).ends_with(0).path();
    let said = script(
        &machine,
        &bin,
        true,
        r#"
from huggingface_hub import snapshot_download, try_to_load_from_cache, scan_cache_dir, hf_hub_download
repo = "THUDM/chatglm3-6b"
print(snapshot_download(repo, local_files_only=True))
print(try_to_load_from_cache(repo, "config.json"))
print(hf_hub_download(repo, "model-00001-of-00007.safetensors", local_files_only=True))
cache = scan_cache_dir()
(info,) = cache.repos
(revision,) = info.revisions
print(info.repo_id, info.repo_type, revision.commit_hash, sorted(revision.refs), len(revision.files))
print("warnings:", cache.warnings)
"#,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(Path::new(lines[0]), path);
    assert_eq!(Path::new(lines[1]), path.join("config.json"));
    assert_eq!(Path::new(lines[2]), path.join("model-00001-of-00007.safetensors"));
    let repo = fixture(CHATGLM);
    assert_eq!(lines[3], format!("{CHATGLM} model {} ['main'] {}", repo.commit(), repo.paths().count()));
    assert_eq!(lines[4], "warnings: []");
}

#[test]
fn hf_cache_verify_and_ls_agree_with_us() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([fixture(CHATGLM)]);
    machine.run([CHATGLM, "--all"]).ends_with(0);
    hf(&machine, &bin, "cache verify THUDM/chatglm3-6b --fail-on-missing-files --fail-on-extra-files").ends_with(0);
    hf(&machine, &bin, "cache ls").ends_with(0).shows(CHATGLM);
    hf(&machine, &bin, "cache ls --revisions").ends_with(0).shows(&fixture(CHATGLM).commit()[..8]);
}

/// The selection as a snapshot that Python accepts without the Hub.
#[test]
fn hf_download_fetches_only_the_files_that_we_left_out() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([fixture(CHATGLM)]);
    machine.run([CHATGLM, "--prefer", "safetensors"]).ends_with(0);
    machine.hub.forget();
    hf(&machine, &bin, "download THUDM/chatglm3-6b").ends_with(0);
    let fetched: Vec<String> =
        machine.hub.requests().into_iter().filter(|r| r.method == "GET" && r.cdn).map(|r| r.path).collect();
    assert!(!fetched.is_empty() && fetched.iter().all(|p| p.ends_with(".bin")), "{fetched:?}");
    machine.run([CHATGLM, "--all"]).ends_with(0);
    machine.assert_nothing_wrong(&fixture(CHATGLM));
}

/// Files from `hf download` are proven and used, not fetched again.
#[test]
fn we_use_the_files_of_hf_download() {
    let Some(bin) = python() else { return };
    for place in ["", " --local-dir here"] {
        let machine = Machine::new([fixture(CHATGLM)]);
        hf(&machine, &bin, &format!("download THUDM/chatglm3-6b{place}")).ends_with(0);
        machine.hub.forget();
        machine.hfget(&format!("THUDM/chatglm3-6b{place}")).ends_with(0).says("digests right");
        assert_eq!(machine.byte_requests(), 0, "{:?}", machine.hub.requests());
        machine.hfget(&format!("THUDM/chatglm3-6b{place}")).ends_with(0).says("already verified");
    }
}

/// A file from `hf download` counts as an earlier commit's file until the user changes it.
#[test]
fn an_update_of_a_folder_of_hf_downloads_just_happens_and_what_was_edited_there_stops_it() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([one_file(5000)]);
    hf(&machine, &bin, "download org/one --local-dir here").ends_with(0);
    let new = one_file(6000).file("config.json", "{\"new\": 1}");
    machine.hub.commit(new.clone());
    let run = machine.hfget("org/one --local-dir here").ends_with(0);
    assert!(!run.err.contains("local-changes"), "{}", run.err);
    let here = machine.home.path().join("here");
    for name in ["config.json", "model.safetensors"] {
        assert_eq!(std::fs::read(here.join(name)).ok().as_deref(), new.content(name), "{name}");
    }
    std::fs::remove_dir_all(&here).unwrap();
    hf(&machine, &bin, "download org/one --local-dir here").ends_with(0);
    // huggingface_hub itself allows for a second between the file and its note.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    std::fs::write(here.join("config.json"), "[]").unwrap();
    machine.hub.commit(one_file(7000).file("config.json", "{\"newer\": 1}"));
    machine.hub.forget();
    machine.hfget("org/one --local-dir here").ends_with(1).says("local-changes").says("config.json").says("--force");
    assert_eq!(std::fs::read(here.join("config.json")).unwrap(), b"[]");
}

/// A wrong file from `hf download` is found and replaced: its metadata are not trusted.
#[test]
fn damage_in_its_cache_is_found() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([one_file(5000)]);
    hf(&machine, &bin, "download org/one").ends_with(0);
    let blobs = machine.model("org/one").join("blobs");
    let (name, mut bytes) = tree(&blobs).into_iter().max_by_key(|(_, b)| b.len()).unwrap();
    bytes[4000] ^= 1;
    std::fs::write(blobs.join(name), bytes).unwrap();
    machine.hfget("verify org/one").ends_with(1).says("checksum-mismatch");
    machine.run(["org/one"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(5000));
}

/// `hf download --local-dir` accepts our metadata: it fetches nothing and does not complain.
#[test]
fn our_plain_folder_is_up_to_date_for_hf_download() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([fixture(CHATGLM)]);
    machine.run([CHATGLM, "--all", "--local-dir", "here"]).ends_with(0);
    let times = |dir: &Path| -> Vec<_> {
        tree(dir)
            .into_keys()
            .filter(|n| !n.starts_with(".cache"))
            .map(|n| std::fs::metadata(dir.join(&n)).and_then(|m| m.modified()).unwrap())
            .collect()
    };
    let here = machine.home.path().join("here");
    let before = times(&here);
    machine.hub.forget();
    hf(&machine, &bin, "download THUDM/chatglm3-6b --local-dir here").ends_with(0);
    assert_eq!(machine.byte_requests(), 0, "{:?}", machine.hub.requests());
    assert_eq!(times(&here), before);
    hf(&machine, &bin, "cache verify THUDM/chatglm3-6b --local-dir here").ends_with(0);
}

/// Both tools run on one repo and one cache at the same time, and both succeed.
#[test]
fn both_tools_at_once() {
    let Some(bin) = python() else { return };
    let size = 16 << 20;
    for round in 0..3 {
        let options = Options { rate: Some(16 << 20), ..Options::default() };
        let machine = Machine::on(Hub::with(options, [one_file(size)]));
        let mut theirs = tool(&machine, &bin.join("hf"));
        theirs.args(["download", "org/one"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let theirs = theirs.spawn().unwrap();
        // Python needs a moment to start, so that sometimes one tool is first and sometimes the other.
        std::thread::sleep(std::time::Duration::from_millis(400 * round));
        machine.run(["org/one"]).ends_with(0);
        let theirs: Run = theirs.wait_with_output().unwrap().into();
        theirs.ends_with(0);
        machine.assert_nothing_wrong(&one_file(size));
        machine.hfget("verify org/one").ends_with(0);
    }
}

/// A tag, a pull request and a dataset are where Python looks for them.
#[test]
fn revisions_and_kinds_are_where_python_looks() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([
        one_file(64).revision("v1.0").revision("refs/pr/2"),
        Repo::new("org/data").kind("datasets").file("train.csv", "a\n"),
    ]);
    machine.run(["org/one@v1.0"]).ends_with(0);
    machine.run(["org/one@refs/pr/2"]).ends_with(0);
    machine.run(["datasets/org/data"]).ends_with(0);
    let said = script(
        &machine,
        &bin,
        true,
        r#"
from huggingface_hub import snapshot_download
print(snapshot_download("org/one", revision="v1.0"))
print(snapshot_download("org/one", revision="refs/pr/2"))
print(snapshot_download("org/data", repo_type="dataset"))
"#,
    );
    assert_eq!(said.lines().count(), 3, "{said}");
}

/// A mark says that the repo lacks a name, so that a loader makes no request for it. No name of the repo is marked.
#[test]
fn names_that_loaders_ask_for_and_that_the_repo_lacks_are_marked() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([fixture(CHATGLM)]);
    machine.run([CHATGLM]).ends_with(0);
    let said = script(
        &machine,
        &bin,
        true,
        r#"
from huggingface_hub import try_to_load_from_cache, _CACHED_NO_EXIST
repo = "THUDM/chatglm3-6b"
for name in ["adapter_config.json", "generation_config.json", "config.json", "pytorch_model.bin.index.json"]:
    found = try_to_load_from_cache(repo, name)
    print(name, "absent" if found is _CACHED_NO_EXIST else "unknown" if found is None else "here")
"#,
    );
    let expected = "adapter_config.json absent\ngeneration_config.json absent\nconfig.json here\n\
                    pytorch_model.bin.index.json unknown\n";
    assert_eq!(said, expected);
    for name in tree(&machine.model(CHATGLM).join(".no_exist").join(fixture(CHATGLM).commit())).keys() {
        assert!(fixture(CHATGLM).content(name).is_none(), "{name} is in the repo");
    }
    // A lockfile or a bucket does not show which names the repo lacks.
    machine.run([CHATGLM, "--local-dir", "plain"]).ends_with(0);
    assert!(!machine.home.path().join("plain/.no_exist").exists());
}

/// A repo with a tokenizer and nothing else.
fn words(bin: &Path) -> Repo {
    let maker = Machine::new([]);
    let made = maker.home.path().join("tokenizer.json");
    let text = format!(
        "from tokenizers import Tokenizer, models\n\
         Tokenizer(models.WordLevel({{'a': 0, '[UNK]': 1}}, unk_token='[UNK]')).save({:?})",
        made.display().to_string()
    );
    script(&maker, bin, true, &text);
    Repo::new("org/words")
        .file("tokenizer.json", std::fs::read(made).unwrap())
        .file("tokenizer_config.json", r#"{"tokenizer_class":"PreTrainedTokenizerFast","unk_token":"[UNK]"}"#)
}

const LOAD_WORDS: &str = "from transformers import AutoTokenizer\n\
                          print(AutoTokenizer.from_pretrained('org/words')('a')['input_ids'])";

/// A repo of a tokenizer alone does not load offline after `hf download`, which makes no marks.
#[test]
fn a_tokenizer_alone_loads_offline() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([words(&bin)]);
    machine.hfget("org/words").ends_with(0);
    assert_eq!(script(&machine, &bin, true, LOAD_WORDS).trim(), "[0]");
}

#[test]
fn a_loader_asks_the_hub_for_no_name_that_is_marked_as_absent() {
    let Some(bin) = python() else { return };
    let repo = words(&bin);
    let asked = |fill: &dyn Fn(&Machine) -> Run| {
        let machine = Machine::new([repo.clone()]);
        fill(&machine).ends_with(0);
        machine.hub.forget();
        assert_eq!(script(&machine, &bin, false, LOAD_WORDS).trim(), "[0]");
        machine.hub.requests()
    };
    let ours = asked(&|machine| machine.hfget("org/words"));
    let theirs = asked(&|machine| hf(machine, &bin, "download org/words"));
    assert!(ours.len() < theirs.len(), "{} requests, and {} after hf download", ours.len(), theirs.len());
    eprintln!("{} requests, and {} after hf download", ours.len(), theirs.len());
}
