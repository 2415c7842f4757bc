//! Re-checking what is already on disk: a cached snapshot or a folder, against the Hub or offline.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::{Destination, Error, Session};
use crate::hub::{Card, Entry, Gated, Lfs, Listing, RepoInfo};
use crate::repo::{CommitId, Digest, GitOid, RepoPath, RepoSpec, RepoType, Revision};
use crate::report::{Code, FileReport, FileStatus, Finding, Report, Severity, Totals, WeightsReport};
use crate::select::{self, Documents, Family, Purpose, Selection, Step, select};
use crate::store::{Store, locate_snapshot};
use crate::verify::{Outcome, Subject, SubjectFile};

/// Files of one folder; a folder with more is not a repo.
const FILES_LIMIT: usize = 1_000_000;
/// Small files are read whole for selection.
const DOCUMENT_LIMIT: u64 = crate::select::INDEX_LIMIT;

/// A file found on disk.
#[derive(Debug, Clone)]
struct Found {
    path: RepoPath,
    size: u64,
    digest: Option<Digest>,
}

/// Something that is not a regular name.
type Odd = (String, &'static str);

impl Session {
    /// Re-checks the cached snapshot (or local dir) of a repo. With a Hub at hand the listing is
    /// the Hub's; offline it is what was kept, or what the cache's own names say.
    pub async fn verify_repo(&self, spec: &RepoSpec, options: &select::Options) -> Result<Report, Error> {
        let revision = spec.revision.clone().unwrap_or_default();
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            return self.verify_shelved(objects, spec, &revision).await;
        }
        let store = self.store(spec.repo_type, &spec.id);
        let local = match &self.config.destination {
            Destination::LocalDir(dir) => noted_commit(&store, dir)?,
            Destination::Cache { .. } => store.read_ref(&revision).or_else(|| only(&store.snapshots())),
            #[cfg(feature = "object-store")]
            Destination::Objects(_) => None,
        };
        let not_cached = || self.not_cached(spec);
        let root = match local {
            Some(commit) => store.snapshot_dir(&commit),
            None if store.is_local_dir() => store.snapshot_dir(&zero_commit()),
            None => return Err(not_cached()),
        };
        if !root.is_dir() {
            return Err(not_cached());
        }
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
    pub async fn verify_dir(&self, dir: &Path, options: &select::Options) -> Result<Report, Error> {
        if let Some((root, repo_type, id, commit)) = locate_snapshot(dir) {
            let store = Arc::new(Store::hub_cache(&root, repo_type, &id, true));
            let spec =
                RepoSpec { repo_type, id, revision: commit.to_string().parse().ok(), path: None, endpoint: None };
            let listing = if self.config.offline { None } else { Some(self.list(&spec, &store).await?) };
            return self.verify_folder(dir, store, Some(commit), listing, Some(&spec), options).await;
        }
        let store = Arc::new(Store::local_dir(dir));
        let commit = noted_commit(&store, dir)?;
        self.verify_folder(dir, store, commit, None, None, options).await
    }

    pub(super) async fn verify_folder(
        &self,
        root: &Path,
        store: Arc<Store>,
        commit: Option<CommitId>,
        listing: Option<Listing>,
        spec: Option<&RepoSpec>,
        options: &select::Options,
    ) -> Result<Report, Error> {
        let started = Instant::now();
        let (folder, walker) = (root.to_path_buf(), Arc::clone(&store));
        let noted = commit.unwrap_or_else(zero_commit);
        let files_found =
            self.blocking(&store, move |_| Ok(walk(&folder, &|path| walker.noted_digest(&noted, path)))).await?;
        let (found, odd) = files_found.map_err(|source| Error::Folder { path: root.to_path_buf(), source })?;
        let kept = commit.and_then(|c| store.read_listing(&c));
        let trusted = listing.is_some() || kept.is_some();
        let listing = listing.unwrap_or_else(|| {
            let entries = kept.unwrap_or_else(|| found.iter().map(entry_of).collect());
            Listing::new(offline_info(spec, noted), entries, Vec::new())
        });
        let here: BTreeSet<&RepoPath> = found.iter().map(|f| &f.path).collect();
        let selection = choose(&listing, &found, root, options, trusted)?;
        let mut findings = selection.findings.clone();
        findings.extend(odd.into_iter().map(|(name, what)| Finding::new(Code::PathUnsafe, name, what)));
        // The selection, then whatever else is here: all of it must be right.
        let mut subject = Subject {
            allow_unsafe_pickle: self.config.allow_unsafe_pickle,
            deep: self.config.deep,
            ..Subject::default()
        };
        let file = |path: &RepoPath, purpose| {
            let listed = if trusted { listing.get(path.as_str()) } else { None };
            let noted = found.iter().find(|f| f.path == *path).and_then(|f| f.digest);
            SubjectFile {
                path: path.clone(),
                content: path.under(root).into(),
                size: listed.map(|e| e.size),
                digest: listed.map(Entry::digest).or(noted),
                digest_checked: false,
                purpose,
            }
        };
        subject.files.extend(selection.files.iter().map(|f| file(&f.path, f.purpose)));
        let selected: BTreeSet<&RepoPath> = selection.files.iter().map(|f| &f.path).collect();
        for path in here.iter().filter(|p| !selected.contains(**p)) {
            if trusted && listing.get(path.as_str()).is_none() {
                findings.push(Finding::new(Code::FileExtra, path, "it is not in the repo at this commit"));
            } else {
                subject.files.push(file(path, Purpose::Other));
            }
        }
        subject.weights = selection.weights.clone();
        for file in &mut subject.files {
            // A git blob's digest needs its size even when no listing gives it.
            if file.size.is_none() {
                file.size = found.iter().find(|f| f.path == file.path).map(|f| f.size);
            }
        }
        let files = subject.files.clone();
        let outcome = self.verify_subject(subject).await;
        if let (true, Some(commit)) = (outcome.findings.iter().all(|f| f.severity != Severity::Error), commit) {
            let good: Vec<Entry> = files
                .iter()
                .filter(|f| f.digest.is_some())
                .filter_map(|f| listing.get(f.path.as_str()).cloned())
                .filter(|_| trusted)
                .collect();
            // A courtesy to the next run; a read-only cache cannot keep it.
            let _ = self.blocking(&store, move |store| good.iter().try_for_each(|e| store.adopt(&commit, e))).await;
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
    super::one_cause_one_finding(&mut findings);
    if let Some(spec) = spec {
        let fetchable = |f: &&mut Finding| {
            matches!(f.code, Code::SizeMismatch | Code::ChecksumMismatch | Code::FileMissing | Code::LfsPointer)
        };
        if let Some(last) = findings.iter_mut().rfind(fetchable) {
            last.hint.get_or_insert_with(|| format!("`hfget {}` fetches what is wrong or missing again", spec.id));
        }
    }
    let failed = |path: &RepoPath| {
        findings.iter().any(|f| f.severity == Severity::Error && f.path.as_deref() == Some(path.as_str()))
    };
    let files: Vec<FileReport> = files
        .iter()
        .map(|f| FileReport {
            path: f.path.clone(),
            size: f.size.unwrap_or(0),
            digest: f.digest,
            purpose: f.purpose,
            status: match f.digest {
                _ if failed(&f.path) => FileStatus::Failed,
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

/// What must be here. With a listing: the selection that the flags describe, of the family that is
/// here. Without one: every complete set of weights among the files.
fn choose(
    listing: &Listing,
    found: &[Found],
    root: &Path,
    options: &select::Options,
    trusted: bool,
) -> Result<Selection, Error> {
    let mut options = options.clone();
    if !trusted {
        options.all = true;
    } else if options.prefer.is_none() && options.only.is_none() && !options.all {
        options.prefer = family_here(found);
    }
    let mut documents = Documents::new();
    loop {
        match select(listing, &options, &documents)? {
            Step::Done(selection) => return Ok(*selection),
            Step::Need(paths) => {
                for path in paths {
                    let size = found.iter().find(|f| f.path == path).map(|f| f.size);
                    let content = size.filter(|s| *s <= DOCUMENT_LIMIT).and_then(|_| fs::read(path.under(root)).ok());
                    documents.insert(path, content);
                }
            }
        }
    }
}

/// The selectable family with the most bytes here.
fn family_here(found: &[Found]) -> Option<Family> {
    let bytes = |ending: &str| found.iter().filter(|f| f.path.as_str().ends_with(ending)).map(|f| f.size).sum::<u64>();
    match (bytes(".safetensors"), bytes(".bin")) {
        (0, 0) => None,
        (safetensors, bin) if safetensors >= bin => Some(Family::Safetensors),
        _ => Some(Family::Bin),
    }
}

/// Every file below `root` but the bookkeeping of git, `huggingface_hub` and ourselves.
fn walk(root: &Path, noted: &dyn Fn(&RepoPath) -> Option<Digest>) -> std::io::Result<(Vec<Found>, Vec<Odd>)> {
    let mut found = Vec::new();
    let mut odd = Vec::new();
    let mut folders = vec![(root.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for item in fs::read_dir(&folder)? {
            let item = item?;
            let Ok(name) = item.file_name().into_string() else {
                odd.push((item.file_name().to_string_lossy().into_owned(), "its name is not UTF-8"));
                continue;
            };
            let text = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if matches!(text.as_str(), ".git" | ".cache/huggingface" | ".cache/hfget") {
                continue;
            }
            let kind = item.file_type()?;
            if kind.is_dir() {
                folders.push((item.path(), text));
                continue;
            }
            // A snapshot's files are symlinks into blobs/; a dangling one is a missing file.
            let Ok(meta) = fs::metadata(item.path()) else { continue };
            if meta.is_dir() {
                odd.push((text, "it is a symbolic link to a folder; it is not followed"));
                continue;
            }
            match text.parse::<RepoPath>() {
                Ok(path) => found.push(Found { size: meta.len(), digest: noted(&path), path }),
                Err(error) => odd.push((error.text, error.reason)),
            }
            if found.len() > FILES_LIMIT {
                return Err(std::io::Error::other(format!("it has more than {FILES_LIMIT} files")));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((found, odd))
}

/// The listing that a cached snapshot's own names make up: each blob's name is its digest.
pub(super) fn listing_of_snapshot(store: &Store, commit: &CommitId) -> Option<Vec<Entry>> {
    let (found, _) = walk(&store.snapshot_dir(commit), &|path| store.noted_digest(commit, path)).ok()?;
    (!found.is_empty() && found.iter().all(|f| f.digest.is_some())).then(|| found.iter().map(entry_of).collect())
}

/// As much of a listing's entry as a found file tells.
fn entry_of(found: &Found) -> Entry {
    let lfs = match found.digest {
        Some(Digest::Sha256(sha256)) => Some(Lfs { sha256, size: found.size }),
        _ => None,
    };
    let oid = match found.digest {
        Some(Digest::GitBlob(oid)) => oid,
        _ => GitOid([0; 20]),
    };
    Entry { path: found.path.clone(), size: found.size, oid, lfs, xet_hash: None }
}

/// The commit that a local dir's metadata files agree on.
fn noted_commit(store: &Store, dir: &Path) -> Result<Option<CommitId>, Error> {
    let (found, _) = walk(dir, &|_| None).map_err(|source| Error::Folder { path: dir.to_path_buf(), source })?;
    let commits: BTreeSet<CommitId> = found.iter().filter_map(|f| store.noted_commit(&f.path)).collect();
    Ok(only(&commits.into_iter().collect::<Vec<_>>()))
}

fn only(commits: &[CommitId]) -> Option<CommitId> {
    match commits {
        [commit] => Some(*commit),
        _ => None,
    }
}

/// Stands where no commit is known.
fn zero_commit() -> CommitId {
    CommitId::ZERO
}

fn offline_info(spec: Option<&RepoSpec>, commit: CommitId) -> RepoInfo {
    let unnamed = || RepoSpec {
        repo_type: RepoType::Model,
        id: crate::repo::RepoId::unnamed(),
        revision: None,
        path: None,
        endpoint: None,
    };
    let spec = spec.cloned().unwrap_or_else(unnamed);
    RepoInfo {
        repo_type: spec.repo_type,
        canonical_id: spec.id.clone(),
        id: spec.id,
        revision: spec.revision.unwrap_or_else(Revision::default),
        commit,
        private: false,
        gated: Gated::No,
        card: Card::default(),
    }
}

/// A path that names a folder rather than a repo: it says so, or there is such a folder.
pub fn names_folder(target: &str) -> Option<PathBuf> {
    let path = Path::new(target);
    let explicit = target.starts_with('/')
        || target.starts_with("./")
        || target.starts_with("../")
        || matches!(target, "." | "..");
    (explicit || path.is_dir()).then(|| path.to_path_buf())
}
