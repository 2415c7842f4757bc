//! The small objects that say what is there of a repo: manifests, refs, and what was known of a commit's
//! objects when all of them had verified. Files themselves are put there by `upload`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Keys, Mark, ObjectError, Objects};
use crate::finding::Outcome;
use crate::lock::{Lock, LockedRepo};
use crate::model::{CommitId, Revision};

/// A manifest is some lines a file.
const LIMIT: u64 = 256 << 20;
/// A ref is a commit id.
const REF_LIMIT: u64 = 1000;
const VERSION: u32 = 1;

/// What was known of a commit's objects when they had verified.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    version: u32,
    /// By path.
    pub files: BTreeMap<String, Mark>,
    /// What the check of contents found, by what it depends on.
    pub checks: BTreeMap<String, Outcome>,
}

impl Objects {
    /// What a commit's files must be; `None` without a manifest.
    pub(crate) async fn manifest(&self, keys: &Keys, commit: &CommitId) -> Result<Option<LockedRepo>, ObjectError> {
        let key = keys.manifest(commit);
        let Some(text) = self.small(&key, LIMIT).await? else { return Ok(None) };
        let invalid = |why: String| ObjectError::Invalid { url: self.shown(&key), why };
        let text = std::str::from_utf8(&text).map_err(|e| invalid(e.to_string()))?;
        let lock = Lock::parse(text).map_err(invalid)?;
        match <[LockedRepo; 1]>::try_from(lock.repos) {
            Ok([repo]) if repo.commit == *commit && Keys::new(repo.repo_type, &repo.id) == *keys => Ok(Some(repo)),
            _ => Err(invalid("it is no manifest of this repo at this commit".into())),
        }
    }

    /// The commit that a revision was when it was last put there.
    pub(crate) async fn reference(&self, keys: &Keys, revision: &Revision) -> Result<Option<CommitId>, ObjectError> {
        let Some(text) = self.small(&keys.reference(revision), REF_LIMIT).await? else { return Ok(None) };
        Ok(std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()))
    }

    /// The manifest of the commit that a revision is; `None` when either is missing.
    pub(crate) async fn manifest_of(
        &self,
        keys: &Keys,
        revision: &Revision,
    ) -> Result<Option<LockedRepo>, ObjectError> {
        let commit = match revision.as_commit() {
            Some(commit) => Some(commit),
            None => self.reference(keys, revision).await?,
        };
        match commit {
            Some(commit) => self.manifest(keys, &commit).await,
            None => Ok(None),
        }
    }

    /// Names of the revisions that are there, for advice.
    pub(crate) async fn references(&self, keys: &Keys) -> Result<Vec<String>, ObjectError> {
        Ok(self.list(&keys.references()).await?.into_keys().take(12).collect())
    }

    /// Moves a revision; nothing is written when it is there already.
    pub(crate) async fn set_reference(
        &self,
        keys: &Keys,
        revision: &Revision,
        commit: &CommitId,
    ) -> Result<(), ObjectError> {
        if revision.as_commit().is_some() || self.reference(keys, revision).await? == Some(*commit) {
            return Ok(());
        }
        // To the byte as huggingface_hub writes it: a copy of all this is a cache.
        self.put(&keys.reference(revision), commit.to_string().into()).await.map(drop)
    }

    /// Writes what a commit's files must be.
    pub(crate) async fn put_manifest(&self, keys: &Keys, repo: LockedRepo) -> Result<(), ObjectError> {
        let key = keys.manifest(&repo.commit);
        let text = Lock { repos: vec![repo] }.to_string();
        self.put(&key, text.into()).await.map(drop)
    }

    /// What is remembered of a commit; nothing, when it cannot be read: it only saves work.
    pub(crate) async fn record(&self, keys: &Keys, commit: &CommitId) -> Result<Record, ObjectError> {
        let text = match self.small(&keys.record(commit), LIMIT).await {
            Err(ObjectError::Invalid { .. }) => None,
            other => other?,
        };
        let record: Option<Record> = text.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(record.filter(|record| record.version == VERSION).unwrap_or_default())
    }

    pub(crate) async fn put_record(&self, keys: &Keys, commit: &CommitId, record: Record) -> Result<(), ObjectError> {
        let record = Record { version: VERSION, ..record };
        // Names and numbers: nothing of it fails to be written.
        let text = serde_json::to_vec(&record).unwrap_or_default();
        self.put(&keys.record(commit), text.into()).await.map(drop)
    }

    /// The commits of which there is a manifest.
    pub(crate) async fn commits(&self, keys: &Keys) -> Result<Vec<CommitId>, ObjectError> {
        let names = self.list(&keys.manifests()).await?;
        Ok(names.keys().filter_map(|name| name.strip_suffix(".lock")?.parse().ok()).collect())
    }
}
