//! Every file is searched, whatever its name: hostile pickles are found in each kind of container, and the honest
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

/// The bytes that joblib writes for an array of two doubles, with `pickle` after them.
fn joblib(dtype: &str, raw: &[u8], pickle: &[u8]) -> Vec<u8> {
    joblib_of(dtype, b"", raw, pickle)
}

/// The same where the dtype is given a state by these instructions.
fn joblib_of(dtype: &str, state: &[u8], raw: &[u8], pickle: &[u8]) -> Vec<u8> {
    let pickled = Pickled::new().global("joblib.numpy_pickle", "NumpyArrayWrapper").op(b")\x81}(");
    let pickled = pickled.text("shape").op(b"K\x02\x85").text("dtype").global("numpy", "dtype").op("(");
    let pickled = pickled.text(dtype).op(b"\x89\x88tR").op(state).text("numpy_array_alignment_bytes").op("K\x10ub");
    // Its other instructions, after the array.
    let rest = pickle.strip_prefix(b"\x80\x02").unwrap_or(pickle);
    [&pickled.0[..], raw, b"0", rest].concat()
}

#[test]
fn a_hostile_pickle_is_found_in_every_container_and_an_honest_one_has_no_finding() {
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
        // An element of eight bytes with fields; and one with a field that is an object.
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
fn bytes_that_only_begin_like_a_container_have_no_finding() {
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
    // The name promises a pickle.
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
fn a_file_that_cannot_be_judged_is_reported_and_is_not_an_error() {
    for (name, bytes) in [
        ("x.pkl", &b"BZh91AY"[..]),
        ("x.joblib", b"\xfd7zXZ\0"),
        ("x.joblib", b"\x5d\0\0\x80\0"),
        ("x.pickle", b"ZF0x10"),
        ("model.pkl.bz2", b"BZh91AY"),
        ("clf.joblib.lz4", b"\x04\x22\x4d\x18"),
        ("scaler.sav", b"\xfd7zXZ\0"),
        ("model.tar.bz2", b"BZh91AY"),
        ("weights", b"\x28\xb5\x2f\xfd"),
        ("x.distcp", b"PK\x03\x04"),
    ] {
        let said = found(name, bytes);
        assert!(kinds(&said) == [ProblemKind::WeightsUnread] && !has_error(&said), "{name}: {said:?}");
    }
    let said = found("x.pkl.gz", &gzip(b"BZh91AY"));
    assert_eq!(kinds(&said), [ProblemKind::WeightsUnread], "{said:?}");
    // The twins: text that is compressed, and files that begin with the same bytes by accident.
    for (name, bytes) in [
        ("train.jsonl.zst", &b"\x28\xb5\x2f\xfd"[..]),
        ("corpus.txt.bz2", b"BZh91AY"),
        ("lm.arpa.xz", b"\xfd7zXZ\0"),
        ("BZhistory.txt", b"BZhistory"),
        ("weights.bin", b"\x5d\0\0\x80\0"),
    ] {
        assert_eq!(found(name, bytes), [], "{name}");
    }
}

/// A checkpoint of torch's distributed kind: files one after another.
#[test]
fn parts_of_a_distributed_checkpoint_are_judged_or_reported_as_unread() {
    let (bad, good) = (torch_file(&evil(), &[]), torch_file(&honest(), &[]));
    let alone = found("__0_0.distcp", &bad);
    assert!(kinds(&alone).contains(&ProblemKind::UnsafePickle), "{alone:?}");
    for parts in [[&bad, &good], [&good, &bad], [&good, &good]] {
        let said = found("__0_0.distcp", &parts.map(Vec::as_slice).concat());
        assert_eq!(kinds(&said), [ProblemKind::WeightsUnread], "{said:?}");
    }
}

/// Python's zipfile unpacks more than torch does.
#[test]
fn a_record_that_is_compressed_in_another_way_is_reported_as_unread() {
    let mut file = zip(&[record("a.npy", npy(&evil()))]);
    assert_eq!(kinds(&found("x.npz", &file)), [ProblemKind::UnsafePickle]);
    // bzip2, in the local header and in the directory.
    let directory = file.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    file[8] = 12;
    file[directory + 10] = 12;
    let said = found("x.npz", &file);
    assert!(kinds(&said).contains(&ProblemKind::WeightsUnread), "{said:?}");
}

/// Digits of base64.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let held = three.iter().chain(&[0, 0]).take(3).fold(0usize, |held, byte| held << 8 | usize::from(*byte));
        for at in 0..4 {
            text.push(if at <= three.len() { char::from(DIGITS[held >> (18 - 6 * at) & 63]) } else { '=' });
        }
    }
    text
}

/// A function of Python 3.11, as cloudpickle 3.1 keeps the learning rate of an agent.
const SCHEDULE: &str = "gAWVBAIAAAAAAACMF2Nsb3VkcGlja2xlLmNsb3VkcGlja2xllIwOX21ha2VfZnVuY3Rpb26Uk5QoaACMDV9idWlsdGluX3R5cGWUk5SMCENvZGVUeXBllIWUUpQoSwFLAEsASwFLAUsTQwiVAZcAiQFTAJROhZQpjAFflIWUjA48ZHluYW1pYy1jb2RlPpSMBGZ1bmOUjBljb25zdGFudF9mbi48bG9jYWxzPi5mdW5jlEsDQwj4gADYDxKICpRDAJSMA3ZhbJSFlCl0lFKUfZSMCF9fbmFtZV9flIwIX19tYWluX1+Uc05OaACMEF9tYWtlX2VtcHR5X2NlbGyUk5QpUpSFlHSUUpRoAIwSX2Z1bmN0aW9uX3NldHN0YXRllJOUaB19lH2UKGgWjARmdW5jlIwMX19xdWFsbmFtZV9flIwZY29uc3RhbnRfZm4uPGxvY2Fscz4uZnVuY5SMD19fYW5ub3RhdGlvbnNfX5R9lIwOX19rd2RlZmF1bHRzX1+UTowMX19kZWZhdWx0c19flE6MCl9fbW9kdWxlX1+UaBeMB19fZG9jX1+UTowLX19jbG9zdXJlX1+UaACMCl9tYWtlX2NlbGyUk5RHPzOpKjBVMmGFlFKUhZSMF19jbG91ZHBpY2tsZV9zdWJtb2R1bGVzlF2UjAtfX2dsb2JhbHNfX5R9lHWGlIZSMC4=";

#[test]
fn pickles_in_the_text_of_an_agent_are_judged() {
    let agent = |coded: &str| {
        let data =
            format!(r#"{{"n_envs": 1, "lr_schedule": {{":type:": "<class 'function'>", ":serialized:": "{coded}"}}}}"#);
        zip(&[record("data", data), record("policy.pth", torch_file(&honest(), &[]))])
    };
    let hostile = found("ppo.zip", &agent(&base64(&evil())));
    assert_eq!(kinds(&hostile), [ProblemKind::UnsafePickle], "{hostile:?}");
    assert!(hostile[0].message.contains("in its file data, \"lr_schedule\""), "{hostile:?}");
    // Every agent has a function that is rebuilt. A function that is called immediately runs when the file is loaded.
    let honest_one = found("ppo.zip", &agent(SCHEDULE));
    assert!(kinds(&honest_one) == [ProblemKind::NeedsFullUnpickle] && !has_error(&honest_one), "{honest_one:?}");
    let called = Pickled::new().global("cloudpickle.cloudpickle", "_make_function").op(b")R").op(b")R").stop();
    let called = found("ppo.zip", &agent(&base64(&called)));
    assert!(kinds(&called).contains(&ProblemKind::UnsafePickle), "{called:?}");
    let import = Pickled::new().global("cloudpickle.cloudpickle", "subimport").text("os").op(b"\x85R").stop();
    assert!(has_error(&found("ppo.zip", &agent(&base64(&import)))));
    // Outside of an agent a rebuilt function is still dangerous, and an agent without functions has no finding.
    let loose = Pickled::new().global("cloudpickle.cloudpickle", "_make_function").op(b")R").stop();
    assert!(has_error(&found("x.pkl", &loose)));
    assert_eq!(found("ppo.zip", &agent(&base64(&honest()))), []);
    assert_eq!(kinds(&found("ppo.zip", &agent("gAWV"))), [ProblemKind::WeightsUnread]);
}
