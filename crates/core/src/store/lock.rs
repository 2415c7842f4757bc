//! One lock for each file, shared with other tools: flock(2) on the paths that `huggingface_hub` locks.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::StoreError;
use super::within::Folder;
use crate::model::Digest;
use crate::mutex::lock;
use crate::platform::{Access, Create, Why, cannot_lock, let_others_lock, look_at_file, why};

/// The pause before another try to take a lock that is held for a moment, and the number of pauses: ten seconds
/// together.
const BRIEF_PAUSE: Duration = Duration::from_millis(20);
const BRIEF_TRIES: u32 = 500;

/// Digests whose partials this process works on.
pub(super) type Busy = Arc<Mutex<HashSet<Digest>>>;

/// The right to use one file's partial, until it is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    /// The locked files; empty if the file system cannot lock.
    files: Vec<File>,
    sure: bool,
    digest: Digest,
    busy: Busy,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        lock(&self.busy).remove(&self.digest);
    }
}

impl FileLock {
    /// Takes all locks for the file with this digest. Returns `None` if another process has one of them, or if this
    /// process works on the same partial. The lock files stay after release, as those of `huggingface_hub` do: if one
    /// was removed, its waiters would lock different files.
    pub(super) fn try_take(
        places: &[(Folder, String)],
        digest: Digest,
        busy: &Busy,
    ) -> Result<Option<FileLock>, StoreError> {
        let Some(mut lock) = Self::without(digest, busy) else { return Ok(None) };
        let Some(files) = take_all(places)? else { return Ok(None) };
        // Some file systems cannot lock, and some grant every lock to every process.
        let all = !places.is_empty() && files.len() == places.len();
        lock.sure = all && places.iter().all(|(folder, name)| excludes(folder, name));
        lock.files = files;
        Ok(Some(lock))
    }

    /// Continues without the locks: the partial then belongs to this process alone. `None` if this process works on it
    /// already.
    pub(super) fn without(digest: Digest, busy: &Busy) -> Option<FileLock> {
        if !lock(busy).insert(digest) {
            return None;
        }
        Some(FileLock { files: Vec::new(), sure: false, digest, busy: Arc::clone(busy) })
    }

    /// Whether no other process can hold it: locks work here, and this process holds all of them.
    pub(super) fn is_sure(&self) -> bool {
        self.sure
    }
}

/// Whether a held lock is refused if the file is opened a second time. A test in one process is enough: if locks
/// belong to processes, they do not separate two writers of one process.
pub(super) fn excludes(folder: &Folder, name: &str) -> bool {
    folder.open(name, Access::Read, Create::Never).is_ok_and(|second| second.try_lock().is_err())
}

/// Whether no process holds the lock on this file.
pub(super) fn is_unheld(folder: &Folder, name: &str) -> bool {
    folder.open(name, Access::Read, Create::Never).is_ok_and(|file| file.try_lock().is_ok())
}

/// Takes all of these locks; `None` if another process holds one of them. If locks do not work here, no process holds
/// any.
pub(super) fn take_all(places: &[(Folder, String)]) -> Result<Option<Vec<File>>, StoreError> {
    let mut files = Vec::with_capacity(places.len());
    for (folder, name) in places {
        match take_one(folder, name)? {
            Taken::Held(file) => files.push(file),
            Taken::CannotLock => {}
            Taken::Busy => return Ok(None),
        }
    }
    Ok(Some(files))
}

/// Takes the lock on one file for a moment's work, and waits a little for others. `None` if it stays locked: the work
/// continues without it.
pub(crate) fn take_briefly(folder: &Folder, name: &str) -> Option<File> {
    for _ in 0..BRIEF_TRIES {
        match take_one(folder, name) {
            Ok(Taken::Held(file)) => return Some(file),
            Ok(Taken::Busy) => std::thread::sleep(BRIEF_PAUSE),
            Ok(Taken::CannotLock) | Err(_) => return None,
        }
    }
    None
}

enum Taken {
    Held(File),
    Busy,
    CannotLock,
}

fn take_one(folder: &Folder, name: &str) -> Result<Taken, StoreError> {
    // If a tool removes its lock file on release, our lock is on a file that no other process will open.
    // So check that the path still names the locked file.
    for _ in 0..8 {
        let file = match open(folder, name) {
            Ok(Some(file)) => file,
            Ok(None) => continue,
            // The folder is another user's, so continue without the lock.
            Err(error) if error.is_not_allowed() => return Ok(Taken::CannotLock),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Taken::Busy),
            Err(TryLockError::Error(error)) if cannot_lock(&error) => return Ok(Taken::CannotLock),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &folder.path(name))(error)),
        }
        let ours = look_at_file(&file).map_err(StoreError::io("look at", &folder.path(name)))?;
        if folder.identity(name) == Some(ours.identity) {
            return Ok(Taken::Held(file));
        }
    }
    Ok(Taken::Busy)
}

/// Opens or creates the lock file; `None` if it disappeared in between.
fn open(folder: &Folder, name: &str) -> Result<Option<File>, StoreError> {
    let to_read = || folder.open(name, Access::Read, Create::Never);
    let opened = match folder.open(name, Access::ReadWrite, Create::New) {
        Ok(file) => {
            let_others_lock(&file);
            return Ok(Some(file));
        }
        Err(error) => match why(&error) {
            Why::Exists => match folder.open(name, Access::ReadWrite, Create::Never) {
                // The file is another user's; a reader may lock it too.
                Err(error) if why(&error) == Why::NotAllowed => to_read(),
                opened => opened,
            },
            // The file cannot be created, but an existing one can be locked.
            Why::NotAllowed | Why::ReadOnly => match to_read() {
                Err(error) if why(&error) == Why::Missing => Err(io::ErrorKind::PermissionDenied.into()),
                opened => opened,
            },
            _ => Err(error),
        },
    };
    opened.map(Some).or_else(|error| match why(&error) {
        Why::Missing => Ok(None),
        Why::Link => Err(StoreError::Symlink(folder.path(name))),
        _ => Err(StoreError::io("open the lock file", &folder.path(name))(error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    fn take(dir: &Path) -> Result<Option<FileLock>, StoreError> {
        let places = [(Folder::make(dir, Path::new("")).unwrap(), "x.lock".to_owned())];
        FileLock::try_take(&places, Digest::GitBlob(crate::model::GitOid([0; 20])), &Busy::default())
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped_and_its_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path()).unwrap().expect("free");
        assert!(take(dir.path()).unwrap().is_none());
        let from_another_thread = std::thread::scope(|s| s.spawn(|| take(dir.path()).unwrap().is_none()).join());
        assert!(from_another_thread.unwrap());
        drop(held);
        assert!(dir.path().join("x.lock").exists());
        assert!(take(dir.path()).unwrap().is_some());
        let mode = fs::metadata(dir.path().join("x.lock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o664, "as huggingface_hub makes it, whatever the umask");
    }

    /// Python's `fcntl.flock` and ours exclude one another; `flock(1)` behaves like it.
    #[test]
    fn another_process_that_holds_the_lock_is_seen() {
        use std::io::{BufRead as _, BufReader};
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("x.lock");
        let holder = std::process::Command::new("flock")
            .arg(&lock)
            .args(["sh", "-c", "echo held; read _"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        // Not every system has the tool.
        let Ok(mut holder) = holder else { return };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        assert!(take(dir.path()).unwrap().is_none());
        drop(holder.stdin.take());
        holder.wait().unwrap();
        assert!(take(dir.path()).unwrap().is_some());
    }

    #[test]
    fn a_lock_file_removed_by_its_last_holder_does_not_fool_us() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path()).unwrap().unwrap();
        fs::remove_file(dir.path().join("x.lock")).unwrap();
        let fresh = take(dir.path()).unwrap().expect("a new file, a new lock");
        assert!(take(dir.path()).unwrap().is_none());
        drop((held, fresh));
    }

    #[test]
    fn a_lock_that_works_is_sure_and_going_on_without_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(take(dir.path()).unwrap().unwrap().is_sure());
        let busy = Busy::default();
        let digest = Digest::GitBlob(crate::model::GitOid([0; 20]));
        let without = FileLock::without(digest, &busy).unwrap();
        assert!(!without.is_sure());
        assert!(FileLock::without(digest, &busy).is_none(), "a process never opens the same partial twice");
        drop(without);
        assert!(FileLock::without(digest, &busy).is_some());
    }

    #[test]
    fn a_lock_is_not_taken_through_a_link() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path().join("made"), dir.path().join("x.lock")).unwrap();
        assert!(matches!(take(dir.path()), Err(StoreError::Symlink(_))));
        assert!(!outside.path().join("made").exists());
    }
}
