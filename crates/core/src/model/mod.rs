//! The nouns: names and digests of the Hub, parsed once at the edge and then always valid; a repo's
//! listing; weight families, sets and indexes; the user's options. There is no network, disk, rule or
//! verdict here.

mod digest;
mod family;
mod id;
mod listing;
mod location;
pub(crate) mod oci;
mod options;
pub(crate) mod partition;
mod path;
mod presence;
mod revision;
mod sha256;
mod spec;
mod weights;
mod xet;

pub(crate) use digest::Hasher;
pub use digest::{Digest, DigestError, GitOid, Hashed, Sha256};
pub use family::{Family, UnknownFamily};
pub(crate) use hfget_formats::{INDEX_LIMIT, IndexError, WeightIndex};
pub use id::{RepoId, RepoIdError, RepoType};
pub(crate) use listing::Lfs;
pub use listing::{Card, Entry, Gated, Listing, Rejected, RepoInfo};
pub use location::Location;
pub use oci::OciReferenceError;
pub(crate) use oci::{OciDigest, OciPlace, OciReference};
pub use options::Options;
pub(crate) use partition::Partition;
pub use path::{PathError, RepoPath};
pub use presence::Presence;
pub use revision::{CommitId, Revision, RevisionError};
pub use spec::{RepoSpec, SpecError};
pub(crate) use weights::Parsed;
pub use weights::{Purpose, WeightSet};
pub(crate) use xet::XetContent;
pub use xet::{XetHash, XetMerkle};
