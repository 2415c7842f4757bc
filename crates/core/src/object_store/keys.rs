//! The names of one repo's objects. Other modules write their content.

use crate::model::{CommitId, RepoId, RepoPath, RepoType, Revision};
use crate::store::{folder_name, repo_of_folder};

/// The keys of one repo, below the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    folder: String,
}

impl Keys {
    pub fn new(repo_type: RepoType, id: &RepoId) -> Self {
        Keys { folder: folder_name(repo_type, id) }
    }

    /// The repo of a folder.
    pub fn repo(folder: &str) -> Option<(RepoType, RepoId)> {
        repo_of_folder(folder)
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &CommitId) -> String {
        format!("{}/snapshots/{commit}", self.folder)
    }

    /// The key of a file.
    pub fn file(&self, commit: &CommitId, path: &RepoPath) -> String {
        format!("{}/{}", self.snapshot(commit), path.as_str())
    }

    /// The folder of the manifests.
    pub fn manifests(&self) -> String {
        format!("{}/manifests", self.folder)
    }

    /// The manifest of a commit: the sizes and digests of its files.
    pub fn manifest(&self, commit: &CommitId) -> String {
        format!("{}/{commit}.lock", self.manifests())
    }

    /// The ref of a revision, which contains its commit.
    pub fn reference(&self, revision: &Revision) -> String {
        format!("{}/{}", self.references(), revision.as_str())
    }

    /// The folder of the revisions.
    pub fn references(&self) -> String {
        format!("{}/refs", self.folder)
    }

    /// The folder of a commit's unfinished uploads.
    pub fn journals(&self, commit: &CommitId) -> String {
        format!("{}/.hfget/{commit}", self.folder)
    }

    /// The journal of a file's upload.
    pub fn journal(&self, commit: &CommitId, path: &RepoPath) -> String {
        format!("{}/{}.json", self.journals(commit), path.as_str())
    }
}
