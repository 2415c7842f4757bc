//! PyTorch files: real ones agree with what torch said of them; hostile ones are named, never run.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{codes, fixtures, has_error};
use crate::report::Finding;
use crate::verify::TensorTable;
use crate::verify::torch::{pickle, read};

fn look(file: &[u8]) -> (TensorTable, Vec<Finding>) {
    read(Cursor::new(file), file.len() as u64, "m.bin")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("torch").join(name)).unwrap()
}

/// An archive as `torch.save` lays it out.
fn archive(records: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in records {
        zip.start_file(*name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    archive(&[("archive/data.pkl", pickle), ("archive/version", b"3\n")], CompressionMethod::Stored)
}

fn text(content: &str) -> Vec<u8> {
    let mut out = vec![b'X'];
    out.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    out.extend(content.as_bytes());
    out
}

/// `{name: _rebuild_tensor_v2(storage, offset, size, stride, False, OrderedDict())}` of float32.
fn state_dict(name: &str, key: &str, numel: u8, offset: u8, size: u8, stride: u8) -> Vec<u8> {
    let mut p = b"\x80\x02}".to_vec();
    p.extend(text(name));
    p.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    p.extend(text("storage"));
    p.extend(b"ctorch\nFloatStorage\n");
    p.extend(text(key));
    p.extend(text("cpu"));
    p.extend([b'K', numel, b't', b'Q', b'K', offset, b'K', size, 0x85, b'K', stride, 0x85, 0x89]);
    p.extend(b"ccollections\nOrderedDict\n)RtRs.");
    p
}

fn one_tensor(pickle: &[u8], data: &[u8]) -> Vec<&'static str> {
    let file = archive(&[("a/data.pkl", pickle), ("a/data/0", data), ("a/version", b"3\n")], CompressionMethod::Stored);
    codes(&look(&file).1)
}

/// For every file that torch wrote, our table is torch's own.
#[test]
fn we_agree_with_torch() {
    let mut seen = 0;
    for item in std::fs::read_dir(fixtures().join("torch")).unwrap() {
        let path = item.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let (table, findings) = look(&std::fs::read(path.with_extension("bin")).unwrap());
        assert!(!has_error(&findings), "{}: {findings:?}", path.display());
        let ours: BTreeMap<&str, (&str, Vec<u64>)> =
            table.tensors.iter().map(|t| (&*t.name, (&*t.dtype, t.shape.to_vec()))).collect();
        let theirs: BTreeMap<&str, (&str, Vec<u64>)> = said["tensors"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, t)| {
                let shape = t["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).collect();
                (name.as_str(), (t["dtype"].as_str().unwrap(), shape))
            })
            .collect();
        assert_eq!(ours, theirs, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 8, "{seen} fixtures");
}

/// The bytes that a table points at are the tensor's: shapes.bin holds torch.arange in "deep".
#[test]
fn extents_lie_in_the_file() {
    for name in ["shapes.bin", "strided.bin", "shared.bin", "dtypes.bin", "module.bin"] {
        let file = fixture(name);
        for tensor in look(&file).0.tensors {
            let range = tensor.bytes.unwrap_or_else(|| panic!("{name}: {} has no place", tensor.name));
            assert!(range.end <= file.len() as u64, "{name}: {}", tensor.name);
        }
    }
}

#[test]
fn a_small_state_dict_of_our_own_is_read() {
    assert_eq!(one_tensor(&state_dict("w", "0", 4, 0, 4, 1), &[0; 16]), [""; 0]);
}

#[test]
fn storages_and_tensors_must_fit() {
    assert_eq!(one_tensor(&state_dict("w", "0", 4, 0, 4, 1), &[0; 12]), ["size-mismatch"]);
    assert_eq!(one_tensor(&state_dict("w", "0", 4, 1, 4, 1), &[0; 16]), ["tensor-out-of-bounds"]);
    assert_eq!(one_tensor(&state_dict("w", "0", 4, 0, 4, 2), &[0; 16]), ["tensor-out-of-bounds"]);
    let missing = one_tensor(&state_dict("w", "9", 4, 0, 4, 1), &[0; 16]);
    assert!(missing.contains(&"tensor-out-of-bounds") && missing.contains(&"data-gap"), "{missing:?}");
}

#[test]
fn an_archive_must_be_whole_and_of_one_folder() {
    let pickle = state_dict("w", "0", 4, 0, 4, 1);
    let stored = CompressionMethod::Stored;
    let judge = |records: &[(&str, &[u8])]| codes(&look(&archive(records, stored)).1);
    assert_eq!(judge(&[("a/other", b"")]), ["format-unexpected"]);
    assert!(judge(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16]), ("../x", b"")]).contains(&"archive-invalid"));
    assert!(judge(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16]), ("b/data/1", b"")]).contains(&"archive-invalid"));
    let extra = judge(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16]), ("a/data/1", b"extra")]);
    assert_eq!(extra, ["data-gap"], "bytes that no tensor claims");
    // The record of data.pkl is held to its CRC-32.
    let mut damaged = archive(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16])], stored);
    let at = damaged.windows(5).position(|w| w == b"torch").unwrap();
    damaged[at] ^= 1;
    assert_eq!(codes(&look(&damaged).1), ["archive-invalid"]);
}

/// A directory that claims four thousand million records is refused before it is read.
#[test]
fn a_directory_of_absurd_length_is_refused() {
    let mut file = with_pickle(b"\x80\x02}.");
    let end = file.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    file[end + 8..end + 12].copy_from_slice(&[0xff; 4]);
    let mut zip64 = b"PK\x06\x06".to_vec();
    zip64.extend(44u64.to_le_bytes());
    zip64.extend([45, 0, 45, 0]);
    zip64.extend([0; 8]);
    zip64.extend((1u64 << 32).to_le_bytes());
    zip64.extend((1u64 << 32).to_le_bytes());
    zip64.extend([0; 16]);
    file.splice(end..end, zip64);
    let findings = look(&file).1;
    assert_eq!(codes(&findings), ["archive-invalid"]);
    assert!(findings[0].message.contains("more than"), "{}", findings[0].message);
}

/// The same call in every way that a pickle can make one: each is named, none is run.
#[test]
fn calls_to_the_system_are_named_however_they_are_made() {
    let command = text("false");
    let short = |s: &str| [&[0x8c, u8::try_from(s.len()).unwrap()][..], s.as_bytes()].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("GLOBAL", [b"\x80\x02cposix\nsystem\n".as_slice(), &command, b"\x85R."].concat()),
        (
            "STACK_GLOBAL",
            [b"\x80\x04".as_slice(), &short("posix"), &short("system"), &[0x93], &command, b"\x85R."].concat(),
        ),
        ("INST", [b"(".as_slice(), &command, b"iposix\nsystem\n."].concat()),
        ("OBJ", [b"(cposix\nsystem\n".as_slice(), &command, b"o."].concat()),
        ("NEWOBJ", [b"\x80\x02cposix\nsystem\n".as_slice(), &command, b"\x85\x81."].concat()),
        ("NEWOBJ_EX", [b"\x80\x04cposix\nsystem\n".as_slice(), &command, b"\x85}\x92."].concat()),
        ("memo", [b"\x80\x02cposix\nsystem\nq\x000h\x00".as_slice(), &command, b"\x85R."].concat()),
        ("in a dict", [b"\x80\x02}".as_slice(), &text("w"), b"cos\nsystem\n", &command, b"\x85Rs."].concat()),
        ("BUILD", [b"\x80\x02cbuiltins\neval\n".as_slice(), &command, b"\x85R}b."].concat()),
        (
            "dotted",
            [b"\x80\x04".as_slice(), &short("torch"), &short("os.system"), &[0x93], &command, b"\x85R."].concat(),
        ),
    ];
    for (way, pickle) in cases {
        let (_, findings) = look(&with_pickle(&pickle));
        assert!(codes(&findings).contains(&"unsafe-pickle"), "{way}: {findings:?}");
        let finding = findings.iter().find(|f| f.code.as_str() == "unsafe-pickle").unwrap();
        assert!(finding.message.contains("(byte "), "{way}: {}", finding.message);
    }
}

/// Pickles that would make a real machine run out of memory, stack or patience.
#[test]
fn hostile_pickles_end_quickly() {
    let doubling = {
        // Each tuple holds the one before twice: 2^60 leaves in a few hundred bytes.
        let mut p = b"\x80\x02}".to_vec();
        p.extend(text("w"));
        p.push(b')');
        for i in 0..60u8 {
            p.extend([b'q', i, b'h', i, 0x86]);
        }
        p.extend(b"s.");
        p
    };
    let deep = [b"\x80\x02".as_slice(), &b"]".repeat(500_000), &b"a".repeat(499_999), b"."].concat();
    let nested = {
        let mut p = b"\x80\x02".to_vec();
        for _ in 0..100_000 {
            p.push(b'}');
            p.extend(text("k"));
        }
        p.push(b'N');
        p.extend(b"s".repeat(100_000));
        p.push(b'.');
        p
    };
    let own = b"\x80\x02]q\x00h\x00a.".to_vec();
    let long_claim = [b"\x80\x04\x8d".as_slice(), &u64::MAX.to_le_bytes(), b"x."].concat();
    let frame = [b"\x80\x04\x95".as_slice(), &u64::MAX.to_le_bytes(), b"N."].concat();
    let memo = [b"\x80\x02Nr\xff\xff\xff\xff.".as_slice()].concat();
    let marks = b"(".repeat(1_000_000);
    for (what, pickle) in [
        ("doubling", doubling),
        ("deep list", deep),
        ("deep dict", nested),
        ("a list in itself", own),
        ("a length claim", long_claim),
        ("a frame claim", frame),
        ("a memo key", memo),
        ("marks", marks),
    ] {
        let started = std::time::Instant::now();
        look(&with_pickle(&pickle));
        assert!(started.elapsed().as_secs() < 20, "{what}");
    }
}

#[test]
fn broken_pickles_are_errors_with_a_place() {
    for bad in [
        &b""[..],
        b"\x80",
        b"\x80\x02",
        b"t.",
        b"a.",
        b".",
        b"\x80\x02h\x09.",
        b"X\xff\xff\xff\x7fabc",
        b"\x80\x02\xfe.",
    ] {
        let error = pickle::read(bad).unwrap_err();
        assert!(error.to_string().contains("at byte"), "{error}");
    }
    assert_eq!(codes(&look(&with_pickle(b"garbage")).1), ["pickle-invalid"]);
}

/// What is not a zip of PyTorch's is told apart by what it is.
#[test]
fn other_formats_are_named() {
    for (content, word) in [
        (&b"GGUF\x03\0\0\0"[..], "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"{\"a\":1}", "JSON"),
        (b"", "something else"),
    ] {
        let findings = look(content).1;
        assert_eq!(codes(&findings), ["format-unexpected"], "{word}");
        assert!(findings[0].message.contains(word), "{}", findings[0].message);
    }
}

#[test]
fn a_shortened_file_is_always_an_error() {
    let file = fixture("shapes.bin");
    for n in 0..file.len() {
        assert!(has_error(&look(&file[..n]).1), "{n} of {} bytes", file.len());
    }
}

#[test]
fn no_flipped_byte_makes_it_panic() {
    for name in ["shapes.bin", "parameter.bin", "shared.bin"] {
        let file = fixture(name);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x5a;
            look(&damaged);
        }
    }
}

proptest! {
    #[test]
    fn no_pickle_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = pickle::read(&bytes);
    }

    /// Instructions in any order, with small operands: deeper than random bytes reach.
    #[test]
    fn no_program_makes_it_panic(ops in prop::collection::vec(
        prop::sample::select(vec![
            &b"("[..], b"0", b"1", b"2", b"N", b"]", b"}", b")", b"t", b"l", b"d", b"a", b"e", b"s", b"u", b"b", b"R", b"Q",
            b"\x85", b"\x86", b"\x87", b"\x81", b"\x92", b"\x93", b"\x90", b"\x91", b"\x8f", b"\x94", b"o", b"q\x01", b"h\x01",
            b"K\x05", b"J\xff\xff\xff\xff", b"U\x01a", b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"X\x07\0\0\0storage",
            b"ctorch\nFloatStorage\n",
        ]),
        0..60,
    )) {
        let mut program = b"\x80\x04".to_vec();
        for op in ops {
            program.extend(op);
        }
        program.push(b'.');
        look(&with_pickle(&program));
    }

    #[test]
    fn no_archive_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        look(&[b"PK\x03\x04".as_slice(), &bytes].concat());
    }
}
