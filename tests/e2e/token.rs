//! The token goes only to the endpoint that the user configured, and is shown nowhere. `token_elsewhere` has the servers that
//! a run asks beside the endpoint.

use std::time::Duration;

use hfget_loopback_hub::{Access, Fault, Hub, JOB, Kind, Options, Place, RESOURCE, TOKEN};

use super::support::{Machine, Run, one_file};

/// The size of the weights: large enough that a mirror is asked for them.
pub(super) const SIZE: usize = 5 << 20;

/// Runs a line with the token in the environment and in the token file, and with short timeouts.
pub(super) fn run(machine: &Machine, line: &str) -> Run {
    let file = machine.home.path().join("hf/token");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, TOKEN).unwrap();
    let mut command = machine.bare();
    command.env("HF_TOKEN", TOKEN).args(line.split_whitespace());
    let run: Run = command.output().unwrap().into();
    for said in [&run.out, &run.err] {
        assert!(!said.contains(TOKEN), "{line}:\n{said}");
    }
    run
}

/// The credentials that a server received.
pub(super) fn told(hub: &Hub) -> Vec<String> {
    hub.requests().into_iter().flat_map(|request| request.credentials).collect()
}

#[test]
fn a_pasted_url_of_another_host_is_asked_without_the_token_and_with_a_note() {
    let machine = Machine::new([one_file(SIZE)]);
    let other = Hub::start([one_file(SIZE)]);
    let (url, own) = (other.endpoint(), machine.hub.endpoint());
    let list = machine.home.path().join("list");
    std::fs::write(&list, format!("{url}/org/one\n")).unwrap();
    let third = Hub::start([one_file(SIZE)]);
    for line in [
        format!("{url}/org/one --local-dir a"),
        format!("plan {url}/org/one"),
        format!("inspect {url}/org/one"),
        format!("verify {url}/org/one --local-dir a"),
        format!("lock {url}/org/one"),
        format!("--from-file {} --local-dir b", list.display()),
        format!("compare {url}/org/one --mirror {}", third.endpoint()),
    ] {
        other.forget();
        let host = url.trim_start_matches("http://");
        run(&machine, &line).says(&format!("note: the token is not sent to {host}"));
        assert!(!other.requests().is_empty(), "{line}");
        assert_eq!(told(&other), [""; 0], "{line}");
    }
    // A pasted URL of the endpoint is the endpoint.
    for line in [format!("plan {own}/org/one"), format!("plan {url}/org/one --endpoint {url}")] {
        let run = run(&machine, &line).ends_with(0);
        assert!(!run.err.contains("token"), "{line}: {}", run.err);
    }
    assert!(!told(&machine.hub).is_empty() && !told(&other).is_empty());
}

#[test]
fn a_user_in_the_endpoints_url_is_sent_as_the_one_authorization_and_is_not_shown() {
    let machine = Machine::new([one_file(SIZE)]);
    let url = machine.hub.endpoint().replace("://", "://me:pa%24sword@");
    // The loopback Hub does not know the user, so it refuses.
    let run = run(&machine, &format!("org/one --endpoint {url} -v --retry-for 0.05"));
    let run = run.says("note: the token is not sent: the URL of").ends_with(3);
    assert!(!run.err.contains("pa%24sword") && !run.err.contains("pa$sword"), "{}", run.err);
    let requests = machine.hub.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert_eq!(request.credentials, ["Basic bWU6cGEkc3dvcmQ="], "{}", request.path);
    }
}

#[test]
fn a_user_in_a_pasted_url_is_refused_and_not_shown() {
    let machine = Machine::new([one_file(SIZE)]);
    let url = machine.hub.endpoint().replace("://", "://me:hf_pastedsecret@");
    for line in [
        format!("plan {url}/org/one"),
        format!("{url}/org/one"),
        format!("verify {url}/org/one"),
        "plan https://hf_pastedsecret@huggingface.co/org/one".to_owned(),
        format!("compare {url}/org/one --mirror http://127.0.0.1:9"),
    ] {
        let run = run(&machine, &line).ends_with(2).says("has a user name or a password").says("HF_TOKEN");
        assert!(!run.err.contains("pastedsecret"), "{line}: {}", run.err);
    }
    // A URL that does not name a repo is not repeated in the error either.
    let run = run(&machine, &format!("plan {url}/a/b/c/d/e")).ends_with(2);
    assert!(!run.err.contains("pastedsecret"), "{}", run.err);
    assert_eq!(machine.hub.requests(), []);
}

/// The accepted contents of a token file.
#[test]
fn a_token_file_is_read_as_editors_write_it_and_named_if_it_is_unusable() {
    let machine = Machine::new([one_file(64).access(Access::Private)]);
    let file = machine.home.path().join("hf/token");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let get = |content: &[u8], more: &[&str]| -> Run {
        std::fs::write(&file, content).unwrap();
        machine.bare().args(["org/one"]).args(more).output().unwrap().into()
    };
    for content in [
        TOKEN.to_owned(),
        format!("{TOKEN}\n"),
        format!("{TOKEN}\r\n"),
        format!("\u{feff}{TOKEN}\r\n"),
        format!("\n  {TOKEN}  \n\n"),
    ] {
        get(content.as_bytes(), &["--force"]).ends_with(0);
    }
    get(b" \n", &["--force"]).ends_with(3);
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(TOKEN.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for (content, why) in [
        (utf16, "it is UTF-16"),
        (format!("{TOKEN}\nsecond line").into_bytes(), "several lines"),
        (b"\xc3\x28".to_vec(), "not UTF-8"),
    ] {
        let run = get(&content, &["--force"]).ends_with(2).says("hf/token").says(why);
        assert!(!run.err.contains(TOKEN), "{}", run.err);
    }
    // A run without requests needs no token.
    get(b"\xff\xfe\x00", &["--offline"]).ends_with(0);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let run: Run = machine.bare().args(["org/one", "--force"]).output().unwrap().into();
    run.ends_with(2).says("hf/token");
}

/// An endpoint, or a proxy in front of it, may repeat the token that it received.
#[test]
fn a_token_that_the_endpoint_repeats_is_hidden_in_every_encoding() {
    let encoded = TOKEN.replace('_', "%5f");
    for (token, modes) in
        [(TOKEN, &["-v", "--json", "--progress json -v", "--exclude x/** -v"][..]), (&encoded, &["-v"])]
    {
        let machine = Machine::new([one_file(SIZE).raw_entry(&format!("x/../{token}"), 1)]);
        let message = |status| Kind::Status(status, vec![("x-error-message", format!("you sent {token}"))]);
        let long = Kind::Status(403, vec![("x-error-message", format!("{}{token}", "x".repeat(290)))]);
        for (place, kind) in [
            (Place::Api, message(401)),
            (Place::Api, message(500)),
            (Place::Api, long),
            (Place::Api, Kind::Redirect(format!("http://127.0.0.9:1/{token}"))),
            (Place::Resolve, Kind::Redirect(format!("http://127.0.0.1:1/{token}/x"))),
            (Place::Bytes, Kind::Status(206, vec![("content-range", format!("bytes {token}"))])),
            (Place::Api, Kind::Body(format!("{{\"sha\":\"{}\",\"id\":\"{token}/a/b\"}}", "0".repeat(40)))),
            (Place::Tree, Kind::Body(format!("[{{\"type\":\"file\",\"path\":\"{token}\"}}]"))),
            (Place::XetToken, Kind::Status(404, Vec::new())),
        ] {
            machine.hub.fault(Fault::new(place, kind.clone()));
            for mode in modes {
                let run = run(&machine, &format!("org/one {mode} --retry-base-ms 1 --retry-for 0.05"));
                for said in [&run.out, &run.err] {
                    assert!(!said.contains(token), "{kind:?} {mode}:\n{said}");
                    // Half of the token must not appear either.
                    assert!(!said.contains("hf_loop"), "{kind:?} {mode}:\n{said}");
                }
            }
            machine.hub.heal();
        }
    }
}

/// Names of a repo that a CI system would read as a command.
#[test]
fn no_name_of_a_repo_is_a_command_to_a_ci_system() {
    let names =
        ["::stop-commands::x.py", "a ::error::b.py", "##[error]c.py", "d##vso[task.setvariable]e.py", "###[x]f.py"];
    let repo = names.iter().fold(one_file(64), |repo, name| repo.file(name, "x"));
    let machine = Machine::new([repo]);
    for line in [
        "plan org/one --all -v",
        "plan org/one --all --json",
        "org/one --all -v",
        "org/one --all --force --json",
        "org/one --all --force --progress json",
        "org/one --all --format junit --force",
        "verify org/one --all -v",
        "lock org/one --all -v",
        "org/one --include ::*",
    ] {
        let run = run(&machine, line);
        for text in run.out.lines().chain(run.err.lines()) {
            let hit = text.trim_start().starts_with("::") || ["##[", "##vso["].iter().any(|c| text.contains(c));
            assert!(!hit, "{line}: {text}");
        }
    }
    let run = run(&machine, "plan org/one --all --json").ends_with(0);
    for name in names {
        assert!(run.json()["plans"][0].to_string().contains(name), "JSON names the file itself: {name}");
    }
}

#[test]
fn advice_on_revisions_is_read_with_a_bound() {
    let machine = Machine::new([one_file(64)]);
    machine.hfget("org/one@nope").ends_with(3).says("main");
    let many = format!("{{\"branches\":[{{\"name\":\"far\"}}],\"pad\":\"{}\"}}", "x".repeat(2 << 20));
    machine.hub.fault(Fault::new(Place::Refs, Kind::Body(many)));
    let run = machine.hfget("org/one@nope").ends_with(3).says("no revision");
    assert!(!run.err.contains("far"), "{}", run.err);
}

/// Credentials that only other programs read are named if they matter, and not otherwise.
#[test]
fn credentials_that_are_not_read_are_named() {
    let machine = Machine::new([one_file(64)]);
    let run = |line: &str, variables: &[(&str, &str)]| -> String {
        let mut command = machine.command();
        command.args(line.split(' ')).envs(variables.iter().copied());
        Run::from(command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_REGION", "x").output().unwrap()).err
    };
    let profile = ("AWS_PROFILE", "work");
    let keys = [profile, ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let said = "AWS_PROFILE is set, and hfget does not read profiles";
    assert!(run("org/one --mirror s3://bucket/x", &keys[..1]).contains(said));
    assert!(!run("org/one --mirror s3://bucket/x", &keys).contains(said));
    assert!(!run("org/one", &keys[..1]).contains(said));
}

/// A run that takes longer than its token is valid asks for the next token in time.
#[test]
fn the_token_of_a_job_is_renewed_during_the_run() {
    let names = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"];
    let repo = names.iter().fold(one_file(64), |repo, name| repo.lfs(name, name.repeat(8_000)));
    let renewed = |job_token_for: u64| {
        let options = Options { job_token_for: Duration::from_secs(job_token_for), ..Options::default() };
        let machine = Machine::on(Hub::with(options, [repo.clone().access(Access::Gated)]));
        let mut command = machine.command();
        command.args(["org/one", "--all", "--max-workers", "1", "--limit-rate", "60kB", "-v"]);
        command.envs([("HF_OIDC_RESOURCE", RESOURCE), ("HF_OIDC_ID_TOKEN", JOB)]);
        let run = Run::from(command.output().unwrap()).ends_with(0);
        assert!(!run.err.contains(TOKEN) && !run.err.contains(JOB), "{}", run.err);
        (machine.hub.requests().iter().filter(|r| r.path == "/oauth/token").count(), run)
    };
    let (asked, run) = renewed(301);
    assert!(asked >= 3 && run.err.contains("the token of this job was renewed"), "{asked}: {}", run.err);
    let (asked, _) = renewed(3600);
    assert_eq!(asked, 1, "a token that is good is not renewed");
}

/// A CI job without a token gets one for the repo that trusts it, or an error with the reason; no other token is sent.
#[test]
fn a_job_that_a_repo_trusts_needs_no_token() {
    let machine = Machine::new([one_file(64).access(Access::Gated)]);
    let run = |line: &str, variables: &[(&str, &str)]| -> Run {
        let mut command = machine.command();
        command.args(line.split(' ')).envs(variables.iter().copied());
        machine.hub.forget();
        command.output().unwrap().into()
    };
    let exchanges = || machine.hub.requests().iter().filter(|r| r.path == "/oauth/token").count();
    let (resource, id) = (("HF_OIDC_RESOURCE", RESOURCE), ("HF_OIDC_ID_TOKEN", JOB));
    run("org/one", &[]).ends_with(3);
    run("org/one", &[resource, id]).ends_with(0);
    assert_eq!(exchanges(), 1);
    // GitHub's form of the URL.
    let server = format!("{}/ci/id-token?api-version=2", machine.hub.endpoint());
    let github = [
        resource,
        ("GITHUB_ACTIONS", "true"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", server.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-token"),
    ];
    run("org/one --force", &github).ends_with(0);
    assert_eq!(exchanges(), 1);
    // The job's token wins over another one, and the other one is not sent after a failure either.
    run("org/one --force", &[resource, id, ("HF_TOKEN", "hf_wrong")]).ends_with(0);
    let said = run("org/one --force", &[("HF_OIDC_RESOURCE", "org/other"), id, ("HF_TOKEN", TOKEN)]).ends_with(3);
    assert!(said.err.contains("gave no token: 400") && said.err.contains("trust this job"), "{}", said.err);
    assert!(!said.err.contains(JOB) && !said.err.contains(TOKEN), "{}", said.err);
    assert!(machine.hub.requests().iter().all(|r| r.path == "/oauth/token" && !r.token), "no other request is made");
    run("org/one --force", &[resource]).ends_with(2).says("id-token: write");
    let elsewhere = [github[0], github[1], ("ACTIONS_ID_TOKEN_REQUEST_URL", "http://ci.example.org/x"), github[3]];
    run("org/one --force", &elsewhere).ends_with(2).says("over plain HTTP");
    machine.hub.down(true);
    run("org/one --force", &[resource, id]).ends_with(4);
    machine.hub.down(false);
    // A run without requests, or with its own token, does not ask for one; the host of a pasted URL does not get it
    // either.
    run("org/one --offline", &[resource]).ends_with(0);
    run(&format!("org/one --force --token {TOKEN}"), &[resource]).ends_with(0);
    run("org/one --force", &[("HF_OIDC_RESOURCE", "")]).ends_with(3);
    let other = Hub::start([one_file(64)]);
    run(&format!("{}/org/one --force", other.endpoint()), &[resource, id]).ends_with(0);
    assert_eq!(exchanges(), 0);
    assert!(other.requests().iter().all(|r| r.path != "/oauth/token" && !r.token));
}
