//! A signed statement beside the files of a run: which of them it signs rightly, and which not. What that means for the
//! run is the session's to say.

use std::collections::BTreeMap;

use super::Signed;
use crate::model::{RepoPath, Sha256};

/// What a signature says of the files of a run. Names are those of the repo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Files that are proven to have the digest that is signed.
    pub right: Vec<RepoPath>,
    /// Files that have another digest than the signed one.
    pub wrong: Vec<(RepoPath, Sha256)>,
    /// Signed files of which nothing proves the digest.
    pub unproven: Vec<RepoPath>,
    /// Files that it does not sign, though it should.
    pub unsigned: Vec<RepoPath>,
    /// Signed files that are not among those of the run.
    pub elsewhere: Vec<RepoPath>,
}

impl Signed {
    /// What is signed of a file, by its name in the repo. `folder`: where the signature lies, which is what it signs.
    pub fn digest_of(&self, folder: &str, path: &RepoPath) -> Option<Sha256> {
        self.statement().files.get(below(folder, path)?).copied()
    }

    /// Holds the statement against the files of a run, each with the SHA-256 that is proven of it.
    pub fn cover(&self, folder: &str, files: &BTreeMap<RepoPath, Option<Sha256>>) -> Coverage {
        let mut coverage = Coverage::default();
        for (path, proven) in files {
            let Some(name) = below(folder, path) else { continue };
            match (self.statement().files.get(name), proven) {
                (Some(signed), Some(proven)) if signed == proven => coverage.right.push(path.clone()),
                (Some(signed), Some(_)) => coverage.wrong.push((path.clone(), *signed)),
                (Some(_), None) => coverage.unproven.push(path.clone()),
                (None, _) if self.statement().leaves_out(name) => {}
                (None, _) => coverage.unsigned.push(path.clone()),
            }
        }
        let here = self.statement().files.keys().filter_map(|name| RepoPath::join(folder, name.as_str()).ok());
        coverage.elsewhere.extend(here.filter(|path| !files.contains_key(path)));
        coverage
    }
}

/// The name that a file has below a folder, where it is in it.
fn below<'a>(folder: &str, path: &'a RepoPath) -> Option<&'a str> {
    if folder.is_empty() { Some(path.as_str()) } else { path.as_str().strip_prefix(folder)?.strip_prefix('/') }
}
