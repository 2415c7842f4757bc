//! What all destinations other than this machine's disk have in common: where their files come from.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{Error, Prepared, Session};
use crate::model::{Entry, RepoPath};
use crate::transfer::Limiter;
use crate::upload::{Nearby, Supply};

impl Session {
    /// Where the wanted files of a job come from. `left`: what an earlier run left of them on this disk, by path.
    pub(super) async fn fetched_from(
        &self,
        prepared: &Prepared,
        wanted: Vec<Entry>,
        left: HashMap<RepoPath, Nearby>,
    ) -> Result<Arc<Supply>, Error> {
        let permits = u32::try_from(self.config.fetch.connections).unwrap_or(u32::MAX).clamp(1, 1024);
        let mut nearby = self.offered(prepared, wanted).await?;
        nearby.extend(left);
        Ok(Arc::new(Supply {
            sources: self.sources.clone(),
            nearby,
            info: Arc::new(prepared.listing.info.clone()),
            limiter: self.config.fetch.limit_rate.map(Limiter::new),
            progress: Arc::clone(&self.progress),
            budget: Arc::new(Semaphore::new(permits as usize)),
            permits,
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
