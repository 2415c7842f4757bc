//! What killed runs left of an archive: temporary files beside it, with some complete blobs. A blob's header is written
//! after its bytes, so a header marks a blob that is probably complete. It proves nothing: the caller hashes the bytes.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::writer::{PART, after, blob_name, first, head_size, prefix};
use crate::oci::Left;
use crate::oci::local::{LAYOUT, LAYOUT_FILE, digest_of_name};
use crate::oci::tar::head;
use crate::platform::{folder_of, read_exact_at};
use crate::store::{self, Dead, Folder};

/// A file that a killed run left. No other run uses it while this value exists. It is removed afterwards.
pub(super) struct LeftOver {
    file: Dead,
    folder: Arc<Folder>,
}

/// The files of an archive that no running hfget has locked.
pub(super) fn dead(folder: &Arc<Folder>, prefix: &str) -> Vec<LeftOver> {
    let dead = store::dead(folder, prefix, PART, is_ours);
    dead.into_iter().map(|file| LeftOver { file, folder: Arc::clone(folder) }).collect()
}

/// Whether a file begins like every archive of hfget, or has no bytes yet.
fn is_ours(file: &File) -> bool {
    let expected = head(LAYOUT_FILE, LAYOUT.len() as u64);
    let mut found = vec![0; expected.len()];
    match read_exact_at(file, &mut found, 0) {
        Ok(()) => found == expected,
        Err(_) => file.metadata().is_ok_and(|meta| meta.len() == 0),
    }
}

/// Locks what killed runs left, and finds blobs of these sizes at the offsets that they would have.
pub(super) fn take(path: &Path, sizes: &[u64]) -> (Vec<LeftOver>, Vec<Option<Left>>) {
    let folder = Folder::find(folder_of(path), Path::new("")).ok().flatten();
    let left = folder.map(|folder| dead(&Arc::new(folder), &prefix(path))).unwrap_or_default();
    let mut begins = Some(first());
    let mut found = Vec::new();
    for size in sizes {
        let Some(at) = begins else { break };
        found.push(left.iter().find_map(|left| left.blob(at, *size)));
        begins = after(at, *size);
    }
    (left, found)
}

impl LeftOver {
    /// The blob with a header at this offset.
    fn blob(&self, begins: u64, size: u64) -> Option<Left> {
        let length = head_size(size);
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        read_exact_at(&self.file.file, &mut bytes, begins).ok()?;
        // The last block has the name, in its first hundred bytes.
        let block = bytes.get(bytes.len().checked_sub(512)?..)?;
        let name = block.get(..100)?.split(|byte| *byte == 0).next()?;
        let digest = digest_of_name(std::str::from_utf8(name).ok()?)?;
        (head(&blob_name(&digest), size) == bytes)
            .then(|| Left { path: self.folder.path(&self.file.name), at: begins + length })
    }
}
