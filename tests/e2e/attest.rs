//! Verified files as a bill of materials and as provenance that a team signs: `--report NAME.cdx.json` and
//! `--report NAME.intoto.json`. Files that are not verified are never written in these forms.

use std::process::Command;

use hfget_loopback_hub::{Fault, Kind, Place, Repo};
use serde_json::Value;

use super::interop::python;
use super::support::{Machine, one_file, safetensors};

/// `{}` as a git blob, and as bytes.
const GIT: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";
const SHA: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn written(machine: &Machine, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(machine.home.path().join(name)).unwrap()).unwrap()
}

/// A property of a component.
fn said<'a>(component: &'a Value, name: &str) -> Option<&'a str> {
    let properties = component["properties"].as_array()?;
    properties.iter().find(|one| one["name"] == name)?["value"].as_str()
}

fn part<'a>(bill: &'a Value, name: &str) -> &'a Value {
    bill["components"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

fn subject<'a>(statement: &'a Value, name: &str) -> &'a Value {
    statement["subject"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
}

/// Checks a bill with its schema, if the Python package with the schema is installed.
fn assert_valid(bill: &Value) {
    let Some(bin) = python() else { return };
    let check = "import sys; from cyclonedx.validation.json import JsonStrictValidator as V; \
                 from cyclonedx.schema import SchemaVersion as S; \
                 error = V(S.V1_6).validate_str(open(sys.argv[1]).read()); sys.exit(str(error) if error else 0)";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bill.to_string()).unwrap();
    let output = Command::new(bin.join("python")).args(["-c", check]).arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn verified_files_are_written_with_the_verdict_and_the_evidence_of_each_file() {
    let machine = Machine::new([one_file(1000)]);
    machine.hfget("org/one --report one.cdx.json").ends_with(0);
    let bill = written(&machine, "one.cdx.json");
    let model = &bill["metadata"]["component"];
    assert_eq!((&model["name"], &model["type"]), (&"org/one".into(), &"machine-learning-model".into()));
    assert_eq!(model["version"], one_file(1000).commit());
    assert_eq!((said(model, "hfget:verdict"), said(model, "hfget:against")), (Some("verified"), Some("hub")));
    let config = part(&bill, "config.json");
    assert_eq!((said(config, "hfget:evidence"), said(config, "hfget:gitBlob")), (Some("hashed"), Some(GIT)));
    assert_eq!(config["hashes"][0]["content"], SHA);
    assert_valid(&bill);

    // An earlier run read the files: its record has a git file's blob id.
    machine.hfget("verify org/one --report one.intoto.json").ends_with(0);
    let statement = written(&machine, "one.intoto.json");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let built = &statement["predicate"]["buildDefinition"];
    assert_eq!(built["internalParameters"]["verdict"], "verified");
    assert_eq!(built["externalParameters"]["repo"], "org/one");
    assert_eq!(built["resolvedDependencies"][0]["digest"]["gitCommit"], one_file(1000).commit());
    assert_eq!(subject(&statement, "config.json")["digest"]["gitBlob"], GIT);
    let weights = part(&bill, "model.safetensors")["hashes"][0]["content"].clone();
    assert_eq!(subject(&statement, "model.safetensors")["digest"]["sha256"], weights);
}

#[test]
fn several_repos_are_in_one_file_each_with_its_files() {
    let other = Repo::new("org/other").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 100));
    let machine = Machine::new([one_file(1000), other]);
    machine.hfget("org/one org/other --report all.cdx.json").ends_with(0);
    let bill = written(&machine, "all.cdx.json");
    let models: Vec<&Value> = bill["components"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["type"] == "machine-learning-model")
        .map(|one| &one["name"])
        .collect();
    assert_eq!(models, ["org/one", "org/other"]);
    assert_eq!(bill["dependencies"].as_array().unwrap().len(), 2);
    assert_valid(&bill);
    machine.hfget("org/one org/other --report all.intoto.json").ends_with(0);
    let statement = written(&machine, "all.intoto.json");
    assert_ne!(
        subject(&statement, "org/one/model.safetensors")["digest"],
        subject(&statement, "org/other/model.safetensors")["digest"]
    );
}

#[test]
fn nothing_is_written_for_signing_unless_everything_was_verified() {
    let machine = Machine::new([one_file(1000)]);
    let file = machine.home.path().join("bom.cdx.json");
    machine.hfget("org/one --report bom.cdx.json").ends_with(0);
    assert!(file.exists());
    // An earlier run's file is removed, so that nobody takes it for this run's.
    machine.hfget("org/one org/none --report bom.cdx.json").ends_with(3).says("is not written");
    assert!(!file.exists());
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(700)).on("**/model.safetensors"));
    machine.hfget("org/one --force --report bom.intoto.json").ends_with(1).says("is not written");
    assert!(!machine.home.path().join("bom.intoto.json").exists());
    machine.hub.heal();
    machine.hfget("org/one --partition 1/2 --report bom.cdx.json").ends_with(0).says("is not written");
    assert!(!file.exists());
    machine.hfget("org/one --partition 2/2 --publish-when-complete --report bom.cdx.json").ends_with(0);
    assert!(file.exists(), "the whole is verified");
    // A command that verifies nothing writes no such file.
    machine.hfget("plan org/one --report p.cdx.json").ends_with(2).says("verifies nothing");
    assert!(!machine.home.path().join("p.cdx.json").exists());
}
