//! The Hub's wire protocol: listing, resolve, errors, rate limits and retry policy. Nothing here
//! knows weight families or the local layout.

mod body;
mod claim;
mod client;
mod clients;
mod config;
mod environment;
mod error;
mod headers;
mod host;
mod http;
mod keyless;
mod listing;
mod open;
mod patience;
mod probe;
mod redirect;
mod refs;
mod retry;
mod siblings;
mod timing;
mod wire;
#[cfg_attr(not(feature = "xet"), path = "no_xet.rs")]
mod xet;

pub use body::Body;
pub(crate) use claim::ListedClaim;
pub use client::Hub;
pub use config::{ConfigError, HubConfig, PUBLIC_ENDPOINT, Token, Transport, Withheld};
pub(crate) use environment::endpoint_of;
pub use environment::{cache_dir, is_truthy, records_dir};
pub use error::{HubError, ShownUrl};
pub use keyless::{JobToken, Keyless, KeylessError};
pub use open::Remote;
pub(crate) use probe::{Answer, Ask, Hosts, Stop};
pub(crate) use retry::Next;
pub use retry::{Retries, RetryPolicy};
pub use timing::Timing;
