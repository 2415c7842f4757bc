//! Tests of whole repos on disk: digests, tables, index and companions together.

use std::fs;
use std::path::Path;

use super::make::{Pickled, SIX, record, safetensors, state_dict, torch_file, zip};
use super::{codes, fixture, subject_file};
use crate::finding::{Code, Outcome, Severity};
use crate::model::{Family, Purpose, WeightSet};
use crate::progress::Silent;
use crate::verify::table::{content_table, table_by_bytes};
use crate::verify::{Subject, Unread, verify};

fn set(family: Family, index: Option<&str>, files: &[&str]) -> WeightSet {
    WeightSet {
        scope: String::new(),
        family,
        variant: None,
        index: index.map(|i| i.parse().unwrap()),

        parsed: crate::model::Parsed::default(),
        files: files.iter().map(|f| f.parse().unwrap()).collect(),
        tied_embeddings: false,
    }
}

fn subject(dir: &Path, set: WeightSet) -> Subject {
    let weights = set.files.iter().map(|p| subject_file(dir, p.as_str(), Purpose::Weights));
    let index = set.index.iter().map(|p| subject_file(dir, p.as_str(), Purpose::Index));
    Subject { files: weights.chain(index).collect(), weights: vec![set], ..Subject::default() }
}

fn check(dir: &Path, set: WeightSet) -> Outcome {
    verify(&subject(dir, set), 2, &Silent)
}

#[test]
fn the_miniature_of_chatglm_is_right_in_both_families() {
    let dir = fixture("repos/THUDM/chatglm3-6b");
    for (family, index, name) in [
        (Family::Safetensors, "model.safetensors.index.json", "model-0000N-of-00007.safetensors"),
        (Family::Bin, "pytorch_model.bin.index.json", "pytorch_model-0000N-of-00007.bin"),
    ] {
        let files: Vec<String> = (1..=7).map(|n| name.replace('N', &n.to_string())).collect();
        let files: Vec<&str> = files.iter().map(|f| &**f).collect();
        let outcome = check(&dir, set(family, Some(index), &files));
        assert_eq!(outcome.findings, [], "{family}");
        assert_eq!((outcome.tensors, outcome.indexed), (200, 200), "{family}");
        let again = check(&dir, set(family, Some(index), &files[..6]));
        assert_eq!(codes(&again.findings), [Code::ShardMissing], "{family}");
    }
}

#[test]
fn a_truncated_shard_is_not_also_reported_for_missing_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let whole = safetensors(&[("a", "F32", 4, &[4])]);
    fs::write(dir.path().join("1.safetensors"), &whole[..whole.len() - 1]).unwrap();
    fs::write(dir.path().join("i.json"), r#"{"metadata":{},"weight_map":{"a":"1.safetensors"}}"#).unwrap();
    let outcome = check(dir.path(), set(Family::Safetensors, Some("i.json"), &["1.safetensors"]));
    assert_eq!(codes(&outcome.findings), [Code::TensorOutOfBounds]);
}

#[test]
fn an_index_file_that_is_not_an_index_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("1.safetensors"), safetensors(&[("a", "F32", 4, &[4])])).unwrap();
    for text in ["", "[]", "{}", r#"{"weight_map":{}}"#, r#"{"weight_map":{"a":1}}"#] {
        fs::write(dir.path().join("i.json"), text).unwrap();
        let outcome = check(dir.path(), set(Family::Safetensors, Some("i.json"), &["1.safetensors"]));
        assert_eq!(codes(&outcome.findings), [Code::IndexInvalid], "{text}");
    }
}

#[test]
fn an_index_is_never_followed_out_of_the_repo() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("a/b");
    fs::create_dir_all(&repo).unwrap();
    // If the file were opened, its tensor would be found and nothing would be missing.
    fs::write(dir.path().join("secret.safetensors"), safetensors(&[("a", "F32", 4, &[4])])).unwrap();
    fs::write(repo.join("i.json"), r#"{"metadata":{},"weight_map":{"a":"../../secret.safetensors"}}"#).unwrap();
    let outcome = check(&repo, set(Family::Safetensors, Some("i.json"), &[]));
    assert_eq!(codes(&outcome.findings), [Code::PathUnsafe]);
    assert_eq!((outcome.tensors, outcome.indexed), (0, 0));
}

#[test]
fn an_unsafe_pickle_is_an_error_unless_it_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    fs::write(dir.path().join("pytorch_model.bin"), torch_file(&evil, &[])).unwrap();
    let mut subject = subject(dir.path(), set(Family::Bin, None, &["pytorch_model.bin"]));
    for (allowed, severity) in [(false, Severity::Error), (true, Severity::Warning)] {
        subject.allow_unsafe_pickle = allowed;
        let outcome = verify(&subject, 1, &Silent);
        assert_eq!(codes(&outcome.findings), [Code::UnsafePickle]);
        assert_eq!(outcome.findings[0].severity, severity);
    }
}

#[test]
fn a_git_lfs_pointer_in_place_of_weights_is_reported_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 6\n";
    for (family, name) in [(Family::Safetensors, "m.safetensors"), (Family::Bin, "m.bin"), (Family::Gguf, "m.gguf")] {
        fs::write(dir.path().join(name), pointer).unwrap();
        let outcome = check(dir.path(), set(family, None, &[name]));
        assert_eq!(codes(&outcome.findings), [Code::LfsPointer], "{name}");
    }
}

#[test]
fn weights_of_an_unsupported_format_are_not_taken_for_broken_torch_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("i.json"), r#"{"metadata":{},"weight_map":{"a":"x"}}"#).unwrap();
    for (family, content) in [
        (Family::Gguf, &b"tjgg\x03\0\0\0"[..]),
        (Family::Onnx, b"\x08\x07"),
        (Family::TfLite, b"\x1c\0\0\0TFL3"),
        (Family::OpenVino, b"<net/>"),
        (Family::CTranslate2, b"\x06\0\0\0"),
        (Family::Mlx, &zip(&[record("a.npy", "")])),
        (Family::Other, b"?"),
    ] {
        fs::write(dir.path().join("x"), content).unwrap();
        let outcome = check(dir.path(), set(family, Some("i.json"), &["x"]));
        assert_eq!(outcome.findings, [], "{family}");
    }
    fs::write(dir.path().join("x"), "<html>").unwrap();
    assert_eq!(codes(&check(dir.path(), set(Family::Gguf, None, &["x"])).findings), [Code::FormatUnexpected]);
}

#[test]
fn the_name_decides_between_safetensors_and_torch() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one.safetensors"), safetensors(&[("a", "F32", 4, &[4])])).unwrap();
    fs::write(dir.path().join("one.ckpt"), torch_file(&state_dict(&[("a", SIX)]), &[("0", 24)])).unwrap();
    for name in ["one.safetensors", "one.ckpt"] {
        let outcome = check(dir.path(), set(Family::DiffusersSingle, None, &[name]));
        assert_eq!((outcome.findings.len(), outcome.tensors), (0, 1), "{name}");
    }
}

#[test]
fn a_pipe_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let name = "x.bin".parse().unwrap();
    for local in [dir.path().to_path_buf(), dir.path().join("nowhere"), "/dev/null".into()] {
        let (table, findings) = content_table(&local.clone().into(), &name, Family::Bin, &Unread::default());
        assert!(table.is_none());
        assert_eq!(codes(&findings), [Code::FileMissing], "{}", local.display());
        // It is not opened to read the format from its bytes either: a pipe would never answer.
        assert_eq!(table_by_bytes(&local, name.as_str()), (None, findings), "{}", local.display());
    }
}

#[test]
fn parameters_of_a_name_in_two_files_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = safetensors(&[("a", "F32", 4, &[4])]);
    fs::write(dir.path().join("1.safetensors"), &file).unwrap();
    fs::write(dir.path().join("2.safetensors"), &file).unwrap();
    let outcome = check(dir.path(), set(Family::Safetensors, None, &["1.safetensors", "2.safetensors"]));
    assert_eq!(codes(&outcome.findings), [Code::TensorDuplicate]);
    assert_eq!((outcome.tensors, outcome.parameters), (2, 4));
}

#[test]
fn shards_of_keras_and_flax_match_their_indexes() {
    for (family, dir, stem, ending, tensors) in
        [(Family::Tf, "formats/h5", "tf_model", "h5", 6), (Family::Flax, "formats/flax", "flax_model", "msgpack", 9)]
    {
        let index = format!("{stem}.{ending}.index.json");
        let shards: Vec<String> = (1..=2).map(|n| format!("{stem}-0000{n}-of-00002.{ending}")).collect();
        let shards: Vec<&str> = shards.iter().map(|s| &**s).collect();
        let outcome = check(&fixture(dir), set(family, Some(&index), &shards));
        assert_eq!((outcome.findings, outcome.tensors, outcome.indexed), (Vec::new(), tensors, tensors));
        let outcome = check(&fixture(dir), set(family, Some(&index), &shards[..1]));
        assert_eq!(codes(&outcome.findings), [Code::ShardMissing]);
        // The two shards are swapped, so no tensor is in the shard that the index names.
        let copy = tempfile::tempdir().unwrap();
        fs::copy(fixture(dir).join(&index), copy.path().join(&index)).unwrap();
        fs::copy(fixture(dir).join(shards[0]), copy.path().join(shards[1])).unwrap();
        fs::copy(fixture(dir).join(shards[1]), copy.path().join(shards[0])).unwrap();
        let outcome = check(copy.path(), set(family, Some(&index), &shards));
        assert_eq!(codes(&outcome.findings), [Code::TensorMisplaced]);
    }
}
