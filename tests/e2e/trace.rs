//! The log shows why a run is slow: `-v`, `-vv` and `HFGET_LOG`.

use hfget_loopback_hub::TOKEN;

use super::support::{Machine, one_file};

#[test]
fn a_run_does_not_log_its_steps_unless_asked() {
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
    let resolve = line_with(&run.err, "/api/models/org/one/revision/main");
    assert!(resolve.contains("repo:request: answered status=200"), "{resolve}");
    let whole = line_with(&run.err, "the file is whole and has its name");
    assert!(whole.contains("repo:file: ") && whole.contains(" file="), "{whole}");
    assert!(!run.err.contains(TOKEN), "{}", run.err);
    // The loopback Hub signs its links, as the real one does.
    for secret in ["?", "Signature", "Expires"] {
        assert!(!run.err.contains(secret), "{secret}: {}", run.err);
    }
}

#[test]
fn a_request_for_bytes_is_logged_with_its_repo_its_file_and_its_part() {
    let machine = Machine::new([one_file(5 << 20)]);
    let run = machine.run(["org/one", "-vv"]);
    let answer = line_with(&run.err, "repo:file:part:request: answered status=206");
    for field in ["name=org/one", "file=model.safetensors", " from=", " to=", " endpoint=0 ", " url=http://127.0.0."] {
        assert!(answer.contains(field), "{field}: {answer}");
    }
    let ended = line_with(&run.err, "the part ended bytes=");
    assert!(ended.contains("repo:file:part: ") && ended.contains(" file="), "{ended}");
}

fn line_with<'a>(log: &'a str, part: &str) -> &'a str {
    log.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {log}"))
}

#[test]
fn a_filter_chooses_what_is_logged_and_an_invalid_one_is_named() {
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
