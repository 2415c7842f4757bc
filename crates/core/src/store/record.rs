//! The record of earlier runs: stamps of files whose digest was checked, and the outcomes of full
//! checks. It is a JSON-lines file that only grows. A line that does not parse is skipped; a lost
//! file only costs a new check.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::within::Folder;
use crate::finding::{Outcome, Stamp};
use crate::model::Digest;
use crate::mutex::lock;
use crate::platform::{Access, Create, Why, why};

/// The most bytes of a record that are read. A million files with long names take less.
const SIZE_LIMIT: u64 = 1 << 30;
/// The most bytes of a line; a longer one is skipped. The outcome of a check may be long.
const LINE_LIMIT: u64 = 64 << 20;
/// The record's name in its folder.
const NAME: &str = "verified.jsonl";
/// The most full checks that are kept.
const CHECKS_KEPT: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    /// The file `key` had this digest when it had this `stamp`.
    File { key: String, digest: String, stamp: Stamp },
    /// The file `key` proved wrong: earlier lines about it, and about any contents, do not count any more.
    Struck { key: String },
    /// The contents with this key were checked with this outcome.
    Check { key: String, outcome: Outcome },
}

/// The record of one repo folder or local dir.
#[derive(Debug)]
pub(super) struct DigestRecord {
    root: PathBuf,
    /// The record's folder below `root`.
    below: PathBuf,
    limit: u64,
    state: Mutex<Option<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, Known>,
    checks: VecDeque<(String, Outcome)>,
    /// The end of the file, which the next line must follow.
    end: End,
}

/// The knowledge about a file.
#[derive(Debug, Clone)]
struct Known {
    digest: String,
    stamp: Stamp,
    /// Whether it proved wrong since. Then only its stamp from when it was stored is useful.
    struck: bool,
}

/// The ending of the file on disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A complete line.
    #[default]
    Whole,
    /// A line that a crash tore; the next line must not join it.
    Torn,
    /// The file is too large, or most of it is out of date, so it is written again.
    Anew,
}

impl State {
    fn take(&mut self, line: Line) {
        match line {
            Line::File { key, digest, stamp } => {
                self.files.insert(key, Known { digest, stamp, struck: false });
            }
            Line::Struck { key } => {
                if let Some(known) = self.files.get_mut(&key) {
                    known.struck = true;
                }
                self.checks.clear();
            }
            Line::Check { key, outcome } => {
                self.checks.retain(|(k, _)| *k != key);
                self.checks.push_back((key, outcome));
                if self.checks.len() > CHECKS_KEPT {
                    self.checks.pop_front();
                }
            }
        }
    }

    /// The record in the folder `below` of `root`; an empty one if nothing can be read.
    fn read(root: &Path, below: &Path, limit: u64) -> Self {
        let mut state = State::default();
        let Ok(Some(folder)) = Folder::find(root, below) else { return state };
        let Ok(file) = folder.open(NAME, Access::Read, Create::Never) else { return state };
        let Ok(meta) = file.metadata() else { return state };
        if !meta.is_file() {
            return state;
        }
        let mut lines = 0usize;
        let mut text = BufReader::with_capacity(1 << 20, file.take(limit));
        let mut line = Vec::new();
        loop {
            line.clear();
            match text.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            state.end = if line.ends_with(b"\n") { End::Whole } else { End::Torn };
            if line.len() as u64 >= LINE_LIMIT {
                // Our own lines are never so long: the rest is not worth reading.
                state.end = End::Anew;
                return state;
            }
            lines += 1;
            if let Ok(line) = serde_json::from_slice(&line) {
                state.take(line);
            }
        }
        if meta.len() > limit || lines > 2 * (state.files.len() + state.checks.len()) + 1000 {
            state.end = End::Anew;
        }
        state
    }

    /// The content of a new file with everything that is known.
    fn text(&self) -> String {
        let files = self.files.iter().flat_map(|(key, known)| {
            let line = Line::File { key: key.clone(), digest: known.digest.clone(), stamp: known.stamp };
            std::iter::once(line).chain(known.struck.then(|| Line::Struck { key: key.clone() }))
        });
        let checks =
            self.checks.iter().map(|(key, outcome)| Line::Check { key: key.clone(), outcome: outcome.clone() });
        files.chain(checks).filter_map(|line| serde_json::to_string(&line).ok()).map(|l| l + "\n").collect()
    }
}

impl DigestRecord {
    /// The record in the folder `below` of `root`.
    pub fn new(root: &Path, below: PathBuf) -> Self {
        DigestRecord { root: root.to_path_buf(), below, limit: SIZE_LIMIT, state: Mutex::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        let mut guard = lock(&self.state);
        guard.get_or_insert_with(|| State::read(&self.root, &self.below, self.limit));
        guard
    }

    /// Whether the file `key` had `digest` when it had this `stamp`.
    pub fn knows(&self, key: &str, digest: &Digest, stamp: &Stamp) -> bool {
        self.state()
            .as_ref()
            .and_then(|s| s.files.get(key))
            .is_some_and(|known| !known.struck && known.digest == digest.to_string() && known.stamp == *stamp)
    }

    /// The digest and stamp that the file `key` had when it was last right, even if it proved wrong since.
    pub fn placed(&self, key: &str) -> Option<(Digest, Stamp)> {
        let state = self.state();
        let known = state.as_ref()?.files.get(key)?;
        Some((Digest::from_etag(&known.digest).ok()?, known.stamp))
    }

    /// The keys of all known files.
    pub fn keys(&self) -> Vec<String> {
        self.state().as_ref().map_or_else(Vec::new, |state| state.files.keys().cloned().collect())
    }

    /// Flushes the record and its name.
    pub fn flush(&self) -> Result<(), StoreError> {
        let Some(folder) = Folder::find(&self.root, &self.below)? else { return Ok(()) };
        if let Ok(file) = folder.open(NAME, Access::Flush, Create::Never) {
            file.sync_data().map_err(StoreError::io("flush", &folder.path(NAME)))?;
        }
        folder.sync()
    }

    /// Records that the file `key` has `digest` as long as it has this `stamp`.
    pub fn remember(&self, key: &str, digest: &Digest, stamp: Stamp) -> Result<(), StoreError> {
        if self.knows(key, digest, &stamp) {
            return Ok(());
        }
        self.add(Line::File { key: key.to_owned(), digest: digest.to_string(), stamp })
    }

    /// The recorded outcome for `key`.
    pub fn check(&self, key: &str) -> Option<Outcome> {
        self.state().as_ref()?.checks.iter().find(|(k, _)| k == key).map(|(_, outcome)| outcome.clone())
    }

    /// Records the outcome for `key`.
    pub fn remember_check(&self, key: &str, outcome: &Outcome) -> Result<(), StoreError> {
        self.add(Line::Check { key: key.to_owned(), outcome: outcome.clone() })
    }

    /// Removes the knowledge about the file `key`, and every check of contents. It is flushed when this returns.
    pub fn strike(&self, key: &str) -> Result<(), StoreError> {
        self.add(Line::Struck { key: key.to_owned() })
    }

    fn add(&self, line: Line) -> Result<(), StoreError> {
        // Losing a proof costs only a new check, but a wrong file must stay noted even after a crash.
        let flush = matches!(line, Line::Struck { .. });
        let Ok(mut text) = serde_json::to_string(&line) else { return Ok(()) };
        text.push('\n');
        let mut guard = self.state();
        let Some(state) = guard.as_mut() else { return Ok(()) };
        if state.end == End::Anew {
            // Entries that other processes removed meanwhile must not come back.
            *state = State::read(&self.root, &self.below, self.limit);
            state.end = End::Anew;
        }
        state.take(line);
        let folder = Folder::make(&self.root, &self.below)?;
        let end = state.end;
        match end {
            // A concurrent append is lost here; that costs only a new check.
            End::Anew => folder.write(NAME, &folder, state.text().as_bytes(), flush)?,
            End::Torn => append(&folder, &format!("\n{text}"), flush, state)?,
            End::Whole => append(&folder, &text, flush, state)?,
        }
        state.end = End::Whole;
        Ok(())
    }
}

/// One write in append mode: lines of several processes do not mix. A record with a second name also belongs to
/// somebody else; then all of `state` goes into a new file.
fn append(folder: &Folder, text: &str, flush: bool, state: &State) -> Result<(), StoreError> {
    if folder.stat(NAME)?.is_some_and(|stat| stat.links > 1) {
        return folder.write(NAME, folder, state.text().as_bytes(), flush);
    }
    let file = folder.open(NAME, Access::Append, Create::IfMissing);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        if flush { file.sync_data() } else { Ok(()) }
    };
    match file.and_then(write) {
        Err(error) if why(&error) == Why::Link => Err(StoreError::Symlink(folder.path(NAME))),
        done => done.map_err(StoreError::io("write to", &folder.path(NAME))),
    }
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
