//! Selection as its users see it: real repos' listings, diffusers' published cases, the defects that
//! real repos have, hostile documents, and properties that hold for any listing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::type_complexity
)]

mod aside;
mod companions;
mod defects;
mod diffusers;
mod hostile;
mod lacking;
mod native;
mod options;
mod parts;
mod properties;
mod real_repos;
mod scale;
mod support;
mod tensorflow;
mod traps;
mod weights;
