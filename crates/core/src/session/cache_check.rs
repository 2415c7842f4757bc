//! Checks every snapshot of a cache, whichever program wrote it: the files that are here must match the listing. Wrong
//! files can be fetched again. `local` checks the files themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::folder::{Folder, listing_of_snapshot};
use super::local::Held;
use super::prepare::Listed;
use super::{Error, Session};
use crate::finding::{Again, Code, Finding, Origin, Remedy, Severity};
use crate::model::{CommitId, Listing, Options, RepoInfo, RepoPath, RepoSpec, RepoType, Revision, WeightIndex};
use crate::report::{FileStatus, Report};
use crate::store::{Store, cached_repos};

/// The most files of a model that are named one by one.
const NAMED: usize = 2000;

/// Every snapshot in the cache at `root`: its repo, with the commit as the revision. Blocks.
#[must_use]
pub fn snapshots(root: &Path) -> Vec<RepoSpec> {
    let of_repo = |(repo_type, id)| {
        let commits = Store::hub_cache(root, repo_type, &id, true).snapshots();
        commits.into_iter().filter_map(move |commit| {
            let revision = Some(commit.to_string().parse().ok()?);
            Some(RepoSpec { repo_type, id: id.clone(), revision, path: None, tag: None, endpoint: None })
        })
    };
    cached_repos(root).into_iter().flat_map(of_repo).collect()
}

/// The files of a report that a new download would repair.
fn curable(report: &Report) -> Vec<String> {
    use Code as C;
    let codes = [C::SizeMismatch, C::ChecksumMismatch, C::FileMissing, C::LfsPointer, C::ShardMissing];
    let errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let paths: BTreeSet<&str> =
        errors.filter(|finding| codes.contains(&finding.code)).filter_map(|finding| finding.path.as_deref()).collect();
    paths.into_iter().map(str::to_owned).collect()
}

#[doc(hidden)] // for the command
impl Session {
    /// Checks one snapshot of a cache, whose commit is the revision of `spec`: every file that is here, by its digest
    /// and format, and sets of weights with any file here. Files that no program put here do not count as missing.
    /// `repair`: fetch wrong files again, and check everything once more; each fetched file is a finding.
    ///
    /// # Errors
    /// If the listing is not available, or the snapshot cannot be read.
    pub async fn verify_snapshot(&self, spec: &RepoSpec, repair: bool) -> Result<Report, Error> {
        let report = self.snapshot_as_it_is(spec, Vec::new()).await?;
        match curable(&report) {
            wrong if repair && !wrong.is_empty() => {
                let found = self.fetch_again(spec, &report, wrong).await?;
                self.snapshot_as_it_is(spec, found).await
            }
            _ => Ok(report),
        }
    }

    /// [`Session::verify_repo`] with repair: wrong files are fetched again, and each fetched file is a finding.
    ///
    /// # Errors
    /// As [`Session::verify_repo`] and [`Session::get`].
    pub async fn repair_repo(&self, spec: &RepoSpec, options: &Options) -> Result<Report, Error> {
        let report = self.verify_repo(spec, options).await?;
        let wrong = curable(&report);
        if wrong.is_empty() {
            return Ok(report);
        }
        let found = self.fetch_again(spec, &report, wrong).await?;
        self.verify_repo_with(spec, options, found).await
    }

    /// Fetches the `wrong` files of a report again. Returns a finding for each file that is right now, and for each
    /// that must not be replaced.
    async fn fetch_again(&self, spec: &RepoSpec, report: &Report, wrong: Vec<String>) -> Result<Vec<Finding>, Error> {
        let revision = report.commit.and_then(|commit| commit.to_string().parse().ok());
        let spec = RepoSpec { revision: revision.or(spec.revision.clone()), ..spec.clone() };
        let include = wrong.clone();
        let got = self.get(&spec, &Options { include, ..Options::default() }).await?;
        let right = got.files.iter().filter(|file| file.status != FileStatus::Failed);
        let right = right.filter(|file| wrong.iter().any(|path| path == file.path.as_str()));
        let repaired =
            right.map(|file| Finding::new(Code::Repaired, &file.path, "it was wrong or missing, and was put right"));
        let mut found: Vec<Finding> = repaired.collect();
        if let Some(last) = found.last_mut() {
            last.remedy = Some(Remedy::RunAgain { why: Again::Repaired });
        }
        found.extend(got.findings.iter().filter(|finding| finding.code == Code::LocalChanges).cloned());
        Ok(found)
    }

    async fn snapshot_as_it_is(&self, spec: &RepoSpec, found: Vec<Finding>) -> Result<Report, Error> {
        let (Some(store), Some(commit)) =
            (self.store(spec.repo_type, &spec.id), spec.revision.as_ref().and_then(Revision::as_commit))
        else {
            return Err(self.not_cached(spec));
        };
        let listed = if self.config.offline { None } else { Some(self.list(spec, Some(&store), true).await?) };
        let (about, repo_type) = (spec.clone(), spec.repo_type);
        let listed = self.blocking(&store, move |store| Ok(what_is_here(store, &about, commit, listed))).await??;
        let options = match &listed {
            Some(listed) if repo_type == RepoType::Model && listed.listing.entries.len() <= NAMED => {
                let include = listed.listing.entries.iter().map(|entry| entry.path.as_str().to_owned()).collect();
                Options { include, ..Options::default() }
            }
            _ => Options { all: true, ..Options::default() },
        };
        let root = store.snapshot_dir(&commit);
        let held = Held { spec: Some(spec), options: &options, found };
        let mut report = self.verify_folder(&root, Arc::clone(&store), Some(commit), listed, held).await?;
        // These files were not chosen in this run, so the note that nothing else was checked is not needed.
        report.findings.retain(|finding| finding.code != Code::FilesOnly || finding.severity == Severity::Error);
        Ok(report)
    }
}

/// The listing of the files that should be here: those that are, those whose content is lost, and all shards of sets of which
/// any shard is here. `None` if nobody lists them. Blocks.
fn what_is_here(
    store: &Store,
    spec: &RepoSpec,
    commit: CommitId,
    listed: Option<Listed>,
) -> Result<Option<Listed>, Error> {
    let folder = Folder::read(&store.snapshot_dir(&commit), &|path| store.noted_digest(&commit, path))?;
    let info = || RepoInfo::new(spec.repo_type, spec.id.clone(), spec.revision.clone().unwrap_or_default(), commit);
    let kept = || {
        let kept = store.read_listing_offline(&commit).map(|entries| (entries, Origin::KeptListing));
        let (entries, origin) =
            kept.or_else(|| listing_of_snapshot(store, &commit).map(|entries| (entries, Origin::BlobNames)))?;
        Some(Listed::whole(Listing::new(info(), entries, Vec::new()), origin))
    };
    let Some(Listed { listing, origin, .. }) = listed.or_else(kept) else { return Ok(None) };
    let mut wanted: BTreeSet<RepoPath> = folder.files.iter().map(|file| file.path.clone()).collect();
    wanted.extend(folder.lost.iter().cloned());
    let indexes: Vec<RepoPath> = wanted.iter().filter(|path| path.as_str().ends_with(".index.json")).cloned().collect();
    for index in indexes {
        let Some(parsed) = folder.document(&index).and_then(|text| WeightIndex::parse(&text).ok()) else { continue };
        let shards = parsed.shards().into_iter().filter_map(|name| RepoPath::join(index.dir(), name).ok());
        let shards: Vec<RepoPath> = shards.collect();
        // A download of documents alone has the index too, and no shard is missing.
        if shards.iter().any(|shard| wanted.contains(shard)) {
            wanted.extend(shards);
        }
    }
    let Listing { info, entries, .. } = listing;
    let entries = entries.into_iter().filter(|entry| wanted.contains(&entry.path)).collect();
    Ok(Some(Listed::whole(Listing::new(info, entries, Vec::new()), origin)))
}
