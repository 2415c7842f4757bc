//! A set of byte ranges: what of a file has arrived. No files here.

use std::ops::Range;

/// Sorted, disjoint, non-adjacent, non-empty ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet(Vec<Range<u64>>);

impl RangeSet {
    /// Adds a range, merging what touches.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let first = self.0.partition_point(|r| r.end < range.start);
        let last = self.0.partition_point(|r| r.start <= range.end);
        let mut merged = range;
        if first < last {
            merged.start = merged.start.min(self.0[first].start);
            merged.end = merged.end.max(self.0[last - 1].end);
        }
        self.0.splice(first..last, [merged]);
    }

    /// Takes a range out, splitting what reaches beyond it.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        let first = self.0.partition_point(|r| r.end <= range.start);
        let last = self.0.partition_point(|r| r.start < range.end);
        if first >= last {
            return;
        }
        let (head, tail) = (self.0[first].start..range.start, range.end..self.0[last - 1].end);
        self.0.splice(first..last, [head, tail].into_iter().filter(|r| r.start < r.end));
    }

    /// The first range below `size` that is not in the set.
    pub fn first_gap(&self, size: u64) -> Option<Range<u64>> {
        let start = self.frontier();
        let end = self.0.iter().map(|r| r.start).find(|s| *s > start).unwrap_or(size).min(size);
        (start < end).then_some(start..end)
    }

    /// How far the bytes from `at` on are in the set without a gap.
    pub fn covered_from(&self, at: u64) -> u64 {
        let i = self.0.partition_point(|r| r.end <= at);
        self.0.get(i).filter(|r| r.start <= at).map_or(at, |r| r.end)
    }

    /// The ranges, lowest first.
    pub fn as_slice(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Bytes in all ranges.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// The end of the range that starts at zero: how far the file is whole from its front.
    pub fn frontier(&self) -> u64 {
        self.0.first().filter(|r| r.start == 0).map_or(0, |r| r.end)
    }

    /// What of `within` is not in the set, lowest first.
    pub fn gaps(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = within.start;
        for range in &self.0 {
            if range.start >= within.end {
                break;
            }
            if range.start > at {
                gaps.push(at..range.start);
            }
            at = at.max(range.end);
        }
        if at < within.end {
            gaps.push(at..within.end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_removed_is_gone(inserts in prop::collection::vec((0u64..64, 0u64..16), 0..8), start in 0u64..70, len in 0u64..20) {
            let mut set = RangeSet::default();
            let mut bytes = [false; 96];
            for (at, n) in inserts {
                set.insert(at..at + n);
                bytes[usize::try_from(at).unwrap()..usize::try_from(at + n).unwrap()].fill(true);
            }
            set.remove(start..start + len);
            bytes[usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap()].fill(false);
            let mut from_set = [false; 96];
            for range in set.as_slice() {
                from_set[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].fill(true);
            }
            prop_assert_eq!(from_set, bytes);
            prop_assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start));
        }

        #[test]
        fn it_behaves_as_a_set_of_bytes(inserts in prop::collection::vec((0u64..64, 0u64..16), 0..20)) {
            let mut set = RangeSet::default();
            let mut bytes = [false; 80];
            for (start, len) in inserts {
                set.insert(start..start + len);
                for byte in &mut bytes[usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap()] { *byte = true; }
            }
            let mut from_set = [false; 80];
            for range in set.as_slice() { for i in range.clone() { from_set[usize::try_from(i).unwrap()] = true; } }
            prop_assert_eq!(from_set, bytes);
            prop_assert_eq!(set.total(), bytes.iter().filter(|b| **b).count() as u64);
            prop_assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start));
            prop_assert_eq!(set.frontier(), bytes.iter().take_while(|b| **b).count() as u64);
            let first = bytes.iter().position(|b| !b);
            prop_assert_eq!(set.first_gap(80).map(|g| g.start), first.map(|i| i as u64));
            for (i, byte) in bytes.iter().enumerate() {
                let run = bytes[i..].iter().take_while(|b| **b).count();
                prop_assert_eq!(set.covered_from(i as u64), (i + run) as u64, "{} {}", i, byte);
            }
            let missing: u64 = set.gaps(0..80).iter().map(|g| g.end - g.start).sum();
            prop_assert_eq!(missing + set.total(), 80);
        }
    }
}
