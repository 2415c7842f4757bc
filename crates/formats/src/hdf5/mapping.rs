//! Whether all parts of a virtual dataset are in the same file. Selections are skipped; the datasets that it is
//! made of are read where groups lead to them.

use std::io::{Read, Seek};

use super::Hdf5File;
use super::bytes::Bytes;

/// Bytes of a heap of mappings.
const MAX_HEAP: u64 = 16 << 20;
/// A mapping's name for the file that it is in.
const HERE: &[u8] = b".";
/// The flags of an entry of version 1: its source is in this file; another entry has its dataset's name.
const SAME_FILE: u8 = 4;
const SHARED_NAME: u8 = 2;

/// Whether every part of a virtual dataset is in this file; its mapping is an object of the heap at `address`.
/// `None` for a mapping of a kind that is not known.
pub(super) fn is_here<R: Read + Seek>(
    file: &mut Hdf5File<R>,
    address: u64,
    index: u64,
) -> Result<Option<bool>, String> {
    let lengths = file.lengths;
    let head = file.few(address, 8 + lengths as u64)?;
    let mut head = Bytes(&head);
    head.expect(b"GCOL", "heap of mappings")?;
    head.take(4)?;
    let size = head.number(lengths)?;
    if size > MAX_HEAP {
        return Err(format!("a heap of mappings has {size} bytes; more than {MAX_HEAP} are not read"));
    }
    let heap = file.few(address, size)?;
    let mut heap = Bytes(&heap);
    heap.take(8 + lengths)?;
    // Object 0 is the free space after the others.
    while let Some(number) = heap.number(2).ok().filter(|number| *number != 0) {
        heap.take(6)?;
        let size = heap.size(lengths)?;
        let object = heap.take(size)?;
        if number == index {
            return mapping(Bytes(object), lengths);
        }
        heap.take(size.next_multiple_of(8).saturating_sub(size))?;
    }
    Err(format!("the mapping of a virtual dataset is not in the heap at {address}"))
}

fn mapping(mut object: Bytes<'_>, lengths: usize) -> Result<Option<bool>, String> {
    let version = object.u8()?;
    if version > 1 {
        return Ok(None);
    }
    for _ in 0..object.number(lengths)? {
        let flags = if version == 0 { 0 } else { object.u8()? };
        let here = match flags {
            0 => text(&mut object)? == HERE,
            _ if flags & !(SAME_FILE | SHARED_NAME) == 0 => flags & SAME_FILE != 0,
            _ => return Ok(None),
        };
        if !here {
            return Ok(Some(false));
        }
        // If an earlier entry has the name, this entry has only the number of that entry.
        if flags & SHARED_NAME == 0 {
            text(&mut object)?;
        } else {
            object.take(lengths)?;
        }
        for _ in 0..2 {
            if !selection(&mut object)? {
                return Ok(None);
            }
        }
    }
    Ok(Some(true))
}

/// The text before the next zero.
fn text<'b>(object: &mut Bytes<'b>) -> Result<&'b [u8], String> {
    let end = object.0.iter().position(|b| *b == 0).ok_or("a name in a mapping does not end")?;
    let text = object.take(end)?;
    object.take(1)?;
    Ok(text)
}

/// Skips a selection of elements; `false` if its kind is not known.
fn selection(object: &mut Bytes<'_>) -> Result<bool, String> {
    let (kind, version) = (object.number(4)?, object.number(4)?);
    let length = match (kind, version) {
        // No element, and every element.
        (0 | 3, _) => 8,
        // Points, and blocks.
        (1 | 2, 1) => {
            object.take(4)?;
            object.size(4)?
        }
        (2, 2) => {
            object.take(1)?;
            object.size(4)?
        }
        (2, 3) => {
            let regular = object.u8()? & 1 != 0;
            let width = usize::from(object.u8()?);
            let rank = object.size(4)?;
            let numbers =
                if regular { rank.checked_mul(4) } else { object.size(width)?.checked_mul(2 * rank.min(1024)) };
            numbers.and_then(|n| n.checked_mul(width)).ok_or("a selection in a mapping is too large")?
        }
        _ => return Ok(false),
    };
    object.take(length)?;
    Ok(true)
}
