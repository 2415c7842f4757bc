//! OCI content: registries, and image layouts, which tools exchange as a folder or as one file. This file is the
//! one interface for reading and writing blobs and manifests. `layout` knows which blobs make up a repo; the session
//! knows what they prove.
//!
//! Three kinds of places have such content. Everything above this room sees only `Content`:
//!
//! ```text
//! oci://REGISTRY/NAME:TAG        a registry; `registry` has its wire protocol
//! oci-archive:FILE.tar[:TAG]     an OCI image layout as one tar file
//! oci:FOLDER[:TAG]               an OCI image layout as a folder
//! ```
//!
//! A blob's name is the SHA-256 of its bytes. A registry compares the two when it accepts a blob, and so do files and
//! folders here. For a blob that a registry already has, its digest is only the registry's claim. Nothing here calls a
//! file verified.

mod any_bytes;
mod archive;
mod check;
mod config;
mod contents;
mod error;
mod folder;
mod hashes;
mod layout;
mod local;
mod manifest;
mod part;
mod registry;
mod tar;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

#[doc(hidden)]
pub use any_bytes::{Readings, any_bytes};
pub(crate) use check::read_layer;
pub use config::OciConfig;
pub(crate) use contents::{Contents, LayerFile, Placed, Trouble, small, whole};
pub use error::OciError;
pub(crate) use hashes::Hashes;
pub use layout::OciLayout;
pub(crate) use layout::{Base, EMPTY_CONFIG, Form, Layer, Made, Statement, lock_referrer};
pub(crate) use manifest::{Descriptor, INDEX, Index, MANIFEST, Manifest};
pub(crate) use part::Part;
pub(crate) use tar::zeros;

use crate::hub::HubConfig;
use crate::model::{OciDigest, OciPlace, RepoPath};
use crate::progress::Progress;

/// The largest manifest. The distribution specification asks registries to accept this size, and many accept no more.
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;

/// Opens the content that a configuration names. Makes no request yet. `http` says how a registry is reached, as for
/// a Hub: proxies, certificates, patience. The Hub's token is not sent to a registry.
pub(crate) fn open(config: &OciConfig, http: &HubConfig) -> Result<Arc<dyn Content>, OciError> {
    match config.reference().place() {
        OciPlace::Registry { .. } => registry::open(config, http),
        OciPlace::Archive(path) => Ok(Arc::new(archive::Archive::new(path.clone()))),
        OciPlace::Folder(path) => Ok(Arc::new(folder::Folder::new(path.clone()))),
    }
}

/// A stream of a blob's bytes.
pub(crate) type Blobstream = BoxStream<'static, Result<Bytes, OciError>>;

/// One repository of a registry, or one image layout.
///
/// An implementation retries all requests that it can send again, which are all except the streams of
/// [`Body::Stream`]. The caller can make such a stream again, and [`OciError::is_worth_retrying`] says whether it
/// should.
pub(crate) trait Content: fmt::Debug + Send + Sync {
    /// Its name for people: `oci://registry.example/acme/model`, `oci-archive:model.tar`. Safe to print.
    fn shown(&self) -> String;

    /// Whether it compared each blob's bytes with the blob's name when it accepted the blob. A registry must do so.
    /// Files and folders cannot.
    fn checks_digests(&self) -> bool;

    /// The bytes of a blob; `None` if it does not exist.
    fn blob_size<'a>(&'a self, digest: &'a OciDigest) -> BoxFuture<'a, Result<Option<u64>, OciError>>;

    /// A range of a blob. The stream ends early only with an error.
    fn open_blob<'a>(&'a self, digest: &'a OciDigest, range: Range<u64>)
    -> BoxFuture<'a, Result<Blobstream, OciError>>;

    /// Called before any push: the sizes of the blobs that have a [`Push::number`], in the order of their numbers. An
    /// archive reserves an offset for each, so its bytes do not depend on the order of the pushes. A registry has no
    /// order.
    fn expect<'a>(&'a self, _sizes: &'a [u64]) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(async { Ok(()) })
    }

    /// The bytes that killed runs left on this disk of the blobs that [`Content::expect`] will announce, by their
    /// numbers. They prove nothing: the caller hashes them.
    fn left<'a>(&'a self, _sizes: &'a [u64]) -> BoxFuture<'a, Vec<Option<Left>>> {
        Box::pin(async { Vec::new() })
    }

    /// Removes files that killed runs left, and returns whether it removed any: then there may be enough space.
    fn drop_left(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }

    /// Pushes a blob, and returns its digest. If the push fails, if the body ends with an error, or if the digest is
    /// wrong, no part of the blob becomes visible or stays behind.
    fn push_blob(&self, push: Push) -> BoxFuture<'_, Result<OciDigest, OciError>>;

    /// Waits before the next try after the push of a stream failed, the `failures`-th time in a row, and notifies the
    /// watcher. Returns the error when it is time to give up.
    fn back_off<'a>(
        &'a self,
        _path: Option<&'a RepoPath>,
        error: OciError,
        _failures: u32,
        _watch: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(async { Err(error) })
    }

    /// Mounts a blob from another repository of the same registry, so that its bytes need not be sent. `false`: the
    /// registry did not mount it.
    fn mount<'a>(&'a self, _digest: &'a OciDigest, _from: &'a str) -> BoxFuture<'a, Result<bool, OciError>> {
        Box::pin(async { Ok(false) })
    }

    /// A manifest, of at most [`MANIFEST_LIMIT`] bytes; `None` if it does not exist. Its digest is computed from the
    /// received bytes. If a digest was requested, it is that digest.
    fn manifest<'a>(&'a self, of: &'a ManifestName) -> BoxFuture<'a, Result<Option<Got>, OciError>>;

    /// Puts a manifest whose blobs exist already. If there is a tag, moves the tag.
    fn push_manifest<'a>(
        &'a self,
        name: &'a ManifestName,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>>;

    /// The manifests of one artifact type that have this one as their subject. If the registry has no list of
    /// referrers, the manifests that the tag `sha256-HEX` lists.
    fn referrers<'a>(
        &'a self,
        subject: &'a OciDigest,
        artifact_type: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, OciError>>;

    /// Puts a manifest with a `subject`, so that [`Content::referrers`] finds it. If the registry has no list of
    /// referrers, this writes the index at the tag `sha256-HEX`, which other programs may write too.
    fn push_referrer<'a>(
        &'a self,
        subject: &'a OciDigest,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>>;

    /// Removes a manifest that is no longer needed, with its tags. `false`: it stays, since not every registry can
    /// remove one.
    fn remove_manifest<'a>(&'a self, _digest: &'a OciDigest) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }

    /// Called once, after everything is written: an archive or a folder gets its name now.
    fn finish(&self) -> BoxFuture<'_, Result<(), OciError>> {
        Box::pin(async { Ok(()) })
    }
}

/// A place on this disk where a blob may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub path: std::path::PathBuf,
    /// Where it begins.
    pub at: u64,
}

/// A blob to push.
pub(crate) struct Push {
    /// Its size, which is known before the first byte. Another count of bytes is an error.
    pub size: u64,
    /// Its digest.
    pub digest: PushDigest,
    /// Its number in the call of [`Content::expect`].
    pub number: Option<usize>,
    /// The bytes.
    pub body: Body,
}

impl Push {
    /// Bytes in memory, without a number.
    pub fn whole(bytes: Bytes) -> Self {
        let digest = PushDigest::Before(OciDigest::of(&bytes));
        Push { size: bytes.len() as u64, digest, number: None, body: Body::Whole(bytes) }
    }
}

/// The bytes of a blob to push.
pub(crate) enum Body {
    /// Bytes in memory, which can be sent again.
    Whole(Bytes),
    /// Bytes that can be read once. An error of the stream ends the push with that error, before the last byte.
    Stream(Blobstream),
}

/// When the digest of a blob is known.
pub(crate) enum PushDigest {
    /// Before its bytes: it is the digest of a raw LFS file, or of bytes in memory. One PUT is enough. The maker of
    /// the stream hashes the bytes, and ends the stream with an error if they are wrong.
    Before(OciDigest),
    /// After its bytes: the maker of the stream hashes them, and sets the digest before the stream ends.
    ///
    /// Why a registry needs another way for these: the last PUT has the digest in its URL, which is sent before the
    /// body. The digest of a tar layer is known only after the file was read, and reading it twice would fetch it
    /// twice. So the bytes go in one streamed PATCH of any length, and an empty PUT names the digest. `docker push`
    /// does the same for each layer, so every registry that accepts images accepts it. Some registries refuse or lose
    /// parts in several PATCH requests.
    After(Arc<OnceLock<OciDigest>>),
}

/// The name of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestName {
    Tag(String),
    Digest(OciDigest),
}

/// A manifest as it was received.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub media_type: String,
    pub bytes: Bytes,
    pub digest: OciDigest,
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestName::Tag(tag) => f.write_str(tag),
            ManifestName::Digest(digest) => digest.fmt(f),
        }
    }
}
