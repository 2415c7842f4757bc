//! The journal of a partial file: which of its bytes have arrived, and which of them survive a crash
//! of the machine. This module has only the text; `partial` has the files.
//!
//! A header line with digest, size and the machine's boot id; then a line `start end` per range,
//! appended after its bytes were written, and now and then `synced N`: the ranges of the first N of
//! those lines were flushed to the disk. Bytes that were written and not flushed survive the end of
//! the process, but not a crash of the machine. So a journal from another boot counts only up to its
//! last `synced`. A torn or foreign journal does not count at all. A journal never proves content:
//! only the final digest does.

use std::ops::Range;
use std::sync::OnceLock;

use super::RangeSet;
use crate::model::Entry;

/// The id of this boot of the machine; empty if the system does not say. The empty id equals no boot.
pub(super) fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        text.trim().replace(char::is_whitespace, "")
    })
}

/// The first line of a journal of this boot, without its newline.
fn header(entry: &Entry, boot: &str) -> String {
    format!("{} {boot}", about(entry))
}

fn about(entry: &Entry) -> String {
    format!("hfget-journal 2 {} {}", entry.digest(), entry.size)
}

pub(super) fn range_line(range: &Range<u64>) -> String {
    format!("{} {}\n", range.start, range.end)
}

pub(super) fn synced_line(lines: usize) -> String {
    format!("synced {lines}\n")
}

/// The text of a journal of this boot: `ranges` have arrived, and the `durable` ones of them survive a crash. Also
/// returns the number of its range lines.
pub(super) fn text_of(entry: &Entry, boot: &str, durable: &RangeSet, ranges: &RangeSet) -> (String, usize) {
    let mut text = header(entry, boot) + "\n";
    let mut lines = durable.as_slice().len();
    text.extend(durable.as_slice().iter().map(range_line));
    if lines > 0 {
        text += &synced_line(lines);
    }
    for range in ranges.as_slice() {
        for rest in durable.gaps(range.clone()) {
            text += &range_line(&rest);
            lines += 1;
        }
    }
    (text, lines)
}

/// The part of a journal that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Believed {
    pub ranges: RangeSet,
    /// Whether all of it is known to be on the disk, not only in the machine's memory.
    pub flushed: bool,
}

impl Believed {
    /// The text of a journal of this boot with the same content.
    pub fn text(&self, entry: &Entry, boot: &str) -> String {
        let none = RangeSet::default();
        text_of(entry, boot, if self.flushed { &self.ranges } else { &none }, &self.ranges).0
    }
}

/// The ranges of a journal that are still there, in a partial of `length` bytes, read during
/// `boot`; `None` if it is not a journal for this content.
pub(super) fn parse(text: &str, entry: &Entry, length: u64, boot: &str) -> Option<Believed> {
    // Our own partials are never longer than the final file.
    if length > entry.size {
        return None;
    }
    // A line without its newline was torn by a crash.
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let then = lines.next()?.strip_prefix(&about(entry))?.strip_prefix(' ')?;
    let mut ranges = Vec::new();
    let mut synced = 0;
    for line in lines {
        let (start, end) = line.split_once(' ')?;
        if start == "synced" {
            synced = end.parse::<usize>().ok().filter(|n| *n <= ranges.len())?.max(synced);
            continue;
        }
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        if start > end || end > entry.size {
            return None;
        }
        ranges.push(start..end.min(length).max(start));
    }
    if boot.is_empty() || then != boot {
        ranges.truncate(synced);
    }
    let flushed = synced >= ranges.len();
    let mut believed = RangeSet::default();
    for range in ranges {
        believed.insert(range);
    }
    Some(Believed { ranges: believed, flushed })
}

#[cfg(test)]
#[path = "tests/journal.rs"]
mod tests;
