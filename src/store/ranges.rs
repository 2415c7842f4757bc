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
            let missing: u64 = set.gaps(0..80).iter().map(|g| g.end - g.start).sum();
            prop_assert_eq!(missing + set.total(), 80);
        }
    }
}
