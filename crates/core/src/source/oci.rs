//! OCI content as a source: the commit, the listing and the bytes that an earlier run pushed to a tag. [`crate::oci`]
//! describes the form.

use std::ops::Range;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use tokio::sync::OnceCell;
use url::Url;

use super::{Source, SourceFile};
use crate::finding::Origin;
use crate::hub::{Body, HubConfig, HubError, Retries, ShownUrl};
use crate::model::{Entry, Listing, OciReference, RepoId, RepoInfo, RepoPath, RepoType, Revision};
use crate::oci::{self, Content, Contents, ManifestName, OciConfig, OciError};
use crate::progress::Progress;

impl From<OciError> for HubError {
    fn from(error: OciError) -> Self {
        let shown = |place: &str| ShownUrl::of_text(place);
        match error {
            OciError::Wire(error) => error,
            OciError::NotFound { place } => HubError::EntryNotFound { url: shown(&place) },
            OciError::Refused { place, why } => HubError::Forbidden { url: shown(&place), message: why },
            OciError::Failed { place, why, again: true, after: Some(wait) } => HubError::Status {
                url: shown(&place),
                status: StatusCode::SERVICE_UNAVAILABLE,
                message: why,
                wait: Some(wait),
            },
            OciError::Failed { place, why, again: true, after: None } => {
                HubError::Network { url: shown(&place), what: why }
            }
            OciError::Failed { place, why, .. } | OciError::Setup { place, why } | OciError::Invalid { place, why } => {
                HubError::Protocol { url: shown(&place), what: why }
            }
            OciError::WrongDigest { ref place, .. } => {
                HubError::Protocol { url: shown(place), what: "its bytes do not have its digest".to_owned() }
            }
            OciError::Io { path, source } => {
                HubError::Local { url: shown(&path.display().to_string()), what: source.to_string() }
            }
            OciError::Disk(ref on_disk) => {
                HubError::Local { url: shown("the image layout"), what: on_disk.to_string() }
            }
            OciError::Stopped => HubError::Network { url: shown("its bytes"), what: error.to_string() },
        }
    }
}

/// The source that a configuration names. Makes no request.
///
/// # Errors
/// If the configuration is invalid.
pub(crate) fn open_oci(config: &OciConfig, http: &HubConfig) -> Result<Arc<dyn Source>, OciError> {
    let content = oci::open(config, http)?;
    let reference = config.reference();
    let url = url_of(reference).map_err(|why| OciError::Setup { place: content.shown(), why })?;
    let retries = Retries::new(&http.timing, &url);
    Ok(Arc::new(OciSource { name: name_of(reference), content, contents: OnceCell::new(), retries, url }))
}

/// The name of a reference's manifest: its digest, if there is one, otherwise the tag.
pub(crate) fn name_of(reference: &OciReference) -> ManifestName {
    match reference.digest() {
        Some(digest) => ManifestName::Digest(*digest),
        None => ManifestName::Tag(reference.tag().to_owned()),
    }
}

/// The place as a URL, for messages about requests.
pub(crate) fn url_of(reference: &OciReference) -> Result<Url, String> {
    let text = reference.place().to_string();
    // A path may have characters that a URL may not have.
    let text = text.replace('%', "%25").replace(['?', '#'], "_");
    Url::parse(&text).map_err(|error| error.to_string())
}

/// A tag that a run reads from.
#[derive(Debug)]
struct OciSource {
    content: Arc<dyn Content>,
    name: ManifestName,
    /// The content of the tag, once it was read.
    contents: OnceCell<Contents>,
    url: Url,
    retries: Retries,
}

impl OciSource {
    fn shown(&self) -> String {
        match &self.name {
            ManifestName::Tag(tag) => format!("{}:{tag}", self.content.shown()),
            ManifestName::Digest(digest) => format!("{}@{digest}", self.content.shown()),
        }
    }

    async fn contents(&self) -> Result<&Contents, HubError> {
        let read = || async {
            let contents = Contents::read(&*self.content, &self.name).await?;
            contents.ok_or_else(|| OciError::NotFound { place: self.shown() })
        };
        Ok(self.contents.get_or_try_init(read).await?)
    }

    async fn info(&self, repo_type: RepoType, id: &RepoId, revision: &Revision) -> Result<RepoInfo, HubError> {
        let repo = repo_type.qualify(id);
        let there = match self.contents().await {
            Ok(contents) => &contents.repo,
            Err(HubError::EntryNotFound { .. }) => {
                let endpoint = format!("{}, which does not exist", self.shown());
                return Err(HubError::RepoNotFound { repo, endpoint, has_token: true });
            }
            Err(error) => return Err(error),
        };
        if (there.repo_type, &there.id) != (repo_type, id) {
            let endpoint = format!("{}, which has {}", self.shown(), there.name());
            return Err(HubError::RepoNotFound { repo, endpoint, has_token: true });
        }
        if *revision != there.revision && revision.as_commit() != Some(there.commit) {
            let known = vec![there.revision.as_str().to_owned(), there.commit.to_string()];
            return Err(HubError::RevisionNotFound { repo, revision: revision.as_str().to_owned(), known });
        }
        Ok(RepoInfo { revision: revision.clone(), ..there.listing().info })
    }

    async fn body(&self, info: &RepoInfo, entry: &Entry, range: Range<u64>) -> Result<Body<'_>, HubError> {
        let contents = self.contents().await?;
        let missing =
            || HubError::EntryNotFound { url: ShownUrl::of_text(&format!("{}: {}", self.shown(), entry.path.shown())) };
        // A mirror may have another commit: then it has no file for this run.
        let same = contents.repo.commit == info.commit && contents.repo.id == info.id;
        let placed = contents.files.get(&entry.path).filter(|_| same).ok_or_else(missing)?;
        if placed.file.size != entry.size {
            let (got, expected) = (placed.file.size, entry.size);
            return Err(HubError::WrongLength { url: (&self.url).into(), got, expected });
        }
        let stream = if range.is_empty() {
            futures_util::stream::empty().boxed()
        } else {
            self.content.open_blob(&placed.layer, placed.within(range.clone())).await?
        };
        let stream = stream.map(|bytes| bytes.map_err(HubError::from)).boxed();
        Ok(Body::of_stream(&self.retries, self.url.clone(), stream, range))
    }
}

impl Source for OciSource {
    fn endpoint(&self) -> String {
        self.shown()
    }

    fn origin(&self) -> Origin {
        // Whoever pushed the files also wrote the annotations and the lockfile beside them.
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
        Box::pin(async move { Ok(Listing { info: info.clone(), ..self.contents().await?.repo.listing() }) })
    }

    fn file(self: Arc<Self>, info: Arc<RepoInfo>, entry: Entry) -> Box<dyn SourceFile> {
        Box::new(OciFile { source: self, info, entry })
    }
}

/// A file in a layer.
#[derive(Debug)]
struct OciFile {
    source: Arc<OciSource>,
    info: Arc<RepoInfo>,
    entry: Entry,
}

impl SourceFile for OciFile {
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
