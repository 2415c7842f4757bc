//! The wire protocol of a registry: one repository of it as [`Content`]. Nothing here knows which blobs make up a
//! repo, or calls a blob verified.
//!
//! Why not `oci-client`: it would bring 22 crates. Its streamed push sends one PATCH for each piece of the stream,
//! counts by itself instead of reading the registry's `Range`, resumes no session and cannot be cancelled. The rest of
//! it, tokens and manifests, takes a few hundred lines on top of the Hub's HTTP client, patience and redirect rules.
//! hfget uses `docker_credential` (files and helpers of credentials) and `http-auth` (the grammar of challenges).

mod auth;
mod feed;
mod keyring;
mod manifests;
mod parts;
mod read;
mod upload;
mod wire;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use self::wire::Wire;
use super::{Blobstream, Content, Descriptor, Got, ManifestName, OciConfig, OciError, Push};
use crate::hub::HubConfig;
use crate::model::{OciDigest, OciPlace, RepoPath};
use crate::progress::Progress;

/// Opens the repository that a reference names. Makes no request yet.
pub(crate) fn open(config: &OciConfig, http: &HubConfig) -> Result<Arc<dyn Content>, OciError> {
    let OciPlace::Registry { registry, name } = config.reference().place() else {
        let (place, why) = (config.reference().to_string(), "it names no registry".to_owned());
        return Err(OciError::Setup { place, why });
    };
    Ok(Arc::new(Registry { wire: Arc::new(Wire::new(config, http, registry, name)?) }))
}

/// Whether a credentials file can be read, and otherwise why not. The helpers that it names are not run.
pub(super) fn read_logins(text: &[u8]) -> Result<(), String> {
    keyring::read(text, &["registry.example".to_owned()], keyring::Helpers::Left).map(drop)
}

/// A repository of a registry.
#[derive(Debug)]
struct Registry {
    wire: Arc<Wire>,
}

impl Content for Registry {
    fn shown(&self) -> String {
        self.wire.shown.clone()
    }

    fn checks_digests(&self) -> bool {
        true
    }

    fn blob_size<'a>(&'a self, digest: &'a OciDigest) -> BoxFuture<'a, Result<Option<u64>, OciError>> {
        Box::pin(async {
            let size = self.wire.size_of(digest).await?;
            self.wire.http.retries.answered();
            Ok(size)
        })
    }

    fn open_blob<'a>(
        &'a self,
        digest: &'a OciDigest,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Blobstream, OciError>> {
        Box::pin(read::open(Arc::clone(&self.wire), *digest, range))
    }

    fn push_blob(&self, push: Push) -> BoxFuture<'_, Result<OciDigest, OciError>> {
        Box::pin(self.wire.push(push))
    }

    fn back_off<'a>(
        &'a self,
        path: Option<&'a RepoPath>,
        error: OciError,
        failures: u32,
        watch: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(self.wire.back_off(path, error, failures, watch))
    }

    fn mount<'a>(&'a self, digest: &'a OciDigest, from: &'a str) -> BoxFuture<'a, Result<bool, OciError>> {
        Box::pin(self.wire.mount_from(digest, from))
    }

    fn manifest<'a>(&'a self, of: &'a ManifestName) -> BoxFuture<'a, Result<Option<Got>, OciError>> {
        Box::pin(self.wire.get_manifest(of))
    }

    fn push_manifest<'a>(
        &'a self,
        name: &'a ManifestName,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>> {
        Box::pin(async move { self.wire.put_manifest(name, media_type, &bytes).await })
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a OciDigest,
        artifact_type: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, OciError>> {
        Box::pin(self.wire.referrers_of(subject, artifact_type))
    }

    fn push_referrer<'a>(
        &'a self,
        subject: &'a OciDigest,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>> {
        Box::pin(async move { self.wire.put_referrer(subject, media_type, &bytes).await })
    }

    fn remove_manifest<'a>(&'a self, digest: &'a OciDigest) -> BoxFuture<'a, bool> {
        Box::pin(self.wire.remove_manifest(digest))
    }
}

#[cfg(test)]
mod tests;
