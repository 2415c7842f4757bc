//! The one room that differs between systems: open folders and what is in them, reads and writes at any place of a
//! file, memory for reads, rights, free space. `unix` and `windows` define the same names. The rooms above decide what
//! files mean.

mod names;
mod page_buffer;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(crate) use names::refused_name;
pub(crate) use page_buffer::{PAGE, PageBuffer, begin_at_page};
pub(crate) use system::{
    Dir, cannot_lock, cpu_time, flush, free_space, give_rights, home_of, idle_time, let_others_lock, look_at,
    look_at_file, look_through, open_to_read, own_home, path_of, read_exact_at, reserve, share, why, write_all_at,
};

/// What is at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Folder,
    /// A symbolic link, or anything else that leads to another place.
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    pub seconds: i64,
    pub nanos: i64,
}

impl Time {
    /// To the second; `None` before 1970.
    pub fn to_second(self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.seconds).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }
}

/// Identifies a file among all files of this machine: its disk, and its number there.
pub(crate) type Identity = (u64, u64);

/// What the system knows of a file or folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub kind: FileKind,
    pub size: u64,
    /// The bytes that it takes on the disk, including reserved space.
    pub taken: u64,
    /// How many names it has.
    pub links: u64,
    pub modified: Time,
    pub changed: Time,
    pub identity: Identity,
}

/// What an open file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// To flush what others wrote, with as few rights as that takes.
    Flush,
    ReadWrite,
    /// Every write goes to the end, even if other programs write too.
    Append,
    /// The same for one writer, who may also make the file shorter.
    Journal,
}

/// Whether a file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Create {
    Never,
    IfMissing,
    /// It must not exist.
    New,
}

/// Why the system refused something, as far as a caller acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Missing,
    Exists,
    /// A link is there, and is not followed.
    Link,
    IsFolder,
    NotFolder,
    NotEmpty,
    NotAllowed,
    ReadOnly,
    OtherDisk,
    /// The process or the machine has too many open files at present.
    TooManyOpen,
    Other,
}

/// The pause while the system has no descriptor left, and the number of pauses: half a minute together.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(20);
const DESCRIPTOR_TRIES: u32 = 1500;

/// Opens something, and tries again while the system has no descriptor left: other open files will be closed.
pub(crate) fn patiently<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..DESCRIPTOR_TRIES {
        match open() {
            Err(error) if why(&error) == Why::TooManyOpen => std::thread::sleep(DESCRIPTOR_PAUSE),
            opened => return opened,
        }
    }
    open()
}

/// The folder of a file; of a bare name the current one.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
