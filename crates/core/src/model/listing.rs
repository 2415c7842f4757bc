//! The files of a repo at one commit. `hub` asks for the listing.

use crate::model::{CommitId, Digest, GitOid, PathError, RepoId, RepoPath, RepoType, Revision, Sha256};

/// Whether access must be asked for on the repo's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Gated {
    /// Open to all.
    #[default]
    No,
    /// Granted automatically once asked for.
    Auto,
    /// Granted by the owner.
    Manual,
}

/// The other facts on a repo's page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Card {
    /// The licence's name, as the owner gives it (`apache-2.0`).
    pub license: Option<String>,
    /// Files that the Hub's own scan objects to: the path, and the scan's word (`unsafe`, `suspicious`).
    pub(crate) issues: Vec<(String, String)>,
}

/// A repo and the commit that a revision was pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepoInfo {
    /// The repo's name space.
    pub repo_type: RepoType,
    /// The id that the user gave: it names the cache folder, as in `huggingface_hub`.
    pub id: RepoId,
    /// The id in the Hub's answer; it differs after a rename.
    pub canonical_id: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit that it was pinned to.
    pub commit: CommitId,
    /// Whether only members may see it.
    pub private: bool,
    /// Whether access must be asked for.
    pub gated: Gated,
    /// The other facts on its page, if the Hub was asked.
    pub card: Card,
}

impl RepoInfo {
    /// A public repo whose revision was pinned to `commit`; nothing else is known about it.
    pub fn new(repo_type: RepoType, id: RepoId, revision: Revision, commit: CommitId) -> Self {
        RepoInfo {
            repo_type,
            canonical_id: id.clone(),
            id,
            revision,
            commit,
            private: false,
            gated: Gated::No,
            card: Card::default(),
        }
    }
}

/// The LFS part of an [`Entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lfs {
    /// SHA-256 of the content (`lfs.oid` in the tree).
    pub sha256: Sha256,
    /// Size of the content in bytes.
    pub size: u64,
}

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its path in the repo.
    pub path: RepoPath,
    /// Size of its content in bytes.
    pub size: u64,
    /// Git's id of the blob: of the content, or of the pointer file if `lfs` is set.
    pub(crate) oid: GitOid,
    /// Set for files in LFS or Xet storage.
    pub(crate) lfs: Option<Lfs>,
    /// The Xet hash (64 hex digits), if the file is in Xet storage.
    pub(crate) xet_hash: Option<String>,
}

impl Entry {
    /// A file of which only the content is known. With a SHA-256 it counts as an LFS file, with an `oid` of zeros.
    pub fn new(path: RepoPath, size: u64, digest: Digest) -> Self {
        let (oid, lfs) = match digest {
            Digest::GitBlob(oid) => (oid, None),
            Digest::Sha256(sha256) => (GitOid([0; 20]), Some(Lfs { sha256, size })),
        };
        Entry { path, size, oid, lfs, xet_hash: None }
    }

    /// The digest that the content must have. It is also the file's `ETag` and its blob's name in the cache.
    pub fn digest(&self) -> Digest {
        self.lfs.map_or(Digest::GitBlob(self.oid), |lfs| Digest::Sha256(lfs.sha256))
    }
}

/// A listed name that is not a safe path. It is set aside and reported as `path-unsafe`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// What is wrong with the name, and the name itself.
    pub error: PathError,
    /// The listed size.
    pub size: u64,
}

/// Every file of a repo at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The repo and commit.
    pub info: RepoInfo,
    /// The files, sorted by path, each path once.
    pub entries: Vec<Entry>,
    /// Names that are not safe to use.
    pub rejected: Vec<Rejected>,
    /// Whether the digests come from the headers of each file, since the listing names none.
    pub(crate) by_headers: bool,
}

impl Listing {
    /// Builds a listing: sorts, and drops exact repeats of a path.
    pub fn new(info: RepoInfo, mut entries: Vec<Entry>, rejected: Vec<Rejected>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        Listing { info, entries, rejected, by_headers: false }
    }

    /// The entry at `path`.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().map(|at| &self.entries[at])
    }
}
