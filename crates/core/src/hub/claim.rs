//! What a mirror's listing claims. What a repo really holds is `model`'s `Listing`.

use crate::model::Digest;

/// What a mirror's listing says of a file, in which anything but the name may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedClaim {
    /// The name as listed; perhaps no safe path.
    pub path: String,
    /// Bytes of its content.
    pub size: u64,
    /// What the content must hash to, if it says.
    pub digest: Option<Digest>,
    /// The Xet hash, if it says.
    pub xet_hash: Option<String>,
}
