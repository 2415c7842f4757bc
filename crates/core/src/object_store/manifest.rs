//! The small objects that describe a repo in the store: manifests and refs. `upload` uploads the files; `record` keeps
//! this machine's knowledge about them.

use std::time::Duration;

use super::{Keys, ObjectError, Objects};
use crate::lock::{Lock, LockedRepo};
use crate::model::{CommitId, Revision};

/// The most bytes of a manifest, which has some lines for each file.
const LIMIT: u64 = 256 << 20;
/// The most bytes of a ref, which is a commit id.
const REF_LIMIT: u64 = 1000;
/// How often to try to write a manifest while other runs write it too.
const TRIES: u32 = 20;

impl Objects {
    /// A commit's manifest; `None` if there is none.
    pub(crate) async fn manifest(&self, keys: &Keys, commit: &CommitId) -> Result<Option<LockedRepo>, ObjectError> {
        let key = keys.manifest(commit);
        let Some(text) = self.small(&key, LIMIT).await? else { return Ok(None) };
        self.parse_manifest(keys, commit, &text).map(Some)
    }

    fn parse_manifest(&self, keys: &Keys, commit: &CommitId, text: &[u8]) -> Result<LockedRepo, ObjectError> {
        let key = keys.manifest(commit);
        let invalid = |why: String| ObjectError::Invalid { url: self.shown(&key), why };
        let text = std::str::from_utf8(text).map_err(|e| invalid(e.to_string()))?;
        let lock = Lock::parse(text).map_err(invalid)?;
        match <[LockedRepo; 1]>::try_from(lock.repos) {
            Ok([repo]) if repo.commit == *commit && Keys::new(repo.repo_type, &repo.id) == *keys => Ok(repo),
            _ => Err(invalid("it is not the manifest of this repo at this commit".into())),
        }
    }

    /// The commit that the revision had at the last upload.
    pub(crate) async fn reference(&self, keys: &Keys, revision: &Revision) -> Result<Option<CommitId>, ObjectError> {
        let Some(text) = self.small(&keys.reference(revision), REF_LIMIT).await? else { return Ok(None) };
        Ok(std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()))
    }

    /// The manifest of the revision's commit; `None` if the ref or the manifest is missing.
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

    /// Names of revisions in the store, for advice.
    pub(crate) async fn references(&self, keys: &Keys) -> Result<Vec<String>, ObjectError> {
        Ok(self.list(&keys.references()).await?.into_keys().take(12).collect())
    }

    /// Moves a revision; writes nothing if it already has this commit.
    pub(crate) async fn set_reference(
        &self,
        keys: &Keys,
        revision: &Revision,
        commit: &CommitId,
    ) -> Result<(), ObjectError> {
        if revision.as_commit().is_some() || self.reference(keys, revision).await? == Some(*commit) {
            return Ok(());
        }
        // These are the exact bytes that huggingface_hub writes, so that a copy of the folder is a cache.
        self.put(&keys.reference(revision), commit.to_string().into()).await.map(drop)
    }

    /// Writes a commit's manifest. Other runs may write it at the same time: `merge` makes the new manifest from
    /// the present one, and is called again if that has changed.
    pub(crate) async fn put_manifest(
        &self,
        keys: &Keys,
        commit: &CommitId,
        merge: impl Fn(Option<&LockedRepo>) -> LockedRepo,
    ) -> Result<(), ObjectError> {
        let key = keys.manifest(commit);
        for lost in 0..TRIES {
            if lost > 1 {
                // Runs that lost at the same time must not try again at the same time.
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..20 << lost.min(6)))).await;
            }
            let read = self.small_version(&key, LIMIT).await?;
            let before = match &read {
                Some((text, _)) => Some(self.parse_manifest(keys, commit, text)?),
                None => None,
            };
            let repo = merge(before.as_ref());
            // Not every store obeys the condition of the write below, so a manifest counts as written only when it was
            // read again.
            if before.is_some_and(|before| before.files == repo.files) {
                return Ok(());
            }
            let text = Lock { repos: vec![repo] }.to_string();
            self.put_unless_changed(&key, text.into(), read.map(|(_, version)| version)).await?;
        }
        Err(ObjectError::Failed { url: self.shown(&key), why: "other runs write to it all the time".into() })
    }

    /// The commits that have a manifest.
    pub(crate) async fn commits(&self, keys: &Keys) -> Result<Vec<CommitId>, ObjectError> {
        let names = self.list(&keys.manifests()).await?;
        Ok(names.keys().filter_map(|name| name.strip_suffix(".lock")?.parse().ok()).collect())
    }
}
