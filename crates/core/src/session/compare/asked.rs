//! A mirror's answers about a repo as a whole. No answer means that the mirror has no API, or that it refuses requests
//! without a token. `metadata` compares single files.

use super::Comparison;
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::hub::{Ask, Hosts, HubError, ListedClaim};
use crate::model::{Entry, Gated, RepoInfo, RepoSpec};
use crate::report::Level;
use crate::session::Error;

/// How many files to ask for before a mirror without an API counts as a mirror without the repo.
const TRIED: usize = 8;

/// The mirror's answer about a repo.
pub(super) enum Said {
    /// The commit that it has, and its listing of that commit.
    Repo(RepoInfo, Vec<ListedClaim>),
    /// No answer: it has files and no API.
    BytesOnly,
    /// No answer to a client without a token.
    Closed(Finding),
}

impl Comparison {
    /// Asks the mirror for the repo that `info` describes on the reference.
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

    /// Whether the mirror serves some file of the repo's commit, whatever it answers about the repo.
    async fn serves_any(&self, info: &RepoInfo, entries: &[&Entry], hosts: &Hosts) -> bool {
        for entry in entries.iter().take(TRIED) {
            let answer = self.mirror.hub.ask(info, &entry.path, &Ask::Head, hosts, &*self.watch).await;
            if answer.is_ok_and(|answer| answer.status.is_success() && !super::metadata::is_page(entry, &answer)) {
                return true;
            }
        }
        false
    }

    /// The finding that the mirror serves only bytes.
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

/// The finding that a mirror refuses a repo that is not public; `None` if that does not explain the error.
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
