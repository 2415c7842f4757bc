//! Downloads Hugging Face repositories and verifies every file: the library behind the command `hfget`.
//!
//! # Architecture
//!
//! Data flows one way; each room hands one finished value to the next:
//!
//! ```text
//! RepoSpec ─► source::Source ─► Listing ─► select::Selection ─► plan::Plan ─► transfer ─► verify ─► report::Report
//! ```
//!
//! One job serves every pair of a source and a destination. A room uses only the rooms below it in this table:
//!
//! | room | owns | knows nothing of |
//! |---|---|---|
//! | [`session`] | the job and its destinations; plan, verify, inspect, lock, compare | HTTP, formats' bytes, words for people |
//! | [`report`] | the results of a run, as plain values | how they were found, how they are shown |
//! | `upload` | files into an object store or into layers, without a local copy | which files, and why |
//! | `plan` | which files are present, which will be fetched, how many bytes | how bytes move |
//! | `transfer` | moving bytes: which part is next, one request, assembling a file | what the bytes mean |
//! | `source` | one interface over Hubs and object stores, and which URL names which | local layout |
//! | `oci` | OCI content: registries and image layouts, and the form of a repo in them | the Hub's wire |
//! | [`hub`] | the Hub's wire protocol: listing, resolve, errors, rate limits, retries | weight families, local layout |
//! | `object_store` | object stores: requests, keys, the caller's credentials | the Hub |
//! | `store` | the Hub cache and local folders: locks, partial files, atomic commit | HTTP, formats |
//! | `lock` | lockfiles: the exact commit, files, sizes and digests, as text | how a lockfile is made or used |
//! | [`verify`] | digests, coverage of the index, the tables that `hfget-formats` reads | where files came from |
//! | `signature` | who signed a model, and the signed files with their digests | where files came from, disk, network |
//! | [`select`] | which files make up exactly one weight family per scope, and why | network, disk |
//! | `range_reader` | a remote file as one that can be read at any place | how a range is fetched |
//! | [`progress`] | the events for a watcher | who watches |
//! | [`finding`] | findings, remedies as data, policy, evidence and the verdict that follows from them | how it is shown |
//! | `hashing` | hashing files while their bytes come, two with one thread | where bytes come from, what a digest means |
//! | [`model`] | the nouns: names, digests, listings, families, options; parsed once and then always valid | everything else |
//!
//! The library reads no environment variable: [`hub::HubConfig::from_env`], [`session::SourceConfig::from_env`] and
//! [`hub::cache_dir`] ask the caller for each. Two dependencies read some by themselves, as their rooms' first comments
//! say: `hf-xet` reads its own `HF_XET_…`, and the object stores' HTTP client reads the proxies. Temporary files go
//! into the system's folder for them (`TMPDIR`). The library names no flag and no exit code: an error has a `kind()`
//! and a [`finding::Remedy`], which the caller words.
//!
//! Steps are logged with `tracing`: `info` for each step of a repo, `debug` for each file, part and request.
//! No field contains a secret.
//!
//! # Interface
//!
//! | module | what it is for |
//! |---|---|
//! | [`session`] | get, plan and verify a repo in one call: start with [`session::Session`] |
//! | [`report`], [`finding`] | the result of a run: the verdict, the files, the findings and what can be done about them |
//! | [`model`], [`progress`] | the nouns, and the events of a run |
//! | [`hub`], [`select`], [`verify`] | the steps one by one, for programs that keep files elsewhere |
//!
//! `examples/own_store.rs` goes through the steps: it lists, selects, streams into memory and verifies there. The command
//! `hfget` is a layer of arguments, rendered text and progress bars above this library. What only the command uses is in
//! a module without pages, `unstable`, and in methods without an entry here. None of that is part of the interface.
//!
//! Structs that will grow are `#[non_exhaustive]`: they are made by their `new` or `default` and changed from there.

pub mod finding;
mod hashing;
pub mod hub;
mod lock;
pub mod model;
mod mutex;
#[cfg_attr(not(feature = "object-store"), path = "object_store/absent.rs")]
mod object_store;
mod oci;
mod plan;
mod platform;
pub mod progress;
mod range_reader;
pub mod report;
pub mod select;
pub mod session;
mod signature;
mod source;
mod store;
mod text;
mod transfer;
#[doc(hidden)]
pub mod unstable;
mod upload;
pub mod verify;

/// Compiles the code on the book's page about this library.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/embedding.md")]
struct Embedding;
