//! URLs of object stores: `s3://bucket/prefix` and the like. Credentials are never in the URL.

use std::fmt;
use std::str::FromStr;

use crate::model::CommitId;
use crate::store::repo_of_folder;
use crate::text::printable;

/// The provider of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Provider {
    /// Amazon S3, or another server with its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// A bucket (or container) and a prefix in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectUrl {
    provider: Provider,
    bucket: String,
    /// Without a slash at either end; may be empty.
    prefix: String,
}

/// A text that is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" cannot be used: {why}", printable(.text))]
pub struct ObjectUrlError {
    text: String,
    why: &'static str,
}

impl ObjectUrlError {
    /// Whether the text names a folder.
    #[doc(hidden)] // for the command
    pub fn is_folder(&self) -> bool {
        self.why == FOLDER
    }
}

/// Why the URL of a folder cannot be used.
const FOLDER: &str = "it names a folder";

impl ObjectUrl {
    /// Whether a text is meant to be such a URL, even if something is wrong with it.
    pub fn is_meant(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| matches!(scheme, "s3" | "gs" | "az"))
    }

    /// The store's provider.
    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// The bucket's (or container's) name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix, without a slash at either end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The URL that a store's repos are below, and the rest: a repo's folder, and perhaps one commit of it.
    pub(crate) fn split(&self) -> (Self, Option<(String, Option<CommitId>)>) {
        let parts: Vec<&str> = self.prefix.split('/').collect();
        let Some(at) = parts.iter().position(|part| repo_of_folder(part).is_some()) else {
            return (self.clone(), None);
        };
        let commit = match parts.get(at + 1..) {
            Some(["snapshots" | "manifests", name]) => name.strip_suffix(".lock").unwrap_or(name).parse().ok(),
            _ => None,
        };
        (self.with_prefix(&parts[..at].join("/")), Some((parts[at].to_owned(), commit)))
    }

    /// The URL that a store's repos are below.
    #[must_use]
    pub fn base(&self) -> Self {
        self.split().0
    }

    /// The bucket alone.
    pub(super) fn root(&self) -> String {
        ObjectUrl { prefix: String::new(), ..self.clone() }.to_string()
    }

    /// The same bucket with another prefix.
    fn with_prefix(&self, prefix: &str) -> Self {
        ObjectUrl { prefix: prefix.to_owned(), ..self.clone() }
    }

    /// The URL of a key below the prefix.
    pub(super) fn below(&self, key: &str) -> String {
        if key.is_empty() { self.to_string() } else { format!("{self}/{key}") }
    }
}

impl FromStr for ObjectUrl {
    type Err = ObjectUrlError;

    fn from_str(text: &str) -> Result<Self, ObjectUrlError> {
        let fail = |why| Err(ObjectUrlError { text: text.to_owned(), why });
        let Some((scheme, rest)) = text.trim().split_once("://") else {
            return fail("it must start with s3://, gs:// or az://");
        };
        let provider = match scheme {
            "s3" => Provider::S3,
            "gs" => Provider::Google,
            "az" => Provider::Azure,
            "file" => return fail(FOLDER),
            _ => return fail("it must start with s3://, gs:// or az://"),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains('@') {
            return fail("credentials come from the environment, not from the URL");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if bucket.is_empty() || !bucket.chars().all(plain) {
            return fail("it names no bucket");
        }
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return fail("its prefix has an empty part, '.' or '..'");
        }
        if prefix.chars().any(|c| c.is_control() || matches!(c, '?' | '#' | '\\')) {
            return fail("its prefix has a character that is not safe to use: '?', '#', '\\' or a control character");
        }
        Ok(ObjectUrl { provider, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.provider {
            Provider::S3 => "s3",
            Provider::Google => "gs",
            Provider::Azure => "az",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_prefix_are_read_and_written_back() {
        for (text, shown) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("gs://b.example.org/a/b c/", "gs://b.example.org/a/b c"),
            ("az://container/x", "az://container/x"),
        ] {
            assert_eq!(text.parse::<ObjectUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_repo_and_a_commit_below_a_prefix_are_told_from_the_prefix() {
        let commit = "103caa40027ebfd8450289ca2f278eac4ff26405";
        for (text, base, folder, told) in [
            ("s3://b/p/q", "s3://b/p/q", None, false),
            ("s3://b/p/models--o--n", "s3://b/p", Some("models--o--n"), false),
            (&format!("s3://b/models--o--n/snapshots/{commit}/"), "s3://b", Some("models--o--n"), true),
            (&format!("s3://b/datasets--n/manifests/{commit}.lock"), "s3://b", Some("datasets--n"), true),
        ] {
            let (found, rest) = text.parse::<ObjectUrl>().unwrap().split();
            assert_eq!(found.to_string(), base);
            assert_eq!(rest.as_ref().map(|(folder, _)| folder.as_str()), folder);
            assert_eq!(rest.and_then(|(_, c)| c).is_some_and(|c| c.to_string() == commit), told, "{text}");
        }
    }

    #[test]
    fn a_text_that_names_no_bucket_or_would_leave_it_is_refused() {
        for text in [
            "s3://",
            "s3:///a",
            "http://b/a",
            "s3://b/a//c",
            "s3://b/../c",
            "s3://b/./c",
            "s3://b/a?x",
            "s3://b/a#x",
            "s3://k:s@b/a",
            "s3://b\n/a",
            "s3://b/a\nb",
            "file:///tmp",
            "bucket",
            "s3://b/a\\b",
        ] {
            assert!(text.parse::<ObjectUrl>().is_err(), "{text:?}");
        }
    }
}
