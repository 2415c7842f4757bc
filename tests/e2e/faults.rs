//! Faults on the wire: each ends with the right bytes and exit 0, or with a named error and its
//! exit code, and never with a wrong byte where a loader would find it.

use std::time::Duration;

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Tls};

use super::support::{CHATGLM, Machine, codes, fixture, one_file};

const SHARD: &str = "model-00003-of-00007.safetensors";
/// Above the chunks of the server, so that a body can break in its middle.
const BIG: usize = 1 << 20;

/// The expected result of a fault.
enum Comes {
    /// The run succeeds.
    Right,
    /// The run ends with this code and prints this.
    Named(i32, &'static str),
}
use Comes::{Named, Right};

/// Checks it on a Hub with plain HTTP, and on one with HTTPS if the fault meets requests for bytes: they have another client there.
#[track_caller]
fn check(place: Place, kind: &Kind, glob: &str, times: Option<u32>, comes: &Comes) {
    let repos = || [fixture(CHATGLM), one_file(BIG)];
    check_on(&Machine::new(repos()), place, kind, glob, times, comes);
    if matches!(place, Place::Resolve | Place::Bytes) {
        let secure = Options { tls: Some(Tls::Both), ..Options::default() };
        check_on(&Machine::trusting(Hub::with(secure, repos())), place, kind, glob, times, comes);
    }
}

#[track_caller]
fn check_on(machine: &Machine, place: Place, kind: &Kind, glob: &str, times: Option<u32>, comes: &Comes) {
    for id in [CHATGLM, "org/one"] {
        let repo = if id == CHATGLM { fixture(id) } else { one_file(BIG) };
        machine.hub.heal();
        let mut fault = Fault::new(place, kind.clone()).on(glob);
        if let Some(times) = times {
            fault = fault.times(times);
        }
        machine.hub.fault(fault);
        let run = machine.run([id]);
        let what = format!("{place:?} {kind:?} on {glob} of {id}, {times:?} times, {}", machine.hub.endpoint());
        match comes {
            Right => {
                assert_eq!(run.code, Some(0), "{what}:\n{}", run.err);
                assert!(machine.model(id).join("refs/main").exists());
            }
            Named(code, text) => {
                assert_eq!(run.code, Some(*code), "{what}:\n{}", run.err);
                assert!(run.err.contains(text), "{what}: no {text:?} in\n{}", run.err);
                assert!(!machine.model(id).join("refs/main").exists(), "{what}: the ref moved");
                assert_eq!(run.out, "", "{what}: a path is printed only when verified");
            }
        }
        machine.assert_nothing_wrong(&repo);
        // After any fault, a later run on a healthy Hub succeeds.
        machine.hub.heal();
        machine.run([id]).ends_with(0);
        machine.assert_nothing_wrong(&repo);
    }
}

/// The weights of both repos: a tiny shard, and a file of many chunks.
const WEIGHTS: &str = "model*.safetensors";

#[test]
fn a_fault_that_happens_once_is_overcome() {
    for kind in [
        Kind::Status(500, vec![]),
        Kind::Status(502, vec![]),
        Kind::Status(503, vec![("retry-after", "0".into())]),
        Kind::Status(429, vec![("ratelimit", "\"resolvers\";r=0;t=0".into())]),
        Kind::Cut(0),
        Kind::Cut(1000),
        Kind::Stall(1000),
        Kind::CorruptByte(500),
        Kind::Short(10),
        Kind::Long(10),
        Kind::WrongLength(5),
        Kind::WrongLength(-5),
        Kind::Html,
        Kind::Replaced,
        Kind::ChangedEtag,
    ] {
        check(Place::Bytes, &kind, WEIGHTS, Some(1), &Right);
    }
}

#[test]
fn a_fault_that_never_ends_is_named() {
    for (kind, code, text) in [
        (Kind::Status(500, vec![]), 4, "500"),
        (Kind::Cut(0), 4, "connection broke"),
        (Kind::Stall(0), 4, "no bytes for 0.3 s"),
        (Kind::CorruptByte(500), 1, "checksum-mismatch"),
        (Kind::Replaced, 1, "checksum-mismatch"),
        (Kind::Html, 4, "web page"),
    ] {
        check(Place::Bytes, &kind, WEIGHTS, None, &Named(code, text));
    }
}

#[test]
fn sizes_that_never_fit_are_named() {
    for kind in [Kind::Short(10), Kind::Long(10), Kind::WrongLength(5)] {
        check(Place::Bytes, &kind, WEIGHTS, None, &Named(1, "size-mismatch"));
    }
}

#[test]
fn a_server_that_always_cuts_is_outlasted() {
    // Every answer brings a few more bytes of the file.
    check(Place::Bytes, &Kind::Cut(200_000), WEIGHTS, None, &Right);
}

#[test]
fn ranges_that_are_not_honoured_cost_bytes_and_nothing_else() {
    for kind in [Kind::IgnoreRange, Kind::WrongContentRange] {
        let machine = Machine::new([one_file(BIG)]);
        machine.hub.fault(Fault::new(Place::Bytes, Kind::Cut(BIG / 2)).on(WEIGHTS).times(1));
        machine.hub.fault(Fault::new(Place::Bytes, kind).on(WEIGHTS).times(1));
        machine.run(["org/one"]).ends_with(0);
        machine.assert_nothing_wrong(&one_file(BIG));
    }
}

#[test]
fn the_resolve_step_may_fail_too() {
    for kind in
        [Kind::Status(500, vec![]), Kind::Status(429, vec![("retry-after", "0".into())]), Kind::ChangedEtag, Kind::Html]
    {
        check(Place::Resolve, &kind, WEIGHTS, Some(1), &Right);
    }
    check(Place::Resolve, &Kind::Status(500, vec![]), WEIGHTS, None, &Named(4, "500"));
    check(Place::Resolve, &Kind::Status(404, vec![]), WEIGHTS, None, &Named(3, "no longer in the repo"));
    check(Place::Resolve, &Kind::Redirect("file:///etc/passwd".into()), WEIGHTS, None, &Named(4, "refused"));
    // A header is only a hint, and the bytes are right.
    check(Place::Resolve, &Kind::ChangedEtag, WEIGHTS, None, &Right);
}

#[test]
fn the_api_may_fail_too() {
    for place in [Place::Api, Place::Tree] {
        check(place, &Kind::Status(503, vec![]), "**", Some(2), &Right);
        check(place, &Kind::Status(503, vec![]), "**", None, &Named(4, "503"));
        check(place, &Kind::Body("<html>".into()), "**", None, &Named(4, "JSON"));
        check(place, &Kind::Delay(Duration::from_secs(1)), "**", Some(1), &Right);
    }
}

#[test]
fn companions_follow_the_same_rules() {
    for kind in [Kind::CorruptByte(0), Kind::Replaced] {
        check(Place::Bytes, &kind, "config.json", Some(1), &Right);
        check(Place::Bytes, &kind, "config.json", None, &Named(1, "config.json"));
    }
}

#[test]
fn a_rate_limit_that_is_too_long_to_wait_for_is_reported() {
    let machine = Machine::new([one_file(64)]);
    machine.hub.fault(Fault::new(Place::Api, Kind::Status(429, vec![("retry-after", "86400".into())])));
    machine.run(["org/one"]).ends_with(4).says("asks to wait 86400 s");
}

#[test]
fn signed_urls_that_expire_are_renewed() {
    let options = Options { signed_for: Duration::from_millis(1), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(BIG)]));
    // The first URL was valid for one answer, which is cut.
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Cut(BIG / 2)).on(WEIGHTS).times(1));
    let run = machine.run(["org/one"]);
    assert!(matches!(run.code, Some(0 | 3 | 4)), "{}", run.err);
    machine.assert_nothing_wrong(&one_file(BIG));
}

#[test]
fn one_bad_shard_does_not_stop_the_others() {
    let machine = Machine::new([fixture(CHATGLM)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(100)).on(SHARD));
    let run = machine.run([CHATGLM, "--json"]).ends_with(1);
    let json = run.json();
    let report = &json["reports"][0];
    assert_eq!(report["verified"], false);
    assert_eq!(codes(report), ["checksum-mismatch"], "one cause, one finding: {report:#}");
    assert_eq!(report["findings"][0]["path"], SHARD);
    let got = report["files"].as_array().unwrap().iter().filter(|f| f["status"] == "fetched").count();
    assert_eq!(got, 15);
    machine.hub.heal();
    machine.hub.forget();
    machine.run([CHATGLM]).ends_with(0);
    assert_eq!(machine.byte_requests(), 1, "only the bad one is fetched again");
}

#[test]
fn a_wrong_listing_is_found() {
    let wrong = "0".repeat(64);
    for (size, digest) in [(Some(10), None), (None, Some(wrong.as_str()))] {
        let machine = Machine::new([one_file(5000).lie("model.safetensors", size, digest)]);
        machine.run(["org/one"]).ends_with(1);
        assert!(!machine.visible("org/one").keys().any(|n| n.ends_with("safetensors")));
    }
}
