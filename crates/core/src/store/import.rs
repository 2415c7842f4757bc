//! Puts content that is on this machine already at the place of a repo's file. Callers decide where to look for
//! it; there is no network here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::FileLock;
use super::within::TEMPORARY;
use super::{Store, StoreError, copying};
use crate::model::{CommitId, Entry, Hashed, Presence};

/// The result of putting content in place.
#[derive(Debug)]
pub(crate) enum Imported {
    /// It is in place; its bytes were hashed on the way.
    Here(Hashed),
    /// Another process put it there meanwhile.
    Already,
    /// Another process works on the file.
    Busy,
    /// The bytes are not the listed content.
    Other,
}

impl Store {
    /// The place of the entry's content in this store, for another store to take. [`Self::import`] checks
    /// whether it is right.
    pub(crate) fn offers(&self, commit: &CommitId, entry: &Entry) -> Option<std::path::PathBuf> {
        self.is_here(commit, entry).ok()?.then(|| self.content_path(commit, entry))
    }

    /// Puts the content of the file `from` in the entry's place, and hashes it on the way. `seen` gets the number of
    /// hashed bytes.
    pub(crate) fn import(
        self: &Arc<Self>,
        commit: &CommitId,
        entry: &Entry,
        from: &Path,
        seen: &mut dyn FnMut(u64),
    ) -> Result<Imported, StoreError> {
        let Some(_lock) = self.try_lock(entry)? else { return Ok(Imported::Busy) };
        if self.presence(commit, entry)? == Presence::Verified {
            self.adopt(commit, entry, None)?;
            return Ok(Imported::Already);
        }
        match self.install_copy(commit, entry, from, seen) {
            Ok((hashed, _)) => Ok(Imported::Here(hashed)),
            Err(StoreError::WrongContent { path, .. }) if path == from => Ok(Imported::Other),
            Err(error) => Err(error),
        }
    }

    /// Puts a copy of the file `from` in the entry's place, and hashes it on the way.
    pub(super) fn install_copy(
        &self,
        commit: &CommitId,
        entry: &Entry,
        from: &Path,
        seen: &mut dyn FnMut(u64),
    ) -> Result<(Hashed, PathBuf), StoreError> {
        let staging = self.layout.partial_folder()?;
        let temporary = format!("{TEMPORARY}{:016x}", fastrand::u64(..));
        let put = copying::copy(&staging, &temporary, from, entry, seen).and_then(|copied| {
            let place = self.install(&staging, &temporary, copied.stamp, commit, entry)?;
            Ok((copied.hashed, place))
        });
        if put.is_err() {
            let _ = staging.remove(&temporary);
        }
        put
    }

    /// Continues without the file's lock, even if another process holds it. Two writers do no harm, since each has its
    /// own partial.
    pub(crate) fn lock_anyway(&self, entry: &Entry) -> Result<Option<FileLock>, StoreError> {
        self.layout.prepare()?;
        Ok(FileLock::without(entry.digest(), &self.busy))
    }
}
