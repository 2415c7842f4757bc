//! The temporary file of an image layout: its name, its lock, and the offset of each blob. `archive` decides what is
//! written and when the file is complete.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::left;
use crate::model::OciDigest;
use crate::oci::OciError;
use crate::oci::local::{self, BLOBS, INDEX_FILE, LAYOUT, LAYOUT_FILE, at};
use crate::oci::manifest::Index;
use crate::oci::tar::{head, padding, zeros};
use crate::platform::{folder_of, write_all_at};
use crate::store::{Folder, Temporary};

/// The blocks at the end of a tar.
const END: u64 = 1024;
/// The end of a temporary file's name.
pub(super) const PART: &str = ".part";

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The beginning of the names of an archive's temporary files.
pub(super) fn prefix(path: &Path) -> String {
    format!(".{}.", name_of(path))
}

/// An archive that is being written.
pub(super) struct Writer {
    temporary: Temporary,
    pub file: Arc<File>,
    /// Where the next entry begins.
    end: u64,
    /// For each numbered blob: its offset and its size.
    pub places: Vec<(u64, u64)>,
    pub blobs: HashMap<OciDigest, Range<u64>>,
    pub index: Index,
}

/// The name of a blob's file.
pub(super) fn blob_name(digest: &OciDigest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// Bytes of a blob's header. All blobs' names have the same length.
pub(super) fn head_size(size: u64) -> u64 {
    head(&blob_name(&OciDigest::of(b"")), size).len() as u64
}

/// The offset of the first blob: after the layout file.
pub(super) fn first() -> u64 {
    let size = LAYOUT.len() as u64;
    head(LAYOUT_FILE, size).len() as u64 + size + padding(size)
}

/// The end of a blob that begins at this offset; `None` if no file can be so large.
pub(super) fn after(begins: u64, size: u64) -> Option<u64> {
    let content = begins.checked_add(head_size(size))?.checked_add(size)?;
    content.checked_add(padding(size))
}

impl Writer {
    pub fn begin(path: &Path) -> Result<Self, OciError> {
        let folder = Arc::new(Folder::make_and_flush(folder_of(path), Path::new(""))?);
        let prefix = prefix(path);
        // This run has taken the blobs that it can use. The rest is not needed.
        drop(left::dead(&folder, &prefix));
        let temporary = Temporary::new(&folder, &prefix, PART)?;
        let (file, index) = (Arc::clone(temporary.file()), local::empty_index());
        let mut writer = Writer { temporary, file, end: 0, places: Vec::new(), blobs: HashMap::new(), index };
        writer.append(LAYOUT_FILE, LAYOUT).map_err(at(path))?;
        Ok(writer)
    }

    /// The offset for a blob of `size` bytes.
    pub fn place(&mut self, size: u64) -> Option<(u64, u64)> {
        let begins = self.end;
        self.end = after(begins, size)?;
        Some((begins, size))
    }

    /// Writes a small file after all others.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        let mut whole = head(name, size);
        whole.extend_from_slice(bytes);
        whole.extend(zeros(padding(size)));
        write_all_at(&self.file, &whole, self.end)?;
        self.end += whole.len() as u64;
        Ok(())
    }

    pub fn finish(mut self, path: &Path) -> Result<(), OciError> {
        let index = serde_json::to_vec(&self.index).unwrap_or_default();
        let written = self.append(INDEX_FILE, &index);
        written.and_then(|()| write_all_at(&self.file, &zeros(END), self.end)).map_err(at(path))?;
        Ok(self.temporary.settle(&name_of(path))?)
    }
}
