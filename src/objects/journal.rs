//! How far the upload of one file came, kept in the store itself: whoever runs next, on any machine, goes
//! on from there. The hash goes on too: its state after the last part that is noted.

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::{SerializableState, SerializedState};

use super::{Keys, Mark, ObjectError, Objects};
use crate::model::{CommitId, Digest, Entry, Hasher};

const VERSION: u32 = 1;
/// Ten thousand parts with their tags.
pub(super) const LIMIT: u64 = 8 << 20;

/// What is noted of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    version: u32,
    /// The digest that the whole must have.
    digest: String,
    size: u64,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum State {
    /// Parts from the first on have arrived.
    Parts {
        upload: String,
        part_size: u64,
        parts: Vec<String>,
        /// The state of the SHA-256 after them.
        hash: String,
    },
    /// It has its name, and was this when it got it.
    Done(Mark),
}

impl Journal {
    pub fn new(digest: &Digest, size: u64, state: State) -> Self {
        Journal { version: VERSION, digest: format!("{digest:?}"), size, state }
    }

    /// What an earlier run noted, if it is about the same content and makes sense.
    pub fn read(text: &[u8], digest: &Digest, size: u64) -> Option<State> {
        let journal: Journal = serde_json::from_slice(text).ok()?;
        let same = journal.version == VERSION && journal.digest == format!("{digest:?}") && journal.size == size;
        match &journal.state {
            _ if !same => None,
            State::Parts { part_size, parts, .. } => {
                let at = part_size.checked_mul(parts.len() as u64)?;
                (*part_size > 0 && at <= size.checked_add(*part_size)?).then_some(journal.state)
            }
            State::Done(mark) => (mark.size == size).then_some(journal.state),
        }
    }

    pub fn text(&self) -> Vec<u8> {
        // Strings and numbers: nothing of it fails to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What an earlier run noted of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Noted {
    /// So many bytes of it are there, without a name.
    Bytes(u64),
    /// It got its name, and was this then.
    Done(Mark),
}

impl Objects {
    /// What an earlier run noted of a file, if it makes sense.
    pub(crate) async fn noted(
        &self,
        keys: &Keys,
        commit: &CommitId,
        entry: &Entry,
    ) -> Result<Option<Noted>, ObjectError> {
        let text = self.small(&keys.journal(commit, &entry.path), LIMIT).await?;
        let state = text.and_then(|text| Journal::read(&text, &entry.digest(), entry.size));
        Ok(state.map(|state| match state {
            State::Parts { part_size, parts, .. } => {
                Noted::Bytes(part_size.saturating_mul(parts.len() as u64).min(entry.size))
            }
            State::Done(mark) => Noted::Done(mark),
        }))
    }
}

/// A hasher's state in hexadecimal digits; git's hash is only of files that are uploaded in one go.
pub(super) fn save(hasher: &Hasher) -> Option<String> {
    let hasher = hasher.as_sha256()?;
    let mut text = String::new();
    for byte in hasher.serialize() {
        use std::fmt::Write as _;
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

/// The hasher with that state.
pub(super) fn load(text: &str) -> Option<Hasher> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let bytes: Vec<u8> = digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
    let state = SerializedState::<sha2::Sha256>::try_from(bytes.as_slice()).ok()?;
    sha2::Sha256::deserialize(&state).ok().map(Hasher::resume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_on_where_it_was_saved() {
        for cut in [0, 1, 63, 64, 65, 1000] {
            let bytes: Vec<u8> = (0..1000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut whole = Hasher::sha256();
            whole.update(&bytes);
            let mut first = Hasher::sha256();
            first.update(&bytes[..cut]);
            let mut second = load(&save(&first).unwrap()).unwrap();
            second.update(&bytes[cut..]);
            assert_eq!(second.finish().digest(), whole.finish().digest());
        }
        assert!(load("00").is_none() && load("zz").is_none() && load("").is_none());
    }

    #[test]
    fn a_journal_of_other_content_is_none() {
        let digest = Hasher::sha256().finish().digest();
        let state = State::Parts { upload: "u".into(), part_size: 8, parts: vec!["a".into()], hash: String::new() };
        let text = Journal::new(&digest, 20, state.clone()).text();
        assert_eq!(Journal::read(&text, &digest, 20), Some(state));
        assert_eq!(Journal::read(&text, &digest, 21), None);
        assert_eq!(Journal::read(&text, &Hasher::git_blob(0).finish().digest(), 20), None);
        assert_eq!(Journal::read(&text[1..], &digest, 20), None);
        let state = State::Parts {
            upload: "u".into(),
            part_size: u64::MAX,
            parts: vec![String::new(); 3],
            hash: String::new(),
        };
        assert_eq!(Journal::read(&Journal::new(&digest, 20, state).text(), &digest, 20), None);
    }
}
