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
pub(crate) use clients::Via;
pub use config::{ConfigError, HubConfig, PUBLIC_ENDPOINT, Token, Transport, Withheld};
pub(crate) use environment::endpoint_of;
pub use environment::{cache_dir, is_truthy, records_dir};
pub use error::{HubError, ShownUrl};
pub(crate) use error::{is_passing, words};
pub(crate) use headers::next_link;
pub(crate) use http::{Http, length_of};
pub use keyless::{JobToken, Keyless, KeylessError};
pub use open::Remote;
pub(crate) use open::parse_content_range;
pub(crate) use probe::{Answer, Ask, Hosts, Stop};
pub(crate) use redirect::{REDIRECT_LIMIT, location, redirect_target, target};
pub(crate) use retry::{Next, asked_wait};
pub use retry::{Retries, RetryPolicy};
pub use timing::Timing;
