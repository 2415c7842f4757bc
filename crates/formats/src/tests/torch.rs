//! Files that torch wrote: our tables match torch's, and no damage to the files causes a panic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::make::{Pickled, SIX, Strided, state_dict};
use super::{Zeros, fixture, has_error, kinds, read_torch};
use crate::ProblemKind;
use crate::torch;

#[derive(serde::Deserialize)]
struct Truth {
    tensors: BTreeMap<String, Row>,
}

#[derive(serde::Deserialize, PartialEq, Debug)]
struct Row {
    dtype: String,
    shape: Vec<u64>,
}

fn read_fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixture("torch").join(name)).unwrap()
}

fn truth(name: &str) -> BTreeMap<String, Row> {
    serde_json::from_slice::<Truth>(&read_fixture(name)).unwrap().tensors
}

fn table(bytes: &[u8], name: &str) -> BTreeMap<String, Row> {
    let (table, problems) = read_torch(bytes);
    assert_eq!(problems, [], "{name}");
    let rows = table.tensors.iter().map(|t| {
        assert!(t.bytes.as_ref().is_some_and(|r| r.end <= bytes.len() as u64), "{name}: {t:?}");
        (t.name.to_string(), Row { dtype: t.dtype.to_string(), shape: t.shape.to_vec() })
    });
    rows.collect()
}

#[test]
fn our_table_of_a_state_dict_is_the_one_that_torch_has() {
    for name in ["dtypes", "module", "nested", "parameter", "quantized", "shapes", "shared", "strided"] {
        let ours = table(&read_fixture(&format!("{name}.bin")), name);
        assert_eq!(ours, truth(&format!("{name}.json")), "{name}");
    }
}

#[test]
fn a_file_in_the_format_from_before_1_6_gives_the_same_table() {
    assert_eq!(table(&read_fixture("legacy.pt"), "legacy"), truth("shared.json"));
}

#[test]
fn tensors_that_share_a_storage_are_where_torch_put_them() {
    let bytes = read_fixture("shared.bin");
    let (table, problems) = read_torch(&bytes);
    assert_eq!(problems, []);
    let at = |name: &str| table.tensors.iter().find(|t| &*t.name == name).unwrap().bytes.clone().unwrap();
    assert_eq!(at("a"), at("b"));
    assert_eq!(at("view").start, at("a").start + 16);
    // base is 0.0, 1.0, 2.0...
    let start = usize::try_from(at("view").start).unwrap();
    assert_eq!(bytes[start..start + 4], 4.0f32.to_le_bytes());
}

#[test]
fn a_whole_pickled_module_needs_full_unpickling_and_has_no_other_finding() {
    let (table, problems) = read_torch(&read_fixture("whole_module.pt"));
    assert_eq!(kinds(&problems), [ProblemKind::NeedsFullUnpickle]);
    let names: Vec<&str> = table.tensors.iter().map(|t| &*t.name).collect();
    assert!(names.contains(&"0.weight"), "{names:?}");
}

#[test]
fn a_torchscript_archive_is_not_a_broken_state_dict() {
    let (_, problems) = read_torch(&read_fixture("torchscript.pt"));
    assert!(!has_error(&problems), "{problems:?}");
}

#[test]
fn every_bin_of_the_miniature_repos_reads_without_findings() {
    let bytes = std::fs::read(fixture("repos/org/tied-gpt2/pytorch_model.bin")).unwrap();
    assert_eq!(table(&bytes, "tied").len(), 4);
    let shards = std::fs::read_dir(fixture("repos/THUDM/chatglm3-6b")).unwrap();
    let mut tensors = 0;
    for path in shards.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "bin")) {
        tensors += table(&std::fs::read(&path).unwrap(), "chatglm").len();
    }
    assert!(tensors > 190, "{tensors}");
}

#[test]
fn every_truncation_is_an_error() {
    for name in ["shared.bin", "shapes.bin", "legacy.pt"] {
        let whole = read_fixture(name);
        for n in 0..whole.len() {
            assert!(has_error(&read_torch(&whole[..n]).1), "{name}, {n} of {} bytes", whole.len());
        }
    }
}

#[test]
fn no_flipped_byte_is_a_panic() {
    for entry in std::fs::read_dir(fixture("torch")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            continue;
        }
        let mut bytes = std::fs::read(path).unwrap();
        // Every byte of small files, a prime's step through larger ones.
        let step = if bytes.len() < 3000 { 1 } else { 7 };
        for at in (0..bytes.len()).step_by(step) {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] ^= flip;
                let _ = read_torch(&bytes);
                bytes[at] ^= flip;
            }
        }
    }
}

#[test]
fn a_file_of_another_format_is_called_by_its_name() {
    for (bytes, name) in [
        (&b"GGUF\x03\0\0\0"[..], "GGUF"),
        (b"lmgg", "ggml"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PYTORCH1", "preview"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"\x1f\x8b\x08", "gzip"),
        (&[0xba, 0x16, 0x4f, 0x2f], "fastText"),
        (b"<!doctype html>", "HTML"),
        (b"{\"error\":\"not found\"}", "JSON"),
        (b"", "something"),
        (b"\0\0\0\0", "something"),
    ] {
        let (_, problems) = read_torch(bytes);
        assert_eq!(kinds(&problems), [ProblemKind::FormatUnexpected], "{name}");
        assert!(problems[0].message.contains(name) && has_error(&problems), "{problems:?}");
    }
}

#[test]
fn an_untyped_storage_in_a_legacy_file_is_an_error_as_torch_does_not_load_it() {
    let legacy = |class| {
        let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
        file.extend(state_dict(&[("a", Strided { class, ..SIX })]));
        file.extend(Pickled::new().op("]").text("0").op("a").stop());
        file.extend(6u64.to_le_bytes());
        file.extend([0; 6]);
        read_torch(&file)
    };
    assert_eq!(legacy("ByteStorage").1, []);
    let (_, found) = legacy("UntypedStorage");
    // The class is not of that module, either.
    assert_eq!(kinds(&found), [ProblemKind::NeedsFullUnpickle, ProblemKind::PickleInvalid], "{found:?}");
}

#[test]
fn little_more_than_the_pickles_of_a_large_legacy_file_is_read() {
    let start = read_fixture("legacy.pt");
    let file = Zeros { start, length: 1 << 30, ..Zeros::default() };
    let read = Arc::clone(&file.read);
    let (table, found) = torch::read(file, 1 << 30, "x.bin");
    assert_eq!((table.tensors.len(), kinds(&found)), (3, vec![ProblemKind::TensorOutOfBounds]));
    assert!(read.load(Ordering::Relaxed) < 2 << 20, "{}", read.load(Ordering::Relaxed));
}

#[test]
fn a_legacy_file_of_another_length_than_its_storages_is_an_error() {
    let whole = read_fixture("legacy.pt");
    let longer = [&whole[..], b"\0"].concat();
    let (_, problems) = read_torch(&longer);
    assert_eq!(kinds(&problems), [ProblemKind::TensorOutOfBounds]);
    // The element count before the only storage's bytes.
    let mut other = whole.clone();
    let at = whole.len() - 24 * 4 - 8;
    assert_eq!(whole[at..at + 8], 24u64.to_le_bytes());
    other[at] = 23;
    other.truncate(whole.len() - 4);
    assert!(kinds(&read_torch(&other).1).contains(&ProblemKind::SizeMismatch));
    other[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(kinds(&read_torch(&other).1), [ProblemKind::TensorOutOfBounds]);
}
