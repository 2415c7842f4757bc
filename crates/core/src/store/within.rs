//! Folders below a root, entered one by one without following a symlink. Every write, link, move
//! and removal is relative to an open folder, so that it has no effect if a folder is replaced by a
//! link meanwhile.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{StoreError, copying, disk, error};
use crate::finding::Stamp;
use crate::model::Entry;

/// A temporary file older than this counts as left by a crash.
const STALE: Duration = Duration::from_hours(24);
/// The pause while the system has no descriptor left, and how many pauses to make: half a minute together.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(20);
const DESCRIPTOR_TRIES: u32 = 1500;
/// The most levels of folders that a removal enters: each takes a descriptor. Names in a repo have fewer.
const DEPTH: u32 = 200;
/// The beginning of temporary names.
pub(super) const TEMPORARY: &str = "tmp-";
/// The mode before the umask.
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
    /// Opens `root`, whose own path may have links; `None` if it does not exist.
    fn root(root: &Path) -> Result<Option<Self>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match patiently(|| rustix::fs::open(root, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Folder { fd, path: root.to_path_buf() })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR) => Err(error::folder_needed(root)),
            Err(error) => Err(StoreError::io("open", root)(error.into())),
        }
    }

    /// The folder `below` in `root`, if it exists.
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

    /// The folder `below` in `root`; creates the folders that are missing.
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
            // A link gives one or the other error, depending on the system.
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

    /// The path of a name in this folder, for messages and for reading.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Device and inode of `name` in this folder, without following a symlink.
    pub fn identity(&self, name: &str) -> Option<(u64, u64)> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| identity_of(&stat))
    }

    /// The `stat` of `name` in this folder, without following a symlink; `None` if it does not exist.
    pub fn stat(&self, name: &str) -> Result<Option<rustix::fs::Stat>, StoreError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(StoreError::io("look at", &self.path(name))(error.into())),
        }
    }

    /// Reads a small regular file, at most `limit` bytes of it, without following a symlink or waiting for a pipe;
    /// `None` if there is nothing to read.
    pub fn read_small(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let file = self.open(name, OFlags::RDONLY, Mode::empty()).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// The names in this folder, sorted. Names that are not UTF-8 are left out: no program here makes such names.
    pub fn names(&self) -> Vec<String> {
        let items = rustix::fs::Dir::read_from(&self.fd).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            items.filter_map(|item| item.file_name().to_str().ok().map(str::to_owned)).collect();
        names.retain(|name| name != "." && name != "..");
        names.sort_unstable();
        names
    }

    /// Flushes the names in this folder to the disk. A file system that cannot do that for a folder has nothing to
    /// flush.
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

    /// Like [`Self::open`], for reading and writing; anything but a regular file is an error.
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
            // The file has another name, so it also belongs to somebody else. Write into a new file instead.
            self.remove(name)?;
            let anew = flags | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            return self.open(name, anew, FILE_MODE).map_err(|e| StoreError::io("create", &path)(e.into()));
        }
        Ok(file)
    }

    /// Removes a file or link; it is not an error if there is none.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Err(error::file_needed(&self.path(name))),
            Err(error) => Err(StoreError::io("remove", &self.path(name))(error.into())),
        }
    }

    /// Moves a file from another folder here; a file on another disk is copied, and proven again on
    /// the way. Returns the copy's stamp then.
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
    /// `flush` this is so even after a power cut.
    pub fn write(&self, name: &str, staging: &Folder, content: &[u8], flush: bool) -> Result<(), StoreError> {
        self.put("write", name, staging, &|folder, temporary| {
            let mut file = copying::create(folder, temporary)?;
            let mut write = || file.write_all(content).and_then(|()| if flush { file.sync_data() } else { Ok(()) });
            write().map_err(StoreError::io("write", &self.path(name)))?;
            // Its lock shows that it is in use until it has its name.
            Ok(file)
        })
        .map(drop)
    }

    /// Makes `name` a symlink to `target` (the text as given), atomically; keeps a link that is right already.
    pub fn link(&self, name: &str, staging: &Folder, target: &Path) -> Result<(), StoreError> {
        let path = self.path(name);
        if fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(());
        }
        self.put("link", name, staging, &|folder, temporary| {
            rustix::fs::symlinkat(target, &folder.fd, temporary).map_err(|e| StoreError::io("link", &path)(e.into()))
        })
    }

    /// Copies a file into this folder. The copy appears complete and proven, or not at all.
    pub fn copy(&self, name: &str, staging: &Folder, from: &Path, entry: &Entry) -> Result<Stamp, StoreError> {
        let copied = self.put("copy to", name, staging, &|folder, temporary| {
            copying::copy(folder, temporary, from, entry, &mut |_| {})
        })?;
        Ok(copied.stamp)
    }

    /// Renames a file in this folder.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        rustix::fs::renameat(&self.fd, from, &self.fd, to)
            .map_err(|e| StoreError::io("rename", &self.path(from))(e.into()))
    }

    /// Removes a folder if it is empty; `false` if it stays.
    pub fn remove_folder(&self, name: &str) -> bool {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).is_ok()
    }

    /// Removes a folder with everything in it. Links in it are removed, and never followed. A folder that does not
    /// exist is not an error.
    pub fn remove_tree(&self, name: &Path) -> Result<(), StoreError> {
        self.remove_tree_to(name, DEPTH)
    }

    fn remove_tree_to(&self, name: &Path, depth: u32) -> Result<(), StoreError> {
        let failed = |path: &Path, errno: Errno| StoreError::io("remove", path)(errno.into());
        let Some(folder) = self.enter(name)? else { return Ok(()) };
        let below = depth.checked_sub(1).ok_or_else(|| failed(&folder.path, Errno::NAMETOOLONG))?;
        let items = rustix::fs::Dir::read_from(&folder.fd).map_err(|errno| failed(&folder.path, errno))?;
        for item in items {
            let item = item.map_err(|errno| failed(&folder.path, errno))?;
            let name = Path::new(OsStr::from_bytes(item.file_name().to_bytes()));
            if name == Path::new(".") || name == Path::new("..") {
                continue;
            }
            if folder.kind(name) == Some(FileType::Directory) {
                folder.remove_tree_to(name, below)?;
                continue;
            }
            match rustix::fs::unlinkat(&folder.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(&folder.path.join(name), errno)),
            }
        }
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(&folder.path, errno)),
        }
    }

    pub fn is_folder(&self, name: &str) -> bool {
        self.kind(Path::new(name)) == Some(FileType::Directory)
    }

    /// Makes a file, link or copy under a temporary name in `staging` (or in this folder, if that
    /// is on another disk) and moves it to its name. After a crash it stays in `staging`, where no
    /// reader looks.
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
                // It does not matter if it stays: `sweep` removes it later.
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

    /// Removes temporary files in this folder that crashes have left.
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

/// Opens something, and tries again while the system has no descriptor left: other open files will be closed.
fn patiently(open: impl Fn() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    for _ in 0..DESCRIPTOR_TRIES {
        match open() {
            Err(Errno::MFILE | Errno::NFILE) => std::thread::sleep(DESCRIPTOR_PAUSE),
            opened => return opened,
        }
    }
    open()
}

/// The names in a relative path; other components of a path are dropped.
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
