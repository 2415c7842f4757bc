//! What earlier runs found to be right: stamps of files whose digest was checked, and the outcomes
//! of full checks. An append-only JSON-lines file; a line that does not parse is skipped, a lost
//! file only costs a re-check.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::within::{FILE_MODE, Folder};
use crate::finding::{Outcome, Stamp};
use crate::model::Digest;

/// Of a record larger than this only so much is read. A million files of long names stay below it.
const SIZE_LIMIT: u64 = 1 << 30;
/// A line longer than this says nothing. An outcome of a check may be long.
const LINE_LIMIT: u64 = 64 << 20;
/// The record's name in its folder.
const NAME: &str = "verified.jsonl";
/// Full checks remembered.
const CHECKS_KEPT: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    /// The file called `key` had this digest when it looked like `stamp`.
    File { key: String, digest: String, stamp: Stamp },
    /// The file called `key` proved wrong: what earlier lines say of it, and of any contents, is void.
    Struck { key: String },
    /// The contents that `key` stands for were checked with this outcome.
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
    /// What the next line must come after.
    end: End,
}

/// What is known of a file.
#[derive(Debug, Clone)]
struct Known {
    digest: String,
    stamp: Stamp,
    /// It proved wrong since: only what it looked like when it was put there is worth knowing.
    struck: bool,
}

/// How the file on disk ends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a whole line.
    #[default]
    Whole,
    /// With a line that a crash tore: the next one must not be joined to it.
    Torn,
    /// It is too large, or most of it is out of date: it is written anew.
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

    /// The record in the folder `below` of `root`; an empty one where nothing can be read.
    fn read(root: &Path, below: &Path, limit: u64) -> Self {
        let mut state = State::default();
        let Ok(Some(folder)) = Folder::find(root, below) else { return state };
        let Ok(file) = folder.open(NAME, OFlags::RDONLY, Mode::empty()) else { return state };
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
                // Nothing of ours: what comes after it is not worth the time.
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

    /// Everything that is known, as the file's content.
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
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        guard.get_or_insert_with(|| State::read(&self.root, &self.below, self.limit));
        guard
    }

    /// Whether the file called `key` had `digest` when it last looked like `stamp`.
    pub fn knows(&self, key: &str, digest: &Digest, stamp: &Stamp) -> bool {
        self.state()
            .as_ref()
            .and_then(|s| s.files.get(key))
            .is_some_and(|known| !known.struck && known.digest == digest.to_string() && known.stamp == *stamp)
    }

    /// The digest that the file called `key` had when it was last found right, and what it looked like, whatever was
    /// found since.
    pub fn placed(&self, key: &str) -> Option<(Digest, Stamp)> {
        let state = self.state();
        let known = state.as_ref()?.files.get(key)?;
        Some((Digest::from_etag(&known.digest).ok()?, known.stamp))
    }

    /// The files that anything is known of.
    pub fn keys(&self) -> Vec<String> {
        self.state().as_ref().map_or_else(Vec::new, |state| state.files.keys().cloned().collect())
    }

    /// Flushes the record and its name.
    pub fn flush(&self) -> Result<(), StoreError> {
        let Some(folder) = Folder::find(&self.root, &self.below)? else { return Ok(()) };
        if let Ok(file) = folder.open(NAME, OFlags::RDONLY, Mode::empty()) {
            file.sync_data().map_err(StoreError::io("flush", &folder.path(NAME)))?;
        }
        folder.sync()
    }

    /// Remembers that the file called `key` has `digest` while it looks like `stamp`.
    pub fn remember(&self, key: &str, digest: &Digest, stamp: Stamp) -> Result<(), StoreError> {
        if self.knows(key, digest, &stamp) {
            return Ok(());
        }
        self.add(Line::File { key: key.to_owned(), digest: digest.to_string(), stamp })
    }

    /// The outcome remembered for `key`.
    pub fn check(&self, key: &str) -> Option<Outcome> {
        self.state().as_ref()?.checks.iter().find(|(k, _)| k == key).map(|(_, outcome)| outcome.clone())
    }

    /// Remembers the outcome for `key`.
    pub fn remember_check(&self, key: &str, outcome: &Outcome) -> Result<(), StoreError> {
        self.add(Line::Check { key: key.to_owned(), outcome: outcome.clone() })
    }

    /// Forgets what is known of the file called `key`, and every check of contents. Flushed when this returns.
    pub fn strike(&self, key: &str) -> Result<(), StoreError> {
        self.add(Line::Struck { key: key.to_owned() })
    }

    fn add(&self, line: Line) -> Result<(), StoreError> {
        // To lose good news costs a re-check; bad news must outlive a crash.
        let flush = matches!(line, Line::Struck { .. });
        let Ok(mut text) = serde_json::to_string(&line) else { return Ok(()) };
        text.push('\n');
        let mut guard = self.state();
        let Some(state) = guard.as_mut() else { return Ok(()) };
        if state.end == End::Anew {
            // What other processes struck meanwhile must not come back.
            *state = State::read(&self.root, &self.below, self.limit);
            state.end = End::Anew;
        }
        state.take(line);
        let folder = Folder::make(&self.root, &self.below)?;
        let end = state.end;
        match end {
            // A concurrent append is lost here: that costs a re-check.
            End::Anew => folder.write(NAME, &folder, state.text().as_bytes(), flush)?,
            End::Torn => append(&folder, &format!("\n{text}"), flush, state)?,
            End::Whole => append(&folder, &text, flush, state)?,
        }
        state.end = End::Whole;
        Ok(())
    }
}

/// One write in append mode: lines of several processes do not mix. A record that has another name too is somebody
/// else's file: then all of `state` goes into one of our own.
fn append(folder: &Folder, text: &str, flush: bool, state: &State) -> Result<(), StoreError> {
    if folder.stat(NAME)?.is_some_and(|stat| stat.st_nlink > 1) {
        return folder.write(NAME, folder, state.text().as_bytes(), flush);
    }
    let file = folder.open(NAME, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE, FILE_MODE);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        if flush { file.sync_data() } else { Ok(()) }
    };
    match file.map_err(std::io::Error::from).and_then(write) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            Err(StoreError::Symlink(folder.path(NAME)))
        }
        done => done.map_err(StoreError::io("write to", &folder.path(NAME))),
    }
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
