//! A Hub on the loopback interface that behaves like the real one, with faults on demand. The Hub
//! listens on 127.0.0.1, its CDN on 127.0.0.2: a token that reaches the CDN is answered with 400.
//!
//! ```
//! use hfget_loopback_hub::{Hub, Repo};
//! let hub = Hub::start([Repo::new("org/name").file("config.json", "{}").lfs("model.safetensors", [0; 16])]);
//! assert!(hub.endpoint().starts_with("http://127.0.0.1:"));
//! ```

mod api;
mod bytes_of;
mod fault;
mod keyless;
mod quota;
mod repo;
mod resolve;
mod running;
mod samples;
mod server;
mod tls;

pub use api::decode;
pub use fault::{Fault, Kind, Place};
pub use keyless::{JOB, RESOURCE};
pub use quota::{Class, Quotas};
pub use repo::{Access, Repo};
pub use running::Running;
pub use samples::samples;
pub use server::{Dialect, Hub, Options, Request, TOKEN, Tls, lock};

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
