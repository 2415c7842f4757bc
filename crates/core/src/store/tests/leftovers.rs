//! Tests of files that killed runs leave: what removes them, and when they stay.

use tempfile::TempDir;

use super::crash::killed;
use super::*;

#[test]
fn a_leftover_that_is_being_worked_on_is_not_removed() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for store in [cache(one.path(), true), local(two.path())] {
        let a = entry("a.bin");
        let (part, journal) = killed(&store, &a);
        let [leftover] = &store.leftovers()[..] else { panic!("one leftover") };
        assert_eq!(leftover.digest, Some(a.digest()));
        let lock = store.try_lock(&a).unwrap().unwrap();
        assert!(!store.remove_leftover(leftover).unwrap());
        assert!(part.exists());
        drop(lock);
        assert!(store.remove_leftover(leftover).unwrap());
        assert!(!part.exists() && !journal.exists());
        assert!(store.leftovers().is_empty());
    }
}

#[test]
fn a_killed_runs_partial_goes_when_its_content_is_here_and_no_other_one_does() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let (a, b) = (entry("a.bin"), Entry { oid: "7".repeat(40).parse().unwrap(), lfs: None, ..entry("b.bin") });
    let (other, _) = killed(&store, &b);
    let (part, journal) = killed(&store, &a);
    let here = [a.digest()].into();
    let lock = store.try_lock(&a).unwrap().unwrap();
    store.remove_finished(&here);
    assert!(part.exists() && other.exists(), "a process works on it");
    drop(lock);
    store.remove_finished(&here);
    assert!(!part.exists() && !journal.exists());
    assert!(other.exists(), "its content is not stored");
}
