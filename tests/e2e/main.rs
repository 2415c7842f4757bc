//! The real binary on the loopback Hub: each test is something a user does, and what must come of it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed
#![allow(clippy::case_sensitive_file_extension_comparisons)] // the names are ours

mod access;
mod any_name;
mod bad_input;
mod bucket_proof;
mod clean;
mod compare;
mod disk;
mod early;
mod faults;
mod formats;
mod green_over_wrong;
mod habits;
mod https;
mod inspecting;
mod interop;
mod job;
mod locking;
mod matrix;
mod mirrors;
mod objects;
mod olah;
mod options;
mod papers;
mod peer_tools;
mod peers;
mod pipelines;
mod readme;
mod resume;
mod schemas;
mod screens;
mod secrets;
mod soak;
mod suggestions;
mod support;
mod sweep;
mod terminal;
mod verifying;
mod warming;
mod xet;
