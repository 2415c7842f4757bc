//! Tests of `SavedModel`s: the producer's own directory, assets, variables, and damaged graphs.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::{codes, fixture, has_error, subject_file};
use crate::finding::{Code, Finding, Outcome};
use crate::model::{Family, Purpose, WeightSet};
use crate::progress::Silent;
use crate::verify::{Subject, saved_model, saved_model::Graph, saved_model::Message, verify};

const FILES: &[&str] = &[
    "assets/vocab.txt",
    "fingerprint.pb",
    "keras_metadata.pb",
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
];

fn read(bytes: &[u8]) -> (Graph, Vec<Finding>) {
    super::with_findings(saved_model::read(
        Cursor::new(bytes),
        bytes.len() as u64,
        "saved_model.pb",
        Message::SavedModel,
    ))
}

fn tf(name: &str) -> Vec<u8> {
    fs::read(fixture(&format!("formats/tf/saved_model/{name}"))).unwrap()
}

fn check(dir: &Path, files: &[&str]) -> Outcome {
    let set = WeightSet {
        scope: String::new(),
        family: Family::SavedModel,
        variant: None,
        index: None,

        parsed: crate::model::Parsed::default(),
        files: files.iter().map(|f| f.parse().unwrap()).collect(),
        tied_embeddings: false,
    };
    let files = files.iter().map(|f| subject_file(dir, f, Purpose::Weights)).collect();
    verify(&Subject { files, weights: vec![set], deep: true, ..Subject::default() }, 2, &Silent)
}

#[test]
fn a_saved_model_as_tensorflow_writes_it_is_right() {
    let outcome = check(&fixture("formats/tf/saved_model"), FILES);
    assert_eq!((outcome.findings, outcome.tensors), (Vec::new(), 3));
    let graph = read(&tf("saved_model.pb")).0;
    assert_eq!((graph.graphs, graph.assets.iter().map(String::as_str).collect::<Vec<_>>()), (1, vec!["vocab.txt"]));
    assert!(graph.nodes > 5);
    // The graph beside a checkpoint.
    let meta = fs::read(fixture("formats/tf/saver/model.ckpt.meta")).unwrap();
    let (graph, findings) = saved_model::read(Cursor::new(&meta), meta.len() as u64, "x", Message::MetaGraph);
    assert!(findings.is_empty() && graph.nodes > 20, "{findings:?}");
}

#[test]
fn assets_and_shards_must_be_there() {
    let dir = fixture("formats/tf/saved_model");
    for (gone, code) in [
        ("assets/vocab.txt", Code::ExternalDataMissing),
        ("variables/variables.data-00000-of-00001", Code::ShardMissing),
    ] {
        let left: Vec<&str> = FILES.iter().copied().filter(|f| *f != gone).collect();
        assert_eq!(codes(&check(&dir, &left).findings), [code]);
    }
    let asset = |name: &str| {
        let definition = [b"\x12", &[u8::try_from(name.len()).unwrap()][..], name.as_bytes()].concat();
        let graph = [b"\x32", &[u8::try_from(definition.len()).unwrap()][..], &definition].concat();
        [b"\x08\x01\x12", &[u8::try_from(graph.len()).unwrap()][..], &graph].concat()
    };
    let dir = tempfile::tempdir().unwrap();
    for name in ["../x", "/etc/passwd", "a/../../b", "a\\..\\b"] {
        fs::write(dir.path().join("saved_model.pb"), asset(name)).unwrap();
        assert_eq!(codes(&check(dir.path(), &["saved_model.pb"]).findings), [Code::PathUnsafe], "{name}");
    }
}

/// A message's field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
}

#[test]
fn operations_on_files_are_a_finding_of_their_own_in_graphs_and_in_functions() {
    let node = |operation: &str| [field(1, b"n"), field(2, operation.as_bytes())].concat();
    let saved = |graph_def: &[u8]| [b"\x08\x01".to_vec(), field(2, &field(2, graph_def))].concat();
    let in_graph = |operation: &str| saved(&field(1, &node(operation)));
    let in_function = |operation: &str| saved(&field(2, &field(1, &field(3, &node(operation)))));
    for operation in ["ReadFile", "WriteFile"] {
        for (how, bytes) in [("graph", in_graph(operation)), ("function", in_function(operation))] {
            let found = read(&bytes).1;
            assert_eq!(codes(&found), [Code::GraphFileAccess], "{how}");
            assert!(found[0].message.contains(operation), "{found:?}");
        }
    }
    for operation in ["MatMul", "ReadVariableOp", "RestoreV2", "InitializeTableFromTextFileV2"] {
        assert_eq!(read(&in_graph(operation)).1, [], "{operation}");
        assert_eq!(read(&in_function(operation)).1, [], "{operation}");
    }
}

#[test]
fn every_broken_rule_is_named() {
    assert_eq!(read(b"\x08\x01\x12\x00").1, []);
    for (why, bytes) in [
        ("nothing", &b""[..]),
        ("no graph", b"\x08\x01"),
        ("another version", b"\x08\x02\x12\x00"),
        ("a graph that is a number", b"\x08\x01\x10\x01"),
        ("a graph beyond the end", b"\x08\x01\x12\x7f\x12"),
        ("a node that is a number", b"\x08\x01\x12\x04\x12\x02\x08\x01"),
        ("a node's name that is not UTF-8", b"\x08\x01\x12\x07\x12\x05\x0a\x03\x0a\x01\xff"),
        ("text", b"hello, this is no graph"),
    ] {
        assert_eq!(codes(&read(bytes).1), [Code::HeaderInvalid], "{why}");
    }
}

#[test]
fn every_truncation_is_found_and_every_flipped_byte_judged() {
    let whole = tf("saved_model.pb");
    for length in (0..whole.len()).step_by(3) {
        assert!(has_error(&read(&whole[..length]).1), "cut at {length}");
    }
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x81;
        assert!(read(&bytes).1.len() < 10);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for message in [Message::SavedModel, Message::MetaGraph, Message::Other] {
            let _ = saved_model::read(Cursor::new(&bytes), bytes.len() as u64, "x", message);
        }
        let _ = read(&[&b"\x12\xac\x02"[..], &bytes].concat());
    }
}
