//! Names and digests of the Hub, parsed once at the edge and valid for ever. No network or disk here.

mod digest;
mod id;
mod path;
mod revision;
mod spec;

pub use digest::{Digest, DigestError, GitOid, Hasher, Sha256};
pub use id::{RepoId, RepoIdError, RepoType};
pub use path::{PathError, RepoPath};
pub use revision::{CommitId, Revision, RevisionError};
pub use spec::{RepoSpec, SpecError};
