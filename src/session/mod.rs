//! The whole job in one call: resolve, list, select, plan, fetch, verify. Wires the rooms together;
//! prints nothing.

mod compare;
mod config;
mod early;
mod error;
mod folder;
mod inspect;
mod local;
mod locked;
#[cfg(feature = "object-store")]
mod objects;
mod outcome;
mod prepare;
mod source;

use crate::model::{Options, Purpose};
use std::sync::Arc;
use std::time::Instant;

use sha2::Digest as _;

pub use compare::{CompareConfig, Comparison};
pub use config::{Config, Destination};
pub use error::Error;
pub use folder::names_folder;
pub use inspect::{Inspected, inspect_path};
pub use prepare::Prepared;

use outcome::{Statuses, paths_of};

use crate::fetch::fetch;
use crate::finding::{Code, Finding, Outcome};
use crate::hub::Hub;
use crate::model::{Entry, Presence, RepoId, RepoSpec, RepoType, Sha256};
use crate::progress::{Event, Progress};
use crate::report::Report;
use crate::select;
use crate::store::Store;
use crate::verify::{self, Subject, SubjectFile};

/// One or more jobs with the same configuration and connections.
pub struct Session {
    /// The endpoint that lists, then its mirrors.
    hubs: Vec<Arc<Hub>>,
    config: Config,
    progress: Arc<dyn Progress>,
    /// Where files go, if that is no folder.
    #[cfg(feature = "object-store")]
    objects: Option<Arc<crate::objects::Objects>>,
    /// A folder in which nothing is, for jobs that keep nothing on disk.
    #[cfg(feature = "object-store")]
    nothing: Option<tempfile::TempDir>,
}

impl Session {
    /// Makes no request yet.
    pub fn new(config: Config, progress: Arc<dyn Progress>) -> Result<Self, Error> {
        #[cfg(feature = "object-store")]
        let (objects, nothing) = match &config.destination {
            Destination::Objects(url) => {
                let nothing =
                    tempfile::tempdir().map_err(|source| Error::Folder { path: std::env::temp_dir(), source })?;
                (Some(Arc::new(crate::objects::Objects::open(url)?)), Some(nothing))
            }
            _ => (None, None),
        };
        let configs = std::iter::once(&config.hub).chain(&config.mirrors);
        let hubs: Result<Vec<_>, crate::hub::HubError> =
            configs.map(|config| Ok(Arc::new(Hub::new(config.clone())?))).collect();
        Ok(Session {
            hubs: hubs?,
            config,
            progress,
            #[cfg(feature = "object-store")]
            objects,
            #[cfg(feature = "object-store")]
            nothing,
        })
    }

    fn store(&self, repo_type: RepoType, id: &RepoId) -> Arc<Store> {
        Arc::new(match &self.config.destination {
            Destination::Cache { root, symlinks } => Store::hub_cache(root, repo_type, id, *symlinks),
            Destination::LocalDir(dir) => Store::local_dir_of(dir, repo_type, id),
            #[cfg(feature = "object-store")]
            Destination::Objects(_) => {
                Store::local_dir(self.nothing.as_ref().map_or(std::path::Path::new("/nonexistent"), |dir| dir.path()))
            }
        })
    }

    /// What [`Session::get`] would do. Fetches only the small files that selection reads, and keeps
    /// none of them.
    pub async fn plan(&self, spec: &RepoSpec, options: &Options) -> Result<Prepared, Error> {
        let prepared = self.prepare(spec, options, prepare::Mode::DryRun).await?;
        self.planned(prepared).await
    }

    /// The plan of a job, as bad as its findings count here.
    #[cfg_attr(not(feature = "object-store"), allow(clippy::unused_async))]
    async fn planned(&self, prepared: Prepared) -> Result<Prepared, Error> {
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            return self.plan_objects(objects, prepared).await;
        }
        Ok(self.judged(prepared))
    }

    /// A plan with its findings as bad as they count here.
    fn judged(&self, mut prepared: Prepared) -> Prepared {
        let code = self.denied_code(&prepared.selection);
        prepared.selection.findings.extend(code);
        self.config.policy.judge(&mut prepared.selection.findings);
        prepared
    }

    /// Does the whole job: fetches what is not here, verifies all of it, and moves the revision's
    /// ref when nothing is wrong.
    pub async fn get(&self, spec: &RepoSpec, options: &Options) -> Result<Report, Error> {
        let started = Instant::now();
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            let prepared = self.prepare(spec, options, prepare::Mode::DryRun).await?;
            prepared.not_empty()?;
            return self.put(objects, prepared, options, started).await;
        }
        let prepared = self.prepare(spec, options, prepare::Mode::Real).await?;
        prepared.not_empty()?;
        self.work(prepared, started, self.lists_all()).await
    }

    /// Whether the endpoint's listing is all that the repo holds: an object store's is what was put there.
    #[cfg_attr(not(feature = "object-store"), allow(clippy::unused_self))]
    fn lists_all(&self) -> bool {
        #[cfg(feature = "object-store")]
        if self.config.hub.objects.is_some() {
            return false;
        }
        true
    }

    /// Fetches and verifies. `keep`: the listing is the Hub's own, and worth keeping.
    async fn work(&self, mut prepared: Prepared, started: Instant, keep: bool) -> Result<Report, Error> {
        if let Some(report) = self.not_at_all(&prepared) {
            return Ok(report);
        }
        let mut statuses = Statuses { fetched: prepared.early.drain(..).collect(), ..Statuses::default() };
        let mut findings = Vec::new();
        let hashed = self.check_present(&mut prepared, &mut statuses).await?;
        if !self.config.offline {
            Self::check_space(&prepared)?;
            let broken = self.check_early(&prepared).await;
            if !broken.is_empty() {
                return Ok(self.broken_early(&prepared, &statuses, broken));
            }
            findings.extend(self.fetch_missing(&mut prepared, &mut statuses).await?);
        }
        let (mut outcome, remembered) = self.check_contents(&prepared, &findings).await?;
        outcome.bytes_hashed = hashed;
        outcome.findings.extend(findings);
        let mut report = Self::report(&prepared, &outcome, &statuses);
        self.config.policy.judge(&mut report.findings);
        report.already_verified = remembered && statuses.nothing_done() && report.is_verified();
        report.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if report.is_verified() && !self.config.offline {
            let whole = prepared.selection.files.len() == prepared.listing.entries.len();
            let endpoint = self.hubs[0].config().endpoint.to_string();
            self.blocking(&prepared.store, move |store| {
                if keep {
                    store.write_listing(&prepared.listing, whole, &endpoint)?;
                }
                store.set_ref(&prepared.listing.info.revision, &prepared.listing.info.commit)
            })
            .await?;
        }
        Ok(report)
    }

    /// The report of a run that must not fetch anything: for unsafe names, or for what the policy forbids.
    fn not_at_all(&self, prepared: &Prepared) -> Option<Report> {
        let unsafe_names = prepared.unsafe_names();
        if unsafe_names.is_empty() {
            return self.refused(prepared);
        }
        let mut report = Self::report(prepared, &Outcome::default(), &Statuses::default());
        report.findings.extend(unsafe_names);
        Some(report)
    }

    /// The report of a run whose weights are not worth fetching.
    fn broken_early(&self, prepared: &Prepared, statuses: &Statuses, broken: Vec<Finding>) -> Report {
        let mut report = Self::report(prepared, &Outcome::default(), statuses);
        report.findings.extend(broken);
        self.config.policy.judge(&mut report.findings);
        let hint = "no weights were fetched; --only or --include can take other files of the repo";
        if let Some(last) = report.findings.last_mut() {
            last.hint.get_or_insert_with(|| hint.into());
        }
        report
    }

    /// The report of a run that the policy forbids before anything is fetched.
    fn refused(&self, prepared: &Prepared) -> Option<Report> {
        let mut report = Self::report(prepared, &Outcome::default(), &Statuses::default());
        report.findings.extend(self.denied_code(&prepared.selection));
        self.config.policy.judge(&mut report.findings);
        if report.is_verified() {
            return None;
        }
        for finding in report.findings.iter_mut().filter(|f| self.config.policy.denies(f.code)) {
            finding.hint = Some("nothing was fetched: --deny forbids it".into());
        }
        Some(report)
    }

    /// The repo's own code, where it is denied: to bring code is nothing wrong otherwise.
    fn denied_code(&self, selection: &select::Selection) -> Vec<Finding> {
        let denied = self.config.policy.denies(Code::RemoteCode);
        let code = selection.files.iter().filter(|f| denied && f.purpose == Purpose::Code);
        code.map(|f| Finding::new(Code::RemoteCode, &f.path, "it is code that loaders of this repo run")).collect()
    }

    /// Hashes what is here and was never checked; what proves wrong is discarded and planned anew.
    async fn check_present(&self, prepared: &mut Prepared, statuses: &mut Statuses) -> Result<u64, Error> {
        if self.config.fetch.force && !self.config.offline {
            for item in &mut prepared.plan.items {
                item.presence = Presence::Absent;
            }
            return Ok(0);
        }
        let commit = prepared.listing.info.commit;
        let mut subject = Subject::default();
        for item in prepared.plan.items.iter().filter(|i| i.presence == Presence::Unverified) {
            subject.files.push(SubjectFile {
                path: item.entry.path.clone(),
                content: prepared.store.content_path(&commit, &item.entry).into(),
                size: Some(item.entry.size),
                digest: Some(item.entry.digest()),
                digest_checked: false,
                purpose: item.purpose,
            });
        }
        let outcome = if subject.files.is_empty() { Outcome::default() } else { self.verify_subject(subject).await };
        let wrong = paths_of(&outcome.findings);
        let offline = self.config.offline;
        for item in &mut prepared.plan.items {
            let entry = item.entry.clone();
            match item.presence {
                Presence::Unverified if wrong.contains(entry.path.as_str()) => {
                    // Offline it cannot be had again: it stays, and is reported.
                    if !offline {
                        self.blocking(&prepared.store, move |store| store.discard(&commit, &entry)).await?;
                    }
                    item.presence = Presence::Absent;
                }
                Presence::Unverified => {
                    statuses.checked.insert(entry.path.clone());
                    item.presence = Presence::Verified;
                }
                _ => {}
            }
        }
        let here: Vec<Entry> =
            prepared.plan.items.iter().filter(|i| i.presence == Presence::Verified).map(|i| i.entry.clone()).collect();
        let adopt = move |store: &Store| {
            here.iter().try_for_each(|entry| store.adopt(&commit, entry, store.seen_stamp(&commit, entry)).map(|_| ()))
        };
        self.blocking(&prepared.store, adopt).await?;
        Ok(outcome.bytes_hashed)
    }

    fn check_space(prepared: &Prepared) -> Result<(), Error> {
        let needed = prepared.plan.missing_bytes();
        match prepared.plan.free_space {
            Some(free) if free < needed => {
                Err(Error::NoSpace { needed, free, place: prepared.store.snapshot_dir(&prepared.listing.info.commit) })
            }
            _ => Ok(()),
        }
    }

    async fn fetch_missing(&self, prepared: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        let missing: Vec<&Entry> =
            prepared.plan.items.iter().filter(|i| i.presence != Presence::Verified).map(|i| &i.entry).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        self.progress.event(Event::Planned(&prepared.plan));
        let report =
            fetch(&self.hubs, &prepared.store, &prepared.listing.info, &missing, self.config.fetch, &self.progress)
                .await?;
        statuses.fetched.extend(report.done);
        statuses.over_xet += report.over_xet;
        Ok(report.failed)
    }

    /// Reads headers and compares them with the index, unless an earlier run did so for the very
    /// same bytes.
    async fn check_contents(&self, prepared: &Prepared, failed: &[Finding]) -> Result<(Outcome, bool), Error> {
        let key = self.contents_key(prepared);
        let here = |item: &crate::plan::Item| item.presence == Presence::Verified;
        let all_here = prepared.plan.items.iter().all(here);
        if failed.is_empty() && all_here {
            let key = key.clone();
            let known = self.blocking(&prepared.store, move |store| Ok(store.checked_contents(&key))).await?;
            if let Some(outcome) = known {
                return Ok((outcome, true));
            }
        }
        let commit = prepared.listing.info.commit;
        let files = prepared.plan.items.iter().map(|item| SubjectFile {
            path: item.entry.path.clone(),
            content: prepared.store.content_path(&commit, &item.entry).into(),
            size: Some(item.entry.size),
            digest: Some(item.entry.digest()),
            digest_checked: true,
            purpose: item.purpose,
        });
        // A file that failed to arrive has its finding; that it is "missing" too helps nobody.
        let known = paths_of(failed);
        let unavailable =
            prepared.plan.items.iter().map(|i| i.entry.path.clone()).filter(|p| known.contains(p.as_str())).collect();
        let subject = Subject {
            files: files.filter(|f| !known.contains(f.path.as_str())).collect(),
            unavailable,
            weights: prepared.selection.weights.clone(),
            allow_unsafe_pickle: self.config.allow_unsafe_pickle,
            deep: self.config.deep,
        };
        let outcome = self.verify_subject(subject).await;
        if failed.is_empty() && outcome.digests == prepared.plan.items.len() {
            let remembered = outcome.clone();
            self.blocking(&prepared.store, move |store| {
                store.remember_contents(&key, &remembered);
                Ok(())
            })
            .await?;
        }
        Ok((outcome, false))
    }

    async fn verify_subject(&self, subject: Subject) -> Outcome {
        let (threads, progress) = (self.config.threads, Arc::clone(&self.progress));
        // The checks return errors as findings; a panic in them is a bug and goes on as one.
        match tokio::task::spawn_blocking(move || verify::verify(&subject, threads, &*progress)).await {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Stands for everything that the check of contents depends on.
    fn contents_key(&self, prepared: &Prepared) -> String {
        let mut hasher = sha2::Sha256::new();
        hasher.update(format!("{} {} {}\n", verify::RULES_VERSION, self.config.allow_unsafe_pickle, self.config.deep));
        for set in &prepared.selection.weights {
            hasher.update(format!("{set:?}\n"));
        }
        for item in &prepared.plan.items {
            hasher.update(format!("{:?} {:?} {:?}\n", item.entry.path, item.entry.digest(), item.purpose));
        }
        Sha256(hasher.finalize().into()).to_string()
    }

    /// Runs disk work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        store: &Arc<Store>,
        work: impl FnOnce(&Store) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(store);
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(done) => Ok(done?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
