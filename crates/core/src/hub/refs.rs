//! The branches and tags of a repo, for advice on a revision that is not there.

use super::Hub;
use crate::model::{RepoId, RepoType};

impl Hub {
    /// Names of branches and tags, for advice; empty when they cannot be had.
    #[cfg(not(feature = "xet"))]
    #[allow(clippy::unused_async, clippy::unused_self)] // as the other one is called
    pub(super) async fn refs(&self, _: RepoType, _: &RepoId) -> Vec<String> {
        Vec::new()
    }

    /// Names of branches and tags, for advice; empty when they cannot be had. Through hf-hub, which is not
    /// to be had without Xet.
    #[cfg(feature = "xet")]
    pub(super) async fn refs(&self, repo_type: RepoType, id: &RepoId) -> Vec<String> {
        let builder =
            hf_hub::HFClient::builder().endpoint(self.config.url("")).cache_enabled(false).retry_max_attempts(0);
        let token = self
            .config
            .token
            .as_ref()
            .and_then(|t| t.header().to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned));
        let Ok(client) = (match token {
            Some(token) => builder.token(token),
            None => builder,
        })
        .client(self.api.clone())
        .build() else {
            return Vec::new();
        };
        let owner = id.owner().unwrap_or("");
        let ask = async {
            let asked = match repo_type {
                RepoType::Model => client.model(owner, id.name()).list_refs().send().await,
                RepoType::Dataset => client.dataset(owner, id.name()).list_refs().send().await,
                RepoType::Space => client.space(owner, id.name()).list_refs().send().await,
                // hf-hub knows no kernels.
                RepoType::Kernel => return None,
            };
            asked.ok()
        };
        let Ok(Some(refs)) = tokio::time::timeout(std::time::Duration::from_secs(5), ask).await else {
            return Vec::new();
        };
        let names = refs.branches.iter().chain(&refs.tags).map(|r| crate::text::printable(&r.name).into_owned());
        names.take(12).collect()
    }
}
