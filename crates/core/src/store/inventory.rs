//! The content of one repo's cache folder, and the removal of a part or all of it. Reads the files of
//! `huggingface_hub` as well as our own. Snapshots are not verified here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use percent_encoding::percent_decode_str;

use super::cache::Cache;
use super::layout::Kind;
use super::lock::take_all;
use super::refs::REF_LIMIT;
use super::within::{Folder, slashed};
use super::{Store, StoreError};
use crate::model::CommitId;

/// Levels of folders in `refs/` and in a snapshot.
const DEPTH_LIMIT: usize = 32;
/// The most names of one folder that are read.
const NAMES_LIMIT: usize = 1_000_000;

/// A file below a folder, by its path below it.
struct Item {
    below: PathBuf,
    /// Its target, if it is a link.
    link: Option<PathBuf>,
    bytes: u64,
}

/// The plan of a removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removal {
    /// The commits whose snapshots are removed.
    pub commits: Vec<CommitId>,
    /// The revisions that are removed with them.
    pub revisions: Vec<String>,
    /// How many files are removed, blobs and copies.
    pub files: usize,
    /// How many bytes become free.
    pub bytes: u64,
    /// How many bytes of these snapshots stay, because other snapshots share them.
    pub shared_bytes: u64,
    blobs: Vec<String>,
    whole: bool,
}

/// Every file below `folder`; links are not followed.
fn walk(folder: &Path) -> Vec<Item> {
    let mut items = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below)).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            let path = below.join(entry.file_name());
            if kind.is_dir() {
                if depth < DEPTH_LIMIT {
                    folders.push((path, depth + 1));
                }
            } else if items.len() < NAMES_LIMIT {
                let link = fs::read_link(entry.path()).ok();
                let bytes = entry.metadata().map_or(0, |meta| meta.len());
                items.push(Item { below: path, link, bytes });
            }
        }
    }
    items.sort_by(|a, b| a.below.cmp(&b.below));
    items
}

impl Store {
    fn cached(&self) -> Option<&Cache> {
        match &self.layout.kind {
            Kind::Cache(cache) => Some(cache),
            Kind::Local { .. } => None,
        }
    }

    /// The branches, tags and other refs that are noted here, each with its commit.
    pub fn refs(&self) -> Vec<(String, CommitId)> {
        let Some(cache) = self.cached() else { return Vec::new() };
        let refs = cache.below("refs");
        let noted = |item: Item| {
            let commit = self.layout.read(&refs.join(&item.below), REF_LIMIT)?;
            let commit = std::str::from_utf8(&commit).ok()?.trim().parse().ok()?;
            Some((slashed(&item.below)?, commit))
        };
        walk(&cache.root.join(&refs)).into_iter().filter(|item| item.link.is_none()).filter_map(noted).collect()
    }

    /// How many files of a snapshot are links without a target.
    pub fn dangling(&self, commit: &CommitId) -> usize {
        let snapshot = self.snapshot_dir(commit);
        let leads_nowhere = |item: &&Item| item.link.is_some() && fs::metadata(snapshot.join(&item.below)).is_err();
        walk(&snapshot).iter().filter(leads_nowhere).count()
    }

    /// Bytes of partial files: our own, and those of `huggingface_hub`.
    pub fn partial_bytes(&self) -> u64 {
        let ours = self.leftovers().iter().fold(0u64, |sum, leftover| sum.saturating_add(leftover.bytes));
        let Some(cache) = self.cached() else { return ours };
        let theirs = walk(&cache.root.join(cache.below("blobs")));
        let partial = theirs.iter().filter(|item| item.below.extension().is_some_and(|e| e == "incomplete"));
        partial.fold(ours, |sum, item| sum.saturating_add(item.bytes))
    }

    /// The endpoints whose listing of this commit was kept by a run that verified it, and when.
    pub fn verified_against(&self, commit: &CommitId) -> Vec<(String, SystemTime)> {
        let trees = self.layout.anchor().join(self.layout.own()).join("trees");
        let kept = |folder: fs::DirEntry| {
            let name = folder.file_name().into_string().ok()?;
            let time = fs::symlink_metadata(folder.path().join(format!("{commit}.json"))).ok()?.modified().ok()?;
            // A long endpoint has a digest as its folder's name.
            let endpoint =
                (!name.starts_with("%%")).then(|| percent_decode_str(&name).decode_utf8_lossy().into_owned());
            Some((endpoint.unwrap_or_default(), time))
        };
        let mut all: Vec<_> = fs::read_dir(trees).into_iter().flatten().flatten().filter_map(kept).collect();
        all.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        all
    }

    /// Plans the removal of this commit's snapshot, or without a commit, of the whole repo. Blobs that other snapshots
    /// share stay.
    pub fn removal(&self, commit: Option<CommitId>) -> Removal {
        let Some(cache) = self.cached() else { return Removal::default() };
        let goes = |other: &CommitId| commit.is_none_or(|commit| commit == *other);
        let (gone, stay): (Vec<CommitId>, Vec<CommitId>) = self.snapshots().into_iter().partition(goes);
        let revisions = self.refs().into_iter().filter(|(_, at)| goes(at)).map(|(name, _)| name).collect();
        let mut removal = Removal { commits: gone.clone(), revisions, whole: commit.is_none(), ..Removal::default() };
        let linked = |commits: &[CommitId]| -> BTreeSet<String> {
            let items = commits.iter().flat_map(|commit| walk(&self.snapshot_dir(commit)));
            let blob = |item: Item| Some(item.link?.file_name()?.to_str()?.to_owned());
            items.filter_map(blob).collect()
        };
        for item in gone.iter().flat_map(|commit| walk(&self.snapshot_dir(commit))).filter(|item| item.link.is_none()) {
            removal.files += 1;
            removal.bytes = removal.bytes.saturating_add(item.bytes);
        }
        let kept = linked(&stay);
        let own = linked(&gone);
        for item in walk(&cache.root.join(cache.below("blobs"))) {
            let Some(name) = item.below.to_str() else { continue };
            if kept.contains(name) {
                if own.contains(name) {
                    removal.shared_bytes = removal.shared_bytes.saturating_add(item.bytes);
                }
            } else if removal.whole || own.contains(name) {
                removal.files += 1;
                removal.bytes = removal.bytes.saturating_add(item.bytes);
                removal.blobs.push(name.to_owned());
            }
        }
        if removal.whole {
            let partial = self.leftovers().iter().fold(0u64, |sum, leftover| sum.saturating_add(leftover.bytes));
            removal.bytes = removal.bytes.saturating_add(partial);
        }
        removal
    }

    /// Removes it. If another run works on the repo, removes nothing and returns `false`. Names are removed before the
    /// files that they lead to.
    ///
    /// # Errors
    /// If the system refuses, or if a folder on the way is a link.
    pub fn remove(&self, removal: &Removal) -> Result<bool, StoreError> {
        let Some(cache) = self.cached() else { return Ok(true) };
        let Some(_locks) = quiet_locks(cache)? else { return Ok(false) };
        let name = Path::new(&cache.name);
        // A repo's folder that is a link leads to another place. This call fails then, before anything is removed.
        if Folder::find(&cache.root, name)?.is_none() {
            return Ok(true);
        }
        for revision in &removal.revisions {
            self.layout.remove_own(&cache.below("refs").join(revision))?;
        }
        for commit in &removal.commits {
            // Neither links on the way nor links in the folder are followed.
            if let Some(snapshots) = Folder::find(&cache.root, &cache.below("snapshots"))? {
                snapshots.remove_tree(Path::new(&commit.to_string()))?;
            }
            for tree in self.trees(commit) {
                self.layout.remove_own(&tree)?;
            }
        }
        if removal.whole {
            if let Some(root) = Folder::find(&cache.root, Path::new(""))? {
                root.remove_tree(name)?;
            }
        } else if let Some(blobs) = Folder::find(&cache.root, &cache.below("blobs"))? {
            for blob in &removal.blobs {
                blobs.remove(blob)?;
            }
        }
        Ok(true)
    }

    /// The places of this commit's kept listings, below the anchor.
    fn trees(&self, commit: &CommitId) -> Vec<PathBuf> {
        let name = format!("{commit}.json");
        let own = self.layout.own().join("trees");
        let endpoints = fs::read_dir(self.layout.anchor().join(&own)).into_iter().flatten().flatten();
        let folders = endpoints.filter(|item| item.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut trees: Vec<PathBuf> = folders.map(|item| own.join(item.file_name()).join(&name)).collect();
        trees.extend([own.join(&name), self.layout.shared_trees().join(&name)]);
        trees
    }
}

/// Takes the locks of all files that runs may work on; `None` if one of them is held. The lock files stay: if one was
/// removed, its waiters would lock different files.
fn quiet_locks(cache: &Cache) -> Result<Option<Vec<fs::File>>, StoreError> {
    let below = Path::new(".locks").join(&cache.name);
    let mut places = Vec::new();
    for item in walk(&cache.root.join(&below)) {
        // Lock files are never nested.
        let Some(name) = slashed(&item.below)
            .filter(|name| !name.contains('/') && Path::new(name).extension().is_some_and(|e| e == "lock"))
        else {
            continue;
        };
        if let Some(folder) = Folder::find(&cache.root, &below)? {
            places.push((folder, name));
        }
    }
    take_all(&places)
}
