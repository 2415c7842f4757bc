//! HDF5: the producer's own files dataset by dataset, files cut short, and damaged ones.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;

use super::{fixture, has_error};
use crate::{Problem, ProblemKind};
use crate::{TensorTable, hdf5};

fn read(bytes: &[u8]) -> (TensorTable, Vec<Problem>) {
    hdf5::read(Cursor::new(bytes), bytes.len() as u64, "x.h5")
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(fixture(&format!("formats/h5/{name}"))).unwrap()
}

#[test]
fn every_dataset_reads_as_its_producer_reads_it() {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("formats/expected_tf.json")).unwrap()).unwrap();
    let files = expected["h5"].as_object().unwrap();
    assert!(files.len() >= 10);
    for (name, rows) in files {
        let (table, problems) = read(&file(name));
        assert_eq!(problems, [], "{name}");
        let found: BTreeMap<&str, serde_json::Value> = table
            .tensors
            .iter()
            .map(|t| (&*t.name, serde_json::json!([t.dtype, t.shape, t.bytes.as_ref().map(|r| r.start)])))
            .collect();
        let rows: BTreeMap<&str, serde_json::Value> = rows
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, row)| (&**k, serde_json::json!([row[0], row[1], row[3]])))
            .collect();
        assert_eq!(found, rows, "{name}");
        for (tensor, row) in table.tensors.iter().map(|t| (t, &expected["h5"][name][&*t.name])) {
            let bytes = tensor.bytes.as_ref().map(|r| serde_json::json!(r.end - r.start));
            // For a text the producer counts a pointer, and the file has a place in a heap.
            assert!(bytes.is_none_or(|b| b == row[2] || row[0] == "object"), "{name}: {tensor:?}");
        }
    }
}

#[test]
fn a_virtual_dataset_in_its_own_file_has_no_finding_and_one_in_another_file_has() {
    let virtual_file = |name: &str| std::fs::read(fixture(&format!("formats/virtual/{name}"))).unwrap();
    let (table, problems) = read(&virtual_file("own.h5"));
    assert_eq!((problems, table.tensors.len()), (vec![], 3));
    let (_, problems) = read(&virtual_file("other.h5"));
    assert_eq!(problems.iter().map(|f| f.kind).collect::<Vec<_>>(), [ProblemKind::ExternalDataMissing]);
    // No damage to its mapping causes a panic.
    let mut bytes = virtual_file("own.h5");
    for at in 0..bytes.len() {
        bytes[at] ^= 0x81;
        let _ = read(&bytes);
        bytes[at] ^= 0x81;
    }
}

#[test]
fn hard_links_are_aliases() {
    let (table, _) = read(&file("many.h5"));
    assert_eq!(table.aliases.len(), 400);
    assert!(table.aliases.iter().all(|(_, kept)| &**kept == "first"));
}

#[test]
fn a_file_that_is_cut_short_is_reported() {
    for name in ["tf_model-00001-of-00002.h5", "v108.h5", "userblock.h5", "narrow.h5", "dense.h5"] {
        let whole = file(name);
        for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            let found = read(&whole[..length]).1;
            assert!(has_error(&found), "{name} cut at {length}");
        }
        let text = &read(&whole[..whole.len() - 1]).1[0];
        assert!(text.kind == ProblemKind::TensorOutOfBounds && text.message.contains("cut short"), "{text:?}");
        // libhdf5 accepts more bytes than the file needs.
        assert_eq!(read(&[&whole[..], &[0; 9]].concat()).1, [], "{name}");
    }
    assert_eq!(read(b"hello").1[0].kind, ProblemKind::FormatUnexpected);
    assert_eq!(read(b"").1[0].kind, ProblemKind::FormatUnexpected);
}

#[test]
fn a_file_that_was_never_closed_is_an_error() {
    let mut bytes = file("latest.h5");
    assert_eq!((bytes[8], bytes[11]), (3, 0));
    // Open for writing, also with readers at the same time.
    for flags in [1, 4, 5] {
        bytes[11] = flags;
        let found = read(&bytes).1;
        assert!(has_error(&found) && found[0].message.contains("closed"), "{found:?}");
    }
}

#[test]
fn every_flipped_byte_is_judged() {
    for name in ["v108.h5", "narrow.h5", "dense.h5", "userblock.h5"] {
        let whole = file(name);
        for at in 0..whole.len() {
            for bit in [0x01, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let (table, problems) = read(&bytes);
                assert!(problems.len() < 200);
                let inside = table.tensors.iter().filter_map(|t| t.bytes.as_ref()).all(|r| r.end <= whole.len() as u64);
                assert!(inside, "{name} at {at}");
            }
        }
    }
    // The checksum of newer superblocks covers each of its bytes.
    let whole = file("v108.h5");
    for at in 0..48 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert!(has_error(&read(&bytes).1), "at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_bytes_panic(
        which in 0usize..4,
        at in 0usize..6000,
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut whole = file(["v108.h5", "narrow.h5", "dense.h5", "userblock.h5"][which]);
        let at = at.min(whole.len());
        let end = (at + bytes.len()).min(whole.len());
        whole[at..end].copy_from_slice(&bytes[..end - at]);
        let _ = read(&whole);
        let _ = read(&[&b"\x89HDF\r\n\x1a\n"[..], &bytes].concat());
    }
}

/// The places of a signature.
fn places(bytes: &[u8], signature: &[u8]) -> Vec<usize> {
    bytes.windows(signature.len()).enumerate().filter(|(_, w)| *w == signature).map(|(at, _)| at).collect()
}

#[test]
fn trees_that_go_round_in_circles_end() {
    let whole = file("many.h5");
    let mut patched = 0;
    for at in places(&whole, b"TREE").into_iter().filter(|at| whole[at + 5] > 0) {
        // After the head and the siblings: a key (a long one for chunks), then a child.
        let key = if whole[at + 4] == 0 { 8 } else { 8 + 8 * 2 };
        let mut bytes = whole.clone();
        let child = at + 24 + key;
        bytes[child..child + 8].copy_from_slice(&(at as u64).to_le_bytes());
        assert!(has_error(&read(&bytes).1), "at {at}");
        patched += 1;
    }
    assert!(patched > 1, "{patched}");
}

#[test]
fn groups_in_themselves_are_read_once() {
    let whole = file("keras.h5");
    let root = whole[64..72].to_vec();
    for node in places(&whole, b"SNOD") {
        let mut bytes = whole.clone();
        let count = usize::from(whole[node + 6]);
        for entry in 0..count {
            let at = node + 8 + entry * 40 + 8;
            bytes[at..at + 8].copy_from_slice(&root);
        }
        let (table, problems) = read(&bytes);
        assert!(table.tensors.len() < 22 && problems.len() < 100);
    }
}

/// The format has more features than Keras and h5py use: a file with them does not count as broken.
#[test]
fn an_unsupported_feature_is_reported_and_is_not_an_error() {
    let mut bytes = file("dense.h5");
    let heap = places(&bytes, b"FRHP")[0];
    // The length of its filters.
    bytes[heap + 7] = 8;
    let (table, problems) = read(&bytes);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].kind == ProblemKind::FormatUnexpected && !has_error(&problems), "{problems:?}");
    assert!(problems[0].message.contains("not read here") && table.tensors.is_empty());
}

#[test]
fn numbers_beyond_any_file_are_findings() {
    // Every eight bytes of the metadata in turn.
    for name in ["v108.h5", "tf_model-00002-of-00002.h5", "dense.h5"] {
        let whole = file(name);
        for at in (0..whole.len() - 8).step_by(4) {
            for number in [u64::MAX, u64::MAX - 1, 1 << 63, whole.len() as u64, whole.len() as u64 - 1] {
                let mut bytes = whole.clone();
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
                let (table, problems) = read(&bytes);
                assert!(problems.len() < 200);
                let inside = table.tensors.iter().filter_map(|t| t.bytes.as_ref()).all(|r| r.end <= whole.len() as u64);
                assert!(inside, "{name} at {at}");
            }
        }
    }
}
