//! Repository ids and types. The rules are `huggingface_hub`'s (`utils/_validators.py`).

use std::fmt;
use std::str::FromStr;

use crate::text::printable;

/// The kind of a repository: the Hub has four name spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RepoType {
    /// A model: the default, with no prefix in URLs.
    #[default]
    Model,
    /// A dataset.
    Dataset,
    /// A Space.
    Space,
    /// A kernel: compiled code that models load.
    Kernel,
}

impl RepoType {
    /// Every name space.
    pub const ALL: [RepoType; 4] = [RepoType::Model, RepoType::Dataset, RepoType::Space, RepoType::Kernel];

    /// `models`, `datasets`, `spaces` or `kernels`: in API URLs and in the cache's folder names.
    #[doc(hidden)] // for the command
    pub fn plural(self) -> &'static str {
        match self {
            RepoType::Model => "models",
            RepoType::Dataset => "datasets",
            RepoType::Space => "spaces",
            RepoType::Kernel => "kernels",
        }
    }

    /// A repo as people and URLs name it: `org/name`, `datasets/org/name`, `spaces/org/name`.
    #[must_use]
    pub fn qualify(self, id: &RepoId) -> String {
        format!("{}{id}", self.url_prefix())
    }

    /// The prefix of the repo id in page and resolve URLs.
    pub(crate) fn url_prefix(self) -> &'static str {
        match self {
            RepoType::Model => "",
            RepoType::Dataset => "datasets/",
            RepoType::Space => "spaces/",
            RepoType::Kernel => "kernels/",
        }
    }
}

impl fmt::Display for RepoType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RepoType::Model => "model",
            RepoType::Dataset => "dataset",
            RepoType::Space => "space",
            RepoType::Kernel => "kernel",
        })
    }
}

/// `owner/name`, or the short form `name` of the Hub's oldest repos (`gpt2`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoId(Box<str>);

/// Why a text is not a repo id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a repo id: {reason}", printable(.text))]
pub struct RepoIdError {
    text: String,
    reason: &'static str,
}

impl RepoIdError {
    /// The text, or its beginning.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl RepoId {
    /// The owner, absent in the short form.
    pub fn owner(&self) -> Option<&str> {
        self.0.split_once('/').map(|(owner, _)| owner)
    }

    /// The part after the owner.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The id for a folder without a known repo.
    pub(crate) fn unnamed() -> Self {
        RepoId("folder".into())
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoId {
    type Err = RepoIdError;

    fn from_str(text: &str) -> Result<Self, RepoIdError> {
        let fail = |reason| Err(RepoIdError { text: text.chars().take(200).collect(), reason });
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.len() > 96 {
            return fail("it is longer than 96 characters");
        }
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 2 {
            return fail("it has more than one '/'; the form is owner/name");
        }
        for part in &parts {
            if part.is_empty() {
                return fail("the form is owner/name");
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
                return fail("only letters, digits, '-', '_' and '.' are allowed");
            }
            if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
                return fail("no part may start or end with '-' or '.'");
            }
        }
        if text.contains("--") || text.contains("..") {
            return fail("'--' and '..' are not allowed");
        }
        #[allow(clippy::case_sensitive_file_extension_comparisons)] // the Hub's rule has this one spelling
        if text.ends_with(".git") {
            return fail("it may not end in '.git'");
        }
        Ok(RepoId(text.into()))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for RepoId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_ids_are_accepted() {
        for id in ["gpt2", "THUDM/chatglm3-6b", "01-ai/Yi-34B", "a/b.c_d", "stabilityai/stable-diffusion-xl-base-1.0"] {
            assert_eq!(id.parse::<RepoId>().unwrap().as_str(), id);
        }
        let id: RepoId = "THUDM/chatglm3-6b".parse().unwrap();
        assert_eq!((id.owner(), id.name()), (Some("THUDM"), "chatglm3-6b"));
    }

    #[test]
    fn nothing_that_could_leave_the_cache_folder_is_an_id() {
        for id in [
            "", "/", "a/", "/a", "a/b/c", "../a", "a/..", ".a/b", "a--b/c", "a b", "a\0b", "a\\b", "a/b.git", "é/b",
            "a/-b",
        ] {
            assert!(id.parse::<RepoId>().is_err(), "{id:?}");
        }
        assert!("a".repeat(97).parse::<RepoId>().is_err());
    }
}
