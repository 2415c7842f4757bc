//! Finding out why a run is slow: `-v`, `-vv` and `HFGET_LOG`.

use hfget_loopback_hub::TOKEN;

use super::support::{Machine, one_file};

#[test]
fn a_run_says_nothing_of_its_steps_unless_it_is_asked() {
    let machine = Machine::new([one_file(5 << 20)]);
    let run = machine.run(["org/one"]);
    assert!(!run.err.contains("resolved commit="), "{}", run.err);
}

#[test]
fn verbose_logs_each_step_with_the_time_it_took() {
    let machine = Machine::new([one_file(5 << 20)]);
    let run = machine.run(["org/one", "-v"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    for step in ["resolved commit=", "listed files=", "planned files=", "fetched files=", "contents checked tensors="] {
        let line = run.err.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{step}: {}", run.err));
        assert!(line.contains("org/one"), "{line}");
    }
    assert!(!run.err.contains("status=200"), "one -v logs no requests: {}", run.err);
}

#[test]
fn twice_verbose_logs_each_request_and_no_secret() {
    let machine = Machine::new([one_file(5 << 20)]);
    let mut command = machine.bare();
    let run: super::support::Run = command.env("HF_TOKEN", TOKEN).args(["org/one", "-vv"]).output().unwrap().into();
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("/api/models/org/one/revision/main status=200"), "{}", run.err);
    assert!(run.err.contains("the file is whole and has its name file=model.safetensors"), "{}", run.err);
    assert!(!run.err.contains(TOKEN), "{}", run.err);
    // The loopback Hub signs its links, as the real one does.
    for secret in ["?", "Signature", "Expires"] {
        assert!(!run.err.contains(secret), "{secret}: {}", run.err);
    }
}

#[test]
fn a_filter_says_what_is_logged_and_one_that_makes_no_sense_is_named() {
    let machine = Machine::new([one_file(5 << 20)]);
    let run = |filter: &str| -> super::support::Run {
        machine.bare().env("HFGET_LOG", filter).args(["org/one", "--force"]).output().unwrap().into()
    };
    let transfer = run("hfget_core::transfer=debug");
    assert!(transfer.err.contains("the part ended bytes="), "{}", transfer.err);
    assert!(!transfer.err.contains("status="), "{}", transfer.err);
    let bad = run("hfget_core=loud");
    assert_eq!(bad.code, Some(0), "a run does not end for its log: {}", bad.err);
    assert!(bad.err.contains("warning: HFGET_LOG cannot be used"), "{}", bad.err);
}

#[test]
fn among_events_a_step_is_an_event() {
    let machine = Machine::new([one_file(5 << 20)]);
    let run = machine.run(["org/one", "-v", "--progress", "json"]);
    let events: Vec<serde_json::Value> = run.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["event"] == "log"), "{}", run.err);
}
