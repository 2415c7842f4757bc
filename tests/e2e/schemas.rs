//! The JSON schemas of `examples/schemas` match the program's output: Python's `jsonschema` checks
//! each output of each command, and allows no key that a schema does not name.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use hfget_loopback_hub::{Fault, Hub, Kind, Place, Repo};
use serde_json::{Value, json};

use super::interop::python;
use super::support::{CHATGLM, Machine, Run, fixture, one_file, safetensors};

/// Closes every object of a schema. Then prints the documents that do not fit, and the schema's
/// alternatives that no document used.
const CHECK: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
job = json.load(sys.stdin)
def close(schema):
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("additionalProperties") is not True:
            schema["additionalProperties"] = False
        for value in schema.values():
            close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)
schema = job["schema"]
Draft202012Validator.check_schema(schema)
close(schema)
for n, document in enumerate(job["documents"]):
    for error in Draft202012Validator(schema).iter_errors(document):
        inner = sorted(error.context or [error], key=lambda e: -len(e.absolute_path))
        print("document", n, "does not fit:", inner[0].message[:400], list(inner[0].absolute_path), str(document)[:300])
for alternative in schema.get("oneOf", []):
    one = {**alternative, "$defs": schema.get("$defs", {})}
    if not any(Draft202012Validator(one).is_valid(d) for d in job["documents"]):
        print("nothing is", str(alternative)[:200])
"#;

fn schema(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/schemas").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn assert_fit(name: &str, documents: &[Value]) {
    let Some(bin) = python() else { return };
    let mut child = Command::new(bin.join("python"))
        .args(["-c", CHECK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let job = json!({ "schema": schema(name), "documents": documents });
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let run: Run = child.wait_with_output().unwrap().into();
    let run = run.ends_with(0);
    assert_eq!(run.out, "", "{name}");
}

fn machine() -> Machine {
    let sharded = Repo::new("org/wrong")
        .file("config.json", "{}")
        .file(
            "model.safetensors.index.json",
            r#"{"metadata":{},"weight_map":{"w":"m.safetensors","x":"m.safetensors"}}"#,
        )
        .lfs("m.safetensors", safetensors("w", 100));
    Machine::new([fixture(CHATGLM), one_file(6 << 20), sharded])
}

#[test]
fn every_json_output_matches_its_schema() {
    let machine = machine();
    let mirror = Hub::start([one_file(6 << 20), Repo::new("org/wrong").file("config.json", "[]")]);
    let compare = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
        machine.environment(&mut command);
        command.args([
            "compare",
            "--retry-base-ms",
            "2",
            "--retry-for",
            "0.5",
            "--json",
            "--mirror",
            &mirror.endpoint(),
        ]);
        let run: Run = command.args(line.split_whitespace()).output().unwrap().into();
        run.json()
    };
    let clean = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
        machine.environment(&mut command);
        let run: Run = command.args(line.split(' ')).arg("--json").output().unwrap().into();
        run.json()
    };
    let json = |line: &str| machine.hfget(&format!("{line} --json")).json();
    let mut documents = vec![
        json("plan THUDM/chatglm3-6b"),
        json("plan org/absent org/one --variant fp16"),
        json("THUDM/chatglm3-6b org/wrong org/absent"),
        json("THUDM/chatglm3-6b"),
        json("THUDM/chatglm3-6b --partition 2/3"),
        json("verify --all --offline"),
        json("verify THUDM/chatglm3-6b --offline"),
        json("verify THUDM/chatglm3-6b ./nowhere"),
        json("lock org/one"),
        json("lock --check"),
        json("lock --check org/one"),
        json("inspect THUDM/chatglm3-6b"),
        json("inspect org/absent"),
        compare("org/one org/wrong org/absent --level full"),
        compare("org/one --level sample"),
    ];
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Cut(5 << 20)).on("model.safetensors"));
    documents.push(json("org/one"));
    documents.push(json("plan org/one"));
    documents.push(clean("clean"));
    documents.push(clean("list"));
    documents.push(clean("remove THUDM/chatglm3-6b --dry-run"));
    documents.push(clean("remove org/one"));
    assert_fit("json.schema.json", &documents);
}

#[test]
fn every_event_matches_its_schema() {
    let machine = machine();
    let mut documents = Vec::new();
    let mut run = |line: &str| {
        let run = machine.hfget(&format!("{line} --progress json"));
        let lines = run.err.lines().map(|line| serde_json::from_str(line).expect(line));
        documents.extend(lines.collect::<Vec<Value>>());
    };
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Cut(1 << 20)).on("model.safetensors").times(1));
    machine.hub.fault(Fault::new(Place::Tree, Kind::Status(429, vec![("retry-after", "0".into())])).times(1));
    run("org/one");
    run("org/wrong");
    run("org/absent");
    machine.hub.fault(Fault::new(Place::Tree, Kind::Status(404, Vec::new())).times(1));
    run("THUDM/chatglm3-6b -v");
    run("verify org/one --offline");
    std::fs::remove_dir_all(machine.cache()).unwrap();
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(10)).on("model.safetensors"));
    run("org/one");
    // Another process has the lock, until the second run has printed that it waits.
    machine.hub.heal();
    std::fs::remove_dir_all(machine.cache()).unwrap();
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Stall(1 << 20)).on("model.safetensors"));
    let mut first = machine.command().arg("org/one").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while super::resume::partial(&machine).is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut second = machine.command();
    second.args(["org/one", "--progress", "json"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut second = second.spawn().unwrap();
    for line in BufReader::new(second.stderr.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "waiting" {
            machine.hub.heal();
            first.kill().unwrap();
        }
        documents.push(event);
    }
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    documents.push(json!({ "event": "message", "text": "as with -v" }));
    assert_fit("events.schema.json", &documents);
}

#[test]
fn a_lockfile_matches_its_schema() {
    let machine = machine();
    machine.hfget("lock THUDM/chatglm3-6b --prefer safetensors --exclude *.py --with *.md").ends_with(0);
    machine.hfget("lock org/one --all --no-code").ends_with(0);
    let text = std::fs::read_to_string(machine.home.path().join("hfget.lock")).unwrap();
    let value: Value = toml::from_str(&text).unwrap();
    assert_fit("lockfile.schema.json", &[value]);
}

#[test]
fn the_schema_names_every_code() {
    let codes: Vec<Value> = hfget_core::finding::Code::ALL.iter().map(|code| Value::from(code.to_string())).collect();
    assert_eq!(
        schema("json.schema.json")["$defs"]["finding"]["properties"]["code"]["enum"],
        Value::from(codes.clone())
    );
    assert_eq!(schema("events.schema.json")["$defs"]["finding"]["properties"]["code"]["enum"], Value::from(codes));
}
