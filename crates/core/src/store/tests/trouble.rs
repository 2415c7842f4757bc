//! Tests of locks, removal, full and read-only disks.

use super::*;
use crate::finding::Remedy;

#[test]
fn a_lock_is_the_files_and_other_files_are_free() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let held = store.try_lock(&entry("a.bin")).unwrap();
    assert!(held.is_some());
    assert!(store.try_lock(&entry("a.bin")).unwrap().is_none());
    let mut other = entry("b.bin");
    other.lfs = None;
    assert!(store.try_lock(&other).unwrap().is_some());
    drop(held);
    assert!(store.try_lock(&entry("a.bin")).unwrap().is_some());
}

#[test]
fn discarding_removes_only_the_file() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let (a, mut b) = (entry("a.bin"), entry("b.bin"));
    b.lfs = None;
    fetch(&store, &a).unwrap();
    take_away(&store, &a);
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
    assert!(!store.file_path(&commit(), &a.path).exists());
    take_away(&store, &b);
}

/// A local error names the path and the remedy.
#[test]
fn errors_name_the_path_and_the_remedy() {
    let full = StoreError::io("write to", Path::new("/x/model.part"))(std::io::ErrorKind::StorageFull.into());
    assert!(full.to_string().contains("/x/model.part"), "{full}");
    assert_eq!(full.remedy(), Some(Remedy::FreeSpace { checked_first: false }));
    let forbidden = StoreError::io("create", Path::new("/x"))(std::io::ErrorKind::PermissionDenied.into());
    assert_eq!(forbidden.remedy(), Some(Remedy::MendPermissions));
}

/// A disk of 256 KiB that only this test sees. It runs itself again in a user and mount namespace,
/// which needs no rights; `None` in the outer run, and on systems without such namespaces.
fn small_disk(test: &str) -> Option<PathBuf> {
    const AT: &str = "HFGET_TEST_SMALL_DISK";
    if let Some(at) = std::env::var_os(AT) {
        return Some(at.into());
    }
    let at = TempDir::new().unwrap();
    let inner = std::process::Command::new("unshare")
        .args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=256k none \"$1\" || exit 77; shift; exec \"$@\"", "sh"])
        .arg(at.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env(AT, at.path())
        .output();
    match inner {
        Ok(done) if done.status.success() => assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed")),
        Ok(done) if done.status.code() == Some(101) => {
            panic!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        }
        _ => eprintln!("skipped: no user namespaces here"),
    }
    None
}

#[test]
fn a_full_disk_is_named_and_arrived_bytes_are_kept() {
    let Some(root) = small_disk("store::tests::trouble::a_full_disk_is_named_and_arrived_bytes_are_kept") else {
        return;
    };
    let store = cache(&root, true);
    let content = vec![7; 200 << 10];
    let a = entry_of("a.bin", &content);
    assert!(store.free_space().unwrap() <= 256 << 10);
    let mut partial = store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
    partial.write(0, &content[..100 << 10]).unwrap();
    partial.record(0..100 << 10).unwrap();
    let ballast = root.join("ballast");
    let full = fs::write(&ballast, vec![0; 256 << 10]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let error = partial.write(100 << 10, &content[100 << 10..]).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NoSpace);
    assert!(error.to_string().contains(&format!("{}.part", a.digest())), "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    assert_eq!(error.remedy(), Some(Remedy::FreeSpace { checked_first: false }));
    drop(partial);
    let error = store.set_ref(&"main".parse().unwrap(), &commit()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NoSpace);
    assert!(error.to_string().contains("refs/main"), "{error}");
    assert_eq!(store.read_ref(&"main".parse().unwrap()), None);
    // There is space again: the bytes that had arrived are still there.
    fs::remove_file(ballast).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Partial(100 << 10));
    let partial = store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
    partial.write(100 << 10, &content[100 << 10..]).unwrap();
    partial.commit(a.digest()).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
    // A copy that does not fit does not appear at all.
    let plain = cache(&root, false);
    let later: CommitId = "2222222222222222222222222222222222222222".parse().unwrap();
    assert_eq!(plain.adopt(&later, &a, None).unwrap_err().kind(), StoreErrorKind::NoSpace);
    assert!(!plain.file_path(&later, &a.path).exists());
    assert_eq!(all_of(&store.layout.partial_dir()), [""; 0], "no half copy is left");
}

#[test]
fn a_read_only_cache_is_read_and_says_so_when_it_must_be_written() {
    let name = "store::tests::trouble::a_read_only_cache_is_read_and_says_so_when_it_must_be_written";
    let Some(root) = small_disk(name) else { return };
    let main: Revision = "main".parse().unwrap();
    let (a, b) = (entry("a.bin"), entry_of("b.bin", b"b"));
    fetch(&cache(&root, true), &a).unwrap();
    cache(&root, true).set_ref(&main, &commit()).unwrap();
    let blob = root.join("models--org--name/blobs").join(b.digest().to_string());
    fs::write(&blob, b"b").unwrap();
    let status = std::process::Command::new("mount").args(["-o", "remount,ro"]).arg(&root).status().unwrap();
    assert!(status.success());
    let store = cache(&root, true);
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
    store.adopt(&commit(), &a, None).unwrap();
    store.set_ref(&main, &commit()).unwrap();
    assert_eq!(store.read_ref(&main), Some(commit()));
    assert_eq!(store.presence(&commit(), &b).unwrap(), Presence::Unverified);
    store.remember_contents("key", &Outcome::default());
    assert_eq!(store.checked_contents("key"), Some(Outcome::default()), "for this run at least");
    let says_so = |error: StoreError, path: &str| {
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
        assert!(error.to_string().contains(path), "{error}");
        assert_eq!(error.remedy(), Some(Remedy::ChooseWritablePlace));
    };
    says_so(store.adopt(&commit(), &b, None).unwrap_err(), "models--org--name");
    says_so(store.set_ref(&main, &CommitId::ZERO).unwrap_err(), "models--org--name");
    let lock = store.try_lock(&b).unwrap().expect("no process can have a lock that none can make");
    assert!(!lock.is_sure());
    says_so(store.partial(lock, &commit(), &b).unwrap_err(), "partial");
    assert_eq!(fs::read(&blob).unwrap(), b"b");
}

#[test]
fn the_kinds_of_errors_are_distinguished() {
    use rustix::io::Errno;
    for (code, kind) in [
        (Errno::NOSPC, StoreErrorKind::NoSpace),
        (Errno::DQUOT, StoreErrorKind::NoSpace),
        (Errno::FBIG, StoreErrorKind::NoSpace),
        (Errno::ACCESS, StoreErrorKind::Permission),
        (Errno::PERM, StoreErrorKind::Permission),
        (Errno::ROFS, StoreErrorKind::ReadOnly),
        (Errno::NOTDIR, StoreErrorKind::InTheWay),
        (Errno::ISDIR, StoreErrorKind::InTheWay),
        (Errno::IO, StoreErrorKind::Other),
    ] {
        let error = StoreError::io("write to", Path::new("/x/a.part"))(code.into());
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("cannot write to /x/a.part: "), "{error}");
    }
}

/// Removing a wrong file leaves the files of other snapshots.
#[test]
fn discarding_leaves_the_neighbours() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let (a, b) = (entry("sub/a.bin"), entry_of("sub/b.bin", b"b"));
    fetch(&store, &a).unwrap();
    fetch_bytes(&store, &b, b"b").unwrap();
    let before = all_of(root.path());
    take_away(&store, &a);
    let gone: Vec<String> = before.iter().filter(|p| !all_of(root.path()).contains(p)).cloned().collect();
    let repo = "models--org--name";
    let expected = [format!("{repo}/blobs/{}", a.digest()), format!("{repo}/snapshots/{}/sub/a.bin@", commit())];
    assert_eq!(gone, expected);
    assert_eq!(store.presence(&commit(), &b).unwrap(), Presence::Verified);
    let dir = TempDir::new().unwrap();
    let store = local(dir.path());
    fetch(&store, &a).unwrap();
    fs::write(dir.path().join("sub/mine.txt"), "mine").unwrap();
    take_away(&store, &a);
    take_away(&store, &a);
    assert_eq!(fs::read_to_string(dir.path().join("sub/mine.txt")).unwrap(), "mine");
}

/// Only one of many threads has the file at a time, and all of them get it in the end.
#[test]
fn many_fetch_the_same_file_at_once() {
    for in_cache in [true, false] {
        let root = TempDir::new().unwrap();
        let a = entry("a.bin");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
                    let lock = loop {
                        if let Some(lock) = store.try_lock(&a).unwrap() {
                            break lock;
                        }
                        std::thread::yield_now();
                    };
                    if store.presence(&commit(), &a).unwrap() == Presence::Verified {
                        return;
                    }
                    let partial = store.partial(lock, &commit(), &a).unwrap();
                    partial.write(0, CONTENT).unwrap();
                    partial.commit(a.digest()).unwrap();
                });
            }
        });
        let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
        assert!(store.leftovers().is_empty());
    }
}
