//! The JSON of the Hub's answers. The types are our own: `hf-hub` 1.0.0 reads the SHA-256 of a tree
//! entry from `lfs.sha256`, while the endpoint sends `lfs.oid`, so its listing has no digests.

use serde::Deserialize;
use serde_json::Value;

use super::claim::ListedClaim;
use crate::model::{Card, Digest, Entry, Gated, Lfs, Rejected, RepoPath};

/// `GET /api/{type}s/{id}/revision/{rev}`.
#[derive(Debug, Deserialize)]
pub(super) struct InfoJson {
    pub id: Option<String>,
    pub sha: Option<String>,
    #[serde(default)]
    pub private: bool,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub gated: GatedJson,
    #[serde(default, rename = "cardData")]
    card: Value,
    #[serde(default)]
    tags: Value,
    #[serde(default, rename = "securityRepoStatus")]
    security: Value,
}

impl InfoJson {
    /// The other facts on the page. None of them is needed, so a field of another shape is ignored.
    pub fn card(&self) -> Card {
        let text = |value: &Value| value.as_str().filter(|t| t.len() <= TEXT).map(str::to_owned);
        let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
        let noted = self.card.get("license").and_then(|l| text(l).or_else(|| text(l.get(0)?)));
        let tagged = || list(&self.tags).iter().find_map(|t| Some(text(t)?.strip_prefix("license:")?.to_owned()));
        let issue = |value: &Value| Some((text(value.get("path")?)?, text(value.get("level")?)?));
        let issues = self.security.get("filesWithIssues").map(list).unwrap_or_default();
        Card { license: noted.or_else(tagged), issues: issues.iter().filter_map(issue).take(ISSUES).collect() }
    }
}

/// The most bytes of a text about a repo.
const TEXT: usize = 4096;
/// The most files of a scan.
const ISSUES: usize = 1000;

/// `false`, `"auto"` or `"manual"`.
#[derive(Debug, Deserialize, Default)]
#[serde(untagged)]
pub(super) enum GatedJson {
    Mode(String),
    #[allow(dead_code)] // only a pattern reads the value
    Flag(bool),
    #[default]
    Absent,
}

impl From<GatedJson> for Gated {
    fn from(json: GatedJson) -> Self {
        match json {
            GatedJson::Mode(mode) if mode == "auto" => Gated::Auto,
            GatedJson::Mode(_) | GatedJson::Flag(true) => Gated::Manual,
            GatedJson::Flag(false) | GatedJson::Absent => Gated::No,
        }
    }
}

/// One element of `GET .../tree/{rev}?recursive=true`.
#[derive(Debug, Deserialize)]
pub(super) struct TreeJson {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: Option<String>,
    lfs: Option<LfsJson>,
    #[serde(rename = "xetHash")]
    xet_hash: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LfsJson {
    oid: String,
    size: u64,
}

/// `GET .../revision/{rev}?blobs=true`: the files as a repo's page lists them.
#[derive(Debug, Deserialize)]
pub(super) struct SiblingsJson {
    siblings: Option<Vec<SiblingJson>>,
}

#[derive(Debug, Deserialize)]
struct SiblingJson {
    rfilename: String,
    #[serde(default)]
    size: u64,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<SiblingLfsJson>,
}

#[derive(Debug, Deserialize)]
struct SiblingLfsJson {
    sha256: String,
    size: u64,
}

impl SiblingsJson {
    /// The files' names; `None` if the page lists no files at all.
    pub fn names(&self) -> Option<Vec<String>> {
        Some(self.siblings.as_ref()?.iter().map(|file| file.rfilename.clone()).collect())
    }

    /// The same as elements of a tree; `None` if some file has no digest.
    pub fn rows(self) -> Option<Vec<TreeJson>> {
        let row = |file: SiblingJson| {
            Some(TreeJson {
                kind: "file".to_owned(),
                path: file.rfilename,
                size: file.size,
                oid: Some(file.blob_id?),
                lfs: file.lfs.map(|lfs| LfsJson { oid: lfs.sha256, size: lfs.size }),
                xet_hash: None,
            })
        };
        self.siblings.into_iter().flatten().map(row).collect()
    }
}

/// A parsed element of a tree.
pub(super) enum Listed {
    File(Entry),
    Rejected(Rejected),
    /// A folder. A recursive listing names the files in it too.
    Folder(RepoPath),
    /// A submodule, or an unknown kind.
    Other,
}

impl TreeJson {
    /// The element for a file that is known from something other than a tree.
    pub fn file(path: String, size: u64, digest: Option<Digest>) -> Self {
        let (oid, lfs) = match digest {
            None => (None, None),
            Some(Digest::GitBlob(oid)) => (Some(oid.to_string()), None),
            // The pointer's git id is not known.
            Some(Digest::Sha256(sha256)) => (Some("0".repeat(40)), Some(LfsJson { oid: sha256.to_string(), size })),
        };
        TreeJson { kind: "file".to_owned(), path, size, oid, lfs, xet_hash: None }
    }

    /// The claims of the element, without checks; `None` for a folder.
    pub fn claim(self) -> Option<ListedClaim> {
        let size = self.lfs.as_ref().map_or(self.size, |lfs| lfs.size);
        let digest = match &self.lfs {
            Some(lfs) => lfs.oid.parse().ok().map(Digest::Sha256),
            None => self.oid.and_then(|oid| oid.parse().ok()).map(Digest::GitBlob),
        };
        (self.kind == "file").then_some(ListedClaim { path: self.path, size, digest, xet_hash: self.xet_hash })
    }

    /// Checks every field; `Err` says what is wrong with which path.
    pub fn parse(self) -> Result<Listed, String> {
        if self.kind == "directory" {
            return Ok(self.path.parse().map_or(Listed::Other, Listed::Folder));
        }
        if self.kind != "file" {
            return Ok(Listed::Other);
        }
        let size = self.lfs.as_ref().map_or(self.size, |lfs| lfs.size);
        let path: RepoPath = match self.path.parse() {
            Ok(path) => path,
            Err(error) => return Ok(Listed::Rejected(Rejected { error, size })),
        };
        let oid = self
            .oid
            .as_deref()
            .ok_or("it has no oid")
            .and_then(|o| o.parse().map_err(|_| "its oid is not a git object id"));
        let oid = oid.map_err(|why| format!("the listing's entry for {} cannot be used: {why}", path.shown()))?;
        let lfs = match self.lfs {
            Some(lfs) => {
                let sha256 = lfs.oid.parse().map_err(|_| {
                    format!("the listing's entry for {} cannot be used: its lfs.oid is not a SHA-256", path.shown())
                })?;
                Some(Lfs { sha256, size: lfs.size })
            }
            None => None,
        };
        let xet_hash = self.xet_hash.filter(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()));
        Ok(Listed::File(Entry { path, size, oid, lfs, xet_hash }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sha256_is_read_from_lfs_oid_where_hf_hub_loses_it() {
        let json = r#"{"type":"file","oid":"ce013625030ba8dba906f756967f9e9ca394464a","size":6,"path":"model.safetensors",
            "lfs":{"oid":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":6,"pointerSize":134}}"#;
        let Ok(Listed::File(entry)) = serde_json::from_str::<TreeJson>(json).unwrap().parse() else {
            panic!("no file")
        };
        assert_eq!(entry.digest().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        // The defect that forbids hf-hub's listing here. If this fails, hf-hub was fixed.
        let theirs: hf_hub::repository::RepoTreeEntry = serde_json::from_str(json).unwrap();
        assert!(!format!("{theirs:?}").contains("e3b0c44298fc1c14"));
    }

    #[test]
    fn hostile_paths_are_set_aside_and_broken_digests_are_errors() {
        let parse = |json: &str| serde_json::from_str::<TreeJson>(json).unwrap().parse();
        assert!(matches!(parse(r#"{"type":"file","oid":"x","size":1,"path":"../x"}"#), Ok(Listed::Rejected(_))));
        assert!(parse(r#"{"type":"file","oid":"x","size":1,"path":"x"}"#).is_err());
        assert!(parse(r#"{"type":"file","size":1,"path":"x"}"#).is_err());
        assert!(matches!(parse(r#"{"type":"directory","oid":"x","path":"x"}"#), Ok(Listed::Folder(_))));
    }
}
