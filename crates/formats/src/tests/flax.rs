//! Flax msgpack: the producer's own files tensor by tensor, files that break each rule, and damaged files.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;

use super::{fixture, has_error, kinds};
use crate::{Problem, ProblemKind};
use crate::{TensorTable, flax};

fn read(bytes: &[u8]) -> (TensorTable, Vec<Problem>) {
    flax::read(Cursor::new(bytes), bytes.len() as u64, "x.msgpack")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("formats/flax/{name}"))).unwrap()
}

#[test]
fn every_tensor_reads_as_its_producer_reads_it() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("formats/expected_flax.json")).unwrap()).unwrap();
    let files = expected["files"].as_object().unwrap();
    assert!(files.len() >= 4);
    for (name, rows) in files {
        let bytes = file(name);
        let (table, problems) = read(&bytes);
        assert_eq!(problems, [], "{name}");
        let found: BTreeMap<&str, serde_json::Value> = table
            .tensors
            .iter()
            .map(|t| {
                let item = flax::dtype_bytes(&t.dtype).unwrap();
                if let Some(at) = &t.bytes {
                    assert_eq!(at.end - at.start, item * t.elements());
                    assert!(at.end <= bytes.len() as u64);
                }
                (&*t.name, serde_json::json!([t.dtype, t.shape, item * t.elements()]))
            })
            .collect();
        assert_eq!(serde_json::to_value(found).unwrap(), *rows, "{name}");
    }
}

/// `{"a": ext 1 of these bytes}`.
fn array(packed: &[u8]) -> Vec<u8> {
    [&b"\x81\xa1a\xc7"[..], &[u8::try_from(packed.len()).unwrap(), 1], packed].concat()
}

#[test]
fn every_broken_rule_is_named() {
    let good = array(b"\x93\x91\x02\xa5int16\xc4\x04abcd");
    let (table, problems) = read(&good);
    assert_eq!((problems, table.tensors.len()), (Vec::new(), 1));
    for (why, bytes, code) in [
        ("nothing", Vec::new(), ProblemKind::HeaderInvalid),
        ("no map", b"\x93\x01\x02\x03".to_vec(), ProblemKind::FormatUnexpected),
        ("a byte more", [&good[..], b"\0"].concat(), ProblemKind::DataGap),
        ("a byte less", good[..good.len() - 1].to_vec(), ProblemKind::TensorOutOfBounds),
        ("too few bytes", array(b"\x93\x91\x02\xa5int16\xc4\x03abc"), ProblemKind::HeaderInvalid),
        ("no shape", array(b"\x93\x02\xa5int16\xc4\x04abcd"), ProblemKind::HeaderInvalid),
        ("a negative shape", array(b"\x93\x91\xff\xa5int16\xc4\x04abcd"), ProblemKind::HeaderInvalid),
        ("two parts", array(b"\x92\x91\x02\xa5int16"), ProblemKind::HeaderInvalid),
        ("bytes after the array", array(b"\x93\x91\x02\xa5int16\xc4\x04abcd\0"), ProblemKind::HeaderInvalid),
        ("a dtype of its own", array(b"\x93\x91\x02\xa5int17\xc4\x04abcd"), ProblemKind::DtypeUnknown),
        (
            "2^64 elements",
            array(b"\x93\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x02\xa5int16\xc4\x00"),
            ProblemKind::HeaderInvalid,
        ),
        ("another extension", b"\x81\xa1a\xd4\x09\0".to_vec(), ProblemKind::DtypeUnknown),
        ("a key that is no text", b"\x81\xc0\x01".to_vec(), ProblemKind::HeaderInvalid),
        ("a key that is not UTF-8", b"\x81\xa1\xff\x01".to_vec(), ProblemKind::HeaderInvalid),
        ("a key twice", [b"\x82", &good[1..], &good[1..]].concat(), ProblemKind::TensorDuplicate),
        ("0xc1", b"\x81\xa1a\xc1".to_vec(), ProblemKind::HeaderInvalid),
        ("a map of 2^32 - 1 pairs", b"\xdf\xff\xff\xff\xff".to_vec(), ProblemKind::HeaderInvalid),
        ("an array of 2^32 - 1 values", b"\x81\xa1a\xdd\xff\xff\xff\xff".to_vec(), ProblemKind::HeaderInvalid),
        ("a text of 2^32 - 1 bytes", b"\x81\xa1a\xdb\xff\xff\xff\xff".to_vec(), ProblemKind::HeaderInvalid),
        (
            "an extension of 2^32 - 1 bytes",
            b"\x81\xa1a\xc9\xff\xff\xff\xff\x01".to_vec(),
            ProblemKind::TensorOutOfBounds,
        ),
    ] {
        let found = read(&bytes).1;
        assert!(found.iter().any(|f| f.kind == code), "{why}: {found:?}");
    }
}

#[test]
fn the_parts_of_a_large_array_must_make_it_up() {
    let whole = file("chunked.msgpack");
    let at = whole.windows(6).position(|w| w == b"chunks").unwrap();
    let shape = whole.windows(5).position(|w| w == b"shape").unwrap();
    // {0: 9, 1: 5}: the first number is the seventh byte after the key.
    let nine = shape + whole[shape..].iter().position(|b| *b == 9).unwrap();
    let mut bytes = whole.clone();
    bytes[nine] = 8;
    assert_eq!(kinds(&read(&bytes).1), [ProblemKind::HeaderInvalid]);
    let mut bytes = whole;
    bytes[at] = b'x';
    assert!(has_error(&read(&bytes).1));
}

#[test]
fn maps_in_maps_end() {
    for (open, close) in [(&b"\x81\xa1a"[..], &b"\x80"[..]), (b"\x91", b"\x90")] {
        let start = [b"\x81\xa1a", open].concat();
        let deep = |n: usize| [&start[..3], &open.repeat(n), close].concat();
        assert_eq!(read(&deep(100)).1, []);
        assert!(has_error(&read(&deep(200)).1));
        assert!(has_error(&read(&deep(100_000)).1));
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_is_judged() {
    for name in ["flax_model.msgpack", "chunked.msgpack", "flax_model-00001-of-00002.msgpack"] {
        let whole = file(name);
        for length in 0..whole.len() {
            assert!(has_error(&read(&whole[..length]).1), "{name} cut at {length}");
        }
        for at in 0..whole.len() {
            for bit in [0x01, 0x10, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let (table, problems) = read(&bytes);
                assert!(problems.len() < 100);
                let inside = table.tensors.iter().filter_map(|t| t.bytes.as_ref()).all(|r| r.end <= whole.len() as u64);
                assert!(inside, "{name} at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&[&b"\x8f\xa1a"[..], &bytes].concat());
        let _ = read(&array(&bytes[..bytes.len().min(255)]));
        let _ = read(&array(&[b"\x93", &bytes[..bytes.len().min(254)]].concat()));
    }
}
