//! How much of one file is present before a run. The destinations find it out.

/// How much of one file is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The file is present, and an earlier run checked its digest (and its stamp is unchanged).
    Verified,
    /// The file is present with the right size; no run has checked its digest yet.
    Unverified,
    /// An earlier run has left this many bytes of it.
    Partial(u64),
    /// The file is missing, or has a wrong size.
    Absent,
}

impl Presence {
    /// Whether all of its bytes are present, right or not.
    pub(crate) fn is_here(self) -> bool {
        matches!(self, Presence::Verified | Presence::Unverified)
    }
}
