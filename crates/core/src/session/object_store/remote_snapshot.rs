//! The objects of one commit in an object store, and the records about them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::finding::Evidence;
use crate::lock::LockedRepo;
use crate::model::{CommitId, Entry, Listing, Location, Presence, RepoPath};
use crate::object_store::{Keys, Mark, ObjectError, Objects, SnapshotRecord, StoredFile};
use crate::select::Selection;
use crate::session::choosing::{DOCUMENT_LIMIT, choose_far};
use crate::session::{Error, Prepared};
use crate::verify::{Content, Subject, SubjectFile};

/// The objects of a commit, as a look at the store saw them.
pub(in crate::session) struct RemoteSnapshot {
    pub objects: Arc<Objects>,
    pub keys: Keys,
    pub commit: CommitId,
    /// The files that are there, by path.
    pub found: BTreeMap<String, Mark>,
    /// This machine's record of them.
    pub record: SnapshotRecord,
    /// The manifest of the same commit, from an earlier run.
    pub manifest: Option<LockedRepo>,
    /// The journals of uploads that earlier runs began.
    pub journals: BTreeSet<String>,
}

impl RemoteSnapshot {
    /// Looks at the store. `records`: the folder of this machine's records.
    pub async fn look(
        objects: &Arc<Objects>,
        keys: Keys,
        commit: CommitId,
        records: Option<&Path>,
    ) -> Result<Self, Error> {
        let found = objects.list(&keys.snapshot(&commit)).await?;
        let journals = objects.list(&keys.journals(&commit)).await?.into_keys().collect();
        let manifest = objects.manifest(&keys, &commit).await?;
        let record = objects.record(records, &keys, &commit).await;
        Ok(RemoteSnapshot { objects: Arc::clone(objects), keys, commit, found, record, manifest, journals })
    }

    pub async fn presence(&self, entry: &Entry) -> Result<Presence, Error> {
        let path = entry.path.as_str();
        let uploaded = if self.journals.contains(&format!("{path}.json")) {
            self.objects.noted(&self.keys, &self.commit, entry).await?
        } else {
            None
        };
        Ok(match (self.found.get(path).filter(|mark| mark.size == entry.size), uploaded) {
            (Some(_), _) if self.is_as_recorded(entry) => Presence::Verified,
            (Some(_), _) => Presence::Unverified,
            (None, Some(bytes)) if bytes > 0 => Presence::Partial(bytes),
            (None, _) => Presence::Absent,
        })
    }

    /// Whether an object is unchanged since this machine proved it.
    pub fn is_as_recorded(&self, entry: &Entry) -> bool {
        let found = self.found.get(entry.path.as_str());
        found.is_some_and(|mark| self.record.knows(&entry.path, entry.digest(), mark))
    }

    /// Looks again. Returns the files of `wanted` that were replaced or removed since.
    pub async fn look_again<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a RepoPath>,
    ) -> Result<BTreeSet<RepoPath>, Error> {
        let now = self.objects.list(&self.keys.snapshot(&self.commit)).await?;
        let seen = std::mem::replace(&mut self.found, now);
        let is_still = |path: &RepoPath| match (self.found.get(path.as_str()), seen.get(path.as_str())) {
            (Some(now), Some(seen)) => now.is_still(seen),
            _ => false,
        };
        Ok(wanted.filter(|path| !is_still(path)).cloned().collect())
    }

    pub fn content(&self, path: &RepoPath) -> Content {
        let size = self.found.get(path.as_str()).map(|mark| mark.size);
        Content::Far(Arc::new(StoredFile::new(Arc::clone(&self.objects), self.keys.file(&self.commit, path), size)))
    }

    pub fn subject(
        &self,
        prepared: &Prepared,
        known: impl Fn(&RepoPath) -> Evidence,
        wanted: impl Fn(&RepoPath, Presence) -> bool,
    ) -> Subject {
        let items = prepared.plan.items.iter().filter(|i| wanted(&i.entry.path, i.presence));
        let files = items.map(|item| SubjectFile {
            path: item.entry.path.clone(),
            content: self.content(&item.entry.path),
            size: Some(item.entry.size),
            digest: Some(item.entry.digest()),
            xet: None,
            origin: prepared.origin,
            known: known(&item.entry.path),
            purpose: item.purpose,
        });
        Subject { files: files.collect(), ..Subject::default() }
    }

    pub fn url(&self) -> Location {
        Location::Store(self.objects.shown(&self.keys.snapshot(&self.commit)))
    }
}

/// Runs selection on the listed files, with the small files in the store.
pub(super) async fn choose(there: &RemoteSnapshot, listing: &Listing) -> Result<Selection, Error> {
    let read = |path: RepoPath| async move {
        match there.objects.small(&there.keys.file(&there.commit, &path), DOCUMENT_LIMIT).await {
            // The file is too large for selection; its digest is checked as any other's.
            Err(ObjectError::Invalid { .. }) => Ok(None),
            other => Ok(other?.map(|bytes| bytes.to_vec())),
        }
    };
    choose_far(listing, read).await
}
