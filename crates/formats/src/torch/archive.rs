//! The zip container of `caffe2/serialize/inline_container.cc`: one directory at the end, all records
//! in one folder. `directory` reads the directory; the content of `data.pkl` is read elsewhere.

use std::collections::HashSet;
use std::io;

use flate2::CrcReader;

use super::directory::{self, DirectoryEntry, Method};
use super::part::{FilePart, Seekable};
use crate::problem::{ProblemKind, Severity};
use crate::problems::{Quote, complaint};

/// The records that may contain the format's version.
const VERSIONS: [&str; 2] = ["version", ".data/version"];
/// Bytes of a small record.
const SMALL: u64 = 64;
/// A record that only packages of `torch.package` have.
const PACKAGE: &str = ".data/extern_modules";

/// A record of the archive.
pub(super) struct ArchiveRecord {
    pub name: Box<str>,
    pub entry: DirectoryEntry,
}

impl ArchiveRecord {
    /// The place of its bytes, if they are not packed.
    pub fn plain(&self) -> Option<u64> {
        (self.entry.method == Method::Stored).then_some(self.entry.start)
    }
}

/// The content of an archive.
pub(super) struct Archive {
    /// The folder that contains every record, if `PyTorch` wrote the archive.
    pub top: Box<str>,
    pub records: Vec<ArchiveRecord>,
}

impl Archive {
    /// Whether `torch.jit.save` wrote it.
    pub fn is_torchscript(&self) -> bool {
        self.find("constants.pkl").is_some()
    }

    /// Whether `torch.package` wrote it.
    pub fn is_package(&self) -> bool {
        self.find("data.pkl").is_none() && self.find(PACKAGE).is_some()
    }

    /// A record's name in the archive's folder; `None` for a record outside.
    pub fn below<'r>(&self, record: &'r ArchiveRecord) -> Option<&'r str> {
        record.name.strip_prefix(&*self.top)?.strip_prefix('/')
    }

    /// The record of this name in the archive's folder.
    pub fn find(&self, name: &str) -> Option<&ArchiveRecord> {
        self.records.iter().find(|record| self.below(record) == Some(name))
    }
}

/// Reads the directory, and the small records that describe the others.
pub(super) fn open(file: &mut dyn Seekable, length: u64) -> Result<Archive, (ProblemKind, String)> {
    let invalid = |message: String| (ProblemKind::ArchiveInvalid, message);
    let entries = directory::read(file, length, true)?;
    let mut records = Vec::with_capacity(entries.len());
    let mut folded = HashSet::with_capacity(entries.len());
    for (index, mut entry) in entries.into_iter().enumerate() {
        let name = String::from_utf8(std::mem::take(&mut entry.name).into_vec())
            .map_err(|_| invalid(format!("the name of record {index} is not UTF-8")))?;
        if !is_plain(&name) {
            return Err(invalid(format!("the name of record {} is not a plain relative path", Quote(&name))));
        }
        // torch's zip reader (miniz) looks names up without regard to case.
        if !folded.insert(name.to_ascii_lowercase()) {
            return Err(invalid(format!("two records are called {}, but for case", Quote(&name))));
        }
        records.push(ArchiveRecord { name: name.into(), entry });
    }
    drop(folded);
    // torch takes the first record's folder as the archive's name, and reads every record from that folder.
    let top: Box<str> = records.first().and_then(|r| r.name.split_once('/')).map_or("", |(top, _)| top).into();
    let archive = Archive { top, records };
    if archive.find("data.pkl").is_none() && !archive.is_package() {
        return Err((ProblemKind::FormatUnexpected, "it is a zip archive without data.pkl, so no PyTorch file".into()));
    }
    if let Some(record) = archive.find("byteorder") {
        let order =
            small(file, record).map_err(|e| invalid(format!("its byteorder cannot be read: {}", complaint(&e))))?;
        // torch reads both byte orders, swaps bytes if it must, and refuses any other value.
        if !matches!(&*order, b"little" | b"big") {
            return Err(invalid("its byteorder record says neither \"little\" nor \"big\"".into()));
        }
    }
    if !archive.is_package() && !VERSIONS.iter().any(|name| archive.find(name).is_some()) {
        return Err(invalid("it has no version record, without which PyTorch does not load it".into()));
    }
    Ok(archive)
}

fn small(file: &mut dyn Seekable, record: &ArchiveRecord) -> io::Result<Vec<u8>> {
    match FilePart::of(file, &record.entry) {
        Some(mut part) => part.head(SMALL),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Reads records to their end and compares their CRC-32 and their sizes. Constant memory. A wrong CRC-32 is
/// only a warning: torch compares none, and may write wrong ones on purpose.
pub(super) fn check_records<'e>(
    file: &mut dyn Seekable,
    entries: impl Iterator<Item = (&'e str, &'e DirectoryEntry)>,
) -> Vec<(Severity, String)> {
    let mut wrong = Vec::new();
    for (name, entry) in entries {
        let Some(mut part) = FilePart::of(file, entry) else { continue };
        let read = part.stream().and_then(|stream| {
            let mut stream = CrcReader::new(stream);
            let length = io::copy(&mut stream, &mut io::sink())?;
            // The stream ends at the size that the record states, so a zip bomb costs no more than that.
            Ok((length, stream.crc().sum()))
        });
        // With `torch.serialization.set_crc32_options(False)` torch writes zeros.
        let unchecked = entry.crc == 0 && entry.method == Method::Stored;
        match read {
            Err(error) => wrong.push((Severity::Error, format!("record {}: {}", Quote(name), complaint(&error)))),
            Ok((length, _)) if length < entry.size => {
                let message = format!("record {} ends {} bytes early", Quote(name), entry.size - length);
                wrong.push((Severity::Error, message));
            }
            Ok((_, sum)) if sum != entry.crc && !unchecked => {
                let message = format!(
                    "the CRC-32 of record {} does not agree with its bytes: they changed, or their writer did not state it",
                    Quote(name)
                );
                wrong.push((Severity::Warning, message));
            }
            Ok(_) => {}
        }
    }
    wrong
}

/// Whether a record's name stays in its folder when it is unpacked. A folder's own entry ends in `/`.
fn is_plain(name: &str) -> bool {
    let path = name.strip_suffix('/').unwrap_or(name);
    !path.contains(['\\', '\0']) && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}
