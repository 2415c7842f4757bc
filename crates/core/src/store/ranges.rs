//! A set of byte ranges: the parts of a file that have arrived. There are no files here.

use std::ops::Range;

/// Sorted, disjoint, non-adjacent, non-empty ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(Vec<Range<u64>>);

impl RangeSet {
    /// Adds a range, and merges ranges that touch.
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

    /// Removes a range, and splits a range that reaches beyond it.
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

    /// The end of the bytes from `at` on that are in the set without a gap.
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

    /// The end of the range that starts at zero: the file is complete up to this byte.
    pub fn frontier(&self) -> u64 {
        self.0.first().filter(|r| r.start == 0).map_or(0, |r| r.end)
    }

    /// The parts of `within` that are not in the set, lowest first.
    pub fn gaps(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = within.start;
        let first = self.0.partition_point(|range| range.end <= within.start);
        for range in &self.0[first..] {
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

    fn bitmap(ranges: &[Range<u64>]) -> Vec<bool> {
        let mut bytes = vec![false; 80];
        for range in ranges {
            for byte in range.clone() {
                bytes[usize::try_from(byte).unwrap()] = true;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn removed_ranges_are_gone(inserts in prop::collection::vec((0u64..64, 0u64..16), 0..8), start in 0u64..70, len in 0u64..20) {
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
        fn it_behaves_as_a_set_of_bytes(
            inserts in prop::collection::vec((0u64..64, 0u64..16), 0..20),
            (start, length) in (0u64..80, 0u64..80),
        ) {
            let mut set = RangeSet::default();
            let mut model = vec![false; 80];
            for (start, length) in inserts {
                set.insert(start..start + length);
                for (byte, new) in model.iter_mut().zip(bitmap(std::slice::from_ref(&(start..start + length)))) {
                    *byte |= new;
                }
                // After every step the set has the right bytes, in its only valid form.
                prop_assert_eq!(&bitmap(set.as_slice()), &model);
                prop_assert!(set.as_slice().iter().all(|r| r.start < r.end));
                prop_assert!(set.as_slice().windows(2).all(|w| w[0].end < w[1].start));
                prop_assert_eq!(set.total(), model.iter().filter(|b| **b).count() as u64);
                prop_assert_eq!(set.frontier(), model.iter().take_while(|b| **b).count() as u64);
            }
            let within = start..(start + length).min(80);
            let gaps = set.gaps(within.clone());
            let missing: Vec<bool> =
                model.iter().zip(0u64..).map(|(there, at)| !there && within.contains(&at)).collect();
            prop_assert_eq!(bitmap(&gaps), missing);
            prop_assert!(gaps.iter().all(|g| g.start < g.end));
            prop_assert!(gaps.windows(2).all(|w| w[0].end < w[1].start));
            let first = model.iter().position(|there| !there);
            prop_assert_eq!(set.first_gap(80).map(|g| g.start), first.map(|i| i as u64));
            for i in 0..model.len() {
                let run = model[i..].iter().take_while(|there| **there).count();
                prop_assert_eq!(set.covered_from(i as u64), (i + run) as u64, "from {}", i);
            }
        }
    }

    #[test]
    fn the_largest_offsets_are_accepted() {
        let mut set = RangeSet::default();
        set.insert(0..1);
        set.insert(u64::MAX - 1..u64::MAX);
        assert_eq!(set.gaps(0..u64::MAX), vec![Range { start: 1, end: u64::MAX - 1 }]);
        // An empty or reversed range has no effect.
        set.insert(5..5);
        set.insert(Range { start: 9, end: 3 });
        assert_eq!(set.as_slice().len(), 2);
    }
}
