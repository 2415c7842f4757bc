//! Decides whose the files of a local dir are: this program or `huggingface_hub` put them there and they are
//! unchanged since, or they are the user's. `session` applies git's rule to it; nothing is fetched here.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use super::layout::{Kind, Noted};
use super::way::Ways;
use super::{Store, StoreError, disk};
use crate::finding::Stamp;
use crate::model::{CommitId, Digest, Entry, GitOid, RepoPath};
use crate::mutex::lock;
use crate::platform::{FileKind, Stat, look_at};

/// The first bytes of a git-lfs pointer.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
/// The most bytes of a pointer file, which has three short lines.
const POINTER_LIMIT: u64 = 1024;

/// What a run may do with the file at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There is no file of the user's: verified bytes may go there.
    Free,
    /// The file has no note, and is shorter than the listed file. It may be an unfinished download of another tool, if
    /// its bytes are the beginning of the listed ones.
    Beginning,
    /// The file is the user's, with the reason.
    Users(&'static str),
}

/// A file that an earlier run or `huggingface_hub` put into a local dir.
#[derive(Debug, Clone)]
pub(crate) struct Earlier {
    pub path: RepoPath,
    /// The commit in its note.
    pub commit: Option<CommitId>,
    /// The digest that it had then.
    pub digest: Option<Digest>,
    /// Whether the user has changed it since.
    pub changed: bool,
    /// Its stamp when this was found out.
    stamp: Stamp,
}

impl Store {
    /// Whether the file at the entry's name may be replaced, and its stamp. No file in a cache is the user's. Reads
    /// the whole file only if its times are not enough to decide.
    pub(crate) fn standing(&self, entry: &Entry) -> Result<(Standing, Option<Stamp>), StoreError> {
        let Kind::Local { root } = &self.layout.kind else { return Ok((Standing::Free, None)) };
        let at = entry.path.under(root);
        let Some(meta) = look(&at)? else { return Ok((Standing::Free, None)) };
        let stamp = Stamp::from(&meta);
        if meta.kind == FileKind::Link {
            // Older versions of huggingface_hub linked a local dir's files to the cache.
            let cached = fs::read_link(&at).is_ok_and(|to| to.parent().is_some_and(|p| p.ends_with("blobs")));
            let standing =
                if cached { Standing::Free } else { Standing::Users("it is a link that hfget did not make") };
            return Ok((standing, Some(stamp)));
        }
        // A folder in the way is reported when its place is needed.
        if meta.kind != FileKind::File || self.is_pointer(&entry.path, &stamp) {
            return Ok((Standing::Free, Some(stamp)));
        }
        let standing = match self.is_as_noted(&entry.path, &stamp)? {
            Some(true) => Standing::Free,
            Some(false) => Standing::Users("it was changed after it was put here"),
            None if has_control_file(&at) => Standing::Free,
            None if entry.lfs.is_some() && stamp.size < entry.size => Standing::Beginning,
            None => Standing::Users("neither hfget nor huggingface_hub put it here"),
        };
        Ok((standing, Some(stamp)))
    }

    /// From now on a file may be replaced only if it still has the stamp in `seen`, which has the names and stamps of
    /// entries.
    pub(crate) fn replace_only(&self, seen: impl IntoIterator<Item = (RepoPath, Option<Stamp>)>) {
        let mut free = lock(&self.free);
        free.extend(seen.into_iter().map(|(path, stamp)| (path.as_str().to_owned(), stamp)));
    }

    /// Checks directly before a replacement that the file may still be replaced. A file that another run stored
    /// meanwhile has the same content.
    pub(super) fn check_free(&self, entry: &Entry) -> Result<(), StoreError> {
        let Kind::Local { root } = &self.layout.kind else { return Ok(()) };
        let seen = lock(&self.free).get(entry.path.as_str()).copied();
        let Some(seen) = seen else { return Ok(()) };
        let at = entry.path.under(root);
        let now = look(&at)?;
        let stamp = now.as_ref().map(Stamp::from);
        if stamp == seen || now.is_some_and(|now| now.kind == FileKind::Folder) {
            return Ok(());
        }
        let Some(stamp) = stamp else { return Ok(()) };
        let same = now.is_some_and(|now| now.kind == FileKind::File)
            && has_digest_or_is_gone(&at, &entry.digest(), stamp.size)?;
        if same { Ok(()) } else { Err(StoreError::Edited(at)) }
    }

    /// The files of the folder's records that are here and that `wanted` accepts. Reads a whole file only if its times
    /// are not enough to decide whether it was changed.
    pub(crate) fn earlier(&self, wanted: impl Fn(&RepoPath) -> bool) -> Result<Vec<Earlier>, StoreError> {
        let Kind::Local { root } = &self.layout.kind else { return Ok(Vec::new()) };
        let mut all: BTreeMap<RepoPath, Option<Noted>> = BTreeMap::new();
        for key in self.record.keys() {
            if let Ok(path) = key.parse() {
                all.insert(path, None);
            }
        }
        for path in self.layout.noted_paths()? {
            all.insert(path, None);
        }
        let mut found = Vec::new();
        let mut ways = Ways::new(&self.layout, CommitId::ZERO);
        for path in all.into_keys().filter(|path| wanted(path)) {
            // Files behind a link do not belong to this folder.
            if ways.check(&path).is_err() {
                continue;
            }
            let at = path.under(root);
            let Some(meta) = look(&at)?.filter(|meta| meta.kind == FileKind::File) else { continue };
            let stamp = Stamp::from(&meta);
            let noted = self.layout.noted_file(&path);
            let digest = self.record.placed(path.as_str()).map(|(digest, _)| digest);
            let digest = digest.or_else(|| noted.as_ref().and_then(|noted| Digest::from_etag(&noted.etag).ok()));
            let commit = noted.and_then(|noted| noted.commit.parse().ok());
            let changed = self.is_as_noted(&path, &stamp)? == Some(false);
            found.push(Earlier { path, commit, digest, changed, stamp });
        }
        Ok(found)
    }

    /// Removes such a file, its notes, and the folders that become empty. `false` if another process works on it,
    /// or if it has changed since the look.
    pub(crate) fn remove_earlier(&self, earlier: &Earlier) -> Result<bool, StoreError> {
        let Kind::Local { root } = &self.layout.kind else { return Ok(false) };
        let entry = Entry::new(
            earlier.path.clone(),
            earlier.stamp.size,
            earlier.digest.unwrap_or(Digest::GitBlob(GitOid([0; 20]))),
        );
        let Some(_lock) = self.try_lock(&entry)? else { return Ok(false) };
        let now = look(&earlier.path.under(root))?;
        if now.as_ref().map(Stamp::from) != Some(earlier.stamp) {
            return Ok(false);
        }
        self.layout.remove_file(&earlier.path)?;
        self.record.strike(earlier.path.as_str())?;
        Ok(true)
    }

    /// Whether a file is unchanged since it was stored, by the records; `None` if they do not know it.
    fn is_as_noted(&self, path: &RepoPath, now: &Stamp) -> Result<Option<bool>, StoreError> {
        let Kind::Local { root } = &self.layout.kind else { return Ok(None) };
        let at = path.under(root);
        let placed = self.record.placed(path.as_str());
        if placed.is_some_and(|(_, then)| then == *now) {
            return Ok(Some(true));
        }
        let noted = self.layout.noted_file(path);
        let stated = noted.as_ref().and_then(|noted| Digest::from_etag(&noted.etag).ok());
        // Our own record has times to the nanosecond. For a file of huggingface_hub there is only the time of its note.
        let by_others = placed.is_none_or(|(digest, _)| stated != Some(digest));
        if by_others && noted.as_ref().is_some_and(|noted| is_before(now, noted.time)) {
            return Ok(Some(true));
        }
        for digest in placed.map(|(digest, _)| digest).into_iter().chain(stated) {
            if has_digest_or_is_gone(&at, &digest, now.size)? {
                return Ok(Some(true));
            }
        }
        Ok((placed.is_some() || noted.is_some()).then_some(false))
    }

    /// Whether the file is a git-lfs pointer instead of its content.
    fn is_pointer(&self, path: &RepoPath, stamp: &Stamp) -> bool {
        stamp.size < POINTER_LIMIT
            && self
                .layout
                .read(&path.under(Path::new("")), POINTER_LIMIT)
                .is_some_and(|text| text.starts_with(LFS_POINTER))
    }
}

/// The file at a path, without following a symlink; `None` if there is none.
fn look(at: &Path) -> Result<Option<Stat>, StoreError> {
    match look_at(at) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if disk::is_absent(&error) => Ok(None),
        Err(error) => Err(StoreError::io("look at", at)(error)),
    }
}

/// Whether a file was neither written nor changed after that many seconds since 1970.
fn is_before(stamp: &Stamp, time: f64) -> bool {
    // Seconds since 1970 are far below an f64's exact range.
    #[allow(clippy::cast_precision_loss)]
    let seconds = |whole: i64, nanos: i64| whole as f64 + nanos as f64 / 1e9;
    seconds(stamp.mtime, stamp.mtime_ns) <= time && seconds(stamp.ctime, stamp.ctime_ns) <= time
}

/// Whether a file has a digest. A file that another program removed meanwhile counts as one that has it: there is no
/// content to lose.
fn has_digest_or_is_gone(at: &Path, digest: &Digest, size: u64) -> Result<bool, StoreError> {
    match disk::hash(at, *digest, size) {
        Ok((hashed, _)) => Ok(hashed.digest() == *digest),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether aria2's control file beside the file says that it is not complete.
fn has_control_file(at: &Path) -> bool {
    let mut control = at.as_os_str().to_owned();
    control.push(".aria2");
    fs::symlink_metadata(control).is_ok_and(|meta| meta.is_file())
}

/// The files that may be replaced: each name with the file's stamp.
pub(super) type Free = std::sync::Mutex<HashMap<String, Option<Stamp>>>;
