//! Tests with every way in which old and new versions of torch write a file: our tables are those
//! that torch reads back, and no damage causes a panic.

use std::collections::BTreeMap;
use std::io::Cursor;

use crate::verify::problems::found;

use super::{codes, fixture, has_error, read_torch};
use crate::finding::Code;
use crate::model::Family;
use crate::verify::{table_of, torch};

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture("formats/torch").join(name)).unwrap()
}

/// `name: dtype shape` of every tensor, from torch.
fn truth() -> BTreeMap<String, BTreeMap<String, String>> {
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("formats/expected_torch.json")).unwrap()).unwrap();
    let row = |row: &serde_json::Value| format!("{} {}", row["dtype"].as_str().unwrap(), row["shape"]);
    let files = expected["files"].as_object().unwrap().iter();
    files
        .map(|(file, rows)| {
            (file.clone(), rows.as_object().unwrap().iter().map(|(name, t)| (name.clone(), row(t))).collect())
        })
        .collect()
}

#[test]
fn our_table_of_every_file_is_the_one_that_torch_reads_back() {
    let truth = truth();
    assert_eq!(truth.len(), std::fs::read_dir(fixture("formats/torch")).unwrap().count());
    for (name, want) in truth {
        let (table, findings) = read_torch(&bytes_of(&name));
        let full = ["module", "tar", "subclass", "protocol4"].iter().any(|kind| name.starts_with(kind));
        let script = ["script", "trace"].iter().any(|kind| name.starts_with(kind));
        let expected: &[Code] = match (full, script) {
            (true, _) => &[Code::NeedsFullUnpickle],
            (_, true) => &[Code::TorchscriptCode],
            _ => &[],
        };
        assert_eq!(codes(&findings), expected, "{name}: {findings:?}");
        let ours: BTreeMap<String, String> = table
            .tensors
            .iter()
            .map(|t| {
                let shape = serde_json::to_string(&t.shape).unwrap();
                (t.name.to_string(), format!("{} {shape}", t.dtype))
            })
            .collect();
        assert_eq!(ours, want, "{name}");
    }
}

#[test]
fn torchs_own_archives_are_zip64_and_their_tensors_are_where_the_table_says() {
    let bytes = bytes_of("layout.pt");
    assert!(bytes.windows(4).any(|w| w == b"PK\x06\x06"));
    for name in ["layout.pt", "layout_legacy.pt", "no_crc.pt", "unordered.pt"] {
        let bytes = bytes_of(name);
        let (table, _) = read_torch(&bytes);
        let view = table.tensors.iter().find(|t| &*t.name == "view").unwrap();
        let start = usize::try_from(view.bytes.clone().unwrap().start).unwrap();
        // The fifth value of 0.0, 1.0, 2.0...
        assert_eq!(bytes[start..start + 4], 4.0f32.to_le_bytes(), "{name}");
    }
    let bytes = bytes_of("tar.pt");
    let (table, _) = read_torch(&bytes);
    let view = table.tensors.iter().find(|t| &*t.name == "model.view").unwrap();
    let start = usize::try_from(view.bytes.clone().unwrap().start).unwrap();
    assert_eq!(bytes[start..start + 4], 4.0f32.to_le_bytes());
}

#[test]
fn a_torchscript_archive_is_identified_by_its_content() {
    for (name, is) in [("script.pt", true), ("trace.pt", true), ("module.pt", false), ("tar.pt", false)] {
        let bytes = bytes_of(name);
        assert_eq!(torch::is_torchscript(Cursor::new(&bytes), bytes.len() as u64), is, "{name}");
    }
    let as_family = |name: &str, path: &str, family| {
        let bytes = bytes_of(name);
        let (_, findings) = table_of(Cursor::new(&bytes), bytes.len() as u64, &path.parse().unwrap(), family);
        codes(&findings)
    };
    assert_eq!(as_family("script.pt", "model.pt", Family::TorchScript), [Code::TorchscriptCode]);
    assert_eq!(as_family("script.pt", "model.pt", Family::Pt), [Code::TorchscriptCode]);
    assert_eq!(as_family("layout.pt", "model.pt", Family::TorchScript), [Code::FormatUnexpected]);
    assert_eq!(
        as_family("script.pt", "pytorch_model.bin", Family::Bin),
        [Code::TorchscriptCode, Code::FormatUnexpected]
    );
}

#[test]
fn torchscript_without_its_code_or_a_constant_is_broken() {
    let bytes = bytes_of("trace.pt");
    let renamed = |from: &[u8], to: &[u8]| {
        let mut other = bytes.clone();
        let places: Vec<usize> = (0..other.len() - from.len()).filter(|at| other[*at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        for at in places {
            other[at..at + to.len()].copy_from_slice(to);
        }
        read_torch(&other).1
    };
    assert!(codes(&renamed(b"trace/code/", b"trace/c0de/")).contains(&Code::ArchiveInvalid));
    assert!(codes(&renamed(b"trace/constants/1", b"trace/constants/7")).contains(&Code::TensorOutOfBounds));
}

#[test]
fn a_byte_of_data_that_changed_is_found_by_its_crc_when_all_is_read() {
    for name in ["layout.pt", "script.pt", "big_endian.pt", "checkpoint.ckpt"] {
        let mut bytes = bytes_of(name);
        let check = |bytes: &[u8]| found(torch::deep(Cursor::new(bytes), bytes.len() as u64, "x"));
        assert_eq!(check(&bytes), [], "{name}");
        let (table, _) = read_torch(&bytes);
        let range = table.tensors.iter().find_map(|t| t.bytes.clone().filter(|r| r.end > r.start)).unwrap();
        bytes[usize::try_from(range.start).unwrap()] ^= 1;
        assert!(!has_error(&read_torch(&bytes).1), "{name}: headers are right");
        let findings = check(&bytes);
        assert_eq!(codes(&findings), [Code::ArchiveInvalid], "{name}");
        assert!(findings[0].message.contains("data/"), "{findings:?}");
    }
    // Files without checksums of their own have no problem.
    for name in ["no_crc.pt", "layout_legacy.pt", "tar.pt"] {
        let bytes = bytes_of(name);
        assert_eq!(torch::deep(Cursor::new(&bytes), bytes.len() as u64, "x"), [], "{name}");
    }
}

#[test]
fn every_truncation_is_an_error_and_no_flipped_byte_a_panic() {
    for name in truth().into_keys() {
        let mut bytes = bytes_of(&name);
        for n in (0..bytes.len()).step_by(1 + bytes.len() / 350) {
            // The bytes after a tar archive's files are padding.
            let padding = name == "tar.pt" && bytes[n..].iter().all(|b| *b == 0);
            assert!(padding || has_error(&read_torch(&bytes[..n]).1), "{name}, {n} of {} bytes", bytes.len());
            let _ = torch::deep(Cursor::new(&bytes[..n]), n as u64, "x");
        }
        for at in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] ^= flip;
                let _ = read_torch(&bytes);
                let _ = torch::deep(Cursor::new(&bytes), bytes.len() as u64, "x");
                bytes[at] ^= flip;
            }
        }
    }
}
