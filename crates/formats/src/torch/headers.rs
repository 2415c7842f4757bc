//! The headers of a tar archive as Python's `tarfile` reads them: recognised by their checksum, with or
//! without `ustar`. The members' content is read elsewhere.

use std::io::{Read as _, SeekFrom};
use std::ops::Range;

use super::part::Seekable;
use crate::problems::complaint;

/// Bytes of a header, and the unit of all sizes.
const BLOCK: u64 = 512;
/// Bytes of all extended headers together, which describe the next header.
const MORE: u64 = 1 << 20;

/// A member.
pub(super) struct Member {
    pub name: Box<[u8]>,
    pub bytes: Range<u64>,
    pub is_file: bool,
}

/// Whether a file that starts with these bytes is a tar archive.
pub(super) fn is_tar(head: &[u8]) -> bool {
    head.first_chunk::<512>().is_some_and(is_header)
}

/// The checksum counts its own field as spaces, and the bytes as unsigned or, by an old mistake, as signed numbers.
fn is_header(block: &[u8; 512]) -> bool {
    let Some(stated) = block.get(148..156).and_then(number) else { return false };
    let (mut unsigned, mut signed) = (256u64, 256i64);
    for (at, byte) in block.iter().enumerate() {
        if !(148..156).contains(&at) {
            unsigned += u64::from(*byte);
            signed += i64::from(byte.cast_signed());
        }
    }
    stated == unsigned || i64::try_from(stated) == Ok(signed)
}

/// A number in base 256, or an octal one in all the ways that Python's `int` reads: with a sign, a prefix, and
/// single underscores between the digits.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        return rest.iter().try_fold(0u64, |n, byte| n.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let space = |byte: &u8| matches!(byte, b' ' | 0x09..=0x0d | 0x1c..=0x1f);
    let text = field.split(|b| *b == 0).next().unwrap_or_default();
    let start = text.iter().position(|b| !space(b));
    let Some(text) = start.and_then(|start| text.get(start..=text.iter().rposition(|b| !space(b))?)) else {
        return Some(0);
    };
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let prefixed = text.strip_prefix(b"0o").or_else(|| text.strip_prefix(b"0O"));
    let text = prefixed.map_or(text, |digits| digits.strip_prefix(b"_").unwrap_or(digits));
    if text.is_empty() || text.starts_with(b"_") || text.ends_with(b"_") || text.windows(2).any(|w| w == b"__") {
        return None;
    }
    text.iter().filter(|byte| **byte != b'_').try_fold(0u64, |n, byte| match byte {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Finds up to `limit` members of an archive of `length` bytes; `Err` says what is wrong with it.
pub(super) fn members(file: &mut dyn Seekable, length: u64, limit: usize) -> Result<Vec<Member>, String> {
    let (mut found, mut at, mut spent) = (Vec::new(), 0u64, 0u64);
    // The name and size that extended headers state for the next member.
    let (mut long_name, mut long_size) = (None, None);
    while at.checked_add(BLOCK).is_some_and(|end| end <= length) {
        let mut block = [0; 512];
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut block))
            .map_err(|e| format!("it is a tar archive that cannot be read: {}", complaint(&e)))?;
        // An empty block ends the archive. For Python, so does a block that is not a header.
        if !is_header(&block) {
            break;
        }
        let field = |range: Range<usize>| block.get(range).unwrap_or_default();
        let text = |range: Range<usize>| field(range).split(|b| *b == 0).next().unwrap_or_default();
        let stated = number(field(124..136)).ok_or("it is a tar archive with a size that is not a number")?;
        let kind = block[156];
        let extends = matches!(kind, b'x' | b'X' | b'g' | b'L' | b'K');
        let size = if extends { stated } else { long_size.take().unwrap_or(stated) };
        // Folders, links and devices have no content, whatever size they state.
        let content = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let start = at + BLOCK;
        let end = start.checked_add(content).filter(|end| *end <= length);
        let end = end.ok_or("it is a tar archive of which a file reaches beyond its end: it is cut short or wrong")?;
        at = end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        if extends {
            spent = spent.saturating_add(content);
            if spent > MORE {
                return Err(format!("it is a tar archive with headers of more than {MORE} bytes"));
            }
            let mut more = Vec::new();
            file.seek(SeekFrom::Start(start))
                .and_then(|_| (&mut *file).take(content).read_to_end(&mut more))
                .map_err(|e| format!("it is a tar archive that cannot be read: {}", complaint(&e)))?;
            match kind {
                b'L' => long_name = Some(more.split(|b| *b == 0).next().unwrap_or_default().into()),
                b'x' | b'X' => pax(&more, &mut long_name, &mut long_size)?,
                b'g' if more.windows(6).any(|w| w == b" size=") => {
                    return Err("it is a tar archive that states one size for all files".into());
                }
                _ => {}
            }
            continue;
        }
        if kind == b'S' {
            return Err("it is a tar archive with a sparse file, which is not followed".into());
        }
        let (prefix, short) = (text(345..500), text(0..100));
        let name = long_name.take().unwrap_or_else(|| {
            if prefix.is_empty() { short.into() } else { [prefix, b"/", short].concat().into_boxed_slice() }
        });
        let is_file = matches!(kind, b'0' | 0 | b'7') && !name.ends_with(b"/");
        if found.len() >= limit {
            return Err(format!("it is a tar archive of more than {limit} files"));
        }
        found.push(Member { name, bytes: start..end, is_file });
    }
    Ok(found)
}

/// Reads records of `length key=value\n`; only the name and the size count.
fn pax(mut text: &[u8], name: &mut Option<Box<[u8]>>, size: &mut Option<u64>) -> Result<(), String> {
    let broken = || "it is a tar archive with an extended header that cannot be read".to_owned();
    while text.first().is_some_and(u8::is_ascii_digit) {
        let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
        let length = std::str::from_utf8(text.get(..digits).unwrap_or_default()).ok().and_then(|n| n.parse().ok());
        let (record, rest) = length.and_then(|n| text.split_at_checked(n)).ok_or_else(broken)?;
        if record.is_empty() {
            return Err(broken());
        }
        text = rest;
        let pair = record.get(digits + 1..record.len() - 1).unwrap_or_default();
        let Some(middle) = pair.iter().position(|b| *b == b'=') else { return Err(broken()) };
        let (key, value) = (pair.get(..middle).unwrap_or_default(), pair.get(middle + 1..).unwrap_or_default());
        match key {
            b"path" | b"GNU.sparse.name" => *name = Some(value.into()),
            b"size" => *size = Some(std::str::from_utf8(value).ok().and_then(|n| n.parse().ok()).ok_or_else(broken)?),
            _ => {}
        }
    }
    Ok(())
}
