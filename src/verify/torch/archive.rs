//! The zip container of `caffe2/serialize/inline_container.cc`: one directory at the end, all records
//! in one folder and stored as they are. What `data.pkl` means is read elsewhere.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};

use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::{CompressionMethod, ZipArchive};

use super::PICKLE_LIMIT;
use crate::finding::Code;
use crate::verify::findings::{Quote, complaint};

/// Records of one archive.
const RECORDS_LIMIT: u64 = 1_000_000;
/// Bytes of a directory of that many records.
const DIRECTORY_LIMIT: u64 = 256 << 20;
/// The end-of-directory record, and the longest comment after it.
const END: usize = 22;
const TAIL: u64 = END as u64 + 65_535;
/// Compression levels, sizes after the data, UTF-8 names.
const KNOWN_FLAGS: u16 = 0x0002 | 0x0004 | 0x0008 | 0x0800;
/// Where the format's version stands.
const VERSIONS: [&str; 2] = ["/version", "/.data/version"];

/// A record of the archive.
pub(super) struct Record {
    pub name: Box<str>,
    pub size: u64,
    /// Not compressed.
    pub stored: bool,
    pub start: Option<u64>,
}

/// What an archive holds.
pub(super) struct Archive {
    /// The folder that holds every record, if `PyTorch` wrote it.
    pub top: Box<str>,
    pub records: Vec<Record>,
    /// The content of `data.pkl`, whose CRC-32 was checked.
    pub pickle: Vec<u8>,
    /// That of `constants.pkl`, which a TorchScript archive has beside it.
    pub constants: Option<Vec<u8>>,
}

impl Archive {
    /// Whether `torch.jit.save` wrote it.
    pub fn is_torchscript(&self) -> bool {
        self.constants.is_some()
    }

    /// A record's name in the archive's folder; `None` for one that lies outside.
    pub fn below<'r>(&self, record: &'r Record) -> Option<&'r str> {
        record.name.strip_prefix(&*self.top)?.strip_prefix('/')
    }
}

/// Reads the directory; it is the one that torch sees, and no two records share bytes.
fn directory_of<R: Read + Seek>(mut file: R, length: u64) -> Result<(ZipArchive<R>, Directory), (Code, String)> {
    let invalid = |message: String| (Code::ArchiveInvalid, message);
    // Looked at before the directory is parsed: its memory is in proportion to the entries' count.
    let Directory { entries: claimed, start, end } = directory(&mut file, length)
        .map_err(|e| invalid(format!("it cannot be read: {e}")))?
        .ok_or_else(|| invalid("it has no zip directory at its end: it is cut short, or no zip archive".into()))?;
    if claimed > RECORDS_LIMIT {
        return Err(invalid(format!("its directory claims {claimed} records; more than {RECORDS_LIMIT} are not read")));
    }
    if end.saturating_sub(start) > DIRECTORY_LIMIT {
        return Err(invalid(format!("its directory has more than {DIRECTORY_LIMIT} bytes, which are not read")));
    }
    // torch takes offsets from the file's start. A reader that looks for where the archive might
    // begin instead could be shown another archive than torch sees.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, file)
        .map_err(|e| invalid(format!("it is no whole zip archive: {}", complaint(&e))))?;
    // An archive may have two directories, one at its old-style end and one at its zip64 end.
    if archive.central_directory_start() != start {
        return Err(invalid("its two ends name different directories".into()));
    }
    // The reader keeps the last of several records of one name; torch may find another.
    if archive.len() as u64 != claimed {
        return Err(invalid(format!(
            "its directory claims {claimed} records, of which {} can be told apart",
            archive.len()
        )));
    }
    if archive
        .has_overlapping_entries()
        .map_err(|e| invalid(format!("its records cannot be located: {}", complaint(&e))))?
    {
        return Err(invalid("its records overlap, or reach beyond the archive".into()));
    }
    Ok((archive, Directory { entries: claimed, start, end }))
}

/// Reads the directory and the small records that say what the others are.
pub(super) fn open(file: impl Read + Seek, length: u64) -> Result<Archive, (Code, String)> {
    let invalid = |message: String| (Code::ArchiveInvalid, message);
    let (mut archive, Directory { entries: claimed, start, end }) = directory_of(file, length)?;
    let mut records = Vec::with_capacity(archive.len());
    let mut folded = HashSet::with_capacity(archive.len());
    for index in 0..archive.len() {
        let record = archive
            .by_index_raw(index)
            .map_err(|e| invalid(format!("record {index} cannot be located: {}", complaint(&e))))?;
        let name = std::str::from_utf8(record.name_raw())
            .map_err(|_| invalid(format!("the name of record {index} is not UTF-8")))?;
        if !is_plain(name) {
            return Err(invalid(format!("the name of record {} is no plain relative path", Quote(name))));
        }
        // torch's zip reader (miniz) looks names up without regard to case.
        if !folded.insert(name.to_ascii_lowercase()) {
            return Err(invalid(format!("two records are called {}, but for case", Quote(name))));
        }
        records.push(Record {
            name: name.into(),
            size: record.size(),
            stored: record.compression() == CompressionMethod::Stored && record.size() == record.compressed_size(),
            start: record.data_start(),
        });
    }
    // torch takes the first record's folder as the archive's name, and every record from there.
    let top: Box<str> = records.first().and_then(|r| r.name.split_once('/')).map_or("", |(top, _)| top).into();
    let find = |name: &str| {
        records.iter().position(|r| r.name.strip_prefix(&*top).is_some_and(|r| r.strip_prefix('/') == Some(name)))
    };
    let Some(pickle) = find("data.pkl") else {
        return Err((Code::FormatUnexpected, "it is a zip archive without data.pkl, so no PyTorch file".into()));
    };
    let pickle = content(&mut archive, pickle, records[pickle].size, "data.pkl")?;
    let constants =
        find("constants.pkl").map(|at| content(&mut archive, at, records[at].size, "constants.pkl")).transpose()?;
    if let Some(at) = find("byteorder") {
        let order = content(&mut archive, at, records[at].size, "byteorder")?;
        // torch reads either, swapping bytes as it must, and refuses the rest.
        if !matches!(&*order, b"little" | b"big") {
            return Err(invalid("its byteorder record says neither \"little\" nor \"big\"".into()));
        }
    }
    if !records.iter().any(|r| VERSIONS.contains(&r.name.strip_prefix(&*top).unwrap_or_default())) {
        return Err(invalid("it has no version record, without which PyTorch does not load it".into()));
    }
    check_directory(&mut archive.into_inner(), start, end, claimed).map_err(|why| invalid(why.into()))?;
    Ok(Archive { top, records, pickle, constants })
}

/// The bytes of a small record, whose CRC-32 is checked on the way.
fn content(
    archive: &mut ZipArchive<impl Read + Seek>,
    index: usize,
    size: u64,
    name: &str,
) -> Result<Vec<u8>, (Code, String)> {
    if size > PICKLE_LIMIT {
        let message = format!("its {name} has {size} bytes; more than {PICKLE_LIMIT} are not read");
        return Err((Code::PickleInvalid, message));
    }
    let mut bytes = Vec::new();
    record(archive, index)
        .and_then(|r| r.take(PICKLE_LIMIT + 1).read_to_end(&mut bytes))
        .map_err(|e| (Code::ArchiveInvalid, format!("its {name} cannot be read: {}", complaint(&e))))?;
    if bytes.len() as u64 != size {
        let message = format!("its {name} should have {size} bytes and has another length");
        return Err((Code::ArchiveInvalid, message));
    }
    Ok(bytes)
}

/// A record's content. Its CRC-32 is checked when it has been read to its end, if there is one: with
/// `torch.serialization.set_crc32_options(False)` torch writes zeros.
fn record<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize) -> io::Result<ZipFile<'_, R>> {
    let raw = archive.by_index_raw(index)?;
    let unchecked = raw.crc32() == 0 && raw.compression() == CompressionMethod::Stored;
    drop(raw);
    Ok(if unchecked { archive.by_index_raw(index)? } else { archive.by_index(index)? })
}

/// Reads every record to its end and compares its CRC-32. Constant memory; `Err` where the archive
/// cannot be followed at all.
pub(super) fn check_records(file: impl Read + Seek, length: u64) -> Result<Vec<String>, (Code, String)> {
    let (mut archive, _) = directory_of(file, length)?;
    let mut wrong = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    for index in 0..archive.len() {
        let (name, size) = match archive.by_index_raw(index) {
            Ok(record) => (String::from_utf8_lossy(record.name_raw()).into_owned(), record.size()),
            Err(error) => {
                wrong.push(format!("record {index} cannot be located: {}", complaint(&error)));
                continue;
            }
        };
        let mut left = size;
        let read = record(&mut archive, index).and_then(|mut content| {
            loop {
                match content.read(&mut buffer)? {
                    0 => return Ok(()),
                    // A bomb ends where its record says that it does.
                    n if n as u64 > left => return Err(io::Error::other("it has more bytes than its record says")),
                    n => left -= n as u64,
                }
            }
        });
        match read {
            Ok(()) if left == 0 => {}
            Ok(()) => wrong.push(format!("record {} ends {left} bytes early", Quote(&name))),
            Err(error) => wrong.push(format!("record {}: {}", Quote(&name), complaint(&error))),
        }
    }
    Ok(wrong)
}

/// What the zip crate passes over and torch's reader does not: flags of features that it lacks, and
/// records behind the last that is counted, which readers that do not count would see.
fn check_directory(file: &mut (impl Read + Seek), start: u64, end: u64, claimed: u64) -> Result<(), &'static str> {
    let mut directory = Vec::new();
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.take(end.saturating_sub(start)).read_to_end(&mut directory))
        .map_err(|_| "its directory cannot be read again")?;
    let (mut rest, mut entries) = (&*directory, 0);
    while let Some((entry, after)) = rest.split_first_chunk::<46>() {
        let u16_at = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        if u16_at(8) & !KNOWN_FLAGS != 0 || u16_at(34) != 0 {
            return Err("a record is encrypted, on another disk, or uses a feature of zip that PyTorch lacks");
        }
        // Its name, extra field and comment.
        let length = usize::from(u16_at(28)) + usize::from(u16_at(30)) + usize::from(u16_at(32));
        rest = after.get(length..).ok_or("its directory ends inside an entry")?;
        entries += 1;
    }
    if entries == claimed && rest.is_empty() { Ok(()) } else { Err("its directory holds more than it claims") }
}

/// Whether a record's name stays in its folder when it is unpacked. A folder's own entry ends in `/`.
fn is_plain(name: &str) -> bool {
    let path = name.strip_suffix('/').unwrap_or(name);
    !path.contains(['\\', '\0']) && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// What the directory's end says.
struct Directory {
    entries: u64,
    /// Where the entries start.
    start: u64,
    /// Where they end.
    end: u64,
}

/// Reads the directory's end; `None` if the file does not end in one.
fn directory(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<Directory>> {
    let window = length.min(TAIL);
    file.seek(SeekFrom::Start(length - window))?;
    let mut tail = Vec::new();
    file.by_ref().take(window).read_to_end(&mut tail)?;
    let Some(at) = tail.windows(4).rposition(|w| w == b"PK\x05\x06") else { return Ok(None) };
    let Some(end) = tail.get(at..at + END) else { return Ok(None) };
    let u16_at = |i: usize| u16::from_le_bytes([end[i], end[i + 1]]);
    // What follows is the comment, exactly; else this is the inside of something else.
    if at + END + usize::from(u16_at(20)) != tail.len() {
        return Ok(None);
    }
    let locator = at.checked_sub(20).and_then(|from| tail.get(from..at)).filter(|l| l.starts_with(b"PK\x06\x07"));
    let u32_at = |i: usize| u64::from(u16_at(i)) | u64::from(u16_at(i + 2)) << 16;
    let at = length - window + at as u64;
    let Some(locator) = locator else {
        let (start, size) = (u32_at(16), u32_at(12));
        // One disk, numbered from 0.
        let sound = u32_at(4) == 0 && start + size == at;
        return Ok(sound.then_some(Directory { entries: u16_at(10).into(), start, end: at }));
    };
    let offset = u64_at(locator, 8);
    let mut zip64 = [0; 56];
    file.seek(SeekFrom::Start(offset))?;
    if file.read_exact(&mut zip64).is_err() || !zip64.starts_with(b"PK\x06\x06") {
        return Ok(None);
    }
    let (entries, size, start) = (u64_at(&zip64, 32), u64_at(&zip64, 40), u64_at(&zip64, 48));
    // On one disk, says the locator as well.
    let one_disk = u64_at(&zip64, 16) == 0 && locator[4..8] == [0; 4] && locator[16..] == [1, 0, 0, 0];
    let sound = one_disk && start.checked_add(size) == Some(offset);
    Ok(sound.then_some(Directory { entries, start, end: offset }))
}

/// Eight bytes as a number; zero where there are none.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |b| b.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}
