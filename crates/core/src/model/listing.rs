//! What a repo holds at one commit. How the listing is asked for lives in the client.

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

/// What a repo's page says besides.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Card {
    /// The licence's name, as the owner gives it (`apache-2.0`).
    pub license: Option<String>,
    /// Files that the Hub's own scan objects to: the path, and how much (`unsafe`, `suspicious`).
    pub issues: Vec<(String, String)>,
}

/// A repo and the commit that a revision was pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepoInfo {
    /// Which name space.
    pub repo_type: RepoType,
    /// The id the user gave: the cache folder is named after it, as `huggingface_hub` does.
    pub id: RepoId,
    /// The id the Hub answered with: differs after a rename.
    pub canonical_id: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// What it was pinned to.
    pub commit: CommitId,
    /// Whether only members may see it.
    pub private: bool,
    /// Whether access must be asked for.
    pub gated: Gated,
    /// What its page says besides, where the Hub was asked.
    pub card: Card,
}

impl RepoInfo {
    /// A public repo whose revision was pinned to `commit`, and of which nothing else is known.
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
    /// Bytes of the content.
    pub size: u64,
}

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Where it lies in the repo.
    pub path: RepoPath,
    /// Bytes of its content.
    pub size: u64,
    /// Git's id of the blob: of the content, or of the pointer file when `lfs` is set.
    pub oid: GitOid,
    /// Set for files in LFS or Xet storage.
    pub lfs: Option<Lfs>,
    /// The Xet hash, when the file is in Xet storage (64 hex digits).
    pub xet_hash: Option<String>,
}

impl Entry {
    /// A file that is known by its content only: in LFS storage when its digest is a SHA-256, and then with an `oid`
    /// of zeros.
    pub fn new(path: RepoPath, size: u64, digest: Digest) -> Self {
        let (oid, lfs) = match digest {
            Digest::GitBlob(oid) => (oid, None),
            Digest::Sha256(sha256) => (GitOid([0; 20]), Some(Lfs { sha256, size })),
        };
        Entry { path, size, oid, lfs, xet_hash: None }
    }

    /// What the content must hash to; also the file's `ETag` and its blob's name in the cache.
    pub fn digest(&self) -> Digest {
        self.lfs.map_or(Digest::GitBlob(self.oid), |lfs| Digest::Sha256(lfs.sha256))
    }
}

/// A listed name that is no safe path, set aside and reported as `path-unsafe`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// What is wrong with the name; holds the name too.
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
    /// No listing names the digests: the headers of each file do.
    pub by_headers: bool,
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
