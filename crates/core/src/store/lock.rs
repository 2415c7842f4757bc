//! One lock a file, shared with other tools: flock(2) on the paths that `huggingface_hub` locks.

use std::fs::{File, TryLockError};
use std::io;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::StoreError;
use super::within::{Folder, identity_of};

/// The mode that `huggingface_hub` gives its lock files: the other users of a shared cache must be
/// able to wait for them.
const MODE: Mode = Mode::from_raw_mode(0o664);

/// Exclusive use of one file's partial, until dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    /// Empty where the file system cannot lock: going on is safe, since partial files are
    /// positional and two writers write the same bytes to the same places.
    _files: Vec<File>,
}

impl FileLock {
    /// Takes all of the locks, or returns `None` when another process holds one of them. The
    /// files stay after release, as `huggingface_hub`'s do: to remove one splits its waiters.
    pub(super) fn try_take(places: &[(Folder, String)]) -> Result<Option<FileLock>, StoreError> {
        let mut files = Vec::new();
        for (folder, name) in places {
            match take_one(folder, name)? {
                Taken::Held(file) => files.push(file),
                Taken::CannotLock => {}
                Taken::Busy => return Ok(None),
            }
        }
        Ok(Some(FileLock { _files: files }))
    }
}

enum Taken {
    Held(File),
    Busy,
    CannotLock,
}

fn take_one(folder: &Folder, name: &str) -> Result<Taken, StoreError> {
    // A tool that removes its lock file on release leaves us holding a lock on a file that
    // nobody else will open: look whether the path still names what we locked.
    for _ in 0..8 {
        let Some(file) = open(folder, name)? else { continue };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Taken::Busy),
            // So some file systems say that another holds it.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Taken::Busy);
            }
            Err(TryLockError::Error(error)) if cannot_lock(&error) => return Ok(Taken::CannotLock),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &folder.path(name))(error)),
        }
        let ours = rustix::fs::fstat(&file).map_err(|e| StoreError::io("look at", &folder.path(name))(e.into()))?;
        if folder.identity(name) == Some(identity_of(&ours)) {
            return Ok(Taken::Held(file));
        }
    }
    Ok(Taken::Busy)
}

/// Opens or creates the lock file; `None` when it vanished in between.
fn open(folder: &Folder, name: &str) -> Result<Option<File>, StoreError> {
    let opened = match folder.open(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, MODE) {
        Ok(file) => {
            // Whatever the umask says; where modes mean nothing, so does this.
            let _ = rustix::fs::fchmod(&file, MODE);
            return Ok(Some(file));
        }
        Err(Errno::EXIST) => match folder.open(name, OFlags::RDWR, Mode::empty()) {
            // Another user's: a reader may lock it too.
            Err(Errno::ACCESS) => folder.open(name, OFlags::RDONLY, Mode::empty()),
            opened => opened,
        },
        Err(error) => Err(error),
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(StoreError::Symlink(folder.path(name))),
        Err(error) => Err(StoreError::io("open the lock file", &folder.path(name))(error.into())),
    }
}

/// Whether the error says that this file system has no locks (some NFS, FUSE and Lustre mounts).
fn cannot_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    fn take(dir: &Path) -> Result<Option<FileLock>, StoreError> {
        FileLock::try_take(&[(Folder::make(dir, Path::new("")).unwrap(), "x.lock".to_owned())])
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

    /// Python's `fcntl.flock` and ours exclude one another; `flock(1)` does as it does.
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
    fn a_lock_is_not_taken_through_a_link() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path().join("made"), dir.path().join("x.lock")).unwrap();
        assert!(matches!(take(dir.path()), Err(StoreError::Symlink(_))));
        assert!(!outside.path().join("made").exists());
    }
}
