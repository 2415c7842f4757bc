//! An OCI image layout as one tar file. A layout is read in place, without unpacking. A new one is written to a
//! temporary file beside its path, which gets the final name when every blob is complete. Each blob has its offset
//! from the beginning, so blobs are written in parallel and the file has the same bytes in every run.

mod left;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use self::left::LeftOver;
use self::writer::{Writer, blob_name, head_size};
use crate::model::OciDigest;
use crate::mutex::lock;
use crate::oci::contents::parse_index;
use crate::oci::local::{self, INDEX_FILE, at, blocking};
use crate::oci::manifest::{Descriptor, Index};
use crate::oci::tar::{WalkError, head, padding, walk, zeros};
use crate::oci::{Blobstream, Body, Content, Got, Left, MANIFEST_LIMIT, ManifestName, OciError, Push, PushDigest};
use crate::platform::{read_exact_at, write_all_at};
use crate::text::printable;

/// Entries of one file.
const LIMIT: usize = 1_000_000;

/// One file that is read or written.
pub(super) struct Archive {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The layout at the path.
    there: There,
    /// The layout that is being written.
    new: Option<Writer>,
    /// What killed runs left, until this one is done.
    left: Vec<LeftOver>,
}

/// What the archive knows about the path.
#[derive(Clone, Default)]
enum There {
    #[default]
    Unknown,
    Nothing,
    Layout(Arc<Layout>),
}

/// A layout to read from.
struct Layout {
    file: Arc<File>,
    blobs: HashMap<OciDigest, Range<u64>>,
    index: Index,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({})", self.path.display())
    }
}

impl Archive {
    pub fn new(path: PathBuf) -> Self {
        Archive { path, state: Mutex::default() }
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut lock(&self.state))
    }

    fn place(&self, what: &dyn fmt::Display) -> String {
        format!("{}: {what}", self.shown())
    }

    /// The layout at the path, once it was read.
    async fn there(&self) -> Result<Option<Arc<Layout>>, OciError> {
        match self.state(|state| state.there.clone()) {
            There::Unknown => {}
            There::Nothing => return Ok(None),
            There::Layout(layout) => return Ok(Some(layout)),
        }
        let (path, shown) = (self.path.clone(), self.shown());
        let there = blocking(move || read(&path, &shown)).await?.map(Arc::new);
        let known = there.clone().map_or(There::Nothing, There::Layout);
        self.state(|state| state.there = known);
        Ok(there)
    }

    /// The position of a blob: in the new file, otherwise in the existing one.
    async fn find(&self, digest: &OciDigest) -> Result<Option<(Arc<File>, Range<u64>)>, OciError> {
        let new = self.state(|state| {
            let new = state.new.as_ref()?;
            Some(new.blobs.get(digest).map(|range| (Arc::clone(&new.file), range.clone())))
        });
        if let Some(found) = new {
            return Ok(found);
        }
        let there = self.there().await?;
        Ok(there.and_then(|there| Some((Arc::clone(&there.file), there.blobs.get(digest)?.clone()))))
    }

    async fn index(&self) -> Result<Option<Index>, OciError> {
        if let Some(index) = self.state(|state| state.new.as_ref().map(|new| new.index.clone())) {
            return Ok(Some(index));
        }
        Ok(self.there().await?.map(|there| there.index.clone()))
    }

    /// Begins a new file unless one was begun already.
    async fn begin(&self, sizes: Vec<u64>) -> Result<(), OciError> {
        let path = self.path.clone();
        let begun = blocking(move || {
            let mut writer = Writer::begin(&path)?;
            for size in sizes {
                let Some(place) = writer.place(size) else {
                    let why = "its files together exceed the largest size of a file".to_owned();
                    return Err(OciError::Invalid { place: path.display().to_string(), why });
                };
                writer.places.push(place);
            }
            Ok(writer)
        });
        let begun = begun.await?;
        self.state(|state| state.new = Some(begun));
        Ok(())
    }

    async fn push(&self, push: Push) -> Result<OciDigest, OciError> {
        if self.state(|state| state.new.is_none()) {
            self.begin(Vec::new()).await?;
        }
        let Push { size, digest, number, body } = push;
        let known = match &digest {
            PushDigest::Before(digest) => Some(*digest),
            PushDigest::After(_) => None,
        };
        let reserved = self.state(|state| {
            let new = state.new.as_mut()?;
            // A blob that exists already is not written twice: manifests of two runs share a config.
            if number.is_none() && known.is_some_and(|known| new.blobs.contains_key(&known)) {
                return None;
            }
            let place = match number.and_then(|number| new.places.get(number).copied()) {
                Some(place) if place.1 == size => Some(place),
                _ => new.place(size),
            };
            place.map(|(begins, _)| (Arc::clone(&new.file), begins))
        });
        let Some((file, begins)) = reserved else {
            return known.ok_or(OciError::Stopped);
        };
        let content = begins + head_size(size);
        let (mut written, wrong) = (0, at(&self.path));
        let mut body = match body {
            Body::Whole(bytes) => futures_util::stream::iter([Ok(bytes)]).boxed(),
            Body::Stream(stream) => stream,
        };
        while let Some(bytes) = body.next().await {
            let bytes = bytes?;
            let (file, place) = (Arc::clone(&file), content + written);
            written += bytes.len() as u64;
            if written > size {
                return Err(self.wrong_size(size, written));
            }
            blocking(move || write_all_at(&file, &bytes, place)).await.map_err(&wrong)?;
        }
        if written != size {
            return Err(self.wrong_size(size, written));
        }
        let digest = match digest {
            PushDigest::Before(digest) => digest,
            PushDigest::After(cell) => *cell.get().ok_or(OciError::Stopped)?,
        };
        let head = head(&blob_name(&digest), size);
        let ending = blocking(move || {
            write_all_at(&file, &zeros(padding(size)), content + size)?;
            write_all_at(&file, &head, begins)
        });
        ending.await.map_err(&wrong)?;
        self.state(|state| {
            let new = state.new.as_mut();
            new.map(|new| new.blobs.insert(digest, content..content + size))
        });
        Ok(digest)
    }

    fn wrong_size(&self, expected: u64, came: u64) -> OciError {
        let why = format!("expected a blob of {expected} bytes, got {came}");
        OciError::Invalid { place: self.shown(), why }
    }

    async fn get_manifest(&self, of: &ManifestName) -> Result<Option<Got>, OciError> {
        let Some(index) = self.index().await? else { return Ok(None) };
        let (media_type, digest, size) = match of {
            ManifestName::Tag(tag) => match local::tagged(&index, tag) {
                Some(found) => (Some(found.media_type.clone()), found.digest, Some(found.size)),
                None => return Ok(None),
            },
            ManifestName::Digest(digest) => {
                let known = index.manifests.iter().find(|found| found.digest == *digest);
                (known.map(|found| found.media_type.clone()), *digest, None)
            }
        };
        let Some((file, range)) = self.find(&digest).await? else { return Ok(None) };
        let length = range.end - range.start;
        let invalid = |why: String| OciError::Invalid { place: self.place(of), why };
        if length > MANIFEST_LIMIT || size.is_some_and(|size| size != length) {
            return Err(invalid(format!("its manifest has {length} bytes")));
        }
        let mut bytes = Vec::new();
        let mut stream = local::stream_of(file, range, &self.path);
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        if OciDigest::of(&bytes) != digest {
            return Err(OciError::WrongDigest { place: self.place(of), digest });
        }
        let media_type = media_type.unwrap_or_else(|| super::MANIFEST.to_owned());
        Ok(Some(Got { media_type, bytes: bytes.into(), digest }))
    }
}

/// Reads the headers and the index of a file; `None` if the file does not exist.
fn read(path: &Path, shown: &str) -> Result<Option<Layout>, OciError> {
    let wrong = at(path);
    let invalid = |why: String| OciError::Invalid { place: shown.to_owned(), why };
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(&wrong)?,
    };
    let meta = file.metadata().map_err(&wrong)?;
    if !meta.is_file() {
        return Err(invalid("it is not a file".to_owned()));
    }
    let (mut blobs, mut index, mut count) = (HashMap::new(), None, 0);
    let walked = walk(
        meta.len(),
        |buffer, at| read_exact_at(&file, buffer, at),
        |entry| {
            count += 1;
            if count > LIMIT {
                return Err(format!("it has more than {LIMIT} entries"));
            }
            let Some(name) = entry.name else { return Ok(()) };
            let range = entry.at..entry.at + entry.size;
            if name.strip_prefix("./").unwrap_or(&name) == INDEX_FILE {
                index = Some(range);
            } else if let Some(digest) = local::digest_of_name(&name) {
                blobs.insert(digest, range);
            }
            Ok(())
        },
    );
    walked.map_err(|error| match error {
        WalkError::Io(error) => wrong(error),
        WalkError::Invalid(why) => invalid(format!("not an OCI archive: {why}")),
    })?;
    let range = index.ok_or_else(|| invalid(format!("not an OCI archive: it has no {INDEX_FILE}")))?;
    let length = range.end - range.start;
    if length > MANIFEST_LIMIT {
        return Err(invalid(format!("its {INDEX_FILE} has {length} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    read_exact_at(&file, &mut bytes, range.start).map_err(&wrong)?;
    let index = parse_index(&bytes).map_err(invalid)?;
    Ok(Some(Layout { file: Arc::new(file), blobs, index }))
}

impl Content for Archive {
    fn shown(&self) -> String {
        format!("oci-archive:{}", printable(&self.path.display().to_string()))
    }

    fn checks_digests(&self) -> bool {
        false
    }

    fn blob_size<'a>(&'a self, digest: &'a OciDigest) -> BoxFuture<'a, Result<Option<u64>, OciError>> {
        Box::pin(async { Ok(self.find(digest).await?.map(|(_, range)| range.end - range.start)) })
    }

    fn open_blob<'a>(
        &'a self,
        digest: &'a OciDigest,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Blobstream, OciError>> {
        Box::pin(async move {
            let missing = || OciError::NotFound { place: self.place(digest) };
            let (file, whole) = self.find(digest).await?.ok_or_else(missing)?;
            let from = whole.start.saturating_add(range.start).min(whole.end);
            let to = whole.start.saturating_add(range.end).min(whole.end);
            Ok(local::stream_of(file, from..to, &self.path))
        })
    }

    fn left<'a>(&'a self, sizes: &'a [u64]) -> BoxFuture<'a, Vec<Option<Left>>> {
        Box::pin(async move {
            let (path, sizes) = (self.path.clone(), sizes.to_vec());
            let (left, found) = blocking(move || left::take(&path, &sizes)).await;
            self.state(|state| state.left.extend(left));
            found
        })
    }

    fn drop_left(&self) -> BoxFuture<'_, bool> {
        let path = self.path.clone();
        Box::pin(blocking(move || !left::take(&path, &[]).0.is_empty()))
    }

    fn expect<'a>(&'a self, sizes: &'a [u64]) -> BoxFuture<'a, Result<(), OciError>> {
        Box::pin(self.begin(sizes.to_vec()))
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
                self.state(|state| state.new.as_mut().map(|new| local::name(&mut new.index, descriptor, Some(tag))));
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
            self.state(|state| state.new.as_mut().map(|new| local::name(&mut new.index, descriptor, None)));
            Ok(digest)
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), OciError>> {
        Box::pin(async {
            let Some(new) = self.state(|state| state.new.take()) else { return Ok(()) };
            let path = self.path.clone();
            blocking(move || new.finish(&path)).await?;
            self.state(|state| {
                state.there = There::Unknown;
                state.left.clear();
            });
            Ok(())
        })
    }
}
