//! Re-checking what is already on disk: a cached snapshot or a folder, against the Hub or offline.

use crate::model::Options;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::folder::{Folder, noted_commit, only};
use super::outcome::{one_cause_one_finding, paths_of};
use super::{Destination, Error, Session};
use crate::finding::{Code, Finding, Outcome, Severity};
use crate::model::{CommitId, Entry, Listing, Purpose, RepoId, RepoInfo, RepoPath, RepoSpec, RepoType, Revision};
use crate::report::{FileReport, FileStatus, Report, Totals, WeightsReport};
use crate::select::{Documents, SelectError, Selection, Step, select};
use crate::store::{Store, locate_snapshot};
use crate::verify::{Subject, SubjectFile};

impl Session {
    /// Re-checks the cached snapshot (or local dir) of a repo. With a Hub at hand the listing is
    /// the Hub's; offline it is what was kept, or what the cache's own names say.
    pub async fn verify_repo(&self, spec: &RepoSpec, options: &Options) -> Result<Report, Error> {
        let revision = spec.revision.clone().unwrap_or_default();
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            return self.verify_shelved(objects, spec, &revision).await;
        }
        let store = self.store(spec.repo_type, &spec.id);
        let (wanted, place) = (revision.clone(), self.config.destination.clone());
        let local = self.blocking(&store, move |store| Ok(snapshot_here(store, &place, &wanted))).await?;
        let Some((root, local)) = local? else {
            return Err(self.not_cached(spec));
        };
        let listing = if self.config.offline {
            None
        } else {
            let pinned = match local {
                Some(commit) => RepoSpec { revision: commit.to_string().parse().ok(), ..spec.clone() },
                None => spec.clone(),
            };
            Some(self.list(&pinned, &store).await?)
        };
        self.verify_folder(&root, store, local, listing, Some(spec), options).await
    }

    /// Re-checks a folder: a cache's snapshot, a local dir, or any other.
    pub async fn verify_dir(&self, dir: &Path, options: &Options) -> Result<Report, Error> {
        let store = Arc::new(Store::local_dir(dir));
        let place = dir.to_path_buf();
        let at = self.blocking(&store, move |_| Ok(locate_snapshot(&place))).await?;
        if let Some((root, repo_type, id, commit)) = at {
            let store = Arc::new(Store::hub_cache(&root, repo_type, &id, true));
            let spec =
                RepoSpec { repo_type, id, revision: commit.to_string().parse().ok(), path: None, endpoint: None };
            let listing = if self.config.offline { None } else { Some(self.list(&spec, &store).await?) };
            return self.verify_folder(dir, store, Some(commit), listing, Some(&spec), options).await;
        }
        let place = dir.to_path_buf();
        let commit = self.blocking(&store, move |store| Ok(noted_commit(store, &place))).await??;
        self.verify_folder(dir, store, commit, None, None, options).await
    }

    pub(super) async fn verify_folder(
        &self,
        root: &Path,
        store: Arc<Store>,
        commit: Option<CommitId>,
        listing: Option<Listing>,
        spec: Option<&RepoSpec>,
        options: &Options,
    ) -> Result<Report, Error> {
        let started = Instant::now();
        let place = root.to_path_buf();
        let noted = commit.unwrap_or(CommitId::ZERO);
        let read = move |store: &Store| {
            let folder = Folder::read(&place, &|path| store.noted_digest(&noted, path));
            Ok((folder, commit.and_then(|commit| store.read_listing_offline(&commit))))
        };
        let (folder, kept) = self.blocking(&store, read).await?;
        let folder = folder?;
        let trusted = listing.is_some() || kept.is_some();
        let listing = listing.unwrap_or_else(|| {
            Listing::new(offline_info(spec, noted), kept.unwrap_or_else(|| folder.entries()), Vec::new())
        });
        let options = options.clone();
        let choose = move |_: &Store| {
            let selection = choose(&listing, &folder, options, trusted);
            Ok((selection, listing, folder))
        };
        let (selection, listing, folder) = self.blocking(&store, choose).await?;
        let selection = selection?;
        let mut findings = selection.findings.clone();
        findings.extend(folder.odd_names());
        // The selection, then whatever else is here: all of it must be right.
        let mut subject = Subject {
            weights: selection.weights.clone(),
            allow_unsafe_pickle: self.config.allow_unsafe_pickle,
            deep: self.config.deep,
            ..Subject::default()
        };
        let file = |path: &RepoPath, purpose| {
            let listed = if trusted { listing.get(path.as_str()) } else { None };
            let found = folder.find(path);
            SubjectFile {
                path: path.clone(),
                content: path.under(root).into(),
                // A git blob's digest needs its size even when no listing gives it.
                size: listed.map(|entry| entry.size).or(found.map(|found| found.size)),
                digest: listed.map(Entry::digest).or(found.and_then(|found| found.digest)),
                digest_checked: false,
                purpose,
            }
        };
        subject.files.extend(selection.files.iter().map(|f| file(&f.path, f.purpose)));
        let selected: BTreeSet<&RepoPath> = selection.files.iter().map(|f| &f.path).collect();
        for path in folder.files.iter().map(|found| &found.path).filter(|path| !selected.contains(path)) {
            if trusted && listing.get(path.as_str()).is_none() {
                findings.push(Finding::new(Code::FileExtra, path, "it is not in the repo at this commit"));
            } else {
                subject.files.push(file(path, Purpose::Other));
            }
        }
        let files = subject.files.clone();
        if let (true, Some(commit)) = (trusted, commit) {
            let entries: Vec<Entry> = files.iter().filter_map(|f| listing.get(f.path.as_str()).cloned()).collect();
            // What the files look like before they are hashed is what the hash is for.
            let look = move |store: &Store| entries.iter().try_for_each(|e| store.presence(&commit, e).map(|_| ()));
            let _ = self.blocking(&store, look).await;
        }
        let outcome = self.verify_subject(subject).await;
        if let (true, Some(commit)) = (outcome.findings.iter().all(|f| f.severity != Severity::Error), commit) {
            let good: Vec<Entry> = files
                .iter()
                .filter(|f| f.digest.is_some())
                .filter_map(|f| listing.get(f.path.as_str()).cloned())
                .filter(|_| trusted)
                .collect();
            // A courtesy to the next run; a read-only cache cannot keep it.
            let _ = self
                .blocking(&store, move |store| {
                    good.iter().try_for_each(|e| store.adopt(&commit, e, store.seen_stamp(&commit, e)).map(|_| ()))
                })
                .await;
        }
        findings.extend(self.denied_code(&selection));
        let mut report = folder_report(root, commit, spec, &selection, &files, &outcome, findings);
        self.config.policy.judge(&mut report.findings);
        report.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }
}

/// The report on files that were only looked at.
pub(super) fn folder_report(
    root: &Path,
    commit: Option<CommitId>,
    spec: Option<&RepoSpec>,
    selection: &Selection,
    files: &[SubjectFile],
    outcome: &Outcome,
    mut findings: Vec<Finding>,
) -> Report {
    findings.extend(outcome.findings.iter().cloned());
    one_cause_one_finding(&mut findings);
    if let Some(spec) = spec {
        let fetchable = |f: &&mut Finding| {
            matches!(f.code, Code::SizeMismatch | Code::ChecksumMismatch | Code::FileMissing | Code::LfsPointer)
        };
        if let Some(last) = findings.iter_mut().rfind(fetchable) {
            last.hint.get_or_insert_with(|| {
                format!("`hfget {}` fetches what is wrong or missing again", spec.repo_type.qualify(&spec.id))
            });
        }
    }
    let failed = paths_of(findings.iter().filter(|f| f.severity == Severity::Error));
    let files: Vec<FileReport> = files
        .iter()
        .map(|f| FileReport {
            path: f.path.clone(),
            size: f.size.unwrap_or(0),
            digest: f.digest,
            purpose: f.purpose,
            status: match f.digest {
                _ if failed.contains(f.path.as_str()) => FileStatus::Failed,
                Some(_) => FileStatus::Checked,
                None => FileStatus::Unchecked,
            },
        })
        .collect();
    Report {
        repo: spec.map(|s| (s.repo_type, s.id.clone())),
        revision: spec.and_then(|s| s.revision.clone()),
        commit,
        path: root.to_path_buf(),
        weights: selection.weights.iter().map(WeightsReport::from).collect(),
        totals: Totals {
            files: files.len(),
            bytes: files.iter().fold(0, |sum, f| sum.saturating_add(f.size)),
            bytes_fetched: 0,
            bytes_over_xet: 0,
            bytes_hashed: outcome.bytes_hashed,
            digests: outcome.digests,
            tensors: outcome.tensors,
            indexed: outcome.indexed,
            parameters: outcome.parameters,
            milliseconds: 0,
        },
        files,
        findings,
        already_verified: false,
    }
}

/// Where a repo's files are, and the commit that is known of them: a folder may be another's. `None` when they are not here.
/// Blocks.
fn snapshot_here(
    store: &Store,
    place: &Destination,
    revision: &Revision,
) -> Result<Option<(PathBuf, Option<CommitId>)>, Error> {
    let commit = match place {
        Destination::LocalDir(dir) => noted_commit(store, dir)?,
        Destination::Cache { .. } => match store.read_ref(revision).or_else(|| only(&store.snapshots())) {
            None => return Ok(None),
            here => here,
        },
        #[cfg(feature = "object-store")]
        Destination::Objects(_) => return Ok(None),
    };
    let root = store.snapshot_dir(&commit.unwrap_or(CommitId::ZERO));
    Ok(root.is_dir().then_some((root, commit)))
}

/// What must be here. With a listing: the selection that the flags describe, of the family that is
/// here. Without one: every complete set of weights among the files. Blocks.
fn choose(listing: &Listing, folder: &Folder, mut options: Options, trusted: bool) -> Result<Selection, SelectError> {
    if !trusted {
        options.all = true;
    } else if options.prefer.is_none() && options.only.is_none() && !options.all {
        options.prefer = folder.family();
    }
    let mut documents = Documents::new();
    loop {
        match select(listing, &options, &documents)? {
            Step::Done(selection) => return Ok(*selection),
            Step::Need(paths) => {
                documents.extend(paths.into_iter().map(|path| {
                    let content = folder.document(&path);
                    (path, content)
                }));
            }
        }
    }
}

fn offline_info(spec: Option<&RepoSpec>, commit: CommitId) -> RepoInfo {
    match spec.cloned() {
        Some(spec) => RepoInfo::new(spec.repo_type, spec.id, spec.revision.unwrap_or_default(), commit),
        None => RepoInfo::new(RepoType::Model, RepoId::unnamed(), Revision::default(), commit),
    }
}
