//! An OCI image layout as a folder. Each blob gets its name when it is complete. The index, which lists the blobs'
//! manifests, is replaced last.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use super::contents::parse_index;
use super::local::{self, BLOBS, INDEX_FILE, LAYOUT, LAYOUT_FILE, at, blocking};
use super::manifest::{Descriptor, Index};
use super::{Blobstream, Body, Content, Got, MANIFEST_LIMIT, ManifestName, OciError, Push, PushDigest};
use crate::model::OciDigest;
use crate::platform::{give_rights, write_all_at};
use crate::text::printable;

/// One folder that is read or written.
pub(super) struct Folder {
    path: PathBuf,
    /// The new index; `None` while nothing changes.
    new: Mutex<Option<Index>>,
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

    fn new_index<T>(&self, work: impl FnOnce(&mut Option<Index>) -> T) -> T {
        work(&mut self.new.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn blob(&self, digest: &OciDigest) -> PathBuf {
        self.path.join(BLOBS).join(digest.hex())
    }

    /// Opens a blob. Anything but a regular file counts as absent: opening a pipe would wait for its writer.
    async fn open(&self, digest: &OciDigest) -> Result<Option<(Arc<File>, u64)>, OciError> {
        let path = self.blob(digest);
        let wrong = at(&path);
        let opened = blocking(move || match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(meta) if !meta.is_file() => Ok(None),
            Ok(_) => {
                let file = File::open(&path)?;
                let size = file.metadata()?.len();
                Ok(Some((Arc::new(file), size)))
            }
        });
        opened.await.map_err(wrong)
    }

    /// The new index, otherwise the present one; `None` if there is neither.
    async fn index(&self) -> Result<Option<Index>, OciError> {
        if let Some(index) = self.new_index(|new| new.clone()) {
            return Ok(Some(index));
        }
        let (path, shown) = (self.path.clone(), self.shown());
        blocking(move || read_index(&path, &shown)).await
    }

    /// Creates the folder unless it was created already, and checks that it has no other files.
    async fn begin(&self) -> Result<(), OciError> {
        if self.new_index(|new| new.is_some()) {
            return Ok(());
        }
        let (path, shown) = (self.path.clone(), self.shown());
        let index = blocking(move || {
            let index = read_index(&path, &shown)?;
            let wrong = at(&path);
            let is_empty = match std::fs::read_dir(&path) {
                Ok(mut entries) => entries.next().is_none(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(error) => return Err(wrong(error)),
            };
            if index.is_none() && !is_empty && !path.join(LAYOUT_FILE).exists() {
                let why = "it has other files and is not an image layout".to_owned();
                return Err(OciError::Setup { place: shown, why });
            }
            std::fs::create_dir_all(path.join(BLOBS)).map_err(&wrong)?;
            write(&path, LAYOUT_FILE, LAYOUT).map_err(&wrong)?;
            Ok(index.unwrap_or_else(local::empty_index))
        });
        let index = index.await?;
        self.new_index(|new| new.get_or_insert(index).manifests.len());
        Ok(())
    }

    async fn push(&self, push: Push) -> Result<OciDigest, OciError> {
        self.begin().await?;
        let Push { size, digest, body, .. } = push;
        let folder = self.path.join(BLOBS);
        let wrong = at(&folder);
        let made = {
            let folder = folder.clone();
            blocking(move || tempfile::Builder::new().prefix(".part-").tempfile_in(&folder))
        };
        let temp = made.await.map_err(&wrong)?;
        let file = Arc::new(temp.as_file().try_clone().map_err(&wrong)?);
        let mut body = match body {
            Body::Whole(bytes) => futures_util::stream::iter([Ok(bytes)]).boxed(),
            Body::Stream(stream) => stream,
        };
        let mut written = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes?;
            let (file, place) = (Arc::clone(&file), written);
            written += bytes.len() as u64;
            blocking(move || write_all_at(&file, &bytes, place)).await.map_err(&wrong)?;
        }
        if written != size {
            let why = format!("expected a blob of {size} bytes, got {written}");
            return Err(OciError::Invalid { place: self.shown(), why });
        }
        let digest = match digest {
            PushDigest::Before(digest) => digest,
            PushDigest::After(cell) => *cell.get().ok_or(OciError::Stopped)?,
        };
        let path = self.blob(&digest);
        blocking(move || settle(temp, &path)).await.map_err(&wrong)?;
        Ok(digest)
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

/// The index of a folder; `None` if it has none.
fn read_index(path: &Path, shown: &str) -> Result<Option<Index>, OciError> {
    let path = path.join(INDEX_FILE);
    let wrong = at(&path);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(&wrong)?,
    };
    let mut bytes = Vec::new();
    file.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(&wrong)?;
    let invalid = |why: String| OciError::Invalid { place: shown.to_owned(), why };
    parse_index(&bytes).map(Some).map_err(invalid)
}

/// Writes a small file completely or not at all.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut temp = tempfile::Builder::new().prefix(".part-").tempfile_in(folder)?;
    temp.write_all(bytes)?;
    settle(temp, &folder.join(name))
}

/// Gives a complete file its name.
fn settle(temp: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    give_rights(temp.as_file(), None)?;
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    // The name survives a power cut only after its folder is flushed. Some file systems cannot flush a folder.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
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

    fn expect<'a>(&'a self, _sizes: &'a [u64]) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(self.begin())
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
                self.new_index(|new| new.as_mut().map(|index| local::name(index, descriptor, Some(tag))));
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
            self.new_index(|new| new.as_mut().map(|index| local::name(index, descriptor, None)));
            Ok(digest)
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), OciError>> {
        Box::pin(async {
            let Some(index) = self.new_index(Option::take) else { return Ok(()) };
            let path = self.path.clone();
            let bytes = serde_json::to_vec(&index).unwrap_or_default();
            blocking(move || write(&path, INDEX_FILE, &bytes)).await.map_err(at(&self.path.join(INDEX_FILE)))
        })
    }
}
