//! Folders below a root, entered one by one without following a symlink. Whatever is written,
//! linked, moved or removed is so relative to an open folder, so that a folder swapped for a link
//! meanwhile changes nothing.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{StoreError, copying, disk, error};
use crate::finding::Stamp;
use crate::model::Entry;

/// A temporary file older than this was left by a crash.
const STALE: Duration = Duration::from_hours(24);
/// Pauses while the system has no descriptor left, and how many: half a minute.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(20);
const DESCRIPTOR_TRIES: u32 = 1500;
/// What temporary names start with.
pub(super) const TEMPORARY: &str = "tmp-";
/// What the umask takes from.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// Makes a new file, link or copy under a name in a folder.
type Make<'a, T> = &'a dyn Fn(&Folder, &str) -> Result<T, StoreError>;

impl Folder {
    /// Opens `root`, which may itself be reached by links, or gives `None` when it is not there.
    fn root(root: &Path) -> Result<Option<Self>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match patiently(|| rustix::fs::open(root, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Folder { fd, path: root.to_path_buf() })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => Err(error::folder_needed(root)),
            Err(error) => Err(StoreError::io("open", root)(error.into())),
        }
    }

    /// The folder `below` in `root`, if all of it is there.
    pub fn find(root: &Path, below: &Path) -> Result<Option<Self>, StoreError> {
        let Some(mut at) = Self::root(root)? else { return Ok(None) };
        for name in names(below) {
            match at.enter(name)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The folder `below` in `root`, made where it is not there.
    pub fn make(root: &Path, below: &Path) -> Result<Self, StoreError> {
        disk::create_dirs(root)?;
        let gone = |path: &Path| StoreError::io("open", path)(io::ErrorKind::NotFound.into());
        let mut at = Self::root(root)?.ok_or_else(|| gone(root))?;
        for name in names(below) {
            if let Some(next) = at.enter(name)? {
                at = next;
                continue;
            }
            match rustix::fs::mkdirat(&at.fd, name, Mode::from_raw_mode(0o777)) {
                // Another process was faster.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(StoreError::io("create", &at.path.join(name))(error.into())),
            }
            at = at.enter(name)?.ok_or_else(|| gone(&at.path.join(name)))?;
        }
        Ok(at)
    }

    fn enter(&self, name: &Path) -> Result<Option<Self>, StoreError> {
        let path = self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match patiently(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Folder { fd, path })),
            Err(Errno::NOENT) => Ok(None),
            // Which of the two a link gives differs between systems.
            Err(Errno::NOTDIR | Errno::LOOP) => match self.kind(name) {
                Some(FileType::Symlink) => Err(StoreError::Symlink(path)),
                _ => Err(error::folder_needed(&path)),
            },
            Err(error) => Err(StoreError::io("open", &path)(error.into())),
        }
    }

    fn kind(&self, name: &Path) -> Option<FileType> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// The path of something in here, for messages and for reading.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Device and inode of what lies here under `name`, a symlink not followed.
    pub fn identity(&self, name: &str) -> Option<(u64, u64)> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| identity_of(&stat))
    }

    /// What a name here looks like, a symlink not followed; `None` when there is nothing.
    pub fn stat(&self, name: &str) -> Result<Option<rustix::fs::Stat>, StoreError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(StoreError::io("look at", &self.path(name))(error.into())),
        }
    }

    /// Reads a small regular file, at most `limit` bytes of it, without following a symlink or waiting for a pipe;
    /// `None` when there is nothing to read.
    pub fn read_small(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let file = self.open(name, OFlags::RDONLY, Mode::empty()).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// The names in here, sorted; those that are no UTF-8 are nobody's.
    pub fn names(&self) -> Vec<String> {
        let items = rustix::fs::Dir::read_from(&self.fd).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            items.filter_map(|item| item.file_name().to_str().ok().map(str::to_owned)).collect();
        names.retain(|name| name != "." && name != "..");
        names.sort_unstable();
        names
    }

    /// Flushes the names in here to the disk. A file system that cannot do that for a folder has nothing to flush.
    pub fn sync(&self) -> Result<(), StoreError> {
        match rustix::fs::fsync(&self.fd) {
            Ok(()) | Err(Errno::INVAL | Errno::BADF | Errno::ROFS | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(StoreError::io("flush", &self.path)(error.into())),
        }
    }

    /// Opens a file without following a symlink, and never waits for a pipe's other end. With
    /// [`OFlags::CREATE`] the umask decides the mode.
    pub fn open(&self, name: &str, flags: OFlags, mode: Mode) -> Result<File, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        patiently(|| rustix::fs::openat(&self.fd, name, flags, mode)).map(File::from)
    }

    /// As [`Self::open`] for reading and writing; anything but a regular file is an error.
    pub fn open_file(&self, name: &str, flags: OFlags) -> Result<File, StoreError> {
        let path = self.path(name);
        let file = self.open(name, flags | OFlags::RDWR | OFlags::CREATE, FILE_MODE).map_err(|error| match error {
            Errno::LOOP => StoreError::Symlink(path.clone()),
            Errno::ISDIR => error::file_needed(&path),
            _ => StoreError::io("open", &path)(error.into()),
        })?;
        let meta = file.metadata().map_err(StoreError::io("look at", &path))?;
        if !meta.is_file() {
            return Err(error::file_needed(&path));
        }
        if meta.nlink() > 1 {
            // It has another name, and that file is somebody else's: what is written goes into a file of our own.
            self.remove(name)?;
            let anew = flags | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            return self.open(name, anew, FILE_MODE).map_err(|e| StoreError::io("create", &path)(e.into()));
        }
        Ok(file)
    }

    /// Removes a file or link; that there is none is fine.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Err(error::file_needed(&self.path(name))),
            Err(error) => Err(StoreError::io("remove", &self.path(name))(error.into())),
        }
    }

    /// Moves a file from another folder here; one that lies on another disk is copied, and proven
    /// again on the way. Gives the copy's stamp then.
    pub fn take(&self, name: &str, from: &Folder, from_name: &str, entry: &Entry) -> Result<Option<Stamp>, StoreError> {
        match rustix::fs::renameat(&from.fd, from_name, &self.fd, name) {
            Ok(()) => Ok(None),
            Err(Errno::XDEV) => {
                let stamp = self.copy(name, self, &from.path(from_name), entry)?;
                from.remove(from_name)?;
                Ok(Some(stamp))
            }
            Err(error) => Err(self.cannot_place("move the finished file to", name, error)),
        }
    }

    /// Writes a small file so that readers see the old or the new content, never half of it. With
    /// `flush` that holds after a power cut too.
    pub fn write(&self, name: &str, staging: &Folder, content: &[u8], flush: bool) -> Result<(), StoreError> {
        self.put("write", name, staging, &|folder, temporary| {
            let mut file = copying::create(folder, temporary)?;
            let mut write = || file.write_all(content).and_then(|()| if flush { file.sync_data() } else { Ok(()) });
            write().map_err(StoreError::io("write", &self.path(name)))?;
            // Its lock says that it is in use until it has its name.
            Ok(file)
        })
        .map(drop)
    }

    /// Makes `name` a symlink to `target` (text as given), atomically, leaving a right one alone.
    pub fn link(&self, name: &str, staging: &Folder, target: &Path) -> Result<(), StoreError> {
        let path = self.path(name);
        if fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(());
        }
        self.put("link", name, staging, &|folder, temporary| {
            rustix::fs::symlinkat(target, &folder.fd, temporary).map_err(|e| StoreError::io("link", &path)(e.into()))
        })
    }

    /// Copies a file here, which appears whole and proven or not at all.
    pub fn copy(&self, name: &str, staging: &Folder, from: &Path, entry: &Entry) -> Result<Stamp, StoreError> {
        let copied = self.put("copy to", name, staging, &|folder, temporary| {
            copying::copy(folder, temporary, from, entry, &mut |_| {})
        })?;
        Ok(copied.stamp)
    }

    /// Gives a file another name in here.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|e| StoreError::io("rename", &self.path(from))(e.into()))
    }

    /// Removes a folder if it is empty; `false` when it stays.
    pub fn remove_folder(&self, name: &str) -> bool {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }

    pub fn is_folder(&self, name: &str) -> bool {
        self.kind(Path::new(name)) == Some(FileType::Directory)
    }

    /// Makes something under a temporary name in `staging` (or here, when that is another disk)
    /// and moves it to its name. A crash leaves it in `staging`, where nobody looks.
    fn put<T>(&self, action: &'static str, name: &str, staging: &Folder, make: Make<'_, T>) -> Result<T, StoreError> {
        for folder in [staging, self] {
            let temporary = format!("{TEMPORARY}{:016x}", fastrand::u64(..));
            let placed = make(folder, &temporary).and_then(|value| {
                match rustix::fs::renameat(&folder.fd, &temporary, &self.fd, name) {
                    Ok(()) => Ok(Some(value)),
                    Err(Errno::XDEV) => Ok(None),
                    Err(error) => Err(self.cannot_place(action, name, error)),
                }
            });
            match placed {
                Ok(Some(value)) => return Ok(value),
                // Nothing is lost if it stays: `sweep` removes it another day.
                Ok(None) => drop(folder.remove(&temporary)),
                Err(error) => {
                    let _ = folder.remove(&temporary);
                    return Err(error);
                }
            }
        }
        Err(self.cannot_place(action, name, Errno::XDEV))
    }

    fn cannot_place(&self, action: &'static str, name: &str, error: Errno) -> StoreError {
        match error {
            Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST => error::file_needed(&self.path(name)),
            _ => StoreError::io(action, &self.path(name))(error.into()),
        }
    }

    /// Removes temporary files that crashes left here.
    pub fn sweep(&self) {
        for item in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = item.file_name();
            let Some(name) = name.to_str().filter(|n| n.starts_with(TEMPORARY)) else { continue };
            let modified = item.metadata().and_then(|m| m.modified());
            let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > STALE) {
                let _ = self.remove(name);
            }
        }
    }
}

/// Opens something, again and again while the system has no descriptor left: files that are open will be closed.
fn patiently(open: impl Fn() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _ in 0..DESCRIPTOR_TRIES {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) => std::thread::sleep(DESCRIPTOR_PAUSE),
            opened => return opened,
        }
    }
    open()
}

/// The names that a relative path is made of; what else could stand in a path is dropped.
fn names(below: &Path) -> impl Iterator<Item = &Path> {
    below.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    })
}

/// Device and inode.
pub(super) fn identity_of(stat: &rustix::fs::Stat) -> (u64, u64) {
    // Their types differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, clippy::cast_lossless)]
    (stat.st_dev as u64, stat.st_ino as u64)
}
