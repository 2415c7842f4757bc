//! How many threads of a run have files of their own, which they receive, write and hash. Nothing is started here.

use std::sync::Arc;

use crate::hub::RUNTIMES;
use crate::model::Entry;
use crate::source::Source;
use crate::transfer::assemble::SMALL;

/// The large files of a home at once: it hashes two in turn.
pub(super) const FILES: usize = 2;
/// The most homes: each has its own HTTP clients, beside the caller and the threads that are not homes.
const MOST: usize = RUNTIMES - 2;

/// The number of homes. One means that all threads work on all files, and that other threads hash.
///
/// Otherwise each thread has two large files: then all cores are busy with nothing but receiving, writing and hashing, and the bytes
/// of a file stay in one processor's cache. That needs large files for all threads, none of which is much of the run, and a connection
/// for each of them. A stream of all bytes has threads of its own, so such files have no home.
pub(in crate::transfer) fn number_of_homes(
    sources: &[Arc<dyn Source>],
    entries: &[&Entry],
    connections: usize,
    threads: usize,
) -> usize {
    let large = || entries.iter().filter(|entry| entry.size > SMALL);
    let streams = sources.first().is_some_and(|source| large().any(|entry| source.sends_stream(entry)));
    if streams { 1 } else { of_ranges(large().map(|entry| entry.size), connections, threads) }
}

/// The number of homes for large files of these sizes, whose bytes come in ranges.
fn of_ranges(sizes: impl Iterator<Item = u64>, connections: usize, threads: usize) -> usize {
    let add =
        |(count, sum, largest): (usize, u64, u64), size: u64| (count + 1, sum.saturating_add(size), largest.max(size));
    let (count, sum, largest) = sizes.fold((0, 0, 0), add);
    let are_many = count.min(connections) >= threads * FILES && largest.saturating_mul(threads as u64) <= sum;
    if are_many && threads <= MOST { threads } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(files: usize, connections: usize, threads: usize) -> usize {
        of_ranges(std::iter::repeat_n(5 << 30, files), connections, threads)
    }

    #[test]
    fn threads_are_homes_if_each_has_two_large_files_and_a_connection_for_each() {
        assert_eq!([3, 4, 5, 100].map(|files| homes(files, 16, 2)), [1, 2, 2, 2]);
        assert_eq!([0, 3, 4].map(|connections| homes(100, connections, 2)), [1, 1, 2]);
        assert_eq!([15, 16].map(|files| homes(files, 64, 8)), [1, 8]);
        assert_eq!(homes(100, 64, 9), 1, "so many threads were not measured");
    }

    /// Otherwise one home would have it, and the other threads would have nothing to do.
    #[test]
    fn a_file_that_is_most_of_a_run_needs_all_threads() {
        let of = |sizes: [u64; 5]| of_ranges(sizes.into_iter(), 16, 2);
        assert_eq!(of([40, 1, 1, 1, 1].map(|size| size << 30)), 1);
        assert_eq!(of([40, 30, 8, 1, 1].map(|size| size << 30)), 2);
    }
}
