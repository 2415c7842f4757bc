//! Torch's zip archives that are damaged, or that show one archive to us and another to torch.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::make::{
    End, Pickled, Record, SIX, Strided, crc32, record, state_dict, torch_file, torch_records, zip, zip_with,
};
use super::{has_error, kinds, read_torch};
use crate::{Problem, ProblemKind};

fn six() -> Vec<u8> {
    state_dict(&[("a", SIX)])
}

fn problems(bytes: &[u8]) -> Vec<Problem> {
    read_torch(bytes).1
}

#[test]
fn an_archive_as_torch_writes_it_has_no_findings() {
    let (table, found) = read_torch(&torch_file(&six(), &[("0", 24)]));
    assert_eq!(found, []);
    assert_eq!((&*table.tensors[0].name, &*table.tensors[0].dtype), ("a", "torch.float32"));
    assert_eq!(table.tensors[0].bytes.as_ref().map(|r| r.end - r.start), Some(24));
}

#[test]
fn tied_tensors_share_a_storage() {
    let pickle =
        state_dict(&[("a", SIX), ("b", SIX), ("row", Strided { offset: 3, shape: &[3], stride: &[1], ..SIX })]);
    let (table, found) = read_torch(&torch_file(&pickle, &[("0", 24)]));
    assert_eq!(found, []);
    assert_eq!(table.tensors.len(), 3);
}

#[test]
fn storages_and_records_must_be_the_same_set_of_the_same_sizes() {
    for (why, storages, code) in [
        ("a storage without a record", &[][..], ProblemKind::TensorOutOfBounds),
        ("a record too short", &[("0", 23)], ProblemKind::SizeMismatch),
        ("a record too long", &[("0", 25)], ProblemKind::SizeMismatch),
        ("a record that no storage claims", &[("0", 24), ("1", 8)], ProblemKind::DataGap),
    ] {
        let found = problems(&torch_file(&six(), storages));
        assert_eq!(kinds(&found), [code], "{why}: {found:?}");
        assert!(has_error(&found), "{why}");
    }
}

#[test]
fn a_tensor_must_be_within_its_storage() {
    for (why, tensor, code) in [
        ("an offset too far", Strided { offset: 1, ..SIX }, ProblemKind::TensorOutOfBounds),
        ("a shape too large", Strided { shape: &[2, 4], ..SIX }, ProblemKind::TensorOutOfBounds),
        ("a stride too wide", Strided { stride: &[4, 1], ..SIX }, ProblemKind::TensorOutOfBounds),
        ("an extent that overflows", Strided { shape: &[i64::MAX, i64::MAX], ..SIX }, ProblemKind::TensorOutOfBounds),
        ("an offset that overflows", Strided { offset: i64::MAX, ..SIX }, ProblemKind::TensorOutOfBounds),
        ("a storage that overflows", Strided { numel: i64::MAX, ..SIX }, ProblemKind::SizeMismatch),
        ("a negative offset", Strided { offset: -1, ..SIX }, ProblemKind::PickleInvalid),
        ("a negative shape", Strided { shape: &[-2, 3], ..SIX }, ProblemKind::PickleInvalid),
        ("a negative stride", Strided { stride: &[-3, 1], ..SIX }, ProblemKind::PickleInvalid),
        ("fewer strides than dimensions", Strided { stride: &[1], ..SIX }, ProblemKind::PickleInvalid),
        ("a storage of unknown class", Strided { class: "NextYearStorage", ..SIX }, ProblemKind::DtypeUnknown),
    ] {
        let found = problems(&torch_file(&state_dict(&[("a", tensor)]), &[("0", 24)]));
        assert!(kinds(&found).contains(&code), "{why}: {found:?}");
    }
    // Broadcast and empty views are legal wherever their strides point.
    for tensor in [
        Strided { shape: &[9, 6], stride: &[0, 1], ..SIX },
        Strided { shape: &[0, 6], stride: &[99, 99], ..SIX },
        Strided { offset: 5, shape: &[], stride: &[], ..SIX },
    ] {
        assert_eq!(problems(&torch_file(&state_dict(&[("a", tensor)]), &[("0", 24)])), []);
    }
}

#[test]
fn storage_described_in_two_ways_is_an_error() {
    let pickle = state_dict(&[("a", SIX), ("b", Strided { class: "DoubleStorage", ..SIX })]);
    assert!(kinds(&problems(&torch_file(&pickle, &[("0", 24)]))).contains(&ProblemKind::PickleInvalid));
}

#[test]
fn damage_to_the_archive_is_an_error() {
    let records = torch_records(&six(), &[("0", 24)]);
    let change = |at: usize, with: &dyn Fn(&mut Record)| {
        let mut records = records.clone();
        with(&mut records[at]);
        zip(&records)
    };
    let and = |extra: Record| zip(&[&records[..], &[extra]].concat());
    let whole = zip(&records);
    for (why, bytes) in [
        ("a compressed data.pkl", change(0, &|r| r.method = 8)),
        ("a storage packed in a way that PyTorch lacks", change(1, &|r| r.method = 12)),
        ("another name that some readers take", change(1, &|r| r.extra = extra(0x7075, b"\x01\0\0\0\0y"))),
        ("a field of long sizes twice", change(1, &|r| r.extra = [extra(1, &[0; 8]), extra(1, &[0; 8])].concat())),
        ("an extra field that is cut", change(1, &|r| r.extra = b"\x09\0\xff\0".to_vec())),
        ("bytes between the records at its end", {
            let mut bytes = zip_with(&records, End { entries: None, zip64: true });
            let at = find(&bytes, b"PK\x06\x07", 0);
            bytes.splice(at..at, [0; 64]);
            bytes
        }),
        ("a second archive between the records at its end", {
            let one = zip_with(&records, End { entries: None, zip64: true });
            [&one[..], &one].concat()
        }),
        ("an encrypted storage", change(1, &|r| r.flags = 1)),
        ("an encrypted data.pkl", change(0, &|r| r.flags = 1)),
        ("a data.pkl of another length", change(0, &|r| r.size = Some(r.data.len() as u64 - 1))),
        ("a record that overlaps another", change(1, &|r| r.offset = Some(0))),
        ("a record beyond the file", change(1, &|r| r.offset = Some(4_000_000_000))),
        ("two records of one name", and(record("x/data/0", vec![0; 24]))),
        ("two data.pkl", and(record("x/data.pkl", six()))),
        ("two data.pkl but for case, between which torch's reader does not choose", and(record("x/DATA.pkl", "."))),
        ("a name that leaves its folder", and(record("x/../../../etc/passwd", ""))),
        ("a name that leaves data/", and(record("x/data/../../y", ""))),
        ("an absolute name", and(record("/etc/passwd", ""))),
        ("a name with a backslash", and(record("x\\..\\y", ""))),
        ("a name with a nul", and(record("x/a\0b", ""))),
        ("an empty name", and(record("", ""))),
        ("a record in another folder", and(record("y/data/0", vec![0; 24]))),
        ("a record in no folder", and(record("passwd", ""))),
        ("a directory that claims too few", zip_with(&records, End { entries: Some(2), zip64: false })),
        ("a directory that claims too many", zip_with(&records, End { entries: Some(4), zip64: false })),
        ("a directory that claims 2^32 records", zip_with(&records, End { entries: Some(1 << 32), zip64: true })),
        ("a directory that claims 2^64 - 1 records", zip_with(&records, End { entries: Some(u64::MAX), zip64: true })),
        ("a feature that PyTorch's reader lacks", change(1, &|r| r.flags = 0x20)),
        ("no version", zip(&records[..2])),
        ("a directory of another size than it has", {
            let mut bytes = whole.clone();
            let at = bytes.len() - 10;
            bytes[at] ^= 1;
            bytes
        }),
        ("a part of an archive over several disks", {
            let mut bytes = zip_with(&records, End { entries: None, zip64: true });
            let at = find(&bytes, b"PK\x06\x06", 0) + 16;
            bytes[at] = 1;
            bytes
        }),
        ("nothing after its first bytes", b"PK\x03\x04".to_vec()),
        ("text after the archive", [&whole[..], b"text"].concat()),
        ("another archive before it", [&whole[..], &whole[..]].concat()),
    ] {
        let found = problems(&bytes);
        assert_eq!(kinds(&found), [ProblemKind::ArchiveInvalid], "{why}: {found:?}");
        assert!(has_error(&found), "{why}");
    }
}

/// An extra field.
fn extra(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &u16::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
}

#[test]
fn a_field_that_torch_writes_or_ignores_is_not_damage() {
    let mut records = torch_records(&six(), &[("0", 24)]);
    records[1].extra = [extra(0x4246, &[0; 30]), extra(0x5455, &[0; 5])].concat();
    assert_eq!(problems(&zip(&records)), []);
}

#[test]
fn a_crc_that_does_not_match_is_a_warning_because_torch_reads_none() {
    let mut records = torch_records(&six(), &[("0", 24)]);
    records[0].crc = Some(1);
    let (table, found) = read_torch(&zip(&records));
    assert_eq!(kinds(&found), [ProblemKind::ArchiveInvalid]);
    assert!(!has_error(&found) && found[0].message.contains("CRC-32"), "{found:?}");
    assert_eq!(table.tensors.len(), 1);
    records[0].crc = None;
    assert_eq!(problems(&zip(&records)), []);
}

/// `content` as a record that a zip tool has packed.
fn deflated(name: &str, content: &[u8]) -> Record {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    packed.write_all(content).unwrap();
    Record {
        method: 8,
        size: Some(content.len() as u64),
        crc: Some(crc32(content)),
        ..record(name, packed.finish().unwrap())
    }
}

#[test]
fn an_archive_that_a_zip_tool_packed_again_is_read() {
    let records = [deflated("x/data.pkl", &six()), deflated("x/data/0", &[0; 24]), deflated("x/version", b"3\n")];
    let (table, found) = read_torch(&zip(&records));
    assert_eq!((found, table.tensors.len()), (vec![], 1));
    // The content is compressed, so it has no range of bytes in the file.
    assert_eq!(table.tensors[0].bytes, None);
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    let found = problems(&zip(&[deflated("x/data.pkl", &evil), record("x/version", "3")]));
    assert!(kinds(&found).contains(&ProblemKind::UnsafePickle), "{found:?}");
    // A size that differs from the content's.
    let mut short = deflated("x/data.pkl", &six());
    short.size = short.size.map(|size| size + 1);
    assert!(has_error(&problems(&zip(&[short, record("x/data/0", [0; 24]), record("x/version", "3")]))));
}

#[test]
fn a_package_is_reported_as_code_and_its_pickles_are_judged() {
    let package = |pickle: &[u8]| {
        problems(&zip(&[
            record("p/.data/extern_modules", "torch\n"),
            record("p/model/model.pkl", pickle),
            record("p/net.py", "class Net: pass\n"),
            record("p/.data/version", "6\n"),
        ]))
    };
    let found = package(&Pickled::new().global("net", "Net").op(b")\x81").stop());
    assert!(kinds(&found) == [ProblemKind::NeedsFullUnpickle] && !has_error(&found), "{found:?}");
    let found = package(&Pickled::new().global("os", "system").text("true").op(b"\x85R").stop());
    assert!(kinds(&found).contains(&ProblemKind::UnsafePickle), "{found:?}");
    assert!(found.iter().any(|f| f.message.contains("p/model/model.pkl")), "{found:?}");
}

#[test]
fn an_archive_with_two_directories_is_an_error() {
    // The zip64 end names the directory of one archive, the old-style end that of another before it.
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    let hidden = zip(&torch_records(&evil, &[]));
    let mut shown = torch_records(&six(), &[("0", 24)]);
    shown.push(record("x/.hidden", hidden));
    let mut bytes = zip_with(&shown, End { entries: None, zip64: true });
    let start = find(&bytes, b"PK\x01\x02", 0);
    let end = bytes.len() - 22;
    bytes[end + 8..end + 12].copy_from_slice(&[2, 0, 2, 0]);
    bytes[end + 12..end + 16].copy_from_slice(&100u32.to_le_bytes());
    bytes[end + 16..end + 20].copy_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
    assert!(has_error(&problems(&bytes)), "{:?}", problems(&bytes));
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> usize {
    from + bytes[from..].windows(what.len()).position(|w| w == what).unwrap()
}

#[test]
fn the_pickle_that_is_judged_is_the_one_that_torch_loads() {
    // torch takes the first record's folder as the archive's; the harmless pickle is in another folder.
    let evil = Pickled::new().global("os", "system").text("true").op(b"\x85R").stop();
    let bytes = zip(&[record("b/version", "3\n"), record("a/data.pkl", six()), record("b/data.pkl", evil)]);
    let kinds = kinds(&problems(&bytes));
    assert!(kinds.contains(&ProblemKind::UnsafePickle), "{kinds:?}");
    assert!(kinds.contains(&ProblemKind::ArchiveInvalid), "{kinds:?}");
}

#[test]
fn zip64_archives_are_read() {
    let mut records = torch_records(&six(), &[("0", 24)]);
    assert_eq!(problems(&zip_with(&records, End { entries: None, zip64: true })), []);
    for r in &mut records {
        r.zip64 = true;
    }
    assert_eq!(problems(&zip_with(&records, End { entries: None, zip64: true })), []);
    assert_eq!(problems(&zip(&records)), []);
}

#[test]
fn a_comment_and_a_folders_entry_are_not_damage() {
    let mut bytes = zip(&[&[record("x/", "")][..], &torch_records(&six(), &[("0", 24)])].concat());
    assert_eq!(problems(&bytes), []);
    let at = bytes.len() - 2;
    bytes[at] = 4;
    bytes.extend(b"text");
    assert_eq!(problems(&bytes), []);
}

#[test]
fn a_torchscript_archive_may_have_records_that_its_data_does_not_name() {
    let mut records = torch_records(&six(), &[("0", 24), ("more", 8)]);
    records.push(record("x/constants.pkl", b"\x80\x02)."));
    records.push(record("x/code/__torch__.py", b""));
    let found = problems(&zip(&records));
    assert!(kinds(&found) == [ProblemKind::DataGap, ProblemKind::TorchscriptCode] && !has_error(&found), "{found:?}");
    // The records that its data names must still be there.
    records.remove(1);
    assert!(kinds(&problems(&zip(&records))).contains(&ProblemKind::TensorOutOfBounds));
}

#[test]
fn a_zip_archive_without_a_pickle_is_not_a_torch_file() {
    for bytes in [zip(&[]), zip(&[record("x/y", "")]), zip(&[record("data.pkl", ".")])] {
        let found = problems(&bytes);
        assert!(kinds(&found).contains(&ProblemKind::FormatUnexpected) && has_error(&found), "{found:?}");
    }
}

#[test]
fn many_storages_take_no_quadratic_time() {
    let numbers: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let tensors: Vec<(&str, Strided<'_>)> =
        numbers.iter().map(|n| (&**n, Strided { key: n, numel: 1, shape: &[], stride: &[], ..SIX })).collect();
    let storages: Vec<(&str, usize)> = numbers.iter().map(|n| (&**n, 4)).collect();
    let started = std::time::Instant::now();
    let (table, found) = read_torch(&torch_file(&state_dict(&tensors), &storages));
    assert_eq!((table.tensors.len(), found.len()), (20_000, 0));
    assert!(started.elapsed().as_secs() < 20);
    // So many problems still make a short list.
    let found = problems(&torch_file(&six(), &storages));
    assert!(found.len() < 50, "{}", found.len());
}
