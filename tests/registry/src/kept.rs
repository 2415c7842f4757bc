//! The registry's content, for tests to look at and to change directly.

use std::collections::BTreeMap;

use bytes::Bytes;
use hfget_loopback_hub::lock;

use crate::server::{Manifest, Registry};

impl Registry {
    /// A blob of a repo.
    #[must_use]
    pub fn blob(&self, name: &str, digest: &str) -> Option<Bytes> {
        lock(&self.shared.repos).get(name)?.blobs.get(digest).cloned()
    }

    /// Digests of all blobs of a repo.
    #[must_use]
    pub fn blobs(&self, name: &str) -> Vec<String> {
        let repos = lock(&self.shared.repos);
        let mut digests: Vec<String> = repos.get(name).map(|r| r.blobs.keys().cloned().collect()).unwrap_or_default();
        digests.sort();
        digests
    }

    /// Adds a blob; returns its digest.
    pub fn put_blob(&self, name: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = crate::digest_of(&bytes);
        self.plant_blob(name, &digest, bytes);
        digest
    }

    /// Stores bytes as the blob of this digest, even if it is not theirs.
    pub fn plant_blob(&self, name: &str, digest: &str, bytes: impl Into<Bytes>) {
        let mut repos = lock(&self.shared.repos);
        repos.entry(name.to_owned()).or_default().blobs.insert(digest.to_owned(), bytes.into());
    }

    /// Removes a blob.
    pub fn remove_blob(&self, name: &str, digest: &str) {
        if let Some(repo) = lock(&self.shared.repos).get_mut(name) {
            repo.blobs.remove(digest);
        }
    }

    /// A manifest by tag or digest: its media type and bytes.
    #[must_use]
    pub fn manifest(&self, name: &str, reference: &str) -> Option<(String, Bytes)> {
        let repos = lock(&self.shared.repos);
        let repo = repos.get(name)?;
        let digest = repo.tags.get(reference).map_or(reference, String::as_str);
        repo.manifests.get(digest).map(|manifest| (manifest.media_type.clone(), manifest.bytes.clone()))
    }

    /// Stores an image's manifest under a tag, without checks.
    pub fn put_manifest(&self, name: &str, tag: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let (digest, media_type) = (crate::digest_of(&bytes), "application/vnd.oci.image.manifest.v1+json".to_owned());
        let mut repos = lock(&self.shared.repos);
        let repo = repos.entry(name.to_owned()).or_default();
        repo.manifests.insert(digest.clone(), Manifest { media_type, bytes });
        repo.tags.insert(tag.to_owned(), digest);
    }

    /// Removes a tag, and its manifest.
    pub fn remove_tag(&self, name: &str, tag: &str) {
        if let Some(repo) = lock(&self.shared.repos).get_mut(name)
            && let Some(digest) = repo.tags.remove(tag)
        {
            repo.manifests.remove(&digest);
        }
    }

    /// Removes all referrers; returns how many there were.
    pub fn remove_referrers(&self, name: &str) -> usize {
        let mut repos = lock(&self.shared.repos);
        let Some(repo) = repos.get_mut(name) else { return 0 };
        let before = repo.manifests.len();
        repo.manifests.retain(|_, manifest| {
            let json: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
            json.get("subject").is_none()
        });
        before - repo.manifests.len()
    }

    /// Tags of a repo, with the digests that they name.
    #[must_use]
    pub fn tags(&self, name: &str) -> BTreeMap<String, String> {
        lock(&self.shared.repos).get(name).map(|repo| repo.tags.clone()).unwrap_or_default()
    }
}
