//! Repos that are not available: each reason has its own message, exit code and advice.

use hfget_loopback_hub::{Access, Repo, TOKEN};

use super::support::{Machine, Run, one_file};

fn with(access: Access) -> Machine {
    Machine::new([one_file(64).access(access)])
}

fn get(machine: &Machine, token: Option<&str>) -> Run {
    let mut command = machine.command();
    if let Some(token) = token {
        command.env("HF_TOKEN", token);
    }
    command.arg("org/one").output().unwrap().into()
}

#[test]
fn a_repo_that_does_not_exist_might_be_private() {
    let machine = Machine::new([one_file(64)]);
    machine.hfget("org/none").ends_with(3).says("org/none was not found").says("no token").says("HF_TOKEN");
    let mut command = machine.command();
    let run: Run = command.env("HF_TOKEN", TOKEN).arg("org/none").output().unwrap().into();
    run.ends_with(3).says("use the token of an account that may see it");
}

#[test]
fn a_private_repo_needs_the_token() {
    let machine = with(Access::Private);
    get(&machine, None).ends_with(3).says("private").says("HF_TOKEN");
    get(&machine, Some(TOKEN)).ends_with(0);
}

#[test]
fn a_token_file_is_as_good_as_the_variable() {
    let machine = with(Access::Private);
    std::fs::create_dir_all(machine.home.path().join("hf")).unwrap();
    std::fs::write(machine.home.path().join("hf/token"), format!("{TOKEN}\n")).unwrap();
    get(&machine, None).ends_with(0);
    let mut command = machine.command();
    let run: Run = command.env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1").arg("org/one").output().unwrap().into();
    run.ends_with(3);
}

#[test]
fn a_gated_repo_names_the_page_to_ask_at() {
    let page = "/org/one";
    get(&with(Access::Gated), None).ends_with(3).says("you have no access to org/one yet").says(page);
    get(&with(Access::GatedAway), Some(TOKEN)).ends_with(3).says("no access").says("the account of your token");
    get(&with(Access::Gated), Some(TOKEN)).ends_with(0);
}

#[test]
fn a_disabled_repo_says_so() {
    get(&with(Access::Disabled), Some(TOKEN)).ends_with(3).says("disabled");
}

#[test]
fn a_bad_token_is_named_as_the_cause() {
    let run = get(&with(Access::Public), Some("hf_wrong")).ends_with(3).says("token was refused");
    assert!(!run.err.contains("hf_wrong"), "a token is never printed: {}", run.err);
}

#[test]
fn a_revision_that_does_not_exist_names_those_that_do() {
    let machine = Machine::new([one_file(64).revision("v1.0").revision("refs/pr/3")]);
    machine.hfget("org/one@nope").ends_with(3).says("no revision \"nope\"").says("main").says("v1.0");
    let run = machine.hfget("org/one@v1.0").ends_with(0);
    assert!(machine.model("org/one").join("refs/v1.0").exists());
    assert_eq!(machine.hfget("org/one --revision refs/pr/3").ends_with(0).out, run.out);
    assert!(machine.model("org/one").join("refs/refs/pr/3").exists());
    let commit = one_file(64).commit();
    machine.hfget(&format!("org/one@{commit}")).ends_with(0);
    assert!(!machine.model("org/one").join("refs").join(&commit).exists(), "a commit needs no ref");
    machine.hfget("org/one@0123456789012345678901234567890123456789").ends_with(3);
}

#[test]
fn a_renamed_repo_is_followed_and_kept_under_the_name_asked_for() {
    let machine = Machine::new([one_file(64).once_named("old/name")]);
    machine.hfget("plan old/name").ends_with(0).shows("now org/one");
    machine.hfget("old/name").ends_with(0);
    // `from_pretrained("old/name", local_files_only=True)` looks under the given name.
    assert!(machine.model("old/name").exists());
}

#[test]
fn datasets_spaces_and_urls_are_addresses_too() {
    let machine = Machine::new([
        one_file(64),
        Repo::new("org/data").kind("datasets").file("train.csv", "a,b\n").lfs("big.parquet", [1; 99]),
    ]);
    let run = machine.hfget("datasets/org/data").ends_with(0);
    assert!(run.path().starts_with(machine.cache().join("datasets--org--data")));
    assert!(run.path().join("big.parquet").exists(), "a dataset is taken whole");
    let endpoint = machine.hub.endpoint();
    machine.run([format!("{endpoint}/org/one/tree/main").as_str()]).ends_with(0);
    machine.hfget("hf://org/one@main").ends_with(0);
    machine.hfget("models/org/one").ends_with(0);
}

#[test]
fn no_server_at_all() {
    let machine = Machine::new([one_file(64)]);
    let mut command = machine.command();
    let run: Run = command.env("HF_ENDPOINT", "http://127.0.0.1:9").arg("org/one").output().unwrap().into();
    run.ends_with(4).says("cannot connect").says("run again");
}

#[test]
fn a_server_that_speaks_plain_http_and_is_asked_over_https_is_named_at_once() {
    let machine = Machine::new([one_file(64)]);
    let secure = machine.hub.endpoint().replace("http://", "https://");
    let asked = |endpoint: &str| -> Run {
        machine.command().env("HF_ENDPOINT", endpoint).args(["org/one", "--retry-for", "60"]).output().unwrap().into()
    };
    let begun = std::time::Instant::now();
    let run = asked(&secure).ends_with(4).says("the server does not speak HTTPS on this port").says("write http://");
    assert!(begun.elapsed().as_secs() < 30 && !run.err.contains("InvalidContentType"), "{}", run.err);
    asked(&machine.hub.endpoint()).ends_with(0);
}

#[test]
fn nonsense_on_the_command_line_is_refused_before_any_request() {
    let machine = Machine::new([one_file(64)]);
    for line in [
        "",
        "../etc",
        "org/one --prefer nosuch",
        "org/one --only safetensors --prefer bin",
        "org/one --cache-dir a --local-dir b",
        "org/one --endpoint ftp://x",
        "org/one --jobs 0",
        "org/one@",
        "a/b/c/d",
        "org/one --include [",
    ] {
        let run = machine.hfget(line);
        assert_eq!(run.code, Some(2), "{line}: {}\n{}", run.err, run.out);
        assert!(!run.err.is_empty());
    }
    let asked: Vec<_> = machine.hub.requests();
    assert!(asked.iter().all(|r| !r.path.contains("/resolve/")), "{asked:?}");
}
