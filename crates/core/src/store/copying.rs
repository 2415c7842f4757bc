//! Copies of files that are on this machine: by reference where the file system can, else byte by byte, and hashed on
//! the way in either case. Where a copy goes is decided by whoever asks for it.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::within::{FILE_MODE, Folder};
use super::{StoreError, error};
use crate::finding::Stamp;
use crate::model::{Entry, Hashed};

const BUFFER: usize = 1 << 20;

/// A copy that has no name yet but a temporary one.
#[derive(Debug)]
pub(super) struct Copied {
    pub hashed: Hashed,
    pub stamp: Stamp,
    /// Locked as long as somebody works with it, so that nobody takes it for a leftover.
    pub _in_use: File,
}

/// Copies the file `from` to the new name `temporary` in `folder`, flushed and proven to be `entry`'s content. `seen`
/// is told of bytes that were hashed. A copy that failed stays for the caller to remove.
pub(super) fn copy(
    folder: &Folder,
    temporary: &str,
    from: &Path,
    entry: &Entry,
    seen: &mut dyn FnMut(u64),
) -> Result<Copied, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = rustix::fs::open(from, flags, Mode::empty()).map_err(|e| StoreError::io("open", from)(e.into()))?;
    let mut source = File::from(source);
    let meta = source.metadata().map_err(StoreError::io("look at", from))?;
    if !meta.is_file() {
        return Err(error::file_needed(from));
    }
    let mut file = create(folder, temporary)?;
    // Either the whole file is shared, or none of it.
    let shared = rustix::fs::ioctl_ficlone(&file, &source).is_ok();
    let mut hasher = entry.digest().hasher(entry.size);
    let mut length = 0;
    let mut pass = |reader: &mut dyn Read, mut writer: Option<&mut File>| -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
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
        // What cannot be read and what cannot be written are one error here: the action names both files.
        pass(&mut source, Some(&mut file)).map_err(StoreError::io("copy", from))?;
    }
    file.sync_data().map_err(StoreError::io("flush", &folder.path(temporary)))?;
    let hashed = hasher.finish();
    error::check_content(from, entry, hashed.digest(), length)?;
    let stamp = file.metadata().map_err(StoreError::io("look at", &folder.path(temporary)))?;
    Ok(Copied { hashed, stamp: Stamp::from(&stamp), _in_use: file })
}

/// A new file, locked where that is possible.
pub(super) fn create(folder: &Folder, temporary: &str) -> Result<File, StoreError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let file = folder.open(temporary, flags, FILE_MODE);
    let file = file.map_err(|e| StoreError::io("create", &folder.path(temporary))(e.into()))?;
    // Where there are no locks, its age is all that tells that it is in use.
    let _ = file.try_lock();
    Ok(file)
}
