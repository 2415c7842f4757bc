//! The Hub's wire protocol: listing, resolve, errors, rate limits and retry policy. Nothing here
//! knows weight families or the local layout.

mod listing;

pub use listing::{Entry, Gated, Lfs, Listing, Rejected, RepoInfo};
