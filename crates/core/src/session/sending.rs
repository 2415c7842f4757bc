//! What all destinations other than this machine's disk have in common: where their files come from.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Error, Prepared, Session};
use crate::model::{Entry, RepoPath};
use crate::transfer::Limiter;
use crate::upload::{Nearby, Space, Supply};

impl Session {
    /// Where the wanted files of a job come from, in parts of `part` bytes. `left`: what an earlier run left of them on
    /// this disk.
    pub(super) async fn fetched_from(
        &self,
        prepared: &Prepared,
        wanted: Vec<Entry>,
        left: HashMap<RepoPath, Nearby>,
        part: u64,
    ) -> Result<Arc<Supply>, Error> {
        let mut nearby = self.offered(prepared, wanted).await?;
        nearby.extend(left);
        Ok(Arc::new(Supply {
            sources: self.sources.clone(),
            nearby,
            info: Arc::new(prepared.listing.info.clone()),
            limiter: self.config.fetch.limit_rate.map(Limiter::new),
            progress: Arc::clone(&self.progress),
            space: Space::new(self.config.fetch.connections, part),
            lanes: Arc::default(),
        }))
    }

    /// The files in this machine's cache that will go elsewhere.
    async fn offered(&self, prepared: &Prepared, wanted: Vec<Entry>) -> Result<HashMap<RepoPath, Nearby>, Error> {
        let info = &prepared.listing.info;
        let cache = self.nearby(info.repo_type, &info.id).filter(|_| !self.config.fetch.force);
        let Some(cache) = cache else { return Ok(HashMap::new()) };
        let commit = info.commit;
        self.blocking(&cache, move |cache| {
            let offer = |entry: Entry| cache.offers(&commit, &entry).map(|path| (entry.path, Nearby { path, at: 0 }));
            Ok(wanted.into_iter().filter_map(offer).collect())
        })
        .await
    }
}
