//! What the command `hfget` and this workspace's own tests use beyond the library's interface. It has no pages, and it
//! carries no promise: any release may change it, so the command depends on exactly its own version of this library.
//! Nothing is defined here.

/// Facts that go into a verdict.
pub mod finding {
    pub use crate::finding::verdict::Weights;
}

/// Tokens of jobs, the places that the environment names, and a Hub's answers, read from any bytes.
pub mod hub {
    pub use crate::hub::any_bytes::{Answers, any_bytes};
    pub use crate::hub::config::Withheld;
    pub use crate::hub::environment::{is_truthy, records_dir};
    pub use crate::hub::keyless::{JobToken, Keyless, KeylessError};
}

/// Lockfiles.
pub mod lock {
    pub use crate::lock::{Lock, LockError, LockedFile, LockedRepo};
}

/// Names of OCI content, and workers' parts.
pub mod model {
    pub use crate::model::oci::{OciPlace, OciReference};
    pub use crate::model::partition::{Partition, PartitionError};
}

/// Names of object stores.
pub mod object_store {
    pub use crate::object_store::ObjectUrl;
}

/// Documents of registries, read from any bytes.
pub mod oci {
    pub use crate::oci::{Readings, any_bytes};
}

/// Reports of a plan and of a comparison, and how a report is made.
pub mod report {
    pub use crate::report::compare::{Checked, CompareReport, ComparedFile, Level};
    pub use crate::report::plan::{PlanReport, state};
    pub use crate::report::summary::Draft;
}

/// Globs, as selection reads them.
pub mod select {
    pub use crate::select::filter::any_matches;
}

/// Jobs other than get, plan and verify.
pub mod session {
    pub use crate::session::cache_check::snapshots;
    pub use crate::session::cached::{Cached, cached, cached_variants};
    pub use crate::session::compare::{CompareConfig, Comparison};
    pub use crate::session::fleet::{Published, Whole};
    pub use crate::session::folder::names_folder;
    pub use crate::session::inspect::{Inspected, inspect_path};
}

/// Signatures.
pub mod signature {
    pub use crate::signature::{Statement, any_bytes, check_detached, is_bundle};
}

/// The Hub cache as a folder: what is in it, and its removal.
pub mod store {
    pub use crate::store::{Leftover, Removal, Store, cached_repos};
}

/// Text that is safe to print, and figures in words.
pub mod text {
    pub use crate::text::{brief, bytes, few, group, hidden, json_for_logs, keep_secret, many, printable};
}

/// The tables that `hfget-formats` reads.
pub mod verify {
    pub use hfget_formats::{Tensor, TensorTable};
}
