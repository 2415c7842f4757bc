//! Tests that the cache is byte for byte that of `huggingface_hub`.

use super::*;

const HUB: &str = "https://huggingface.co";

#[test]
fn the_cache_has_huggingface_hubs_form() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("unet/model.safetensors");
    fetch(&store, &entry).unwrap();
    let repo = root.path().join("models--org--name");
    let digest = entry.digest().to_string();
    assert_eq!(fs::read(repo.join("blobs").join(&digest)).unwrap(), CONTENT);
    let pointer = repo.join("snapshots").join(commit().to_string()).join("unet/model.safetensors");
    assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../../../blobs").join(&digest));
    assert_eq!(fs::read(&pointer).unwrap(), CONTENT);
    assert!(root.path().join(".locks/models--org--name").join(format!("{digest}.lock")).exists());
    assert!(root.path().join("CACHEDIR.TAG").exists());
    store.set_ref(&"refs/pr/1".parse().unwrap(), &commit()).unwrap();
    assert_eq!(fs::read_to_string(repo.join("refs/refs/pr/1")).unwrap(), commit().to_string());
    assert_eq!(store.read_ref(&"refs/pr/1".parse().unwrap()), Some(commit()));
    assert_eq!(store.snapshots(), [commit()]);
    assert_eq!(store.noted_digest(&commit(), &entry.path), Some(entry.digest()));
    assert_eq!(
        locate_snapshot(&store.snapshot_dir(&commit())).map(|(_, t, id, c)| (t, id.to_string(), c)),
        Some((RepoType::Model, "org/name".to_owned(), commit()))
    );
}

#[test]
fn without_symlinks_snapshots_have_copies() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), false);
    let entry = entry("model.safetensors");
    fetch(&store, &entry).unwrap();
    let there = store.file_path(&commit(), &entry.path);
    assert!(!there.is_symlink());
    assert_eq!(fs::read(there).unwrap(), CONTENT);
    assert_eq!(store.presence(&commit(), &entry).unwrap(), Presence::Verified);
}

/// The files that `find -printf` shows after `hf download` of the same files, and our own folder beside them.
#[test]
fn nothing_else_is_in_the_cache() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let (a, mut b) = (entry("sub/deep/a.bin"), entry_of("b.json", b"{}"));
    b.lfs = None;
    // `printf '{}' | git hash-object --stdin`
    b.oid = "9e26dfeeb6e641a33dae4961196235bdb965b21b".parse().unwrap();
    fetch(&store, &a).unwrap();
    fetch_bytes(&store, &b, b"{}").unwrap();
    store.set_ref(&"main".parse().unwrap(), &commit()).unwrap();
    store.set_ref(&commit().to_string().parse().unwrap(), &commit()).unwrap();
    let (c, sha) = (commit(), a.digest());
    let ours = |path: &String| path.contains("/.hfget/");
    let found: Vec<String> = all_of(root.path()).into_iter().filter(|p| !ours(p)).collect();
    let repo = "models--org--name";
    let mut expected = [
        ".locks/".into(),
        format!(".locks/{repo}/"),
        format!(".locks/{repo}/{sha}.lock"),
        format!(".locks/{repo}/9e26dfeeb6e641a33dae4961196235bdb965b21b.lock"),
        "CACHEDIR.TAG".into(),
        format!("{repo}/"),
        format!("{repo}/blobs/"),
        format!("{repo}/blobs/{sha}"),
        format!("{repo}/blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b"),
        format!("{repo}/refs/"),
        format!("{repo}/refs/main"),
        format!("{repo}/snapshots/"),
        format!("{repo}/snapshots/{c}/"),
        format!("{repo}/snapshots/{c}/b.json@"),
        format!("{repo}/snapshots/{c}/sub/"),
        format!("{repo}/snapshots/{c}/sub/deep/"),
        format!("{repo}/snapshots/{c}/sub/deep/a.bin@"),
    ];
    expected.sort();
    assert_eq!(found, expected);
    let snapshot = store.snapshot_dir(&commit());
    assert_eq!(fs::read_link(snapshot.join("b.json")).unwrap(), Path::new(&format!("../../blobs/{}", b.digest())));
    let deep = Path::new("../../../../blobs").join(sha.to_string());
    assert_eq!(fs::read_link(snapshot.join("sub/deep/a.bin")).unwrap(), deep);
    let tag = fs::read_to_string(root.path().join("CACHEDIR.TAG")).unwrap();
    assert!(
        tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag created")
    );
    assert!(tag.ends_with("\n#\thttps://bford.info/cachedir/\n"));
}

#[test]
fn files_of_other_tools_in_the_repos_folder_stay() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let repo = root.path().join("models--org--name");
    let absent = repo.join(".no_exist").join(commit().to_string()).join("adapter_config.json");
    fs::create_dir_all(absent.parent().unwrap()).unwrap();
    fs::write(&absent, "").unwrap();
    fs::create_dir_all(repo.join("blobs")).unwrap();
    let incomplete = repo.join("blobs").join(format!("{}.01234567.incomplete", entry("a").digest()));
    fs::write(&incomplete, "half").unwrap();
    fetch(&store, &entry("a")).unwrap();
    take_away(&store, &entry("a"));
    assert_eq!(fs::read(absent).unwrap(), b"");
    assert_eq!(fs::read(incomplete).unwrap(), b"half");
}

#[test]
fn datasets_spaces_and_short_names_have_their_folders() {
    let root = Path::new("/r");
    let place = |t, id: &str| Store::hub_cache(root, t, &id.parse().unwrap(), true).snapshot_dir(&commit());
    let ends = format!("snapshots/{}", commit());
    assert_eq!(place(RepoType::Dataset, "org/name"), root.join("datasets--org--name").join(&ends));
    assert_eq!(place(RepoType::Space, "org/name"), root.join("spaces--org--name").join(&ends));
    assert_eq!(place(RepoType::Model, "gpt2"), root.join("models--gpt2").join(&ends));
}

/// A ref is the bare commit. Other content is replaced; the same content is not written again.
#[test]
fn refs_are_exact() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let refs = root.path().join("models--org--name/refs");
    for name in ["main", "v1.0", "refs/pr/1", "feature/x"] {
        let revision: Revision = name.parse().unwrap();
        assert_eq!(store.read_ref(&revision), None);
        store.set_ref(&revision, &commit()).unwrap();
        assert_eq!(fs::read_to_string(refs.join(name)).unwrap(), commit().to_string());
    }
    let main: Revision = "main".parse().unwrap();
    for odd in [format!("{}\n", commit()), String::new(), "x".repeat(1000), "2".repeat(40)] {
        fs::write(refs.join("main"), odd).unwrap();
        store.set_ref(&main, &commit()).unwrap();
        assert_eq!(fs::read_to_string(refs.join("main")).unwrap(), commit().to_string());
    }
    let before = disk::stamp_of(&refs.join("main")).unwrap();
    store.set_ref(&main, &commit()).unwrap();
    assert_eq!(disk::stamp_of(&refs.join("main")).unwrap(), before, "a right ref is left alone");
    assert!(store.set_ref(&"main/x".parse().unwrap(), &commit()).is_err(), "a file is in the way");
    // The folder has only refs, since some tools read every file there.
    assert_eq!(all_of(&refs).iter().filter(|p| !p.ends_with('/')).count(), 4);
}

#[test]
fn without_links_a_new_file_is_moved_and_a_cached_one_copied() {
    let root = TempDir::new().unwrap();
    let plain = cache(root.path(), false);
    fetch(&plain, &entry("a.bin")).unwrap();
    let blobs = root.path().join("models--org--name/blobs");
    assert!(!blobs.exists(), "one copy is enough");
    // The snapshot was fetched with links and is used without: the existing link is good enough.
    let linked = cache(root.path(), true);
    let b = entry_of("b.bin", b"b");
    fetch_bytes(&linked, &b, b"b").unwrap();
    plain.adopt(&commit(), &b, None).unwrap();
    assert!(plain.file_path(&commit(), &b.path).is_symlink());
    let later: CommitId = "2222222222222222222222222222222222222222".parse().unwrap();
    assert_eq!(plain.presence(&later, &b).unwrap(), Presence::Verified);
    plain.adopt(&later, &b, None).unwrap();
    let copy = plain.file_path(&later, &b.path);
    assert!(!copy.is_symlink());
    assert_eq!(fs::read(&copy).unwrap(), b"b");
    assert_eq!(plain.presence(&later, &b).unwrap(), Presence::Verified);
    // The copy is not made again.
    let before = disk::stamp_of(&copy).unwrap();
    plain.adopt(&later, &b, None).unwrap();
    assert_eq!(disk::stamp_of(&copy).unwrap(), before);
}

/// The file that the user reads must be right: the snapshot's own copy, not the blob beside it.
#[test]
fn a_damaged_copy_beside_a_right_blob_is_not_verified() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    fetch(&store, &a).unwrap();
    let shown = store.file_path(&commit(), &a.path);
    fs::remove_file(&shown).unwrap();
    fs::write(&shown, CONTENT.to_ascii_uppercase()).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
    assert_eq!(store.content_path(&commit(), &a), shown);
    // Discarding the copy leaves the blob, which is right and recorded.
    take_away(&store, &a);
    assert!(!shown.exists());
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
    store.adopt(&commit(), &a, None).unwrap();
    assert_eq!(fs::read(&shown).unwrap(), CONTENT);
}

#[test]
fn a_damaged_blob_is_not_copied_into_a_snapshot() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), false);
    let a = entry("a.bin");
    let blobs = root.path().join("models--org--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(a.digest().to_string()), CONTENT.to_ascii_uppercase()).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
    // Even if a caller claims to have proved it.
    assert!(matches!(store.adopt(&commit(), &a, None), Err(StoreError::WrongContent { .. })));
    assert!(!store.file_path(&commit(), &a.path).exists());
}

/// `huggingface_hub` may keep a blob as a link into a store that repos share.
#[test]
fn a_blob_that_is_a_link_is_used_and_never_written_through() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    let shared = root.path().join("blobs/aa");
    fs::create_dir_all(shared.parent().unwrap()).unwrap();
    fs::write(&shared, CONTENT.to_ascii_uppercase()).unwrap();
    let blob = root.path().join("models--org--name/blobs").join(a.digest().to_string());
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    symlink("../../blobs/aa", &blob).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
    fetch(&store, &a).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), CONTENT);
    assert_eq!(fs::read(&shared).unwrap(), CONTENT.to_ascii_uppercase(), "another repo's too: not ours to change");
    take_away(&store, &a);
    symlink("../../blobs/aa", &blob).unwrap();
    take_away(&store, &a);
    assert!(shared.exists() && !blob.is_symlink());
}

#[test]
fn wrong_pointers_are_replaced_and_right_ones_left() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    fetch(&store, &a).unwrap();
    let pointer = store.file_path(&commit(), &a.path);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::symlink_metadata(path).unwrap());
    let first = inode(&pointer);
    store.adopt(&commit(), &a, None).unwrap();
    assert_eq!(inode(&pointer), first);
    for wrong in ["/etc/passwd", "../../blobs/nothing", "a.bin"] {
        fs::remove_file(&pointer).unwrap();
        symlink(wrong, &pointer).unwrap();
        store.adopt(&commit(), &a, None).unwrap();
        assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../../blobs").join(a.digest().to_string()));
    }
}

/// The listing that `huggingface_hub` would read is written only for a whole repo, in its form.
#[test]
fn listings_are_kept_where_they_belong() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let mut a = entry("a.bin");
    a.xet_hash = Some("ab".repeat(32));
    let mut b = entry_of("b.json", b"{}");
    b.lfs = None;
    let repo = root.path().join("models--org--name");
    let shared = repo.join("trees").join(format!("{}.json", commit()));
    store.write_listing(&listing(&[a.clone(), b.clone()]), false, HUB).unwrap();
    assert!(!shared.exists());
    assert_eq!(store.read_listing(&commit(), HUB).unwrap(), [a.clone(), b.clone()]);
    store.write_listing(&listing(&[a.clone(), b.clone()]), true, HUB).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&shared).unwrap()).unwrap();
    let expected = serde_json::json!({"format_version": 1, "files": {
        "a.bin": {"size": 21, "blob_id": a.oid.to_string(), "lfs_sha256": a.digest().to_string(), "lfs_size": 21,
                  "xet_hash": "ab".repeat(32)},
        "b.json": {"size": 2, "blob_id": b.oid.to_string()},
    }});
    assert_eq!(json, expected);
    // A torn listing is written again; one that `huggingface_hub` would refuse is kept only in our own folder.
    for torn in ["", "{\"format_version\":1,\"fi", "{\"format_version\":2,\"files\":{}}"] {
        fs::write(&shared, torn).unwrap();
        store.write_listing(&listing(&[a.clone(), b.clone()]), true, HUB).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&fs::read(&shared).unwrap()).unwrap(), expected);
    }
    fs::remove_file(&shared).unwrap();
    a.xet_hash = Some("odd".into());
    store.write_listing(&listing(&[a, b]), true, HUB).unwrap();
    assert!(!shared.exists());
    // An unsafe name makes a whole kept listing invalid.
    fs::write(
        &shared,
        r#"{"format_version":1,"files":{"../x":{"size":1,"blob_id":"ce013625030ba8dba906f756967f9e9ca394464a"}}}"#,
    )
    .unwrap();
    store.forget_listing(&commit(), HUB).unwrap();
    assert_eq!(store.read_listing_offline(&commit()), None);
}
