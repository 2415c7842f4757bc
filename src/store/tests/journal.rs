//! The journal claims only what can be true.

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
fn a_torn_last_line_is_not_believed() {
    let text = format!("{}\n0 10\n20 30\n40 9", header(&entry()));
    assert_eq!(parse_journal(&text, &entry(), 100).unwrap().as_slice(), [0..10, 20..30]);
}

#[test]
fn what_the_file_is_too_short_to_hold_is_not_believed() {
    let text = format!("{}\n0 10\n20 30\n", header(&entry()));
    assert_eq!(parse_journal(&text, &entry(), 25).unwrap().as_slice(), [0..10, 20..25]);
}

#[test]
fn a_journal_of_other_content_is_ignored() {
    let mut other = entry();
    other.size = 99;
    assert_eq!(parse_journal(&format!("{}\n0 10\n", header(&other)), &entry(), 100), None);
}

proptest! {
    #[test]
    fn no_journal_claims_more_than_the_file(tail in "[0-9 \\n-]{0,60}", length in 0u64..120) {
        if let Some(set) = parse_journal(&format!("{}\n{tail}", header(&entry())), &entry(), length) {
            prop_assert!(set.as_slice().iter().all(|r| r.end <= length.min(100)));
        }
    }
}
