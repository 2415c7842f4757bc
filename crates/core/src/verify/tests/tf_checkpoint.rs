//! TensorFlow checkpoints: the producer's own files tensor by tensor, shards, checksums, and damaged files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::{SubjectFile, Zeros, codes, fixture, has_error, subject_file};
use crate::finding::{Code, Finding, Outcome, Severity};
use crate::model::{Family, Purpose, WeightSet};
use crate::progress::Silent;
use crate::verify::{Subject, TensorTable, tf_checkpoint, verify};

const SAVER: &[&str] = &["checkpoint", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta"];

fn read(bytes: &[u8]) -> (TensorTable, Vec<Finding>) {
    super::with_findings(tf_checkpoint::read(Cursor::new(bytes), bytes.len() as u64, "x.index"))
}

fn tf(name: &str) -> Vec<u8> {
    fs::read(fixture(&format!("formats/tf/{name}"))).unwrap()
}

#[test]
fn every_tensor_reads_as_its_producer_reads_it() {
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture("formats/expected_tf.json")).unwrap()).unwrap();
    let bundles = expected["bundles"].as_object().unwrap();
    assert!(bundles.len() >= 6);
    for (prefix, rows) in bundles {
        let old = prefix.starts_with("v1/");
        let (table, findings) = read(&tf(&if old { prefix.clone() } else { format!("{prefix}.index") }));
        assert_eq!(findings, [], "{prefix}");
        let found: BTreeMap<&str, serde_json::Value> =
            table.tensors.iter().map(|t| (&*t.name, serde_json::json!([t.dtype, t.shape]))).collect();
        assert_eq!(serde_json::to_value(found).unwrap(), *rows, "{prefix}");
    }
}

fn set(files: &[&str]) -> WeightSet {
    WeightSet {
        scope: String::new(),
        family: Family::TfCheckpoint,
        variant: None,
        index: None,

        parsed: crate::model::Parsed::default(),
        files: files.iter().map(|f| f.parse().unwrap()).collect(),
        tied_embeddings: false,
    }
}

fn check(dir: &Path, files: &[&str], deep: bool) -> Outcome {
    let weights = vec![set(files)];
    let files = files.iter().map(|f| subject_file(dir, f, Purpose::Weights)).collect();
    verify(&Subject { files, weights, deep, ..Subject::default() }, 2, &Silent)
}

#[test]
fn whole_checkpoints_are_right_to_their_last_byte() {
    let sharded = ["model.ckpt-20.data-00000-of-00002", "model.ckpt-20.data-00001-of-00002", "model.ckpt-20.index"];
    for (dir, files, tensors) in [
        ("saver", SAVER, 11),
        ("sharded", &sharded[..], 13),
        ("object", &["checkpoint", "ckpt-1.data-00000-of-00001", "ckpt-1.index"], 5),
        ("v1", &["checkpoint", "model.ckpt", "model.ckpt.meta"], 7),
    ] {
        for deep in [false, true] {
            let outcome = check(&fixture(&format!("formats/tf/{dir}")), files, deep);
            assert_eq!((outcome.findings, outcome.tensors), (Vec::new(), tensors), "{dir}");
        }
    }
}

/// A copy of the saver's files with one file changed or removed.
fn changed(name: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>, deep: bool) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut change = Some(change);
    for file in SAVER {
        let bytes = tf(&format!("saver/{file}"));
        let bytes = if *file == name { change.take().unwrap()(bytes) } else { Some(bytes) };
        if let Some(bytes) = bytes {
            fs::write(dir.path().join(file), bytes).unwrap();
            files.push(*file);
        }
    }
    check(dir.path(), &files, deep).findings
}

#[test]
fn shards_must_be_there_and_whole() {
    let data = "model.ckpt.data-00000-of-00001";
    assert_eq!(codes(&changed(data, |_| None, false)), [Code::ShardMissing]);
    let length = tf("saver/model.ckpt.data-00000-of-00001").len();
    for cut in 0..length {
        let found = changed(data, |bytes| Some(bytes[..cut].to_vec()), false);
        assert!(found.iter().any(|f| f.code == Code::TensorOutOfBounds), "cut at {cut}: {found:?}");
    }
    let longer = changed(data, |bytes| Some([&bytes[..], b"\0"].concat()), false);
    assert_eq!((codes(&longer), longer[0].severity), (vec![Code::DataGap], Severity::Warning));
    assert_eq!(codes(&changed("model.ckpt.index", |_| None, false)), [Code::FileMissing]);
    for (text, code, severity) in [
        ("model_checkpoint_path: \"other\"", Code::FileMissing, Severity::Error),
        ("model_checkpoint_path: \"/home/me/model.ckpt\"", Code::FileMissing, Severity::Warning),
        ("nothing", Code::IndexInvalid, Severity::Error),
    ] {
        let found = changed("checkpoint", |_| Some(text.as_bytes().to_vec()), false);
        assert_eq!((codes(&found), found[0].severity), (vec![code], severity), "{text}");
    }
}

#[test]
fn every_flipped_byte_of_a_tensor_is_found_when_all_bytes_are_read() {
    let data = "model.ckpt.data-00000-of-00001";
    for at in 0..tf("saver/model.ckpt.data-00000-of-00001").len() {
        let flip = |mut bytes: Vec<u8>| {
            bytes[at] ^= 0x10;
            Some(bytes)
        };
        let found = changed(data, flip, true);
        assert!(has_error(&found), "at {at}: {found:?}");
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_of_an_index_is_found() {
    for name in ["saver/model.ckpt.index", "sharded/model.ckpt-20.index", "object/ckpt-1.index", "v1/model.ckpt"] {
        let whole = tf(name);
        for length in 0..whole.len() {
            assert!(has_error(&read(&whole[..length]).1), "{name} cut at {length}");
        }
        let mut passed = 0;
        for at in 0..whole.len() {
            for bit in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let (table, findings) = read(&bytes);
                assert!(findings.len() < 100);
                if !has_error(&findings) {
                    passed += 1;
                    // The byte is in the footer's padding, or in a part of an old file outside its table of tensors.
                    assert_eq!(table, read(&whole).0, "{name} at {at}");
                }
            }
        }
        let limit = if name.starts_with("v1/") { whole.len() * 3 } else { 40 * 3 };
        assert!(passed < limit, "{name}: {passed} flips pass");
    }
}

/// A table of these blocks of `(key, value)`, with right checksums; `packed` by snappy.
fn table(blocks: &[&[(&[u8], &[u8])]], packed: bool) -> Vec<u8> {
    fn varint(out: &mut Vec<u8>, mut n: usize) {
        while n >= 0x80 {
            out.push(n.to_le_bytes()[0] | 0x80);
            n >>= 7;
        }
        out.push(n.to_le_bytes()[0]);
    }
    fn block(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut starts = Vec::new();
        for (key, value) in entries {
            starts.push(u32::try_from(out.len()).unwrap());
            out.push(0);
            varint(&mut out, key.len());
            varint(&mut out, value.len());
            out.extend([*key, *value].concat());
        }
        if starts.is_empty() {
            starts.push(0);
        }
        for start in &starts {
            out.extend(start.to_le_bytes());
        }
        out.extend(u32::try_from(starts.len()).unwrap().to_le_bytes());
        out
    }
    fn put(out: &mut Vec<u8>, content: &[u8], packed: bool) -> Vec<u8> {
        let mut bytes =
            if packed { snap::raw::Encoder::new().compress_vec(content).unwrap() } else { content.to_vec() };
        let mut handle = Vec::new();
        varint(&mut handle, out.len());
        varint(&mut handle, bytes.len());
        bytes.push(u8::from(packed));
        let crc = u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes)).unwrap();
        out.extend(bytes);
        out.extend(crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        handle
    }
    let mut out = Vec::new();
    let mut handles = Vec::new();
    for entries in blocks {
        let handle = put(&mut out, &block(entries), packed);
        handles.push((entries.last().map_or(&b""[..], |(key, _)| key).to_vec(), handle));
    }
    let mut footer = put(&mut out, &block(&[]), packed);
    let index: Vec<(&[u8], &[u8])> = handles.iter().map(|(key, handle)| (&**key, &**handle)).collect();
    footer.extend(put(&mut out, &block(&index), packed));
    footer.resize(40, 0);
    out.extend(footer);
    out.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    out
}

const HEADER: (&[u8], &[u8]) = (b"", b"\x08\x01");
/// Two floats at 0.
const TWO: &[u8] = b"\x08\x01\x12\x04\x12\x02\x08\x02\x28\x08";

#[test]
fn blocks_are_read_packed_and_several() {
    for packed in [false, true] {
        let (found, findings) =
            read(&table(&[&[HEADER, (b"a", TWO)], &[(b"b", b"\x08\x01\x12\x00\x20\x08\x28\x04")]], packed));
        assert_eq!(findings, []);
        let names: Vec<&str> = found.tensors.iter().map(|t| &*t.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found.tensors[1].bytes, Some(8..12));
    }
}

#[test]
fn every_broken_rule_is_named() {
    let one = |value: &[u8]| table(&[&[HEADER, (b"a", value)]], false);
    assert_eq!(read(&one(TWO)).1, []);
    for (why, bytes, code) in [
        ("no entries", table(&[], false), Code::HeaderInvalid),
        ("no header", table(&[&[(b"a", TWO)]], false), Code::HeaderInvalid),
        ("no shards", table(&[&[(b"", b"\x08\x00")]], false), Code::HeaderInvalid),
        ("2^63 shards", table(&[&[(b"", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f")]], false), Code::HeaderInvalid),
        ("a key twice", table(&[&[HEADER, (b"a", TWO), (b"a", TWO)]], false), Code::HeaderInvalid),
        ("keys out of order", table(&[&[HEADER, (b"b", TWO)], &[(b"a", TWO)]], false), Code::HeaderInvalid),
        ("a later reader", table(&[&[(b"", b"\x08\x01\x1a\x02\x10\x63")]], false), Code::HeaderInvalid),
        ("shard 1 of 1", one(b"\x08\x01\x12\x04\x12\x02\x08\x02\x18\x01\x28\x08"), Code::HeaderInvalid),
        ("too few bytes", one(b"\x08\x01\x12\x04\x12\x02\x08\x02\x28\x07"), Code::HeaderInvalid),
        ("a negative size", one(b"\x08\x01\x12\x00\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Code::HeaderInvalid),
        ("dtype 99", one(b"\x08\x63\x12\x00\x28\x04"), Code::DtypeUnknown),
        ("a field beyond its message", one(b"\x08\x01\x12\x7f"), Code::HeaderInvalid),
        ("an overlap", table(&[&[HEADER, (b"a", TWO), (b"b", TWO)]], false), Code::DataOverlap),
        ("no table", b"hello".to_vec(), Code::FormatUnexpected),
    ] {
        let found = read(&bytes).1;
        assert!(found.iter().any(|f| f.code == code), "{why}: {found:?}");
    }
}

#[test]
fn bytes_that_tensors_share_are_read_once() {
    // 100,000 elements of DT_STRING, all in the first 150,000 bytes of the only shard.
    let entry: &[u8] = b"\x08\x07\x12\x06\x12\x04\x08\xa0\x8d\x06\x28\xf0\x93\x09";
    let names: Vec<String> = (0..100).map(|n| format!("t{n:02}")).collect();
    let mut entries: Vec<(&[u8], &[u8])> = vec![(b"", b"\x08\x01")];
    entries.extend(names.iter().map(|name| (name.as_bytes(), entry)));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m.index"), table(&[&entries], false)).unwrap();
    let shard = "m.data-00000-of-00001";
    let (content, read) = Zeros::content(150_000);
    let files = vec![
        subject_file(dir.path(), "m.index", Purpose::Weights),
        SubjectFile { content, ..subject_file(dir.path(), shard, Purpose::Weights) },
    ];
    let weights = vec![set(&["m.index", shard])];
    let found = verify(&Subject { files, weights, deep: true, ..Subject::default() }, 1, &Silent).findings;
    assert!(codes(&found).contains(&Code::DataOverlap), "{found:?}");
    // The file's first bytes were read as well, to see whether it is a git-lfs pointer or may contain a pickle.
    assert!(read.load(Ordering::Relaxed) < 150_700, "{} bytes", read.load(Ordering::Relaxed));
}

#[test]
fn an_index_that_names_thousands_of_shards_has_few_findings() {
    let entries: Vec<(String, Vec<u8>)> = (0..5000u32)
        .map(|n| {
            let (low, high) = ((n & 0x7f).to_le_bytes()[0] | 0x80, (n >> 7).to_le_bytes()[0]);
            (format!("t{n:04}"), vec![8, 1, 0x12, 4, 0x12, 2, 8, 0, 0x18, low, high])
        })
        .collect();
    let mut all: Vec<(&[u8], &[u8])> = vec![(b"", b"\x08\x88\x27")];
    all.extend(entries.iter().map(|(name, entry)| (name.as_bytes(), &**entry)));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("m.index"), table(&[&all], false)).unwrap();
    let found = check(dir.path(), &["m.index"], false).findings;
    assert_eq!(codes(&found), [Code::ShardMissing]);
    assert!(found.len() < 100, "{}", found.len());
    assert!(found.iter().any(|f| f.message.contains("4980 more")), "{found:?}");
}

#[test]
fn a_block_that_unpacks_to_gigabytes_is_refused() {
    // A packed block that claims 4 GiB, with its right checksum.
    let mut out = b"\xff\xff\xff\xff\x0f\0\0\0\x01".to_vec();
    let crc = u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &out)).unwrap();
    out.extend(crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
    let mut footer = vec![0, 8, 0, 8];
    footer.resize(40, 0);
    out.extend(footer);
    out.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    let found = read(&out).1;
    assert!(found[0].message.contains("claims to unpack"), "{found:?}");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), packed: bool) {
        let _ = read(&bytes);
        let _ = read(&[&bytes[..], &0xdb47_7524_8b80_fb57_u64.to_le_bytes()].concat());
        let _ = read(&table(&[&[HEADER, (b"a", &bytes)]], packed));
        let _ = read(&table(&[&[(b"", &bytes), (b"\0a", &bytes)]], packed));
    }
}
