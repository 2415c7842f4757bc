//! The progress of one file's upload, kept in the store itself: the next run, on any machine, continues from there. It
//! saves work and proves nothing: a resumed upload is read back completely.

use serde::{Deserialize, Serialize};

use super::objects::part_size;
use crate::model::{CommitId, Digest, Entry};
use crate::object_store::{Keys, ObjectError, Objects};

const VERSION: u32 = 2;
/// The most bytes of a journal: ten thousand parts with their tags.
pub(super) const LIMIT: u64 = 8 << 20;

/// The journal of a file: which parts, from the first on, have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    version: u32,
    /// The digest that the whole file must have.
    digest: String,
    size: u64,
    pub upload: String,
    pub part_size: u64,
    pub parts: Vec<String>,
}

impl Journal {
    pub fn new(digest: &Digest, size: u64, upload: String, part_size: u64, parts: Vec<String>) -> Self {
        Journal { version: VERSION, digest: format!("{digest:?}"), size, upload, part_size, parts }
    }

    /// The journal of an earlier run, if it is valid and about the same content.
    pub fn read(text: &[u8], digest: &Digest, size: u64) -> Option<Self> {
        let journal: Journal = serde_json::from_slice(text).ok()?;
        let same = journal.version == VERSION && journal.digest == format!("{digest:?}") && journal.size == size;
        // Whole parts are in memory, so this run decides their size.
        let parts = usize::try_from(size.div_ceil(part_size(size))).ok()?;
        (same && journal.part_size == part_size(size) && journal.parts.len() <= parts).then_some(journal)
    }

    pub fn text(&self) -> Vec<u8> {
        // Strings and numbers always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Objects {
    /// How many bytes of a file an earlier run has uploaded, by its journal; `None` without a valid journal.
    pub(crate) async fn noted(
        &self,
        keys: &Keys,
        commit: &CommitId,
        entry: &Entry,
    ) -> Result<Option<u64>, ObjectError> {
        let text = match self.small(&keys.journal(commit, &entry.path), LIMIT).await {
            // Our own journals are never so large.
            Err(ObjectError::Invalid { .. }) => None,
            other => other?,
        };
        let journal = text.and_then(|text| Journal::read(&text, &entry.digest(), entry.size));
        Ok(journal.map(|j| j.part_size.saturating_mul(j.parts.len() as u64).min(entry.size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hasher;

    #[test]
    fn a_journal_of_other_content_is_none() {
        let digest = Hasher::sha256().finish().digest();
        let journal = Journal::new(&digest, 20, "u".into(), part_size(20), vec!["a".into()]);
        let text = journal.text();
        assert_eq!(Journal::read(&text, &digest, 20), Some(journal));
        assert_eq!(Journal::read(&text, &digest, 21), None);
        assert_eq!(Journal::read(&text, &Hasher::git_blob(0).finish().digest(), 20), None);
        assert_eq!(Journal::read(&text[1..], &digest, 20), None);
    }

    #[test]
    fn a_journal_with_parts_that_this_run_would_not_make_is_none() {
        let digest = Hasher::sha256().finish().digest();
        let size = 3 * part_size(20);
        let read = |part_size, parts| {
            let journal = Journal::new(&digest, size, "u".into(), part_size, vec![String::new(); parts]);
            Journal::read(&journal.text(), &digest, size).is_some()
        };
        assert!(read(part_size(size), 0) && read(part_size(size), 3));
        assert!(!read(part_size(size), 4));
        for other in [0, 1, size, u64::MAX] {
            assert!(!read(other, 1), "{other}");
        }
    }

    #[test]
    fn the_state_of_a_hash_in_a_journal_is_not_read() {
        let digest = Hasher::sha256().finish().digest();
        let text = Journal::new(&digest, 20, "u".into(), part_size(20), vec!["a".into()]).text();
        let text = String::from_utf8(text).unwrap().replacen('{', r#"{"hash":"00","#, 1);
        assert_eq!(Journal::read(text.as_bytes(), &digest, 20), None);
    }
}
