//! The branches and tags of a repo, for advice about a revision that does not exist.

use std::time::Duration;

use serde::Deserialize;

use super::Hub;
use crate::model::{RepoId, RepoType};

/// The most bytes of the answer: advice is not worth more.
const LIMIT: usize = 1 << 20;
/// The most names in the advice.
const NAMES: usize = 12;
/// How long the answer may take.
const AT_MOST: Duration = Duration::from_secs(5);

/// `GET /api/{type}s/{id}/refs`.
#[derive(Deserialize)]
struct RefsJson {
    #[serde(default)]
    branches: Vec<RefJson>,
    #[serde(default)]
    tags: Vec<RefJson>,
}

#[derive(Deserialize)]
struct RefJson {
    name: String,
}

impl Hub {
    /// Names of branches and tags, for advice; empty if the Hub does not give them.
    pub(super) async fn refs(&self, repo_type: RepoType, id: &RepoId) -> Vec<String> {
        let url = self.config.url(&format!("/api/{}/{id}/refs", repo_type.plural()));
        let asked = self.asked(repo_type, id, "");
        let ask = async {
            let (url, response) = self.try_api(&url, &asked).await.ok()?;
            let (refs, _): (RefsJson, usize) = self.json_within(&url, response, LIMIT).await.ok()?;
            Some(refs)
        };
        let Ok(Some(refs)) = tokio::time::timeout(AT_MOST, ask).await else { return Vec::new() };
        let names = refs.branches.iter().chain(&refs.tags).map(|r| crate::text::printable(&r.name).into_owned());
        names.take(NAMES).collect()
    }
}
