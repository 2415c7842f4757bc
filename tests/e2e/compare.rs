//! Two Hubs, one of which claims to be a mirror of the other: each kind of difference has its finding.

use std::process::Command;

use hfget_loopback_hub::{Access, Dialect, Fault, Hub, Kind, Options, Place, Repo};
use serde_json::Value;

use super::support::{CHATGLM, Machine, Run, codes, fixture, one_file};

/// Larger than a file that is read whole.
const BIG: usize = 1 << 20;
const FILE: &str = "model.safetensors";

fn compare(machine: &Machine, mirror: &str, more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    command
        .args(["compare", "--retry-base-ms", "2", "--retry-for", "0.5", "--stall-timeout", "0.5", "--mirror", mirror])
        .args(more);
    command.output().unwrap().into()
}

/// The only comparison of a run that ends with this code.
#[track_caller]
fn report(machine: &Machine, mirror: &str, more: &[&str], code: i32) -> Value {
    let run = compare(machine, mirror, &[more, &["--json", "--seed", "1"]].concat()).ends_with(code);
    run.json()["comparisons"][0].clone()
}

/// Compares a mirror with one fault; returns the report at a level.
#[track_caller]
fn tampered(fault: Fault, level: &str) -> Value {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    mirror.fault(fault);
    report(&machine, &mirror.endpoint(), &["org/one", "--level", level], 1)
}

/// A Hub with other content in the repo, which still claims the commit.
fn claiming(repo: Repo) -> Hub {
    Hub::start([repo.at(&one_file(BIG).commit())])
}

#[test]
fn a_mirror_that_matches_matches_at_every_level_and_nothing_is_stored() {
    for (id, repo) in
        [("org/one", one_file(BIG)), (CHATGLM, fixture(CHATGLM)), ("org/tiny-sdxl", fixture("org/tiny-sdxl"))]
    {
        let machine = Machine::new([repo.clone()]);
        for options in [Options::default(), Options { legacy_resolve: true, page_size: 3, ..Options::default() }] {
            let mirror = Hub::with(options, [repo.clone()]);
            for level in ["metadata", "sample", "full"] {
                let run = compare(&machine, &mirror.endpoint(), &[id, "--level", level])
                    .ends_with(0)
                    .says("the mirror matches");
                let last = run.out.lines().last().unwrap_or_default();
                let start = format!("compare: {id} mirror={}/ level={level} files=", mirror.endpoint());
                assert!(last.starts_with(&start) && last.ends_with(" findings=0 result=true"), "{last}");
                assert!(!run.err.contains("warning["), "{}", run.err);
            }
        }
        assert!(!machine.cache().exists(), "nothing is stored");
    }
}

#[test]
fn a_full_comparison_reads_every_byte_of_the_mirror_and_few_of_the_endpoint() {
    let machine = Machine::new([one_file(8 << 20)]);
    let mirror = Hub::start([one_file(8 << 20)]);
    let value = report(&machine, &mirror.endpoint(), &["org/one", "--level", "full"], 0);
    assert_eq!((&value["result"], &value["files"][1]["checked"]), (&"true".into(), &"digest".into()));
    assert!(mirror.bytes_sent() >= 8 << 20);
    assert!(machine.hub.bytes_sent() < 1 << 20, "{}", machine.hub.bytes_sent());
    let asked = machine.hub.requests().len();
    let value = report(&machine, &mirror.endpoint(), &["org/one", "--level", "metadata"], 0);
    assert_eq!(value["bytes"], 0);
    assert!(machine.hub.requests().len() - asked < 12, "a few requests");
}

#[test]
fn a_stale_mirror_is_named_and_its_files_are_those_of_its_own_commit() {
    let machine = Machine::new([one_file(BIG)]);
    let old = one_file(BIG).file("config.json", "{ }");
    let mirror = Hub::start([old.clone()]);
    let value = report(&machine, &mirror.endpoint(), &["org/one"], 1);
    assert_eq!((&value["commit"], &value["mirror_commit"]), (&one_file(BIG).commit().into(), &old.commit().into()));
    let codes = codes(&value);
    assert!(codes.contains(&"commit-stale") && codes.contains(&"size-mismatch"), "{codes:?}");
    assert_eq!(value["files"][1]["same"], true, "an unchanged file is the same: {value}");
    let pinned = format!("org/one@{}", one_file(BIG).commit());
    compare(&machine, &mirror.endpoint(), &[&pinned]).ends_with(3).shows("result=error");
}

#[test]
fn missing_and_extra_files_are_named() {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = claiming(one_file(BIG).without(FILE).file("own.txt", "x"));
    for level in ["metadata", "sample", "full"] {
        let value = report(&machine, &mirror.endpoint(), &["org/one", "--level", level], 1);
        assert_eq!(codes(&value), ["file-missing", "file-extra"]);
        assert_eq!((&value["findings"][0]["path"], &value["findings"][1]["path"]), (&FILE.into(), &"own.txt".into()));
    }
    // A file that is listed but missing.
    let mirror = Hub::start([one_file(BIG)]);
    mirror
        .fault(Fault::new(Place::Resolve, Kind::Status(404, vec![("x-error-code", "EntryNotFound".into())])).on(FILE));
    assert_eq!(codes(&report(&machine, &mirror.endpoint(), &["org/one"], 1)), ["file-missing"]);
    let mirror = claiming(one_file(BIG).raw_entry("../../evil", 1));
    assert_eq!(codes(&report(&machine, &mirror.endpoint(), &["org/one"], 1)), ["path-unsafe"]);
}

#[test]
fn a_flipped_byte_is_found_by_full_and_by_sample_when_a_range_hits_it() {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    let ranges = |seed: &str| {
        let run = compare(&machine, &mirror.endpoint(), &["org/one", "--json", "--seed", seed]);
        let value = run.ends_with(0).json()["comparisons"][0].clone();
        let ranges = value["files"][1]["ranges"].as_array().unwrap().clone();
        ranges.iter().map(|r| (r[0].as_u64().unwrap(), r[1].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(ranges("5"), ranges("5"), "reproducible");
    // A byte in the ranges of seed 5, but not of seed 6.
    let (hit, miss) = (ranges("5"), ranges("6"));
    let outside = |at: &u64| miss.iter().all(|(a, b)| !(*a..*b).contains(at));
    let at = hit.iter().flat_map(|(a, b)| *a..*b).find(outside).unwrap();
    mirror.fault(Fault::new(Place::Bytes, Kind::CorruptByte(usize::try_from(at).unwrap())).on(FILE));
    compare(&machine, &mirror.endpoint(), &["org/one", "--seed", "6"]).ends_with(0).shows("result=true");
    let run = compare(&machine, &mirror.endpoint(), &["org/one", "--seed", "5"]).ends_with(1);
    run.says("error[bytes-differ] model.safetensors").says(&format!("first at {at}")).shows("result=different");
    let run = compare(&machine, &mirror.endpoint(), &["org/one", "--seed", "6", "--level", "full"]).ends_with(1);
    run.says("error[checksum-mismatch] model.safetensors").shows("findings=1 result=different");
    compare(&machine, &mirror.endpoint(), &["org/one", "--level", "metadata"]).ends_with(0);
}

#[test]
fn each_kind_of_tampering_has_its_code() {
    let bytes = |kind| Fault::new(Place::Bytes, kind).on(FILE);
    let resolve = |kind| Fault::new(Place::Resolve, kind).on(FILE);
    for (fault, level, code) in [
        (bytes(Kind::Short(100)), "sample", "size-mismatch"),
        (bytes(Kind::Short(100)), "full", "size-mismatch"),
        (bytes(Kind::Replaced), "sample", "bytes-differ"),
        (resolve(Kind::ChangedEtag), "metadata", "metadata-mismatch"),
        (resolve(Kind::Html), "metadata", "html-instead-of-bytes"),
        (bytes(Kind::Html), "sample", "html-instead-of-bytes"),
        (bytes(Kind::Html), "full", "html-instead-of-bytes"),
        (bytes(Kind::IgnoreRange), "sample", "range-broken"),
        (bytes(Kind::WrongContentRange), "sample", "range-broken"),
        (resolve(Kind::Redirect("http://127.0.0.77:9/file".into())), "metadata", "redirect-foreign"),
        (resolve(Kind::Redirect("file:///etc/passwd".into())), "metadata", "redirect-foreign"),
        (resolve(Kind::Status(403, vec![])), "metadata", "access-denied"),
        (resolve(Kind::Status(401, vec![("x-error-code", "GatedRepo".into())])), "metadata", "access-denied"),
    ] {
        let value = tampered(fault.clone(), level);
        assert_eq!(codes(&value), [code], "{fault:?} at {level}: {value}");
        assert_eq!((&value["findings"][0]["path"], &value["result"]), (&FILE.into(), &"different".into()));
    }
    // Also small files, which are read whole.
    for (kind, code) in [
        (Kind::Replaced, "checksum-mismatch"),
        (Kind::Short(1), "size-mismatch"),
        (Kind::Html, "html-instead-of-bytes"),
    ] {
        let value = tampered(Fault::new(Place::Bytes, kind).on("config.json"), "sample");
        assert_eq!(codes(&value), [code], "{value}");
    }
}

#[test]
fn a_foreign_redirect_is_not_followed_unless_its_host_is_allowed() {
    let machine = Machine::new([one_file(BIG)]);
    let other = Hub::start([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    let target = format!("{}/org/one/resolve/main/{FILE}", other.endpoint()).replace("127.0.0.1", "localhost");
    mirror.fault(Fault::new(Place::Resolve, Kind::Redirect(target)).on(FILE));
    let value = report(&machine, &mirror.endpoint(), &["org/one"], 1);
    assert_eq!(codes(&value), ["redirect-foreign"]);
    assert!(other.requests().is_empty());
    let run = compare(&machine, &mirror.endpoint(), &["org/one", "--allow-host", "localhost"]).ends_with(1);
    // huggingface_hub stops at that redirect, which names no commit.
    run.says("metadata-missing");
    assert!(!other.requests().is_empty());
}

#[test]
fn a_listing_without_digests_is_reported() {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    let size = one_file(BIG).content(FILE).unwrap().len();
    let rows =
        format!(r#"[{{"type":"file","path":"config.json","size":2}},{{"type":"file","path":"{FILE}","size":{size}}}]"#);
    mirror.fault(Fault::new(Place::Tree, Kind::Body(rows)));
    let run = compare(&machine, &mirror.endpoint(), &["org/one"]).ends_with(0).shows("findings=0 result=true");
    run.says("warning[metadata-missing]").says("has no digest of 2 files (config.json,");
    let mirror =
        Hub::start([one_file(BIG).lie("config.json", None, Some(&"0".repeat(40))).at(&one_file(BIG).commit())]);
    assert_eq!(
        codes(&report(&machine, &mirror.endpoint(), &["org/one", "--level", "metadata"], 1)),
        ["metadata-mismatch"]
    );
}

#[test]
fn shards_that_the_mirror_swapped_are_found_by_their_headers() {
    let (a, b) = ("model-00001-of-00007.safetensors", "model-00002-of-00007.safetensors");
    let machine = Machine::new([fixture(CHATGLM)]);
    let whole = fixture(CHATGLM);
    let [first, second] = [a, b].map(|name| whole.content(name).unwrap().to_vec());
    let mirror = Hub::start([whole.clone().lfs(a, second).lfs(b, first).at(&whole.commit())]);
    let value = report(&machine, &mirror.endpoint(), &[CHATGLM], 1);
    assert!(codes(&value).contains(&"metadata-mismatch"), "{value}");
    assert_eq!(value["files"].as_array().unwrap().iter().filter(|f| f["same"] == false).count(), 2);
}

/// The header is longer than the ranges that are compared.
#[test]
fn a_header_that_only_the_mirror_serves_wrong_is_compared_with_its_index() {
    let shard = |n: usize| {
        let name = |i: usize| format!("shard{n}.tensor{i:05}");
        let rows: Vec<String> = (0..9000)
            .map(|i| {
                format!(
                    r#""{}":{{"dtype":"U8","shape":[100],"data_offsets":[{},{}]}}"#,
                    name(i),
                    i * 100,
                    i * 100 + 100
                )
            })
            .collect();
        let header = format!("{{{}}}", rows.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(std::iter::repeat_n(b'w', 900_000));
        let path = format!("model-0000{n}-of-00002.safetensors");
        (path.clone(), file, (0..9000).map(move |i| format!(r#""shard{n}.tensor{i:05}":"{path}""#)))
    };
    let (first, second) = (shard(1), shard(2));
    let map: Vec<String> = first.2.chain(second.2).collect();
    let index = format!(r#"{{"metadata":{{"total_size":1800000}},"weight_map":{{{}}}}}"#, map.join(","));
    let needle = b"shard1.tensor04000";
    let at = first.1.windows(needle.len()).position(|w| w == needle).unwrap() + 2;
    let repo = Repo::new("org/two")
        .file("config.json", "{}")
        .file("model.safetensors.index.json", index)
        .lfs(&first.0, first.1)
        .lfs(&second.0, second.1);
    let (machine, mirror) = (Machine::new([repo.clone()]), Hub::start([repo]));
    mirror.fault(Fault::new(Place::Bytes, Kind::CorruptByte(at)).on(&first.0));
    let value = report(&machine, &mirror.endpoint(), &["org/two"], 1);
    assert_eq!(codes(&value), ["tensor-missing"], "no range of seed 1 covers it: {value}");
    assert_eq!(
        codes(&report(&machine, &mirror.endpoint(), &["org/two", "--level", "full"], 1)).first(),
        Some(&"checksum-mismatch")
    );
}

#[test]
fn a_repo_without_weights_is_compared_whole() {
    let repo = || Repo::new("org/data").kind("datasets").file("README.md", "x").lfs("data/train.parquet", vec![7; BIG]);
    let (machine, mirror) = (Machine::new([repo()]), Hub::start([repo()]));
    compare(&machine, &mirror.endpoint(), &["datasets/org/data"])
        .ends_with(0)
        .shows("compare: datasets/org/data mirror=")
        .shows(" files=2 findings=0 result=true");
}

#[test]
fn a_problem_that_the_endpoint_has_too_is_not_the_mirrors() {
    let (a, b) = ("model-00001-of-00007.safetensors", "model-00002-of-00007.safetensors");
    let whole = fixture(CHATGLM);
    let [first, second] = [a, b].map(|name| whole.content(name).unwrap().to_vec());
    let broken = whole.lfs(a, second).lfs(b, first);
    let (machine, mirror) = (Machine::new([broken.clone()]), Hub::start([broken]));
    compare(&machine, &mirror.endpoint(), &[CHATGLM, "--level", "full"]).ends_with(0).shows("result=true");
}

#[test]
fn a_mirror_that_is_down_or_busy_is_not_called_different() {
    let machine = Machine::new([one_file(BIG)]);
    compare(&machine, "http://127.0.0.1:9", &["org/one"]).ends_with(4).shows("findings=0 result=error");
    let mirror = Hub::start([one_file(BIG)]);
    mirror.fault(Fault::new(Place::Bytes, Kind::Status(503, vec![])).on(FILE));
    assert_eq!(codes(&report(&machine, &mirror.endpoint(), &["org/one"], 4)), ["mirror-unavailable"]);
    mirror.heal();
    mirror.fault(Fault::new(Place::Resolve, Kind::Status(429, vec![("retry-after", "9999".into())])).on(FILE));
    let value = report(&machine, &mirror.endpoint(), &["org/one"], 4);
    assert_eq!((codes(&value), &value["result"]), (vec!["rate-limited"], &"error".into()));
    mirror.heal();
    mirror.fault(Fault::new(Place::Resolve, Kind::Status(429, vec![("retry-after", "0".into())])).on(FILE).times(1));
    let value = report(&machine, &mirror.endpoint(), &["org/one"], 0);
    assert_eq!((codes(&value), &value["findings"][0]["severity"]), (vec!["rate-limited"], &"warning".into()));
    mirror.heal();
    // A broken connection is not a difference.
    mirror.fault(Fault::new(Place::Bytes, Kind::Cut(70_000)).on(FILE));
    compare(&machine, &mirror.endpoint(), &["org/one", "--level", "full"]).ends_with(0);
}

#[test]
fn many_repos_come_from_a_file_and_the_worst_decides() {
    let machine = Machine::new([one_file(BIG), fixture("org/bin-only"), fixture(CHATGLM)]);
    let mirror = Hub::start([
        one_file(BIG),
        fixture("org/bin-only").file("extra.txt", "x"),
        fixture(CHATGLM).access(Access::Private),
    ]);
    let list = machine.home.path().join("repos.txt");
    std::fs::write(&list, format!("# what we deploy\norg/one\n\n{CHATGLM}@main # private there\n")).unwrap();
    let more = ["org/bin-only", "--from-file", "repos.txt", "--level", "metadata"];
    let run = compare(&machine, &mirror.endpoint(), &more).ends_with(1);
    let ends: Vec<(&str, &str)> =
        run.out.lines().map(|line| (line.split(' ').nth(1).unwrap(), line.rsplit("result=").next().unwrap())).collect();
    assert_eq!(ends, [("org/bin-only", "different"), ("org/one", "true"), (CHATGLM, "error")]);
    let run = compare(&machine, &mirror.endpoint(), &[&more[..], &["--json"]].concat()).ends_with(1);
    assert_eq!(run.json()["comparisons"].as_array().unwrap().len(), 3);
    std::fs::write(&list, "org/one\nnot a repo\n").unwrap();
    compare(&machine, &mirror.endpoint(), &["--from-file", "repos.txt"]).ends_with(2).says("repos.txt:2:");
    compare(&machine, &mirror.endpoint(), &[]).ends_with(2);
    compare(&machine, &machine.hub.endpoint(), &["org/one"])
        .ends_with(2)
        .says("same server")
        .says("HF_ENDPOINT may name the mirror already");
}

/// The token goes only to the endpoint.
#[test]
fn the_mirror_gets_no_token() {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    command.env("HF_TOKEN", hfget_loopback_hub::TOKEN).args(["compare", "org/one", "--mirror", &mirror.endpoint()]);
    Run::from(command.output().unwrap()).ends_with(0);
    assert!(machine.hub.requests().iter().any(|r| r.token) && mirror.requests().iter().all(|r| !r.token));
}

/// A server with only files, such as a folder behind nginx.
fn static_tree(repo: Repo) -> Hub {
    Hub::with(Options { dialect: Dialect { bytes_only: true, ..Dialect::default() }, ..Options::default() }, [repo])
}

#[test]
fn a_mirror_of_bytes_alone_is_compared_with_what_the_endpoint_lists() {
    for (id, repo) in [("org/one", one_file(BIG)), (CHATGLM, fixture(CHATGLM))] {
        let machine = Machine::new([repo.clone()]);
        let mirror = static_tree(repo.clone());
        for level in ["sample", "full"] {
            let run = compare(&machine, &mirror.endpoint(), &[id, "--level", level]).ends_with(0);
            run.says("warning[metadata-missing]").says("the mirror has no API").shows(" result=true");
        }
        let value = report(&machine, &mirror.endpoint(), &[id, "--level", "metadata"], 1);
        assert_eq!((codes(&value), &value["mirror_commit"]), (vec!["metadata-missing"], &Value::Null));
        assert!(value["files"].as_array().unwrap().iter().all(|file| file["same"] == false));
    }
    // Every byte and every file is compared.
    let machine = Machine::new([one_file(BIG)]);
    let mirror = static_tree(one_file(BIG));
    mirror.fault(Fault::new(Place::Bytes, Kind::CorruptByte(BIG / 2)).on(FILE));
    let value = report(&machine, &mirror.endpoint(), &["org/one", "--level", "full"], 1);
    assert_eq!(codes(&value), ["metadata-missing", "checksum-mismatch"]);
    let short = static_tree(one_file(BIG).without(FILE).at(&one_file(BIG).commit()));
    let value = report(&machine, &short.endpoint(), &["org/one"], 1);
    assert_eq!(codes(&value), ["metadata-missing", "file-missing"]);
    assert_eq!((&value["findings"][1]["path"], &value["files"][1]["same"]), (&FILE.into(), &false.into()));
    // The twin: a server without any file of the repo counts as one without the repo.
    compare(&machine, &static_tree(fixture(CHATGLM)).endpoint(), &["org/one"]).ends_with(3).says("was not found");
}

#[test]
fn a_mirror_that_refuses_a_closed_repo_without_the_token_is_not_called_different() {
    for (access, kind) in [(Access::Gated, "gated"), (Access::Private, "private")] {
        let machine = Machine::new([fixture(CHATGLM).access(access)]);
        let mirror = Hub::start([fixture(CHATGLM).access(access)]);
        for level in ["metadata", "sample"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
            machine.environment(&mut command);
            command.env("HF_TOKEN", hfget_loopback_hub::TOKEN);
            command.args(["compare", CHATGLM, "--json", "--level", level, "--mirror", &mirror.endpoint()]);
            let run = Run::from(command.output().unwrap()).ends_with(1);
            let value = run.json()["comparisons"][0].clone();
            assert_eq!(codes(&value), ["access-denied"], "{value}");
            let said = value["findings"][0]["message"].as_str().unwrap();
            assert!(said.contains(&format!("the repo is {kind}, and a mirror is asked without the token")), "{said}");
            assert!(value["files"].as_array().unwrap().iter().all(|file| file["same"] == false));
        }
        assert!(mirror.requests().iter().all(|r| !r.token));
        // The twin: a mirror that serves it without a token matches.
        let open = Hub::start([fixture(CHATGLM)]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
        machine.environment(&mut command);
        command.env("HF_TOKEN", hfget_loopback_hub::TOKEN).args(["compare", CHATGLM, "--mirror", &open.endpoint()]);
        Run::from(command.output().unwrap()).ends_with(0);
    }
}
