//! How much of one file is here before a run. The destinations find it out.

/// How much of one file is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The file is here, and an earlier run checked its digest (and its stamp is unchanged).
    Verified,
    /// The file is here with the right size; no run has checked its digest yet.
    Unverified,
    /// An earlier run has left this many bytes of it.
    Partial(u64),
    /// The file is not here, or has a wrong size.
    Absent,
}

impl Presence {
    /// Whether all of its bytes are here, right or not.
    pub(crate) fn is_here(self) -> bool {
        matches!(self, Presence::Verified | Presence::Unverified)
    }
}
