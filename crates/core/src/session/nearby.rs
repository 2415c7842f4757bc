//! The cache of this machine, if the destination is another one: its files need not come over the network. They are
//! hashed, as all files are.

use std::sync::Arc;

use super::{DestinationConfig, Session};
use crate::model::{RepoId, RepoType};
use crate::store::Store;

impl Session {
    /// The repo's folder in the cache of this machine, if the destination is another one.
    pub(super) fn nearby(&self, repo_type: RepoType, id: &RepoId) -> Option<Arc<Store>> {
        if let DestinationConfig::Cache { .. } = &self.config.destination {
            return None;
        }
        let root = self.config.nearby.as_deref()?;
        Some(Arc::new(Store::hub_cache(root, repo_type, id, true)))
    }
}
