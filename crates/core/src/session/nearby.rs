//! The cache of this machine, where files go elsewhere: they need not come over the network. What is right is found out by
//! hashing, as everywhere.

#[cfg(feature = "object-store")]
use std::collections::HashMap;
#[cfg(feature = "object-store")]
use std::path::PathBuf;
use std::sync::Arc;

use super::{DestinationConfig, Session};
#[cfg(feature = "object-store")]
use super::{Error, Prepared};
#[cfg(feature = "object-store")]
use crate::model::{Entry, RepoPath};
use crate::model::{RepoId, RepoType};
use crate::store::Store;

impl Session {
    /// The repo's folder in the cache of this machine, where files go elsewhere.
    pub(super) fn nearby(&self, repo_type: RepoType, id: &RepoId) -> Option<Arc<Store>> {
        if let DestinationConfig::Cache { .. } = &self.config.destination {
            return None;
        }
        let root = self.config.nearby.as_deref()?;
        Some(Arc::new(Store::hub_cache(root, repo_type, id, true)))
    }

    /// Where the cache of this machine has files that are to go elsewhere.
    #[cfg(feature = "object-store")]
    pub(super) async fn offered(
        &self,
        prepared: &Prepared,
        wanted: Vec<Entry>,
    ) -> Result<HashMap<RepoPath, PathBuf>, Error> {
        let info = &prepared.listing.info;
        let cache = self.nearby(info.repo_type, &info.id).filter(|_| !self.config.fetch.force);
        let Some(cache) = cache else { return Ok(HashMap::new()) };
        let commit = info.commit;
        self.blocking(&cache, move |cache| {
            let offer = |entry: Entry| cache.offers(&commit, &entry).map(|from| (entry.path, from));
            Ok(wanted.into_iter().filter_map(offer).collect())
        })
        .await
    }
}
