//! Names of OCI content: `oci://REGISTRY/NAME:TAG`, `oci-archive:FILE.tar`, `oci:FOLDER`, and the digests of blobs and
//! manifests. The room `oci` reads and writes the content.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::model::{Digest, Hasher, Sha256};
use crate::text::printable;

/// The SHA-256 of a blob or a manifest: `sha256:HEX`. It is the only algorithm that all registries know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OciDigest(pub Sha256);

/// A text that is not such a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a digest of the form sha256:HEX", printable(.0))]
pub struct OciDigestError(String);

impl OciDigest {
    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        match hasher.finish().digest() {
            Digest::Sha256(sha256) => OciDigest(sha256),
            Digest::GitBlob(_) => unreachable!("a hasher of SHA-256 gives a SHA-256"),
        }
    }

    /// The digits, without the algorithm.
    pub fn hex(&self) -> String {
        self.0.to_string()
    }
}

impl fmt::Display for OciDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for OciDigest {
    type Err = OciDigestError;

    fn from_str(text: &str) -> Result<Self, OciDigestError> {
        // To a registry, upper case would be another name. The specification refuses it.
        let hex = text.strip_prefix("sha256:").filter(|hex| !hex.bytes().any(|b| b.is_ascii_uppercase()));
        let digest = hex.and_then(|hex| hex.parse().ok()).map(OciDigest);
        digest.ok_or_else(|| OciDigestError(text.chars().take(100).collect()))
    }
}

impl serde::Serialize for OciDigest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for OciDigest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The default tag, as in other tools.
const LATEST: &str = "latest";
/// The distribution specification's limits.
const TAG_LIMIT: usize = 128;
const NAME_LIMIT: usize = 255;

/// Where OCI content is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OciPlace {
    /// A repository of a registry.
    Registry {
        /// The registry's host, perhaps with a port.
        registry: String,
        /// The repository's name within it.
        name: String,
    },
    /// An image layout as one tar file.
    Archive(PathBuf),
    /// An image layout as a folder.
    Folder(PathBuf),
}

/// OCI content, with a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    place: OciPlace,
    tag: String,
    digest: Option<OciDigest>,
}

/// A text that is not such a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" cannot be used: {why}", printable(.text))]
pub struct OciReferenceError {
    text: String,
    why: &'static str,
}

impl OciReference {
    /// Whether a text has the prefix of one, even if something else is wrong with it.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with("oci:") || text.starts_with("oci-archive:")
    }

    /// Where it is.
    pub fn place(&self) -> &OciPlace {
        &self.place
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The manifest's digest, if it is given. It wins over the tag.
    pub fn digest(&self) -> Option<&OciDigest> {
        self.digest.as_ref()
    }

    /// The file or folder, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            OciPlace::Registry { .. } => None,
            OciPlace::Archive(path) | OciPlace::Folder(path) => Some(path),
        }
    }

    /// The same, with a path that does not depend on the working directory.
    #[must_use]
    pub fn absolute(mut self) -> Self {
        if let OciPlace::Archive(path) | OciPlace::Folder(path) = &mut self.place
            && let Ok(whole) = std::path::absolute(&*path)
        {
            *path = whole;
        }
        self
    }
}

impl fmt::Display for OciPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OciPlace::Registry { registry, name } => write!(f, "oci://{registry}/{name}"),
            OciPlace::Archive(path) => write!(f, "oci-archive:{}", path.display()),
            OciPlace::Folder(path) => write!(f, "oci:{}", path.display()),
        }
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place, self.tag)?;
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for OciReference {
    type Err = OciReferenceError;

    fn from_str(text: &str) -> Result<Self, OciReferenceError> {
        let fail = |why| Err(OciReferenceError { text: text.to_owned(), why });
        let (whole, digest) = match text.rsplit_once("@sha256:") {
            Some((before, _)) => match text[before.len() + 1..].parse() {
                Ok(digest) => (before, Some(digest)),
                Err(_) => return fail("its digest is not sha256: and 64 hex digits"),
            },
            None => (text, None),
        };
        let tagged = |rest: &'_ str| {
            // A colon before a slash belongs to a port or a folder.
            let at = rest.rfind(':').filter(|at| rest.rfind('/').is_none_or(|slash| slash < *at));
            let (before, tag) = at.map_or((rest, LATEST), |at| (&rest[..at], &rest[at + 1..]));
            (before.to_owned(), tag.to_owned())
        };
        let (place, tag) = if let Some(rest) = whole.strip_prefix("oci://") {
            let (named, tag) = tagged(rest);
            let Some((registry, name)) = named.split_once('/') else {
                return fail("it must have the form oci://REGISTRY/NAME:TAG");
            };
            if registry.contains('@') {
                return fail("credentials come from the configuration of docker or podman, not from the URL");
            }
            if !is_host(registry) {
                return fail("it names no registry");
            }
            if !is_name(name) {
                return fail(
                    "the name in the registry may have lower-case letters, digits, '.', '_', '-' and '/' only",
                );
            }
            (OciPlace::Registry { registry: registry.to_owned(), name: name.to_owned() }, tag)
        } else if let Some(rest) = whole.strip_prefix("oci-archive:") {
            let (path, tag) = tagged(rest);
            (OciPlace::Archive(path.into()), tag)
        } else if let Some(rest) = whole.strip_prefix("oci:") {
            let (path, tag) = tagged(rest);
            (OciPlace::Folder(path.into()), tag)
        } else {
            return fail("it must start with oci://, oci-archive: or oci:");
        };
        if let OciPlace::Archive(path) | OciPlace::Folder(path) = &place
            && path.as_os_str().is_empty()
        {
            return fail("it names no file or folder");
        }
        if !is_tag(&tag) {
            return fail("a tag has letters, digits, '.', '_' and '-' only, at most 128 of them");
        }
        Ok(OciReference { place, tag, digest })
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_LIMIT
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port.strip_prefix(':')),
        Some(_) => return false,
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    !name.is_empty() && name.bytes().all(plain) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// The specification's rule: parts of letters and digits, with single separators in between.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = part.bytes().next().is_some_and(word) && part.bytes().next_back().is_some_and(word);
        let mut separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        ends && separators.all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    };
    name.len() <= NAME_LIMIT && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_other_texts_are_refused() {
        let empty = OciDigest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.to_string(), text);
        assert_eq!(text.parse(), Ok(empty));
        for bad in [&text[7..], &text.to_uppercase(), "sha512:aa", "sha256:", &text.replace('e', "E")] {
            assert!(bad.parse::<OciDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_and_a_tag_are_read_and_written_back() {
        let digest = OciDigest::of(b"");
        for (text, shown) in [
            ("oci://r.example/acme/m:main", "oci://r.example/acme/m:main".to_owned()),
            ("oci://127.0.0.1:5000/m", "oci://127.0.0.1:5000/m:latest".to_owned()),
            ("oci://[::1]:5000/a/b__c-d.e:v1.0", "oci://[::1]:5000/a/b__c-d.e:v1.0".to_owned()),
            ("oci-archive:out/m.tar", "oci-archive:out/m.tar:latest".to_owned()),
            ("oci-archive:/a:b/m.tar:main", "oci-archive:/a:b/m.tar:main".to_owned()),
            ("oci:folder:main", "oci:folder:main".to_owned()),
            (&format!("oci://r/m:main@{digest}"), format!("oci://r/m:main@{digest}")),
        ] {
            let read: OciReference = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
    }

    #[test]
    fn names_that_no_registry_accepts_are_refused() {
        for text in [
            "oci://",
            "oci://r",
            "oci:///m:t",
            "oci://r/M:t",
            "oci://r/a//b",
            "oci://r/../b",
            "oci://r/a..b",
            "oci://u:p@r/a",
            "oci://r/a:",
            "oci://r/a:-t",
            "oci://r/a:t t",
            "oci://r/a?x:t",
            "oci://r/a@sha256:00",
            "oci://r:port/a",
            "oci-archive:",
            "oci:",
            "docker://r/a",
        ] {
            assert!(text.parse::<OciReference>().is_err(), "{text:?}");
        }
    }
}
