//! The whole job in one call: resolve, list, select, plan, fetch, verify. It connects the rooms,
//! and prints nothing.

pub(crate) mod cache_check;
pub(crate) mod cached;
mod choosing;
pub(crate) mod compare;
mod config;
mod destination;
mod digests;
mod documents;
mod early;
mod error;
pub(crate) mod fleet;
pub(crate) mod folder;
mod here;
pub(crate) mod inspect;
mod keeping;
mod local;
mod locked;
mod nearby;
#[cfg_attr(not(feature = "object-store"), path = "object_store/absent.rs")]
mod object_store;
mod oci;
mod outcome;
mod places;
mod prepare;
mod resolve;
mod sending;
mod signed;

use crate::model::{Options, Purpose};
use std::sync::Arc;
use std::time::Instant;

use sha2::Digest as _;

pub use crate::object_store::{ObjectError, ObjectUrlError, StoreConfig};
pub use crate::oci::{OciConfig, OciError, OciLayout};
pub use crate::plan::{Item, Plan};
pub use crate::signature::{Trust, TrustError};
pub use crate::source::SourceConfig;
pub use crate::store::StoreError;
pub use crate::transfer::{FetchError, FetchOptions};
pub use config::{Config, DestinationConfig, OciTarget};
pub use error::Error;
pub use prepare::Prepared;

use outcome::Statuses;

use crate::finding::{Code, Evidence, Finding, Origin, Outcome, Remedy, Severity};
use crate::hub::Hub;
use crate::model::{RepoId, RepoSpec, RepoType, Sha256};
use crate::progress::Progress;
use crate::report::Report;
use crate::select;
use crate::source::Source;
use crate::store::Store;
use crate::transfer::Threads;
use crate::verify::{self, Subject};

/// One or more jobs with the same configuration and connections.
pub struct Session {
    /// The endpoint that lists, then its mirrors. Never empty.
    sources: Vec<Arc<dyn Source>>,
    config: Config,
    progress: Arc<dyn Progress>,
    /// The object store that is the destination, if it is one.
    objects: Option<Arc<crate::object_store::Objects>>,
    /// The same, of a registry or an image layout.
    oci: Option<Arc<dyn crate::oci::Content>>,
    /// On which bytes are received and written, if the destination is a folder.
    threads: Threads,
}

impl Session {
    /// Makes no request yet.
    pub fn new(config: Config, progress: Arc<dyn Progress>) -> Result<Self, Error> {
        let configs = std::iter::once(&config.source).chain(&config.mirrors);
        let sources = configs.map(open).collect::<Result<Vec<_>, Error>>()?;
        Self::over(sources, config, progress)
    }

    /// A session with sources that are open already.
    #[cfg_attr(not(feature = "object-store"), allow(unreachable_code))] // no store can exist
    fn over(sources: Vec<Arc<dyn Source>>, config: Config, progress: Arc<dyn Progress>) -> Result<Self, Error> {
        let objects = match &config.destination {
            DestinationConfig::Objects(store) => Some(Arc::new(crate::object_store::Objects::open(store)?)),
            _ => None,
        };
        let oci = match &config.destination {
            DestinationConfig::Oci(target) => Some(crate::oci::open(&target.content, &registry_http(&config))?),
            _ => None,
        };
        Ok(Session { sources, config, progress, objects, oci, threads: Threads::default() })
    }

    /// The folder of a repo, if the destination is a folder.
    fn store(&self, repo_type: RepoType, id: &RepoId) -> Option<Arc<Store>> {
        Some(Arc::new(match &self.config.destination {
            DestinationConfig::Cache { root, symlinks } => Store::hub_cache(root, repo_type, id, *symlinks),
            DestinationConfig::LocalDir(dir) => Store::local_dir_of(dir, repo_type, id),
            DestinationConfig::Nowhere | DestinationConfig::Objects(_) | DestinationConfig::Oci(_) => return None,
        }))
    }

    /// The plan of [`Session::get`]. Fetches only the small files that selection reads, and keeps
    /// none of them.
    pub async fn plan(&self, spec: &RepoSpec, options: &Options) -> Result<Prepared, Error> {
        let prepared = self.prepare(spec, options, false).await?;
        self.planned(prepared).await
    }

    /// The plan, with the policy applied to its findings.
    fn judged(&self, mut prepared: Prepared) -> Prepared {
        let code = self.denied_code(&prepared.selection);
        prepared.selection.findings.extend(code);
        self.config.policy.judge(&mut prepared.selection.findings);
        prepared
    }

    /// Does the whole job: fetches the missing files, verifies all files, and moves the revision's
    /// ref if nothing is wrong.
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
        match self.get_by(spec, options, started, false).await {
            // The kept listing may be wrong, so the endpoint is asked once before its bytes count as wrong.
            Ok((report, Origin::KeptListing)) if !self.config.offline && disagrees(&report) => {
                if let (Some(commit), Some(store)) = (report.commit, self.store(spec.repo_type, &spec.id)) {
                    let endpoint = self.endpoint();
                    self.blocking(&store, move |store| store.forget_listing(&commit, &endpoint)).await?;
                }
            }
            Err(Error::Document { .. }) if !self.config.offline => {}
            ended => return ended.map(|(report, _)| report),
        }
        self.get_by(spec, options, started, true).await.map(|(report, _)| report)
    }

    /// [`Session::get`] with the kept listing, or with a new one.
    async fn get_by(
        &self,
        spec: &RepoSpec,
        options: &Options,
        started: Instant,
        anew: bool,
    ) -> Result<(Report, Origin), Error> {
        let prepared = self.prepare_to_get(spec, options, anew).await?;
        prepared.not_empty()?;
        let origin = prepared.origin;
        Ok((self.deliver(prepared, options, started, self.lists_all()).await?, origin))
    }

    /// The server that lists.
    fn source(&self) -> &dyn Source {
        // `new` always puts a source there.
        &*self.sources[0]
    }

    /// Whether the endpoint lists all files of the repo. An object store lists only the uploaded files.
    fn lists_all(&self) -> bool {
        self.source().lists_all()
    }

    /// The endpoint whose listings are kept and used.
    fn endpoint(&self) -> String {
        self.source().endpoint()
    }

    /// The report of a run that must not fetch anything, because of unsafe names or of the policy.
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
        if let Some(last) = draft.findings.last_mut() {
            last.remedy.get_or_insert(Remedy::TakeOtherFiles);
        }
        draft.conclude(&self.config.policy)
    }

    /// The report of a run that the policy stops before anything is fetched.
    fn refused(&self, prepared: &Prepared) -> Option<Report> {
        let mut draft = Self::report(prepared, &Outcome::default(), &Statuses::recorded(prepared));
        draft.findings.extend(self.denied_code(&prepared.selection));
        self.config.policy.judge(&mut draft.findings);
        if draft.findings.iter().all(|finding| finding.severity < Severity::Error) {
            return None;
        }
        for finding in draft.findings.iter_mut().filter(|f| self.config.policy.denies(f.code)) {
            finding.remedy = Some(match finding.code {
                Code::RemoteCode => Remedy::LeaveOutCode { fetched: false },
                _ => Remedy::AllowDenied,
            });
        }
        Some(draft.conclude(&self.config.policy))
    }

    /// Findings about the code that a selection brings, if the policy denies it. Otherwise code is not a problem.
    fn denied_code(&self, selection: &select::Selection) -> Vec<Finding> {
        if !self.config.policy.denies(Code::RemoteCode) {
            return Vec::new();
        }
        let why = |file: &select::Selected| match file.purpose {
            Purpose::Code => Some("it is code that loaders of this repo run"),
            // Selection did not check files that the user named, or that `--all` takes: loaders may run them or not.
            _ if file.is_python() => Some("it is Python code, which loaders of this repo may run"),
            _ => None,
        };
        let found = selection.files.iter().filter_map(|file| Some((file, why(file)?)));
        found
            .map(|(file, why)| {
                Finding::new(Code::RemoteCode, &file.path, why).remedy(Remedy::LeaveOutCode { fetched: true })
            })
            .collect()
    }

    async fn verify_subject(&self, subject: Subject) -> Outcome {
        let (threads, progress) = (self.config.threads, Arc::clone(&self.progress));
        // The checks return errors as findings; a panic in them is a bug and goes on as one.
        match tokio::task::spawn_blocking(move || verify::verify(&subject, threads, &*progress)).await {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Checks files on this machine's disk. If the disk does not let us read a file, nothing is known about it: that is
    /// an error, unless another file is wrong.
    async fn verify_here(&self, subject: Subject, wrong_already: bool) -> Result<Outcome, Error> {
        let unread = subject.unread.clone();
        let outcome = self.verify_subject(subject).await;
        let wrong = wrong_already || outcome.proofs.iter().any(|proof| proof.evidence == Evidence::Wrong);
        match unread.take().filter(|_| !wrong) {
            Some((path, source)) => Err(StoreError::Io { action: "read", path, source }.into()),
            None => Ok(outcome),
        }
    }

    /// A key that identifies all inputs of the check of contents.
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

/// The source that a configuration names. Makes no request.
fn open(config: &SourceConfig) -> Result<Arc<dyn Source>, Error> {
    Ok(match config {
        SourceConfig::Hub(hub) => Arc::new(Hub::new((**hub).clone())),
        SourceConfig::Store { store, .. } => crate::source::open_store(store, config.timing())?,
        SourceConfig::Oci { content, others } => crate::source::open_oci(content, others)?,
    })
}

/// How to reach registries other than the source: like a Hub, without its token. They have a patience of their own:
/// bytes from the Hub do not mean that a registry accepts bytes.
fn registry_http(config: &Config) -> crate::hub::HubConfig {
    let hub = config.source.reached().clone();
    let timing = crate::hub::Timing { patience: Arc::default(), ..hub.timing };
    crate::hub::HubConfig { token: None, withheld: None, timing, ..hub }
}

/// Whether bytes differed from the listing.
fn disagrees(report: &Report) -> bool {
    report.findings.iter().any(|finding| matches!(finding.code, Code::SizeMismatch | Code::ChecksumMismatch))
}
