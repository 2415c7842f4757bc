//! Tests that no write leaves the folder, whatever is in it already.

use super::*;

/// Links in a plain folder are replaced or refused, never written through.
#[test]
fn nothing_is_written_through_a_link() {
    let outside = TempDir::new().unwrap();
    let root = TempDir::new().unwrap();
    let store = Arc::new(Store::local_dir(root.path()));
    symlink(outside.path(), root.path().join("sub")).unwrap();
    assert!(matches!(store.presence(&commit(), &entry("sub/a.bin")), Err(StoreError::Symlink(_))));
    assert!(matches!(fetch(&store, &entry("sub/a.bin")), Err(StoreError::Symlink(_))));
    fs::write(outside.path().join("victim"), "precious").unwrap();
    symlink(outside.path().join("victim"), root.path().join("a.bin")).unwrap();
    fetch(&store, &entry("a.bin")).unwrap();
    assert!(!root.path().join("a.bin").is_symlink(), "the link itself is replaced");
    symlink(outside.path().join("absent"), root.path().join("dangling.bin")).unwrap();
    fetch(&store, &entry("dangling.bin")).unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "precious");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    // A partial file that somebody replaced by a link is not followed either.
    let dir = root.path().join(".cache/huggingface/hfget/partial");
    let other = entry("b.bin");
    symlink(outside.path().join("victim"), dir.join(format!("{}.part", other.digest()))).unwrap();
    assert!(fetch(&store, &other).is_err());
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "precious");
}

#[test]
fn a_file_in_the_way_is_named_and_left() {
    let root = TempDir::new().unwrap();
    let store = Arc::new(Store::local_dir(root.path()));
    fs::create_dir_all(root.path().join("a.bin/mine")).unwrap();
    assert!(matches!(fetch(&store, &entry("a.bin")), Err(StoreError::InTheWay { .. })));
    fs::write(root.path().join("file"), "mine").unwrap();
    assert!(fetch(&store, &entry("file/a.bin")).is_err());
    assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), "mine");
}

/// A repo's file must not become the record of what was verified, or a listing, or a partial.
#[test]
fn a_repo_cannot_write_the_folders_own_records() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    fetch(&store, &entry("a.bin")).unwrap();
    let before = all_of(root.path());
    for path in [
        ".cache/huggingface/hfget/verified.jsonl",
        ".cache/huggingface/trees/1111111111111111111111111111111111111111.json",
        ".cache/huggingface/download/a.bin.metadata",
        ".CACHE/HuggingFace/x",
        ".cache/huggingface",
        ".cache",
    ] {
        let forged = entry_of(path, b"forged");
        assert!(matches!(store.presence(&commit(), &forged), Err(StoreError::Reserved { .. })), "{path}");
        // Not even if the presence was not asked for first.
        let _ = store.try_lock(&forged).map(|lock| {
            let partial = store.partial(lock.unwrap(), &commit(), &forged).unwrap();
            partial.write(0, b"forged").unwrap();
            assert!(matches!(partial.commit(forged.digest()), Err(StoreError::Reserved { .. })), "{path}");
        });
        assert!(store.adopt(&commit(), &forged, None).is_err(), "{path}");
    }
    let ours = |path: &String| ["/partial/", "/locks/", "/download/"].iter().any(|p| path.contains(p));
    let after: Vec<String> = all_of(root.path()).into_iter().filter(|p| !ours(p)).collect();
    assert_eq!(after, before.into_iter().filter(|p| !ours(p)).collect::<Vec<_>>());
    // In a cache the records are elsewhere, and similar names are allowed.
    let cached = TempDir::new().unwrap();
    fetch(&cache(cached.path(), true), &entry(".cache/huggingface/x")).unwrap();
    fetch(&store, &entry(".cache/other/x")).unwrap();
    fetch(&store, &entry("sub/.cache/huggingface/x")).unwrap();
}

/// The records also stay in the folder, wherever a link is in their path.
#[test]
fn bookkeeping_is_not_written_through_links() {
    for link in [
        ".cache",
        ".cache/huggingface",
        ".cache/huggingface/hfget",
        ".cache/huggingface/hfget/partial",
        ".cache/huggingface/hfget/locks",
        ".cache/huggingface/download",
        ".cache/huggingface/download/sub",
        ".cache/huggingface/download/sub/a.bin.lock",
    ] {
        let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let at = root.path().join(link);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(outside.path().join(if link.ends_with("lock") { "made" } else { "" }), &at).unwrap();
        let error = fetch(&local(root.path()), &entry("sub/a.bin")).unwrap_err();
        assert!(matches!(&error, StoreError::Symlink(path) if *path == at), "{link}: {error}");
        assert_eq!(all_of(outside.path()), [""; 0], "{link}");
        assert!(!root.path().join("sub/a.bin").exists());
    }
    // Links instead of record files are replaced or left alone, not followed.
    for link in [
        ".cache/huggingface/.gitignore",
        ".cache/huggingface/CACHEDIR.TAG",
        ".cache/huggingface/download/sub/a.bin.metadata",
        ".cache/huggingface/hfget/verified.jsonl",
    ] {
        let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let victim = outside.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let at = root.path().join(link);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(&victim, &at).unwrap();
        fetch(&local(root.path()), &entry("sub/a.bin")).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{link}");
    }
}

/// A link in a cache's snapshot leads nowhere either.
#[test]
fn links_in_a_snapshot_are_refused() {
    let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(outside.path().join("a.bin"), "precious").unwrap();
    for symlinks in [true, false] {
        let store = cache(root.path(), symlinks);
        let sub = store.snapshot_dir(&commit()).join("sub");
        fs::create_dir_all(sub.parent().unwrap()).unwrap();
        let _ = symlink(outside.path(), &sub);
        let a = entry("sub/a.bin");
        assert!(matches!(store.presence(&commit(), &a), Err(StoreError::Symlink(path)) if path == sub));
        assert!(matches!(fetch(&store, &a), Err(StoreError::Symlink(_))));
        assert_eq!(fs::read_to_string(outside.path().join("a.bin")).unwrap(), "precious");
        assert_eq!(all_of(outside.path()), ["a.bin"]);
    }
}

/// The user's own links to the root of a cache or folder are followed.
#[test]
fn the_root_itself_may_be_reached_by_links() {
    let (real, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let link = other.path().join("link");
    symlink(real.path(), &link).unwrap();
    fetch(&local(&link), &entry("sub/a.bin")).unwrap();
    assert!(real.path().join("sub/a.bin").exists());
    let (disk, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let link = other.path().join("hub");
    symlink(disk.path(), &link).unwrap();
    let store = cache(&link, true);
    let shown = fetch(&store, &entry("a.bin")).unwrap();
    assert!(shown.exists() && disk.path().join("models--org--name/blobs").exists());
    assert_eq!(fs::read(store.file_path(&commit(), &entry("a.bin").path)).unwrap(), CONTENT);
}

/// Everything below the root is entered folder by folder.
#[test]
fn a_repos_folder_that_is_a_link_is_not_followed() {
    for link in ["models--org--name", "models--org--name/blobs", "models--org--name/snapshots", ".locks"] {
        let (outside, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let at = root.path().join(link);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(outside.path(), &at).unwrap();
        let store = cache(root.path(), true);
        assert!(matches!(fetch(&store, &entry("a.bin")), Err(StoreError::Symlink(path)) if path == at), "{link}");
        assert_eq!(all_of(outside.path()), Vec::<String>::new(), "{link}");
    }
}

/// Somebody linked a partial to a file of another name: that file is not written to.
#[test]
fn a_partial_with_another_name_is_started_again() {
    for local_dir in [false, true] {
        let root = TempDir::new().unwrap();
        let store = if local_dir { local(root.path()) } else { cache(root.path(), true) };
        let a = entry("a.bin");
        let open = || store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
        let part = open().path();
        let victim = root.path().join("victim");
        fs::write(&part, "precious").unwrap();
        fs::hard_link(&part, &victim).unwrap();
        let partial = open();
        partial.write(0, CONTENT).unwrap();
        partial.commit(a.digest()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read(store.file_path(&commit(), &a.path)).unwrap(), CONTENT);
    }
}

/// A file in the way is reported before anything is fetched.
#[test]
fn a_file_in_the_way_is_reported_early() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    fs::write(root.path().join("file"), "mine").unwrap();
    fs::create_dir(root.path().join("folder")).unwrap();
    for (path, way) in [("file/a.bin", "file"), ("file/deep/a.bin", "file"), ("folder", "folder")] {
        let error = store.presence(&commit(), &entry(path)).unwrap_err();
        assert!(matches!(&error, StoreError::InTheWay { path, .. } if *path == root.path().join(way)), "{error}");
        assert_eq!(error.kind(), StoreErrorKind::InTheWay);
    }
}

/// Pipes and folders instead of files: the store neither waits for them nor writes into them.
#[test]
fn pipes_and_folders_among_the_bookkeeping_do_no_harm() {
    let root = TempDir::new().unwrap();
    let own = root.path().join(".cache/huggingface/hfget");
    let a = entry("a.bin");
    fs::create_dir_all(own.join("partial")).unwrap();
    let pipe = |path: &Path| {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    };
    pipe(&own.join("verified.jsonl"));
    let part = own.join("partial").join(format!("{}.part", a.digest()));
    let journal = own.join("partial").join(format!("{}.journal", a.digest()));
    for path in [&part, &journal] {
        pipe(path);
        let store = local(root.path());
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
        if path == &part {
            assert!(matches!(fetch(&store, &a), Err(StoreError::InTheWay { .. })));
            fs::remove_file(path).unwrap();
        } else {
            // A journal is written as a new file and replaces anything but a folder.
            fetch(&store, &a).unwrap();
            fs::remove_file(root.path().join("a.bin")).unwrap();
        }
        fs::create_dir(path).unwrap();
        assert!(matches!(fetch(&store, &a), Err(StoreError::InTheWay { .. })));
        fs::remove_dir(path).unwrap();
    }
    fs::remove_file(own.join("verified.jsonl")).unwrap();
    fetch(&local(root.path()), &a).unwrap();
}

proptest::proptest! {
    /// Whatever the names in a listing are, a file is written below the root or not at all.
    #[test]
    fn no_name_leaves_the_root(name in "[a-c.~/\\\\: ]{1,12}|(\\.\\./){1,3}x|/tmp/x|\\.cache/hug[a-z]{0,3}/x") {
        let Ok(path) = name.parse::<RepoPath>() else { return Ok(()) };
        let around = TempDir::new().unwrap();
        let root = around.path().join("deep/root");
        let a = Entry { path, ..entry("x") };
        for store in [local(&root), cache(&root, true)] {
            if let Ok(place) = fetch(&store, &a) {
                proptest::prop_assert!(place.starts_with(&root));
                let shown = store.file_path(&commit(), &a.path);
                proptest::prop_assert!(fs::canonicalize(&shown).unwrap().starts_with(fs::canonicalize(&root).unwrap()));
                proptest::prop_assert_eq!(fs::read(shown).unwrap(), CONTENT);
            }
        }
        let outside: Vec<String> = all_of(around.path()).into_iter().filter(|p| !p.starts_with("deep/")).collect();
        proptest::prop_assert_eq!(outside, Vec::<String>::new());
    }
}

/// Another user swaps a folder for a link between the bytes' arrival and their name.
#[test]
fn a_folder_that_is_swapped_for_a_link_while_a_file_arrives_leads_nowhere() {
    for bookkeeping in [false, true] {
        let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let store = local(root.path());
        fs::create_dir(root.path().join("sub")).unwrap();
        let a = entry("sub/a.bin");
        let mut partial = store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
        partial.write(0, CONTENT).unwrap();
        partial.record(0..CONTENT.len() as u64).unwrap();
        let swapped = root.path().join(if bookkeeping { ".cache/huggingface/hfget/partial" } else { "sub" });
        fs::rename(&swapped, root.path().join("aside")).unwrap();
        symlink(outside.path(), &swapped).unwrap();
        let done = partial.commit(a.digest());
        assert!(all_of(outside.path()).is_empty(), "{bookkeeping}: {:?}", all_of(outside.path()));
        if !bookkeeping {
            assert!(matches!(done, Err(StoreError::Symlink(_))), "{done:?}");
        }
    }
}

/// The twin: files in the folder itself are removed, including names that are not UTF-8.
#[test]
fn a_removed_folder_takes_its_links_with_it_and_never_what_they_lead_to() {
    use std::os::unix::ffi::OsStrExt as _;
    let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(outside.path().join("kept"), "x").unwrap();
    let folder = root.path().join("a/deep/folder");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"\xff")), "x").unwrap();
    symlink(outside.path(), folder.join("link")).unwrap();
    symlink(outside.path().join("kept"), root.path().join("a/file-link")).unwrap();
    let at = Folder::find(root.path(), Path::new("")).unwrap().unwrap();
    at.remove_tree(Path::new("a")).unwrap();
    at.remove_tree(Path::new("a")).unwrap();
    assert!(all_of(root.path()).is_empty(), "{:?}", all_of(root.path()));
    symlink(outside.path(), root.path().join("b")).unwrap();
    assert!(matches!(at.remove_tree(Path::new("b")), Err(StoreError::Symlink(_))));
    assert_eq!(all_of(outside.path()), ["kept"]);
}
