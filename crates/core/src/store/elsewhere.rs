//! This machine's knowledge about a commit's objects, from its own runs. It is on this machine's disk, so that
//! somebody who may write only to the bucket cannot change it. Other modules ask for the objects' present state.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::finding::Outcome;
use crate::model::{Digest, Hasher, RepoPath};

const VERSION: u32 = 1;
/// The most bytes of a record, which has some lines for each file.
const LIMIT: u64 = 256 << 20;
/// The most outcomes of checks that are kept for one commit.
const CHECKS: usize = 64;

/// The facts that a store states about an object, or a registry about a layer, without sending it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Mark {
    pub size: u64,
    /// Changes with the content; not every store gives one.
    pub etag: Option<String>,
    /// When the store accepted it, in seconds; the answer to an upload does not state it.
    pub modified: Option<i64>,
}

impl Mark {
    /// Azure quotes a tag in one answer and not in the next.
    pub(crate) fn new(size: u64, etag: Option<String>) -> Self {
        Mark { size, etag: etag.map(|tag| tag.trim_matches('"').to_owned()), modified: None }
    }

    /// Whether it distinguishes an object from another that replaces it.
    pub(crate) fn is_telling(&self) -> bool {
        self.etag.is_some() && self.modified.is_some()
    }

    /// Whether the object is the one that was seen before, as far as both say.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code))]
    pub(crate) fn is_still(&self, seen: &Mark) -> bool {
        self.size == seen.size
            && self.etag.is_some()
            && self.etag == seen.etag
            && (self.modified == seen.modified || self.modified.is_none() || seen.modified.is_none())
    }
}

/// The record of one commit's objects.
#[derive(Debug, Default)]
pub(crate) struct SnapshotRecord {
    /// The file on disk; `None` if nothing is kept.
    file: Option<PathBuf>,
    known: Known,
    /// The results of this run that are not saved yet; `None` for a file whose entry must be removed.
    news: BTreeMap<String, Option<Object>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    version: u32,
    /// The place of the objects. It prevents that two places of the same name share a record.
    place: String,
    /// The known objects, by path.
    files: BTreeMap<String, Object>,
    /// The outcomes of checks of contents, by the key of their inputs.
    checks: BTreeMap<String, Outcome>,
}

/// An object whose bytes this machine hashed, or hashed and uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    digest: String,
    /// The store's description of it at that time.
    mark: Mark,
}

impl Known {
    fn read(file: &Path, place: &str) -> Option<Self> {
        let open = fs::File::open(file).ok()?;
        let mut text = Vec::new();
        open.take(LIMIT).read_to_end(&mut text).ok()?;
        let known: Known = serde_json::from_slice(&text).ok()?;
        (known.version == VERSION && known.place == place).then_some(known)
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut new = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
        new.write_all(&serde_json::to_vec(self)?)?;
        new.as_file().sync_data()?;
        new.persist(file)?;
        Ok(())
    }

    fn apply(&mut self, news: &BTreeMap<String, Option<Object>>) {
        for (path, object) in news {
            match object {
                Some(object) => drop(self.files.insert(path.clone(), object.clone())),
                None => drop(self.files.remove(path)),
            }
        }
    }
}

impl SnapshotRecord {
    /// The record of the objects at `place`; an empty one if there is no folder or it cannot be read.
    pub async fn read(folder: Option<&Path>, place: String) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(place.as_bytes());
        let file = folder.map(|folder| folder.join(format!("{}.json", hasher.finish().digest())));
        let known = blocking({
            let (file, place) = (file.clone(), place.clone());
            move || file.and_then(|file| Known::read(&file, &place))
        });
        let fresh = || Known { version: VERSION, place, ..Known::default() };
        SnapshotRecord { file, known: known.await.unwrap_or_else(fresh), news: BTreeMap::new() }
    }

    /// Whether this machine found that the object has the digest, and the store's present description `mark` is
    /// unchanged since.
    pub fn knows(&self, path: &RepoPath, digest: Digest, mark: &Mark) -> bool {
        // Without a tag and a time, a replacement would go unnoticed.
        mark.is_telling()
            && (self.known.files.get(path.as_str()))
                .is_some_and(|known| known.digest == format!("{digest:?}") && known.mark == *mark)
    }

    /// What the store called the object that had the digest when this machine looked last.
    pub fn tag(&self, path: &RepoPath, digest: Digest) -> Option<&str> {
        let known = self.known.files.get(path.as_str()).filter(|known| known.digest == format!("{digest:?}"))?;
        known.mark.etag.as_deref()
    }

    /// Notes that the object has the digest: its bytes were hashed in this run.
    pub fn remember(&mut self, path: &RepoPath, digest: Digest, mark: &Mark) {
        if mark.is_telling() && !self.knows(path, digest, mark) {
            let object = Object { digest: format!("{digest:?}"), mark: mark.clone() };
            self.note(path.as_str(), Some(object));
        }
    }

    /// Removes the object from the record.
    pub fn forget(&mut self, path: &str) {
        if self.known.files.contains_key(path) {
            self.note(path, None);
        }
    }

    fn note(&mut self, path: &str, object: Option<Object>) {
        let news = BTreeMap::from([(path.to_owned(), object)]);
        self.known.apply(&news);
        self.news.extend(news);
    }

    /// The outcome of the check of contents with this key.
    pub fn check(&self, key: &str) -> Option<&Outcome> {
        self.known.checks.get(key)
    }

    /// Notes the outcome of a check of contents.
    pub fn remember_check(&mut self, key: String, outcome: Outcome) {
        if self.known.checks.len() >= CHECKS {
            self.known.checks.clear();
        }
        self.known.checks.insert(key, outcome);
    }

    /// Writes the record, with the notes that other runs have written meanwhile. If that fails, the next run reads the
    /// objects again.
    pub async fn save(&mut self) {
        let Some(file) = self.file.clone() else { return };
        let (mut known, news) = (self.known.clone(), std::mem::take(&mut self.news));
        blocking(move || {
            if let Some(now) = Known::read(&file, &known.place) {
                known.files = now.files;
                known.apply(&news);
                let room = CHECKS.saturating_sub(known.checks.len());
                for (key, outcome) in now.checks.into_iter().take(room) {
                    known.checks.entry(key).or_insert(outcome);
                }
            }
            // If an entry must go and the record cannot be written, the whole record is removed.
            if known.write(&file).is_err() && news.values().any(Option::is_none) {
                let _ = fs::remove_file(&file);
            }
        })
        .await;
    }
}

/// Runs disk work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
