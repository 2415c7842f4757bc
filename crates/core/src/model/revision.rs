//! Revisions, which the user asks for, and commits, which they are pinned to.

use std::fmt;
use std::str::FromStr;

use super::digest::{DigestError, hex_newtype};
use crate::text::{Shown, printable};

/// A branch, tag, `refs/pr/N` or commit hash. It becomes a path below `refs/` in the cache, so
/// git's own rules for ref names apply (`git check-ref-format`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(Box<str>);

/// Why a text is not a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a revision: {reason}", printable(.text))]
pub struct RevisionError {
    text: String,
    reason: &'static str,
}

impl Revision {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in a form that is safe to print.
    pub fn shown(&self) -> Shown<'_> {
        Shown::new(&self.0)
    }

    /// The commit that it names, if it is a full commit hash.
    pub fn as_commit(&self) -> Option<CommitId> {
        self.0.parse().ok()
    }
}

impl Default for Revision {
    /// `main`.
    fn default() -> Self {
        Revision("main".into())
    }
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let fail = |reason| Err(RevisionError { text: text.chars().take(200).collect(), reason });
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.len() > 255 {
            return fail("it is longer than 255 bytes");
        }
        if text.chars().any(|c| c.is_control() || matches!(c, ' ' | '\\' | '~' | '^' | ':' | '?' | '*' | '[')) {
            return fail("it has a character that git does not allow in a ref");
        }
        if text.contains("..") || text.contains("@{") {
            return fail("'..' and '@{' are not allowed");
        }
        if text.starts_with('-') {
            return fail("it may not start with '-'");
        }
        if text.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with('.')) {
            return fail("no part may be empty or start or end with '.'");
        }
        Ok(Revision(text.into()))
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0))
    }
}

/// A full git commit hash, which a listing is pinned to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId([u8; 20]);

hex_newtype!(CommitId);

impl CommitId {
    /// Git's null id: no commit has it.
    pub(crate) const ZERO: CommitId = CommitId([0; 20]);

    /// The first eight digits: enough for a person.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_revisions_are_accepted() {
        for good in ["main", "refs/pr/1", "v1.0", "feature/x#1", "float16", "7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d"]
        {
            assert_eq!(good.parse::<Revision>().unwrap().as_str(), good);
        }
        let commit = "7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d";
        assert_eq!(commit.parse::<Revision>().unwrap().as_commit().unwrap().to_string(), commit);
        assert_eq!("main".parse::<Revision>().unwrap().as_commit(), None);
    }

    #[test]
    fn nothing_that_could_leave_the_refs_folder_is_a_revision() {
        for bad in ["", "..", "a/../b", "/a", "a/", "a//b", "a\0", "a\\b", "-x", ".hidden", "a/.b", "a b", "a\x1b"] {
            assert!(bad.parse::<Revision>().is_err(), "{bad:?}");
        }
    }
}
