//! Tests that the end of the run finds the files that changed after they were proven, and no others.

use super::*;

/// A store of each kind with two proven files, one of them in a folder.
fn each(check: impl Fn(&Arc<Store>, &[Entry], &Path)) {
    for kind in 0..3 {
        let root = TempDir::new().unwrap();
        let store = if kind == 2 { local(root.path()) } else { cache(root.path(), kind == 0) };
        let entries = [entry("sub/a.bin"), entry_of("b.bin", b"another file's content")];
        fetch(&store, &entries[0]).unwrap();
        fetch_bytes(&store, &entries[1], b"another file's content").unwrap();
        check(&store, &entries, &store.file_path(&commit(), &entries[0].path));
    }
}

#[test]
fn an_unchanged_file_is_not_named() {
    each(|store, entries, path| {
        assert_eq!(store.recheck(&commit(), entries).unwrap(), []);
        // Reading it and looking again is not a change, and a later run knows it from the record.
        assert_eq!(fs::read(path).unwrap(), CONTENT);
        assert_eq!(store.presence(&commit(), &entries[0]).unwrap(), Presence::Verified);
        assert_eq!(store.recheck(&commit(), entries).unwrap(), []);
    });
}

#[test]
fn a_write_whose_time_was_put_back_is_found() {
    each(|store, entries, path| {
        let time = fs::metadata(path).unwrap().modified().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(path, CONTENT.to_ascii_uppercase()).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        // A call of `presence` in between does not hide the change.
        assert_eq!(store.presence(&commit(), &entries[0]).unwrap(), Presence::Unverified);
        assert_eq!(store.recheck(&commit(), entries).unwrap(), [entries[0].clone()]);
    });
}

#[test]
fn an_exchanged_or_removed_file_is_found() {
    each(|store, entries, path| {
        fs::remove_file(path).unwrap();
        assert_eq!(store.recheck(&commit(), entries).unwrap(), [entries[0].clone()], "removed");
        fs::write(path, CONTENT.to_ascii_uppercase()).unwrap();
        assert_eq!(store.recheck(&commit(), entries).unwrap(), [entries[0].clone()], "exchanged");
    });
}

/// The blob is right, but the snapshot leads to another file.
#[test]
fn a_pointer_or_folder_that_leads_elsewhere_is_found() {
    each(|store, entries, path| {
        let other = store.file_path(&commit(), &entries[1].path);
        fs::remove_file(path).unwrap();
        symlink(other, path).unwrap();
        assert_eq!(store.recheck(&commit(), entries).unwrap(), [entries[0].clone()], "file");
    });
    each(|store, entries, path| {
        let elsewhere = TempDir::new().unwrap();
        let folder = path.parent().unwrap();
        fs::write(elsewhere.path().join("a.bin"), CONTENT).unwrap();
        fs::remove_dir_all(folder).unwrap();
        symlink(elsewhere.path(), folder).unwrap();
        assert_eq!(store.recheck(&commit(), entries).unwrap(), [entries[0].clone()], "folder");
    });
}

/// A file that was never proven counts as changed.
#[test]
fn a_file_that_was_never_proven_is_named() {
    let root = TempDir::new().unwrap();
    fs::write(root.path().join("a.bin"), CONTENT).unwrap();
    let store = local(root.path());
    assert_eq!(store.presence(&commit(), &entry("a.bin")).unwrap(), Presence::Unverified);
    assert_eq!(store.recheck(&commit(), &[entry("a.bin")]).unwrap(), [entry("a.bin")]);
}
