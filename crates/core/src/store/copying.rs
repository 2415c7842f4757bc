//! Copies files of this machine: by reference if the file system can, otherwise byte by byte. The bytes are hashed on
//! the way in either case. The caller chooses the target.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;

use super::within::Folder;
use super::{StoreError, error};
use crate::finding::Stamp;
use crate::model::{Entry, Hashed};
use crate::platform::{Access, Create, FileKind, PageBuffer, look_at_file, open_to_read, patiently, share};

const BUFFER: usize = 1 << 20;

/// A copy that has only a temporary name yet.
#[derive(Debug)]
pub(super) struct Copied {
    pub hashed: Hashed,
    pub stamp: Stamp,
    /// Locked while a process works with it, so that no other process treats it as a leftover.
    pub _in_use: File,
}

/// Copies the file `from` to the new name `temporary` in `folder`, flushed and proven to be `entry`'s content. `seen`
/// gets the number of hashed bytes. A failed copy stays, and the caller removes it.
pub(super) fn copy(
    folder: &Folder,
    temporary: &str,
    from: &Path,
    entry: &Entry,
    seen: &mut dyn FnMut(u64),
) -> Result<Copied, StoreError> {
    let mut source = patiently(|| open_to_read(from)).map_err(StoreError::io("open", from))?;
    if look_at_file(&source).map_err(StoreError::io("look at", from))?.kind != FileKind::File {
        return Err(error::file_needed(from));
    }
    let mut file = create(folder, temporary)?;
    // The file system shares the whole file, or nothing of it.
    let shared = share(&file, &source);
    let mut hasher = entry.digest().hasher(entry.size);
    let mut length = 0;
    let mut pass = |reader: &mut dyn Read, mut writer: Option<&mut File>| -> io::Result<()> {
        let mut buffer = PageBuffer::new(BUFFER);
        loop {
            let read = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(read);
            length += read.len() as u64;
            if let Some(writer) = &mut writer {
                writer.write_all(read)?;
            }
            seen(read.len() as u64);
        }
    };
    if shared {
        file.rewind().and_then(|()| pass(&mut file, None)).map_err(StoreError::io("read", from))?;
    } else {
        // One error covers both a failed read and a failed write: the action names both files.
        pass(&mut source, Some(&mut file)).map_err(StoreError::io("copy", from))?;
    }
    file.sync_data().map_err(StoreError::io("flush", &folder.path(temporary)))?;
    let hashed = hasher.finish();
    error::check_content(from, entry, hashed.digest(), length)?;
    let stamp = look_at_file(&file).map_err(StoreError::io("look at", &folder.path(temporary)))?;
    Ok(Copied { hashed, stamp: Stamp::from(&stamp), _in_use: file })
}

/// Creates a file, and locks it if that is possible.
pub(super) fn create(folder: &Folder, temporary: &str) -> Result<File, StoreError> {
    let file = folder.open(temporary, Access::ReadWrite, Create::New);
    let file = file.map_err(StoreError::io("create", &folder.path(temporary)))?;
    // Without locks, only its age shows that it is in use.
    let _ = file.try_lock();
    Ok(file)
}
