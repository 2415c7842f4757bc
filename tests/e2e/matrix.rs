//! Every fault at every kind of place in a repo, once and always: the result is the right bytes and
//! exit code 0, or a named error. In each case no wrong file is in place, no ref moved too early, and
//! a healthy run afterwards succeeds. The whole table is a snapshot that people can read.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::support::{Machine, safetensors};

const ID: &str = "org/sharded";
const FIRST: &str = "model-00001-of-00002.safetensors";
/// More than two parts, so that several connections work on it.
const SHARD: usize = 18 << 20;
/// The range of a request for the second part of the shard.
const MIDDLE: Range<u64> = 1..u64::MAX;

/// The place of a fault in a repo.
struct Target {
    name: &'static str,
    file: &'static str,
    /// The fault hits requests that begin at these offsets.
    from: Range<u64>,
    /// A byte in the answer to such a request.
    byte: usize,
    /// After this many bytes an answer may end or become silent.
    some: usize,
}

const TARGETS: [Target; 4] = [
    Target { name: "small file", file: "config.json", from: 0..u64::MAX, byte: 1, some: 5 },
    Target { name: "index", file: "model.safetensors.index.json", from: 0..u64::MAX, byte: 7, some: 20 },
    Target { name: "shard head", file: FIRST, from: 0..1, byte: 100_000, some: 100_000 },
    Target { name: "shard middle", file: FIRST, from: MIDDLE, byte: 17 << 20, some: 100_000 },
];

type Make = fn(&Target) -> Kind;

fn status(code: u16) -> Kind {
    Kind::Status(code, vec![])
}

/// Every fault of bytes.
const AT_BYTES: &[(&str, Make)] = &[
    ("500", |_| status(500)),
    ("502", |_| status(502)),
    ("503, Retry-After: 0", |_| Kind::Status(503, vec![("retry-after", "0".into())])),
    ("503, Retry-After: a date gone by", |_| {
        Kind::Status(503, vec![("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT".into())])
    }),
    ("429, RateLimit: t=0", |_| Kind::Status(429, vec![("ratelimit", "\"resolvers\";r=0;t=0".into())])),
    ("429, Retry-After: a day", |_| Kind::Status(429, vec![("retry-after", "86400".into())])),
    ("400", |_| status(400)),
    ("403", |_| status(403)),
    ("404", |_| status(404)),
    ("416", |_| status(416)),
    ("web page with 200", |_| Kind::Html),
    ("cut at the start", |_| Kind::Cut(0)),
    ("cut after some bytes", |t| Kind::Cut(t.some)),
    ("silent from the start", |_| Kind::Stall(0)),
    ("silent after some bytes", |t| Kind::Stall(t.some)),
    ("slow", |_| Kind::Slow(4 << 20)),
    ("late answer", |_| Kind::Delay(std::time::Duration::from_millis(100))),
    ("one byte is another", |t| Kind::CorruptByte(t.byte)),
    ("other content, same length", |_| Kind::Replaced),
    ("empty", |_| Kind::Short(usize::MAX)),
    ("shorter", |_| Kind::Short(3)),
    ("longer, no length", |_| Kind::Long(10)),
    ("Content-Length too long", |_| Kind::WrongLength(5)),
    ("Content-Length too short", |_| Kind::WrongLength(-5)),
    ("range ignored", |_| Kind::IgnoreRange),
    ("wrong Content-Range", |_| Kind::WrongContentRange),
    ("ETag of other content", |_| Kind::ChangedEtag),
    ("false Content-Encoding", |_| Kind::Encoded),
];

/// Every fault of the resolve step, which happens once for each file.
const AT_RESOLVE: &[(&str, Make)] = &[
    ("resolve: 500", |_| status(500)),
    ("resolve: 403", |_| status(403)),
    ("resolve: 404", |_| status(404)),
    ("resolve: silent", |_| Kind::Stall(0)),
    ("resolve: web page", |_| Kind::Html),
    ("resolve: ETag of other content", |_| Kind::ChangedEtag),
    ("resolve: redirect to file://", |_| Kind::Redirect("file:///etc/passwd".into())),
    ("resolve: redirect without end", |_| Kind::Redirect("?again".into())),
];

fn repo() -> Repo {
    let map = r#"{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    Repo::new(ID)
        .file("config.json", r#"{"model_type":"x"}"#)
        .file("model.safetensors.index.json", map)
        .lfs(FIRST, safetensors("a", SHARD))
        .lfs("model-00002-of-00002.safetensors", safetensors("b", 1000))
}

/// One run with one fault, and its result.
fn cell(repo: &Repo, target: &Target, place: Place, kind: &Kind, times: Option<u32>) -> String {
    let what = format!("{} × {kind:?} × {times:?}", target.name);
    let machine = Machine::on(Hub::with(Options::default(), [repo.clone()]));
    let mut fault = Fault::new(place, kind.clone()).on(target.file);
    if place == Place::Bytes {
        fault = fault.from(target.from.clone());
    }
    if let Some(times) = times {
        fault = fault.times(times);
    }
    machine.hub.fault(fault);
    // Silence costs the timeout, so it is short here; in other cases a slow machine must not hit it.
    let patience = if matches!(kind, Kind::Stall(_)) { "0.3" } else { "10" };
    let run = machine.run([ID, "--json", "--stall-timeout", patience]);
    machine.assert_nothing_wrong(repo);
    let whole = machine.model(ID).join("refs/main").exists();
    assert_eq!(whole, run.code == Some(0), "{what}: the ref moves when all is right, and only then\n{}", run.err);
    let left = std::fs::read_dir(machine.model(ID).join(".hfget/partial")).into_iter().flatten().flatten();
    let partial = left.filter(|f| f.path().extension().is_some_and(|e| e == "part")).count();
    let outcome = if run.code == Some(0) {
        assert_eq!(partial, 0, "{what}: no partial file is left of what is whole");
        "right".to_owned()
    } else {
        let json = run.json();
        let report = &json["reports"][0];
        let finding = report["findings"].as_array().and_then(|all| all.iter().find(|f| f["severity"] == "error"));
        let (said, named) = match finding {
            Some(finding) => (finding["code"].as_str().unwrap_or("?"), finding["path"].as_str().unwrap_or("?")),
            None => (report["error"].as_str().unwrap_or("?"), ""),
        };
        // The error of a rate limit names the Hub, not the file.
        let is_named = run.err.contains(target.file) || named == target.file || said.contains("limits requests");
        assert!(is_named, "{what}: the file is named\n{}", run.err);
        let said = brief(said);
        format!("{} {said}{}", run.code.unwrap_or(-1), if partial > 0 { ", partial kept" } else { "" })
    };
    if run.code != Some(0) {
        machine.hub.heal();
        let after = machine.run([ID, "--stall-timeout", "10"]);
        assert_eq!(after.code, Some(0), "{what}: a healthy run afterwards\n{}", after.err);
        machine.assert_nothing_wrong(repo);
    }
    outcome
}

/// An error's text without URLs, names and offsets, which differ from run to run.
fn brief(error: &str) -> String {
    let differs = |w: &str| w.contains("://") || w.contains(".safetensors") || w.contains(".json:");
    let number = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit());
    let range = |w: &str| {
        w.trim_end_matches(',')
            .split('/')
            .next()
            .and_then(|w| w.split_once('-'))
            .is_some_and(|(a, b)| number(a) && number(b))
    };
    let host = |w: &str| w.starts_with("127.0.0.") && w.contains(':');
    let same = |w| {
        if range(w) {
            "N-M"
        } else if host(w) {
            "HOST"
        } else {
            w
        }
    };
    let words = error.split(' ').filter(|w| !differs(w)).map(same);
    let text = words.collect::<Vec<_>>().join(" ");
    text.chars().take(60).collect::<String>().trim_end_matches([':', ' ']).to_owned()
}

#[test]
fn every_fault_everywhere_is_overcome_or_named() {
    let repo = repo();
    let mut cells = Vec::new();
    for (place, rows) in [(Place::Bytes, AT_BYTES), (Place::Resolve, AT_RESOLVE)] {
        for (label, make) in rows {
            for target in &TARGETS {
                // All parts of a file use one resolve.
                if place == Place::Resolve && target.name == "shard middle" {
                    continue;
                }
                for times in [Some(1), None] {
                    cells.push((place, *label, make(target), target, times));
                }
            }
        }
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![String::new(); cells.len()]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((place, _, kind, target, times)) = cells.get(i) else { return };
                    // The whole table must be written, even if one cell is wrong.
                    let outcome = std::panic::catch_unwind(|| cell(&repo, target, *place, kind, *times));
                    outcomes.lock().unwrap()[i] = outcome.unwrap_or_else(|_| "BROKEN".into());
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let mut table = String::from("| fault | where | once | always |\n|---|---|---|---|\n");
    for (pair, both) in cells.chunks(2).zip(outcomes.chunks(2)) {
        let (_, label, _, target, _) = &pair[0];
        writeln!(table, "| {label} | {} | {} | {} |", target.name, both[0], both[1]).unwrap();
    }
    assert!(!table.contains("BROKEN"), "{table}");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("fault_matrix", table);
    });
}
