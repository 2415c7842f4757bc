//! The sorted table of `LevelDB` as TensorFlow writes it (`tsl/lib/io/format.cc`, `block.cc`): a footer, an
//! index block, and data blocks of sorted keys with shared prefixes, each with its CRC-32C. `bundle`
//! decides what keys and values mean.
//!
//! Memory: two blocks of at most [`MAX_BLOCK`] bytes. Time: every block is read once, as blocks may
//! not overlap, and a packed one unpacks to at most [`RATIO`] times its bytes.

use std::io::{Read, Seek};

use crc_fast::{CrcAlgorithm, checksum};

use crate::positioned::Positioned;

/// The last eight bytes of every table.
pub(super) const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();
/// Two handles, padded, and the magic.
pub(super) const FOOTER: u64 = 48;
/// Bytes of the handles.
const HANDLES: usize = 40;
/// Bytes of a block, packed or not: TensorFlow writes blocks of 256 KiB and cuts between keys.
pub(crate) const MAX_BLOCK: u64 = 64 << 20;
/// Blocks of one table.
const MAX_BLOCKS: u64 = 1 << 20;
/// Bytes of a key.
pub(crate) const MAX_KEY: usize = 1 << 16;
/// The most that Snappy can reach: a copy of 64 bytes takes three.
const RATIO: u64 = 32;
/// The type byte and the checksum after each block.
const TRAILER: u64 = 5;

/// A CRC-32C as tables and bundles store it. The mask prevents a checksum of bytes that contain their own checksum.
pub(super) fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The CRC-32C of some bytes.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    // The checksum has 32 bits, so the conversion cannot fail.
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, bytes)).unwrap_or(u32::MAX)
}

/// The place of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handle {
    offset: u64,
    size: u64,
}

/// Takes a varint off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(shift)?;
        if *first < 0x80 {
            return Some(value);
        }
    }
    None
}

fn handle(bytes: &mut &[u8]) -> Option<Handle> {
    Some(Handle { offset: varint(bytes)?, size: varint(bytes)? })
}

/// A table whose footer has been read.
pub(super) struct Table<R> {
    place: Positioned<R>,
    index: Vec<u8>,
    /// The place where data blocks must end.
    limit: u64,
}

impl<R: Read + Seek> Table<R> {
    /// `Ok(None)`: the file does not have the ending of a table.
    pub fn open(file: R, length: u64) -> Result<Option<Self>, String> {
        if length < FOOTER {
            return Ok(None);
        }
        let mut place = Positioned::new(file, length);
        place.to(length - FOOTER)?;
        let handles: [u8; HANDLES] = place.bytes()?;
        if place.bytes::<8>()? != MAGIC {
            return Ok(None);
        }
        let mut handles = &handles[..];
        let (Some(meta), Some(index)) = (handle(&mut handles), handle(&mut handles)) else {
            return Err("its footer does not say where its index is".into());
        };
        let mut table = Table { place, index: Vec::new(), limit: length - FOOTER };
        // The meta index is empty today; its checksum must match all the same.
        let content = table.block(meta, "meta index")?;
        entries(&content, "meta index", &mut Vec::new(), &mut |_, _| Ok(()))?;
        table.index = table.block(index, "index")?;
        table.limit = index.offset.min(meta.offset);
        Ok(Some(table))
    }

    /// Reads a block's content and compares its checksum.
    fn block(&mut self, handle: Handle, what: &str) -> Result<Vec<u8>, String> {
        let Handle { offset, size } = handle;
        if offset.checked_add(size).and_then(|end| end.checked_add(TRAILER)).is_none_or(|end| end > self.limit) {
            return Err(format!("its {what} block of {size} bytes at {offset} reaches beyond {}", self.limit));
        }
        if size > MAX_BLOCK {
            return Err(format!("its {what} block at {offset} has {size} bytes; more than {MAX_BLOCK} are not read"));
        }
        self.place.to(offset)?;
        let mut bytes = self.place.few(size + 1)?;
        let stored = u32::from_le_bytes(self.place.bytes()?);
        // A fuzzer would never find a right checksum, so under `cfg(fuzzing)` every checksum counts as right.
        if !cfg!(fuzzing) && masked(crc32c(&bytes)) != stored {
            return Err(format!("the checksum of its {what} block at {offset} does not match"));
        }
        match bytes.pop() {
            Some(0) => Ok(bytes),
            Some(1) => {
                let claimed = snap::raw::decompress_len(&bytes).map_err(|e| format!("its {what} block: {e}"))? as u64;
                if claimed > MAX_BLOCK || claimed > size.saturating_mul(RATIO) {
                    return Err(format!("its {what} block of {size} bytes claims to unpack to {claimed}"));
                }
                snap::raw::Decoder::new().decompress_vec(&bytes).map_err(|e| format!("its {what} block: {e}"))
            }
            kind => Err(format!("its {what} block at {offset} is packed by method {}", kind.unwrap_or(0))),
        }
    }

    /// Calls `each` for every key with its value, in the order of the keys, until it returns `false`.
    pub fn walk(&mut self, each: &mut Each<'_>) -> Result<(), String> {
        let index = std::mem::take(&mut self.index);
        let (mut end, mut blocks, mut last, mut go_on) = (0, 0, Vec::new(), true);
        entries(&index, "index", &mut Vec::new(), &mut |bound, mut value| {
            let found = handle(&mut value).ok_or("its index block has an entry that does not place a block")?;
            blocks += 1;
            if !go_on {
                return Ok(());
            }
            if blocks > MAX_BLOCKS {
                return Err(format!("it has more than {MAX_BLOCKS} blocks"));
            }
            if found.offset < end {
                return Err(format!("its data blocks overlap or are out of order at {}", found.offset));
            }
            let content = self.block(found, "data")?;
            end = found.offset + found.size + TRAILER;
            entries(&content, "data", &mut last, &mut |key, value| {
                go_on = go_on && each(key, value)?;
                Ok(())
            })?;
            if last.as_slice() > bound {
                return Err(format!("the data block at {} has a key beyond what the index says", found.offset));
            }
            Ok(())
        })
    }
}

/// Called with a key and its value; returns `false` to stop.
pub(super) type Each<'e> = dyn FnMut(&[u8], &[u8]) -> Result<bool, String> + 'e;

/// Called with the key and value of an entry.
type Visit<'e> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'e;

/// The entries of one block. `last`: the key before the block's first one; after the call, the block's last key.
fn entries(block: &[u8], what: &str, last: &mut Vec<u8>, each: &mut Visit<'_>) -> Result<(), String> {
    let short = || format!("its {what} block is cut short");
    let (rest, count) = block.split_last_chunk::<4>().ok_or_else(short)?;
    let count = u32::from_le_bytes(*count) as usize;
    let size = count.checked_mul(4).filter(|size| *size <= rest.len()).ok_or_else(short)?;
    let (content, restarts) = rest.split_at(rest.len() - size);
    let mut restarts =
        restarts.chunks_exact(4).map(|r| u32::from_le_bytes([r[0], r[1], r[2], r[3]]) as usize).peekable();
    let mut left = content;
    let mut key = std::mem::take(last);
    let mut first = true;
    while !left.is_empty() {
        let at = content.len() - left.len();
        let (Some(shared), Some(own), Some(value)) = (varint(&mut left), varint(&mut left), varint(&mut left)) else {
            return Err(short());
        };
        let restart = restarts.next_if_eq(&at).is_some();
        // The first key of a block shares nothing with another, nor does a key that a reader may jump to.
        if shared != 0 && (first || restart) || shared > key.len() as u64 {
            return Err(format!("a key at {at} of its {what} block builds on one that is not there"));
        }
        let number = |n: u64| usize::try_from(n).map_err(|e| e.to_string());
        let (shared, own, value) = (number(shared)?, number(own)?, number(value)?);
        let (tail, after) = left.split_at_checked(own).ok_or_else(short)?;
        if shared + own > MAX_KEY {
            return Err(format!(
                "a key of its {what} block has {} bytes, and at most {MAX_KEY} are read",
                shared + own
            ));
        }
        // The shared part is equal, so only the rest is compared. The empty key may come once, as the first.
        if tail <= &key[shared..] && !(first && key.is_empty()) {
            return Err(format!("a key at {at} of its {what} block is out of order"));
        }
        key.truncate(shared);
        key.extend_from_slice(tail);
        let (value, after) = after.split_at_checked(value).ok_or_else(short)?;
        each(&key, value)?;
        left = after;
        first = false;
    }
    // An empty block has one restart point, at its end.
    if restarts.any(|at| at != 0 || !content.is_empty()) {
        return Err(format!("a restart point of its {what} block is not at a key"));
    }
    *last = key;
    Ok(())
}
