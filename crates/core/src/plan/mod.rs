//! The plan of a run: which files are present, which will be fetched, and how many bytes these are.
//! `transfer` moves the bytes.

mod divide;

use crate::model::Presence;
use std::sync::Arc;

pub use divide::divide;

use crate::model::{CommitId, Entry, Purpose};
use crate::progress::Planned;
use crate::store::{Store, StoreError};

/// One file of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Item {
    /// The listed file.
    pub entry: Entry,
    /// Its purpose.
    pub purpose: Purpose,
    /// How much of it is present.
    pub presence: Presence,
}

/// The plan of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The files of the selection, in its order.
    pub items: Vec<Item>,
    /// Free bytes at the destination; `None` if the system does not say.
    pub free_space: Option<u64>,
}

impl Plan {
    /// Finds out how much of each wanted file is present. Blocks; reads no content.
    pub(crate) fn new(
        store: &Arc<Store>,
        commit: &CommitId,
        wanted: Vec<(Entry, Purpose)>,
    ) -> Result<Self, StoreError> {
        let mut look = store.look(commit);
        let items = wanted.into_iter().map(|(entry, purpose)| {
            let presence = look.presence(&entry)?;
            Ok(Item { entry, purpose, presence })
        });
        Ok(Plan { items: items.collect::<Result<_, StoreError>>()?, free_space: store.free_space() })
    }

    /// The same plan, after another look. Blocks.
    pub(crate) fn again(self, store: &Arc<Store>, commit: &CommitId) -> Result<Self, StoreError> {
        Self::new(store, commit, self.items.into_iter().map(|item| (item.entry, item.purpose)).collect())
    }

    /// A plan for a destination that was not looked at yet.
    pub(crate) fn of_absent(wanted: Vec<(Entry, Purpose)>) -> Self {
        let items = wanted.into_iter().map(|(entry, purpose)| Item { entry, purpose, presence: Presence::Absent });
        Plan { items: items.collect(), free_space: None }
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.items.iter().fold(0, |sum, item| sum.saturating_add(item.entry.size))
    }

    /// The plan in figures, for a watcher.
    pub(crate) fn figures(&self) -> Planned {
        Planned {
            files: self.items.len(),
            here: self.items.iter().filter(|item| item.presence.is_here()).count(),
            bytes: self.total_bytes(),
            missing: self.missing_bytes(),
        }
    }

    /// Bytes that must still be fetched.
    pub fn missing_bytes(&self) -> u64 {
        self.items.iter().fold(0u64, |sum, item| {
            sum.saturating_add(match item.presence {
                Presence::Verified | Presence::Unverified => 0,
                Presence::Partial(have) => item.entry.size.saturating_sub(have),
                Presence::Absent => item.entry.size,
            })
        })
    }
}
