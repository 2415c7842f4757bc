//! Tar archives as Python's `tarfile` recognises them: by their checksum, also where the file could be a pickle of
//! torch's old format.

use super::make::Pickled;
use super::{fixture, has_error, kinds, read_torch};
use crate::ProblemKind;

/// A header of the seventh edition, which has no `ustar`, and its content.
fn member(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name);
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[156] = b'0';
    let mut whole = sealed(header);
    whole.extend(content);
    whole.resize(whole.len().next_multiple_of(512), 0);
    whole
}

fn sealed(mut header: Vec<u8>) -> Vec<u8> {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

fn evil() -> Vec<u8> {
    Pickled::new().global("os", "system").text("true").op(b"\x85R").stop()
}

#[test]
fn an_archive_without_ustar_is_still_an_archive() {
    let file = [member(b"pickle", &evil()), vec![0; 1024]].concat();
    let found = read_torch(&file).1;
    assert!(kinds(&found).contains(&ProblemKind::UnsafePickle), "{found:?}");
    // Python's `int` takes more than digits.
    let sum = String::from_utf8(file[148..154].to_vec()).unwrap();
    for stated in
        [format!("0o{sum}"), format!("+{sum}\0"), format!("\x1f{sum} "), format!("{}_{} ", &sum[..3], &sum[3..])]
    {
        let mut file = file.clone();
        file[148..156].copy_from_slice(stated.as_bytes());
        assert!(kinds(&read_torch(&file).1).contains(&ProblemKind::UnsafePickle), "{stated:?}");
    }
    // A header with a wrong checksum is not a header.
    let mut broken = file;
    broken[0] ^= 1;
    assert_eq!(kinds(&read_torch(&broken).1), [ProblemKind::FormatUnexpected]);
}

#[test]
fn a_file_that_is_a_tar_archive_and_something_else_is_refused() {
    for start in [&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."[..], b"PK\x03\x04", b"\x80\x04N."] {
        let found = read_torch(&[member(start, b""), member(b"pickle", &evil()), vec![0; 1024]].concat()).1;
        assert!(kinds(&found) == [ProblemKind::ArchiveInvalid] && has_error(&found), "{found:?}");
    }
    // A file that torch wrote.
    let honest = std::fs::read(fixture("formats/torch/tar.pt")).unwrap();
    assert_eq!(kinds(&read_torch(&honest).1), [ProblemKind::NeedsFullUnpickle]);
}

#[test]
fn a_size_that_an_extended_header_states_is_the_one_that_counts() {
    // The header itself says that the member has no bytes; the pickle is after its real bytes.
    let mut extended = member(b"x", b"12 size=512\n");
    extended[156] = b'x';
    let head = sealed(extended[..512].to_vec());
    extended[..512].copy_from_slice(&head);
    let file = [extended, member(b"other", b""), vec![7; 512], member(b"pickle", &evil()), vec![0; 1024]].concat();
    assert!(kinds(&read_torch(&file).1).contains(&ProblemKind::UnsafePickle));
}

#[test]
fn every_odd_header_is_an_error_and_none_a_panic() {
    let pickle = member(b"pickle", b"N.");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut header = pickle[..512].to_vec();
        change(&mut header);
        [sealed(header), b"N.".to_vec(), vec![0; 510]].concat()
    };
    for (why, file) in [
        ("a size that is no number", with(&|h| h[124..135].fill(b'x'))),
        ("a size beyond the file", with(&|h| h[124..135].fill(b'7'))),
        ("a size in base 256 beyond all", with(&|h| h[124..136].fill(0x80))),
        ("a sparse file", with(&|h| h[156] = b'S')),
        ("a link", with(&|h| h[156] = b'2')),
        ("two of one name", [&pickle[..], &pickle].concat()),
    ] {
        let found = read_torch(&file).1;
        assert!(kinds(&found).contains(&ProblemKind::ArchiveInvalid), "{why}: {found:?}");
    }
}
