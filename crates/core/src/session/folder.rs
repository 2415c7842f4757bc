//! The files in a folder, by the names that they have in a repo. `local` decides what they must be.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Error;
use crate::finding::{Code, Finding, Remedy};
use crate::model::{CommitId, Digest, Entry, Family, GitOid, RepoPath};
use crate::store::Store;
use crate::text::few;
use crate::verify::Content;

/// The most files of one folder; a folder with more is not a repo.
const FILES_LIMIT: usize = 1_000_000;
/// The most bytes of a file that selection may read; such files are read whole.
const DOCUMENT_LIMIT: u64 = crate::model::INDEX_LIMIT;

/// A file found on disk.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub path: RepoPath,
    pub size: u64,
    /// The digest that it must have, if its cache or folder notes one.
    pub digest: Option<Digest>,
}

/// The files in a folder. Reading it blocks.
#[derive(Debug)]
pub(super) struct Folder {
    pub root: PathBuf,
    /// The files, by path.
    pub files: Vec<Found>,
    /// Names without content: links without a target.
    pub lost: Vec<RepoPath>,
    /// Names that no repo can have, and why.
    odd: Vec<(String, &'static str)>,
}

impl Folder {
    /// Every file below `root`, without the own files of git, `huggingface_hub` and hfget.
    pub fn read(root: &Path, noted: &dyn Fn(&RepoPath) -> Option<Digest>) -> Result<Self, Error> {
        Self::walk(root, noted).map_err(|source| Error::Folder { path: root.to_path_buf(), source })
    }

    fn walk(root: &Path, noted: &dyn Fn(&RepoPath) -> Option<Digest>) -> std::io::Result<Self> {
        let mut files = Vec::new();
        let (mut lost, mut odd) = (Vec::new(), Vec::new());
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
                let Ok(meta) = fs::metadata(item.path()) else {
                    lost.extend(text.parse::<RepoPath>());
                    continue;
                };
                if meta.is_dir() {
                    odd.push((text, "it is a symbolic link to a folder; it is not followed"));
                    continue;
                }
                match text.parse::<RepoPath>() {
                    Ok(path) => files.push(Found { size: meta.len(), digest: noted(&path), path }),
                    Err(error) => odd.push((error.text, error.reason)),
                }
                if files.len() > FILES_LIMIT {
                    return Err(std::io::Error::other(format!("it has more than {FILES_LIMIT} files")));
                }
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Folder { root: root.to_path_buf(), files, lost, odd })
    }

    pub fn find(&self, path: &RepoPath) -> Option<&Found> {
        self.files.binary_search_by(|found| found.path.cmp(path)).ok().map(|at| &self.files[at])
    }

    /// Bytes of a small file that selection may read.
    pub fn document_size(&self, path: &RepoPath) -> Option<u64> {
        self.find(path).map(|found| found.size).filter(|size| *size <= DOCUMENT_LIMIT)
    }

    /// The content of a small file, for selection.
    pub fn document(&self, path: &RepoPath) -> Option<Vec<u8>> {
        self.find(path).filter(|found| found.size <= DOCUMENT_LIMIT)?;
        // This does not open a pipe, and does not read a file to its end that has grown since.
        let (file, _) = Content::from(path.under(&self.root)).open().ok()?;
        let mut content = Vec::new();
        file.take(DOCUMENT_LIMIT).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// The entries that follow from the files.
    pub fn entries(&self) -> Vec<Entry> {
        let unknown = Digest::GitBlob(GitOid([0; 20]));
        let entry = |found: &Found| Entry::new(found.path.clone(), found.size, found.digest.unwrap_or(unknown));
        self.files.iter().map(entry).collect()
    }

    /// Findings about names that no repo can have.
    pub fn odd_names(&self) -> impl Iterator<Item = Finding> {
        self.odd.iter().map(|(name, what)| Finding::new(Code::PathUnsafe, name, *what))
    }

    /// The one of the first two families that has more bytes here.
    pub fn family(&self) -> Option<Family> {
        let bytes = |ending: &str| {
            let files = self.files.iter().filter(|found| found.path.as_str().ends_with(ending));
            files.fold(0u64, |sum, found| sum.saturating_add(found.size))
        };
        match (bytes(".safetensors"), bytes(".bin")) {
            (0, 0) => None,
            (safetensors, bin) if safetensors >= bin => Some(Family::Safetensors),
            _ => Some(Family::Bin),
        }
    }
}

/// The listing that follows from a cached snapshot itself: each blob's name is its digest. Blocks.
pub(super) fn listing_of_snapshot(store: &Store, commit: &CommitId) -> Option<Vec<Entry>> {
    let folder = Folder::read(&store.snapshot_dir(commit), &|path| store.noted_digest(commit, path)).ok()?;
    let all_noted = !folder.files.is_empty() && folder.files.iter().all(|found| found.digest.is_some());
    all_noted.then(|| folder.entries())
}

/// The commit that all metadata files of a local dir name. Blocks.
pub(super) fn noted_commit(store: &Store, dir: &Path) -> Result<Option<CommitId>, Error> {
    let folder = Folder::read(dir, &|_| None)?;
    Ok(commit_of(store, &folder).ok().flatten())
}

/// The finding that a local dir's files are of several commits. Blocks.
pub(super) fn mixed_commits(store: &Store, folder: &Folder) -> Option<Finding> {
    let commits = commit_of(store, folder).err()?;
    let shown: Vec<String> = commits.iter().map(CommitId::short).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let message = format!("the files of this folder are from {} commits: {}", commits.len(), few(&shown, 4));
    Some(Finding::repo(Code::MixedCommits, message).remedy(Remedy::UseOwnFolder))
}

/// The commit of all noted files of a folder; if there are several, the error has all of them. A file that is equal in
/// two commits belongs to both, if a kept listing shows it.
fn commit_of(store: &Store, folder: &Folder) -> Result<Option<CommitId>, BTreeSet<CommitId>> {
    let noted = folder.files.iter().filter_map(|found| Some((&found.path, store.noted_commit(&found.path)?)));
    let noted: Vec<(&RepoPath, CommitId)> = noted.collect();
    let commits: BTreeSet<CommitId> = noted.iter().map(|(_, commit)| *commit).collect();
    if commits.len() < 2 {
        return Ok(commits.into_iter().next());
    }
    let has_all = |commit: &CommitId| {
        let Some(listed) = store.read_listing_offline(commit) else { return false };
        noted.iter().all(|(path, of)| {
            let entry = listed.binary_search_by(|entry| entry.path.cmp(path)).ok().and_then(|at| listed.get(at));
            of == commit || entry.is_some_and(|entry| store.noted_digest(commit, path) == Some(entry.digest()))
        })
    };
    commits.iter().find(|commit| has_all(commit)).copied().map_or(Err(commits.clone()), |commit| Ok(Some(commit)))
}

/// The commit, if there is exactly one.
pub(super) fn only(commits: &[CommitId]) -> Option<CommitId> {
    match commits {
        [commit] => Some(*commit),
        _ => None,
    }
}

/// The path, if the text names a folder and not a repo: it has the form of a path, or the folder exists and its name
/// cannot be a repo's. `owner/name` is always the repo, even if such a folder exists: the meaning must not depend on
/// the working folder.
pub fn names_folder(target: &str) -> Option<PathBuf> {
    let path = Path::new(target);
    let repo = target.parse::<crate::model::RepoSpec>().is_ok();
    let explicit = target.starts_with('/')
        || target.starts_with("./")
        || target.starts_with("../")
        || matches!(target, "." | "..");
    (explicit || !repo && path.is_dir()).then(|| path.to_path_buf())
}
