//! Tests that the record loses entries rather than keep wrong ones.

use super::*;
use std::fs;

fn record(dir: &tempfile::TempDir) -> DigestRecord {
    DigestRecord::new(dir.path(), PathBuf::from("own"))
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("own").join(NAME)
}

fn stamp(size: u64) -> Stamp {
    Stamp { size, mtime: 1, mtime_ns: 2, ctime: 3, ctime_ns: 4, inode: 5 }
}

#[test]
fn remembered_files_survive_and_a_changed_file_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    record(&dir).remember_check("k", &Outcome::default()).unwrap();
    let again = record(&dir);
    assert!(again.knows("a", &digest, &stamp(1)));
    assert!(!again.knows("a", &digest, &stamp(2)));
    assert!(!again.knows("b", &digest, &stamp(1)));
    assert_eq!(again.check("k"), Some(Outcome::default()));
    assert_eq!(again.check("l"), None);
}

#[test]
fn a_struck_file_stays_struck_until_it_is_proven_again() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    let first = record(&dir);
    first.remember("a", &digest, stamp(1)).unwrap();
    first.remember("b", &digest, stamp(2)).unwrap();
    first.remember_check("k", &Outcome::default()).unwrap();
    let other = record(&dir);
    assert!(other.knows("a", &digest, &stamp(1)));
    first.strike("a").unwrap();
    assert!(!first.knows("a", &digest, &stamp(1)));
    assert_eq!(first.check("k"), None);
    other.remember("c", &digest, stamp(3)).unwrap();
    let later = record(&dir);
    assert!(!later.knows("a", &digest, &stamp(1)), "another process does not bring it back");
    assert_eq!(later.check("k"), None);
    assert!(later.knows("b", &digest, &stamp(2)) && later.knows("c", &digest, &stamp(3)), "the others stay");
    later.remember("a", &digest, stamp(1)).unwrap();
    assert!(record(&dir).knows("a", &digest, &stamp(1)));
}

#[test]
fn a_damaged_record_only_forgets() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"kind\":\"file\",\"key\n\xff\xfe\n[[[[\n");
    fs::write(&path, text).unwrap();
    assert!(record(&dir).knows("a", &digest, &stamp(1)));
}

#[test]
fn a_torn_last_line_costs_one_line_only() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    let whole = fs::read(file(&dir)).unwrap();
    for cut in 0..whole.len() {
        fs::write(file(&dir), &whole[..cut]).unwrap();
        record(&dir).remember("b", &digest, stamp(2)).unwrap();
        let again = record(&dir);
        assert!(again.knows("b", &digest, &stamp(2)), "the line after a torn one of {cut} bytes");
        // Only the newline is missing, so the line is complete.
        assert_eq!(again.knows("a", &digest, &stamp(1)), cut + 1 == whole.len());
    }
}

#[test]
fn lines_of_another_version_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    let line = fs::read_to_string(file(&dir)).unwrap();
    let foreign = [
        line.replace("\"file\"", "\"tree\"").replace("\"a\"", "\"b\""),
        line.replace("\"inode\"", "\"serial\"").replace("\"a\"", "\"c\""),
        line.replace("\"a\"", "7"),
        "[".repeat(100_000),
        "{\"kind\":\"check\",\"key\":\"k\",\"outcome\":{\"findings\":1}}".into(),
        "\0\0\0\0".into(),
        line.replace("\"kind\"", "\"more\":[1],\"kind\"").replace("\"a\"", "\"d\""),
    ];
    fs::write(file(&dir), foreign.join("\n") + "\n" + &line).unwrap();
    let again = record(&dir);
    assert!(again.knows("a", &digest, &stamp(1)));
    for key in ["b", "c", "7"] {
        assert!(!again.knows(key, &digest, &stamp(1)), "{key}");
    }
    assert_eq!(again.check("k"), None);
}

#[test]
fn a_record_with_an_endless_line_is_read_up_to_it_and_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    // The file has a hole of a terabyte, which would take minutes to read.
    fs::File::options().write(true).open(file(&dir)).unwrap().set_len(1 << 40).unwrap();
    let again = record(&dir);
    assert!(again.knows("a", &digest, &stamp(1)));
    again.remember("b", &digest, stamp(2)).unwrap();
    again.remember("c", &digest, stamp(3)).unwrap();
    assert!(fs::metadata(file(&dir)).unwrap().len() < 1000);
    let again = record(&dir);
    assert!(again.knows("b", &digest, &stamp(2)) && again.knows("c", &digest, &stamp(3)));
}

#[test]
fn a_record_that_is_mostly_out_of_date_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    let before = record(&dir);
    for size in 0..1100 {
        before.remember("a", &digest, stamp(size)).unwrap();
    }
    let after = record(&dir);
    assert!(after.knows("a", &digest, &stamp(1099)));
    after.remember("b", &digest, stamp(1)).unwrap();
    assert_eq!(fs::read_to_string(file(&dir)).unwrap().lines().count(), 2);
    assert!(record(&dir).knows("a", &digest, &stamp(1099)));
}

#[test]
fn only_the_last_checks_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let record = record(&dir);
    for n in 0..=CHECKS_KEPT {
        record.remember_check(&n.to_string(), &Outcome::default()).unwrap();
    }
    assert_eq!(record.check("0"), None);
    assert!(record.check("1").is_some() && record.check(&CHECKS_KEPT.to_string()).is_some());
}

/// A repo of a million files has a record of that size.
#[test]
fn a_record_beyond_64_mib_is_known_to_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("first", &digest, stamp(1)).unwrap();
    let line = |n: u32| {
        let key = format!("{n}{}", "x".repeat(4000));
        serde_json::to_string(&Line::File { key, digest: digest.to_string(), stamp: stamp(2) }).unwrap() + "\n"
    };
    let text: String = (0..17_000).map(line).collect();
    assert!(text.len() > 64 << 20);
    fs::write(file(&dir), [fs::read(file(&dir)).unwrap(), text.into_bytes()].concat()).unwrap();
    record(&dir).remember("last", &digest, stamp(3)).unwrap();
    let again = record(&dir);
    for (key, size) in [("first".to_owned(), 1), (format!("16999{}", "x".repeat(4000)), 2), ("last".to_owned(), 3)] {
        assert!(again.knows(&key, &digest, &stamp(size)), "{key:.20}");
    }
}

/// The stamp of a file that proved wrong is kept: it shows whether a user has changed the file.
#[test]
fn a_struck_file_is_not_known_but_its_stamp_is() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    let before = record(&dir);
    before.remember("a", &digest, stamp(1)).unwrap();
    before.strike("a").unwrap();
    for record in [before, record(&dir)] {
        assert!(!record.knows("a", &digest, &stamp(1)));
        assert_eq!(record.placed("a"), Some((digest, stamp(1))));
    }
}

/// Somebody linked the record to another file: the other file is not written to.
#[test]
fn a_record_with_another_name_is_replaced_and_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    let victim = dir.path().join("victim");
    fs::hard_link(file(&dir), &victim).unwrap();
    let before = fs::read(&victim).unwrap();
    record(&dir).remember("b", &digest, stamp(2)).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), before);
    let again = record(&dir);
    assert!(again.knows("a", &digest, &stamp(1)) && again.knows("b", &digest, &stamp(2)));
}

/// If several processes append at once, every line survives completely.
#[test]
fn appends_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    std::thread::scope(|scope| {
        for writer in 0..8u64 {
            let (dir, digest) = (&dir, &digest);
            scope.spawn(move || {
                // Each thread acts as a process of its own: they share only the file.
                let record = record(dir);
                for n in 0..100 {
                    record.remember(&format!("{writer}/{n}/{}", "x".repeat(500)), digest, stamp(n)).unwrap();
                }
            });
        }
    });
    let again = record(&dir);
    for writer in 0..8u64 {
        for n in 0..100 {
            assert!(again.knows(&format!("{writer}/{n}/{}", "x".repeat(500)), &digest, &stamp(n)));
        }
    }
}

#[test]
fn the_record_is_not_written_through_a_link() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir(dir.path().join("own")).unwrap();
    std::os::unix::fs::symlink(&victim, file(&dir)).unwrap();
    let digest = crate::model::Hasher::sha256().finish().digest();
    assert!(matches!(record(&dir).remember("a", &digest, stamp(1)), Err(StoreError::Symlink(_))));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}
