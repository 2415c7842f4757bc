//! A file with a temporary name in an open folder. It gets its final name when it is complete and flushed, and is removed
//! otherwise. A killed run leaves such a file; a lock distinguishes it from the file of a running hfget.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use super::lock::excludes;
use super::within::Folder;
use super::{StoreError, copying, error};
use crate::platform::{Access, Create, FileKind, Why, look_at_file, why};

/// The number of new tries if another run takes the new file for a leftover.
const TRIES: u32 = 8;

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Temporary {
    folder: Arc<Folder>,
    name: String,
    /// Locked, if the file system can do that.
    file: Arc<File>,
    settled: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.settled {
            let _ = self.folder.remove(&self.name);
        }
    }
}

impl Temporary {
    /// Makes an empty file. Its name has this beginning and this end.
    pub fn new(folder: &Arc<Folder>, begin: &str, end: &str) -> Result<Self, StoreError> {
        for _ in 0..TRIES {
            let name = format!("{begin}{:016x}{end}", fastrand::u64(..));
            let file = copying::create(folder, &name)?;
            let ours = look_at_file(&file).map_err(StoreError::io("look at", &folder.path(&name)))?;
            let temporary = Temporary { folder: Arc::clone(folder), name, file: Arc::new(file), settled: false };
            // Before it had its lock, another run may have taken it for a leftover.
            if folder.identity(&temporary.name) == Some(ours.identity) {
                return Ok(temporary);
            }
        }
        let gone = io::Error::new(io::ErrorKind::NotFound, "other programs remove new files here");
        Err(StoreError::io("create a file in", &folder.path(""))(gone))
    }

    /// The open file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Flushes the file, gives it this name in its folder, and flushes that: after a power cut the name has all bytes or
    /// does not exist.
    pub fn settle(mut self, name: &str) -> Result<(), StoreError> {
        let shown = self.folder.path(&self.name);
        self.file.sync_all().map_err(StoreError::io("flush", &shown))?;
        self.folder.rename(&self.name, name)?;
        self.settled = true;
        self.folder.sync()
    }
}

/// Writes a small file completely or not at all, even after a power cut.
pub(crate) fn write_whole(folder: &Arc<Folder>, name: &str, begin: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = Temporary::new(folder, begin, "")?;
    (&**temporary.file()).write_all(bytes).map_err(StoreError::io("write", &folder.path(name)))?;
    temporary.settle(name)
}

/// A temporary file of a run that was killed. No other run takes it while this value exists. Then it is removed.
#[derive(Debug)]
pub(crate) struct Dead {
    folder: Arc<Folder>,
    pub name: String,
    /// Has the lock.
    pub file: File,
}

impl Drop for Dead {
    fn drop(&mut self) {
        let _ = self.folder.remove(&self.name);
    }
}

/// The temporary files of this name without a running hfget: they are not locked. Without working locks the list is
/// empty, because each file may belong to a running hfget. `is_ours` checks the content: a name alone proves nothing.
pub(crate) fn dead(folder: &Arc<Folder>, begin: &str, end: &str, is_ours: impl Fn(&File) -> bool) -> Vec<Dead> {
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let has_form = |name: &str| name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)).is_some_and(is_number);
    let names = folder.names().into_iter().filter(|name| has_form(name));
    let taken = names.filter_map(|name| {
        let file = folder.open(&name, Access::Read, Create::Never).ok()?;
        let stat = look_at_file(&file).ok()?;
        if stat.kind != FileKind::File || stat.links > 1 || !is_ours(&file) {
            return None;
        }
        file.try_lock().ok()?;
        (excludes(folder, &name) && folder.identity(&name) == Some(stat.identity)).then(|| Dead {
            folder: Arc::clone(folder),
            name,
            file,
        })
    });
    taken.collect()
}

/// Opens a regular file to read it, without following a link. `None` if it does not exist or is not a regular file.
pub(crate) fn open_regular(folder: &Folder, name: &str) -> Result<Option<(File, u64)>, StoreError> {
    match folder.open(name, Access::Read, Create::Never) {
        Ok(file) => {
            let stat = look_at_file(&file).map_err(StoreError::io("look at", &folder.path(name)))?;
            Ok((stat.kind == FileKind::File).then_some((file, stat.size)))
        }
        Err(error) => match why(&error) {
            Why::Missing | Why::Link => Ok(None),
            Why::IsFolder => Err(error::file_needed(&folder.path(name))),
            _ => Err(StoreError::io("open", &folder.path(name))(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn folder(at: &Path) -> Arc<Folder> {
        Arc::new(Folder::make(at, Path::new("")).unwrap())
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_settled_and_disappears_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        drop(Temporary::new(&folder, ".a-", ".part").unwrap());
        assert_eq!(folder.names(), [""; 0]);
        write_whole(&folder, "x", ".a-", b"content").unwrap();
        assert_eq!(folder.names(), ["x"]);
        assert_eq!(std::fs::read(dir.path().join("x")).unwrap(), b"content");
    }

    #[test]
    fn only_the_file_of_a_dead_run_is_a_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let all = |folder: &Arc<Folder>| dead(folder, ".a-", ".part", |_| true).len();
        let living = Temporary::new(&folder, ".a-", ".part").unwrap();
        assert_eq!(all(&folder), 0, "its run lives");
        let killed = format!(".a-{}.part", "0".repeat(16));
        std::fs::write(dir.path().join(&killed), "half").unwrap();
        assert_eq!(dead(&folder, ".a-", ".part", |_| false).len(), 0, "its content is not ours");
        // Another name of a user's file.
        std::fs::hard_link(dir.path().join(&killed), dir.path().join("mine")).unwrap();
        assert_eq!(all(&folder), 0);
        std::fs::remove_file(dir.path().join("mine")).unwrap();
        let taken = dead(&folder, ".a-", ".part", |_| true);
        assert_eq!(taken.len(), 1);
        assert_eq!(all(&folder), 0, "somebody has it");
        drop(taken);
        assert_eq!(folder.names(), [living.name.as_str()]);
    }
}
