//! Several endpoints: digests from the first, bytes from any of them.

use hfget_loopback_hub::{Fault, Hub, Kind, Place};

use super::support::{CHATGLM, Machine, fixture, one_file};

const BIG: usize = 40 << 20;

#[test]
fn bytes_come_from_every_mirror_that_has_them() {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    machine.run(["org/one", "--mirror", &mirror.endpoint()]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(BIG));
    for hub in [&machine.hub, &mirror] {
        assert!(hub.requests().iter().any(|r| r.cdn), "both carried bytes");
    }
    assert!(mirror.requests().iter().all(|r| !r.path.starts_with("/api/models")), "digests come from the endpoint");
}

/// The token goes only to the endpoint.
#[test]
fn a_mirror_gets_no_token() {
    let machine = Machine::new([one_file(BIG)]);
    let mirror = Hub::start([one_file(BIG)]);
    let mut command = machine.command();
    command.env("HF_TOKEN", hfget_loopback_hub::TOKEN).args(["org/one", "--mirror", &mirror.endpoint()]);
    let run: super::support::Run = command.output().unwrap().into();
    run.ends_with(0);
    assert!(mirror.requests().iter().all(|r| !r.token));
}

/// A mirror that is down, empty, stale or corrupt costs only time: the run succeeds with the right bytes.
#[test]
fn a_bad_mirror_is_skipped() {
    let corrupt = Hub::start([one_file(BIG), fixture(CHATGLM)]);
    corrupt.fault(Fault::new(Place::Bytes, Kind::CorruptByte(7000)).on("*.safetensors"));
    let failing = Hub::start([one_file(BIG), fixture(CHATGLM)]);
    failing.fault(Fault::new(Place::Resolve, Kind::Status(503, vec![])));
    let stale = Hub::start([one_file(BIG), fixture(CHATGLM)]);
    stale.fault(Fault::new(Place::Resolve, Kind::ChangedEtag));
    let empty = Hub::start([]);
    let gone = "http://127.0.0.1:9".to_owned();
    for mirror in [corrupt.endpoint(), failing.endpoint(), stale.endpoint(), empty.endpoint(), gone] {
        let machine = Machine::new([one_file(BIG), fixture(CHATGLM)]);
        for (id, repo) in [("org/one", one_file(BIG)), (CHATGLM, fixture(CHATGLM))] {
            machine.run([id, "--mirror", &mirror]).ends_with(0);
            machine.assert_nothing_wrong(&repo);
        }
    }
}

/// If the endpoint does not give the bytes, the mirror does.
#[test]
fn a_mirror_replaces_an_endpoint_that_gives_no_bytes() {
    let machine = Machine::new([one_file(BIG), fixture(CHATGLM)]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Status(500, vec![])));
    let mirror = Hub::start([one_file(BIG), fixture(CHATGLM)]);
    machine.run(["org/one", CHATGLM, "--mirror", &mirror.endpoint()]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(BIG));
}

#[test]
fn a_rate_is_kept_to() {
    let machine = Machine::new([one_file(4 << 20)]);
    let started = std::time::Instant::now();
    machine.run(["org/one", "--limit-rate", "4M"]).ends_with(0);
    // Only a lower bound is checked: a loaded machine may be slow.
    assert!(started.elapsed().as_secs_f64() > 0.7, "{:?}", started.elapsed());
    machine.hfget("org/one --limit-rate fast").ends_with(2).says("not a rate");
}
