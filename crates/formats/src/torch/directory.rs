//! A zip archive's directory, read field by field as torch's bundled reader does (miniz,
//! `mz_zip_reader_read_central_dir` and `mz_zip_file_stat_internal`). If another reader could see another
//! archive in the same bytes, the archive is refused. The records' content is read elsewhere.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use crate::problem::ProblemKind;
use crate::problems::{Quote, complaint};

/// Records of one archive.
const RECORDS_LIMIT: u64 = 1_000_000;
/// Bytes of a directory of that many records.
const DIRECTORY_LIMIT: u64 = 256 << 20;
/// The end-of-directory record, and the longest comment after it.
const END: usize = 22;
const TAIL: u64 = END as u64 + 65_535;
/// The end-of-directory record of zip64, and the locator that points to it.
const END64: usize = 56;
const LOCATOR: usize = 20;
/// Compression levels, sizes after the data, UTF-8 names.
const KNOWN_FLAGS: u16 = 0x0002 | 0x0004 | 0x0008 | 0x0800;
/// Extra fields: the long sizes, and another name that some readers take.
const ZIP64: u16 = 0x0001;
const UNICODE_PATH: u16 = 0x7075;

/// How a record's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Stored,
    Deflated,
    /// Packed by a method that torch lacks.
    Other,
}

/// A record.
#[derive(Debug)]
pub(crate) struct DirectoryEntry {
    /// The name in the directory.
    pub name: Box<[u8]>,
    pub method: Method,
    pub crc: u32,
    /// How many bytes it takes in the archive.
    pub packed: u64,
    /// How many bytes its content has.
    pub size: u64,
    /// Where its bytes start.
    pub start: u64,
}

type Refused = (ProblemKind, String);

fn invalid(message: impl Into<String>) -> Refused {
    (ProblemKind::ArchiveInvalid, message.into())
}

/// Reads the directory of an archive of `length` bytes; no two of its records share bytes.
///
/// If the archive is for torch alone (`strict`), anything that other readers would read in another way is
/// refused as well. In other archives every record is read, whatever its name is.
pub(crate) fn read(
    file: &mut (impl Read + Seek + ?Sized),
    length: u64,
    strict: bool,
) -> Result<Vec<DirectoryEntry>, Refused> {
    let Directory { entries: claimed, start, end } = directory(file, length)?;
    // The check comes before any memory is taken: the memory is in proportion to these numbers.
    if claimed > RECORDS_LIMIT {
        return Err(invalid(format!("its directory claims {claimed} records; more than {RECORDS_LIMIT} are not read")));
    }
    let size = end.saturating_sub(start);
    if size > DIRECTORY_LIMIT {
        return Err(invalid(format!("its directory has more than {DIRECTORY_LIMIT} bytes, which are not read")));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))
        .and_then(|_| (&mut *file).take(size).read_to_end(&mut bytes))
        .map_err(|e| invalid(format!("its directory cannot be read: {}", complaint(&e))))?;
    let (mut rest, mut found) = (&*bytes, Vec::new());
    while !rest.is_empty() {
        if found.len() as u64 >= claimed {
            return Err(invalid("its directory has more entries than it claims"));
        }
        let (entry, after) = entry(rest, strict)?;
        found.push(entry);
        rest = after;
    }
    if (found.len() as u64) < claimed {
        return Err(invalid(format!("its directory claims {claimed} records and has {}", found.len())));
    }
    drop(bytes);
    located(file, found, start)
}

/// Finds where each record's bytes start. The lengths of the fields in the record's own header determine it.
fn located(
    file: &mut (impl Read + Seek + ?Sized),
    mut entries: Vec<(DirectoryEntry, u64)>,
    end: u64,
) -> Result<Vec<DirectoryEntry>, Refused> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|at| entries.get(*at).map_or(0, |(_, offset)| *offset));
    let mut file = BufReader::new(file);
    let (mut at, mut free) = (None, 0);
    for index in order {
        let Some((entry, offset)) = entries.get_mut(index) else { continue };
        let (name, offset) = (&entry.name, *offset);
        let broken = |what: &str| invalid(format!("record {} {what}", Quote(&String::from_utf8_lossy(name))));
        if offset < free {
            return Err(broken("overlaps another"));
        }
        let by = at.and_then(|at: u64| i64::try_from(offset.checked_sub(at)?).ok());
        let mut header = [0; 30];
        match by {
            Some(by) => file.seek_relative(by),
            None => file.seek(SeekFrom::Start(offset)).map(drop),
        }
        .and_then(|()| file.read_exact(&mut header))
        .map_err(|_| broken("is beyond the archive"))?;
        at = offset.checked_add(30);
        if !header.starts_with(b"PK\x03\x04") {
            return Err(broken("is not where the directory says"));
        }
        let fields = u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        entry.start = offset.saturating_add(30 + fields);
        free = entry
            .start
            .checked_add(entry.packed)
            .filter(|to| *to <= end)
            .ok_or_else(|| broken("reaches beyond the archive"))?;
    }
    Ok(entries.into_iter().map(|(entry, _)| entry).collect())
}

/// The first entry of `bytes`, the place of its record, and the bytes after the entry.
fn entry(bytes: &[u8], strict: bool) -> Result<((DirectoryEntry, u64), &[u8]), Refused> {
    let (head, rest) = bytes
        .split_first_chunk::<46>()
        .filter(|(head, _)| head.starts_with(b"PK\x01\x02"))
        .ok_or_else(|| invalid("its directory has something other than entries"))?;
    let field = |at: usize| usize::from(u16_at(head, at));
    let cut = || invalid("its directory ends inside an entry");
    let (name, rest) = rest.split_at_checked(field(28)).ok_or_else(cut)?;
    let (extra, rest) = rest.split_at_checked(field(30)).ok_or_else(cut)?;
    let (_comment, rest) = rest.split_at_checked(field(32)).ok_or_else(cut)?;
    let mut entry = DirectoryEntry {
        name: name.into(),
        method: match u16_at(head, 10) {
            0 => Method::Stored,
            8 => Method::Deflated,
            _ => Method::Other,
        },
        crc: u32_at(head, 16),
        packed: u32_at(head, 20).into(),
        size: u32_at(head, 24).into(),
        start: 0,
    };
    let broken = |what: &str| invalid(format!("record {} {what}", Quote(&String::from_utf8_lossy(name))));
    if u16_at(head, 8) & !KNOWN_FLAGS != 0 || field(34) != 0 {
        entry.method = Method::Other;
    }
    if strict && entry.method == Method::Other {
        return Err(broken("is encrypted, on another disk, or packed in a way that PyTorch lacks"));
    }
    let mut offset = u64::from(u32_at(head, 42));
    let mut long = None;
    let mut fields = extra;
    while let Some((start, after)) = fields.split_first_chunk::<4>() {
        let (content, after) =
            after.split_at_checked(u16_at(start, 2).into()).ok_or_else(|| broken("has an extra field that is cut"))?;
        fields = after;
        match u16_at(start, 0) {
            ZIP64 if long.is_some() => {
                return Err(broken("states its sizes twice, and readers differ in which they take"));
            }
            ZIP64 => long = Some(content),
            UNICODE_PATH if strict => {
                return Err(broken("has a second name, which some readers take and PyTorch does not"));
            }
            _ => {}
        }
    }
    let mut long = long.unwrap_or_default();
    for value in [&mut entry.size, &mut entry.packed, &mut offset] {
        if *value == u64::from(u32::MAX) {
            let (number, rest) = long.split_first_chunk::<8>().ok_or_else(|| broken("lacks a size of zip64"))?;
            *value = u64::from_le_bytes(*number);
            long = rest;
        }
    }
    // torch reads as many bytes of a stored record as its content has, other readers as many as it takes in the
    // archive.
    if entry.method == Method::Stored && entry.size != entry.packed {
        return Err(broken("is stored uncompressed, but has two sizes"));
    }
    Ok(((entry, offset), rest))
}

/// The content of the directory's end.
struct Directory {
    entries: u64,
    /// The place where the entries start.
    start: u64,
    /// The place where they end.
    end: u64,
}

/// Reads the directory's end, which is the end of the file.
fn directory(file: &mut (impl Read + Seek + ?Sized), length: u64) -> Result<Directory, Refused> {
    let unread = |e: io::Error| invalid(format!("it cannot be read: {}", complaint(&e)));
    let window = length.min(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(length - window))
        .and_then(|_| (&mut *file).take(window).read_to_end(&mut tail))
        .map_err(unread)?;
    let none = || invalid("it has no zip directory at its end: it is cut short, or no zip archive");
    let at = tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or_else(none)?;
    let end = tail.get(at..at + END).ok_or_else(none)?;
    // Exactly the comment must follow; otherwise these bytes only look like the end of a directory.
    if at + END + usize::from(u16_at(end, 20)) != tail.len() {
        return Err(none());
    }
    let locator = at.checked_sub(LOCATOR).and_then(|from| tail.get(from..at)).filter(|l| l.starts_with(b"PK\x06\x07"));
    let at = length - window + at as u64;
    let Some(locator) = locator else {
        let (start, size) = (u64::from(u32_at(end, 16)), u64::from(u32_at(end, 12)));
        // The archive has one disk, numbered from 0; offsets count from the file's start.
        if u32_at(end, 4) != 0 || start + size != at {
            return Err(invalid("its directory is not where its end says, or it is one of several disks"));
        }
        return Ok(Directory { entries: u16_at(end, 10).into(), start, end: at });
    };
    // torch always follows the locator, whatever the older record says.
    let offset = u64_at(locator, 8);
    let mut zip64 = [0; END64];
    let found = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut zip64)).is_ok();
    if !found || !zip64.starts_with(b"PK\x06\x06") {
        return Err(none());
    }
    let place = at.saturating_sub(LOCATOR as u64);
    if offset.checked_add(END64 as u64) != Some(place) || u64_at(&zip64, 4) != END64 as u64 - 12 {
        return Err(invalid("bytes are between the records at its end: other readers could see another archive there"));
    }
    let (entries, size, start) = (u64_at(&zip64, 32), u64_at(&zip64, 40), u64_at(&zip64, 48));
    let one_disk =
        u64_at(&zip64, 16) == 0 && locator.get(4..8) == Some(&[0; 4]) && locator.get(16..) == Some(&[1, 0, 0, 0]);
    if !one_disk || start.checked_add(size) != Some(offset) {
        return Err(invalid("its directory is not where its end says, or it is one of several disks"));
    }
    // A reader that does not know zip64 must not see another archive.
    let agrees = |old: u64, all: u64, new: u64| old == all || old == new;
    let same = agrees(u16_at(end, 10).into(), u16::MAX.into(), entries)
        && agrees(u32_at(end, 12).into(), u32::MAX.into(), size)
        && agrees(u32_at(end, 16).into(), u32::MAX.into(), start);
    if same {
        Ok(Directory { entries, start, end: offset })
    } else {
        Err(invalid("its two ends name different directories"))
    }
}

/// Two bytes as a number; zero if there are none.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}
