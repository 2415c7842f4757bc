//! What is here of one file before a run. How that is found out lives with the destinations.

/// What is already on disk of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// There, and its digest was checked by an earlier run (and size, mtime and inode still agree).
    Verified,
    /// There with the right size; its digest was not checked by us yet.
    Unverified,
    /// An earlier run left this many bytes.
    Partial(u64),
    /// Not there, or there with a wrong size.
    Absent,
}

impl Presence {
    /// Whether all of its bytes are there, right or not.
    pub fn is_here(self) -> bool {
        matches!(self, Presence::Verified | Presence::Unverified)
    }
}
