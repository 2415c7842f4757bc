//! The safetensors header against the format's rules.

use std::io::Cursor;

use proptest::prelude::*;

use super::{codes, fixtures, has_error};
use crate::report::Finding;
use crate::verify::TensorTable;
use crate::verify::safetensors::{dtype_bits, read};

fn bytes_of(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 7);
    file
}

fn look(file: &[u8]) -> (TensorTable, Vec<Finding>) {
    read(Cursor::new(file), file.len() as u64, "m.safetensors")
}

/// The codes for a header and so many bytes of data.
fn judge(header: &str, data: usize) -> Vec<&'static str> {
    codes(&look(&bytes_of(header, data)).1)
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}"#;

#[test]
fn a_good_file_has_no_findings_and_all_its_tensors() {
    let file = bytes_of(GOOD, 19);
    let (table, findings) = look(&file);
    assert_eq!(findings, []);
    let start = 8 + GOOD.len() as u64;
    let seen: Vec<_> =
        table.tensors.iter().map(|t| (&*t.name, &*t.dtype, &*t.shape, t.bytes.clone().unwrap())).collect();
    assert_eq!(seen, [("a", "F32", &[2, 2][..], start..start + 16), ("b", "U8", &[3], start + 16..start + 19)]);
}

#[test]
fn what_the_format_allows_is_allowed() {
    for (header, data) in [
        ("{}", 0),
        (r#"{"__metadata__":null}"#, 0),
        // A scalar, an empty tensor, spaces that align, any order of keys.
        (r#"{"s":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}    "#, 8),
        (r#"{"e":{"dtype":"F16","shape":[0,4],"data_offsets":[0,0]}}"#, 0),
        (r#"{"e":{"data_offsets":[0,2],"shape":[1],"dtype":"BF16"}}"#, 2),
        (
            r#"{"e":{"dtype":"F16","shape":[1],"data_offsets":[2,4]},"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}"#,
            4,
        ),
        (r#"{"f":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}"#, 1),
        (r#"{"f":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#, 2),
        (r#"{"f":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}"#, 3),
    ] {
        assert_eq!(judge(header, data), [""; 0], "{header}");
    }
}

#[test]
fn every_rule_has_its_code() {
    for (header, data, wanted) in [
        ("[]", 0, "header-invalid"),
        ("{", 0, "header-invalid"),
        ("{} x", 0, "header-invalid"),
        (r#"{"a":1}"#, 0, "header-invalid"),
        (r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "header-invalid"),
        (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "header-invalid"),
        (r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "header-invalid"),
        (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4, "header-invalid"),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "header-invalid"),
        (r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#, 1, "header-invalid"),
        (r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, 4, "header-invalid"),
        (r#"{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,4]}}"#, 4, "header-invalid"),
        (r#"{"__metadata__":{"a":1}}"#, 0, "header-invalid"),
        (r#"{"__metadata__":{"a":"b"},"__metadata__":{}}"#, 0, "header-invalid"),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
            2,
            "tensor-duplicate",
        ),
        (r#"{"a":{"dtype":"F128","shape":[1],"data_offsets":[0,16]}}"#, 16, "dtype-unknown"),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, 2, "data-gap"),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 2, "data-gap"),
        (
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            3,
            "data-overlap",
        ),
        (r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#, 1, "tensor-out-of-bounds"),
        (r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}"#, 2, "tensor-out-of-bounds"),
        (
            r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#,
            1,
            "tensor-out-of-bounds",
        ),
    ] {
        assert!(judge(header, data).contains(&wanted), "{header}: {:?}", judge(header, data));
    }
    assert_eq!(codes(&look(b"").1), ["header-invalid"]);
    assert_eq!(codes(&look(&[0; 7]).1), ["header-invalid"]);
    assert_eq!(codes(&look(&bytes_of("{\u{0}}", 0)).1), ["header-invalid"]);
    let mut not_utf8 = bytes_of(r#"{"a":1}"#, 0);
    not_utf8[10] = 0xff;
    assert_eq!(codes(&look(&not_utf8).1), ["header-invalid"]);
}

/// A length is compared with the limit and the file before a byte is allocated.
#[test]
fn lengths_are_believed_by_nobody() {
    for claim in [100_000_001, 10_000_000_000, u64::MAX, u64::MAX - 7] {
        let mut file = claim.to_le_bytes().to_vec();
        file.extend(b"{}");
        assert_eq!(codes(&look(&file).1), ["header-invalid"], "{claim}");
    }
    // The file claims to be longer than it is, as a listing may.
    let mut file = 1000u64.to_le_bytes().to_vec();
    file.extend(b"{}");
    assert_eq!(codes(&read(Cursor::new(&file), 1 << 40, "m").1), ["header-invalid"]);
}

#[test]
fn depth_is_bounded() {
    for deep in [
        format!(r#"{{"a":{}"#, "[".repeat(1_000_000)),
        format!(r#"{{"a":{{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":{}"#, "{\"a\":".repeat(1_000_000)),
        "{\"a\":".repeat(1_000_000),
    ] {
        assert_eq!(codes(&look(&bytes_of(&deep, 0)).1), ["header-invalid"]);
    }
}

/// What a converter noted as dropped aliases is kept for the comparison with the index.
#[test]
fn dropped_aliases_are_read_from_the_metadata() {
    let header = r#"{"__metadata__":{"lm_head.weight":"wte.weight","format":"pt","wte.weight":"nothing"},"wte.weight":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let (table, findings) = look(&bytes_of(header, 1));
    assert_eq!(findings, []);
    assert_eq!(table.aliases, [("lm_head.weight".into(), "wte.weight".into())]);
}

#[test]
fn a_shortened_file_is_always_an_error() {
    let file = bytes_of(GOOD, 19);
    for n in 0..file.len() {
        assert!(has_error(&look(&file[..n]).1), "{n} of {} bytes", file.len());
    }
}

#[test]
fn files_of_the_reference_implementation_are_right() {
    let mut seen = 0;
    for dir in ["THUDM/chatglm3-6b", "org/tied-gpt2", "org/tiny-minilm", "org/tiny-lora", "org/tiny-sdxl/unet"] {
        for item in std::fs::read_dir(fixtures().join("repos").join(dir)).unwrap() {
            let path = item.unwrap().path();
            if path.extension().is_some_and(|e| e == "safetensors") {
                let file = std::fs::read(&path).unwrap();
                let (table, findings) = look(&file);
                assert_eq!(findings, [], "{}", path.display());
                assert!(!table.tensors.is_empty());
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "{seen} files");
}

proptest! {
    /// Whatever a writer lays out by the rules is read back exactly.
    #[test]
    fn what_is_written_is_read(
        tensors in prop::collection::btree_map(
            "[a-z.0-9]{1,12}",
            (prop::sample::select(vec!["F32", "BF16", "U8", "I64", "BOOL", "F8_E5M2"]), prop::collection::vec(0u64..5, 0..4)),
            0..12,
        ),
        padding in 0usize..8,
    ) {
        let mut at = 0u64;
        let mut header = serde_json::Map::new();
        for (name, (dtype, shape)) in &tensors {
            let size = shape.iter().product::<u64>() * dtype_bits(dtype).unwrap() / 8;
            header.insert(name.clone(), serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}));
            at += size;
        }
        let text = serde_json::Value::Object(header).to_string() + &" ".repeat(padding);
        let file = bytes_of(&text, usize::try_from(at).unwrap());
        let (table, findings) = look(&file);
        prop_assert_eq!(findings, []);
        prop_assert_eq!(table.tensors.len(), tensors.len());
        for tensor in &table.tensors {
            let (dtype, shape) = &tensors[&*tensor.name];
            prop_assert_eq!(&*tensor.dtype, *dtype);
            prop_assert_eq!(&*tensor.shape, &shape[..]);
        }
        // One byte more or less is noticed.
        let mut longer = file.clone();
        longer.push(0);
        prop_assert!(has_error(&look(&longer).1));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        look(&bytes);
        let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
        framed.extend(&bytes);
        look(&framed);
    }

    #[test]
    fn no_flipped_byte_makes_it_panic(at in 0usize..200, bit in 0u8..8) {
        let mut file = bytes_of(GOOD, 19);
        let at = at % file.len();
        file[at] ^= 1 << bit;
        look(&file);
    }
}
