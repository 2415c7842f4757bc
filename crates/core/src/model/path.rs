//! Paths inside a repo: the only way a remote name becomes a local path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::platform::refused_name;
use crate::text::{Shown, printable};

/// A file's path in a repo: relative, `/`-separated, and safe to join to a folder on any system.
///
/// These names are refused: empty, absolute, `.` and `..` segments, backslashes, control characters, Windows drive
/// letters (`C:`), names that some file system treats as `.git`, segments longer than a file system's 255 bytes, and
/// on Windows the names that it changes or refuses (`NUL`, `a:b`, `a.`). The rules are stricter than
/// `huggingface_hub`'s `_validate_relative_filename`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Arc<str>);

/// Why a name from a listing or an index is not a safe path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a safe path: {reason}", printable(.text))]
pub struct PathError {
    /// The name as it came, cut to 1,000 characters; escape it before you print it.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RepoPath {
    /// The whole path, `/`-separated.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// Everything before the last `/`; empty for a file at the root.
    pub(crate) fn dir(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(dir, _)| dir)
    }

    /// The segments, first to last.
    #[doc(hidden)] // for the fuzzers
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Resolves `name` against the folder `dir` (empty for the root).
    #[doc(hidden)] // for the fuzzers
    pub fn join(dir: &str, name: &str) -> Result<Self, PathError> {
        if dir.is_empty() { name.parse() } else { format!("{dir}/{name}").parse() }
    }

    /// The path in a form that is safe to print. It is not an identity: two paths may look the same, and the form
    /// cannot be parsed back.
    pub fn shown(&self) -> Shown<'_> {
        Shown::new(&self.0)
    }

    /// The file's path below `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        path.extend(self.segments());
        path
    }
}

/// Whether some file system treats the name as `.git`: HFS+ ignores characters without width; NTFS ignores dots and
/// spaces at the end and everything after a colon, and has a short name for it.
fn is_git(segment: &str) -> bool {
    let ignored =
        |c: char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let seen: String = segment.chars().filter(|c| !ignored(*c)).collect();
    let name = seen.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case("git~1")
}

impl FromStr for RepoPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let fail = |reason| Err(PathError { text: text.chars().take(1000).collect(), reason });
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.starts_with('/') {
            return fail("it is absolute");
        }
        if text.len() > 4096 {
            return fail("it is longer than 4,096 bytes");
        }
        if text.contains('\\') {
            return fail("it has a backslash");
        }
        if text.chars().any(char::is_control) {
            return fail("it has a control character");
        }
        for segment in text.split('/') {
            match segment {
                "" => return fail("it has an empty segment"),
                "." | ".." => return fail("it has a '.' or '..' segment"),
                _ => {}
            }
            // No commit can contain this name, and in a working tree the folder contains hooks, which git runs.
            if is_git(segment) {
                return fail("it has a '.git' segment");
            }
            if segment.len() > 255 {
                return fail("a segment is longer than 255 bytes");
            }
            let bytes = segment.as_bytes();
            if bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
                return fail("it starts with a drive letter");
            }
            // On other systems these are ordinary names: `aux.json` may be a language's file, `con.txt` a text.
            if let Some(reason) = refused_name(segment) {
                return fail(reason);
            }
        }
        Ok(RepoPath(text.into()))
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl AsRef<str> for RepoPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for RepoPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for RepoPath {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RepoPath {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_are_refused() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "C:\\x",
            "C:/x",
            "a/c:x",
            "\\\\host\\share",
            "a\\..\\b",
            "a\0b",
            "a\nb",
            "x\x1b[31m",
            ".git/config",
            "x/.GIT/hooks/post-checkout",
            ".g\u{200c}it/config",
            "\u{feff}.git",
            ".git./config",
            ".git ",
            ".git::$INDEX_ALLOCATION/config",
            "git~1/config",
            "GIT~1",
        ] {
            assert!(bad.parse::<RepoPath>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(256).parse::<RepoPath>().is_err());
    }

    /// On systems other than Windows, `aux.json`, `con.txt` and the like are ordinary files.
    #[test]
    fn names_that_only_windows_cannot_keep_are_refused_on_windows_alone() {
        for name in ["NUL", "sub/con.txt", "aux.json", "aux ", "COM1.bin", "config.json:stream", "a./b", "what?"] {
            assert_eq!(name.parse::<RepoPath>().is_ok(), !cfg!(windows), "{name:?}");
        }
    }

    #[test]
    fn odd_but_harmless_names_are_accepted() {
        for good in [
            "a b#c%[1].bin",
            "模型.safetensors",
            ".gitattributes",
            "..a",
            "a..",
            "console.py",
            "unet/model.bin",
            ".gitignore",
            "git~2",
            "a.git",
        ] {
            assert_eq!(good.parse::<RepoPath>().unwrap().as_str(), good);
        }
    }

    proptest! {
        #[test]
        fn a_path_never_leaves_its_root(name in "[a-zA-Z0-9./\\\\: \\x00\\x1b~-]{0,40}") {
            if let Ok(path) = name.parse::<RepoPath>() {
                let root = Path::new("/root/dir");
                let local = path.under(root);
                prop_assert!(local.starts_with(root));
                prop_assert!(local.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
                prop_assert_eq!(local.components().count(), 3 + path.segments().count());
            }
        }
    }
}
