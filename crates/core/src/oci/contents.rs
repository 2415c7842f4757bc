//! The contents of a tag: the repo, and the layer of each file, as the manifest's annotations state them. Only sizes
//! are checked here; the session verifies the rest.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::layout::{self, Form, OciLayout};
use super::manifest::{Descriptor, INDEX, Index, Manifest};
use super::{Content, ManifestName, OciError};
use crate::lock::{Lock, LockedFile, LockedRepo};
use crate::model::{Digest, OciDigest, Options, RepoPath};
use crate::mutex::lock;
use crate::range_reader::{BlockReader, Ranges};
use crate::text::printable;
use crate::verify::{Far, ReadSeek};

/// The position of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub file: LockedFile,
    /// The layer that contains it.
    pub layer: OciDigest,
    pub form: Form,
}

impl Placed {
    /// The size of the layer.
    pub fn layer_size(&self) -> u64 {
        self.form.layer_size(self.file.size)
    }

    /// The position in the layer of a range of the file.
    pub fn within(&self, range: Range<u64>) -> Range<u64> {
        let at = self.form.at();
        // The sizes were checked for the whole file, so they are valid for a part.
        at.saturating_add(range.start)..at.saturating_add(range.end)
    }
}

/// The contents of a tag.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    pub repo: LockedRepo,
    pub layout: OciLayout,
    pub files: BTreeMap<RepoPath, Placed>,
    pub manifest: Manifest,
    pub digest: OciDigest,
    /// Bytes of the manifest.
    pub size: u64,
}

impl Contents {
    /// Reads the contents of a tag; `None` if there is no such tag.
    ///
    /// # Errors
    /// [`OciError::Invalid`] if hfget did not write the manifest, or if the manifest contradicts itself.
    pub async fn read(content: &dyn Content, name: &ManifestName) -> Result<Option<Self>, OciError> {
        let Some(got) = content.manifest(name).await? else { return Ok(None) };
        let invalid = |why: String| OciError::Invalid { place: place(content, name), why };
        if got.media_type == INDEX {
            return Err(invalid("it is a list of manifests, which hfget never writes".to_owned()));
        }
        let manifest: Manifest = serde_json::from_slice(&got.bytes)
            .map_err(|error| invalid(format!("not a manifest: {}", printable(&error.to_string()))))?;
        Self::parse(manifest, got.digest, got.bytes.len() as u64).map(Some).map_err(invalid)
    }

    /// Reads a manifest. The error is a sentence about the manifest, which may quote it, so it is made safe to print here.
    pub(super) fn parse(manifest: Manifest, digest: OciDigest, size: u64) -> Result<Self, String> {
        Self::fit(manifest, digest, size).map_err(|why| printable(&why).into_owned())
    }

    fn fit(manifest: Manifest, digest: OciDigest, size: u64) -> Result<Self, String> {
        let said = |key: &str| manifest.annotations.get(key).map(String::as_str);
        let id = said(layout::REPO).ok_or("hfget did not write it: it names no repo of a Hub")?;
        let need = |key: &'static str| said(key).ok_or_else(|| format!("it has no annotation {key}"));
        let repo_type = serde_json::Value::from(need(layout::REPO_TYPE)?);
        let layout = if manifest.artifact_type.is_some() && !is_tar(&manifest.layers) {
            OciLayout::ModelPack
        } else {
            OciLayout::Image
        };
        let mut files = BTreeMap::new();
        for layer in &manifest.layers {
            // The layers of a base image contain no file of the repo.
            let Some(path) = layer.annotations.get(layout::PATH) else { continue };
            let shown = crate::text::brief(path);
            let placed = placed(layer, path, layout).map_err(|why| format!("its layer of {shown}: {why}"))?;
            if files.insert(placed.file.path.clone(), placed).is_some() {
                return Err(format!("it has two layers of {shown}"));
            }
        }
        if files.is_empty() {
            // Tools that compress layers while they copy keep the manifest's annotations and drop the layers'.
            return Err(
                "its layers are not the ones that hfget wrote: copy it with a tool that keeps digests".to_owned()
            );
        }
        let repo = LockedRepo {
            repo_type: serde_json::from_value(repo_type).map_err(|error| error.to_string())?,
            id: id.parse().map_err(|error| format!("{error}"))?,
            revision: need(layout::ASKED)?.parse().map_err(|error| format!("{error}"))?,
            commit: need(layout::COMMIT)?.parse().map_err(|error| format!("{error}"))?,
            options: Options::default(),
            files: files.values().map(|placed: &Placed| placed.file.clone()).collect(),
        };
        Ok(Contents { repo, layout, files, manifest, digest, size })
    }

    /// The lockfile that refers to the manifest, if there is one.
    ///
    /// # Errors
    /// If the lockfile cannot be read, or is not one.
    pub async fn lock(&self, content: &dyn Content) -> Result<Option<LockedRepo>, OciError> {
        let invalid = |why: String| OciError::Invalid { place: format!("{}: its lockfile", content.shown()), why };
        let mut found = None;
        for referrer in content.referrers(&self.digest, layout::LOCK).await? {
            let Some(got) = content.manifest(&ManifestName::Digest(referrer.digest)).await? else { continue };
            let manifest: Manifest = serde_json::from_slice(&got.bytes).map_err(|error| invalid(error.to_string()))?;
            // A registry may list referrers of another type or of another subject.
            let ours = manifest.artifact_type.as_deref() == Some(layout::LOCK)
                && manifest.subject.as_ref().is_some_and(|subject| subject.digest == self.digest);
            let Some(layer) = manifest.layers.first().filter(|_| ours) else { continue };
            let bytes = small(content, layer, super::MANIFEST_LIMIT * 16).await?;
            let text = std::str::from_utf8(&bytes).map_err(|error| invalid(error.to_string()))?;
            let lock = Lock::parse(text).map_err(invalid)?;
            found = lock.get(self.repo.repo_type, &self.repo.id).cloned();
        }
        Ok(found)
    }
}

/// The name of the request in messages.
fn place(content: &dyn Content, name: &ManifestName) -> String {
    match name {
        ManifestName::Tag(tag) => format!("{}:{tag}", content.shown()),
        ManifestName::Digest(digest) => format!("{}@{digest}", content.shown()),
    }
}

fn is_tar(layers: &[Descriptor]) -> bool {
    layers.iter().all(|layer| layer.media_type.rsplit('.').next() == Some("tar"))
}

pub(super) fn placed(layer: &Descriptor, path: &str, layout: OciLayout) -> Result<Placed, String> {
    let path: RepoPath = path.parse().map_err(|error| format!("{error}"))?;
    let said = |key: &str| layer.annotations.get(key).map(String::as_str);
    let size: u64 = said(layout::SIZE).and_then(|size| size.parse().ok()).ok_or("it does not state its file's size")?;
    let digest = match (said(layout::SHA256), said(layout::GIT)) {
        (Some(sum), None) => Digest::Sha256(sum.parse().map_err(|error| format!("{error}"))?),
        (None, Some(oid)) => Digest::GitBlob(oid.parse().map_err(|error| format!("{error}"))?),
        _ => return Err("it must state exactly one digest of its file".to_owned()),
    };
    let form = Form::new(layout, &path, size).ok_or("its file's size is out of range")?;
    if form.layer_size(size) != layer.size {
        return Err(format!(
            "it has {} bytes, which is not the size of a layer with a file of {size} bytes",
            layer.size
        ));
    }
    if form == Form::Raw && !matches!(digest, Digest::GitBlob(_)) && digest != Digest::Sha256(layer.digest.0) {
        return Err("its digest is not the digest of its file".to_owned());
    }
    Ok(Placed { file: LockedFile { path, size, digest, xet_hash: None }, layer: layer.digest, form })
}

/// A whole small blob, whose digest was compared.
pub(crate) async fn small(content: &dyn Content, blob: &Descriptor, limit: u64) -> Result<Bytes, OciError> {
    let place = || format!("{}@{}", content.shown(), blob.digest);
    if blob.size > limit {
        let why = format!("it has {} bytes, and at most {limit} were expected", blob.size);
        return Err(OciError::Invalid { place: place(), why });
    }
    let bytes = whole(content, &blob.digest, 0..blob.size).await?;
    if OciDigest::of(&bytes) == blob.digest {
        Ok(bytes)
    } else {
        Err(OciError::WrongDigest { place: place(), digest: blob.digest })
    }
}

/// A range of a blob, with exactly the requested length.
pub(crate) async fn whole(content: &dyn Content, digest: &OciDigest, range: Range<u64>) -> Result<Bytes, OciError> {
    let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::new();
    if length > 0 {
        let mut stream = content.open_blob(digest, range).await?;
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() > length {
                break;
            }
        }
    }
    if bytes.len() == length {
        return Ok(bytes.freeze());
    }
    let why = format!("expected {length} bytes, got {}", bytes.len());
    Err(OciError::Failed { place: format!("{}@{digest}", content.shown()), why, again: true, after: None })
}

/// The first error of a read, which the `Read` interface cannot return whole.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<OciError>>);

impl Trouble {
    fn note(&self, error: &OciError) {
        if !matches!(error, OciError::NotFound { .. }) {
            lock(&self.0).get_or_insert_with(|| error.clone());
        }
    }

    /// Takes the error out.
    pub fn take(&self) -> Option<OciError> {
        lock(&self.0).take()
    }
}

/// A file in a layer, as a file that can be read at any place.
pub(crate) struct LayerFile {
    content: Arc<dyn Content>,
    placed: Placed,
    trouble: Arc<Trouble>,
    runtime: Handle,
}

impl LayerFile {
    /// For threads for blocking work; it must be made inside a runtime.
    pub fn new(content: &Arc<dyn Content>, placed: &Placed, trouble: &Arc<Trouble>) -> Self {
        let (content, trouble) = (Arc::clone(content), Arc::clone(trouble));
        LayerFile { content, placed: placed.clone(), trouble, runtime: Handle::current() }
    }
}

impl fmt::Debug for LayerFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerFile({}, {})", self.placed.file.path.shown(), self.placed.layer)
    }
}

impl Far for LayerFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.placed.file.size)
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        let ranges = LayerRanges {
            content: Arc::clone(&self.content),
            placed: self.placed.clone(),
            trouble: Arc::clone(&self.trouble),
        };
        Ok(Box::new(BlockReader::new(ranges, self.placed.file.size, self.runtime.clone())))
    }
}

struct LayerRanges {
    content: Arc<dyn Content>,
    placed: Placed,
    trouble: Arc<Trouble>,
}

impl Ranges for LayerRanges {
    const READ_AHEAD: bool = true;

    fn fetch(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<Bytes>> {
        let (content, placed) = (Arc::clone(&self.content), self.placed.clone());
        Box::pin(async move {
            let got = whole(&*content, &placed.layer, placed.within(range)).await;
            got.map_err(|error| {
                let missing = matches!(error, OciError::NotFound { .. });
                let kind = if missing { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
                io::Error::new(kind, error)
            })
        })
    }

    fn note(&self, error: &io::Error) {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            self.trouble.note(error);
        }
    }
}

/// An index: a layout's list of manifests, or a list of referrers.
pub(super) fn parse_index(bytes: &[u8]) -> Result<Index, String> {
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|error| format!("its index is not valid: {}", printable(&error.to_string())))?;
    if index.schema_version == 2 { Ok(index) } else { Err("the version of its index is not 2".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Purpose;
    use crate::oci::{Layer, Statement};

    fn repo() -> LockedRepo {
        let file = |path: &str, bytes: &[u8], git: bool| {
            let mut hasher =
                if git { crate::model::Hasher::git_blob(bytes.len() as u64) } else { crate::model::Hasher::sha256() };
            hasher.update(bytes);
            let (size, digest) = (bytes.len() as u64, hasher.finish().digest());
            LockedFile { path: path.parse().unwrap(), size, digest, xet_hash: None }
        };
        LockedRepo {
            repo_type: crate::model::RepoType::Dataset,
            id: "org/one".parse().unwrap(),
            revision: "refs/pr/1".parse().unwrap(),
            commit: "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap(),
            options: Options::default(),
            files: vec![file("README.md", b"text", true), file("a/weights.bin", &[7; 700], false)],
        }
    }

    fn made(layout: OciLayout) -> Manifest {
        let (source, verdict) = (None, "verified");
        let statement = Statement { repo: repo(), family: None, license: None, source, verdict, against: Some("hub") };
        let layers: Vec<Layer<'_>> = (statement.repo.files.iter())
            .map(|file| {
                let digest = match (layout, file.digest) {
                    (OciLayout::ModelPack, Digest::Sha256(digest)) => OciDigest(digest),
                    _ => OciDigest::of(file.path.as_str().as_bytes()),
                };
                let size = Form::new(layout, &file.path, file.size).unwrap().layer_size(file.size);
                Layer { file, purpose: Purpose::Other, digest, size }
            })
            .collect();
        match layout {
            OciLayout::Image => statement.image(&layers, None).manifest,
            OciLayout::ModelPack => statement.model(&layers, layout).manifest,
        }
    }

    fn parse(manifest: &Manifest) -> Result<Contents, String> {
        // In the form in which a registry sends it.
        let text = serde_json::to_vec(manifest).unwrap();
        Contents::parse(serde_json::from_slice(&text).unwrap(), OciDigest::of(&text), text.len() as u64)
    }

    #[test]
    fn a_written_repo_reads_back() {
        for layout in [OciLayout::Image, OciLayout::ModelPack] {
            let contents = parse(&made(layout)).unwrap();
            assert_eq!(contents.layout, layout);
            assert_eq!(contents.repo.files, repo().files);
            assert_eq!((contents.repo.name(), contents.repo.commit), (repo().name(), repo().commit));
            assert_eq!(contents.repo.revision, repo().revision);
            let placed = &contents.files["a/weights.bin"];
            let at = if layout == OciLayout::Image { 512 } else { 0 };
            assert_eq!(placed.within(10..20), at + 10..at + 20);
        }
    }

    /// Every contradiction that a hostile manifest can have.
    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        type Change = fn(&mut Manifest);
        let changes: [Change; 9] = [
            |m| drop(m.annotations.remove(layout::REPO)),
            |m| drop(m.annotations.insert(layout::COMMIT.into(), "main".into())),
            |m| drop(m.annotations.insert(layout::REPO_TYPE.into(), "song".into())),
            |m| m.layers.clear(),
            |m| m.layers[1].size += 1,
            |m| drop(m.layers[1].annotations.insert(layout::SIZE.into(), u64::MAX.to_string())),
            |m| drop(m.layers[1].annotations.insert(layout::PATH.into(), "../../etc/passwd".into())),
            |m| drop(m.layers[1].annotations.insert(layout::GIT.into(), "0".repeat(40))),
            |m| m.layers.push(m.layers[0].clone()),
        ];
        for layout in [OciLayout::Image, OciLayout::ModelPack] {
            for (number, change) in changes.iter().enumerate() {
                let mut manifest = made(layout);
                change(&mut manifest);
                assert!(parse(&manifest).is_err(), "{layout:?} {number}");
            }
        }
        // A raw layer that is not the file that its annotations name.
        let mut manifest = made(OciLayout::ModelPack);
        manifest.layers[1].digest = OciDigest::of(b"other");
        assert!(parse(&manifest).is_err());
    }

    #[test]
    fn a_base_images_layers_are_not_files_of_the_repo() {
        let mut manifest = made(OciLayout::Image);
        manifest
            .layers
            .insert(0, Descriptor::new("application/vnd.oci.image.layer.v1.tar+gzip", OciDigest::of(b"x"), 9));
        assert_eq!(parse(&manifest).unwrap().files.len(), 2);
    }
}
