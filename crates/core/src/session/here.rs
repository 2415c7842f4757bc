//! What is here already, while nobody is asked: whether it is all of it, and since when.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Config, Error, Session};
use crate::finding::Origin;
use crate::hub::HubError;
use crate::model::{Options, Presence, RepoSpec};
use crate::progress::Silent;
use crate::report::Report;

impl Session {
    /// The same session, which asks nobody and says nothing. `None` where files go into no folder, or come from a server
    /// that does not list all that a repo has.
    fn silent_offline(&self) -> Option<Session> {
        if self.objects.is_some() || self.oci.is_some() {
            return None;
        }
        if !self.lists_all() {
            return None;
        }
        let config = Config { offline: true, prefer_offline: false, ..self.config.clone() };
        Some(Session { sources: self.sources.clone(), config, progress: Arc::new(Silent), objects: None, oci: None })
    }

    /// The report of a run that asked nobody, where a kept listing says what there must be and all of it is here and
    /// right.
    pub(super) async fn get_here(&self, spec: &RepoSpec, options: &Options) -> Option<Report> {
        let here = self.silent_offline()?;
        let (report, origin) = here.get_by(spec, options, Instant::now(), false).await.ok()?;
        (origin == Origin::KeptListing && report.is_verified()).then_some(report)
    }

    /// The error of an endpoint that is away: with word of what is here, if that is everything.
    pub(super) async fn away(&self, error: HubError, spec: &RepoSpec, options: &Options) -> Error {
        match self.all_here_since(spec, options).await {
            Some(since) => Error::Away { source: Box::new(error), since },
            None => Error::Hub(error),
        }
    }

    /// When the last of the files came that would be taken, where all of them are here.
    async fn all_here_since(&self, spec: &RepoSpec, options: &Options) -> Option<String> {
        let here = self.silent_offline()?;
        let prepared = here.prepare(spec, options, false).await.ok()?;
        let all = !prepared.plan.items.is_empty()
            && prepared.plan.items.iter().all(|item| item.presence == Presence::Verified);
        if prepared.origin != Origin::KeptListing || !all {
            return None;
        }
        let (store, commit) = (Arc::clone(prepared.store.as_ref()?), prepared.listing.info.commit);
        let entries = prepared.entries(|_| true);
        let newest = move || -> Option<SystemTime> {
            let came = |entry| std::fs::metadata(store.content_path(&commit, entry)).ok()?.modified().ok();
            entries.iter().filter_map(came).max()
        };
        let newest = tokio::task::spawn_blocking(newest).await.ok()??;
        let newest = jiff::Timestamp::try_from(newest).ok()?;
        Some(newest.strftime("%Y-%m-%d %H:%M UTC").to_string())
    }
}
