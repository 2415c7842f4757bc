//! Questions before a job: whether a repo exists, and which files it has. The answers are not kept.

use super::{Error, Session};
use crate::model::{Listing, RepoInfo, RepoSpec};
use crate::progress::Silent;

#[doc(hidden)] // for the command
impl Session {
    /// The present commit of a repo's revision: one request. Offline, the commit from an earlier run.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn resolve(&self, spec: &RepoSpec) -> Result<RepoInfo, Error> {
        let revision = spec.revision.clone().unwrap_or_default();
        if self.config.offline {
            let store = self.store(spec.repo_type, &spec.id);
            return Ok(self.list_offline(spec, &revision, store.as_ref()).await?.listing.info);
        }
        Ok(self.source().resolve(spec.repo_type, &spec.id, &revision, &*self.progress).await?)
    }

    /// The files of a repo. An earlier run's listing of the commit is used if there is one.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn listing(&self, spec: &RepoSpec) -> Result<Listing, Error> {
        let info = self.resolve(spec).await?;
        let store = self.store(spec.repo_type, &spec.id);
        if self.config.offline {
            return Ok(self.list_offline(spec, &info.revision, store.as_ref()).await?.listing);
        }
        let (commit, endpoint) = (info.commit, self.endpoint());
        let kept = match &store {
            Some(store) => self.blocking(store, move |store| Ok(store.read_listing(&commit, &endpoint))).await?,
            None => None,
        };
        match kept {
            Some(entries) => Ok(Listing::new(info, entries, Vec::new())),
            None => Ok(self.source().list(&info, &Silent).await?),
        }
    }
}
