//! An OCI image layout as a folder. Each blob gets its name when it is complete. The index, which lists the blobs'
//! manifests, is replaced last. Every folder in it is entered without following a link.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use super::contents::parse_index;
use super::local::{self, BLOBS, INDEX_FILE, LAYOUT, LAYOUT_FILE, at, blocking};
use super::manifest::{Descriptor, Index};
use super::{Blobstream, Body, Content, Got, MANIFEST_LIMIT, ManifestName, OciError, Push, PushDigest};
use crate::model::OciDigest;
use crate::mutex::lock;
use crate::platform::{read_exact_at, write_all_at};
use crate::store::{self, StoreError, Temporary, open_regular, take_briefly, write_whole};
use crate::text::printable;

/// The beginning of temporary names.
const PART: &str = ".hfget-part-";

/// One folder that is read or written.
pub(super) struct Folder {
    path: PathBuf,
    /// The changes of this run; `None` while it only reads.
    new: Mutex<Option<New>>,
}

/// A run's changes to a layout.
struct New {
    /// The earlier index, with the run's changes.
    index: Index,
    /// Each manifest, and the tag that moves to it.
    told: Vec<(Descriptor, Option<String>)>,
    /// The folder of the blobs.
    blobs: Arc<store::Folder>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.path.display())
    }
}

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Folder { path, new: Mutex::default() }
    }

    fn new_one<T>(&self, work: impl FnOnce(&mut Option<New>) -> T) -> T {
        work(&mut lock(&self.new))
    }

    fn blob(&self, digest: &OciDigest) -> PathBuf {
        self.path.join(BLOBS).join(digest.hex())
    }

    /// Opens a blob. Anything but a regular file counts as absent.
    async fn open(&self, digest: &OciDigest) -> Result<Option<(Arc<File>, u64)>, OciError> {
        let (path, name) = (self.path.clone(), digest.hex());
        let opened = blocking(move || match store::Folder::find(&path, Path::new(BLOBS))? {
            Some(folder) => open_regular(&folder, &name),
            None => Ok(None),
        });
        Ok(opened.await?.map(|(file, size)| (Arc::new(file), size)))
    }

    /// The new index, otherwise the present one; `None` if there is neither.
    async fn index(&self) -> Result<Option<Index>, OciError> {
        if let Some(index) = self.new_one(|new| new.as_ref().map(|new| new.index.clone())) {
            return Ok(Some(index));
        }
        let (path, shown) = (self.path.clone(), self.shown());
        blocking(move || match store::Folder::find(&path, Path::new(""))? {
            Some(folder) => read_index(&folder, &shown),
            None => Ok(None),
        })
        .await
    }

    /// Creates the folder unless it was created already, and checks that it has no other files.
    async fn begin(&self) -> Result<Arc<store::Folder>, OciError> {
        if let Some(blobs) = self.new_one(|new| new.as_ref().map(|new| Arc::clone(&new.blobs))) {
            return Ok(blobs);
        }
        let (path, shown) = (self.path.clone(), self.shown());
        let begun = blocking(move || {
            let folder = Arc::new(store::Folder::make_and_flush(&path, Path::new(""))?);
            let index = read_index(&folder, &shown)?;
            let marked = open_regular(&folder, LAYOUT_FILE)?.is_some();
            if index.is_none() && !marked && folder.names().iter().any(|name| name != LAYOUT_FILE) {
                let why = "it has other files and is not an image layout".to_owned();
                return Err(OciError::Setup { place: shown, why });
            }
            let blobs = Arc::new(store::Folder::make_and_flush(&path, Path::new(BLOBS))?);
            for folder in [&folder, &blobs] {
                drop(store::dead(folder, PART, "", |_| true));
            }
            if !marked {
                write_whole(&folder, LAYOUT_FILE, PART, LAYOUT)?;
            }
            Ok(New { index: index.unwrap_or_else(local::empty_index), told: Vec::new(), blobs })
        });
        let begun = begun.await?;
        Ok(self.new_one(|new| Arc::clone(&new.get_or_insert(begun).blobs)))
    }

    async fn push(&self, push: Push) -> Result<OciDigest, OciError> {
        let folder = self.begin().await?;
        let Push { size, digest, body, .. } = push;
        let shown = folder.path("");
        let temporary = blocking(move || Temporary::new(&folder, PART, "")).await?;
        let mut body = match body {
            Body::Whole(bytes) => futures_util::stream::iter([Ok(bytes)]).boxed(),
            Body::Stream(stream) => stream,
        };
        let mut written = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes?;
            let (file, place) = (Arc::clone(temporary.file()), written);
            written += bytes.len() as u64;
            blocking(move || write_all_at(&file, &bytes, place)).await.map_err(at(&shown))?;
        }
        if written != size {
            let why = format!("expected a blob of {size} bytes, got {written}");
            return Err(OciError::Invalid { place: self.shown(), why });
        }
        let digest = match digest {
            PushDigest::Before(digest) => digest,
            PushDigest::After(cell) => *cell.get().ok_or(OciError::Stopped)?,
        };
        blocking(move || temporary.settle(&digest.hex())).await?;
        Ok(digest)
    }

    /// Notes a manifest for the index.
    fn tell(&self, descriptor: Descriptor, tag: Option<&str>) {
        self.new_one(|new| {
            if let Some(new) = new {
                local::name(&mut new.index, descriptor.clone(), tag);
                new.told.push((descriptor, tag.map(str::to_owned)));
            }
        });
    }

    async fn get_manifest(&self, of: &ManifestName) -> Result<Option<Got>, OciError> {
        let Some(index) = self.index().await? else { return Ok(None) };
        let (media_type, digest) = match of {
            ManifestName::Tag(tag) => match local::tagged(&index, tag) {
                Some(found) => (Some(found.media_type.clone()), found.digest),
                None => return Ok(None),
            },
            ManifestName::Digest(digest) => {
                let known = index.manifests.iter().find(|found| found.digest == *digest);
                (known.map(|found| found.media_type.clone()), *digest)
            }
        };
        let Some((file, size)) = self.open(&digest).await? else { return Ok(None) };
        let place = || format!("{}: {of}", self.shown());
        if size > MANIFEST_LIMIT {
            return Err(OciError::Invalid { place: place(), why: format!("its manifest has {size} bytes") });
        }
        let mut bytes = Vec::new();
        let mut stream = local::stream_of(file, 0..size, &self.blob(&digest));
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        if OciDigest::of(&bytes) != digest {
            return Err(OciError::WrongDigest { place: place(), digest });
        }
        let media_type = media_type.unwrap_or_else(|| super::MANIFEST.to_owned());
        Ok(Some(Got { media_type, bytes: bytes.into(), digest }))
    }
}

/// The index of a folder; `None` if it has no index.
fn read_index(folder: &store::Folder, shown: &str) -> Result<Option<Index>, OciError> {
    let path = folder.path(INDEX_FILE);
    if folder.is_link(INDEX_FILE) {
        return Err(StoreError::Symlink(path).into());
    }
    let Some((file, size)) = open_regular(folder, INDEX_FILE)? else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(size.min(MANIFEST_LIMIT)).unwrap_or_default()];
    read_exact_at(&file, &mut bytes, 0).map_err(at(&path))?;
    let invalid = |why: String| OciError::Invalid { place: shown.to_owned(), why };
    parse_index(&bytes).map(Some).map_err(invalid)
}

/// Adds a run's changes to the present index: another run may have changed it meanwhile.
fn tell_all(path: &Path, shown: &str, new: New) -> Result<(), OciError> {
    let folder = Arc::new(store::Folder::make(path, Path::new(""))?);
    let _lock = take_briefly(&folder, LAYOUT_FILE);
    let mut index = read_index(&folder, shown)?.unwrap_or_else(local::empty_index);
    for (descriptor, tag) in new.told {
        local::name(&mut index, descriptor, tag.as_deref());
    }
    let bytes = serde_json::to_vec(&index).unwrap_or_default();
    Ok(write_whole(&folder, INDEX_FILE, PART, &bytes)?)
}

impl Content for Folder {
    fn shown(&self) -> String {
        format!("oci:{}", printable(&self.path.display().to_string()))
    }

    fn checks_digests(&self) -> bool {
        false
    }

    fn blob_size<'a>(&'a self, digest: &'a OciDigest) -> BoxFuture<'a, Result<Option<u64>, OciError>> {
        Box::pin(async { Ok(self.open(digest).await?.map(|(_, size)| size)) })
    }

    fn open_blob<'a>(
        &'a self,
        digest: &'a OciDigest,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Blobstream, OciError>> {
        Box::pin(async move {
            let missing = || OciError::NotFound { place: format!("{}: {digest}", self.shown()) };
            let (file, size) = self.open(digest).await?.ok_or_else(missing)?;
            Ok(local::stream_of(file, range.start.min(size)..range.end.min(size), &self.blob(digest)))
        })
    }

    fn drop_left(&self) -> BoxFuture<'_, bool> {
        let path = self.path.clone();
        let dropped = move || match store::Folder::find(&path, Path::new(BLOBS)) {
            Ok(Some(folder)) => !store::dead(&Arc::new(folder), PART, "", |_| true).is_empty(),
            _ => false,
        };
        Box::pin(blocking(dropped))
    }

    fn expect<'a>(&'a self, _sizes: &'a [u64]) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(async { self.begin().await.map(drop) })
    }

    fn push_blob(&self, push: Push) -> BoxFuture<'_, Result<OciDigest, OciError>> {
        Box::pin(self.push(push))
    }

    fn manifest<'a>(&'a self, of: &'a ManifestName) -> BoxFuture<'a, Result<Option<Got>, OciError>> {
        Box::pin(self.get_manifest(of))
    }

    fn push_manifest<'a>(
        &'a self,
        name: &'a ManifestName,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>> {
        Box::pin(async move {
            let descriptor = local::put(self, media_type, bytes).await?;
            let digest = descriptor.digest;
            if let ManifestName::Tag(tag) = name {
                self.tell(descriptor, Some(tag));
            }
            Ok(digest)
        })
    }

    fn referrers<'a>(
        &'a self,
        subject: &'a OciDigest,
        artifact_type: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, OciError>> {
        Box::pin(async move {
            let Some(index) = self.index().await? else { return Ok(Vec::new()) };
            local::referrers(self, &index, subject, artifact_type).await
        })
    }

    fn push_referrer<'a>(
        &'a self,
        _subject: &'a OciDigest,
        media_type: &'a str,
        bytes: Bytes,
    ) -> BoxFuture<'a, Result<OciDigest, OciError>> {
        Box::pin(async move {
            let descriptor = local::put(self, media_type, bytes).await?;
            let digest = descriptor.digest;
            self.tell(descriptor, None);
            Ok(digest)
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), OciError>> {
        Box::pin(async {
            let Some(new) = self.new_one(Option::take) else { return Ok(()) };
            let (path, shown) = (self.path.clone(), self.shown());
            blocking(move || tell_all(&path, &shown, new)).await
        })
    }
}
