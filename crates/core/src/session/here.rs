//! Checks without requests whether all files are here, and since when.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{Config, Error, Session};
use crate::finding::Origin;
use crate::hub::HubError;
use crate::model::{Options, Presence, RepoSpec};
use crate::progress::Silent;
use crate::report::Report;
use crate::transfer::Threads;

impl Session {
    /// The same session without requests and without events. `None` if files do not go into a folder, or if the server
    /// does not list all files of a repo.
    fn silent_offline(&self) -> Option<Session> {
        if self.objects.is_some() || self.oci.is_some() {
            return None;
        }
        if !self.lists_all() {
            return None;
        }
        let config = Config { offline: true, prefer_offline: false, ..self.config.clone() };
        let (sources, progress) = (self.sources.clone(), Arc::new(Silent));
        Some(Session { sources, config, progress, objects: None, oci: None, threads: Threads::default() })
    }

    /// The report of a run without requests. `None` unless there is a kept listing, and all files are here and
    /// right.
    pub(super) async fn get_here(&self, spec: &RepoSpec, options: &Options) -> Option<Report> {
        let here = self.silent_offline()?;
        let (report, origin) = here.get_by(spec, options, Instant::now(), false).await.ok()?;
        (origin == Origin::KeptListing && report.is_verified()).then_some(report)
    }

    /// The error of an endpoint that is away. It says so if all files are here.
    pub(super) async fn away(&self, error: HubError, spec: &RepoSpec, options: &Options) -> Error {
        match self.all_here_since(spec, options).await {
            Some(since) => Error::Away { source: Box::new(error), since },
            None => Error::Hub(error),
        }
    }

    /// When the last of the selected files arrived; `None` if some are not here.
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
