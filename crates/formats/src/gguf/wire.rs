//! GGUF's values, read from untrusted bytes: numbers of either byte order, strings, arrays, and their
//! bounds. The parent decides what they mean.

use std::io::{Read, Seek};

use super::{MAX_DEPTH, MAX_LENGTH, MAX_NAME, MAX_STRINGS};
use crate::positioned::Positioned;

/// Reads values of the format in order. Nothing is allocated for a value that is longer than the file.
pub(super) struct GgufReader<R> {
    pub place: Positioned<R>,
    pub big: bool,
    /// Version 1: lengths and dimensions have 32 bits.
    pub narrow: bool,
}

impl<R: Read + Seek> GgufReader<R> {
    pub fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.place.bytes()?;
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub fn u64(&mut self) -> Result<u64, String> {
        let bytes = self.place.bytes()?;
        Ok(if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// A count, length or dimension.
    pub fn size(&mut self) -> Result<u64, String> {
        if self.narrow { self.u32().map(u64::from) } else { self.u64() }
    }

    /// A key or name; messages call it `what`. `budget` is how many bytes all of them may take together.
    pub fn name(&mut self, what: &str, budget: &mut u64) -> Result<Box<str>, String> {
        let length = self.size()?;
        if length > MAX_NAME {
            return Err(format!("{what} has {length} bytes, and at most {MAX_NAME} are allowed"));
        }
        *budget = budget.checked_sub(length).ok_or("its names are longer than is read here")?;
        String::from_utf8(self.place.few(length)?).map(Into::into).map_err(|_| format!("{what} is not UTF-8"))
    }

    /// Skips a value that is not an array; returns it if it is an unsigned or a small number.
    pub fn scalar(&mut self, kind: u32) -> Result<Option<u64>, String> {
        Ok(match kind {
            0 | 7 => Some(u64::from(self.place.bytes::<1>()?[0])),
            2 => {
                let bytes = self.place.bytes()?;
                Some(u64::from(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }))
            }
            4 => Some(u64::from(self.u32()?)),
            // `split.tensors.count` is signed.
            5 => u64::try_from(self.u32()?.cast_signed()).ok(),
            10 => Some(self.u64()?),
            11 => u64::try_from(self.u64()?.cast_signed()).ok(),
            8 => {
                let length = self.size()?;
                if length > MAX_LENGTH {
                    return Err(format!("a string has {length} bytes, and at most {MAX_LENGTH} are allowed"));
                }
                self.place.skip(length)?;
                None
            }
            _ => {
                self.place
                    .skip(width(kind).ok_or_else(|| format!("a value is of type {kind}, which GGUF does not have"))?)?;
                None
            }
        })
    }

    pub fn array(&mut self, depth: u32, walked: &mut u64) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("arrays are nested more than {MAX_DEPTH} deep"));
        }
        let kind = self.u32()?;
        let count = self.size()?;
        if count > MAX_LENGTH {
            return Err(format!("an array has {count} elements, and at most {MAX_LENGTH} are allowed"));
        }
        if let Some(width) = width(kind) {
            return self.place.skip(count.saturating_mul(width));
        }
        let least = match (kind, self.narrow) {
            (8, true) => 4,
            (8, false) | (9, true) => 8,
            (9, false) => 12,
            _ => return Err(format!("an array is of type {kind}, which GGUF does not have")),
        };
        self.place.room(count.saturating_mul(least))?;
        *walked = walked.saturating_add(count);
        if *walked > MAX_STRINGS {
            return Err(format!("its arrays have more than {MAX_STRINGS} strings"));
        }
        for _ in 0..count {
            if kind == 8 { self.scalar(kind).map(drop) } else { self.array(depth + 1, walked) }?;
        }
        Ok(())
    }
}

/// Bytes of a value of fixed size (`GGUF_TYPE_SIZE`).
fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}
