//! Tests that the journal claims only ranges that can be there.

use super::*;
use proptest::prelude::*;

fn entry() -> Entry {
    Entry {
        path: "model.bin".parse().unwrap(),
        size: 100,
        oid: "ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap(),
        lfs: None,
        xet_hash: None,
    }
}

#[test]
fn a_torn_last_line_does_not_count() {
    let text = format!("{} b\n0 10\n20 30\n40 9", about(&entry()));
    assert_eq!(parse(&text, &entry(), 100, "b").unwrap().ranges.as_slice(), [0..10, 20..30]);
}

#[test]
fn ranges_beyond_the_end_of_the_file_do_not_count() {
    let text = format!("{} b\n0 10\n20 30\n", about(&entry()));
    assert_eq!(parse(&text, &entry(), 25, "b").unwrap().ranges.as_slice(), [0..10, 20..25]);
}

#[test]
fn a_journal_of_other_content_is_ignored() {
    let mut other = entry();
    other.size = 99;
    assert_eq!(parse(&format!("{} b\n0 10\n", about(&other)), &entry(), 100, "b"), None);
}

#[test]
fn after_a_crash_of_the_machine_only_flushed_bytes_count() {
    let text = format!("{} b\n0 10\n20 30\nsynced 1\n40 50\nsynced 2\n60 70\n", about(&entry()));
    let believed = |boot| parse(&text, &entry(), 100, boot).unwrap();
    assert_eq!((believed("b").ranges.total(), believed("b").flushed), (40, false));
    assert_eq!((believed("c").ranges.as_slice(), believed("c").flushed), (&[0..10, 20..30][..], true));
    // Written again, it has the same content, even after a second crash.
    let again = believed("c").text(&entry(), "c");
    assert_eq!(parse(&again, &entry(), 100, "d").unwrap(), believed("c"));
    // If boots have no ids, no journal is from this boot.
    assert_eq!(believed(""), believed("c"));
    assert_eq!(parse(&format!("{} b\n0 10\nsynced 2\n", about(&entry())), &entry(), 100, "b"), None);
}

proptest! {
    #[test]
    fn no_journal_claims_more_than_the_file(tail in "(synced |[0-9]| |\\n|-){0,60}", length in 0u64..120) {
        if let Some(set) = parse(&format!("{} b\n{tail}", about(&entry())), &entry(), length, "b") {
            prop_assert!(set.ranges.as_slice().iter().all(|r| r.end <= length.min(100)));
        }
    }
}
