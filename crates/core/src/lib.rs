//! Downloads Hugging Face repositories and verifies every file: the library behind the command `hfget`.
//!
//! # Architecture
//!
//! Data flows one way; each room hands one finished value to the next:
//!
//! ```text
//! RepoSpec ─► Listing ─► select::Selection ─► plan::Plan ─► fetch ─► verify ─► report::Report
//! ```
//!
//! | room | owns | knows nothing of |
//! |---|---|---|
//! | [`model`] | the nouns: names, digests, listings, families, options; parsed once and valid for ever | everything else |
//! | [`finding`] | findings, policy, evidence and the verdict that follows from them | how it is shown |
//! | [`hub`] | the Hub's wire protocol: listing, resolve, errors, rate limits, retry policy | weight families, local layout |
//! | [`select`] | which files make up exactly one weight family per scope, and why | network, disk |
//! | [`store`] | where files land: the Hub cache and local folders; locks, partial files, atomic commit | HTTP, formats |
//! | [`plan`] | what is cached, what will be fetched, how many bytes | how bytes move |
//! | [`fetch`] | moving bytes: ranges, retries, hashing while streaming | what the bytes mean |
//! | [`verify`] | digests, coverage of the index, what `hfget-formats` reads from untrusted bytes | network |
//! | [`lock`] | lockfiles: a selection to the byte, as text | how one is made or used |
//! | `objects` | object stores: requests, keys, what is kept there, uploads without a disk | what is put there and why |
//! | [`report`] | what a run comes to, as plain values | how it was found out, how it is drawn |
//!
//! [`session`] wires the rooms together for programs that want the whole job in one call; the command `hfget` is a
//! layer of arguments, rendered text and progress bars above it. Programs that keep files
//! elsewhere go through the rooms themselves: `examples/own_store.rs` lists, selects, streams into memory and
//! verifies there.
//!
//! Structs that will grow are `#[non_exhaustive]`: they are made by their `new` or `default` and changed from there.

pub mod fetch;
pub mod finding;
pub mod hub;
pub mod lock;
pub mod model;
#[cfg(feature = "object-store")]
pub mod objects;
pub mod plan;
pub mod progress;
pub mod report;
pub mod select;
pub mod session;
pub mod store;
// For the command only: no part of the stable interface.
#[doc(hidden)]
pub mod text;
pub mod verify;

/// The code in the book's page on this library compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/embedding.md")]
struct Embedding;
