//! hfget in a pipeline: policy gates, reports in the forms of CI systems, events, and the summary
//! line for logs.

use hfget_loopback_hub::Repo;
use serde_json::Value;

use super::support::{CHATGLM, Machine, Run, fixture, safetensors};

fn broken() -> Repo {
    let mut bad = safetensors("w", 64);
    bad.truncate(70);
    Repo::new("org/bad").file("config.json", "{}").lfs("model.safetensors", bad)
}

fn good() -> Repo {
    Repo::new("org/good").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 64))
}

#[test]
fn a_denied_finding_stops_a_run_before_its_weights_and_an_allowed_one_does_not() {
    let machine = Machine::new([fixture(CHATGLM), good(), broken()]);
    let run = machine.hfget(&format!("{CHATGLM} --deny remote-code")).ends_with(1);
    assert!(run.err.contains("error[remote-code] modeling_chatglm.py"), "{}", run.err);
    assert!(machine.hub.requests().iter().all(|r| !r.path.ends_with(".safetensors")), "no weights were fetched");
    machine.hfget(&format!("plan {CHATGLM} --deny remote-code")).ends_with(1);
    let without = Machine::new([fixture(CHATGLM)]);
    without.hfget(&format!("{CHATGLM} --deny remote-code --no-code")).ends_with(0);
    without.hfget(&format!("verify {CHATGLM} --offline --no-code --deny remote-code,foreign-code")).ends_with(0);
    machine.hfget(CHATGLM).ends_with(0);
    machine.hfget(&format!("verify {CHATGLM} --offline --deny remote-code")).ends_with(1);
    // A fallback is a warning by default.
    machine.hfget("org/good --prefer bin").ends_with(0).says("warning[family-fallback]");
    machine.hfget("org/good --prefer bin --deny family-fallback").ends_with(1).says("--deny forbids it");
    machine.hfget("org/bad").ends_with(1).says("error[tensor-out-of-bounds]");
    machine.hfget("org/bad --allow header-invalid,tensor-out-of-bounds").ends_with(0).says("warning[");
    machine.hfget("org/bad --allow checksum-mismatch").ends_with(2).says("cannot be allowed");
    machine.hfget("org/bad --deny everything").ends_with(2).says("not a finding code");
}

/// A repo with code of its own, and one whose code is in another repo.
fn coded() -> [Repo; 3] {
    let named = r#"{"auto_map": {"AutoModel": "code/one--modeling_x.Model"}}"#;
    let model = Repo::new("org/foreign").file("config.json", named).lfs("model.safetensors", safetensors("w", 64));
    [fixture(CHATGLM), model, Repo::new("code/one").file("modeling_x.py", "x = 1\n")]
}

/// A lockfile, `--all` and names take files without a look at what loads them.
#[test]
fn code_is_denied_however_its_files_were_chosen() {
    let machine = Machine::new(coded().into_iter().chain([good()]));
    let own = "error[remote-code] modeling_chatglm.py";
    for how in ["--all", "*.py", "modeling_chatglm.py", "--no-code --with *.py", "--include *.py"] {
        machine.hfget(&format!("{CHATGLM} {how} --deny remote-code")).ends_with(1).says(own);
    }
    let foreign = "error[foreign-code] config.json";
    machine.hfget("org/foreign --all --deny foreign-code").ends_with(1).says(foreign);
    for (repo, error) in [(CHATGLM, own), ("org/foreign", foreign)] {
        machine.hfget(&format!("lock {repo} -o one.lock")).ends_with(0);
        let run = machine.hfget("--locked=one.lock --deny remote-code,foreign-code").ends_with(1).says(error);
        assert_eq!(run.err.matches("nothing was fetched").count(), 1, "once for all files: {}", run.err);
        assert!(!run.err.contains("--follow-code"), "{}", run.err);
        machine.hfget("plan --locked=one.lock --deny remote-code,foreign-code").ends_with(1);
        // Without a policy it is fetched, and found later.
        machine.hfget("--locked=one.lock").ends_with(0);
        machine.hfget("verify --lock one.lock --deny remote-code,foreign-code").ends_with(1).says(error);
        std::fs::remove_file(machine.home.path().join("one.lock")).unwrap();
    }
    // The twins: a repo without code, and one that was locked without it.
    machine.hfget("lock org/good").ends_with(0);
    machine.hfget(&format!("lock {CHATGLM} --no-code")).ends_with(0);
    machine.hfget("--locked --deny remote-code,foreign-code").ends_with(0);
    machine.hfget("org/good --all --deny remote-code,foreign-code").ends_with(0);
}

/// The licence and the Hub's own scan, from the one request that pins the commit.
#[test]
fn the_facts_of_the_repos_page_are_shown_and_its_scan_can_be_denied() {
    let machine = Machine::new([good().issue("model.safetensors", "suspicious").issue("other.pkl", "unsafe")]);
    let run = machine.hfget("plan org/good").ends_with(0).shows("license apache-2.0");
    assert!(
        run.out.contains("warning[hub-scan] model.safetensors: the Hub's own scan calls it suspicious"),
        "{}",
        run.out
    );
    assert!(!run.out.contains("other.pkl"), "it is not selected: {}", run.out);
    assert_eq!(machine.hfget("plan org/good --json").ends_with(0).json()["plans"][0]["license"], "apache-2.0");
    machine.hfget("org/good --deny hub-scan").ends_with(1).says("--deny forbids it");
    machine.hfget("org/good").ends_with(0).says("warning[hub-scan]");
}

#[test]
fn reports_come_in_the_forms_that_ci_systems_read() {
    let machine = Machine::new([good(), broken()]);
    let run = machine.hfget("org/good org/bad org/none --format junit").ends_with(1);
    for part in [
        "<testsuite name=\"org/good\"",
        "<testcase name=\"model.safetensors\" classname=\"org/bad\">",
        "<failure message=",
        "type=\"tensor-out-of-bounds\"",
        "tests=\"7\" skipped=\"0\" failures=\"1\" errors=\"1\"",
    ] {
        assert!(run.out.contains(part), "no {part} in\n{}", run.out);
    }
    let run = machine.hfget("org/good org/bad --format github").ends_with(1);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines[0], "::notice title=hfget org/good::result=verified against=kept-listing");
    assert_eq!(lines[1], "::error title=hfget org/bad::result=failed");
    assert!(
        lines[2].starts_with("::error title=hfget org/bad%3A tensor-out-of-bounds::model.safetensors: "),
        "{lines:?}"
    );
    let run = machine.hfget("org/good org/bad --report out.xml").ends_with(1);
    assert!(run.path().join("model.safetensors").exists(), "stdout is unchanged");
    let file = |name: &str| std::fs::read_to_string(machine.home.path().join(name)).unwrap();
    assert!(file("out.xml").starts_with("<?xml") && file("out.xml").contains("org/bad"));
    machine.hfget("org/good org/bad --report out.json").ends_with(1);
    let report: Value = serde_json::from_str(&file("out.json")).unwrap();
    assert_eq!((report["schema_version"].as_u64(), report["reports"].as_array().unwrap().len()), (Some(1), 2));
    machine.hfget("org/good --json --format junit").ends_with(2);
    machine.hfget("org/good --report no/such/folder.json").ends_with(5).says("cannot write");
}

#[test]
fn a_line_for_each_repo_states_its_result() {
    let machine = Machine::new([good(), broken()]);
    let run = machine.hfget("org/good org/bad org/none").ends_with(1);
    let lines: Vec<&str> = run.err.lines().filter(|l| l.starts_with("hfget: result=")).collect();
    assert_eq!(lines.len(), 3, "{}", run.err);
    // A missing repo is reported before anything is fetched.
    assert_eq!(lines[0], "hfget: result=error repo=org/none");
    assert!(lines[1].starts_with("hfget: result=verified against=hub repo=org/good commit="), "{}", lines[1]);
    assert!(lines[1].contains(" files=2 ") && lines[1].contains(" errors=0 "), "{}", lines[1]);
    assert!(lines[2].starts_with("hfget: result=failed repo=org/bad "), "{}", lines[2]);
    let quiet = machine.hfget("org/good -q").ends_with(0);
    assert_eq!(quiet.err, "");
}

/// One run warms a cache with all repos that a file lists.
#[test]
fn many_repos_are_named_in_a_file() {
    let machine = Machine::new([good(), fixture(CHATGLM)]);
    let list = machine.home.path().join("repos.txt");
    std::fs::write(&list, format!("# what we deploy\norg/good\n\n{CHATGLM}@main   # the chat model\n")).unwrap();
    let report = machine.hfget("--from-file repos.txt --json").ends_with(0).json();
    assert_eq!(report["reports"].as_array().unwrap().len(), 2);
    machine.hfget("plan org/good --from-file repos.txt").ends_with(0).shows("chatglm3-6b");
    std::fs::write(&list, "org/good\nnot/a/repo\n").unwrap();
    machine.hfget("--from-file repos.txt").ends_with(2).says("repos.txt:2").says("not/a/repo");
    machine.hfget("--from-file none.txt").ends_with(2).says("none.txt");
    std::fs::write(&list, "# nothing\n").unwrap();
    machine.hfget("--from-file repos.txt").ends_with(2).says("names no repo");
}

#[test]
fn of_many_repos_each_verified_one_gets_one_line() {
    let repo = |id: &str| Repo::new(id).file("config.json", "{}").lfs("model.safetensors", safetensors("w", 64));
    let machine = Machine::new([repo("org/a"), repo("org/b"), repo("org/c"), repo("org/d"), broken()]);
    let shown = |line: &str| -> Vec<String> {
        let run = machine.hfget(line);
        run.err.lines().filter(|l| !l.starts_with("fetching") && !l.starts_with("hfget:")).map(str::to_owned).collect()
    };
    let lines = shown("org/a org/b org/c org/d");
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines.iter().all(|l| l.starts_with("✓ org/") && l.contains("verified against")), "{lines:?}");
    assert!(lines[0].contains("2 files, ") && lines[0].contains(" fetched in "), "{lines:?}");
    let lines = shown("org/a org/b org/c org/bad");
    assert!(lines.len() > 5 && lines.iter().any(|l| l.contains("error[tensor-out-of-bounds]")), "{lines:?}");
    // The twins: a few repos, and verbose output, have the full report.
    assert!(shown("org/a org/b org/c").len() >= 9);
    assert!(shown("org/a org/b org/c org/d -v").len() >= 12);
}

#[test]
fn progress_is_one_event_a_line_on_request() {
    let machine = Machine::new([good(), broken()]);
    let events = |run: &Run| -> Vec<Value> {
        run.err.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    };
    let run = machine.hfget("org/good --progress json").ends_with(0);
    let all = events(&run);
    let names: Vec<&str> = all.iter().map(|e| e["event"].as_str().unwrap()).collect();
    for name in ["resolved", "planned", "file-started", "bytes", "file-done", "report"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let last = all.iter().rfind(|e| e["event"] == "bytes").unwrap();
    assert_eq!(last["done"], last["total"]);
    assert_eq!(all.last().unwrap()["verified"], true);
    let all = events(&machine.hfget("org/none --progress json").ends_with(3));
    assert_eq!(all.last().unwrap()["event"], "error");
    assert_eq!(
        machine
            .hfget("org/good --progress none")
            .ends_with(0)
            .err
            .lines()
            .filter(|l| l.starts_with("fetching"))
            .count(),
        0
    );
}
