//! The statement of a model signature: files and their digests. Reads the payload of a bundle, and writes the payload
//! that a signer signs. It does not know whether anybody signed it.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::Digest as _;

use super::SignatureError;
use crate::model::{RepoPath, Sha256};

/// The in-toto statement's own type.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The type that makes it a model signature.
const PREDICATE: &str = "https://model_signing/signature/v1.0";
/// The type that version 0.2 of the reference implementation wrote; its encoding was faulty.
const PREDICATE_V0: &str = "https://model_signing/Digests/v0.1";
/// The most files of one signature; a repo has fewer.
const FILES_LIMIT: usize = 1_000_000;
/// Names at the root that are not part of a signed model.
pub const NEVER_SIGNED: &[&str] = &[".git", ".gitignore", ".gitattributes", ".github"];

/// Files and their stated digests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// The SHA-256 of each file, by its name below the signed folder.
    pub files: BTreeMap<RepoPath, Sha256>,
    /// The SHA-256 of a file that was signed alone, if the statement does not name it.
    pub alone: Option<Sha256>,
    /// Files and folders that the signer left out, below the signed folder.
    pub ignored: Vec<String>,
}

/// Read first: another kind of statement may have other keys.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(rename = "_type")]
    statement: String,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Whole {
    predicate: PredicateText,
}

#[derive(Deserialize)]
struct PredicateText {
    resources: Vec<ResourceText>,
    serialization: SerializationText,
}

#[derive(Deserialize)]
struct ResourceText {
    name: String,
    digest: String,
    algorithm: String,
}

#[derive(Deserialize)]
struct SerializationText {
    method: String,
    hash_type: String,
    #[serde(default)]
    ignore_paths: Option<Vec<String>>,
}

impl Statement {
    /// Reads the exact payload of a bundle.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, SignatureError> {
        let invalid = |why: String| SignatureError::Malformed { why };
        let json = |error: serde_json::Error| invalid(format!("its statement does not parse: {error}"));
        let kind: Kind = serde_json::from_slice(payload).map_err(json)?;
        if kind.statement != STATEMENT {
            return Err(SignatureError::OtherPurpose { what: kind.statement });
        }
        match kind.predicate_type.as_str() {
            PREDICATE => {}
            PREDICATE_V0 => return Err(SignatureError::Version02),
            _ => return Err(SignatureError::OtherPurpose { what: kind.predicate_type }),
        }
        let whole: Whole = serde_json::from_slice(payload).map_err(json)?;
        let PredicateText { resources, serialization } = whole.predicate;
        let unsupported = |what: String| Err(SignatureError::Unsupported { what });
        match serialization.method.as_str() {
            "files" => {}
            "shards" => return unsupported("digests of parts of files (\"shards\")".into()),
            other => return unsupported(format!("the method \"{other}\"")),
        }
        if serialization.hash_type != "sha256" {
            return unsupported(format!("{} digests", serialization.hash_type));
        }
        if resources.is_empty() || resources.len() > FILES_LIMIT {
            return Err(invalid(format!("its statement names {} files", resources.len())));
        }
        let mut files = BTreeMap::new();
        let mut alone = None;
        let count = resources.len();
        for resource in resources {
            if resource.algorithm != "sha256" {
                return unsupported(format!("{} digests", resource.algorithm));
            }
            // The reference implementation's name for a file that is the whole model.
            if resource.name == "." && count == 1 {
                alone = Some(resource.digest.parse().map_err(|error| invalid(format!("{error}")))?);
                continue;
            }
            let path: RepoPath = resource.name.parse().map_err(|error| invalid(format!("{error}")))?;
            let digest: Sha256 = resource.digest.parse().map_err(|error| invalid(format!("{error}")))?;
            if files.insert(path, digest).is_some() {
                // One of the two must be wrong.
                return Err(invalid(format!("its statement names a file twice: {}", resource.name)));
            }
        }
        Ok(Statement { files, alone, ignored: serialization.ignore_paths.unwrap_or_default() })
    }

    /// A statement of these files, without those that are never signed.
    pub fn new(files: BTreeMap<RepoPath, Sha256>) -> Self {
        Statement { files, alone: None, ignored: NEVER_SIGNED.iter().map(|&name| name.to_owned()).collect() }
    }

    /// The SHA-256 of its only file, if it is about one file alone.
    pub fn only(&self) -> Option<Sha256> {
        let mut digests = self.files.values().chain(&self.alone);
        digests.next().copied().filter(|_| digests.next().is_none())
    }

    /// Whether a file is not signed on purpose: by the specification, or because the signer left it out.
    pub fn leaves_out(&self, path: &str) -> bool {
        let below = |folder: &str| {
            let rest = path.strip_prefix(folder);
            !folder.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        NEVER_SIGNED.iter().any(|name| below(name)) || self.ignored.iter().any(|name| below(name))
    }

    /// The digest of the whole model: a digest of all files' raw digests, in the order of their names.
    pub fn root_digest(&self) -> Sha256 {
        let mut hasher = sha2::Sha256::new();
        for digest in self.files.values() {
            hasher.update(digest.0);
        }
        Sha256(hasher.finalize().into())
    }

    /// The statement in the form for a signer, for a model with this name.
    pub fn to_json(&self, name: &str) -> serde_json::Value {
        let resource = |(path, digest): (&RepoPath, &Sha256)| serde_json::json!({ "name": path.as_str(), "algorithm": "sha256", "digest": digest.to_string() });
        serde_json::json!({
            "_type": STATEMENT,
            "subject": [{ "name": name, "digest": { "sha256": self.root_digest().to_string() } }],
            "predicateType": PREDICATE,
            "predicate": {
                "resources": self.files.iter().map(resource).collect::<Vec<_>>(),
                "serialization": {
                    "method": "files", "hash_type": "sha256", "allow_symlinks": false, "ignore_paths": self.ignored,
                },
            },
        })
    }
}
