//! Patience: servers that are slow, busy or away for a while cost only time, and no run hangs.

use std::net::TcpListener;
use std::process::Child;
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::support::{Machine, Run, one_file};

const WEIGHTS: &str = "model*.safetensors";

/// Starts a run beside the test.
fn begin(machine: &Machine, line: &str) -> Child {
    let mut command = machine.bare();
    command.args(line.split_whitespace());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

/// Waits until `there` is true.
fn until(there: impl Fn() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(20), "the condition was never met");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes the Hub away for this time in the middle of a fetch.
fn outage(away: Duration) {
    const SIZE: usize = 24 << 20;
    let options = Options { rate: Some(3 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(SIZE)]));
    let child = begin(&machine, "org/one --connections 4 --retry-base-ms 100");
    until(|| machine.hub.bytes_sent() > 4 << 20);
    machine.hub.down(true);
    std::thread::sleep(away);
    machine.hub.down(false);
    end(child).ends_with(0);
    machine.assert_nothing_wrong(&one_file(SIZE));
    // The bytes in flight on each connection may come again.
    let sent = machine.hub.bytes_sent();
    assert!(sent < SIZE as u64 + (6 << 20), "{sent} bytes of {SIZE}");
}

#[test]
fn an_outage_in_the_middle_costs_its_time_and_no_arrived_byte() {
    outage(Duration::from_secs(3));
}

/// In parallel with the other tests, these cost little time.
#[test]
fn an_outage_of_six_seconds_is_outlasted() {
    outage(Duration::from_secs(6));
}

#[test]
fn an_outage_of_ten_seconds_is_outlasted() {
    outage(Duration::from_secs(10));
}

#[test]
#[ignore = "takes half a minute"]
fn an_outage_of_twenty_seconds_is_outlasted() {
    outage(Duration::from_secs(20));
}

#[test]
#[ignore = "takes more than a minute"]
fn an_outage_of_a_minute_is_outlasted() {
    outage(Duration::from_mins(1));
}

/// The twin: an endless outage ends the run, and the bytes that have come are kept.
#[test]
fn an_outage_longer_than_retry_for_ends_the_run_and_a_later_one_resumes() {
    const SIZE: usize = 12 << 20;
    let options = Options { rate: Some(3 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(SIZE)]));
    let child = begin(&machine, "org/one --connections 4 --retry-base-ms 50 --retry-for 1");
    until(|| machine.hub.bytes_sent() > 4 << 20);
    machine.hub.down(true);
    end(child).ends_with(4).says("run it again");
    machine.hub.down(false);
    let before = machine.hub.bytes_sent();
    end(begin(&machine, "org/one --retry-base-ms 50")).ends_with(0);
    let again = machine.hub.bytes_sent() - before;
    assert!(again < 10 << 20, "{again} bytes again");
}

#[test]
fn a_trickle_is_a_broken_connection_and_the_file_continues_after_the_last_byte() {
    let machine = Machine::new([one_file(1 << 20)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Slow(80)).on(WEIGHTS).times(2));
    let began = Instant::now();
    machine.run(["org/one"]).ends_with(0).says("bytes in 0.3 s");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    machine.assert_nothing_wrong(&one_file(1 << 20));
    // An error that never ends counts as an outage.
    let machine = Machine::new([one_file(1 << 20)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Slow(80)).on(WEIGHTS));
    machine.run(["org/one"]).ends_with(4).says("bytes in 0.3 s");
}

#[test]
fn a_trickling_answer_of_the_api_is_asked_for_again() {
    let machine = Machine::new([one_file(64)]);
    for place in [Place::Api, Place::Tree] {
        machine.hub.fault(Fault::new(place, Kind::Slow(40)).times(1));
    }
    let began = Instant::now();
    machine.run(["org/one"]).ends_with(0).says("bytes in 0.3 s");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// Fast enough for anybody, but not for a host that gave a hundred times as much before: the rest comes from another source.
#[test]
fn what_became_slow_is_given_to_another_source() {
    const SIZE: usize = 40 << 20;
    let machine = Machine::new([one_file(SIZE)]);
    let mirror = Hub::start([one_file(SIZE)]);
    // The mirror's later parts trickle.
    mirror.fault(Fault::new(Place::Bytes, Kind::Slow(500)).on(WEIGHTS).from(20 << 20..u64::MAX));
    let began = Instant::now();
    machine.run(["org/one", "--mirror", &mirror.endpoint(), "--connections", "4"]).ends_with(0);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    machine.assert_nothing_wrong(&one_file(SIZE));
    assert!(mirror.requests().iter().any(|request| request.cdn), "the mirror was asked");
}

/// The twin of both.
#[test]
fn a_slow_line_is_left_alone() {
    let machine = Machine::new([one_file(300_000)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Slow(100_000)).on(WEIGHTS));
    let run = machine.run(["org/one"]).ends_with(0);
    assert!(!run.err.contains("attempt"), "{}", run.err);
    assert_eq!(machine.hub.requests().iter().filter(|r| r.cdn).count(), 1);
}

/// A server that sends single bytes and breaks the connection.
#[test]
fn a_dribble_of_bytes_is_not_progress() {
    let machine = Machine::new([one_file(1 << 20)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Cut(1)).on(WEIGHTS));
    let began = Instant::now();
    machine.run(["org/one"]).ends_with(4);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The same if it says in between that it does not have the rest.
    let machine = Machine::new([one_file(1 << 20)]);
    for _ in 0..200 {
        machine.hub.fault(Fault::new(Place::Bytes, Kind::Cut(1)).on(WEIGHTS).times(1));
        let refusal = vec![("content-range", "bytes */1048649".to_owned())];
        machine.hub.fault(Fault::new(Place::Bytes, Kind::Status(416, refusal)).on(WEIGHTS).times(1));
    }
    let began = Instant::now();
    machine.run(["org/one"]).ends_with(4);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn many_files_behind_a_limit_of_requests_all_come() {
    behind_a_limit(60);
}

#[test]
#[ignore = "takes half a minute"]
fn six_hundred_files_behind_a_limit_of_requests_all_come() {
    behind_a_limit(600);
}

fn behind_a_limit(files: usize) {
    let repo = (0..files).fold(one_file(64), |repo, n| repo.file(&format!("f{n}.json"), format!("{n}")));
    let options = Options { requests_a_second: Some(40), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [repo.clone()]));
    let child = begin(&machine, "org/one --all --retry-base-ms 100");
    let run = end(child).ends_with(0).says("limits requests; waiting");
    machine.assert_nothing_wrong(&repo);
    assert!(!run.err.contains("attempt"), "a requested wait is not a failure: {}", run.err);
    let refused = machine.hub.requests().len() - 2 * (files + 2);
    assert!(refused < 2 * files, "{refused} requests for nothing");
}

/// After a refusal, requests to that host come one after another, whatever the number of workers is.
#[test]
fn after_a_refusal_the_requests_to_that_host_are_apart() {
    const AFTER: usize = 60;
    let repo = (0..80).fold(one_file(64), |repo, n| repo.file(&format!("f{n:02}.json"), format!("{n}")));
    let machine = Machine::on(Hub::with(Options::default(), [repo.clone()]));
    let took = |machine: &Machine| {
        let requests = machine.hub.requests();
        let bytes: Vec<_> = requests.iter().filter(|r| !r.cdn && r.path.contains("/resolve/")).map(|r| r.at).collect();
        // The workers had sent the first requests before the refusal came.
        bytes[16 + AFTER].duration_since(bytes[16])
    };
    let refusal = Kind::Status(429, vec![("retry-after", "0".into())]);
    machine.hub.fault(Fault::new(Place::Resolve, refusal).on("f*.json").times(1));
    machine.run(["org/one", "--all", "--jobs", "16"]).ends_with(0);
    machine.assert_nothing_wrong(&repo);
    // 10 ms at first, less after each answer, and two requests ahead of their time.
    let least = Duration::from_millis(200);
    assert!(took(&machine) >= least, "{:?}", took(&machine));
}

/// A worker that is not woken looks again after half a second. Here that would cost half a minute.
#[test]
fn no_file_waits_for_a_worker_that_was_not_woken() {
    let repo = (0..60).fold(one_file(9 << 20), |repo, n| repo.file(&format!("f{n:02}.json"), format!("{n}")));
    let repo = repo.lfs("second.safetensors", super::support::safetensors("v", 9 << 20));
    for flags in ["--jobs 1 --connections 1", "--jobs 1 --connections 4", "--jobs 4 --connections 1"] {
        let machine = Machine::new([repo.clone()]);
        let began = Instant::now();
        machine.run(format!("org/one --all {flags}").split(' ').collect::<Vec<_>>()).ends_with(0);
        assert!(began.elapsed() < Duration::from_secs(15), "{flags}: {:?}", began.elapsed());
        machine.assert_nothing_wrong(&repo);
    }
}

#[test]
fn temporary_errors_are_retried_whatever_their_status() {
    for status in [408, 425, 500, 502, 509, 520, 524, 529, 530, 599] {
        for place in [Place::Api, Place::Tree, Place::Resolve, Place::Bytes] {
            let machine = Machine::new([one_file(64)]);
            machine.hub.fault(Fault::new(place, Kind::Status(status, vec![])).times(1));
            let run = machine.run(["org/one"]);
            assert_eq!(run.code, Some(0), "{status} at {place:?}: {}", run.err);
        }
    }
    // The twin: a permanent error is reported without retries.
    for status in [400, 405, 501, 505] {
        let machine = Machine::new([one_file(64)]);
        machine.hub.fault(Fault::new(Place::Api, Kind::Status(status, vec![])));
        let run = machine.run(["org/one"]).ends_with(4).says(&status.to_string());
        assert!(!run.err.contains("attempt"), "{}", run.err);
    }
}

#[test]
fn a_link_that_a_store_calls_bad_or_gone_is_asked_for_once_more() {
    for status in [400, 401, 403, 404, 410] {
        let machine = Machine::new([one_file(5 << 20)]);
        machine.hub.fault(Fault::new(Place::Bytes, Kind::Status(status, vec![])).on(WEIGHTS).times(1));
        let run = machine.run(["org/one"]);
        assert_eq!(run.code, Some(0), "{status}: {}", run.err);
        machine.assert_nothing_wrong(&one_file(5 << 20));
    }
}

#[test]
fn a_mirror_that_asks_to_wait_delays_no_other_and_is_given_up_if_the_wait_is_too_long() {
    for (wait, says) in [("3600", "is not asked any more"), ("60", "limits requests; waiting 60 s")] {
        let machine = Machine::new([one_file(20 << 20)]);
        // The run is not over before its second connection has asked the mirror.
        machine.hub.fault(Fault::new(Place::Bytes, Kind::Slow(20 << 20)));
        let mirror = Hub::start([one_file(20 << 20)]);
        mirror.fault(Fault::new(Place::Resolve, Kind::Status(429, vec![("retry-after", wait.into())])));
        let began = Instant::now();
        let run = machine.run(["org/one", "--mirror", &mirror.endpoint()]).ends_with(0).says(says);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(!run.err.contains("Hub's"), "it is not the Hub's limit: {}", run.err);
        machine.assert_nothing_wrong(&one_file(20 << 20));
    }
}

/// A CAS that accepts connections and sends nothing.
#[test]
fn a_silent_cas_costs_one_timeout_and_the_way_around_it_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let cas = format!("http://{}", silent.local_addr().unwrap());
    let weights = super::support::safetensors("w", 6 << 20);
    let repo = Repo::new("org/one").file("config.json", "{}").xet_at("model.safetensors", weights, &"a".repeat(64));
    let machine = Machine::on(Hub::with(Options { cas: Some(cas), ..Options::default() }, [repo.clone()]));
    let began = Instant::now();
    machine.run(["org/one"]).ends_with(0).says("continues over HTTP").says("--transport http");
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    machine.assert_nothing_wrong(&repo);
}

#[test]
fn an_outage_while_everything_is_here_names_offline_and_the_date() {
    let machine = Machine::new([one_file(64)]);
    machine.run(["org/one"]).ends_with(0);
    machine.hub.down(true);
    let year = jiff::Timestamp::now().strftime("%Y-").to_string();
    let run = machine.run(["org/one"]).ends_with(4).says("--offline").says("every file is here").says(&year);
    assert!(run.out.is_empty());
    machine.run(["org/one", "--offline"]).ends_with(0);
    // The twin: the error does not promise files that are not here.
    let run = machine.run(["org/one", "--all", "--include", "other"]);
    assert!(!run.err.contains("every file is here") || run.code == Some(4), "{}", run.err);
    std::fs::remove_dir_all(machine.model("org/one").join("snapshots")).unwrap();
    std::fs::remove_dir_all(machine.model("org/one").join("blobs")).unwrap();
    let run = machine.run(["org/one"]).ends_with(4);
    assert!(!run.err.contains("every file is here"), "{}", run.err);
}

#[test]
fn prefer_offline_uses_files_that_are_here_and_right() {
    let machine = Machine::new([one_file(64)]);
    // No file is here, so all are fetched.
    machine.run(["org/one", "--prefer-offline"]).ends_with(0);
    machine.hub.forget();
    machine.run(["org/one", "--prefer-offline"]).ends_with(0).says("against=kept-listing");
    assert_eq!(machine.hub.requests(), []);
    // The file that is here is wrong, so it is fetched.
    let blob = machine.model("org/one").join("blobs").join(one_file(64).lfs_sha256("model.safetensors").unwrap());
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "wrong").unwrap();
    machine.run(["org/one", "--prefer-offline"]).ends_with(0);
    assert!(!machine.hub.requests().is_empty());
    machine.assert_nothing_wrong(&one_file(64));
}
