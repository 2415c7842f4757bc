//! Checks that a plain folder belongs to the job: two repos or commits must not mix. `store` finds out whose a file is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{DestinationConfig, Error, Session};
use crate::hub::HubError;
use crate::model::{CommitId, RepoInfo};
use crate::store::Store;

/// The most other commits that the endpoint is asked about.
const COMMITS_ASKED: usize = 8;

impl Session {
    /// The plain folder that is the job's destination, if it is one.
    pub(super) fn plain_folder(&self) -> Option<&Path> {
        match &self.config.destination {
            DestinationConfig::LocalDir(dir) => Some(dir),
            _ => None,
        }
    }

    /// Checks that a plain folder belongs to this repo at this revision. Returns the other commits of the repo that are
    /// noted there.
    pub(super) async fn check_folder(&self, store: &Arc<Store>, info: &RepoInfo) -> Result<BTreeSet<CommitId>, Error> {
        let (Some(dir), Some(repo)) = (self.plain_folder(), store.repo_name()) else { return Ok(BTreeSet::new()) };
        let (dir, force) = (dir.to_path_buf(), self.config.fetch.force);
        let revision = info.revision.clone();
        let (belongs, noted, moved) = self
            .blocking(store, move |store| Ok((store.belongs(), store.noted_commits()?, store.read_ref(&revision))))
            .await?;
        let name = info.repo_type.qualify(&info.id);
        let wanted = || format!("{name}@{} ({})", info.revision.as_str(), info.commit.short());
        // A ref belongs to this repo, so the commit that it named does too.
        let mut ours: BTreeSet<CommitId> = moved.into_iter().filter(|_| info.revision.as_commit().is_none()).collect();
        if let Some(belongs) = &belongs {
            let same = belongs.repo == repo;
            let update = belongs.commit == info.commit || belongs.revision == info.revision.as_str();
            if !(force || same && update) {
                let holds = format!("{}@{} ({})", spoken(&belongs.repo), belongs.revision, belongs.commit.short());
                return Err(Error::OtherFiles { dir, holds, wanted: wanted() });
            }
            ours.extend(same.then_some(belongs.commit));
        }
        let unknown = noted.into_iter().filter(|commit| *commit != info.commit && !ours.contains(commit));
        let unknown: Vec<CommitId> = unknown.take(COMMITS_ASKED).collect();
        for commit in unknown.into_iter().filter(|_| !self.config.offline) {
            let Ok(pinned) = commit.to_string().parse() else { continue };
            match self.source().resolve(info.repo_type, &info.id, &pinned, &*self.progress).await {
                Ok(_) => {
                    ours.insert(commit);
                }
                Err(HubError::RevisionNotFound { .. }) if belongs.is_none() && !force => {
                    let holds = format!("files of commit {}, which {name} does not have", commit.short());
                    return Err(Error::OtherFiles { dir, holds, wanted: wanted() });
                }
                // If the endpoint does not answer, the commit's origin stays unknown.
                Err(_) => {}
            }
        }
        Ok(ours)
    }
}

/// `models--org--name` in the form for people.
fn spoken(folder: &str) -> String {
    let repo = crate::store::repo_of_folder(folder);
    repo.map_or_else(|| crate::text::printable(folder).to_string(), |(repo_type, id)| repo_type.qualify(&id))
}
