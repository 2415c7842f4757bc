//! What a mirror says of a repo as a whole, and what it means that it says nothing: that it has no API, or that it is not
//! asked with the token. What it says of single files is `metadata`'s.

use super::Comparison;
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::hub::{Ask, Hosts, HubError, ListedClaim};
use crate::model::{Entry, Gated, RepoInfo, RepoSpec};
use crate::report::Level;
use crate::session::Error;

/// Files that are asked for before a mirror without an API counts as one without the repo.
const TRIED: usize = 8;

/// What the mirror says of a repo.
pub(super) enum Said {
    /// The commit that it has, and what it lists there.
    Repo(RepoInfo, Vec<ListedClaim>),
    /// Nothing: it has files and no API.
    BytesOnly,
    /// Nothing to whom it does not know.
    Closed(Finding),
}

impl Comparison {
    /// Asks the mirror for the repo that `info` is on the reference.
    pub(super) async fn ask_mirror(
        &self,
        spec: &RepoSpec,
        info: &RepoInfo,
        entries: &[&Entry],
        hosts: &Hosts,
    ) -> Result<Said, Error> {
        let mirror = &*self.mirror.hub;
        let there = match mirror.claimed_info(spec.repo_type, &spec.id, &info.revision, &*self.watch).await {
            Ok((_, there)) => there,
            Err(error @ (HubError::RepoNotFound { .. } | HubError::NotServed { .. })) => {
                if self.serves_any(info, entries, hosts).await {
                    return Ok(Said::BytesOnly);
                }
                return closed(info, &error).map(Said::Closed).ok_or_else(|| error.into());
            }
            Err(error) => return closed(info, &error).map(Said::Closed).ok_or_else(|| error.into()),
        };
        match mirror.claims(&there, &*self.watch).await {
            Ok(claims) => Ok(Said::Repo(there, claims)),
            Err(HubError::NoListing { .. }) if self.serves_any(info, entries, hosts).await => Ok(Said::BytesOnly),
            Err(error) => closed(info, &error).map(Said::Closed).ok_or_else(|| error.into()),
        }
    }

    /// Whether some file of the repo's commit is there, whatever the server says of the repo.
    async fn serves_any(&self, info: &RepoInfo, entries: &[&Entry], hosts: &Hosts) -> bool {
        for entry in entries.iter().take(TRIED) {
            let answer = self.mirror.hub.ask(info, &entry.path, &Ask::Head, hosts, &*self.watch).await;
            if answer.is_ok_and(|answer| answer.status.is_success() && !super::metadata::is_page(entry, &answer)) {
                return true;
            }
        }
        false
    }

    /// That the mirror has nothing but bytes.
    pub(super) fn bytes_only(&self) -> Finding {
        if self.config.level == Level::Metadata {
            return Finding::repo(Code::MetadataMissing, "the mirror has no API, so there are only bytes to compare")
                .severity(Severity::Error)
                .remedy(Remedy::CompareBytes);
        }
        let message = "the mirror has no API: its bytes are compared with what the endpoint lists";
        Finding::repo(Code::MetadataMissing, message).remedy(Remedy::MindBytesOnly)
    }
}

/// That a mirror gives nothing of a repo that is not open to all; `None` where that is no reason.
pub(super) fn closed(info: &RepoInfo, error: &HubError) -> Option<Finding> {
    let refused = matches!(
        error,
        HubError::Gated { .. }
            | HubError::Forbidden { .. }
            | HubError::RepoNotFound { .. }
            | HubError::NeedsLogin { .. }
    );
    let kind = match (info.private, info.gated) {
        (true, _) => "private",
        (false, Gated::Auto | Gated::Manual) => "gated",
        (false, Gated::No) => return None,
    };
    refused.then(|| {
        let message = format!("the repo is {kind}, and a mirror is asked without the token: it refuses the files");
        Finding::repo(Code::AccessDenied, message).severity(Severity::Error).remedy(Remedy::OpenMirror)
    })
}
