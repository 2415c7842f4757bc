//! Every file is looked into, whatever its name: hostile pickles are found in each kind of container, and the honest
//! twin of each stays silent.

use std::io::{Cursor, Write as _};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::make::{Pickled, record, torch_file, zip};
use super::{has_error, kinds};
use crate::torch::walk;
use crate::{Problem, ProblemKind};

fn found(name: &str, bytes: &[u8]) -> Vec<Problem> {
    walk(&mut Cursor::new(bytes), bytes.len() as u64, name)
}

fn evil() -> Vec<u8> {
    Pickled::new().global("os", "system").text("true").op(b"\x85R").stop()
}

fn honest() -> Vec<u8> {
    Pickled::new().global("my.net", "Net").op(b")\x81}b").stop()
}

/// An array of objects.
fn npy(pickle: &[u8]) -> Vec<u8> {
    let header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header, pickle].concat()
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[148..156].fill(b' ');
    header[156] = b'0';
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(content);
    header.resize(header.len().next_multiple_of(512) + 1024, 0);
    header
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

/// What joblib writes for an array of two doubles, with `pickle` behind it.
fn joblib(dtype: &str, raw: &[u8], pickle: &[u8]) -> Vec<u8> {
    joblib_of(dtype, b"", raw, pickle)
}

/// The same where the dtype is given a state by these instructions.
fn joblib_of(dtype: &str, state: &[u8], raw: &[u8], pickle: &[u8]) -> Vec<u8> {
    let pickled = Pickled::new().global("joblib.numpy_pickle", "NumpyArrayWrapper").op(b")\x81}(");
    let pickled = pickled.text("shape").op(b"K\x02\x85").text("dtype").global("numpy", "dtype").op("(");
    let pickled = pickled.text(dtype).op(b"\x89\x88tR").op(state).text("numpy_array_alignment_bytes").op("K\x10ub");
    // Its other instructions, behind the array.
    let rest = pickle.strip_prefix(b"\x80\x02").unwrap_or(pickle);
    [&pickled.0[..], raw, b"0", rest].concat()
}

#[test]
fn a_hostile_pickle_is_found_in_every_container_and_an_honest_one_is_no_news() {
    type Wrap = fn(&[u8]) -> Vec<u8>;
    let containers: &[(&str, Wrap)] = &[
        ("model.pkl", <[u8]>::to_vec),
        ("optimizer.pt", |p| torch_file(p, &[])),
        ("checkpoint_final", |p| torch_file(p, &[])),
        ("weights.npy", npy),
        ("weights.npz", |p| zip(&[record("a.npy", npy(p))])),
        ("m.nemo", |p| tar("model_weights.ckpt", &torch_file(p, &[]))),
        ("old.nemo", |p| gzip(&tar("model_weights.ckpt", &torch_file(p, &[])))),
        ("model.pkl.gz", gzip),
        ("model.joblib", zlib),
        ("policy.zip", |p| zip(&[record("data", "{}"), record("policy.pth", torch_file(p, &[]))])),
        ("arrays.joblib", |p| joblib("f8", b"\x03\xff\xff\xff0123456789abcdef", p)),
        ("objects.joblib", |p| joblib("O8", p, b"\x80\x02N.")),
        // Of eight bytes with fields; and with a field that is an object.
        ("fields.joblib", |p| joblib_of("V8", b"(K\x03NNNNNNK\x00tb", b"\x01\xff0123456789abcdef", p)),
        ("fields.joblib", |p| joblib_of("V8", b"(K\x03NNNNNNK\x3ftb", p, b"\x80\x02N.")),
        ("model.pt2", |p| {
            zip(&[record("x/archive_format", "pt2"), record("x/data/sample_inputs/model.pt", torch_file(p, &[]))])
        }),
    ];
    for (name, wrap) in containers {
        let hostile = found(name, &wrap(&evil()));
        assert!(kinds(&hostile).contains(&ProblemKind::UnsafePickle), "{name}: {hostile:?}");
        assert_eq!(found(name, &wrap(&honest())), [], "{name}");
    }
}

#[test]
fn bytes_that_only_begin_as_something_are_no_news() {
    for (name, bytes) in [
        ("data.bin", &b"\x80\x02\xff\xff\xff\xff\xff"[..]),
        ("data.bin", b"\x80\x04\x95\x10"),
        ("README.md", b"(c) the authors\n"),
        ("notes.txt", b"cosmos is\na word\n"),
        ("x.css", b"}.a {}"),
        ("image.bin", b"\x1f\x8b\x07"),
        ("zeros", &[0; 2048]),
        ("short", b"P"),
        ("a.npy", b"\x93NUMPY\x01\0\x10\0{'descr': '<f4'}"),
        ("empty", b""),
    ] {
        assert_eq!(found(name, bytes), [], "{name}");
    }
    // A pickle's own name promises one.
    let broken = found("x.pkl", b"\x80\x02\xff");
    assert!(kinds(&broken) == [ProblemKind::PickleInvalid] && !has_error(&broken), "{broken:?}");
}

#[test]
fn a_container_that_is_cut_short_is_seen_by_its_end() {
    let whole = zip(&[record("config.json", "{}"), record("metadata.json", "{}"), record("model.weights.h5", [7; 64])]);
    assert_eq!(found("model.keras", &whole), []);
    for length in [4, 100, whole.len() / 2, whole.len() - 1] {
        let cut = found("model.keras", &whole[..length]);
        assert!(kinds(&cut) == [ProblemKind::ArchiveInvalid] && has_error(&cut), "{length}: {cut:?}");
    }
}

#[test]
fn a_lambda_layer_of_keras_is_a_finding_of_its_own() {
    let model = |class: &str| {
        let config = format!(r#"{{"config": {{"layers": [{{"class_name" : "{class}", "config": {{}}}}]}}}}"#);
        zip(&[record("config.json", config), record("metadata.json", "{}")])
    };
    assert_eq!(kinds(&found("m.keras", &model("Lambda"))), [ProblemKind::KerasLambda]);
    assert_eq!(found("m.keras", &model("Dense")), []);
    assert_eq!(found("m.keras", &model("LambdaCallback")), []);
    let hdf5 = |class: &str| [b"\x89HDF\r\n\x1a\n", format!(r#"{{"class_name": "{class}"}}"#).as_bytes()].concat();
    assert_eq!(kinds(&found("m.h5", &hdf5("Lambda"))), [ProblemKind::KerasLambda]);
    assert_eq!(found("m.h5", &hdf5("Dense")), []);
}

#[test]
fn archives_in_archives_end() {
    let mut nested = zip(&[record("x.pkl", evil())]);
    for _ in 0..3 {
        nested = zip(&[record("x.zip", nested)]);
    }
    assert!(kinds(&found("x.zip", &nested)).contains(&ProblemKind::UnsafePickle));
    for _ in 0..3 {
        nested = zip(&[record("x.zip", nested)]);
    }
    let deep = found("x.zip", &nested);
    assert!(has_error(&deep) && deep.iter().any(|f| f.message.contains("deeper")), "{deep:?}");
}

#[test]
fn what_nobody_can_judge_is_said_and_is_no_error() {
    for (name, bytes) in [("x.pkl", &b"BZh91AY"[..]), ("x.joblib", b"\xfd7zXZ\0"), ("x.distcp", b"PK\x03\x04")] {
        let said = found(name, bytes);
        assert!(kinds(&said) == [ProblemKind::WeightsUnread] && !has_error(&said), "{name}: {said:?}");
    }
}
