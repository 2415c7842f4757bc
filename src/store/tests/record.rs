//! The record forgets rather than lies.

use super::*;

fn record(dir: &tempfile::TempDir) -> Record {
    Record::new(dir.path(), PathBuf::from("own"))
}

fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("own").join(NAME)
}

fn stamp(size: u64) -> Stamp {
    Stamp { size, mtime: 1, mtime_ns: 2, inode: 3, device: 4 }
}

#[test]
fn what_is_remembered_survives_and_a_changed_file_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let digest = crate::repo::Hasher::sha256().finish();
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
fn a_damaged_record_only_forgets() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir);
    let digest = crate::repo::Hasher::sha256().finish();
    record(&dir).remember("a", &digest, stamp(1)).unwrap();
    let mut text = fs::read(&path).unwrap();
    text.extend_from_slice(b"{\"kind\":\"file\",\"key\n\xff\xfe\n[[[[\n");
    fs::write(&path, text).unwrap();
    assert!(record(&dir).knows("a", &digest, &stamp(1)));
}
