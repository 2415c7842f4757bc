//! The rules of the safetensors format, one by one (safetensors/src/tensor.rs), and its header under attack.

use proptest::prelude::*;

use super::make::{safetensors, safetensors_text};
use super::{fixture, has_error, kinds, read_safetensors};
use crate::problem::{ProblemKind, Severity};
use crate::safetensors::{MAX_HEADER, dtype_bits};

/// One tensor of the given dtype, shape and offsets over `data` bytes.
fn one(dtype: &str, shape: &str, offsets: &str, data: usize) -> Vec<u8> {
    safetensors_text(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#), data)
}

#[test]
fn a_file_of_the_reference_writer_reads_without_findings() {
    let bytes = std::fs::read(fixture("repos/org/tied-gpt2/model.safetensors")).unwrap();
    let (table, problems) = read_safetensors(&bytes);
    assert_eq!(problems, []);
    let mut names: Vec<&str> = table.tensors.iter().map(|t| &*t.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["transformer.ln_f.weight", "transformer.wpe.weight", "transformer.wte.weight"]);
    assert_eq!(table.aliases, [("lm_head.weight".into(), "transformer.wte.weight".into())]);
    let wte = table.tensors.iter().find(|t| &*t.name == "transformer.wte.weight").unwrap();
    assert_eq!((&*wte.dtype, &*wte.shape), ("F32", &[16, 4][..]));
    assert_eq!(wte.bytes.as_ref().map(|r| r.end - r.start), Some(256));
}

#[test]
fn every_shard_of_the_fixtures_reads_without_findings() {
    let mut folders = vec![fixture("repos")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "safetensors") {
                assert_eq!(read_safetensors(&std::fs::read(&path).unwrap()).1, [], "{}", path.display());
                read += 1;
            }
        }
    }
    assert!(read > 7);
}

#[test]
fn files_that_the_format_allows_have_no_finding() {
    for (why, bytes) in [
        ("no tensors", safetensors_text("{}", 0)),
        ("a scalar", one("F32", "[]", "[0,4]", 4)),
        ("a tensor without elements", one("F32", "[0,7]", "[0,0]", 0)),
        ("elements without a tensor's worth of bytes at the start and the end", {
            safetensors(&[("a", "F32", 4, &[0]), ("b", "F32", 4, &[2]), ("c", "F32", 4, &[0])])
        }),
        ("spaces after the header", safetensors_text("{}        ", 0)),
        ("spaces before it, which the reference reader tolerates", safetensors_text("  {}", 0)),
        ("two four-bit elements in a byte", one("F4", "[2,3]", "[0,3]", 3)),
        ("four six-bit elements in three bytes", one("F6_E2M3", "[4]", "[0,3]", 3)),
        ("metadata", safetensors_text(r#"{"__metadata__":{"format":"pt"}}"#, 0)),
        ("empty metadata", safetensors_text(r#"{"__metadata__":{}}"#, 0)),
        ("null metadata", safetensors_text(r#"{"__metadata__":null}"#, 0)),
        ("further keys of a tensor", {
            safetensors_text(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{"y":[]}}}"#, 1)
        }),
        ("names in any order", {
            safetensors_text(
                r#"{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
                2,
            )
        }),
        ("an empty name", safetensors(&[("", "U8", 1, &[1])])),
        ("a name with an escape in it", safetensors(&[("a\n\"\u{1b}\u{1f600}", "U8", 1, &[1])])),
    ] {
        assert_eq!(read_safetensors(&bytes).1, [], "{why}");
    }
}

#[test]
fn every_dtype_of_the_format_has_its_size() {
    for (dtype, bits) in [
        ("BOOL", 8),
        ("F4", 4),
        ("F6_E2M3", 6),
        ("F6_E3M2", 6),
        ("U8", 8),
        ("I8", 8),
        ("F8_E5M2", 8),
        ("F8_E4M3", 8),
        ("F8_E8M0", 8),
        ("F8_E4M3FNUZ", 8),
        ("F8_E5M2FNUZ", 8),
        ("I16", 16),
        ("U16", 16),
        ("F16", 16),
        ("BF16", 16),
        ("I32", 32),
        ("U32", 32),
        ("F32", 32),
        ("C64", 64),
        ("F64", 64),
        ("I64", 64),
        ("U64", 64),
    ] {
        assert_eq!(dtype_bits(dtype), Some(bits), "{dtype}");
        let end = bits; // eight elements
        assert_eq!(read_safetensors(&one(dtype, "[8]", &format!("[0,{end}]"), usize::try_from(end).unwrap())).1, []);
    }
}

#[test]
fn an_unknown_dtype_is_a_warning_and_not_a_broken_file() {
    let (table, problems) = read_safetensors(&one("F3_NEXT_YEAR", "[5]", "[0,7]", 7));
    assert_eq!(kinds(&problems), [ProblemKind::DtypeUnknown]);
    assert_eq!(problems[0].severity, Severity::Warning);
    assert_eq!(table.tensors.len(), 1);
}

#[test]
fn every_broken_rule_is_named() {
    let two = |a: &str, b: &str, data| {
        safetensors_text(
            &format!(
                r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
            ),
            data,
        )
    };
    for (why, bytes, code) in [
        ("no bytes", vec![], ProblemKind::HeaderInvalid),
        ("seven bytes", vec![0; 7], ProblemKind::HeaderInvalid),
        ("an empty header", vec![0; 8], ProblemKind::HeaderInvalid),
        ("a header longer than the file", safetensors_text("{}", 0)[..9].to_vec(), ProblemKind::HeaderInvalid),
        ("a header above the limit", [&(MAX_HEADER + 1).to_le_bytes()[..], b"{}"].concat(), ProblemKind::HeaderInvalid),
        ("a header of 10 GB", [&10_000_000_000u64.to_le_bytes()[..], b"{}"].concat(), ProblemKind::HeaderInvalid),
        ("a header of 2^64 - 1", [&u64::MAX.to_le_bytes()[..], b"{}"].concat(), ProblemKind::HeaderInvalid),
        ("no UTF-8", [&4u64.to_le_bytes()[..], b"{\"\xff\""].concat(), ProblemKind::HeaderInvalid),
        ("no JSON", safetensors_text("{nope", 0), ProblemKind::HeaderInvalid),
        ("a list", safetensors_text("[]", 0), ProblemKind::HeaderInvalid),
        ("two documents", safetensors_text("{} {}", 0), ProblemKind::HeaderInvalid),
        ("nul bytes after the header", safetensors_text("{}\0\0", 0), ProblemKind::HeaderInvalid),
        ("a tensor that is a number", safetensors_text(r#"{"a":1}"#, 0), ProblemKind::HeaderInvalid),
        (
            "a tensor without a shape",
            { safetensors_text(r#"{"a":{"dtype":"U8","data_offsets":[0,1]}}"#, 1) },
            ProblemKind::HeaderInvalid,
        ),
        ("metadata that is a list", safetensors_text(r#"{"__metadata__":[]}"#, 0), ProblemKind::HeaderInvalid),
        ("metadata of numbers", safetensors_text(r#"{"__metadata__":{"a":1}}"#, 0), ProblemKind::HeaderInvalid),
        ("metadata twice", safetensors_text(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), ProblemKind::HeaderInvalid),
        ("a negative size", one("U8", "[-1]", "[0,1]", 1), ProblemKind::HeaderInvalid),
        ("a fractional size", one("U8", "[1.0]", "[0,1]", 1), ProblemKind::HeaderInvalid),
        ("three offsets", one("U8", "[1]", "[0,1,2]", 1), ProblemKind::HeaderInvalid),
        (
            "more elements than can be counted",
            { one("U8", "[9223372036854775808,2]", "[0,1]", 1) },
            ProblemKind::HeaderInvalid,
        ),
        ("more bits than can be counted", one("F64", "[1152921504606846976]", "[0,1]", 1), ProblemKind::HeaderInvalid),
        ("more bytes than its shape needs", one("F32", "[1]", "[0,8]", 8), ProblemKind::HeaderInvalid),
        ("fewer bytes than its shape needs", one("F32", "[2]", "[0,4]", 4), ProblemKind::HeaderInvalid),
        ("an odd number of four-bit elements", one("F4", "[3]", "[0,2]", 2), ProblemKind::HeaderInvalid),
        ("an end before its start", one("U8", "[1]", "[1,0]", 1), ProblemKind::TensorOutOfBounds),
        ("bytes before the first tensor", one("U8", "[1]", "[1,2]", 2), ProblemKind::DataGap),
        ("bytes between tensors", two("[0,4]", "[5,9]", 9), ProblemKind::DataGap),
        ("bytes after the last tensor", two("[0,4]", "[4,8]", 9), ProblemKind::DataGap),
        ("bytes and no tensors", safetensors_text("{}", 1), ProblemKind::DataGap),
        ("tensors that share bytes", two("[0,4]", "[3,7]", 7), ProblemKind::DataOverlap),
        ("tensors at one place", two("[0,4]", "[0,4]", 4), ProblemKind::DataOverlap),
        ("data cut short", two("[0,4]", "[4,8]", 7), ProblemKind::TensorOutOfBounds),
        ("no data", two("[0,4]", "[4,8]", 0), ProblemKind::TensorOutOfBounds),
        (
            "offsets near the end of numbers",
            { one("U8", "[1]", "[18446744073709551614,18446744073709551615]", 1) },
            ProblemKind::TensorOutOfBounds,
        ),
        (
            "a tensor named twice",
            {
                let a = r#""a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
                safetensors_text(&format!("{{{a},{a}}}"), 0)
            },
            ProblemKind::TensorDuplicate,
        ),
    ] {
        let (_, problems) = read_safetensors(&bytes);
        assert!(has_error(&problems), "{why}: {problems:?}");
        assert!(kinds(&problems).contains(&code), "{why}: {problems:?}");
    }
}

#[test]
fn absurd_depth_does_not_overflow_the_stack() {
    for open in ["[", r#"{"a":"#] {
        let deep = open.repeat(1_000_000);
        for header in [deep.clone(), format!(r#"{{"a":{{"x":{deep}"#), format!(r#"{{"__metadata__":{{"x":{deep}"#)] {
            assert_eq!(kinds(&read_safetensors(&safetensors_text(&header, 0)).1), [ProblemKind::HeaderInvalid]);
        }
    }
}

#[test]
fn a_hostile_header_makes_no_hostile_report() {
    // Problems are few and short, however many and long the names, shapes and texts are.
    let long = "x".repeat(1 << 20);
    let many: Vec<String> =
        (0..10_000).map(|i| format!(r#""{i}":{{"dtype":"D{i}","shape":[{i}],"data_offsets":[7,3]}}"#)).collect();
    let shape = vec!["2"; 100_000].join(",");
    for header in [
        format!("{{{}}}", many.join(",")),
        format!(r#"{{"{long}":{{"dtype":"U8","shape":[2],"data_offsets":[5,6]}}}}"#),
        format!(r#"{{"a":{{"dtype":"{long}","shape":[2],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":{{"dtype":"U8","shape":["{long}"],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":"{long}"}}"#),
    ] {
        let (_, problems) = read_safetensors(&safetensors_text(&header, 0));
        assert!(!problems.is_empty() && problems.len() < 200, "{}", problems.len());
        assert!(problems.iter().all(|f| f.message.len() < 2000), "{}", &header[..40]);
    }
}

#[test]
fn every_truncation_is_an_error_and_no_flipped_byte_a_panic() {
    let whole = safetensors(&[("weight", "F32", 4, &[2, 3]), ("bias", "BF16", 2, &[3]), ("none", "F32", 4, &[0])]);
    assert_eq!(read_safetensors(&whole).1, []);
    for n in 0..whole.len() {
        assert!(has_error(&read_safetensors(&whole[..n]).1), "{n} bytes");
    }
    for at in 0..whole.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let _ = read_safetensors(&bytes);
        }
    }
}

#[test]
fn a_file_that_ends_before_its_length_is_an_error() {
    // The length comes from the file system; the file may be cut while it is read.
    let whole = safetensors(&[("a", "U8", 1, &[1])]);
    let (_, problems) = crate::safetensors::read(std::io::Cursor::new(&whole[..12]), whole.len() as u64, "x");
    assert_eq!(kinds(&problems), [ProblemKind::HeaderInvalid]);
}

proptest! {
    #[test]
    fn any_valid_set_of_tensors_is_read_back_exactly(
        tensors in proptest::collection::btree_map(
            any::<String>().prop_filter("reserved", |n| n != "__metadata__"),
            (0usize..4, proptest::collection::vec(0u64..5, 0..4)),
            0..12,
        )
    ) {
        let kinds = [("U8", 1), ("BF16", 2), ("F32", 4), ("I64", 8)];
        let list: Vec<(&str, &str, usize, &[u64])> = tensors
            .iter()
            .map(|(name, (kind, shape))| (&**name, kinds[*kind].0, kinds[*kind].1, &**shape))
            .collect();
        let bytes = safetensors(&list);
        let (table, problems) = read_safetensors(&bytes);
        prop_assert_eq!(problems, vec![]);
        prop_assert_eq!(table.tensors.len(), list.len());
        let mut at = None;
        for (tensor, (name, dtype, item, shape)) in table.tensors.iter().zip(&list) {
            prop_assert_eq!((&*tensor.name, &*tensor.dtype, &*tensor.shape), (*name, *dtype, *shape));
            let range = tensor.bytes.clone().unwrap();
            prop_assert_eq!(range.end - range.start, *item as u64 * tensor.elements());
            prop_assert!(at.is_none_or(|at| at == range.start));
            at = Some(range.end);
        }
        prop_assert!(at.is_none_or(|at| at == bytes.len() as u64));
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_safetensors(&bytes);
        let mut prefixed = (bytes.len() as u64).to_le_bytes().to_vec();
        prefixed.extend(&bytes);
        let _ = read_safetensors(&prefixed);
    }
}

/// Files of `safetensors.torch`, with the tables that `safetensors.safe_open` reads from them: every
/// dtype that torch can save, and tied tensors that the writer drops and notes.
#[test]
fn our_table_is_the_one_that_the_reference_reads() {
    let truth: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("formats/expected_torch.json")).unwrap()).unwrap();
    let files = truth["safetensors_files"].as_object().unwrap();
    assert_eq!(files.len(), 2);
    for (name, want) in files {
        let bytes = std::fs::read(fixture("formats/safetensors").join(name)).unwrap();
        let (table, problems) = read_safetensors(&bytes);
        assert_eq!(problems, [], "{name}");
        let rows = table
            .tensors
            .iter()
            .map(|t| (t.name.to_string(), serde_json::json!({ "dtype": &*t.dtype, "shape": &*t.shape })));
        assert_eq!(serde_json::Value::Object(rows.collect()), want["tensors"], "{name}");
        let aliases = table.aliases.iter().map(|(dropped, kept)| (dropped.to_string(), (**kept).into()));
        let mut noted = want["metadata"].as_object().unwrap().clone();
        noted.remove("format");
        assert_eq!(aliases.collect::<serde_json::Map<_, _>>(), noted, "{name}");
    }
}
