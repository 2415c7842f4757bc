//! Lines that users of `hf download`, ollama, llama.cpp or git type, and the expected result of each.

use std::collections::BTreeSet;
use std::process::Command;

use hfget_loopback_hub::{Access, Repo, TOKEN};

use super::support::{CHATGLM, Machine, Run, fixture, one_file, safetensors, tree};

/// A model with folders, a card and a few text files beside its weights.
fn model() -> Repo {
    Repo::new("org/x")
        .file("config.json", "{}")
        .file("README.md", "# x")
        .file("notes/a.png", "a")
        .file("notes/deep/b.png", "b")
        .lfs("model.safetensors", safetensors("w", 64))
}

/// Two quantisations, one of them in two parts.
fn gguf() -> Repo {
    let file = || {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend([0; 16]);
        bytes
    };
    Repo::new("org/q").lfs("q-Q4_K_M.gguf", file()).lfs("q-Q8_0.gguf", file()).file("README.md", "# q")
}

fn dataset() -> Repo {
    Repo::new("org/d").kind("datasets").file("README.md", "# d").file("data/train.csv", "a,b\n1,2\n")
}

fn machine() -> Machine {
    Machine::new([model(), one_file(64), gguf(), dataset(), fixture(CHATGLM)])
}

/// Runs a line exactly as it is typed, without the tests' own flags.
fn typed(machine: &Machine, line: &str) -> Run {
    let mut command = Command::new(super::support::binary());
    machine.environment(&mut command);
    let line = line.replace("HUB", &machine.hub.endpoint());
    command.args(line.split_whitespace()).output().expect("the binary runs").into()
}

fn names(run: &Run) -> Vec<String> {
    tree(&run.path()).into_keys().filter(|name| !name.starts_with(".cache/")).collect()
}

/// The files that a line takes, on a machine of its own; the line must succeed.
#[track_caller]
fn takes(line: &str) -> (Vec<String>, Run) {
    let machine = machine();
    let run = typed(&machine, line).ends_with(0);
    (names(&run), run)
}

/// One file, some files, a folder: exactly those are taken, with the note that no weight set was checked.
#[test]
fn only_the_named_files_are_taken() {
    for (line, files) in [
        ("org/x config.json", vec!["config.json"]),
        ("org/x config.json README.md", vec!["README.md", "config.json"]),
        ("org/x *.json", vec!["config.json"]),
        ("org/x *.png", vec!["notes/a.png", "notes/deep/b.png"]),
        ("org/x notes/", vec!["notes/a.png", "notes/deep/b.png"]),
        ("org/x notes", vec!["notes/a.png", "notes/deep/b.png"]),
        ("org/x notes/deep", vec!["notes/deep/b.png"]),
        ("org/x notes/deep/b.png", vec!["notes/deep/b.png"]),
        ("org/x@main README.md", vec!["README.md"]),
        ("org/x --revision main README.md", vec!["README.md"]),
        ("org/x -r main README.md", vec!["README.md"]),
        ("org/x --include *.json", vec!["config.json"]),
        ("org/x --include *.json --include notes/*", vec!["config.json", "notes/a.png", "notes/deep/b.png"]),
        ("org/x --include notes/* --exclude *deep*", vec!["notes/a.png"]),
        ("org/x --include *.md *.json", vec!["README.md", "config.json"]),
        ("hf://org/x/README.md", vec!["README.md"]),
        ("hf://org/x@main/notes/a.png", vec!["notes/a.png"]),
        ("HUB/org/x/blob/main/config.json", vec!["config.json"]),
        ("HUB/org/x/resolve/main/notes/a.png?download=true", vec!["notes/a.png"]),
    ] {
        let (taken, run) = takes(line);
        assert_eq!(taken, files, "{line}");
        run.says("no weight set was checked").says("verified against the Hub");
    }
}

/// The twin of the test above: without a file's name the whole model comes, without that note.
#[test]
fn a_repo_alone_is_the_whole_model() {
    for line in ["org/x", "hf://org/x", "HUB/org/x", "HUB/org/x/tree/main", "download org/x", "org/x --exclude *.md"] {
        let (taken, run) = takes(line);
        assert_eq!(taken, ["config.json", "model.safetensors"], "{line}");
        assert!(!run.err.contains("files-only"), "{line}: {}", run.err);
    }
    assert_eq!(takes("org/x --with README.md").0, ["README.md", "config.json", "model.safetensors"]);
}

#[test]
fn a_named_part_of_a_set_of_weights_brings_the_set() {
    let (names, run) = takes("THUDM/chatglm3-6b model-00003-of-00007.safetensors");
    assert_eq!(names.len(), 8, "{names:?}");
    assert!(names.iter().all(|name| name.contains("safetensors")), "{names:?}");
    run.says("7 weight files").says("note[files-only]").says("other files that a loader needs");
}

#[test]
fn a_pasted_quantisation_is_that_one_and_not_the_default_beside_it() {
    for line in [
        "HUB/org/q/blob/main/q-Q8_0.gguf",
        "HUB/org/q/resolve/main/q-Q8_0.gguf",
        "org/q q-Q8_0.gguf",
        "org/q *Q8_0*",
        "org/q --include *Q8_0*",
        "org/q:Q8_0",
        "org/q:q8_0",
        "pull org/q:Q8_0",
        "org/q --variant Q8_0",
    ] {
        let gguf: Vec<String> = takes(line).0.into_iter().filter(|name| name.ends_with(".gguf")).collect();
        assert_eq!(gguf, ["q-Q8_0.gguf"], "{line}");
    }
    assert!(takes("org/q:latest").0.contains(&"q-Q4_K_M.gguf".to_owned()), "the default is what no tag names");
    typed(&machine(), "org/q:Q2_K").ends_with(3).says("Q2_K");
}

#[test]
fn include_means_only_these_for_every_kind_of_repo() {
    for line in [
        "datasets/org/d --include *.csv",
        "datasets/org/d data/",
        "org/d --repo-type dataset *.csv",
        "org/d --type dataset data/train.csv",
    ] {
        assert_eq!(takes(line).0, ["data/train.csv"], "{line}");
    }
    assert_eq!(takes("datasets/org/d").0, ["README.md", "data/train.csv"]);
}

#[test]
fn naming_files_and_choosing_a_family_is_refused_with_advice() {
    for line in [
        "org/x --include *.json --prefer safetensors",
        "org/x *.json --all",
        "org/q:Q8_0 --variant Q4_K_M",
        "datasets/org/d --repo-type model",
        "hf://org/x/config.json notes/deep/b.png",
    ] {
        let machine = machine();
        let run = typed(&machine, line).ends_with(2);
        assert!(machine.hub.requests().is_empty(), "{line}");
        assert!(run.err.contains("→"), "{line} has no advice: {}", run.err);
    }
    for line in ["org/x --include *.json --only bin", "org/x config.json --only bin"] {
        typed(&machine(), line).ends_with(2).says("use --with");
    }
}

#[test]
fn a_file_that_does_not_exist_is_reported_with_the_nearest_name() {
    typed(&machine(), "org/x *.jsn").ends_with(3).says("no file of this repo matches \"*.jsn\"");
    typed(&machine(), "org/x --include confg.json").ends_with(3).says("did you mean config.json?");
}

#[test]
fn several_repos_are_still_several_repos() {
    let machine = machine();
    let run = typed(&machine, "org/x org/one").ends_with(0);
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    assert!(!run.err.contains("files-only"), "{}", run.err);
}

#[test]
fn a_word_that_is_a_file_and_a_repo_is_refused_with_both_ways_to_write_it() {
    let both = || Machine::new([Repo::new("org/x").file("org/one", "a file"), one_file(64)]);
    let machine = both();
    let run = typed(&machine, "org/x org/one").ends_with(2).says("is a file of org/x, and also a repo");
    assert!(!machine.model("org/one").exists());
    run.says("`hfget org/x --include org/one`").says("`hfget org/x hf://org/one`");
    assert_eq!(names(&typed(&machine, "org/x --include org/one").ends_with(0)), ["org/one"]);
    typed(&machine, "org/one hf://org/x").says("org/x");
    assert!(machine.model("org/one").exists());
}

#[test]
fn a_word_that_is_not_a_repo_ends_the_run_before_any_repos_bytes_move() {
    for line in ["org/x org/one nonsense", "nonsense org/x", "org/x verfy"] {
        let machine = machine();
        typed(&machine, line).ends_with(3).says("→");
        assert_eq!(machine.byte_requests(), 0, "{line}");
        assert!(!machine.model("org/x").exists(), "{line}");
    }
    let machine = machine();
    let run = typed(&machine, "org/one org/none org/x").ends_with(3);
    assert_eq!(run.out.lines().count(), 2, "a whole name that is wrong does not stop the others: {}", run.err);
    let (wrong, right) = (run.err.find("org/none").unwrap(), run.err.find("verified").unwrap());
    assert!(wrong < right, "the error comes before anything is fetched: {}", run.err);
}

/// Verbs of other tools do the same here, or are answered in one line before any request.
#[test]
fn verbs_of_other_tools_are_understood_or_answered() {
    for verb in ["download", "get", "pull", "fetch", "clone"] {
        assert_eq!(takes(&format!("{verb} org/x")).0, ["config.json", "model.safetensors"], "{verb}");
    }
    for (line, answer) in [
        ("search llama", "huggingface.co/models"),
        ("login", "HF_TOKEN"),
        ("login --token x", "HF_TOKEN"),
        ("auth login", "HF_TOKEN"),
        ("logout", "HF_TOKEN"),
        ("whoami", "hf auth whoami"),
        ("update", "install"),
        ("upgrade", "install"),
        ("upload org/x .", "hf upload"),
        ("push org/x", "hf upload"),
        ("run org/x", "hfget OWNER/NAME"),
        ("serve org/x", "hfget OWNER/NAME"),
        ("cache ls", "hfget list"),
        ("scan-cache", "hfget list"),
        ("--quiet login", "HF_TOKEN"),
        ("org/x --format agent", "--json"),
    ] {
        let machine = machine();
        let run = typed(&machine, line).ends_with(2).says(answer);
        assert!(machine.hub.requests().is_empty(), "{line}");
        assert!(run.err.lines().count() <= 2 && run.out.is_empty(), "{line}: {}", run.err);
    }
    typed(&machine(), "version").ends_with(0).shows("hfget ");
}

#[test]
fn removing_and_listing_by_other_names_fetches_nothing() {
    let machine = machine();
    typed(&machine, "rm org/x").ends_with(3);
    typed(&machine, "ls").ends_with(0);
    assert!(machine.hub.requests().is_empty());
    assert!(!machine.model("org/x").exists());
}

/// Flags of `hf download` and of `huggingface-cli download`, as they are typed.
#[test]
fn flags_of_hf_download_mean_what_they_mean_there() {
    for line in [
        "download org/x --revision main",
        "download org/x --repo-type model",
        "download org/x --type model",
        "download org/x --cache-dir hub2",
        "download org/x --local-dir here",
        "download org/x --local-dir here --local-dir-use-symlinks False",
        "download org/x --force-download",
        "download org/x --no-force-download",
        "download org/x --no-dry-run",
        "download org/x --max-workers 4",
        "download org/x --resume-download",
        "download org/x --quiet",
        "download org/x -q",
        "download org/x --format quiet",
        "download org/x --format human",
        "download org/x --format=auto",
        "download org/x --no-truncate",
    ] {
        assert_eq!(takes(line).0.len(), 2, "{line}");
    }
    let machine = machine();
    typed(&machine, "download org/x --dry-run").ends_with(0).shows("model.safetensors");
    assert!(!machine.model("org/x").join("snapshots").exists());
    let json = typed(&machine, "download org/x --format json").ends_with(0).json();
    assert_eq!(json["reports"][0]["verified"], true);
}

#[test]
fn a_token_on_the_command_line_is_sent_to_the_hub_with_a_warning() {
    let machine = Machine::new([model().access(Access::Private)]);
    typed(&machine, "org/x").ends_with(3);
    let run = typed(&machine, &format!("org/x --token {TOKEN}")).ends_with(0).says("history of the shell");
    assert!(!run.err.contains(TOKEN));
    // A pasted URL names a host that the user has not declared trusted.
    typed(&machine, &format!("HUB/org/x --token {TOKEN}")).ends_with(2).says("--endpoint");
}

/// Every option in `hf download --help` has a meaning here, or a sentence as an answer.
#[test]
fn every_option_of_hf_download_has_a_meaning_or_a_sentence() {
    // The options in the help of the installed version, and those of earlier versions.
    let mut options: BTreeSet<String> = [
        "--type",
        "--repo-type",
        "--revision",
        "--include",
        "--exclude",
        "--cache-dir",
        "--local-dir",
        "--force-download",
        "--no-force-download",
        "--dry-run",
        "--no-dry-run",
        "--token",
        "--max-workers",
        "--help",
        "--format",
        "--json",
        "--quiet",
        "--no-truncate",
        "--resume-download",
        "--local-dir-use-symlinks",
    ]
    .map(str::to_owned)
    .into();
    if let Some(bin) = super::interop::python()
        && let Ok(help) = Command::new(bin.join("hf")).args(["download", "--help"]).env("COLUMNS", "200").output()
    {
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let section = help.split("Examples").next().unwrap_or_default();
        let words = section.split(|c: char| c.is_whitespace() || matches!(c, ',' | '`' | '\'' | '.' | '(' | ')'));
        options.extend(words.filter(|w| w.starts_with("--") && w.len() > 2).map(str::to_owned));
    }
    for option in options {
        let value = match option.as_str() {
            "--type" | "--repo-type" => "model",
            "--revision" => "main",
            "--include" => "config.json",
            "--exclude" => "README.md",
            "--cache-dir" | "--local-dir" => "elsewhere",
            "--token" => TOKEN,
            "--max-workers" => "2",
            "--format" => "json",
            "--local-dir-use-symlinks" => "auto",
            _ => "",
        };
        let run = typed(&machine(), &format!("download org/x {option} {value}"));
        assert!(run.code == Some(0) || run.code == Some(2) && run.err.contains('→'), "{option}: {}", run.err);
        assert!(!run.err.contains("unexpected argument"), "{option}: {}", run.err);
    }
}

/// The list shows the whole cache, whatever program filled it.
#[test]
fn list_shows_what_is_here_and_what_is_known_about_it() {
    let machine = machine();
    typed(&machine, "list").ends_with(0).says("0 snapshots");
    for line in ["org/x", "org/q:Q8_0", "datasets/org/d", "THUDM/chatglm3-6b"] {
        typed(&machine, line).ends_with(0);
    }
    let host = machine.hub.endpoint().replace("http://", "");
    let run = typed(&machine, "list").ends_with(0).says("4 snapshots");
    let line =
        |name: &str| run.out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{}", run.out));
    for (name, family) in [("org/x@main", "safetensors"), ("org/q@main", "gguf"), ("datasets/org/d@main", "dataset")] {
        assert!(line(name).contains(family) && line(name).contains(&format!("against {host}")), "{}", line(name));
        assert!(!line(name).contains("incomplete"), "{}", line(name));
    }
    assert_eq!(typed(&machine, "list org/x").ends_with(0).out.lines().count(), 1);
    typed(&machine, "list org/unheard-of").ends_with(3);
    // A snapshot with a changed file no longer counts as verified, and one without a shard is incomplete.
    let snapshot = machine.model(CHATGLM).join("snapshots").join(fixture(CHATGLM).commit());
    std::fs::remove_file(snapshot.join("model-00002-of-00007.safetensors")).unwrap();
    let blob =
        std::fs::canonicalize(machine.model("org/x").join("snapshots").join(model().commit()).join("config.json"));
    std::fs::write(blob.unwrap(), "[]").unwrap();
    let json = typed(&machine, "list --json").ends_with(0).json();
    let of = |name: &str| json["cached"].as_array().unwrap().iter().find(|one| one["repo"] == name).unwrap().clone();
    assert_eq!(of("org/x")["verified"], false);
    assert_eq!(of(CHATGLM)["incomplete"][0], "1 of 7 shards are missing");
    assert_eq!(of("org/q")["verified_against"], machine.hub.endpoint().as_str());
    assert_eq!(of("org/q")["families"][0], "gguf");
    assert!(of("org/q")["verified_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn list_and_remove_read_pythons_files() {
    let Some(bin) = super::interop::python() else { return };
    let machine = machine();
    let mut hf = Command::new(bin.join("hf"));
    machine.environment(&mut hf);
    hf.env("HF_HUB_DISABLE_XET", "1").args(["download", "org/x"]);
    assert!(hf.output().unwrap().status.success());
    let json = typed(&machine, "list --json").ends_with(0).json();
    let one = &json["cached"][0];
    assert_eq!((&one["repo"], &one["files"], &one["verified"]), (&"org/x".into(), &5.into(), &false.into()));
    assert_eq!((&one["revisions"][0], &one["families"][0]), (&"main".into(), &"safetensors".into()));
    typed(&machine, "remove org/x").ends_with(0).shows("removed org/x: 5 files");
    assert!(!machine.model("org/x").exists());
}

#[test]
fn an_interrupted_run_is_listed_as_incomplete_and_can_be_removed() {
    use super::resume::{half_way, slow};
    let machine = slow();
    let mut child = half_way(&machine);
    let run = typed(&machine, "remove org/one").ends_with(5).says("another run works on it");
    assert!(run.out.is_empty() && machine.model("org/one").exists(), "{}", run.out);
    child.kill().unwrap();
    child.wait().unwrap();
    typed(&machine, "list").ends_with(0).shows("org/one").shows("incomplete: a run was interrupted");
    typed(&machine, "rm org/one").ends_with(0).shows("removed org/one");
    assert!(!machine.model("org/one").exists());
}

#[test]
fn removing_a_snapshot_keeps_the_files_that_others_share() {
    let machine = machine();
    let first = model().commit();
    typed(&machine, "org/x").ends_with(0);
    machine.hub.replace(model().file("config.json", r#"{"new": 1}"#));
    let second = typed(&machine, "org/x").ends_with(0).path();
    let before = tree(&machine.cache());
    let dry = typed(&machine, &format!("remove org/x@{first} --dry-run")).ends_with(0);
    assert_eq!(tree(&machine.cache()), before, "a dry run removes nothing: {}", dry.out);
    let json = typed(&machine, &format!("remove org/x@{first} --json")).ends_with(0).json();
    let removed = &json["removed"][0];
    assert_eq!((&removed["files"], &removed["bytes"]), (&1.into(), &2.into()), "{json}");
    assert!(removed["shared_bytes"].as_u64().unwrap() > 64, "{json}");
    assert_eq!(tree(&second).len(), 2, "the shared files stay");
    assert!(tree(&second).values().all(|content| !content.is_empty()));
    typed(&machine, "org/x --offline").ends_with(0);
    typed(&machine, &format!("remove org/x@{first}")).ends_with(3).says("is not in");
    typed(&machine, "remove org/X").ends_with(3).says("did you mean org/x?");
    typed(&machine, "remove org/one org/x").ends_with(3);
    assert!(second.exists(), "all or nothing");
    typed(&machine, "remove org/x@main").ends_with(0);
    assert!(!second.exists() && !machine.model("org/x").join("refs/main").exists());
}

#[test]
fn a_repo_that_is_a_link_is_not_removed_through_it() {
    let machine = machine();
    typed(&machine, "org/x").ends_with(0);
    let elsewhere = machine.home.path().join("elsewhere");
    std::fs::rename(machine.model("org/x"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, machine.model("org/x")).unwrap();
    let before = tree(&elsewhere);
    typed(&machine, "remove org/x").ends_with(5).says("symbolic link");
    assert_eq!(tree(&elsewhere), before);
}

/// The first command line in the advice.
#[track_caller]
fn advised(run: &Run) -> String {
    let line = run.err.split('`').skip(1).step_by(2).find_map(|line| line.strip_prefix("hfget "));
    line.unwrap_or_else(|| panic!("no command line in {}", run.err)).to_owned()
}

/// Advice is a line to paste: it works, and it keeps the flags for places and files.
#[test]
fn the_command_lines_in_advice_work() {
    for (line, ends, kept, left) in [
        ("org/x --offline", 3, "", "hf/hub/models--org--x"),
        ("org/x --offline --cache-dir c2", 3, "--cache-dir c2", "c2/models--org--x"),
        ("org/x --offline --local-dir d", 3, "--local-dir d", "d/config.json"),
        ("org/x --offline --local-dir d --prefer bin", 3, "--prefer bin", "d/config.json"),
        ("org/x --offline --cache-dir c2 --revision main", 3, "--cache-dir c2 --revision main", "c2/models--org--x"),
        ("verify org/x --cache-dir c2", 3, "--cache-dir c2", "c2/models--org--x"),
        ("org/x --include nothing* --cache-dir c2", 3, "plan org/x -v --cache-dir c2", ""),
        ("org/x/config.json", 2, "", "hf/hub/models--org--x"),
        ("org/q --subfolder none", 3, "plan org/q -v", ""),
        ("remove org/x", 3, "list", ""),
    ] {
        let machine = machine();
        let run = typed(&machine, line).ends_with(ends);
        let advice = advised(&run);
        assert!(advice.contains(kept), "{line}: {advice}");
        typed(&machine, &advice).ends_with(0);
        assert!(machine.home.path().join(left).exists(), "{line}: {advice}");
    }
    // A wrong file is fetched again in its own place.
    let machine = machine();
    typed(&machine, "org/x --cache-dir c2").ends_with(0);
    let snapshot = machine.home.path().join("c2/models--org--x/snapshots").join(model().commit());
    let blob = std::fs::canonicalize(snapshot.join("model.safetensors")).unwrap();
    std::fs::write(blob, safetensors("w", 63)).unwrap();
    let run = typed(&machine, "verify org/x --cache-dir c2").ends_with(1);
    typed(&machine, &advised(&run)).ends_with(0);
    typed(&machine, "verify org/x --cache-dir c2").ends_with(0);
}

/// The short help fits a screen; the long help has everything.
#[test]
fn h_fits_in_24_lines_and_help_has_every_flag() {
    let machine = machine();
    for command in
        ["", "plan ", "verify ", "inspect ", "lock ", "compare ", "list ", "remove ", "clean ", "completions ", "man "]
    {
        let short = typed(&machine, &format!("{command}-h")).ends_with(0).out;
        assert!(short.lines().count() <= 24, "{command}: {}\n{short}", short.lines().count());
        let long = typed(&machine, &format!("{command}--help")).ends_with(0).out;
        assert!(long.lines().count() > short.lines().count(), "{command}");
        let word = format!("help {command}");
        assert_eq!(typed(&machine, word.trim()).ends_with(0).out, long, "{command}");
    }
    let long = typed(&machine, "--help").ends_with(0).out;
    for flag in ["--with", "--cache-dir", "--repo-type", "--force-download", "--token", "--max-workers", "--report"] {
        assert!(long.contains(flag), "{flag}");
    }
}

#[test]
fn a_flag_that_a_command_does_not_use_is_refused() {
    for line in [
        "verify org/x --force",
        "verify org/x --mirror http://127.0.0.1:9",
        "verify org/x --limit-rate 5M",
        "verify org/x --jobs 3",
        "inspect org/x --deny remote-code",
        "lock org/x --allow-unsafe-pickle",
        "clean --progress lines",
        "list --limit-rate 5M",
        "remove org/x --revision main",
    ] {
        let machine = machine();
        let run = typed(&machine, line).ends_with(2);
        assert!(machine.hub.requests().is_empty(), "{line}");
        let flag = line.split(' ').find(|word| word.starts_with("--")).unwrap();
        assert!(run.err.contains(flag), "{line}: {}", run.err);
    }
    typed(&machine(), "org/x --limit-rate 5G --jobs 3 --force").ends_with(0);
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_the_first_request() {
    for line in
        ["org/x --report no/such/out.xml", "verify org/x --report no/such/out.json", "lock org/x -o no/such/x.lock"]
    {
        let machine = machine();
        typed(&machine, line).ends_with(5).says("no/such");
        assert!(machine.hub.requests().is_empty(), "{line}");
    }
    let machine = machine();
    std::fs::write(machine.home.path().join("out.json"), "from before").unwrap();
    typed(&machine, "org/x --report out.json").ends_with(0);
    let text = std::fs::read_to_string(machine.home.path().join("out.json")).unwrap();
    assert!(text.starts_with('{'), "{text}");
}

#[test]
fn the_version_identifies_the_build() {
    let run = typed(&machine(), "--version").ends_with(0).shows(concat!("hfget ", env!("CARGO_PKG_VERSION")));
    for part in ["commit: ", "features: ", "target: "] {
        assert!(run.out.contains(part), "{part} is not in {}", run.out);
    }
    assert!(run.out.contains(std::env::consts::ARCH), "{}", run.out);
    let built = [("keyless", cfg!(feature = "keyless")), ("object-store", cfg!(feature = "object-store"))];
    for (feature, is) in built.into_iter().chain([("xet", cfg!(feature = "xet"))]) {
        assert_eq!(
            run.out.lines().any(|line| line.starts_with("features: ") && line.contains(feature)),
            is,
            "{feature}"
        );
    }
    assert_eq!(typed(&machine(), "-V").ends_with(0).out.lines().count(), 1);
}

/// The forms in which other tools write repos.
#[test]
fn a_repo_is_understood_however_it_is_written() {
    for line in [
        "org/x/",
        "org/x.git",
        "git@hf.co:org/x.git",
        "clone git@hf.co:org/x",
        "huggingface://org/x",
        "HUB/org/x.git",
        "HUB/org/x/",
        "models/org/x",
    ] {
        assert_eq!(takes(line).0, ["config.json", "model.safetensors"], "{line}");
    }
    let kernel = Repo::new("org/k").kind("kernels").file("build.toml", "[general]");
    let machine = Machine::new([kernel]);
    for line in ["kernels/org/k", "HUB/kernels/org/k", "org/k --repo-type kernel", "hf://kernels/org/k/build.toml"] {
        let run = typed(&machine, line).ends_with(0);
        assert_eq!(names(&run), ["build.toml"], "{line}");
        assert!(run.path().starts_with(machine.cache().join("kernels--org--k")), "{line}: {}", run.out);
    }
}

#[test]
fn a_text_that_is_nearly_a_repo_is_answered_with_its_right_form() {
    for (line, hint) in [
        (r"org\x", "write org/x"),
        ("./org/x", "write org/x"),
        ("org/x/config.json", "`hfget org/x config.json`"),
        ("https://huggingface.co/models?search=llama", "paste its address"),
        ("https://huggingface.co/docs/transformers", "paste its address"),
        ("https://huggingface.co/papers/1706.03762", "paste its address"),
    ] {
        let machine = machine();
        typed(&machine, line).ends_with(2).says(hint);
        assert!(machine.hub.requests().is_empty(), "{line}");
    }
}
