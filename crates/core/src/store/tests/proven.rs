//! Tests that only proven content counts as right, and only as long as its stamp is the same.

use super::*;

/// Another program's bytes are "unverified" until proven, and a changed file is no longer known.
#[test]
fn only_what_was_proven_is_known() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("model.safetensors");
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Absent);
    let blob = root.path().join("models--org--name/blobs").join(entry.digest().to_string());
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, CONTENT).unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Unverified);
    store.adopt(&commit(), &entry, None).unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Verified);
    // In a new process too.
    assert_eq!(cache(root.path(), true).presence(&commit(), &entry).unwrap(), Presence::Verified);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&blob, CONTENT.to_ascii_uppercase()).unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Unverified, "same size, other time");
    fs::write(&blob, b"short").unwrap();
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Absent, "another size is not the file");
}

/// A change of the size, of a time or of the inode alone is enough to doubt a file.
#[test]
fn a_file_that_looks_different_is_read_again() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    let blob = fetch(&store, &a).unwrap();
    let known = || cache(root.path(), true).presence(&commit(), &a).unwrap();
    let modified = || fs::metadata(&blob).unwrap().modified().unwrap();
    assert_eq!(known(), Presence::Verified);
    let time = modified();
    let set = |time| fs::File::options().write(true).open(&blob).unwrap().set_modified(time).unwrap();
    set(time + std::time::Duration::from_nanos(1));
    assert_eq!(known(), Presence::Unverified, "time");
    set(time);
    assert_eq!(known(), Presence::Unverified, "a time that was put back");
    cache(root.path(), true).adopt(&commit(), &a, None).unwrap();
    assert_eq!(known(), Presence::Verified, "read again");
    let other = blob.with_extension("other");
    fs::copy(&blob, &other).unwrap();
    fs::File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
    fs::rename(&other, &blob).unwrap();
    assert_eq!(modified(), time);
    assert_eq!(known(), Presence::Unverified, "inode");
    fs::write(&blob, b"x").unwrap();
    set(time);
    assert_eq!(known(), Presence::Absent, "size");
}

/// Bytes that changed between the proof and the record are not recorded as proven.
#[test]
fn a_file_that_changes_while_it_is_checked_is_read_again() {
    for in_cache in [true, false] {
        let root = TempDir::new().unwrap();
        let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
        let a = entry("a.bin");
        let content = store.content_path(&commit(), &a);
        fs::create_dir_all(content.parent().unwrap()).unwrap();
        fs::write(&content, CONTENT).unwrap();
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
        // The file is proven; then another program writes to it.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&content, CONTENT.to_ascii_uppercase()).unwrap();
        assert!(matches!(store.adopt(&commit(), &a, None), Err(StoreError::WrongContent { .. })));
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
        fs::write(&content, b"short").unwrap();
        assert!(matches!(store.adopt(&commit(), &a, None), Err(StoreError::Changed(_))));
        fs::remove_file(&content).unwrap();
        let error = store.adopt(&commit(), &a, None).unwrap_err();
        assert!(error.to_string().contains(content.to_str().unwrap()), "{error}");
        assert_eq!(error.kind(), StoreErrorKind::Changed);
        // Another program may write the right bytes.
        fs::write(&content, CONTENT).unwrap();
        store.adopt(&commit(), &a, None).unwrap();
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
    }
}

/// The caller's proof is only for the file as it was when it was read.
#[test]
fn a_callers_proof_is_for_the_file_that_it_read() {
    for in_cache in [true, false] {
        let root = TempDir::new().unwrap();
        let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
        let a = entry("a.bin");
        let content = store.content_path(&commit(), &a);
        fs::create_dir_all(content.parent().unwrap()).unwrap();
        fs::write(&content, CONTENT).unwrap();
        let read = disk::stamp_of(&content).unwrap();
        // The unchanged file is not read a second time, neither here nor in a later run.
        assert_eq!(store.adopt(&commit(), &a, read).unwrap(), Evidence::Recorded(a.digest()));
        assert_eq!(store.adopt(&commit(), &a, None).unwrap(), Evidence::Recorded(a.digest()));
        // The file was written since, and its time was restored: neither the stamp nor the record proves it.
        let time = fs::metadata(&content).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&content, CONTENT.to_ascii_uppercase()).unwrap();
        fs::File::options().write(true).open(&content).unwrap().set_modified(time).unwrap();
        for hashed in [read, None] {
            assert!(matches!(store.adopt(&commit(), &a, hashed), Err(StoreError::WrongContent { .. })));
            assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
        }
        // The bytes are right again, but they are not those that were read, so they are hashed here.
        fs::write(&content, CONTENT).unwrap();
        let evidence = store.adopt(&commit(), &a, read).unwrap();
        assert!(matches!(evidence, Evidence::Hashed(hashed) if hashed.digest() == a.digest()), "{evidence:?}");
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
    }
}

/// A file without a proof is hashed, and so is one with another recorded digest.
#[test]
fn without_a_proof_the_file_is_hashed() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    let a = entry("a.bin");
    fs::write(root.path().join("a.bin"), CONTENT).unwrap();
    assert!(matches!(store.adopt(&commit(), &a, None).unwrap(), Evidence::Hashed(_)));
    let upper = entry_of("a.bin", &CONTENT.to_ascii_uppercase());
    assert!(matches!(store.adopt(&commit(), &upper, None), Err(StoreError::WrongContent { .. })));
    assert_eq!(store.adopt(&commit(), &a, None).unwrap(), Evidence::Recorded(a.digest()));
}

/// A record is for one digest, not for any other with the same stamp.
#[test]
fn another_digest_is_another_file() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    let a = entry("a.bin");
    fetch(&store, &a).unwrap();
    let upper = entry_of("a.bin", &CONTENT.to_ascii_uppercase());
    assert_eq!(store.presence(&commit(), &upper).unwrap(), Presence::Unverified);
}
