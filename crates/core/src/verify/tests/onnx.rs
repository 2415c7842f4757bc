//! ONNX: the producer's own files tensor by tensor, wrong external data, and damaged files.

use std::io::Cursor;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{SubjectFile, Zeros, codes, fixture, has_error, subject_file};
use crate::finding::{Code, Finding};
use crate::model::{Family, Purpose, WeightSet};
use crate::progress::Silent;
use crate::verify::{Subject, onnx, onnx::Model, verify};

fn model(bytes: &[u8]) -> (Model, Vec<Finding>) {
    super::with_findings(onnx::model(Cursor::new(bytes), bytes.len() as u64, "x.onnx"))
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("formats/onnx/{name}"))).unwrap()
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend(content);
    out
}

/// A model with one initializer `a` that has these further fields.
fn one(fields: &[u8]) -> Vec<u8> {
    let tensor = [field(8, b"a"), fields.to_vec()].concat();
    [vec![8, 10], field(7, &field(5, &tensor))].concat()
}

fn external(location: &str, offset: &str) -> Vec<u8> {
    let pair = |k: &str, v: &str| field(13, &[field(1, k.as_bytes()), field(2, v.as_bytes())].concat());
    one(&[vec![8, 2, 16, 1, 0x70, 1], pair("location", location), pair("offset", offset)].concat())
}

#[test]
fn every_tensor_reads_as_its_producer_reads_it() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("formats/expected.json")).unwrap()).unwrap();
    for (name, rows) in expected["onnx"]["files"].as_object().unwrap() {
        let (model, findings) = model(&read(name));
        assert_eq!(findings, [], "{name}");
        let mut read: Vec<serde_json::Value> = model
            .table
            .tensors
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let external = model
                    .external
                    .iter()
                    .find(|e| e.tensor == i)
                    .map(|e| serde_json::json!([e.location, e.offset, e.length]));
                serde_json::json!([t.name, t.dtype, t.shape, external])
            })
            .collect();
        let mut rows: Vec<serde_json::Value> = rows.as_array().unwrap().clone();
        for row in &mut rows {
            if let Some(keys) = row[3].as_object() {
                let number = |key: &str| keys.get(key).map(|v| v.as_str().unwrap().parse::<u64>().unwrap());
                row[3] = serde_json::json!([keys["location"], number("offset").unwrap_or(0), number("length")]);
            }
        }
        assert!(rows.len() > 15);
        let key = |v: &serde_json::Value| v.to_string();
        read.sort_by_key(key);
        rows.sort_by_key(key);
        assert_eq!(read, rows, "{name}");
    }
}

#[test]
fn every_broken_rule_is_named() {
    let two_bytes = field(9, &[1, 2]);
    assert_eq!(model(&one(&[vec![8, 2, 16, 3], two_bytes.clone()].concat())).1, []);
    for (why, bytes, code) in [
        ("nothing", vec![], Code::FormatUnexpected),
        ("no graph", vec![8, 10], Code::FormatUnexpected),
        ("a group", vec![11, 12], Code::HeaderInvalid),
        ("field 0", vec![0, 0], Code::HeaderInvalid),
        ("a length of 2^63", vec![0x3a, 255, 255, 255, 255, 255, 255, 255, 255, 127], Code::HeaderInvalid),
        ("a byte too few", one(&[vec![8, 3, 16, 3], two_bytes.clone()].concat()), Code::HeaderInvalid),
        ("no content", one(&[8, 3, 16, 3]), Code::HeaderInvalid),
        (
            "content twice",
            one(&[vec![8, 2, 16, 3], two_bytes.clone(), field(5, &[1, 2])].concat()),
            Code::HeaderInvalid,
        ),
        ("another dtype's content", one(&[vec![8, 2, 16, 3], field(7, &[1, 2])].concat()), Code::HeaderInvalid),
        ("raw strings", one(&[vec![8, 2, 16, 8], two_bytes.clone()].concat()), Code::HeaderInvalid),
        (
            "a negative dimension",
            { one(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 16, 3]) },
            Code::HeaderInvalid,
        ),
        ("an unknown dtype", one(&[vec![8, 2, 16, 99], two_bytes.clone()].concat()), Code::DtypeUnknown),
        ("an offset that is not a number", external("w", "-1"), Code::HeaderInvalid),
        ("no location", external("", "0"), Code::HeaderInvalid),
    ] {
        let found = model(&bytes).1;
        assert!(found.iter().any(|f| f.code == code), "{why}: {found:?}");
    }
}

#[test]
fn subgraphs_end() {
    let mut graph = Vec::new();
    for _ in 0..2000 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    assert!(has_error(&model(&[vec![8, 10], field(7, &graph)].concat()).1));
}

fn check(files: &[(&str, &[u8])]) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    judged(files.iter().map(|(name, _)| subject_file(dir.path(), name, Purpose::Weights)).collect())
}

/// The findings of these files as one set.
fn judged(files: Vec<SubjectFile>) -> Vec<Finding> {
    let set = WeightSet {
        scope: String::new(),
        family: Family::Onnx,
        variant: None,
        index: None,

        parsed: crate::model::Parsed::default(),
        files: files.iter().map(|file| file.path.clone()).collect(),
        tied_embeddings: false,
    };
    verify(&Subject { files, weights: vec![set], ..Subject::default() }, 1, &Silent).findings
}

#[test]
fn a_key_of_external_data_that_is_given_twice_is_refused() {
    let pair = |k: &str, v: &str| field(13, &[field(1, k.as_bytes()), field(2, v.as_bytes())].concat());
    let of = |keys: &[Vec<u8>]| one(&[vec![8, 2, 16, 1, 0x70, 1], keys.concat()].concat());
    let once = [pair("location", "w"), pair("offset", "0"), pair("length", "8")];
    assert_eq!(check(&[("x.onnx", &of(&once)), ("w", &[0; 8])]), []);
    for more in [
        vec![pair("location", "../secret")],
        vec![pair("offset", "0")],
        vec![pair("length", "8")],
        vec![pair("checksum", ""), pair("checksum", "")],
    ] {
        let found = check(&[("x.onnx", &of(&[&once[..], &more].concat())), ("w", &[0; 8])]);
        assert!(codes(&found).contains(&Code::HeaderInvalid), "{found:?}");
    }
}

#[test]
fn external_data_must_be_there_and_long_enough() {
    let (graph, data) = (read("outside.onnx"), read("outside.onnx_data"));
    assert_eq!(check(&[("outside.onnx", &graph), ("outside.onnx_data", &data)]), []);
    assert_eq!(codes(&check(&[("outside.onnx", &graph)])), [Code::ExternalDataMissing]);
    let short = &data[..data.len() - 1];
    assert_eq!(codes(&check(&[("outside.onnx", &graph), ("outside.onnx_data", short)])), [Code::TensorOutOfBounds]);
    for location in ["../w", "/etc/passwd", "a/../../w", "a\\..\\w"] {
        assert_eq!(codes(&check(&[("x.onnx", &external(location, "0"))])), [Code::PathUnsafe], "{location}");
    }
    // Without a length the data is as long as its two floats.
    let (graph, room) = (external("w", "0"), external("w", "1"));
    assert_eq!(check(&[("x.onnx", &graph), ("w", &[0; 8])]), []);
    assert_eq!(codes(&check(&[("x.onnx", &room), ("w", &[0; 8])])), [Code::TensorOutOfBounds]);
    let far = external("w", "18446744073709551615");
    assert_eq!(codes(&check(&[("x.onnx", &far), ("w", &[0; 8])])), [Code::TensorOutOfBounds]);
}

/// Tools that rewrite the data keep the old sum, so it is a warning.
#[test]
fn the_sha_1_that_a_graph_states_is_compared() {
    let pair = |k: &str, v: &str| field(13, &[field(1, k.as_bytes()), field(2, v.as_bytes())].concat());
    let graph = |sum: &str| {
        one(&[vec![8, 2, 16, 1, 0x70, 1], pair("location", "w"), pair("offset", "0"), pair("checksum", sum)].concat())
    };
    // SHA-1 of "abcdefgh".
    let right = graph("425AF12A0743502B322E93A015BCF868E324D56A");
    assert_eq!(check(&[("x.onnx", &right), ("w", b"abcdefgh")]), []);
    let findings = check(&[("x.onnx", &right), ("w", b"abcdefgX")]);
    assert!(codes(&findings) == [Code::ChecksumMismatch] && !has_error(&findings), "{findings:?}");
}

#[test]
fn a_file_is_hashed_once_whatever_number_of_sums_a_graph_claims() {
    let pair = |k: &str, v: &str| field(13, &[field(1, k.as_bytes()), field(2, v.as_bytes())].concat());
    let tensor = |n: u32| {
        let name = field(8, format!("t{n}").as_bytes());
        let sum = pair("checksum", &format!("{n:040x}"));
        field(5, &[name, vec![8, 2, 16, 1, 0x70, 1], pair("location", "w"), sum].concat())
    };
    let graph = [vec![8, 10], field(7, &(0..100).flat_map(tensor).collect::<Vec<u8>>())].concat();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.onnx"), graph).unwrap();
    let (content, read) = Zeros::content(1 << 20);
    let outside = SubjectFile { content, ..subject_file(dir.path(), "w", Purpose::Weights) };
    let found = judged(vec![subject_file(dir.path(), "x.onnx", Purpose::Weights), outside]);
    assert_eq!(codes(&found), [Code::ChecksumMismatch]);
    // The file's first bytes were read as well, to see whether it is a git-lfs pointer or may contain a pickle.
    assert!(read.load(Ordering::Relaxed) < (1 << 20) + 700);
}

#[test]
fn every_truncation_and_every_flipped_byte_is_judged() {
    for name in ["plain.onnx", "outside.onnx"] {
        let whole = read(name);
        let sane = |bytes: &[u8]| {
            let (model, findings) = model(bytes);
            assert!(findings.len() < 200);
            assert!(model.table.tensors.iter().filter_map(|t| t.bytes.as_ref()).all(|r| r.end <= bytes.len() as u64));
            findings
        };
        let mut passed = 0;
        for length in 0..whole.len() {
            passed += usize::from(sane(&whole[..length]).is_empty());
        }
        // A cut between the model's own fields after the graph leaves a valid message.
        assert!(passed < 60, "{name}: {passed} truncations pass");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            sane(&bytes);
            bytes[at] ^= 0xfe;
            sane(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = model(&bytes);
        let _ = model(&one(&bytes));
    }
}
