//! Systems with Unix's files: folders are descriptors, and every step is relative to one.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::{Access, Create, FileKind, Stat, Time, Why, patiently};

/// An open folder. It stays the same folder if another takes its name.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl Dir {
    /// Opens a folder. Its own path may contain links.
    pub fn open_root(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Dir(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a folder in this one. A link is not followed: it is [`Why::Link`] or [`Why::NotFolder`].
    pub fn enter(&self, name: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Dir(rustix::fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Opens a folder some levels below this one in one call, through no link. `None` if that fails for any reason: a
    /// walk with [`Self::enter`] finds out why. `below` consists of names only.
    #[cfg(target_os = "linux")]
    pub fn enter_deep(&self, below: &Path) -> Option<Self> {
        use rustix::fs::ResolveFlags;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Kernels before 5.6 and some sandboxes do not have this call.
        rustix::fs::openat2(&self.0, below, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH)
            .map(Dir)
            .ok()
    }

    /// Other systems have no such call.
    #[cfg(not(target_os = "linux"))]
    pub fn enter_deep(&self, _below: &Path) -> Option<Self> {
        None
    }

    /// Makes a folder in this one.
    pub fn make(&self, name: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777))?)
    }

    /// Looks at a name, and follows no link.
    pub fn look_at(&self, name: &Path) -> io::Result<Stat> {
        Ok(told(&rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Opens a file, follows no link, and never waits for a pipe's other end.
    pub fn open(&self, name: &str, access: Access, create: Create) -> io::Result<File> {
        let access = match access {
            Access::Read | Access::Flush => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
            Access::Append => OFlags::WRONLY | OFlags::APPEND,
            Access::Journal => OFlags::RDWR | OFlags::APPEND,
        };
        let create = match create {
            Create::Never => OFlags::empty(),
            Create::IfMissing => OFlags::CREATE,
            Create::New => OFlags::CREATE | OFlags::EXCL,
        };
        let flags = access | create | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o666)).map(File::from)?)
    }

    /// The names in this folder, in no order.
    pub fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        let names = rustix::fs::Dir::read_from(&self.0)?.map(|item| {
            let item = item?;
            Ok(OsStr::from_bytes(item.file_name().to_bytes()).to_owned())
        });
        Ok(names.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")))
    }

    /// Flushes the names in this folder. A file system that cannot do that for a folder has nothing to flush.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.0) {
            Err(Errno::INVAL | Errno::BADF | Errno::ROFS | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            flushed => Ok(flushed?),
        }
    }

    /// Removes a file or link.
    pub fn remove(&self, name: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes an empty folder that this process does not have open.
    pub fn remove_folder(&self, name: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Moves a file or link to a name in `to`, and replaces an existing file of that name.
    pub fn rename(&self, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name, &to.0, new)?)
    }

    /// Makes a symlink with this text.
    pub fn link(&self, target: &Path, name: &str) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }
}

/// Looks at a path, and follows no link at its end.
pub(crate) fn look_at(path: &Path) -> io::Result<Stat> {
    Ok(told(&rustix::fs::lstat(path)?))
}

/// Looks at what a path leads to.
pub(crate) fn look_through(path: &Path) -> io::Result<Stat> {
    Ok(told(&rustix::fs::stat(path)?))
}

/// Looks at an open file.
pub(crate) fn look_at_file(file: &File) -> io::Result<Stat> {
    Ok(told(&rustix::fs::fstat(file)?))
}

// The types of these numbers differ between systems.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, clippy::cast_lossless, clippy::cast_possible_wrap)]
fn told(stat: &rustix::fs::Stat) -> Stat {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Folder,
        FileType::Symlink => FileKind::Link,
        _ => FileKind::Other,
    };
    Stat {
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        // Whatever st_blksize is, st_blocks counts units of 512 bytes.
        taken: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
        links: stat.st_nlink as u64,
        modified: Time { seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as i64 },
        changed: Time { seconds: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as i64 },
        identity: (stat.st_dev as u64, stat.st_ino as u64),
    }
}

/// Opens a file to read all of it, and never waits for a pipe's other end. It may be something other than a regular
/// file.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty()).map(File::from)?)
}

/// What an error means.
pub(crate) fn why(error: &io::Error) -> Why {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => Why::Missing,
        Some(Errno::EXIST) => Why::Exists,
        Some(Errno::LOOP) => Why::Link,
        Some(Errno::ISDIR) => Why::IsFolder,
        Some(Errno::NOTDIR) => Why::NotFolder,
        Some(Errno::NOTEMPTY) => Why::NotEmpty,
        Some(Errno::ACCESS) => Why::NotAllowed,
        Some(Errno::ROFS) => Why::ReadOnly,
        Some(Errno::XDEV) => Why::OtherDisk,
        Some(Errno::MFILE | Errno::NFILE) => Why::TooManyOpen,
        _ => Why::Other,
    }
}

/// Whether the error means that this file system has no locks for us (some NFS, SMB, FUSE and Lustre mounts).
pub(crate) fn cannot_lock(error: &io::Error) -> bool {
    let none = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM, Errno::ACCESS, Errno::BADF, Errno::INVAL];
    error.kind() == io::ErrorKind::Unsupported
        || none.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Lets the other users of a shared cache wait for a lock file, whatever the umask is, as `huggingface_hub` does. On
/// file systems without modes the call has no effect.
pub(crate) fn let_others_lock(file: &File) {
    let _ = rustix::fs::fchmod(file, Mode::from_raw_mode(0o664));
}

/// Gives a file the rights of `like` if that exists, otherwise the usual rights of a new file: a temporary file can be
/// read only by its owner.
pub(crate) fn give_rights(file: &File, like: Option<&Path>) -> io::Result<()> {
    let there = like.and_then(|like| std::fs::metadata(like).ok());
    file.set_permissions(Permissions::from_mode(there.map_or(0o644, |meta| meta.permissions().mode() & 0o777)))
}

/// Reads exactly as many bytes as there is room for. Does not move the position of other readers of the same file.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(buffer, at)
}

/// Writes all bytes at a place.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

/// Flushes a file that another program wrote. A read-only file system has nothing to flush.
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    match patiently(|| File::open(path)).and_then(|file| file.sync_data()) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::InvalidInput) => Ok(()),
        flushed => flushed,
    }
}

/// Reserves disk space, so that the file is contiguous and a full disk is noticed early. It is not an error if a file
/// system cannot do that. On tmpfs it would only cost memory.
#[cfg(target_os = "linux")]
pub(crate) fn reserve(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate, fstatfs};
    const TMPFS: i64 = 0x0102_1994;
    #[allow(clippy::useless_conversion)] // the field's type differs from processor to processor
    if fstatfs(file).is_ok_and(|stat| i64::from(stat.f_type) == TMPFS) {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Reserves nothing: other systems can only make the file longer, or reserve space after its present end.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// Lets one file share the other's blocks, if the system and its disk can do that with open files.
pub(crate) fn share(file: &File, source: &File) -> bool {
    #[cfg(target_os = "linux")]
    let shared = rustix::fs::ioctl_ficlone(file, source).is_ok();
    #[cfg(not(target_os = "linux"))]
    let (_, shared) = ((file, source), false);
    shared
}

/// The bytes that an unprivileged user can still write to the disk of a path; `None` if the system does not know.
pub(crate) fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    // A file system that counts no blocks at all does not know its free space.
    if stat.f_blocks == 0 {
        return None;
    }
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// A path that leads to an open file, even if the file has no name any more. Not every system has such paths.
pub(crate) fn path_of(file: &File) -> Option<PathBuf> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.exists().then_some(path)
}

/// The time that this process spent on processors.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// The idle time of all cores of the machine together. `None` if the system does not state it.
pub(crate) fn idle_time() -> Option<Duration> {
    std::fs::read_to_string("/proc/stat").ok().and_then(|text| idle(&text))
}

/// The idle time and the time of waiting for disks, in proc(5)'s first line of `/proc/stat`: the fourth and fifth number,
/// in hundredths of a second.
fn idle(stat: &str) -> Option<Duration> {
    let mut words = stat.lines().next()?.split_whitespace();
    if words.next() != Some("cpu") {
        return None;
    }
    let hundredths: u64 = words.skip(3).take(2).map(|word| word.parse().unwrap_or(0_u64)).sum();
    Some(Duration::from_millis(hundredths.saturating_mul(10)))
}

/// The user's home folder: `HOME`, otherwise what the system's list of users has.
pub(crate) fn own_home(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let listed = || home_in_list(2, &rustix::process::getuid().as_raw().to_string());
    get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or_else(listed)
}

/// The home folder of a user of this name.
pub(crate) fn home_of(user: &str) -> Option<PathBuf> {
    home_in_list(0, user)
}

/// A user's home folder in the list of users; `column` is the column that is compared with `user`.
fn home_in_list(column: usize, user: &str) -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(column) == Some(user))?;
    line.split(':').nth(5).filter(|home| !home.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod own_tests {
    use super::*;

    #[test]
    fn idle_time_is_read_from_the_first_line() {
        let stat = "cpu  100 0 50 700 30 0 1 0 0 0\ncpu0 50 0 25 350 15 0 0 0 0 0\n";
        assert_eq!(idle(stat), Some(Duration::from_millis(7300)));
        assert_eq!(idle("intr 1 2 3 4 5"), None);
        assert_eq!(idle(""), None);
    }
}
