//! The claims of a mirror's listing. The files that a repo really has are in `model`'s `Listing`.

use crate::model::Digest;

/// A mirror's claims about a file. Everything but the name may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedClaim {
    /// The listed name, which may be unsafe as a path.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its content, if the mirror states it.
    pub digest: Option<Digest>,
    /// The Xet hash, if the mirror states it.
    pub xet_hash: Option<String>,
}
