//! GGUF: the producer's own files tensor by tensor, files that break each rule, and damaged headers.

use std::io::Cursor;

use proptest::prelude::*;

use super::{fixture, has_error, kinds};
use crate::{Problem, ProblemKind, Severity};
use crate::{gguf, gguf::Header};

fn header(bytes: &[u8]) -> (Header, Vec<Problem>) {
    gguf::header(Cursor::new(bytes), bytes.len() as u64, "x.gguf")
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A version 3 file of tensors `(name, shape, type, offset)` with `data` bytes after the header.
fn file(keys: &[(&str, u32, &[u8])], tensors: &[(&str, &[u64], u32, u64)], data: usize) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, kind, value) in keys {
        text(&mut out, key);
        out.extend(kind.to_le_bytes());
        out.extend(*value);
    }
    for (name, shape, kind, offset) in tensors {
        text(&mut out, name);
        out.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
        shape.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32) + data, 0);
    out
}

#[test]
fn every_tensor_reads_as_its_producer_reads_it() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("formats/expected.json")).unwrap()).unwrap();
    let files = expected["gguf"]["files"].as_object().unwrap();
    assert!(files.len() >= 6);
    for (name, rows) in files {
        let (header, problems) = header(&std::fs::read(fixture(&format!("formats/gguf/{name}"))).unwrap());
        assert_eq!(problems, [], "{name}");
        let read: Vec<serde_json::Value> = header
            .table
            .tensors
            .iter()
            .map(|t| {
                let bytes = t.bytes.as_ref().unwrap();
                serde_json::json!([t.name, t.dtype, t.shape, bytes.start, bytes.end])
            })
            .collect();
        assert_eq!(&read, rows.as_array().unwrap(), "{name}");
        assert_eq!(header.big_endian, name == "big.gguf");
    }
}

#[test]
fn every_broken_rule_is_named() {
    let ok: (&str, &[u64], u32, u64) = ("a", &[8], 0, 0);
    assert_eq!(header(&file(&[], &[ok], 32)).1, []);
    for (why, bytes, code) in [
        ("nothing", vec![], ProblemKind::HeaderInvalid),
        ("another magic", b"GGUX\x03\0\0\0".to_vec(), ProblemKind::FormatUnexpected),
        ("version 4", b"GGUF\x04\0\0\0".to_vec(), ProblemKind::HeaderInvalid),
        ("2^64 - 1 tensors", [&b"GGUF\x03\0\0\0"[..], &[0xff; 8], &[0; 8]].concat(), ProblemKind::HeaderInvalid),
        ("2^64 - 1 keys", [&b"GGUF\x03\0\0\0"[..], &[0; 8], &[0xff; 8]].concat(), ProblemKind::HeaderInvalid),
        (
            "a name of 2^64 - 1 bytes",
            [&b"GGUF\x03\0\0\0\x01"[..], &[0; 15], &[0xff; 8]].concat(),
            ProblemKind::HeaderInvalid,
        ),
        ("a key twice", file(&[("k", 7, &[1]), ("k", 7, &[1])], &[], 0), ProblemKind::HeaderInvalid),
        ("an empty key", file(&[("", 7, &[1])], &[], 0), ProblemKind::HeaderInvalid),
        ("a value of type 13", file(&[("k", 13, &[1])], &[], 0), ProblemKind::HeaderInvalid),
        (
            "an array of type 13",
            file(&[("k", 9, &[13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])], &[], 0),
            ProblemKind::HeaderInvalid,
        ),
        ("an alignment of 3", file(&[("general.alignment", 4, &[3, 0, 0, 0])], &[], 0), ProblemKind::HeaderInvalid),
        ("an alignment of 0", file(&[("general.alignment", 4, &[0; 4])], &[], 0), ProblemKind::HeaderInvalid),
        ("a tensor twice", file(&[], &[ok, ("a", &[8], 0, 32)], 64), ProblemKind::TensorDuplicate),
        ("an overlap", file(&[], &[ok, ("b", &[8], 0, 0)], 64), ProblemKind::DataOverlap),
        ("a gap", file(&[], &[ok, ("b", &[8], 0, 64)], 96), ProblemKind::DataGap),
        ("an odd offset", file(&[], &[ok, ("b", &[8], 0, 33)], 96), ProblemKind::HeaderInvalid),
        ("half a block", file(&[], &[("a", &[16], 2, 0)], 32), ProblemKind::HeaderInvalid),
        ("five dimensions", file(&[], &[("a", &[1; 5], 0, 0)], 32), ProblemKind::HeaderInvalid),
        ("too many elements", file(&[], &[("a", &[u64::MAX, 2], 0, 0)], 32), ProblemKind::HeaderInvalid),
        ("a file cut short", file(&[], &[("a", &[9], 0, 0)], 32), ProblemKind::TensorOutOfBounds),
        ("an offset beyond any file", file(&[], &[("a", &[8], 0, u64::MAX - 31)], 32), ProblemKind::TensorOutOfBounds),
    ] {
        let found = header(&bytes).1;
        assert!(found.iter().any(|f| f.kind == code && f.severity == Severity::Error), "{why}: {found:?}");
    }
    assert_eq!(kinds(&header(&file(&[], &[("a", &[8], 99, 0)], 32)).1), [ProblemKind::DtypeUnknown]);
}

/// In this version counts and lengths had four bytes.
#[test]
fn the_first_version_is_read_and_reported_as_old() {
    let mut out = b"GGUF\x01\0\0\0".to_vec();
    for n in [1u32, 1] {
        out.extend(n.to_le_bytes());
    }
    for (text, rest) in [("general.alignment", &[4u32, 32][..]), ("w", &[1, 8, 0, 0, 0])] {
        out.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        out.extend(text.as_bytes());
        for n in rest {
            out.extend(n.to_le_bytes());
        }
    }
    out.resize(out.len().next_multiple_of(32) + 32, 0);
    let (header, problems) = header(&out);
    assert_eq!((kinds(&problems), has_error(&problems)), (vec![ProblemKind::HeaderInvalid], false), "{problems:?}");
    assert_eq!((header.version, &*header.table.tensors[0].shape), (1, &[8][..]));
}

#[test]
fn arrays_in_arrays_end() {
    let mut nested = Vec::new();
    for _ in 0..1000 {
        nested.extend([9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }
    assert!(has_error(&header(&file(&[("k", 9, &nested)], &[], 0)).1));
    let two = [&nested[..24], &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 7]].concat();
    assert_eq!(header(&file(&[("k", 9, &two)], &[], 0)).1, []);
    // As many elements as the format allows, in a small file.
    let many = [&9u32.to_le_bytes()[..], &(1u64 << 30).to_le_bytes()].concat();
    assert!(has_error(&header(&file(&[("k", 9, &many)], &[], 0)).1));
}

#[test]
fn every_truncation_and_every_flipped_byte_is_judged() {
    for name in ["aligned.gguf", "big.gguf", "split-00001-of-00003.gguf"] {
        let whole = std::fs::read(fixture(&format!("formats/gguf/{name}"))).unwrap();
        let (good, _) = header(&whole);
        let end = good.table.tensors.iter().filter_map(|t| t.bytes.as_ref()).map(|r| r.end).max().unwrap();
        for length in 0..whole.len() {
            let found = header(&whole[..length]).1;
            // The padding after the last tensor may be absent.
            assert_eq!(has_error(&found), (length as u64) < end, "{name} cut at {length}: {found:?}");
        }
        for at in 0..usize::try_from(good.data).unwrap() {
            for bit in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let (header, problems) = header(&bytes);
                let inside = |t: &crate::Tensor| t.bytes.as_ref().is_some_and(|r| r.end <= bytes.len() as u64);
                assert!(!problems.is_empty() || header.table.tensors.iter().all(inside), "{name} at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = header(&[&b"GGUF\x03\0\0\0"[..], &bytes].concat());
        let _ = header(&bytes);
    }
}
