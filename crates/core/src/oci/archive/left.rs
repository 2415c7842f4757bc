//! What killed runs left of an archive: temporary files beside it, with some complete blobs. A blob's header is written
//! after its bytes, so a header marks a blob that is probably complete. It proves nothing: the caller hashes the bytes.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::writer::{PART, after, blob_name, first, head_size, prefix};
use crate::oci::Left;
use crate::oci::local::digest_of_name;
use crate::oci::tar::head;
use crate::platform::{folder_of, read_exact_at};

/// A file that a killed run left. No other run uses it while this value exists. It is removed afterwards.
pub(super) struct LeftOver {
    /// Locked while it is open.
    file: File,
    path: PathBuf,
}

impl Drop for LeftOver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The temporary files of an archive that no running process has locked.
pub(super) fn dead(folder: &Path, prefix: &str) -> Vec<LeftOver> {
    let ours = |name: &str| name.starts_with(prefix) && name.ends_with(PART);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of_archive = entries.filter(|entry| {
        entry.file_name().to_str().is_some_and(ours) && entry.file_type().is_ok_and(|kind| kind.is_file())
    });
    let taken = of_archive.filter_map(|entry| {
        let file = File::open(entry.path()).ok()?;
        file.try_lock().ok()?;
        Some(LeftOver { file, path: entry.path() })
    });
    taken.collect()
}

/// Locks what killed runs left, and finds blobs of these sizes at the offsets that they would have.
pub(super) fn take(path: &Path, sizes: &[u64]) -> (Vec<LeftOver>, Vec<Option<Left>>) {
    let folder = folder_of(path);
    let left = dead(folder, &prefix(path));
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
        read_exact_at(&self.file, &mut bytes, begins).ok()?;
        // The last block has the name, in its first hundred bytes.
        let block = bytes.get(bytes.len().checked_sub(512)?..)?;
        let name = block.get(..100)?.split(|byte| *byte == 0).next()?;
        let digest = digest_of_name(std::str::from_utf8(name).ok()?)?;
        (head(&blob_name(&digest), size) == bytes).then(|| Left { path: self.path.clone(), at: begins + length })
    }
}
