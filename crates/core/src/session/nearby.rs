//! The cache of this machine, where files go elsewhere: they need not come over the network. What is right is found out by
//! hashing, as everywhere.

use std::sync::Arc;

use super::{DestinationConfig, Session};
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
}
