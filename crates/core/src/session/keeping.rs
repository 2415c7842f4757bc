//! That a plain folder is a job's own: two repos or commits do not mix. Whose a file is, the store finds out.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{DestinationConfig, Error, Session};
use crate::hub::HubError;
use crate::model::{CommitId, RepoInfo};
use crate::store::Store;

/// Other commits that the endpoint is asked about.
const COMMITS_ASKED: usize = 8;

impl Session {
    /// The folder of a job that puts plain files into one.
    pub(super) fn plain_folder(&self) -> Option<&Path> {
        match &self.config.destination {
            DestinationConfig::LocalDir(dir) => Some(dir),
            _ => None,
        }
    }

    /// That a plain folder is this repo's, at this revision. Gives the other commits of the repo that are noted there.
    pub(super) async fn check_folder(&self, store: &Arc<Store>, info: &RepoInfo) -> Result<BTreeSet<CommitId>, Error> {
        let (Some(dir), Some(repo)) = (self.plain_folder(), store.repo_name()) else { return Ok(BTreeSet::new()) };
        let (dir, force) = (dir.to_path_buf(), self.config.fetch.force);
        let revision = info.revision.clone();
        let (belongs, noted, moved) = self
            .blocking(store, move |store| Ok((store.belongs(), store.noted_commits()?, store.read_ref(&revision))))
            .await?;
        let name = info.repo_type.qualify(&info.id);
        let wanted = || format!("{name}@{} ({})", info.revision.as_str(), info.commit.short());
        // A ref is this repo's own, and so is what it named.
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
                // An endpoint that cannot say leaves the files to whoever knows them.
                Err(_) => {}
            }
        }
        Ok(ours)
    }
}

/// `models--org--name` as people say it.
fn spoken(folder: &str) -> String {
    let repo = crate::store::repo_of_folder(folder);
    repo.map_or_else(|| crate::text::printable(folder).to_string(), |(repo_type, id)| repo_type.qualify(&id))
}
