//! The snapshots in a Hub cache, whatever program wrote them. Nothing is hashed, and no request is made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::choosing::select_here;
use super::folder::Folder;
use crate::finding::Code;
use crate::model::{
    CommitId, Entry, Family, Listing, Options, Presence, RepoId, RepoInfo, RepoType, Revision, WeightSet,
};
use crate::select::variants_of;
use crate::store::{Store, cached_repos};

/// A snapshot of a repo in a cache, or the files that an unfinished run has left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cached {
    /// The repo's name space.
    pub repo_type: RepoType,
    /// The repo.
    pub id: RepoId,
    /// The commit; `None` if there is no snapshot yet.
    pub commit: Option<CommitId>,
    /// The branches and tags whose refs name this commit.
    pub revisions: Vec<String>,
    /// The families whose weights are here.
    pub families: Vec<Family>,
    /// How many files the snapshot has.
    pub files: usize,
    /// Their bytes; snapshots of one repo may share some.
    pub bytes: u64,
    /// Whether every file is unchanged since its digest was checked.
    pub verified: bool,
    /// When a run first verified the snapshot, if that is known.
    pub verified_at: Option<SystemTime>,
    /// The endpoint that stated the digests, if that is known.
    pub verified_against: Option<String>,
    /// What is missing, one sentence for each part.
    pub incomplete: Vec<String>,
    /// The snapshot's folder, or the repo's folder.
    pub place: PathBuf,
}

/// Every snapshot of every repo in the cache at `root`. Blocks.
#[must_use]
pub fn cached(root: &Path) -> Vec<Cached> {
    cached_repos(root).into_iter().flat_map(|(repo_type, id)| of_repo(root, repo_type, &id)).collect()
}

fn of_repo(root: &Path, repo_type: RepoType, id: &RepoId) -> Vec<Cached> {
    let store = Store::hub_cache(root, repo_type, id, true);
    let refs = store.refs();
    let mut all: Vec<Cached> = store
        .snapshots()
        .into_iter()
        .map(|commit| {
            let revisions = refs.iter().filter(|(_, at)| *at == commit).map(|(name, _)| name.clone()).collect();
            of_commit(&store, repo_type, id, commit, revisions)
        })
        .collect();
    let partial = store.partial_bytes();
    if partial > 0 || all.is_empty() {
        let what = match partial {
            0 => "it has no files".to_owned(),
            bytes => format!("a run was interrupted: {} of unfinished files", crate::text::bytes(bytes)),
        };
        match all.as_mut_slice() {
            [one] => one.incomplete.push(what),
            _ => all.push(Cached { bytes: partial, incomplete: vec![what], ..nothing(&store, repo_type, id) }),
        }
    }
    all
}

/// The variants of the weights in the cache at `root`, by their names. Blocks.
#[must_use]
pub fn cached_variants(root: &Path) -> Vec<String> {
    let mut all = BTreeSet::new();
    for (repo_type, id) in cached_repos(root) {
        let store = Store::hub_cache(root, repo_type, &id, true);
        for commit in store.snapshots() {
            let Ok(folder) = Folder::read(&store.snapshot_dir(&commit), &|_| None) else { continue };
            let info = RepoInfo::new(repo_type, id.clone(), Revision::default(), commit);
            all.extend(variants_of(&Listing::new(info, folder.entries(), Vec::new())));
        }
    }
    all.into_iter().collect()
}

fn nothing(store: &Store, repo_type: RepoType, id: &RepoId) -> Cached {
    let snapshot = store.snapshot_dir(&CommitId::ZERO);
    let place = snapshot.ancestors().nth(2).map_or_else(|| snapshot.clone(), Path::to_path_buf);
    Cached {
        repo_type,
        id: id.clone(),
        commit: None,
        revisions: Vec::new(),
        families: Vec::new(),
        files: 0,
        bytes: 0,
        verified: false,
        verified_at: None,
        verified_against: None,
        incomplete: Vec::new(),
        place,
    }
}

fn of_commit(store: &Store, repo_type: RepoType, id: &RepoId, commit: CommitId, revisions: Vec<String>) -> Cached {
    let place = store.snapshot_dir(&commit);
    let empty = Cached { commit: Some(commit), revisions, place: place.clone(), ..nothing(store, repo_type, id) };
    let Ok(folder) = Folder::read(&place, &|path| store.noted_digest(&commit, path)) else {
        return Cached { incomplete: vec!["its folder cannot be read".to_owned()], ..empty };
    };
    let kept = store.read_listing_offline(&commit).unwrap_or_default();
    let listed = |entry: Entry| match kept.binary_search_by(|other| other.path.cmp(&entry.path)) {
        Ok(at) => kept.get(at).cloned().unwrap_or(entry),
        Err(_) => entry,
    };
    let entries: Vec<Entry> = folder.entries().into_iter().map(listed).collect();
    let mut look = store.look(&commit);
    let verified = !entries.is_empty()
        && entries.iter().all(|entry| look.presence(entry).is_ok_and(|there| there == Presence::Verified));
    let against = store.verified_against(&commit).into_iter().next().filter(|_| verified);
    let info = RepoInfo::new(repo_type, id.clone(), Revision::default(), commit);
    let listing = Listing::new(info, entries, Vec::new());
    let (families, mut incomplete) = weights(&listing, &folder);
    match store.dangling(&commit) {
        0 => {}
        1 => incomplete.push("1 file is missing".to_owned()),
        n => incomplete.push(format!("{n} files are missing")),
    }
    Cached {
        families,
        files: folder.files.len(),
        bytes: folder.files.iter().fold(0, |sum, file| sum.saturating_add(file.size)),
        verified,
        verified_at: against.as_ref().map(|(_, time)| *time),
        verified_against: against.map(|(endpoint, _)| endpoint).filter(|endpoint| !endpoint.is_empty()),
        incomplete,
        ..empty
    }
}

/// The families of a model's weights that are here, and the files that their indexes name and that are missing.
fn weights(listing: &Listing, folder: &Folder) -> (Vec<Family>, Vec<String>) {
    if listing.info.repo_type != RepoType::Model {
        return (Vec::new(), Vec::new());
    }
    let everything = Options { all: true, ..Options::default() };
    let Ok(selection) = select_here(listing, folder, &everything) else { return (Vec::new(), Vec::new()) };
    let families: BTreeSet<Family> = selection.weights.iter().map(|set| set.family).collect();
    let broken = |set: &WeightSet| {
        let named = set.parsed.get()?.shards().len();
        let missing = named.checked_sub(set.files.len()).filter(|missing| *missing > 0)?;
        Some(format!("{missing} of {named} shards are missing"))
    };
    let mut incomplete: Vec<String> = selection.weights.iter().filter_map(broken).collect();
    let said = selection.findings.iter().filter(|finding| finding.code == Code::FamilyIncomplete);
    incomplete.extend(said.map(|finding| finding.message.clone()));
    (families.into_iter().collect(), incomplete)
}
