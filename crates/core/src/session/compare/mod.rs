//! Compares a mirror with its reference: asks both for the same repo and compares the answers. Keeps
//! nothing on disk. The checks are in `metadata` and `content`.

mod asked;
mod content;
mod metadata;

use crate::model::Options;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};

use asked::Said;

use super::{Config, DestinationConfig, Error, Prepared, Session};
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::hashing::Lanes;
use crate::hub::{Ask, Hosts, Hub, HubConfig, HubError, ShownUrl};
use crate::model::{Entry, Presence, RepoInfo, RepoPath, RepoSpec};
use crate::progress::{Event, Progress};
use crate::report::{Checked, CompareReport, ComparedFile, Level};
use crate::select;

/// How to compare: start with [`CompareConfig::new`] and change the fields that must differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CompareConfig {
    /// The server that the mirror is compared with.
    pub reference: HubConfig,
    /// The mirror.
    pub mirror: HubConfig,
    /// How closely to compare.
    pub level: Level,
    /// The seed of the random ranges.
    pub seed: u64,
    /// How many files are compared at once.
    pub jobs: usize,
    /// Hosts that the mirror may redirect to, in addition to itself and to the hosts of the reference's redirects.
    pub allow_hosts: Vec<String>,
}

impl CompareConfig {
    /// Compares samples of each file, with a new random seed.
    #[must_use]
    pub fn new(reference: HubConfig, mut mirror: HubConfig) -> Self {
        // Do not wait long for a mirror: a file that it never has must not cost minutes for each repo.
        let retry = &mut mirror.timing.retry;
        retry.patience = retry.patience.min(retry.first_patience);
        // The seed has 32 bits, so that it is short enough to type again.
        let seed = fastrand::u64(..1 << 32);
        CompareConfig { reference, mirror, level: Level::default(), seed, jobs: 8, allow_hosts: Vec::new() }
    }
}

/// A reference and a mirror that are compared repo by repo.
pub struct Comparison {
    reference: Side,
    /// The mirror, with a session to read the headers of shards.
    mirror: Side,
    config: CompareConfig,
    watch: Arc<Watch>,
}

/// A server, and a session that uses it.
struct Side {
    hub: Arc<Hub>,
    session: Session,
}

/// Passes events on, and notes the waits for rate limits.
struct Watch {
    inner: Arc<dyn Progress>,
    waits: AtomicU64,
    seconds: AtomicU64,
}

impl Progress for Watch {
    fn event(&self, event: Event<'_>) {
        if let Event::RateLimited { wait, .. } = event {
            self.waits.fetch_add(1, Ordering::Relaxed);
            self.seconds.fetch_add(wait.as_secs().max(1), Ordering::Relaxed);
        }
        self.inner.event(event);
    }
}

/// One repo on both sides.
struct Pair<'a> {
    reference: &'a Hub,
    mirror: &'a Hub,
    reference_info: Arc<RepoInfo>,
    mirror_info: RepoInfo,
    /// Whether the mirror has no API and none of the Hub's own headers.
    bytes_only: bool,
    hosts: Hosts,
    config: &'a CompareConfig,
    watch: &'a Watch,
    /// The threads that hash the mirror's files.
    lanes: Arc<Lanes>,
    progress: &'a dyn Progress,
    /// Bytes that came from the mirror.
    bytes: AtomicU64,
}

impl Comparison {
    /// Makes no request yet.
    pub fn new(config: CompareConfig, progress: Arc<dyn Progress>) -> Result<Self, Error> {
        let watch = Arc::new(Watch { inner: Arc::clone(&progress), waits: 0.into(), seconds: 0.into() });
        let side = |hub: &HubConfig, progress| {
            let mut config = Config::new(hub.clone(), DestinationConfig::Nowhere);
            config.threads = 1;
            config.allow_unsafe_pickle = true;
            let hub = Arc::new(Hub::new(hub.clone()));
            Ok::<_, Error>(Side { session: Session::over(vec![hub.clone()], config, progress)?, hub })
        };
        let (reference, mirror) = (side(&config.reference, progress)?, side(&config.mirror, watch.clone())?);
        Ok(Comparison { reference, mirror, config, watch })
    }

    /// The mirror's URL, safe to print.
    pub fn mirror(&self) -> String {
        ShownUrl::from(&self.config.mirror.endpoint).to_string()
    }

    /// Compares one repo. A difference in the mirror's files is a finding; it is an error if one of
    /// the two does not answer for the repo at all.
    pub async fn compare(&self, spec: &RepoSpec, options: &Options) -> Result<CompareReport, Error> {
        let started = Instant::now();
        let (waits, seconds) = (self.watch.waits.load(Ordering::Relaxed), self.watch.seconds.load(Ordering::Relaxed));
        let prepared = match self.reference.session.plan(spec, options).await {
            // A repo without weights to choose from, such as a dataset, is compared whole.
            Err(Error::Select(select::SelectError::NothingSelectable { .. })) => {
                self.reference.session.plan(spec, &Options { all: true, ..options.clone() }).await?
            }
            other => other?,
        };
        let info = &prepared.listing.info;
        let (reference, mirror) = (&*self.reference.hub, &*self.mirror.hub);
        let entries: Vec<&Entry> = prepared.plan.items.iter().map(|i| &i.entry).collect();
        let hosts = self.hosts(info, &entries).await?;
        let said = self.ask_mirror(spec, info, &entries, &hosts).await?;
        let mut findings: Vec<Finding> = metadata::downgrade(&self.config).into_iter().collect();
        let (bytes_only, nothing) = (matches!(said, Said::BytesOnly), matches!(said, Said::Closed(_)));
        let mut mirror_commit = None;
        let (mut mirror_info, mut claims) = (info.clone(), None);
        match said {
            Said::Repo(there, listed) => {
                findings.extend(metadata::commits(info, &there));
                findings.extend(metadata::listings(&prepared.listing, &listed));
                mirror_commit = Some(there.commit);
                (mirror_info, claims) = (there, Some(listed));
            }
            Said::BytesOnly => findings.push(self.bytes_only()),
            Said::Closed(finding) => findings.push(finding),
        }
        let missing = |path: &RepoPath| match &claims {
            Some(claims) => claims.binary_search_by(|c| c.path.as_str().cmp(path.as_str())).is_err(),
            None => nothing,
        };
        let pair = Pair {
            reference,
            mirror,
            reference_info: Arc::new(info.clone()),
            hosts,
            mirror_info,
            bytes_only,
            config: &self.config,
            watch: &self.watch,
            lanes: Arc::default(),
            progress: &*self.reference.session.progress,
            bytes: 0.into(),
        };
        let work = entries.iter().filter(|e| !missing(&e.path)).map(|entry| pair.file(entry));
        let done: Vec<_> = stream::iter(work).buffer_unordered(self.config.jobs.max(1)).collect().await;
        let mut said = metadata::Said::default();
        let mut files = Vec::new();
        for one in done {
            let (file, found, heard) = one?;
            said.add(heard);
            findings.extend(found);
            files.push(file);
        }
        findings.extend(said.finding(files.len()));
        if self.config.level > Level::Metadata && !nothing {
            findings.extend(self.shards(prepared.clone_for(&pair.mirror_info), &prepared, &findings).await);
        }
        findings.extend(self.limits(waits, seconds));
        let bytes = pair.bytes.load(Ordering::Relaxed);
        for entry in entries.iter().filter(|e| missing(&e.path)) {
            let (path, size) = (entry.path.clone(), entry.size);
            files.push(ComparedFile { path, size, checked: Checked::Metadata, ranges: Vec::new(), same: false });
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        one_of_a_kind(&mut findings);
        for file in &mut files {
            let about = |f: &&Finding| f.path.as_deref() == Some(file.path.as_str());
            file.same &= !findings.iter().filter(about).any(|f| f.severity == Severity::Error);
        }
        Ok(CompareReport {
            repo_type: spec.repo_type,
            repo: spec.id.clone(),
            revision: info.revision.clone(),
            commit: info.commit,
            mirror_commit,
            endpoint: ShownUrl::from(&self.config.reference.endpoint).to_string(),
            mirror: self.mirror(),
            level: self.config.level,
            seed: self.config.seed,
            listed: prepared.listing.entries.len(),
            files,
            bytes,
            findings,
            milliseconds: crate::session::outcome::milliseconds_since(started),
        })
    }

    /// The hosts that redirects may lead to: the two servers, the hosts of the reference's own redirects, and those
    /// that the user allows.
    async fn hosts(&self, info: &RepoInfo, entries: &[&Entry]) -> Result<Hosts, Error> {
        let mut hosts = Hosts::default();
        hosts.insert_server(&self.config.reference.endpoint);
        hosts.insert_server(&self.config.mirror.endpoint);
        for host in &self.config.allow_hosts {
            hosts.insert(host);
        }
        // One file of each kind of storage is enough.
        let kind = |entry: &Entry| (entry.lfs.is_some(), entry.xet_hash.is_some());
        let mut seen = BTreeSet::new();
        let hub = &self.reference.hub;
        for entry in entries.iter().filter(|e| seen.insert(kind(e))) {
            let answer = hub.ask(info, &entry.path, &Ask::Head, &hosts, &*self.reference.session.progress).await?;
            for host in &answer.hosts {
                hosts.insert(host);
            }
        }
        Ok(hosts)
    }

    /// Checks the headers of indexed shards and their index as the mirror serves them.
    async fn shards(&self, mut there: Prepared, here: &Prepared, findings: &[Finding]) -> Vec<Finding> {
        let wrong = |path: &RepoPath| {
            findings.iter().any(|f| f.severity == Severity::Error && f.path.as_deref() == Some(path.as_str()))
        };
        // Sets with a wrong file are not read again.
        there.selection.weights.retain(|set| !set.files.iter().chain(&set.index).any(wrong));
        let mut found = self.mirror.session.check_deep(&there).await;
        if !found.is_empty() {
            // A problem that the reference has too is not the mirror's fault.
            let own = self.reference.session.check_deep(here).await;
            found.retain(|f| !own.contains(f));
        }
        found
    }

    fn limits(&self, waits: u64, seconds: u64) -> Option<Finding> {
        let n = self.watch.waits.load(Ordering::Relaxed) - waits;
        let s = self.watch.seconds.load(Ordering::Relaxed) - seconds;
        let message = format!("the mirror asked {n} times to wait, {s} s in all");
        (n > 0).then(|| Finding::repo(Code::RateLimited, message).remedy(Remedy::AskLessAtOnce))
    }
}

impl Prepared {
    /// The same files at the mirror's commit.
    fn clone_for(&self, info: &RepoInfo) -> Prepared {
        let mut plan = self.plan.clone();
        for item in &mut plan.items {
            item.presence = Presence::Absent;
        }
        let mut listing = self.listing.clone();
        listing.info = info.clone();
        Prepared {
            listing,
            selection: self.selection.clone(),
            plan,
            store: self.store.clone(),
            origin: self.origin,
            whole: self.whole,
            early: super::documents::Early::default(),
            commits: std::collections::BTreeSet::default(),
            refused: Vec::new(),
            signatures: super::signed::Signatures::default(),
            place: self.place.clone(),
            aim: self.aim.clone(),
        }
    }
}

impl Pair<'_> {
    /// Compares everything about one file, as far as the level demands.
    async fn file(&self, entry: &Entry) -> Result<(ComparedFile, Vec<Finding>, metadata::Heard), Error> {
        let mut file = ComparedFile {
            path: entry.path.clone(),
            size: entry.size,
            checked: Checked::Metadata,
            ranges: Vec::new(),
            same: true,
        };
        let (mut findings, heard, reachable) =
            if self.bytes_only { (Vec::new(), metadata::Heard::default(), true) } else { self.head(entry).await };
        file.same = reachable && (!self.bytes_only || self.config.level > Level::Metadata);
        if reachable && self.config.level > Level::Metadata {
            let found = self.content(entry, &mut file).await?;
            findings.extend(found);
        }
        Ok((file, findings, heard))
    }

    /// The finding that follows from the mirror's error.
    fn refused(&self, entry: &Entry, error: &HubError) -> Finding {
        if let Some(finding) = asked::closed(&self.reference_info, error) {
            return finding;
        }
        let code = match error {
            HubError::RateLimited { .. } => Code::RateLimited,
            HubError::Status { status, .. } if status.as_u16() == 429 => Code::RateLimited,
            HubError::EntryNotFound { .. } | HubError::RepoNotFound { .. } | HubError::RevisionNotFound { .. } => {
                Code::FileMissing
            }
            HubError::Gated { .. }
            | HubError::Disabled { .. }
            | HubError::BadToken { .. }
            | HubError::LinkRefused { .. }
            | HubError::Forbidden { .. } => Code::AccessDenied,
            HubError::WebPage { .. } => Code::HtmlInsteadOfBytes,
            HubError::CutShort { .. } | HubError::WrongLength { .. } => Code::SizeMismatch,
            HubError::RedirectRefused { .. } => Code::RedirectForeign,
            _ => Code::MirrorUnavailable,
        };
        Finding::new(code, &entry.path, error.brief()).severity(Severity::Error)
    }
}

/// Sorts findings, and keeps the first one of each code for a file.
fn one_of_a_kind(findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    // One file has many tensors, so findings about tensors are all kept.
    let once = |f: &Finding| {
        let denied = f.code == Code::AccessDenied;
        !matches!(f.code, Code::TensorMissing | Code::TensorMisplaced | Code::TensorDuplicate)
            && (f.path.is_some() || denied)
    };
    findings.retain(|f| !once(f) || seen.insert((f.path.clone(), f.code)));
    findings.sort_by(|a, b| a.path.cmp(&b.path).then(b.severity.cmp(&a.severity)));
}
