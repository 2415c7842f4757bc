//! `hfget verify` of a large file in Xet storage: the stated Xet hash proves it on all cores, and everything else is as with
//! SHA-256.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use hfget_loopback_hub::Repo;
use serde_json::Value;

use super::support::{Machine, codes};

const MODEL: &str = "model.safetensors";
const SIZE: usize = 64 << 20;
/// By `hf_xet` 1.8.0 for Python.
const XET: &str = "95222fa30cef6bebd5fbb8055cc39598c392c3f41faf49e0159432a5ee145292";

/// Weights of 64 MiB: a block of noise, again and again.
fn weights() -> Vec<u8> {
    let mut state = 5u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 32)).to_le_bytes()
    });
    let block: Vec<u8> = words.take(1 << 17).flatten().collect();
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{SIZE}],"data_offsets":[0,{SIZE}]}}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &block.repeat(SIZE / block.len())].concat()
}

fn repo(xet: &str) -> Repo {
    Repo::new("org/large").file("config.json", "{}").xet_at(MODEL, weights(), xet)
}

/// A machine with the repo in its cache.
fn machine(repo: &Repo) -> Machine {
    let machine = Machine::new([repo.clone()]);
    machine.hfget("org/large --transport http").ends_with(0);
    machine
}

/// The path of the bytes.
fn blob(machine: &Machine, repo: &Repo) -> PathBuf {
    machine.model("org/large").join("snapshots").join(repo.commit()).join(MODEL).canonicalize().unwrap()
}

fn flip(path: &Path, at: u64) {
    let mut file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

/// A report's evidence for the weights.
fn of_weights(report: &Value) -> (&str, &str) {
    let files = report["reports"][0]["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["path"] == MODEL).unwrap();
    (file["evidence"].as_str().unwrap(), file["status"].as_str().unwrap())
}

/// The expected evidence: on one core, and in a build without Xet, SHA-256 is computed.
fn by_xet() -> &'static str {
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores > 1 && cfg!(feature = "xet") { "xet-merkle" } else { "hashed" }
}

#[test]
fn a_large_file_is_proven_by_its_stated_xet_hash_unless_its_sha256_is_needed() {
    let repo = repo(XET);
    let machine = machine(&repo);
    machine.hfget("lock org/large").ends_with(0);
    let verified = |line: &str, against: &str, evidence: &str| {
        let run = machine.hfget(&format!("{line} --json")).ends_with(0);
        let report = run.json();
        let first = &report["reports"][0];
        assert_eq!((first["verdict"].as_str(), first["against"].as_str()), (Some("verified"), Some(against)), "{line}");
        assert_eq!(of_weights(&report), (evidence, "checked"), "{line}");
        assert_eq!(first["findings"].as_array().unwrap().len(), 0, "{line}: {first:#}");
        assert!(first["totals"]["bytes_hashed"].as_u64().unwrap() >= SIZE as u64, "{line}");
        report
    };
    verified("verify org/large", "hub", by_xet());
    verified("verify --all", "hub", by_xet());
    verified("verify org/large --offline", "kept-listing", by_xet());
    verified("verify --lock hfget.lock", "lock", by_xet());
    verified("verify org/large --deep", "hub", "hashed");
    verified("verify org/large --report what.cdx.json", "hub", "hashed");
    verified("verify org/large --report what.intoto.json", "hub", "hashed");
    verified("verify org/large --report what.json", "hub", by_xet());
    machine.hfget("verify org/large").ends_with(0).says("result=verified against=hub repo=org/large");

    // The record of the fetch still counts.
    let report = machine.hfget("org/large --json").ends_with(0).json();
    assert_eq!(of_weights(&report), ("recorded", "already-verified"));

    // A Xet hash is not recorded as a SHA-256: a run that needs the SHA-256 computes it.
    let blob = blob(&machine, &repo);
    let now = std::time::SystemTime::now();
    std::fs::File::options().write(true).open(&blob).unwrap().set_modified(now).unwrap();
    verified("verify org/large", "hub", by_xet());
    let report = machine.hfget("org/large --json").ends_with(0).json();
    assert_eq!(of_weights(&report).0, if by_xet() == "hashed" { "recorded" } else { "hashed" });

    // A wrong bit gives the same findings as with SHA-256.
    for at in [0, SIZE as u64 / 2, SIZE as u64] {
        flip(&blob, at);
        let report = machine.hfget("verify org/large --json").ends_with(1).json();
        assert_eq!(codes(&report["reports"][0]), ["checksum-mismatch"], "{at}");
        assert_eq!(of_weights(&report), ("wrong", "failed"));
        flip(&blob, at);
    }
}

/// A mirror may state a wrong Xet hash, and a later Xet may compute it in another way: neither is a finding.
#[test]
fn a_wrong_xet_hash_beside_the_right_sha256_is_ignored_and_a_signature_gets_its_sha256() {
    let wrong = repo(&"a".repeat(64));
    let machine = machine(&wrong);
    let run = machine.hfget("verify org/large --json").ends_with(0);
    assert_eq!(of_weights(&run.json()), ("hashed", "checked"));
    assert!(!run.err.contains("Xet") && run.err.contains("errors=0 warnings=0"), "{}", run.err);
    assert_eq!(run.json()["reports"][0]["findings"].as_array().unwrap().len(), 0);

    // The same model, signed with hfget's statement.
    let statement = machine.hfget("lock org/large --format oms").ends_with(0).out;
    std::fs::write(machine.home.path().join("statement.json"), statement).unwrap();
    let Ok(made) = Command::new("bash").args(["-ec", SIGN]).current_dir(machine.home.path()).output() else { return };
    if !made.status.success() {
        return eprintln!("skipped: no openssl: {}", String::from_utf8_lossy(&made.stderr));
    }
    let signature = std::fs::read(machine.home.path().join("model.sig")).unwrap();
    let signed = repo(XET).file("model.sig", signature);
    let machine = super::support::Machine { hub: hfget_loopback_hub::Hub::start([signed]), home: machine.home };
    machine.hfget("org/large --transport http --require-signature key.pub").ends_with(0);
    assert_eq!(of_weights(&machine.hfget("verify org/large --json").ends_with(0).json()).0, by_xet());
    let line = "verify org/large --require-signature key.pub --json";
    let report = machine.hfget(line).ends_with(0).json();
    assert_eq!(of_weights(&report), ("hashed", "checked"));
    assert_eq!(report["reports"][0]["signatures"][0]["standing"], "verified");
}

/// As on the page "Signatures".
const SIGN: &str = r#"
openssl ecparam -name prime256v1 -genkey -noout -out key.pem
openssl ec -in key.pem -pubout -out key.pub
sign() { printf 'DSSEv1 28 application/vnd.in-toto+json %s ' "$(wc -c < "$1")"; cat "$1"; }
sign statement.json | openssl dgst -sha256 -sign key.pem -out statement.sig
printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"%s"}},"dsseEnvelope":{"payload":"%s","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"%s"}]}}' \
  "$(sha256sum < key.pub | cut -d' ' -f1)" "$(base64 -w0 statement.json)" "$(base64 -w0 statement.sig)" > model.sig
"#;
