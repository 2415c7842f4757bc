//! Tests that a kept listing counts only for the endpoint that gave it.

use super::*;

const HUB: &str = "https://huggingface.co";
const MIRROR: &str = "http://localhost:8090";

fn forged() -> Entry {
    entry_of("a.bin", b"the content of a liar")
}

/// A mirror's listing does not count as the Hub's later; the Hub's own listing is kept and not asked for again.
#[test]
fn the_listing_of_one_endpoint_does_not_count_for_another() {
    for in_cache in [true, false] {
        let root = TempDir::new().unwrap();
        let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
        store.write_listing(&listing(&[forged()]), true, MIRROR).unwrap();
        assert_eq!(store.read_listing(&commit(), HUB), None);
        assert_eq!(store.read_listing(&commit(), MIRROR).unwrap(), [forged()]);
        store.write_listing(&listing(&[entry("a.bin")]), true, HUB).unwrap();
        assert_eq!(store.read_listing(&commit(), "https://hf.co/").unwrap(), [entry("a.bin")]);
        assert_eq!(store.read_listing(&commit(), MIRROR).unwrap(), [forged()]);
    }
}

/// Offline any kept listing is used, unless another one contradicts it.
#[test]
fn offline_any_listing_serves_unless_two_disagree() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    assert_eq!(store.read_listing_offline(&commit()), None);
    let mut known = entry("a.bin");
    known.xet_hash = Some("ab".repeat(32));
    store.write_listing(&listing(&[known.clone(), entry("b.bin")]), false, HUB).unwrap();
    store.write_listing(&listing(&[entry("a.bin")]), false, MIRROR).unwrap();
    let kept = store.read_listing_offline(&commit()).unwrap();
    assert!(kept.iter().any(|e| e.path == known.path && e.digest() == known.digest()), "{kept:?}");
    store.write_listing(&listing(&[forged()]), false, MIRROR).unwrap();
    assert_eq!(store.read_listing_offline(&commit()), None, "one of them is wrong");
    store.forget_listing(&commit(), MIRROR).unwrap();
    assert_eq!(store.read_listing_offline(&commit()).unwrap(), [known, entry("b.bin")]);
    store.forget_listing(&commit(), MIRROR).unwrap();
}

/// Another tool's listing does not name its endpoint: it is used only offline, and last.
#[test]
fn another_tools_listing_serves_offline_only() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let repo = root.path().join("models--org--name");
    let name = format!("{}.json", commit());
    fs::create_dir_all(repo.join("trees")).unwrap();
    fs::write(repo.join("trees").join(&name), tree::text(&[forged()]).unwrap()).unwrap();
    assert_eq!(store.read_listing(&commit(), HUB), None);
    assert_eq!(store.read_listing_offline(&commit()).unwrap(), [forged()]);
    // An earlier version's listing comes before it.
    fs::create_dir_all(repo.join(".hfget/trees")).unwrap();
    fs::write(repo.join(".hfget/trees").join(&name), tree::text(&[entry("b.bin")]).unwrap()).unwrap();
    assert_eq!(store.read_listing(&commit(), HUB), None);
    assert_eq!(store.read_listing_offline(&commit()).unwrap(), [entry("b.bin")]);
    store.write_listing(&listing(&[entry("a.bin")]), false, HUB).unwrap();
    assert_eq!(store.read_listing_offline(&commit()).unwrap(), [entry("a.bin")]);
}

/// A corrected listing of the endpoint replaces the kept one.
#[test]
fn a_newer_listing_of_the_same_endpoint_replaces_the_kept_one() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    store.write_listing(&listing(&[forged()]), false, HUB).unwrap();
    store.write_listing(&listing(&[entry("a.bin")]), false, HUB).unwrap();
    assert_eq!(store.read_listing(&commit(), HUB).unwrap(), [entry("a.bin")]);
}
