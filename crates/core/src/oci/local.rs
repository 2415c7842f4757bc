//! The common part of the two image layouts on disk: the index, which names manifests by tags, and disk work on other
//! threads. `archive` and `folder` know where blobs are.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::manifest::{Descriptor, Index, Manifest};
use super::{Blobstream, Content, ManifestName, OciError, Push};
use crate::model::OciDigest;
use crate::platform::{PageBuffer, read_exact_at};

/// The marker of an image layout.
pub(super) const LAYOUT_FILE: &str = "oci-layout";
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(super) const INDEX_FILE: &str = "index.json";
pub(super) const BLOBS: &str = "blobs/sha256";
/// The annotation with the tag.
const TAG: &str = "org.opencontainers.image.ref.name";
/// The size of one read.
const CHUNK: u64 = 1 << 20;
/// The most manifests of an index that are checked for their subjects.
const REFERRERS: usize = 1000;

/// Runs work that blocks, or takes long, on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// An error of a file or folder.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> OciError + use<> {
    let path = path.to_path_buf();
    move |source| OciError::Io { path: path.clone(), source: Arc::new(source) }
}

/// The bytes of a file between two offsets.
pub(super) fn stream_of(file: Arc<File>, range: std::ops::Range<u64>, path: &Path) -> Blobstream {
    let wrong = at(path);
    stream::unfold(range.start, move |from| {
        let (file, end) = (Arc::clone(&file), range.end);
        async move {
            let length = end.saturating_sub(from).min(CHUNK);
            if length == 0 {
                return None;
            }
            let read = blocking(move || {
                let mut bytes = PageBuffer::new(usize::try_from(length).unwrap_or_default());
                read_exact_at(&file, &mut bytes, from).map(|()| Bytes::from_owner(bytes))
            });
            // Nothing comes after an error.
            let read = read.await;
            let next = if read.is_ok() { from + length } else { end };
            Some((read, next))
        }
    })
    .map(move |read| read.map_err(&wrong))
    .boxed()
}

/// An index without manifests.
pub(super) fn empty_index() -> Index {
    let media_type = Some(super::INDEX.to_owned());
    Index { schema_version: 2, media_type, manifests: Vec::new(), annotations: std::collections::BTreeMap::new() }
}

/// The manifest of a tag. A manifest without a tag matches every tag if it is the only one.
pub(super) fn tagged<'a>(index: &'a Index, tag: &str) -> Option<&'a Descriptor> {
    let has = |descriptor: &&Descriptor| descriptor.annotations.get(TAG).is_some_and(|name| name == tag);
    index.manifests.iter().find(has).or_else(|| match index.manifests.as_slice() {
        [one] if !one.annotations.contains_key(TAG) => Some(one),
        _ => None,
    })
}

/// Adds a manifest to an index: under a tag, which moves, or without one.
pub(super) fn name(index: &mut Index, mut descriptor: Descriptor, tag: Option<&str>) {
    if let Some(tag) = tag {
        index.manifests.retain(|other| other.annotations.get(TAG).is_none_or(|name| name != tag));
        descriptor.annotations.insert(TAG.to_owned(), tag.to_owned());
    }
    if !index.manifests.contains(&descriptor) {
        index.manifests.push(descriptor);
    }
}

/// Writes a manifest. Returns its descriptor for the index, with its digest.
pub(super) async fn put(content: &dyn Content, media_type: &str, bytes: Bytes) -> Result<Descriptor, OciError> {
    let mut descriptor = described(media_type, &bytes);
    descriptor.digest = content.push_blob(Push::whole(bytes)).await?;
    Ok(descriptor)
}

/// The manifests of an index that have this type and this subject.
pub(super) async fn referrers(
    content: &dyn Content,
    index: &Index,
    subject: &OciDigest,
    artifact_type: &str,
) -> Result<Vec<Descriptor>, OciError> {
    let of_type = |found: &&Descriptor| found.artifact_type.as_deref() == Some(artifact_type);
    let mut referrers = Vec::new();
    for found in index.manifests.iter().filter(of_type).take(REFERRERS) {
        let got = content.manifest(&ManifestName::Digest(found.digest)).await?;
        if got.is_some_and(|got| refers_to(&got.bytes, subject)) {
            referrers.push(found.clone());
        }
    }
    Ok(referrers)
}

/// The descriptor of a manifest for the index.
fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    let artifact_type = serde_json::from_slice::<Manifest>(bytes).ok().and_then(|manifest| manifest.artifact_type);
    Descriptor { artifact_type, ..Descriptor::new(media_type, OciDigest::of(bytes), bytes.len() as u64) }
}

/// Whether this is the subject of a manifest.
fn refers_to(bytes: &[u8], subject: &OciDigest) -> bool {
    let manifest = serde_json::from_slice::<Manifest>(bytes).ok();
    manifest.and_then(|manifest| manifest.subject).is_some_and(|of| of.digest == *subject)
}

/// The name of a blob's file.
pub(super) fn digest_of_name(name: &str) -> Option<OciDigest> {
    let hex = name.strip_prefix("./").unwrap_or(name).strip_prefix(BLOBS)?.strip_prefix('/')?;
    format!("sha256:{hex}").parse().ok()
}
