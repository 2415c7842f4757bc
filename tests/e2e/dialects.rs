//! Mirrors and proxies that differ from the Hub: each is used, or has an error of its own if it cannot be used.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use hfget_loopback_hub::{Access, Dialect, Fault, Hub, Kind, Options, Place, Repo, TOKEN, Tls};

use super::support::{CHATGLM, Machine, Run, codes, fixture, one_file};

const WEIGHTS: &str = "model.safetensors";

fn speaking(dialect: Dialect) -> Options {
    Options { dialect, page_size: 3, ..Options::default() }
}

/// Fetches a repo from a server with this dialect and checks every file; returns the run.
#[track_caller]
fn comes(dialect: Dialect, repo: &Repo) -> Run {
    let prefix = dialect.prefix;
    let machine = Machine::on(Hub::with(speaking(dialect), [repo.clone()]));
    let endpoint = format!("{}{prefix}", machine.hub.endpoint());
    let run = machine.run([repo.id(), "--endpoint", &endpoint, "--all"]).ends_with(0).says("verified");
    machine.assert_nothing_wrong(repo);
    assert!(machine.model(repo.id()).join("refs/main").exists());
    run
}

#[test]
fn next_pages_are_requested_from_the_endpoint_even_if_the_link_names_the_hub() {
    for link in ["https://huggingface.co", "http://127.0.0.9:1/some/prefix"] {
        comes(Dialect { link_to: Some(link.into()), ..Dialect::default() }, &fixture(CHATGLM));
    }
}

#[test]
fn a_server_below_a_path_and_a_link_without_it_work_together() {
    let prefix = "/artifactory/api/huggingfaceml/hub";
    comes(Dialect { prefix, ..Dialect::default() }, &fixture(CHATGLM));
    let link_to = Some("https://huggingface.co".into());
    comes(Dialect { prefix, link_to, ..Dialect::default() }, &fixture(CHATGLM));
}

#[test]
fn an_unknown_query_is_left_out() {
    comes(Dialect { knows_no_queries: true, ..Dialect::default() }, &one_file(64));
    // The twin: a repo that does not exist is still reported.
    let options = speaking(Dialect { knows_no_queries: true, ..Dialect::default() });
    Machine::on(Hub::with(options, [])).run(["org/one"]).ends_with(3).says("was not found");
}

#[test]
fn a_server_without_a_tree_lists_its_files_by_blobs() {
    for status in [404, 400] {
        let dialect = Dialect { no_tree: Some(status), ..Dialect::default() };
        comes(dialect, &fixture(CHATGLM)).says("note: the server has no /tree API");
    }
}

/// A server with only names and files: neither `/tree` nor `?blobs=true`.
fn names_only() -> Dialect {
    Dialect { no_tree: Some(404), no_blobs: true, ..Dialect::default() }
}

#[test]
fn a_server_that_lists_only_names_gets_a_request_for_each_files_headers() {
    let repo = fixture(CHATGLM);
    comes(names_only(), &repo).says("against=headers").says("note: the server has no /tree API");
    // `verify` asks for them again, once for each file.
    let machine = Machine::on(Hub::with(speaking(names_only()), [repo.clone()]));
    machine.run([CHATGLM, "--all"]).ends_with(0);
    machine.hub.forget();
    machine.run(["verify", CHATGLM, "--all"]).ends_with(0).says("against=headers");
    let heads =
        |suffix: &str| machine.hub.requests().iter().filter(|r| r.method == "HEAD" && r.path.ends_with(suffix)).count();
    assert_eq!(heads("/config.json"), 2, "one that redirects, one that answers");
    assert_eq!(heads(".safetensors"), 7);
    // The twin: a listing with digests is used, and there is no request for a single file.
    let run = comes(Dialect::default(), &repo).says("against=hub");
    assert!(!run.err.contains("note:"), "{}", run.err);
}

#[test]
fn wrong_bytes_are_found_by_digests_from_headers() {
    for file in [WEIGHTS, "config.json"] {
        let repo = one_file(1 << 20).file("LICENSE", "x");
        let machine = Machine::on(Hub::with(speaking(names_only()), [repo]));
        machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(1)).on(file));
        machine.run(["org/one", "--all"]).ends_with(1).says("checksum-mismatch").says(file);
    }
}

#[test]
fn without_a_listing_or_digests_the_error_names_the_missing_api_and_not_the_repo() {
    for (dialect, why) in [
        (Dialect { no_siblings: true, ..names_only() }, "names no files"),
        (Dialect { own_bytes: true, ..names_only() }, "names no digest"),
        (Dialect { odd_etags: true, ..names_only() }, "is not a digest of its bytes"),
    ] {
        let machine = Machine::on(Hub::with(speaking(dialect), [one_file(64)]));
        let run = machine.run(["org/one"]).ends_with(4).says("/tree/").says("?blobs=true").says(why).says("--mirror");
        assert!(!run.err.contains("not found"), "{}", run.err);
    }
    // The twin: a file without access does not mean a missing API.
    let gated = one_file(64).access(Access::Gated);
    let machine = Machine::on(Hub::with(speaking(names_only()), [gated]));
    machine.run(["org/one"]).ends_with(3).says("you have no access to org/one");
}

#[test]
fn digests_that_a_listing_leaves_out_come_from_headers_with_a_note() {
    let dialect = || Dialect { no_lfs: true, ..Dialect::default() };
    comes(dialect(), &one_file(5 << 20)).says("note: the listing has no LFS digests: those of 1 file are taken");
    // Wrong bytes are still found.
    let machine = Machine::on(Hub::with(speaking(dialect()), [one_file(1 << 20)]));
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(500)).on(WEIGHTS));
    machine.run(["org/one"]).ends_with(1).says("checksum-mismatch");
    // The twin: for a repo without LFS files there are no such requests.
    let repo = Repo::new("org/text").file("config.json", "{}").file("README.md", "x");
    let machine = Machine::new([repo]);
    let run = machine.run(["org/text", "--all"]).ends_with(0);
    assert!(!run.err.contains("note:"), "{}", run.err);
    assert!(machine.hub.requests().iter().all(|r| r.method == "GET"));
}

#[test]
fn headers_are_hints_and_bytes_decide() {
    for dialect in [
        Dialect { odd_etags: true, ..Dialect::default() },
        Dialect { no_size: true, ..Dialect::default() },
        Dialect { odd_etags: true, no_size: true, own_bytes: true, ..Dialect::default() },
    ] {
        comes(dialect.clone(), &one_file(5 << 20));
        // The twin: unusable headers do not hide a wrong byte.
        let machine = Machine::on(Hub::with(speaking(dialect), [one_file(1 << 20)]));
        machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(500)).on(WEIGHTS));
        machine.run(["org/one"]).ends_with(1).says("checksum-mismatch");
    }
}

#[test]
fn unencoded_names_in_a_location_are_understood() {
    let repo = one_file(64).file("模型 é.json", "{}");
    comes(Dialect { raw_location: true, ..Dialect::default() }, &repo);
}

#[test]
fn a_filter_of_agents_that_accepts_hf_hub_accepts_hfget() {
    comes(Dialect { agent: Some("hf_hub"), ..Dialect::default() }, &one_file(64));
}

#[test]
fn an_api_that_moved_to_https_is_followed_and_one_on_another_host_is_named() {
    let secure = Hub::with(Options { tls: Some(Tls::Both), ..Options::default() }, [one_file(64)]);
    let machine = Machine::new([one_file(64)]);
    for place in [Place::Api, Place::Tree] {
        machine.hub.fault(Fault::new(place, Kind::MovedTo(secure.endpoint())));
    }
    std::fs::write(machine.trusted(), secure.certificate().unwrap()).unwrap();
    let run: Run = machine.command().env("HF_TOKEN", TOKEN).arg("org/one").output().unwrap().into();
    run.ends_with(0);
    // For the token, another port is another server.
    assert!(!secure.requests().is_empty() && secure.requests().iter().all(|r| !r.token));
    machine.hub.heal();
    machine.hub.fault(Fault::new(Place::Api, Kind::MovedTo("http://127.0.0.9:1".into())));
    machine.run(["org/one", "--force"]).ends_with(4).says("add --endpoint http://127.0.0.9:1");
}

#[test]
fn a_repo_that_is_disabled_or_forbidden_by_law_is_not_available_for_any_status() {
    let disabled = || vec![("x-error-message", "Access to this resource is disabled.".to_owned())];
    for (status, headers) in [(451, Vec::new()), (403, disabled()), (401, disabled()), (404, disabled())] {
        for place in [Place::Api, Place::Resolve] {
            let machine = Machine::new([one_file(64)]);
            machine.hub.fault(Fault::new(place, Kind::Status(status, headers.clone())));
            let run = machine.run(["org/one"]).ends_with(3).says("disabled");
            assert!(!run.err.contains("attempt"), "{status} {place:?}: {}", run.err);
        }
    }
}

#[test]
fn a_mirror_that_wants_a_password_is_not_called_empty() {
    let machine = Machine::new([one_file(64)]);
    let basic = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
    machine.hub.fault(Fault::new(Place::Api, Kind::Status(401, basic)));
    machine.run(["org/one"]).ends_with(3).says("asks for a user name and a password").says("USER:PASSWORD@HOST");
    // The twin: the Hub's own 401 keeps its meaning.
    Machine::new([one_file(64).access(Access::Private)]).run(["org/one"]).ends_with(3).says("was not found");
}

#[test]
fn an_error_names_the_servers_id_of_the_request() {
    for name in ["x-request-id", "x-amzn-trace-id", "x-amz-cf-id"] {
        let machine = Machine::new([one_file(64)]);
        machine.hub.fault(Fault::new(Place::Api, Kind::Status(500, vec![(name, "Root=1-67af".to_owned())])));
        machine.run(["org/one"]).ends_with(4).says("request Root=1-67af");
    }
    // The message in the body is printed if there is no header.
    let machine = Machine::new([one_file(64)]);
    machine.hub.fault(Fault::new(Place::Api, Kind::Status(500, Vec::new())));
    machine.run(["org/one"]).ends_with(4).says("as ordered");
}

#[test]
fn a_warning_of_the_hub_is_passed_on_once() {
    let headers = vec![
        ("x-hf-warning", "quota; You are near your quota.".to_owned()),
        ("x-hf-warning", "other; Something\u{1b}[31m else.".replace('\u{1b}', "")),
    ];
    let run = comes(Dialect { headers, ..Dialect::default() }, &fixture(CHATGLM));
    assert_eq!(run.err.matches("says: You are near your quota.").count(), 1, "{}", run.err);
    assert_eq!(run.err.matches("Something").count(), 1, "{}", run.err);
}

/// `hf download` reads the headers of the answer at which it stops.
#[test]
fn a_mirror_whose_last_answer_names_no_commit_does_not_match() {
    let machine = Machine::new([one_file(1 << 20)]);
    let compare = |mirror: &Hub| -> Run {
        let mut command = machine.bare();
        command.args(["compare", "org/one", "--json", "--retry-for", "0.5", "--mirror", &mirror.endpoint()]);
        command.output().unwrap().into()
    };
    let own = Hub::with(speaking(Dialect { own_bytes: true, ..Dialect::default() }), [one_file(1 << 20)]);
    let run = compare(&own).ends_with(1);
    assert_eq!(codes(&run.json()["comparisons"][0]), ["metadata-missing"]);
    // The twin: the redirect to another host is the last answer, and has all headers.
    compare(&Hub::start([one_file(1 << 20)])).ends_with(0);
}

#[test]
fn places_in_the_environment_are_read_as_python_reads_them() {
    let machine = Machine::new([one_file(64)]);
    let home = machine.home.path();
    for (name, value, place) in [
        ("HF_HOME", "$HOME/a", "a/hub"),
        ("HF_HOME", "${HOME}/b", "b/hub"),
        ("HF_HUB_CACHE", "~/c", "c"),
        ("XDG_CACHE_HOME", "~/d", "d/huggingface/hub"),
    ] {
        let run: Run = machine.command().env_remove("HF_HOME").env(name, value).arg("org/one").output().unwrap().into();
        assert!(run.ends_with(0).path().starts_with(home.join(place)), "{name}={value}");
    }
    // Homes of other users, and of this one without $HOME, come from the list of users.
    let list = std::fs::read_to_string("/etc/passwd").unwrap();
    let home_of = |column: usize, value: &str| -> String {
        let line = list.lines().find(|line| line.split(':').nth(column) == Some(value)).unwrap();
        line.split(':').nth(5).unwrap().to_owned()
    };
    let id = rustix::process::getuid().as_raw().to_string();
    for (name, value, place) in [
        ("HF_HUB_CACHE", "~root/no-such-cache", format!("{}/no-such-cache", home_of(0, "root"))),
        ("HF_HUB_CACHE", "~/no-such-cache", format!("{}/no-such-cache", home_of(2, &id))),
        ("HF_HUB_CACHE", "$NO_SUCH_VARIABLE/x", "$NO_SUCH_VARIABLE/x".to_owned()),
    ] {
        let mut command = machine.command();
        command.env_remove("HOME").env(name, value).args(["org/one", "--offline"]);
        Run::from(command.output().unwrap()).ends_with(3).says(&place);
    }
    // The place of the token.
    let private = Machine::new([one_file(64).access(Access::Private)]);
    std::fs::write(private.home.path().join("mine"), TOKEN).unwrap();
    for value in ["~/mine", "$HOME/mine", "${HOME}/mine"] {
        let run: Run =
            private.command().env("HF_TOKEN_PATH", value).args(["org/one", "--force"]).output().unwrap().into();
        run.ends_with(0);
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_and_one_that_wants_a_login_is_explained() {
    let machine = Machine::new([one_file(64)]);
    let with = |pairs: &[(&str, &str)], more: &[&str]| -> Run {
        machine.command().envs(pairs.iter().copied()).arg("org/one").args(more).output().unwrap().into()
    };
    let run = with(&[("HTTPS_PROXY", "socks://me:pa55word@127.0.0.1:9")], &[]).ends_with(2).says("HTTPS_PROXY");
    assert!(!run.err.contains("pa55word"), "{}", run.err);
    assert_eq!(machine.hub.requests(), []);
    with(&[("HTTP_PROXY", "http://127.0.0.1:9"), ("NO_PROXY", "*")], &[]).ends_with(0);
    with(&[("HTTP_PROXY", "socks5://127.0.0.1:9")], &["--offline"]).ends_with(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
        }
    });
    for endpoint in ["http://hub.example", "https://hub.example"] {
        let pairs = [("HTTP_PROXY", proxy.as_str()), ("HTTPS_PROXY", proxy.as_str())];
        with(&pairs, &["--endpoint", endpoint, "--force"]).ends_with(4).says("the proxy wants a user name");
    }
}

#[test]
fn without_a_store_of_certificates_only_https_fails() {
    let machine = Machine::new([one_file(64)]);
    let empty = machine.home.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let run =
        |words: &[&str]| -> Run { machine.bare().env("SSL_CERT_DIR", &empty).args(words).output().unwrap().into() };
    run(&["org/one"]).ends_with(0);
    run(&["verify", "org/one", "--offline"]).ends_with(0);
    // The certificates inside the program are for the real Hub, and not for the loopback Hub.
    let secure = Hub::with(Options { tls: Some(Tls::Both), ..Options::default() }, [one_file(64)]);
    run(&["org/one", "--force", "--endpoint", &secure.endpoint()]).ends_with(4).says("certificate is not trusted");
}
