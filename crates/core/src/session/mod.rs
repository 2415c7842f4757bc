//! The whole job in one call: resolve, list, select, plan, fetch, verify. Wires the rooms together;
//! prints nothing.

mod cached;
mod compare;
mod config;
mod documents;
mod early;
mod error;
mod folder;
mod here;
mod inspect;
mod keeping;
mod local;
mod locked;
mod nearby;
#[cfg(feature = "object-store")]
mod objects;
mod outcome;
mod prepare;
mod present;
mod resolve;
mod source;

use crate::model::{Options, Purpose};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use sha2::Digest as _;

pub use cached::{Cached, cached, cached_variants};
pub use compare::{CompareConfig, Comparison};
pub use config::{Config, Destination};
pub use error::Error;
pub use folder::names_folder;
pub use inspect::{Inspected, inspect_path};
pub use prepare::Prepared;

use outcome::{Statuses, paths_of};

use crate::fetch::fetch;
use crate::finding::{Code, Evidence, Finding, Origin, Outcome, Proof, Severity};
use crate::hub::Hub;
use crate::model::{Entry, Presence, RepoId, RepoSpec, RepoType, Sha256};
use crate::progress::{Event, Progress};
use crate::report::Report;
use crate::select;
use crate::store::Store;
use crate::verify::{self, Subject};

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
        let prepared = self.prepare(spec, options, false).await?;
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
        if self.config.prefer_offline
            && let Some(report) = self.get_here(spec, options).await
        {
            return Ok(report);
        }
        match self.get_there(spec, options).await {
            Err(Error::Hub(error)) if error.is_outage() => Err(self.away(error, spec, options).await),
            ended => ended,
        }
    }

    async fn get_there(&self, spec: &RepoSpec, options: &Options) -> Result<Report, Error> {
        let started = Instant::now();
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            let prepared = self.prepare(spec, options, false).await?;
            prepared.not_empty()?;
            return self.put(objects, prepared, options, started).await;
        }
        match self.get_by(spec, options, started, false).await {
            // What was kept may be wrong itself: the endpoint is asked once before it is blamed.
            Ok((report, Origin::KeptListing)) if !self.config.offline && disagrees(&report) => {
                if let Some(commit) = report.commit {
                    let (store, endpoint) = (self.store(spec.repo_type, &spec.id), self.endpoint());
                    self.blocking(&store, move |store| store.forget_listing(&commit, &endpoint)).await?;
                }
            }
            Err(Error::Document { .. }) if !self.config.offline => {}
            ended => return ended.map(|(report, _)| report),
        }
        self.get_by(spec, options, started, true).await.map(|(report, _)| report)
    }

    /// [`Session::get`] by the listing that is kept, or by one that is asked for anew.
    async fn get_by(
        &self,
        spec: &RepoSpec,
        options: &Options,
        started: Instant,
        anew: bool,
    ) -> Result<(Report, Origin), Error> {
        let prepared = self.prepare(spec, options, anew).await?;
        prepared.not_empty()?;
        let origin = prepared.origin;
        Ok((self.work(prepared, started, self.lists_all()).await?, origin))
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
        let mut statuses = Statuses::recorded(&prepared);
        let mut present = self.check_present(&mut prepared, &mut statuses).await?;
        let changes = self.local_changes(&mut prepared).await?;
        if !changes.is_empty() {
            return Ok(self.broken_early(&prepared, &statuses, changes));
        }
        self.adopt_present(&mut prepared, &mut statuses).await?;
        self.take_nearby(&mut prepared, &mut statuses, &mut present).await?;
        let (hashed, mut findings) = (present.bytes_hashed, present.findings);
        if !self.config.offline {
            self.check_space(&prepared).await?;
            let broken = self.check_early(&prepared).await;
            if !broken.is_empty() {
                return Ok(self.broken_early(&prepared, &statuses, broken));
            }
            findings.extend(self.fetch_missing(&mut prepared, &mut statuses).await?);
        }
        let (mut outcome, remembered) = self.check_contents(&prepared, &statuses, &findings).await?;
        outcome.bytes_hashed += hashed;
        outcome.findings.extend(findings);
        if !(remembered && statuses.nothing_done()) {
            self.settle(&prepared, &statuses, &mut outcome).await?;
        }
        let earlier = self.earlier_files(&prepared, &mut outcome).await?;
        let mut draft = Self::report(&prepared, &outcome, &statuses);
        draft.remembered = remembered;
        draft.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !earlier.is_empty() && draft.clone().conclude(&self.config.policy).is_verified() {
            draft.findings.extend(self.remove_earlier(&prepared, earlier).await?);
        }
        let report = draft.conclude(&self.config.policy);
        if report.is_verified() && !self.config.offline {
            let whole = prepared.selection.files.len() == prepared.listing.entries.len();
            self.confirm_commit(&prepared, &statuses).await?;
            let endpoint = self.endpoint();
            let names = if remembered && statuses.nothing_done() { Vec::new() } else { prepared.entries(|_| true) };
            self.blocking(&prepared.store, move |store| {
                if !names.is_empty() {
                    store.flush_names(&prepared.listing.info.commit, &names)?;
                    if prepared.whole {
                        store.mark_absent(&prepared.listing)?;
                    }
                }
                if keep {
                    store.write_listing(&prepared.listing, whole, &endpoint)?;
                }
                store.set_ref(&prepared.listing.info.revision, &prepared.listing.info.commit)
            })
            .await?;
        }
        Ok(report)
    }

    /// The endpoint whose listings are kept and believed.
    fn endpoint(&self) -> String {
        self.hubs[0].endpoint()
    }

    /// That the endpoint has the commit at all, where only a lockfile says so and nothing was fetched from it: a ref
    /// must not move to a commit that nobody has.
    async fn confirm_commit(&self, prepared: &Prepared, statuses: &Statuses) -> Result<(), Error> {
        let info = &prepared.listing.info;
        if prepared.origin != Origin::Lock || !statuses.fetched.is_empty() || info.revision.as_commit().is_some() {
            return Ok(());
        }
        let (revision, commit) = (info.revision.clone(), info.commit);
        let moves = self.blocking(&prepared.store, move |store| Ok(store.read_ref(&revision) != Some(commit))).await?;
        if moves && let Ok(pinned) = commit.to_string().parse() {
            self.hubs[0].info(info.repo_type, &info.id, &pinned, &*self.progress).await?;
        }
        Ok(())
    }

    /// Looks again at what this run hashed or fetched, at its end: what was exchanged, written or removed since is
    /// hashed once more. Order matters: this is the last look before the verdict.
    async fn settle(&self, prepared: &Prepared, statuses: &Statuses, outcome: &mut Outcome) -> Result<(), Error> {
        let (commit, entries) = (prepared.listing.info.commit, prepared.entries(|_| true));
        let changed = self.blocking(&prepared.store, move |store| store.recheck(&commit, &entries)).await?;
        let known: HashSet<String> = outcome.findings.iter().filter_map(|f| f.path.clone()).collect();
        let mut subject = Subject::default();
        for item in &prepared.plan.items {
            let path = &item.entry.path;
            if changed.contains(&item.entry) && !known.contains(path.as_str()) && statuses.seen.contains_key(path) {
                subject.files.push(prepared.subject_file(item, Evidence::Unread));
            }
        }
        if subject.files.is_empty() {
            return Ok(());
        }
        let again = self.verify_subject(subject).await;
        self.strike_wrong(prepared, &again.proofs).await;
        outcome.bytes_hashed += again.bytes_hashed;
        outcome.findings.extend(
            again
                .findings
                .into_iter()
                .map(|finding| finding.hint("another program changed it during this run; run the command again")),
        );
        for proof in again.proofs {
            outcome.proofs.retain(|old| old.path != proof.path);
            outcome.proofs.push(proof);
        }
        Ok(())
    }

    /// Takes what proved wrong from the record, so that no later run believes it. A record that cannot be written
    /// leaves the finding, which says so.
    async fn strike_wrong(&self, prepared: &Prepared, proofs: &[Proof]) {
        let commit = prepared.listing.info.commit;
        let wrong: Vec<Entry> = proofs
            .iter()
            .filter(|proof| matches!(proof.evidence, Evidence::Wrong | Evidence::Absent))
            .filter_map(|proof| prepared.listing.get(proof.path.as_str()).cloned())
            .collect();
        if !wrong.is_empty() {
            let strike = move |store: &Store| wrong.iter().try_for_each(|entry| store.strike(&commit, entry));
            let _ = self.blocking(&prepared.store, strike).await;
        }
    }

    /// The report of a run that must not fetch anything: for unsafe names, or for what the policy forbids.
    fn not_at_all(&self, prepared: &Prepared) -> Option<Report> {
        let unsafe_names = prepared.unsafe_names();
        if unsafe_names.is_empty() {
            return self.refused(prepared);
        }
        let mut draft = Self::report(prepared, &Outcome::default(), &Statuses::recorded(prepared));
        draft.findings.extend(unsafe_names);
        Some(draft.conclude(&self.config.policy))
    }

    /// The report of a run whose weights are not worth fetching.
    fn broken_early(&self, prepared: &Prepared, statuses: &Statuses, broken: Vec<Finding>) -> Report {
        let mut draft = Self::report(prepared, &Outcome::default(), statuses);
        draft.findings.extend(broken);
        let hint = "no weights were fetched; --only or --include takes other files of the repo";
        if let Some(last) = draft.findings.last_mut() {
            last.hint.get_or_insert_with(|| hint.into());
        }
        draft.conclude(&self.config.policy)
    }

    /// The report of a run that the policy forbids before anything is fetched.
    fn refused(&self, prepared: &Prepared) -> Option<Report> {
        let mut draft = Self::report(prepared, &Outcome::default(), &Statuses::recorded(prepared));
        draft.findings.extend(self.denied_code(&prepared.selection));
        self.config.policy.judge(&mut draft.findings);
        if draft.findings.iter().all(|finding| finding.severity < Severity::Error) {
            return None;
        }
        for finding in draft.findings.iter_mut().filter(|f| self.config.policy.denies(f.code)) {
            finding.hint = Some("nothing was fetched: --deny forbids it".into());
        }
        Some(draft.conclude(&self.config.policy))
    }

    /// The repo's own code, where it is denied: to bring code is nothing wrong otherwise.
    fn denied_code(&self, selection: &select::Selection) -> Vec<Finding> {
        let denied = self.config.policy.denies(Code::RemoteCode);
        let code = selection.files.iter().filter(|f| denied && f.purpose == Purpose::Code);
        code.map(|f| Finding::new(Code::RemoteCode, &f.path, "it is code that loaders of this repo run")).collect()
    }

    async fn fetch_missing(&self, prepared: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        let (missing, twins) = nearby::split_twins(&prepared.plan.items);
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let missing: Vec<&Entry> = missing.iter().collect();
        self.progress.event(Event::Planned(prepared.plan.figures()));
        let report =
            fetch(&self.hubs, &prepared.store, &prepared.listing.info, &missing, self.config.fetch, &self.progress)
                .await;
        if report.is_err() {
            // What was made for nothing is taken back: a run that was refused leaves no trace.
            self.blocking(&prepared.store, |store| {
                store.tidy();
                Ok(())
            })
            .await?;
        }
        let mut report = report?;
        statuses.arrived(std::mem::take(&mut report.done));
        statuses.over_xet += report.over_xet;
        self.place_twins(prepared, statuses, twins, &mut report.failed).await?;
        // Another process finished it while this one waited: its record says what it hashed.
        let theirs: Vec<Entry> =
            prepared.entries(|item| matches!(statuses.evidence(&item.entry.path), Evidence::Unread));
        let commit = prepared.listing.info.commit;
        let recorded = self
            .blocking(&prepared.store, move |store| {
                let known = |entry: &Entry| Ok(store.presence(&commit, entry)? == Presence::Verified);
                let known = theirs.into_iter().map(|entry| known(&entry).map(|known| known.then_some(entry)));
                Ok(known
                    .collect::<Result<Vec<_>, crate::store::StoreError>>()?
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>())
            })
            .await?;
        for entry in recorded {
            statuses.seen.insert(entry.path.clone(), (Evidence::Recorded(entry.digest()), None));
        }
        Ok(report.failed)
    }

    /// Reads headers and compares them with the index, unless an earlier run did so for the very
    /// same bytes.
    async fn check_contents(
        &self,
        prepared: &Prepared,
        statuses: &Statuses,
        failed: &[Finding],
    ) -> Result<(Outcome, bool), Error> {
        let key = self.contents_key(prepared);
        let proven =
            |item: &crate::plan::Item| statuses.evidence(&item.entry.path).digest() == Some(item.entry.digest());
        if failed.is_empty() && prepared.plan.items.iter().all(proven) {
            let key = key.clone();
            let known = self.blocking(&prepared.store, move |store| Ok(store.checked_contents(&key))).await?;
            if let Some(outcome) = known {
                return Ok((Outcome { bytes_hashed: 0, ..outcome }, true));
            }
        }
        // A file that failed to arrive has its finding; that it is "missing" too helps nobody.
        let known = paths_of(failed);
        let (lost, files): (Vec<_>, Vec<_>) =
            prepared.plan.items.iter().partition(|item| known.contains(item.entry.path.as_str()));
        let subject = Subject {
            files: files.iter().map(|i| prepared.subject_file(i, statuses.evidence(&i.entry.path))).collect(),
            unavailable: lost.iter().map(|item| item.entry.path.clone()).collect(),
            weights: prepared.selection.weights.clone(),
            allow_unsafe_pickle: self.config.allow_unsafe_pickle,
            deep: self.config.deep,
        };
        let outcome = self.verify_subject(subject).await;
        if failed.is_empty() && outcome.proven() == prepared.plan.items.len() {
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

/// Whether bytes were others than the listing says.
fn disagrees(report: &Report) -> bool {
    report.findings.iter().any(|finding| matches!(finding.code, Code::SizeMismatch | Code::ChecksumMismatch))
}
