//! Windows. It has no steps relative to an open folder. So a folder here is a path with all of its folders kept open:
//! on Windows, no program can move, remove or replace a folder that is open without `FILE_SHARE_DELETE`. Comments on
//! each item state the other differences from Unix. This file was type-checked, and its tests ran under Wine, never on
//! Windows.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::windows::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::names::refused_by_windows;
use super::{Access, Create, FileKind, Stat, Time, Why};

// Flags of `CreateFileW`.
const FILE_READ_ATTRIBUTES: u32 = 0x80;
const FILE_SHARE_READ: u32 = 1;
const FILE_SHARE_WRITE: u32 = 2;
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;

const FILE_ATTRIBUTE_DIRECTORY: u32 = 0x10;
const FILE_ATTRIBUTE_DEVICE: u32 = 0x40;
const FILE_ATTRIBUTE_REPARSE_POINT: u32 = 0x400;

// System error codes.
const ERROR_INVALID_FUNCTION: i32 = 1;
const ERROR_FILE_NOT_FOUND: i32 = 2;
const ERROR_PATH_NOT_FOUND: i32 = 3;
const ERROR_TOO_MANY_OPEN_FILES: i32 = 4;
const ERROR_ACCESS_DENIED: i32 = 5;
const ERROR_NOT_SAME_DEVICE: i32 = 17;
const ERROR_WRITE_PROTECT: i32 = 19;
const ERROR_SHARING_VIOLATION: i32 = 32;
const ERROR_NOT_SUPPORTED: i32 = 50;
const ERROR_FILE_EXISTS: i32 = 80;
const ERROR_DIR_NOT_EMPTY: i32 = 145;
const ERROR_ALREADY_EXISTS: i32 = 183;
const ERROR_DIRECTORY: i32 = 267;
const ERROR_DIRECTORY_NOT_SUPPORTED: i32 = 336;
const ERROR_STOPPED_ON_SYMLINK: i32 = 681;

/// The pause while another program keeps a file open, as virus scanners briefly do, and the number of pauses: half a
/// second together.
const PAUSE: Duration = Duration::from_millis(25);
const TRIES: u32 = 20;

/// Windows counts from 1601, in units of 100 ns.
const TICKS: u64 = 10_000_000;
const SECONDS_TO_1970: i64 = 11_644_473_600;

/// An open folder. While it is open, nothing can take its place or that of a folder on the way to it.
#[derive(Debug)]
pub(crate) struct Dir {
    /// In the form `\\?\…`, which Windows uses unchanged: no dots, no devices, no limit of 260 characters.
    path: PathBuf,
    /// This folder, and those that were entered before it.
    held: Vec<Arc<File>>,
}

impl Dir {
    pub fn open_root(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        let held = vec![Arc::new(hold(&path)?)];
        Ok(Dir { path, held })
    }

    pub fn enter(&self, name: &Path) -> io::Result<Self> {
        let path = self.at(name.as_os_str())?;
        let mut held = self.held.clone();
        held.push(Arc::new(hold(&path)?));
        Ok(Dir { path, held })
    }

    /// There is no such call here.
    pub fn enter_deep(&self, _below: &Path) -> Option<Self> {
        None
    }

    /// The path of one name in this folder.
    fn at(&self, name: &OsStr) -> io::Result<PathBuf> {
        let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
        match name.to_str().map(refused_by_windows) {
            Some(None) => Ok(self.path.join(name)),
            Some(Some(why)) => refused(why),
            None => refused("it is not Unicode"),
        }
    }

    pub fn make(&self, name: &Path) -> io::Result<()> {
        fs::create_dir(self.at(name.as_os_str())?)
    }

    pub fn look_at(&self, name: &Path) -> io::Result<Stat> {
        look_at(&self.at(name.as_os_str())?)
    }

    pub fn open(&self, name: &str, access: Access, create: Create) -> io::Result<File> {
        let path = self.at(OsStr::new(name))?;
        let mut options = OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            // Windows flushes nothing through a handle that may only read.
            Access::Flush => options.write(true),
            // A handle that only appends cannot make the file shorter.
            Access::ReadWrite | Access::Journal => options.read(true).write(true),
            Access::Append => options.append(true),
        };
        match create {
            Create::Never => &mut options,
            Create::IfMissing => options.create(true),
            Create::New => options.create_new(true),
        };
        let mut file = match options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(&path) {
            Err(error) if why(&error) == Why::NotAllowed && is_folder(&path) => return Err(is_a_folder()),
            opened => opened?,
        };
        if file.metadata()?.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
            return Err(is_a_link());
        }
        if access == Access::Journal {
            file.seek(SeekFrom::End(0))?;
        }
        Ok(file)
    }

    pub fn names(&self) -> io::Result<impl Iterator<Item = io::Result<OsString>> + use<>> {
        Ok(fs::read_dir(&self.path)?.map(|item| Ok(item?.file_name())))
    }

    /// Does nothing: a folder cannot be flushed here. NTFS notes names in its own journal, in the order of the changes,
    /// so a crash loses the last names and no earlier ones.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // on other systems it is needed
    pub fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn remove(&self, name: &Path) -> io::Result<()> {
        let path = self.at(name.as_os_str())?;
        match insist(|| fs::remove_file(&path)) {
            Err(error) if why(&error) == Why::NotAllowed => match look_at(&path)?.kind {
                // A link to a folder is removed like a folder. Its target stays.
                FileKind::Link => fs::remove_dir(&path),
                FileKind::Folder => Err(is_a_folder()),
                FileKind::File | FileKind::Other => Err(error),
            },
            removed => removed,
        }
    }

    pub fn remove_folder(&self, name: &Path) -> io::Result<()> {
        let path = self.at(name.as_os_str())?;
        insist(|| fs::remove_dir(&path))
    }

    pub fn rename(&self, name: &str, to: &Dir, new: &str) -> io::Result<()> {
        let (from, to) = (self.at(OsStr::new(name))?, to.at(OsStr::new(new))?);
        match insist(|| fs::rename(&from, &to)) {
            Err(error) if why(&error) == Why::NotAllowed && is_folder(&to) => Err(is_a_folder()),
            moved => moved,
        }
    }

    /// Refuses: links need rights that few users have. The cache then has copies, like those of `huggingface_hub`.
    #[allow(clippy::unused_self)] // on other systems it is needed
    pub fn link(&self, _: &Path, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Opens a folder so that nobody can move or rename it, and follows no link.
fn hold(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            // A handle that only reads attributes does not keep other programs from moving the folder.
            .read(true)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
            .open(path)
    };
    let folder = insist_on(&[ERROR_SHARING_VIOLATION], open)?;
    let attributes = folder.metadata()?.file_attributes();
    if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(is_a_link());
    }
    if attributes & FILE_ATTRIBUTE_DIRECTORY == 0 {
        return Err(io::Error::from_raw_os_error(ERROR_DIRECTORY));
    }
    Ok(folder)
}

/// Retries while another program keeps the file open.
fn insist<T>(work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    insist_on(&[ERROR_SHARING_VIOLATION, ERROR_ACCESS_DENIED], work)
}

fn insist_on<T>(codes: &[i32], work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..TRIES {
        match work() {
            Err(error) if error.raw_os_error().is_some_and(|code| codes.contains(&code)) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    work()
}

fn is_a_link() -> io::Error {
    io::Error::from_raw_os_error(ERROR_STOPPED_ON_SYMLINK)
}

fn is_a_folder() -> io::Error {
    io::Error::from_raw_os_error(ERROR_DIRECTORY_NOT_SUPPORTED)
}

fn is_folder(path: &Path) -> bool {
    look_at(path).is_ok_and(|stat| stat.kind == FileKind::Folder)
}

/// Looks at a path. Everything that leads to another place counts as a link and is not followed: symbolic links,
/// junctions, mount points.
pub(crate) fn look_at(path: &Path) -> io::Result<Stat> {
    let file = to_look(path, FILE_FLAG_OPEN_REPARSE_POINT)?;
    let mut stat = look_at_file(&file)?;
    if file.metadata()?.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        stat.kind = FileKind::Link;
    }
    Ok(stat)
}

pub(crate) fn look_through(path: &Path) -> io::Result<Stat> {
    look_at_file(&to_look(path, 0)?)
}

pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    // A folder is opened too: the caller checks the kind.
    OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)
}

fn to_look(path: &Path, flags: u32) -> io::Result<File> {
    let flags = FILE_FLAG_BACKUP_SEMANTICS | flags;
    OpenOptions::new().access_mode(FILE_READ_ATTRIBUTES).custom_flags(flags).open(path)
}

/// Looks at an open file. Its time of change is not available without unsafe code, so the start of this process
/// replaces it. An earlier run's record of a file therefore never counts, and each run reads every file itself. Within
/// a run, a program that resets a file's time of writing goes unnoticed.
pub(crate) fn look_at_file(file: &File) -> io::Result<Stat> {
    let told = winapi_util::file::information(file)?;
    let is = |attribute: u32| told.file_attributes() & u64::from(attribute) != 0;
    let written = told.last_write_time().unwrap_or(0);
    Ok(Stat {
        kind: match () {
            () if is(FILE_ATTRIBUTE_DIRECTORY) => FileKind::Folder,
            () if is(FILE_ATTRIBUTE_DEVICE) => FileKind::Other,
            () => FileKind::File,
        },
        size: told.file_size(),
        taken: told.file_size(),
        links: told.number_of_links(),
        modified: Time {
            seconds: i64::try_from(written / TICKS).unwrap_or(0) - SECONDS_TO_1970,
            nanos: i64::try_from(written % TICKS).unwrap_or(0) * 100,
        },
        changed: began(),
        identity: (told.volume_serial_number(), told.file_index()),
    })
}

/// When this process first looked at a file.
fn began() -> Time {
    static BEGAN: OnceLock<Time> = OnceLock::new();
    *BEGAN.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { seconds: i64::try_from(now.as_secs()).unwrap_or(0), nanos: i64::from(now.subsec_nanos()) }
    })
}

pub(crate) fn why(error: &io::Error) -> Why {
    match error.raw_os_error() {
        Some(ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND) => Why::Missing,
        Some(ERROR_FILE_EXISTS | ERROR_ALREADY_EXISTS) => Why::Exists,
        Some(ERROR_STOPPED_ON_SYMLINK) => Why::Link,
        Some(ERROR_DIRECTORY_NOT_SUPPORTED) => Why::IsFolder,
        Some(ERROR_DIRECTORY) => Why::NotFolder,
        Some(ERROR_DIR_NOT_EMPTY) => Why::NotEmpty,
        Some(ERROR_ACCESS_DENIED) => Why::NotAllowed,
        Some(ERROR_WRITE_PROTECT) => Why::ReadOnly,
        Some(ERROR_NOT_SAME_DEVICE) => Why::OtherDisk,
        Some(ERROR_TOO_MANY_OPEN_FILES) => Why::TooManyOpen,
        _ => Why::Other,
    }
}

pub(crate) fn cannot_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || matches!(error.raw_os_error(), Some(ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED | ERROR_ACCESS_DENIED))
}

/// Does nothing: a file has the rights of its folder.
pub(crate) fn let_others_lock(_: &File) {}

/// Does nothing: a file has the rights of its folder, temporary files too.
#[allow(clippy::unnecessary_wraps)] // on other systems it is needed
pub(crate) fn give_rights(_: &File, _: Option<&Path>) -> io::Result<()> {
    Ok(())
}

/// Moves the position of the next plain read of the same file; no caller mixes the two.
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.seek_read(buffer, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = std::mem::take(&mut buffer).get_mut(read..).unwrap_or_default();
                at = at.saturating_add(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                at = at.saturating_add(written as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Flushing needs the right to write. The file is not flushed if this user has no such right, or if another program
/// keeps writers out.
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path).and_then(|file| file.sync_data()) {
        Err(error)
            if matches!(why(&error), Why::NotAllowed | Why::ReadOnly)
                || error.raw_os_error() == Some(ERROR_SHARING_VIOLATION) =>
        {
            Ok(())
        }
        flushed => flushed,
    }
}

/// Reserves nothing: Windows would make the file longer.
#[allow(clippy::unnecessary_wraps)] // on other systems it is needed
pub(crate) fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

pub(crate) fn share(_: &File, _: &File) -> bool {
    false
}

pub(crate) fn free_space(path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}

pub(crate) fn path_of(_: &File) -> Option<PathBuf> {
    None
}

/// `None`: not available without unsafe code. The number of connections then depends on the hashers alone.
pub(crate) fn cpu_time() -> Duration {
    Duration::ZERO
}

/// Unknown.
pub(crate) fn idle_time() -> Option<Duration> {
    None
}

/// As Python finds it: `USERPROFILE`, otherwise `HOMEDRIVE` with `HOMEPATH`.
pub(crate) fn own_home(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let some = |name| get(name).filter(|value| !value.is_empty());
    some("USERPROFILE").map(PathBuf::from).or_else(|| {
        let mut home = get("HOMEDRIVE").unwrap_or_default();
        home.push(some("HOMEPATH")?);
        Some(home.into())
    })
}

/// `None`: Windows has no file with a list of users.
pub(crate) fn home_of(_: &str) -> Option<PathBuf> {
    None
}
