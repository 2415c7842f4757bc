//! Which worker of a fleet takes which file. It is a pure function of names and sizes, so that workers get the same
//! answer without communication.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// The part that each file belongs to, counted from 1. Every file is in one part, even if its name occurs twice. The
/// parts' bytes differ by no more than the largest file, and the order of `files` does not matter. With zero parts,
/// every file belongs to the first.
pub fn divide<Name: Ord>(files: impl IntoIterator<Item = (Name, u64)>, parts: u32) -> BTreeMap<Name, u32> {
    let files: BTreeMap<Name, u64> = files.into_iter().collect();
    let mut largest_first: Vec<(Name, u64)> = files.into_iter().collect();
    // The sort is stable: files of one size stay in the order of their names.
    largest_first.sort_by_key(|(_, size)| Reverse(*size));
    // The part with the fewest bytes is next, then the one with the fewest files.
    let mut loads: BinaryHeap<Reverse<(u128, usize, u32)>> =
        (1..=parts.max(1)).map(|part| Reverse((0, 0, part))).collect();
    let mut part_of = BTreeMap::new();
    for (name, size) in largest_first {
        // There is at least one part, and each part that is taken out is put back, so `pop` succeeds.
        let Some(Reverse((bytes, count, part))) = loads.pop() else { break };
        loads.push(Reverse((bytes + u128::from(size), count + 1, part)));
        part_of.insert(name, part);
    }
    part_of
}

#[cfg(test)]
mod tests {
    use super::divide;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_largest_file_is_one_part_if_the_others_are_as_large_together() {
        let part_of = divide([("large", 8), ("b", 4), ("a", 4)], 2);
        assert_eq!(part_of, [("a", 2), ("b", 2), ("large", 1)].into());
    }

    fn loads(files: &BTreeMap<String, u64>, part_of: &BTreeMap<String, u32>, parts: u32) -> Vec<u128> {
        let of = |part| part_of.iter().filter(move |(_, of)| **of == part).map(|(name, _)| u128::from(files[name]));
        (1..=parts).map(|part| of(part).sum()).collect()
    }

    fn files() -> impl Strategy<Value = BTreeMap<String, u64>> {
        let size = prop_oneof![0..10u64, 0..1_000_000u64, Just(5_000_000_000), Just(u64::MAX)];
        proptest::collection::btree_map("[a-z]{1,6}", size, 0..60)
    }

    proptest! {
        #[test]
        fn each_file_is_in_one_part_and_no_part_has_more_than_the_largest_file_too_many(
            files in files(),
            parts in 1..20u32,
        ) {
            let part_of = divide(files.clone(), parts);
            prop_assert!(part_of.keys().eq(files.keys()));
            prop_assert!(part_of.values().all(|part| (1..=parts).contains(part)));
            let loads = loads(&files, &part_of, parts);
            let largest = u128::from(files.values().copied().max().unwrap_or(0));
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= largest, "{:?}", loads);
        }

        #[test]
        fn neither_order_nor_repetition_changes_who_takes_a_file(
            files in files().prop_flat_map(|files| {
                let listed: Vec<(String, u64)> = files.into_iter().collect();
                (Just(listed.clone()), Just(listed).prop_shuffle())
            }),
            parts in 1..20u32,
        ) {
            let (listed, shuffled) = files;
            let once = divide(listed.clone(), parts);
            prop_assert_eq!(&once, &divide(shuffled.clone(), parts));
            prop_assert_eq!(once, divide(shuffled.into_iter().chain(listed), parts));
        }
    }

    #[test]
    fn files_without_bytes_are_spread_too() {
        let part_of = divide((0..8).map(|n| (n, 0)), 4);
        let used: BTreeSet<u32> = part_of.values().copied().collect();
        assert_eq!(used.len(), 4);
    }

    #[test]
    fn workers_of_two_releases_must_agree_so_the_answer_is_pinned() {
        let files = [("a", 5), ("b", 9), ("c", 5), ("d", 1), ("e", 0), ("f", 3)];
        assert_eq!(divide(files, 3), [("a", 2), ("b", 1), ("c", 3), ("d", 3), ("e", 3), ("f", 2)].into());
    }
}
