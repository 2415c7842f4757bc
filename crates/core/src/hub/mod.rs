//! The Hub's wire protocol: listing, resolve, errors, rate limits and retry policy. Nothing here
//! knows weight families or the local layout.

pub(crate) mod any_bytes;
mod body;
mod claim;
mod client;
mod clients;
pub(crate) mod config;
pub(crate) mod environment;
mod error;
mod headers;
mod host;
mod http;
mod http1;
pub(crate) mod keyless;
mod listing;
mod open;
mod patience;
mod probe;
mod redirect;
mod refs;
mod retry;
mod siblings;
mod tcp;
mod timing;
mod tls;
mod wire;
#[cfg_attr(not(feature = "xet"), path = "no_xet.rs")]
mod xet;

pub use body::Body;
pub(crate) use claim::ListedClaim;
pub use client::Hub;
pub(crate) use clients::{RUNTIMES, Via};
pub(crate) use config::PUBLIC_ENDPOINT;
pub use config::{ConfigError, HubConfig, Token, Transport};
pub use environment::cache_dir;
pub(crate) use environment::endpoint_of;
#[cfg(test)]
pub(crate) use error::NO_TLS;
pub use error::{HubError, ShownUrl};
pub(crate) use error::{is_passing, words};
pub(crate) use headers::next_link;
pub(crate) use host::is_loopback;
pub(crate) use http::{Http, length_of};
pub(crate) use http1::take_turns;
pub use open::Remote;
pub(crate) use open::parse_content_range;
pub(crate) use probe::{Answer, Ask, Hosts, Stop};
pub(crate) use redirect::{REDIRECT_LIMIT, location, redirect_target, target};
pub use retry::RetryPolicy;
pub(crate) use retry::{Next, Retries, asked_wait};
pub use timing::Timing;
