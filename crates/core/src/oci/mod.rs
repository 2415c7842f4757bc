//! OCI content: registries, and the image layouts that tools hand around as a folder or as one file. How blobs and
//! manifests come and go is told here, as one interface; which of them stand for a repo, in `layout`; what they prove,
//! in the session.
//!
//! Three kinds of places have such content, and everything above sees only `Content`:
//!
//! ```text
//! oci://REGISTRY/NAME:TAG        a registry; its wire lives in `registry`
//! oci-archive:FILE.tar[:TAG]     an OCI image layout as one tar file
//! oci:FOLDER[:TAG]               an OCI image layout as a folder
//! ```
//!
//! A blob's name is the SHA-256 of its bytes. A registry compares the two when it takes a blob, and so do files and
//! folders here. Of what lies there already a registry's word is that: its word. Nothing here calls a file verified.

mod any_bytes;
mod archive;
mod check;
mod config;
mod contents;
mod error;
mod folder;
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
pub use layout::OciLayout;
pub(crate) use layout::{Base, EMPTY_CONFIG, Form, Layer, Made, Statement, lock_referrer};
pub(crate) use manifest::{Descriptor, INDEX, Index, MANIFEST, Manifest};
pub(crate) use part::Part;
pub(crate) use tar::zeros;

use crate::hub::HubConfig;
use crate::model::{OciDigest, OciPlace, RepoPath};
use crate::progress::Progress;

/// Manifests are not larger: the distribution specification asks registries to take so much, and many take no more.
pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;

/// The content that a configuration names. Makes no request yet. `http` says how a registry is reached, as a Hub is: proxies,
/// certificates, patience. Its token is not for a registry.
pub(crate) fn open(config: &OciConfig, http: &HubConfig) -> Result<Arc<dyn Content>, OciError> {
    match config.reference().place() {
        OciPlace::Registry { .. } => registry::open(config, http),
        OciPlace::Archive(path) => Ok(Arc::new(archive::Archive::new(path.clone()))),
        OciPlace::Folder(path) => Ok(Arc::new(folder::Folder::new(path.clone()))),
    }
}

/// Bytes of a blob on their way.
pub(crate) type Blobstream = BoxStream<'static, Result<Bytes, OciError>>;

/// One repository of a registry, or one image layout.
///
/// What an implementation retries by itself: everything that it can send again, so all but the streams of
/// [`Body::Stream`]. An error that it gives up with says in [`OciError::is_worth_retrying`] whether the caller, who can
/// make such a stream once more, should.
pub(crate) trait Content: fmt::Debug + Send + Sync {
    /// Where it is, for people: `oci://registry.example/acme/model`, `oci-archive:model.tar`. Safe to print.
    fn shown(&self) -> String;

    /// Whether it compared each blob's bytes with its name when it took it, by a rule of its own. Files and folders have
    /// nobody who could have done so.
    fn checks_digests(&self) -> bool;

    /// The bytes of a blob; `None` when it is not there.
    fn blob_size<'a>(&'a self, digest: &'a OciDigest) -> BoxFuture<'a, Result<Option<u64>, OciError>>;

    /// Some bytes of a blob. Ends early only with an error.
    fn open_blob<'a>(&'a self, digest: &'a OciDigest, range: Range<u64>)
    -> BoxFuture<'a, Result<Blobstream, OciError>>;

    /// Told before any blob is pushed: how large those will be that have a [`Push::number`], in the order of their
    /// numbers. A file keeps a place for each, so that it comes out the same whoever is first. A registry has no order.
    fn expect<'a>(&'a self, _sizes: &'a [u64]) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(async { Ok(()) })
    }

    /// What runs that were killed have left on this disk of the blobs that [`Content::expect`] will be told of, by their
    /// numbers. It proves nothing: whoever takes the bytes hashes them.
    fn left<'a>(&'a self, _sizes: &'a [u64]) -> BoxFuture<'a, Vec<Option<Left>>> {
        Box::pin(async { Vec::new() })
    }

    /// Puts a blob there, and gives its digest. Nothing of it is to be seen, nor left behind, where it fails, where the
    /// body ends with an error, or where the digest is another.
    fn push_blob(&self, push: Push) -> BoxFuture<'_, Result<OciDigest, OciError>>;

    /// Waits as long as is right after the push of a stream failed, the `failures`-th time in a row, and tells the watcher;
    /// gives the error back when it is time to give up.
    fn back_off<'a>(
        &'a self,
        _path: Option<&'a RepoPath>,
        error: OciError,
        _failures: u32,
        _watch: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(async { Err(error) })
    }

    /// Takes a blob from another repository of the same registry, without its bytes passing through here. `false`: it
    /// cannot be had in this way.
    fn mount<'a>(&'a self, _digest: &'a OciDigest, _from: &'a str) -> BoxFuture<'a, Result<bool, OciError>> {
        Box::pin(async { Ok(false) })
    }

    /// A manifest, of at most [`MANIFEST_LIMIT`] bytes; `None` when it is not there. The digest is that of the bytes
    /// as they came, and the one that was asked for, where one was.
    fn manifest<'a>(&'a self, of: &'a ManifestName) -> BoxFuture<'a, Result<Option<Got>, OciError>>;

    /// Puts a manifest there, whose blobs are there. With a tag, the tag is moved.
    fn push_manifest<'a>(
        &'a self,
        name: &'a ManifestName,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>>;

    /// The manifests that have this one as their subject, of one artifact type; where the registry knows no referrers,
    /// those that the tag `sha256-HEX` lists.
    fn referrers<'a>(
        &'a self,
        subject: &'a OciDigest,
        artifact_type: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, OciError>>;

    /// Puts a manifest there that has a `subject`, and sees to it that [`Content::referrers`] finds it: where the
    /// registry knows no referrers, by writing the index at the tag `sha256-HEX`, into which others may write too.
    fn push_referrer<'a>(
        &'a self,
        subject: &'a OciDigest,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>>;

    /// Removes a manifest that nobody needs any more, with its tags. `false`: it stays, since not every place lets one do
    /// so.
    fn remove_manifest<'a>(&'a self, _digest: &'a OciDigest) -> BoxFuture<'a, bool> {
        Box::pin(async { false })
    }

    /// All is there that will be: a file or a folder gets its name now. Called once, last.
    fn finish(&self) -> BoxFuture<'_, Result<(), OciError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Where a blob may lie on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    pub path: std::path::PathBuf,
    /// Where it begins.
    pub at: u64,
}

/// A blob to be put somewhere.
pub(crate) struct Push {
    /// Its bytes; known before the first of them, and another count is an error.
    pub size: u64,
    /// What its bytes hash to.
    pub digest: PushDigest,
    /// Its place in what [`Content::expect`] was told.
    pub number: Option<usize>,
    /// The bytes.
    pub body: Body,
}

impl Push {
    /// Bytes in memory, that have no place of their own.
    pub fn whole(bytes: Bytes) -> Self {
        let digest = PushDigest::Before(OciDigest::of(&bytes));
        Push { size: bytes.len() as u64, digest, number: None, body: Body::Whole(bytes) }
    }
}

/// The bytes of a blob to be put somewhere.
pub(crate) enum Body {
    /// Small ones, which can be sent again.
    Whole(Bytes),
    /// Bytes that can be had once. An error of the stream ends the push with that error, before its last byte.
    Stream(Blobstream),
}

/// When the digest of a blob is known.
pub(crate) enum PushDigest {
    /// Before its bytes: a raw LFS file's own, or that of bytes in memory. One PUT is enough. Whoever makes a stream of
    /// such bytes hashes them, and ends it with an error where they are others.
    Before(OciDigest),
    /// When all bytes have passed: whoever makes them hashes them, and sets it before the stream ends.
    ///
    /// Why a registry needs another way for these: the last PUT names the digest in its URL, which is sent before the
    /// body. A tar layer of a file has a digest that nobody knows before the file was read, and reading it twice would
    /// fetch it twice. So its bytes go in one streamed PATCH, of any length, and an empty PUT names the digest. It is
    /// what `docker push` does with each layer, so that every registry that takes images takes it; parts in several
    /// PATCH requests are what some refuse or lose.
    After(Arc<OnceLock<OciDigest>>),
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestName {
    Tag(String),
    Digest(OciDigest),
}

/// A manifest as it came.
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
