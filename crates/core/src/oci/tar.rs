//! Tar for layers and archives: the bytes around a file's content, which depend only on its name and size, and a walk
//! over the headers of a tar that another program wrote. No content is read here.

use std::io;

use tar::{EntryType, Header, PaxExtensions};

const BLOCK: u64 = 512;
const HEADER: usize = 512;
/// The blocks at the end of an archive.
const END: u64 = 2 * BLOCK;
/// Eleven octal digits: the largest size in a USTAR header.
const OCTAL: u64 = 1 << 33;
/// The longest PAX header of other programs.
const PAX_LIMIT: u64 = 64 << 10;

/// The header of one file: owner root, readable by all, no time. A PAX header precedes it if USTAR cannot state the
/// name or the size.
pub(crate) fn head(name: &str, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    let mut header = regular(EntryType::Regular);
    // USTAR knows ASCII names only.
    if !name.is_ascii() || header.set_path(name).is_err() {
        records.extend(record("path", name));
        header = regular(EntryType::Regular);
        let _ = header.set_path("models/file");
    }
    if size < OCTAL {
        header.set_size(size);
    } else {
        records.extend(record("size", &size.to_string()));
        header.set_size(0);
    }
    header.set_cksum();
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let mut pax = regular(EntryType::XHeader);
        // No program reads the name of the PAX header itself; it is short enough.
        let _ = pax.set_path("PaxHeaders/file");
        pax.set_size(records.len() as u64);
        pax.set_cksum();
        bytes.extend_from_slice(pax.as_bytes());
        let length = records.len() as u64;
        bytes.extend(records);
        bytes.extend(zeros(padding(length)));
    }
    bytes.extend_from_slice(header.as_bytes());
    bytes
}

fn regular(kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// `LENGTH KEY=VALUE\n`; the length includes its own digits.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

/// The zeros after content of this size, up to the next block.
pub(crate) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

pub(crate) fn zeros(count: u64) -> Vec<u8> {
    // There are at most two blocks and a part of one.
    vec![0; usize::try_from(count.min(END + BLOCK)).unwrap_or_default()]
}

/// The bytes of a layer with one file, except the file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Framing {
    /// The bytes before the content.
    pub head: Vec<u8>,
    /// The count of zeros after it.
    pub tail: u64,
    /// The size of the whole layer.
    pub size: u64,
}

impl Framing {
    /// The layer of a file with this name. `None` if the sizes make no sense.
    pub fn new(name: &str, size: u64) -> Option<Self> {
        // The sum of all parts must not overflow.
        let tail = size.checked_next_multiple_of(BLOCK)?.checked_sub(size)?.checked_add(END)?;
        let head = head(name, size);
        let whole = (head.len() as u64).checked_add(size)?.checked_add(tail)?;
        Some(Framing { head, tail, size: whole })
    }

    /// The offset of the content.
    pub fn at(&self) -> u64 {
        self.head.len() as u64
    }
}

/// One entry of a tar that another program wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// `None` if it is not a regular file.
    pub name: Option<String>,
    /// The offset of its content.
    pub at: u64,
    pub size: u64,
}

/// Walks over a tar by its headers. `read` fills the buffer from an offset; it is never called for bytes beyond
/// `length`.
pub(super) fn walk(
    length: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    mut found: impl FnMut(Entry) -> Result<(), String>,
) -> Result<(), WalkError> {
    let mut at = 0;
    let (mut pax_size, mut pax_name) = (None, None);
    loop {
        let mut block = [0; HEADER];
        if length.saturating_sub(at) < BLOCK {
            return Err(WalkError::Invalid("it ends in the middle of a tar".to_owned()));
        }
        read(&mut block, at)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let header = Header::from_byte_slice(&block);
        let stated = header.cksum().ok();
        if stated != Some(checksum(&block)) {
            return Err(WalkError::Invalid(format!("there is no tar header at byte {at}")));
        }
        let size =
            header.entry_size().map_err(|_| WalkError::Invalid(format!("the size at byte {at} is not a number")))?;
        let kind = header.entry_type();
        let extends = matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader);
        let size = if extends { size } else { pax_size.take().unwrap_or(size) };
        let begins = at + BLOCK;
        let next = size.checked_next_multiple_of(BLOCK).and_then(|padded| begins.checked_add(padded));
        let Some(next) = next.filter(|next| *next <= length) else {
            return Err(WalkError::Invalid("it ends in the middle of a file".to_owned()));
        };
        if kind == EntryType::XHeader {
            if size > PAX_LIMIT {
                return Err(WalkError::Invalid(format!("the PAX header at byte {at} is too large")));
            }
            let mut records = vec![0; usize::try_from(size).unwrap_or_default()];
            read(&mut records, begins)?;
            for extension in PaxExtensions::new(&records).flatten() {
                match (extension.key(), extension.value()) {
                    (Ok("size"), Ok(value)) => pax_size = value.parse().ok(),
                    (Ok("path"), Ok(value)) => pax_name = Some(value.to_owned()),
                    _ => {}
                }
            }
        } else if !extends {
            let own = || std::str::from_utf8(&header.path_bytes()).ok().map(str::to_owned);
            let name = pax_name.take().or_else(own).filter(|_| kind == EntryType::Regular);
            found(Entry { name, at: begins, size }).map_err(WalkError::Invalid)?;
        }
        at = next;
    }
}

/// Why a walk over a tar ended early.
#[derive(Debug)]
pub(super) enum WalkError {
    Io(io::Error),
    Invalid(String),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        WalkError::Io(error)
    }
}

/// The sum of a header's bytes, with spaces instead of the sum's field.
fn checksum(block: &[u8; HEADER]) -> u32 {
    block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn layer(name: &str, content: &[u8]) -> Vec<u8> {
        let framing = Framing::new(name, content.len() as u64).unwrap();
        let mut bytes = framing.head.clone();
        bytes.extend_from_slice(content);
        bytes.extend(zeros(framing.tail));
        assert_eq!(bytes.len() as u64, framing.size);
        bytes
    }

    fn walked(bytes: &[u8]) -> Result<Vec<Entry>, WalkError> {
        let mut entries = Vec::new();
        let read = |buffer: &mut [u8], at: u64| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
            Ok(())
        };
        walk(bytes.len() as u64, read, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn a_layer_has_one_header_one_padded_file_and_two_blocks_at_its_end() {
        for (size, whole) in [(0, 512 + 1024), (1, 512 + 512 + 1024), (512, 512 + 512 + 1024), (513, 512 + 1024 + 1024)]
        {
            assert_eq!(layer("models/config.json", &vec![7; size]).len(), whole, "{size} bytes");
        }
    }

    #[test]
    fn another_reader_finds_the_same_file_under_any_name() {
        let long = format!("models/{}/{}.bin", "folder".repeat(30), "name".repeat(40));
        for name in ["models/config.json", "models/größe.json", &long, &format!("models/{}/x", "d".repeat(140))] {
            let bytes = layer(name, b"content");
            let mut archive = ::tar::Archive::new(&bytes[..]);
            let mut entries = archive.entries().unwrap();
            let mut entry = entries.next().unwrap().unwrap();
            assert_eq!(entry.path().unwrap().to_str(), Some(name));
            let header = entry.header();
            assert_eq!((header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0o644, 0, 0));
            assert_eq!(header.mtime().unwrap(), 0);
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            assert_eq!(content, "content");
            assert!(entries.next().is_none());
            let found = walked(&bytes).unwrap();
            let at = Framing::new(name, 7).unwrap().at();
            assert_eq!(found, [Entry { name: Some(name.to_owned()), at, size: 7 }]);
        }
    }

    #[test]
    fn pax_is_used_only_where_ustar_is_not_enough() {
        assert_eq!(Framing::new("models/a", 8 << 30).unwrap().at(), 3 * BLOCK);
        assert_eq!(Framing::new("models/a", (8 << 30) - 1).unwrap().at(), BLOCK);
        assert_eq!(Framing::new(&format!("models/{}/a", "d".repeat(120)), 1).unwrap().at(), BLOCK);
        assert_eq!(Framing::new(&format!("models/{}", "d".repeat(120)), 1).unwrap().at(), 3 * BLOCK);
        assert_eq!(Framing::new("models/a", u64::MAX), None);
        let head = head("models/a", 9 << 30);
        let text = String::from_utf8_lossy(&head);
        assert!(text.contains("19 size=9663676416\n"), "{text:?}");
    }

    #[test]
    fn a_cut_tar_and_a_file_that_is_not_a_tar_are_refused() {
        let good = layer("models/a", &[1; 600]);
        assert!(walked(&good).is_ok());
        for end in [0, 100, 512, 1024, 1100] {
            assert!(walked(&good[..end]).is_err(), "{end}");
        }
        let mut other = good;
        other[0] ^= 1;
        assert!(walked(&other).is_err());
        assert!(walked(&[b'x'; 4096]).is_err());
    }
}
