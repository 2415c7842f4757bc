//! The readers of a Hub's answers about a repo, for any bytes: for tests with random bytes. No run uses this.

use super::wire::{InfoJson, Listed, SiblingsJson, TreeJson};
use crate::model::{Card, Entry};

/// The result of reading some bytes.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// Files with a size and a digest.
    pub files: Vec<Entry>,
    /// Names that no file can have, as they were sent.
    pub rejected: Vec<String>,
    /// Sentences about rows that cannot be used.
    pub complaints: Vec<String>,
    /// The facts about the repo on the page.
    pub card: Option<Card>,
}

/// Reads bytes as a page of a listing, as a repo's page with its files, and as a repo's facts.
#[doc(hidden)]
#[must_use]
pub fn any_bytes(bytes: &[u8]) -> Answers {
    let tree = serde_json::from_slice::<Vec<TreeJson>>(bytes).unwrap_or_default();
    let page = serde_json::from_slice::<SiblingsJson>(bytes).ok();
    let mut answers =
        Answers { card: serde_json::from_slice(bytes).ok().map(|i: InfoJson| i.card()), ..Answers::default() };
    for row in tree.into_iter().chain(page.and_then(SiblingsJson::rows).unwrap_or_default()) {
        match row.parse() {
            Ok(Listed::File(entry)) => answers.files.push(entry),
            Ok(Listed::Rejected(name)) => answers.rejected.push(name.error.text),
            Ok(Listed::Folder(_) | Listed::Other) => {}
            Err(why) => answers.complaints.push(why),
        }
    }
    answers
}
