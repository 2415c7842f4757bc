//! An OCI registry on the loopback interface with the faults of real ones, on demand. The registry listens on
//! 127.0.0.1; redirects lead to 127.0.0.2. A token that reaches that host is answered with 400.
//!
//! ```
//! use hfget_loopback_registry::Registry;
//! let registry = Registry::start();
//! assert!(registry.address().starts_with("127.0.0.1:"));
//! ```

mod blobs;
mod debian;
mod fault;
mod jwt;
mod kept;
mod manifests;
mod server;
mod token;
mod uploads;

pub use debian::{Debian, skopeo};
pub use fault::{Fault, Kind, Place};
pub use server::{Chunks, Location, Options, Registry, Request};
pub use token::{Auth, IDENTITY, PASSWORD, USER, identity, login};

/// The digest of these bytes, as registries write it.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
