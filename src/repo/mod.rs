//! Names and digests of the Hub, parsed once at the edge and valid for ever. No network or disk here.

mod digest;
mod id;
mod path;
mod revision;
mod spec;

pub(crate) use digest::Hasher;
pub use digest::{Digest, DigestError, GitOid, Sha256};
pub use id::{RepoId, RepoIdError, RepoType};
pub use path::{PathError, RepoPath};
pub use revision::{CommitId, Revision, RevisionError};
pub use spec::{RepoSpec, SpecError};
