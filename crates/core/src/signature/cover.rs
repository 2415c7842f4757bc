//! Compares a signed statement with the files of a run: which of them match, and which do not. `session` decides what
//! follows for the run.

use std::collections::BTreeMap;

use super::Signed;
use crate::model::{RepoPath, Sha256};

/// The result of comparing a signature with the files of a run. Names are those of the repo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Coverage {
    /// Files that are proven to have the signed digest.
    pub right: Vec<RepoPath>,
    /// Files whose digest differs from the signed one.
    pub wrong: Vec<(RepoPath, Sha256)>,
    /// Signed files without a proven digest.
    pub unproven: Vec<RepoPath>,
    /// Files that it should sign but does not.
    pub unsigned: Vec<RepoPath>,
    /// Signed files that are not among those of the run.
    pub elsewhere: Vec<RepoPath>,
}

impl Signed {
    /// The signed digest of a file, by its name in the repo. `folder`: the folder of the signature, whose files it
    /// signs.
    pub fn digest_of(&self, folder: &str, path: &RepoPath) -> Option<Sha256> {
        self.statement().files.get(below(folder, path)?).copied()
    }

    /// Compares the statement with the files of a run, each with its proven SHA-256.
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

/// A file's name below a folder, if it is in the folder.
fn below<'a>(folder: &str, path: &'a RepoPath) -> Option<&'a str> {
    if folder.is_empty() { Some(path.as_str()) } else { path.as_str().strip_prefix(folder)?.strip_prefix('/') }
}
