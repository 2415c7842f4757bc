//! An object store as a source: the commit, the listing and the bytes that an earlier run uploaded.
//! [`crate::object_store`] describes the keys.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use url::Url;

use super::{Source, SourceFile};
use crate::finding::Origin;
use crate::hub::{Body, HubError, Retries, ShownUrl, Timing};
use crate::model::{Entry, Listing, RepoId, RepoInfo, RepoPath, RepoType, Revision};
use crate::object_store::{Keys, ObjectError, Objects, StoreConfig};
use crate::progress::Progress;

impl From<ObjectError> for HubError {
    fn from(error: ObjectError) -> Self {
        let shown = |url: &str| ShownUrl::of_text(url);
        match error {
            ObjectError::NotFound { url } | ObjectError::Empty { url } => HubError::EntryNotFound { url: shown(&url) },
            ObjectError::Refused { url, why } => HubError::Forbidden { url: shown(&url), message: why },
            ObjectError::Setup { url, why } | ObjectError::Failed { url, why } | ObjectError::Invalid { url, why } => {
                HubError::Protocol { url: shown(&url), what: why }
            }
        }
    }
}

/// Opens the source of a configuration. Makes no request.
///
/// # Errors
/// If the store's configuration is invalid.
pub(crate) fn open_store(config: &StoreConfig, timing: &Timing) -> Result<Arc<dyn Source>, ObjectError> {
    let objects = Objects::open(config)?;
    let text = objects.url().to_string();
    let url = Url::parse(&text).map_err(|e| ObjectError::Setup { url: text, why: e.to_string() })?;
    Ok(Arc::new(ObjectSource { objects, retries: Retries::new(timing, &url), url }))
}

/// An object store that a run reads from.
#[derive(Debug)]
struct ObjectSource {
    objects: Objects,
    url: Url,
    retries: Retries,
}

impl ObjectSource {
    /// The commit of a revision. It must have a manifest.
    async fn info(&self, repo_type: RepoType, id: &RepoId, revision: &Revision) -> Result<RepoInfo, HubError> {
        let keys = Keys::new(repo_type, id);
        if let Some(locked) = self.objects.manifest_of(&keys, revision).await? {
            return Ok(RepoInfo { revision: revision.clone(), ..locked.listing().info });
        }
        let known = self.objects.references(&keys).await?;
        let repo = repo_type.qualify(id);
        if known.is_empty() {
            return Err(HubError::RepoNotFound { repo, endpoint: self.objects.url().to_string(), has_token: true });
        }
        Err(HubError::RevisionNotFound { repo, revision: revision.as_str().to_owned(), known })
    }

    /// The listing in the manifest.
    async fn listing(&self, info: &RepoInfo) -> Result<Listing, HubError> {
        let keys = Keys::new(info.repo_type, &info.id);
        let Some(locked) = self.objects.manifest(&keys, &info.commit).await? else {
            let url = ShownUrl::of_text(&self.objects.shown(&keys.manifest(&info.commit)));
            return Err(HubError::EntryNotFound { url });
        };
        Ok(Listing { info: info.clone(), ..locked.listing() })
    }

    async fn body(&self, info: &RepoInfo, entry: &Entry, range: Range<u64>) -> Result<Body<'_>, HubError> {
        let key = Keys::new(info.repo_type, &info.id).file(&info.commit, &entry.path);
        let (size, stream) = self.objects.stream(&key, range.clone()).await?;
        let url = Url::parse(&self.objects.shown(&key)).unwrap_or_else(|_| self.url.clone());
        if size != entry.size {
            return Err(HubError::WrongLength { url: (&url).into(), got: size, expected: entry.size });
        }
        let stream = stream.map(|bytes| bytes.map_err(HubError::from)).boxed();
        Ok(Body::of_stream(&self.retries, url, stream, range))
    }
}

impl Source for ObjectSource {
    fn endpoint(&self) -> String {
        self.url.to_string()
    }

    fn origin(&self) -> Origin {
        // The listing comes from the manifest, which the uploader wrote.
        Origin::Manifest
    }

    fn retries(&self) -> &Retries {
        &self.retries
    }

    fn resolve<'a>(
        &'a self,
        repo_type: RepoType,
        id: &'a RepoId,
        revision: &'a Revision,
        _progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<RepoInfo, HubError>> {
        Box::pin(self.info(repo_type, id, revision))
    }

    fn list<'a>(&'a self, info: &'a RepoInfo, _progress: &'a dyn Progress) -> BoxFuture<'a, Result<Listing, HubError>> {
        Box::pin(self.listing(info))
    }

    fn file(self: Arc<Self>, info: Arc<RepoInfo>, entry: Entry) -> Box<dyn SourceFile> {
        Box::new(ObjectFile { source: self, info, entry })
    }
}

/// A file in an object store.
#[derive(Debug)]
struct ObjectFile {
    source: Arc<ObjectSource>,
    info: Arc<RepoInfo>,
    entry: Entry,
}

impl SourceFile for ObjectFile {
    fn path(&self) -> &RepoPath {
        &self.entry.path
    }

    fn source(&self) -> &dyn Source {
        &*self.source
    }

    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body<'_>, HubError>> {
        Box::pin(self.source.body(&self.info, &self.entry, range))
    }
}
