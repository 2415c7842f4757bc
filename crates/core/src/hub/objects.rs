//! An object store in the place of a Hub: the commit, the listing and the bytes that `hfget REPO --to URL`
//! put there. What lies where is said in [`crate::objects`].

use std::ops::Range;

use url::Url;

use super::open::{Body, Source};
use super::{Hub, HubError, Remote, ShownUrl};
use crate::model::{Listing, RepoId, RepoInfo, RepoType, Revision};
use crate::objects::{Keys, ObjectError, Objects};

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

impl Hub {
    /// The commit that a revision is, of which there must be a manifest.
    pub(super) async fn object_info(
        &self,
        objects: &Objects,
        repo_type: RepoType,
        id: &RepoId,
        revision: &Revision,
    ) -> Result<RepoInfo, HubError> {
        let keys = Keys::new(repo_type, id);
        if let Some(locked) = objects.manifest_of(&keys, revision).await? {
            return Ok(RepoInfo { revision: revision.clone(), ..locked.listing().info });
        }
        let known = objects.references(&keys).await?;
        let repo = repo_type.qualify(id);
        if known.is_empty() {
            return Err(HubError::RepoNotFound { repo, endpoint: objects.url().to_string(), has_token: true });
        }
        Err(HubError::RevisionNotFound { repo, revision: revision.as_str().to_owned(), known })
    }

    /// What the manifest says is there.
    pub(super) async fn object_listing(&self, objects: &Objects, info: &RepoInfo) -> Result<Listing, HubError> {
        let keys = Keys::new(info.repo_type, &info.id);
        let Some(locked) = objects.manifest(&keys, &info.commit).await? else {
            let url = ShownUrl::of_text(&objects.shown(&keys.manifest(&info.commit)));
            return Err(HubError::EntryNotFound { url });
        };
        Ok(Listing { info: info.clone(), ..locked.listing() })
    }

    pub(super) async fn open_object<'a>(
        &'a self,
        objects: &Objects,
        remote: &Remote,
        range: Range<u64>,
    ) -> Result<Body<'a>, HubError> {
        let (info, entry) = (&remote.info, &remote.entry);
        let key = Keys::new(info.repo_type, &info.id).file(&info.commit, &entry.path);
        let (size, stream) = objects.stream(&key, range.clone()).await?;
        let url = Url::parse(&objects.shown(&key)).unwrap_or_else(|_| self.config.endpoint.clone());
        if size != entry.size {
            return Err(HubError::WrongLength { url: (&url).into(), got: size, expected: entry.size });
        }
        Ok(Body::new(self, url, Source::Object(stream), range))
    }
}
