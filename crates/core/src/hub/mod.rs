//! The Hub's wire protocol: listing, resolve, errors, rate limits and retry policy. Nothing here
//! knows weight families or the local layout.

mod claim;
mod client;
mod clients;
mod config;
mod error;
mod headers;
mod host;
mod keyless;
mod listing;
#[cfg(feature = "object-store")]
mod objects;
mod open;
mod patience;
mod probe;
mod redirect;
mod refs;
mod retry;
mod wire;
#[cfg_attr(not(feature = "xet"), path = "no_xet.rs")]
mod xet;

pub(crate) use claim::Claim;
pub use client::Hub;
pub use config::{ConfigError, HubConfig, Token, Transport, Withheld, cache_dir, is_truthy, records_dir};
#[cfg(feature = "object-store")]
pub(crate) use error::innermost;
pub use error::{HubError, ShownUrl};
pub use keyless::{Keyless, KeylessError};
pub use open::{Body, Remote};
pub(crate) use probe::{Answer, Ask, Hosts, Stop};
pub use retry::RetryPolicy;
pub(crate) use retry::Verdict;
