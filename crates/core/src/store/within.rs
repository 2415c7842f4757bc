//! Folders below a root, entered one by one without following a symlink. Every write, link, move
//! and removal is relative to an open folder, so that it has no effect if a folder is replaced by a
//! link meanwhile.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{StoreError, copying, disk, error};
use crate::finding::Stamp;
use crate::model::Entry;
use crate::platform::{Access, Create, Dir, FileKind, Identity, Stat, Why, folder_of, look_at_file, patiently, why};

/// A temporary file older than this counts as left by a crash.
const STALE: Duration = Duration::from_hours(24);
/// The most levels of folders that a removal enters: each takes a descriptor. Names in a repo have fewer.
const DEPTH: u32 = 200;
/// The beginning of temporary names.
pub(super) const TEMPORARY: &str = "tmp-";

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: Dir,
    path: PathBuf,
}

/// Makes a new file, link or copy under a name in a folder.
type Make<'a, T> = &'a dyn Fn(&Folder, &str) -> Result<T, StoreError>;

impl Folder {
    /// Opens `root`, whose own path may have links; `None` if it does not exist.
    fn root(root: &Path) -> Result<Option<Self>, StoreError> {
        match patiently(|| Dir::open_root(root)) {
            Ok(dir) => Ok(Some(Folder { dir, path: root.to_path_buf() })),
            Err(error) => match why(&error) {
                Why::Missing => Ok(None),
                Why::NotFolder => Err(error::folder_needed(root)),
                _ => Err(StoreError::io("open", root)(error)),
            },
        }
    }

    /// The folder `below` in `root`, if it exists.
    pub fn find(root: &Path, below: &Path) -> Result<Option<Self>, StoreError> {
        let Some(mut at) = Self::root(root)? else { return Ok(None) };
        if let Some(folder) = at.enter_deep(below) {
            return Ok(Some(folder));
        }
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
        let gone = |path: &Path| StoreError::io("open", path)(io::ErrorKind::NotFound.into());
        let mut at = if let Some(root) = Self::root(root)? {
            root
        } else {
            disk::create_dirs(root)?;
            Self::root(root)?.ok_or_else(|| gone(root))?
        };
        if let Some(folder) = at.enter_deep(below) {
            return Ok(folder);
        }
        for name in names(below) {
            if let Some(next) = at.enter(name)? {
                at = next;
                continue;
            }
            match at.dir.make(name) {
                // Another process was faster.
                Err(error) if why(&error) == Why::Exists => {}
                made => made.map_err(StoreError::io("create", &at.path.join(name)))?,
            }
            at = at.enter(name)?.ok_or_else(|| gone(&at.path.join(name)))?;
        }
        Ok(at)
    }

    /// Like [`Self::make`], and flushes the names of the folders that are new.
    pub fn make_and_flush(root: &Path, below: &Path) -> Result<Self, StoreError> {
        let whole = root.join(below);
        let new: Vec<&Path> = whole.ancestors().take_while(|path| !path.exists()).collect();
        let made = Self::make(root, below)?;
        for path in new {
            if let Some(above) = Self::root(folder_of(path))? {
                above.sync()?;
            }
        }
        Ok(made)
    }

    /// The folder `below` in this one, if it can be entered in one call; a walk name by name must decide otherwise.
    pub fn enter_deep(&self, below: &Path) -> Option<Self> {
        let mut parts = below.components().peekable();
        if parts.peek().is_none() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        self.dir.enter_deep(below).map(|dir| Folder { dir, path: self.path.join(below) })
    }

    /// The folder `name` in this one, if it exists.
    pub fn enter(&self, name: &Path) -> Result<Option<Self>, StoreError> {
        let path = self.path.join(name);
        match patiently(|| self.dir.enter(name)) {
            Ok(dir) => Ok(Some(Folder { dir, path })),
            Err(error) => match why(&error) {
                Why::Missing => Ok(None),
                // A link gives one or the other error, depending on the system.
                Why::NotFolder | Why::Link => match self.kind(name) {
                    Some(FileKind::Link) => Err(StoreError::Symlink(path)),
                    _ => Err(error::folder_needed(&path)),
                },
                _ => Err(StoreError::io("open", &path)(error)),
            },
        }
    }

    fn kind(&self, name: &Path) -> Option<FileKind> {
        self.dir.look_at(name).ok().map(|stat| stat.kind)
    }

    /// The path of a name in this folder, for messages and for reading.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The identity of `name` in this folder, without following a symlink.
    pub fn identity(&self, name: &str) -> Option<Identity> {
        self.dir.look_at(Path::new(name)).ok().map(|stat| stat.identity)
    }

    /// The `stat` of `name` in this folder, without following a symlink; `None` if it does not exist.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>, StoreError> {
        match self.dir.look_at(Path::new(name)) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if why(&error) == Why::Missing => Ok(None),
            Err(error) => Err(StoreError::io("look at", &self.path(name))(error)),
        }
    }

    /// Reads a small regular file, at most `limit` bytes of it, without following a symlink or waiting for a pipe;
    /// `None` if there is nothing to read.
    pub fn read_small(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let file = self.open(name, Access::Read, Create::Never).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// The names in this folder, sorted. Names that are not UTF-8 are left out: no program here makes such names.
    pub fn names(&self) -> Vec<String> {
        let names = self.dir.names().into_iter().flatten().flatten();
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// Flushes the names in this folder to the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.dir.sync().map_err(StoreError::io("flush", &self.path))
    }

    /// Opens a file without following a symlink, and never waits for a pipe's other end.
    pub fn open(&self, name: &str, access: Access, create: Create) -> io::Result<File> {
        patiently(|| self.dir.open(name, access, create))
    }

    /// Like [`Self::open`], and makes the file if it is missing; anything but a regular file is an error.
    pub fn open_file(&self, name: &str, access: Access) -> Result<File, StoreError> {
        let path = self.path(name);
        let file = self.open(name, access, Create::IfMissing).map_err(|error| match why(&error) {
            Why::Link => StoreError::Symlink(path.clone()),
            Why::IsFolder => error::file_needed(&path),
            _ => StoreError::io("open", &path)(error),
        })?;
        let stat = look_at_file(&file).map_err(StoreError::io("look at", &path))?;
        if stat.kind != FileKind::File {
            return Err(error::file_needed(&path));
        }
        if stat.links > 1 {
            // The file has another name, so it also belongs to somebody else. Write into a new file instead.
            self.remove(name)?;
            return self.open(name, access, Create::New).map_err(StoreError::io("create", &path));
        }
        Ok(file)
    }

    /// Removes a file or link; it is not an error if there is none.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.dir.remove(Path::new(name)).or_else(|error| match why(&error) {
            Why::Missing => Ok(()),
            Why::IsFolder => Err(error::file_needed(&self.path(name))),
            _ => Err(StoreError::io("remove", &self.path(name))(error)),
        })
    }

    /// Moves a file from another folder here; a file on another disk is copied, and proven again on
    /// the way. Returns the copy's stamp then.
    pub fn take(&self, name: &str, from: &Folder, from_name: &str, entry: &Entry) -> Result<Option<Stamp>, StoreError> {
        match from.dir.rename(from_name, &self.dir, name) {
            Ok(()) => Ok(None),
            Err(error) if why(&error) == Why::OtherDisk => {
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
            folder.dir.link(target, temporary).map_err(StoreError::io("link", &path))
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
        self.dir.rename(from, &self.dir, to).map_err(StoreError::io("rename", &self.path(from)))
    }

    /// Removes a folder if it is empty; `false` if it stays.
    pub fn remove_folder(&self, name: &str) -> bool {
        self.dir.remove_folder(Path::new(name)).is_ok()
    }

    /// Removes a folder with everything in it. Links in it are removed, and never followed. A folder that does not
    /// exist is not an error.
    pub fn remove_tree(&self, name: &Path) -> Result<(), StoreError> {
        self.remove_tree_to(name, DEPTH)
    }

    fn remove_tree_to(&self, name: &Path, depth: u32) -> Result<(), StoreError> {
        let Some(folder) = self.enter(name)? else { return Ok(()) };
        let too_deep = || io::Error::new(io::ErrorKind::InvalidFilename, "its folders are nested too deep");
        let below = depth.checked_sub(1).ok_or_else(too_deep).map_err(StoreError::io("remove", &folder.path))?;
        for name in folder.dir.names().map_err(StoreError::io("remove", &folder.path))? {
            let name = name.map_err(StoreError::io("remove", &folder.path))?;
            let name = Path::new(&name);
            if folder.kind(name) == Some(FileKind::Folder) {
                folder.remove_tree_to(name, below)?;
                continue;
            }
            let removed = unless_missing(folder.dir.remove(name));
            removed.map_err(|error| StoreError::io("remove", &folder.path.join(name))(error))?;
        }
        // Some systems do not remove an open folder.
        let Folder { dir, path } = folder;
        drop(dir);
        unless_missing(self.dir.remove_folder(name)).map_err(StoreError::io("remove", &path))
    }

    pub fn is_link(&self, name: &str) -> bool {
        self.kind(Path::new(name)) == Some(FileKind::Link)
    }

    pub fn is_folder(&self, name: &str) -> bool {
        self.kind(Path::new(name)) == Some(FileKind::Folder)
    }

    /// Makes a file, link or copy under a temporary name in `staging` (or in this folder, if that
    /// is on another disk) and moves it to its name. After a crash it stays in `staging`, where no
    /// reader looks.
    fn put<T>(&self, action: &'static str, name: &str, staging: &Folder, make: Make<'_, T>) -> Result<T, StoreError> {
        for folder in [staging, self] {
            let temporary = format!("{TEMPORARY}{:016x}", fastrand::u64(..));
            let placed =
                make(folder, &temporary).and_then(|value| match folder.dir.rename(&temporary, &self.dir, name) {
                    Ok(()) => Ok(Some(value)),
                    Err(error) if why(&error) == Why::OtherDisk => Ok(None),
                    Err(error) => Err(self.cannot_place(action, name, error)),
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
        Err(StoreError::io(action, &self.path(name))(io::ErrorKind::CrossesDevices.into()))
    }

    fn cannot_place(&self, action: &'static str, name: &str, error: io::Error) -> StoreError {
        match why(&error) {
            Why::IsFolder | Why::NotEmpty | Why::Exists => error::file_needed(&self.path(name)),
            _ => StoreError::io(action, &self.path(name))(error),
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

/// A relative path as repos write it, with slashes; `None` if it is not UTF-8.
pub(super) fn slashed(below: &Path) -> Option<String> {
    Some(names(below).map(Path::to_str).collect::<Option<Vec<_>>>()?.join("/"))
}

/// The names in a relative path; other components of a path are dropped.
fn names(below: &Path) -> impl Iterator<Item = &Path> {
    below.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    })
}

/// A removal of what is gone already has nothing to do.
fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if why(&error) == Why::Missing { Ok(()) } else { Err(error) })
}
