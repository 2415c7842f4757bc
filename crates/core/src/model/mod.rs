//! The nouns: names and digests of the Hub, parsed once at the edge and then always valid; a repo's
//! listing; weight families, sets and indexes; the user's options. There is no network, disk, rule or
//! verdict here.

mod digest;
mod family;
mod id;
mod listing;
mod location;
mod oci;
mod options;
mod partition;
mod path;
mod presence;
mod revision;
mod sha256;
mod spec;
mod weights;

pub use digest::{Digest, DigestError, GitOid, Hashed, Hasher, Sha256};
pub use family::{Family, UnknownFamily};
pub use hfget_formats::{INDEX_LIMIT, IndexError, WeightIndex};
pub use id::{RepoId, RepoIdError, RepoType};
pub use listing::{Card, Entry, Gated, Lfs, Listing, Rejected, RepoInfo};
pub use location::Location;
pub use oci::{OciDigest, OciDigestError, OciPlace, OciReference, OciReferenceError};
pub use options::Options;
pub use partition::{Partition, PartitionError};
pub use path::{PathError, RepoPath};
pub use presence::Presence;
pub use revision::{CommitId, Revision, RevisionError};
pub use spec::{RepoSpec, SpecError};
pub use weights::{Parsed, Purpose, WeightSet};
