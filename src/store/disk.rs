//! Small, careful file-system steps: atomic writes, pointers, folders that follow no symlink, free space.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::StoreError;

/// What identifies unchanged content without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Stamp {
    pub size: u64,
    pub mtime: i64,
    pub mtime_ns: i64,
    pub inode: u64,
    pub device: u64,
}

impl Stamp {
    /// Of the file that `path` names, following a symlink; `None` when there is none.
    pub fn of(path: &Path) -> Result<Option<Self>, StoreError> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() => Ok(Some(Self::from(&meta))),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io("look at", path)(error)),
        }
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(meta: &fs::Metadata) -> Self {
        Stamp {
            size: meta.len(),
            mtime: meta.mtime(),
            mtime_ns: meta.mtime_nsec(),
            inode: meta.ino(),
            device: meta.dev(),
        }
    }
}

/// Whether an error only says that nothing is there.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Creates a folder and its parents.
pub(super) fn create_dirs(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => StoreError::InTheWay {
            path: path.to_path_buf(),
            what: "a folder is needed here, and a file lies on its path",
        },
        _ => StoreError::io("create", path)(error),
    })
}

/// Creates the folders from `root` (which may itself be reached by links) down to `path`'s parent,
/// refusing to pass through a symlink below `root`.
pub(super) fn create_dirs_within(root: &Path, path: &Path) -> Result<(), StoreError> {
    create_dirs(root)?;
    let Some(parent) = path.parent() else { return Ok(()) };
    let below = parent.strip_prefix(root).unwrap_or(Path::new(""));
    let mut at = root.to_path_buf();
    for component in below.components() {
        let Component::Normal(name) = component else { continue };
        at.push(name);
        match fs::create_dir(&at) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let kind = fs::symlink_metadata(&at).map_err(StoreError::io("look at", &at))?.file_type();
                if kind.is_symlink() {
                    return Err(StoreError::Symlink(at));
                }
                if !kind.is_dir() {
                    return Err(StoreError::InTheWay { path: at, what: "a folder is needed here" });
                }
            }
            Err(error) => return Err(StoreError::io("create", &at)(error)),
        }
    }
    Ok(())
}

/// The first symlink among the folders from `root` (not itself looked at) to `path`'s parent.
pub(super) fn symlink_on_the_way(root: &Path, path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(root).ok()?.parent()?;
    let mut at = root.to_path_buf();
    for component in below.components() {
        at.push(component);
        if fs::symlink_metadata(&at).ok()?.file_type().is_symlink() {
            return Some(at);
        }
    }
    None
}

/// Writes a small file so that readers see the old or the new content, never half of it.
pub(super) fn write_atomic(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dirs(dir)?;
    let write = || -> io::Result<()> {
        let mut file = new_file_beside(dir)?;
        file.write_all(content)?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => StoreError::InTheWay { path: path.to_path_buf(), what: "a file is needed here" },
        _ => StoreError::io("write", path)(error),
    })
}

/// A temporary file in `dir` with the mode that the umask gives any new file (tempfile's own
/// default of 0600 would lock out the other users of a shared cache).
fn new_file_beside(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".hfget-")
        .make_in(dir, |path| File::options().read(true).write(true).create_new(true).open(path))
}

/// Makes `pointer` a relative symlink to `target` (text as given), atomically, leaving a right one alone.
pub(super) fn point(pointer: &Path, target: &Path) -> Result<(), StoreError> {
    if fs::read_link(pointer).is_ok_and(|there| there == target) {
        return Ok(());
    }
    let dir = pointer.parent().unwrap_or(Path::new("."));
    create_dirs(dir)?;
    let link = || -> io::Result<()> {
        let temp =
            tempfile::Builder::new().prefix(".hfget-").make_in(dir, |path| std::os::unix::fs::symlink(target, path))?;
        temp.into_temp_path().persist(pointer).map_err(|e| e.error)
    };
    link().map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => {
            StoreError::InTheWay { path: pointer.to_path_buf(), what: "a file is needed here" }
        }
        _ => StoreError::io("link", pointer)(error),
    })
}

/// Copies `from` to `to`, which appears whole or not at all.
pub(super) fn copy_atomic(from: &Path, to: &Path) -> Result<(), StoreError> {
    let dir = to.parent().unwrap_or(Path::new("."));
    create_dirs(dir)?;
    let copy = || -> io::Result<()> {
        let mut file = new_file_beside(dir)?;
        io::copy(&mut File::open(from)?, file.as_file_mut())?;
        file.persist(to).map_err(|e| e.error)?;
        Ok(())
    };
    copy().map_err(StoreError::io("copy to", to))
}

/// Removes a file; that there is none is fine.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// `path` or its nearest ancestor that exists.
pub(super) fn nearest_existing(path: &Path) -> &Path {
    let mut at = path;
    while !at.exists() {
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => return Path::new("."),
        }
    }
    at
}

/// Bytes an unprivileged user can still write below `path`.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(nearest_existing(path)).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_not_made_through_symlinks() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("unet")).unwrap();
        let target = root.path().join("unet/deep/model.bin");
        assert!(matches!(create_dirs_within(root.path(), &target), Err(StoreError::Symlink(_))));
        assert_eq!(symlink_on_the_way(root.path(), &target), Some(root.path().join("unet")));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn pointers_are_replaced_only_when_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let pointer = dir.path().join("a/b");
        point(&pointer, Path::new("../x")).unwrap();
        let first = fs::symlink_metadata(&pointer).unwrap().ino();
        point(&pointer, Path::new("../x")).unwrap();
        assert_eq!(fs::symlink_metadata(&pointer).unwrap().ino(), first);
        point(&pointer, Path::new("../y")).unwrap();
        assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../y"));
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(matches!(point(&dir.path().join("d"), Path::new("x")), Err(StoreError::InTheWay { .. })));
    }
}
