//! What earlier runs found to be right: stamps of files whose digest was checked, and the outcomes
//! of full checks. An append-only JSON-lines file; a line that does not parse is skipped, a lost
//! file only costs a re-check.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::disk::Stamp;
use super::{StoreError, disk};
use crate::repo::Digest;
use crate::verify::Outcome;

/// A record larger than this is started anew.
const SIZE_LIMIT: u64 = 64 << 20;
/// Full checks remembered.
const CHECKS_KEPT: usize = 64;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    /// The file called `key` had this digest when it looked like `stamp`.
    File { key: String, digest: String, stamp: Stamp },
    /// The contents that `key` stands for were checked with this outcome.
    Check { key: String, outcome: Outcome },
}

/// The record of one repo folder or local dir.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    state: Mutex<Option<State>>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, (String, Stamp)>,
    checks: VecDeque<(String, Outcome)>,
}

impl State {
    fn take(&mut self, line: Line) {
        match line {
            Line::File { key, digest, stamp } => {
                self.files.insert(key, (digest, stamp));
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

    fn read(path: &Path) -> Self {
        let mut state = State::default();
        let mut text = Vec::new();
        if let Ok(file) = fs::File::open(path)
            && file.take(SIZE_LIMIT).read_to_end(&mut text).is_ok()
        {
            let mut lines = 0usize;
            for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                lines += 1;
                if let Ok(line) = serde_json::from_slice(line) {
                    state.take(line);
                }
            }
            if lines > 2 * (state.files.len() + state.checks.len()) + 1000 {
                state.compact(path);
            }
        }
        state
    }

    /// Rewrites the file with what is still true of it. Losing a concurrent append only costs a re-check.
    fn compact(&self, path: &Path) {
        let files = self.files.iter().map(|(key, (digest, stamp))| Line::File {
            key: key.clone(),
            digest: digest.clone(),
            stamp: *stamp,
        });
        let checks =
            self.checks.iter().map(|(key, outcome)| Line::Check { key: key.clone(), outcome: outcome.clone() });
        let text: String =
            files.chain(checks).filter_map(|line| serde_json::to_string(&line).ok()).map(|l| l + "\n").collect();
        let _ = disk::write_atomic(path, text.as_bytes());
    }
}

impl Record {
    pub fn new(path: PathBuf) -> Self {
        Record { path, state: Mutex::new(None) }
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        guard.get_or_insert_with(|| State::read(&self.path));
        guard
    }

    /// Whether the file called `key` had `digest` when it last looked like `stamp`.
    pub fn knows(&self, key: &str, digest: &Digest, stamp: &Stamp) -> bool {
        self.state()
            .as_ref()
            .and_then(|s| s.files.get(key))
            .is_some_and(|(d, s)| *d == digest.to_string() && s == stamp)
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

    fn add(&self, line: Line) -> Result<(), StoreError> {
        let Ok(mut text) = serde_json::to_string(&line) else { return Ok(()) };
        text.push('\n');
        if let Some(state) = self.state().as_mut() {
            state.take(line);
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        disk::create_dirs(dir)?;
        // One write in append mode: lines of several processes do not mix.
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(StoreError::io("write to", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size: u64) -> Stamp {
        Stamp { size, mtime: 1, mtime_ns: 2, inode: 3, device: 4 }
    }

    #[test]
    fn what_is_remembered_survives_and_a_changed_file_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verified.jsonl");
        let digest = crate::repo::Hasher::sha256().finish();
        Record::new(path.clone()).remember("a", &digest, stamp(1)).unwrap();
        Record::new(path.clone()).remember_check("k", &Outcome::default()).unwrap();
        let again = Record::new(path);
        assert!(again.knows("a", &digest, &stamp(1)));
        assert!(!again.knows("a", &digest, &stamp(2)));
        assert!(!again.knows("b", &digest, &stamp(1)));
        assert_eq!(again.check("k"), Some(Outcome::default()));
        assert_eq!(again.check("l"), None);
    }

    #[test]
    fn a_damaged_record_only_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("verified.jsonl");
        let digest = crate::repo::Hasher::sha256().finish();
        Record::new(path.clone()).remember("a", &digest, stamp(1)).unwrap();
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"kind\":\"file\",\"key\n\xff\xfe\n[[[[\n");
        fs::write(&path, text).unwrap();
        assert!(Record::new(path).knows("a", &digest, &stamp(1)));
    }
}
