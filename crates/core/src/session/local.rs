//! Verifies files that are already on disk: a cached snapshot or a folder, with the Hub's listing or offline.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::choosing::choose;
use super::folder::{Folder, mixed_commits, noted_commit, only};
use super::outcome::{one_cause_one_finding, weights_here};
use super::prepare::Listed;
use super::signed::{Known, Signatures, candidates};
use super::{DestinationConfig, Error, Session};
use crate::finding::{Code, Evidence, Finding, Origin, Outcome, Proof, Remedy, Weights};
use crate::model::{
    CommitId, Digest, Entry, Listing, Location, Options, Purpose, RepoId, RepoInfo, RepoPath, RepoSpec, RepoType,
    Revision,
};
use crate::report::{Draft, Report, SignatureStanding, Totals};
use crate::select::Selection;
use crate::store::{Store, locate_snapshot, read_whole};
use crate::text::few;
use crate::verify::{Content, Subject, SubjectFile, recheck};

/// The facts, other than a listing, that a folder is compared with.
pub(super) struct Held<'a> {
    pub spec: Option<&'a RepoSpec>,
    pub options: &'a Options,
    /// The findings so far.
    pub found: Vec<Finding>,
}

impl<'a> Held<'a> {
    pub fn new(spec: Option<&'a RepoSpec>, options: &'a Options) -> Self {
        Held { spec, options, found: Vec::new() }
    }
}

impl Session {
    /// Verifies the cached snapshot (or local dir) of a repo. Online it asks the Hub for a new
    /// listing; offline it uses the kept listing, or the names of the cache's blobs.
    pub async fn verify_repo(&self, spec: &RepoSpec, options: &Options) -> Result<Report, Error> {
        self.verify_repo_with(spec, options, Vec::new()).await
    }

    /// The same, with the findings so far.
    pub(super) async fn verify_repo_with(
        &self,
        spec: &RepoSpec,
        options: &Options,
        found: Vec<Finding>,
    ) -> Result<Report, Error> {
        let revision = spec.revision.clone().unwrap_or_default();
        if let Some(objects) = &self.objects {
            return self.verify_stored(objects, spec, &revision).await;
        }
        let Some(store) = self.store(spec.repo_type, &spec.id) else { return Err(self.not_cached(spec)) };
        let (wanted, place) = (revision.clone(), self.config.destination.clone());
        let local = self.blocking(&store, move |store| Ok(snapshot_here(store, &place, &wanted))).await?;
        let Some((root, local)) = local? else {
            return Err(self.not_cached(spec));
        };
        let listed = if self.config.offline {
            None
        } else {
            let pinned = match local {
                Some(commit) => RepoSpec { revision: commit.to_string().parse().ok(), ..spec.clone() },
                None => spec.clone(),
            };
            Some(self.list(&pinned, Some(&store), true).await?)
        };
        self.verify_folder(&root, store, local, listed, Held { spec: Some(spec), options, found }).await
    }

    /// Verifies a folder: a cache's snapshot, a local dir, or any other. A plain folder is compared with its own
    /// records, without requests.
    pub async fn verify_dir(&self, dir: &Path, options: &Options) -> Result<Report, Error> {
        let store = Arc::new(Store::local_dir(dir));
        let place = dir.to_path_buf();
        let at = self.blocking(&store, move |_| Ok(locate_snapshot(&place))).await?;
        if let Some((root, repo_type, id, commit)) = at {
            let store = Arc::new(Store::hub_cache(&root, repo_type, &id, true));
            let spec = RepoSpec {
                repo_type,
                id,
                revision: commit.to_string().parse().ok(),
                path: None,
                tag: None,
                endpoint: None,
            };
            let listed = if self.config.offline { None } else { Some(self.list(&spec, Some(&store), true).await?) };
            return self.verify_folder(dir, store, Some(commit), listed, Held::new(Some(&spec), options)).await;
        }
        let place = dir.to_path_buf();
        let commit = self.blocking(&store, move |store| Ok(noted_commit(store, &place))).await??;
        self.verify_folder(dir, store, commit, None, Held::new(None, options)).await
    }

    pub(super) async fn verify_folder(
        &self,
        root: &Path,
        store: Arc<Store>,
        commit: Option<CommitId>,
        listed: Option<Listed>,
        held: Held<'_>,
    ) -> Result<Report, Error> {
        let Held { spec, options, found } = held;
        let started = Instant::now();
        let place = root.to_path_buf();
        let noted = commit.unwrap_or(CommitId::ZERO);
        let read = move |store: &Store| {
            let folder = Folder::read(&place, &|path| store.noted_digest(&noted, path));
            let mixed = folder.as_ref().ok().and_then(|folder| mixed_commits(store, folder));
            Ok((folder, commit.and_then(|commit| store.read_listing_offline(&commit)), mixed))
        };
        let (folder, kept, mixed) = self.blocking(&store, read).await?;
        let folder = folder?;
        let info = || offline_info(spec, noted);
        let listed = listed
            .or_else(|| kept.map(|kept| Listed::whole(Listing::new(info(), kept, Vec::new()), Origin::KeptListing)));
        let trusted = listed.is_some();
        let cached =
            spec.is_some() && commit.is_some() && matches!(self.config.destination, DestinationConfig::Cache { .. });
        let Listed { listing, origin, whole } = listed.unwrap_or_else(|| Listed {
            listing: Listing::new(info(), folder.entries(), Vec::new()),
            origin: if cached { Origin::BlobNames } else { Origin::LocalMetadata },
            whole: false,
        });
        let options = options.clone();
        let choose = move |_: &Store| Ok((choose(&listing, &folder, options, trusted), listing, folder));
        let (selection, listing, folder) = self.blocking(&store, choose).await?;
        let selection = selection?;
        let (signatures, folder) = self.signatures_here(&store, folder, &selection).await?;
        let mut findings = selection.findings.clone();
        findings.extend(found);
        findings.extend(folder.odd_names());
        findings.extend(mixed);
        // The selection, and then all other files that are here: all of them must be right.
        let mut subject = Subject {
            weights: selection.weights.clone(),
            allow_unsafe_pickle: self.config.allow_unsafe_pickle,
            deep: self.config.deep,
            ..Subject::default()
        };
        // A signature has SHA-256 alone.
        let by_xet = self.config.xet_hashes && !self.config.deep && !signatures.are_checked();
        let file = |path: &RepoPath, purpose| {
            let listed = if trusted { listing.get(path.as_str()) } else { None };
            let found = folder.find(path);
            let stated = listed.map(Entry::digest).or(found.and_then(|found| found.digest));
            // If nobody else states a digest, a trusted signature does.
            let signed = signatures.stated_of(path).map(Digest::Sha256);
            SubjectFile {
                path: path.clone(),
                content: path.under(root).into(),
                // A git blob's digest needs the size, even if no listing states it.
                size: listed.map(|entry| entry.size).or(found.map(|found| found.size)),
                digest: stated.or(signed),
                xet: listed.filter(|_| by_xet).and_then(|entry| entry.xet_hash.as_ref()?.parse().ok()),
                origin: if stated.is_none() && signed.is_some() { Origin::Signature } else { origin },
                known: Evidence::Unread,
                purpose,
            }
        };
        subject.files.extend(selection.files.iter().map(|f| file(&f.path, f.purpose)));
        let selected: BTreeSet<&RepoPath> = selection.files.iter().map(|f| &f.path).collect();
        for path in folder.files.iter().map(|found| &found.path).filter(|path| !selected.contains(path)) {
            if trusted && listing.get(path.as_str()).is_none() {
                let message = match origin {
                    Origin::Lock => "the lockfile does not name it",
                    _ => "it is not in the repo at this commit",
                };
                findings.push(Finding::new(Code::FileExtra, path, message));
            } else {
                subject.files.push(file(path, Purpose::Other));
            }
        }
        let files = subject.files.clone();
        let mut outcome = self.verify_here(subject, false).await?;
        outcome = self.look_again(&files, outcome).await;
        self.all_read(&store, &files, &outcome).await?;
        let unknown = unknown_digests(&files, root, spec);
        // If no reader understands any file, no contents were checked.
        let nothing_read = unknown.is_some() && outcome.weights_read == 0;
        findings.extend(unknown);
        if let Some(commit) = commit.filter(|_| trusted) {
            let proofs = outcome.proofs.clone();
            let listing = listing.clone();
            // A failure here is ignored: the record only saves time in the next run, and a read-only cache cannot keep
            // it.
            let note = move |store: &Store| Ok(note(store, &commit, &listing, &proofs));
            let kept = self.blocking(&store, note).await?;
            if kept.is_err() {
                for finding in outcome.findings.iter_mut().filter(|f| is_fetchable(f)) {
                    if let Some(spec) = spec {
                        let repo = spec.repo_type.qualify(&spec.id);
                        finding.remedy.get_or_insert(Remedy::FetchAgain { repo });
                    }
                }
            }
        }
        // Without a listing only the index knows a shard that is not here. The repo may have it.
        if let Some(spec) = spec.filter(|_| !trusted)
            && let Some(last) = outcome.findings.iter_mut().rfind(|finding| finding.code == Code::ShardMissing)
        {
            last.remedy.get_or_insert_with(|| Remedy::FetchWrong { repo: spec.repo_type.qualify(&spec.id) });
        }
        findings.extend(self.denied_code(&selection));
        let model = spec.is_none_or(|spec| spec.repo_type == RepoType::Model);
        let no_weights = model && !whole && !selection.named && weights_here(&selection) == Weights::Unknown;
        let mut draft = folder_draft(root.to_path_buf().into(), commit, spec, &selection, &files, &outcome, findings);
        if no_weights || nothing_read {
            draft.weights_known = Weights::Unknown;
        }
        // A folder without a listing is complete by definition.
        let all_known = if trusted { whole && origin != Origin::Lock } else { origin == Origin::LocalMetadata };
        let known = Known { listing: &listing, whole: all_known };
        let place = |path: &RepoPath| Some(path.under(root).into());
        self.check_signatures(&signatures, &known, &mut draft, place).await;
        // An accepted signature belongs to the folder, also if it is not in the repo.
        let counts = |path: &str| {
            let standing = draft.signatures.iter().find(|one| one.path.as_str() == path).map(|one| one.standing);
            matches!(standing, Some(SignatureStanding::Verified | SignatureStanding::Partial))
        };
        draft.findings.retain(|one| one.code != Code::FileExtra || !one.path.as_deref().is_some_and(counts));
        draft.totals.milliseconds = super::outcome::milliseconds_since(started);
        Ok(draft.conclude(&self.config.policy))
    }

    /// The signatures among the files of a folder.
    async fn signatures_here(
        &self,
        store: &Arc<Store>,
        folder: Folder,
        selection: &Selection,
    ) -> Result<(Signatures, Folder), Error> {
        let trusted = self.config.trusted_signers.clone();
        let there = folder.files.iter().map(|found| (&found.path, found.size));
        let paths = candidates(there, selection, !trusted.is_empty());
        let read = move |_: &Store| {
            let files = paths.into_iter().filter_map(|path| Some((path.clone(), folder.document(&path)?)));
            Ok((Signatures::among(files, &trusted), folder))
        };
        self.blocking(store, read).await
    }

    /// Returns the error of a file that could not be read, since nothing is known about it. If another file is known
    /// to be wrong, the report matters more.
    async fn all_read(&self, store: &Arc<Store>, files: &[SubjectFile], outcome: &Outcome) -> Result<(), Error> {
        if outcome.proofs.iter().any(|proof| proof.evidence == Evidence::Wrong) {
            return Ok(());
        }
        let unread = files.iter().zip(&outcome.proofs).filter(|(_, proof)| proof.evidence == Evidence::Unread);
        let unread: Vec<(PathBuf, _, u64)> = unread
            .filter_map(|(file, _)| match &file.content {
                Content::Local(path) => Some((path.clone(), file.digest?, file.size.unwrap_or(0))),
                Content::Far(_) => None,
            })
            .collect();
        self.blocking(store, move |_| unread.iter().try_for_each(|(path, like, size)| read_whole(path, *like, *size)))
            .await
    }

    /// Looks at the hashed files once more at the end, and hashes those again that were replaced meanwhile.
    async fn look_again(&self, files: &[SubjectFile], mut outcome: Outcome) -> Outcome {
        let (files, progress) = (files.to_vec(), Arc::clone(&self.progress));
        let look = move || {
            let findings = recheck(&files, &mut outcome.proofs, &*progress);
            outcome.findings.extend(findings);
            outcome
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(outcome) => outcome,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Records the files that are proven, and removes the wrong ones from the record. Blocks.
fn note(store: &Store, commit: &CommitId, listing: &Listing, proofs: &[Proof]) -> Result<(), crate::store::StoreError> {
    let mut struck = Ok(());
    for proof in proofs {
        let Some(entry) = listing.get(proof.path.as_str()) else { continue };
        match proof.evidence {
            Evidence::Wrong | Evidence::Absent => struck = struck.and(store.strike(commit, entry)),
            Evidence::Hashed(_) if proof.holds() => {
                // A failure is ignored: the record only saves time in the next run.
                let _ = store.adopt(commit, entry, proof.stamp);
            }
            _ => {}
        }
    }
    struck
}

/// The finding that nobody states the digests of some files.
fn unknown_digests(files: &[SubjectFile], root: &Path, spec: Option<&RepoSpec>) -> Option<Finding> {
    let unknown: Vec<&str> = files.iter().filter(|f| f.digest.is_none()).map(|f| f.path.as_str()).collect();
    let count = match unknown.len() {
        0 => return None,
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    };
    let message = format!("no digest is known for {count}: {}", few(&unknown, 3));
    let repo = spec.map(|spec| spec.repo_type.qualify(&spec.id));
    Some(Finding::repo(Code::DigestsUnknown, message).remedy(Remedy::VerifyFolder { repo, dir: root.to_path_buf() }))
}

/// Whether fetching the file again helps.
fn is_fetchable(finding: &Finding) -> bool {
    matches!(finding.code, Code::SizeMismatch | Code::ChecksumMismatch | Code::FileMissing | Code::LfsPointer)
}

/// The report on files that were only read, without its verdict.
pub(super) fn folder_draft(
    place: Location,
    commit: Option<CommitId>,
    spec: Option<&RepoSpec>,
    selection: &Selection,
    files: &[SubjectFile],
    outcome: &Outcome,
    mut findings: Vec<Finding>,
) -> Draft {
    findings.extend(outcome.findings.iter().cloned());
    one_cause_one_finding(&mut findings);
    if let Some(spec) = spec
        && let Some(last) = findings.iter_mut().rfind(|f| is_fetchable(f))
    {
        last.remedy.get_or_insert_with(|| Remedy::FetchWrong { repo: spec.repo_type.qualify(&spec.id) });
    }
    let files = files.iter().zip(&outcome.proofs).map(|(file, proof)| (proof.clone(), file.purpose, false));
    Draft {
        repo: spec.map(|s| (s.repo_type, s.id.clone())),
        revision: spec.and_then(|s| s.revision.clone()),
        commit,
        place,
        weights: selection.weights.clone(),
        weights_known: Weights::Here,
        partition: None,
        files: files.collect(),
        totals: Totals {
            bytes_hashed: outcome.bytes_hashed,
            tensors: outcome.tensors,
            indexed: outcome.indexed,
            parameters: outcome.parameters,
            ..Totals::default()
        },
        findings,
        remembered: false,
        left_out: Vec::new(),
        signatures: Vec::new(),
        code_repos: selection.code_repos.clone(),
    }
}

/// The place of a repo's files, and their commit if it is known: a folder may belong to another repo. `None` if they
/// are not here. Blocks.
fn snapshot_here(
    store: &Store,
    place: &DestinationConfig,
    revision: &Revision,
) -> Result<Option<(PathBuf, Option<CommitId>)>, Error> {
    let commit = match place {
        DestinationConfig::LocalDir(dir) => noted_commit(store, dir)?,
        DestinationConfig::Cache { .. } => match store.read_ref(revision).or_else(|| only(&store.snapshots())) {
            None => return Ok(None),
            here => here,
        },
        DestinationConfig::Nowhere | DestinationConfig::Objects(_) | DestinationConfig::Oci(_) => return Ok(None),
    };
    let root = store.snapshot_dir(&commit.unwrap_or(CommitId::ZERO));
    Ok(root.is_dir().then_some((root, commit)))
}

fn offline_info(spec: Option<&RepoSpec>, commit: CommitId) -> RepoInfo {
    match spec.cloned() {
        Some(spec) => RepoInfo::new(spec.repo_type, spec.id, spec.revision.unwrap_or_default(), commit),
        None => RepoInfo::new(RepoType::Model, RepoId::unnamed(), Revision::default(), commit),
    }
}
