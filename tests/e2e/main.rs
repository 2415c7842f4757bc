//! The real binary on the loopback Hub: each test is something a user does, and what must come of it.

mod access;
mod bad_input;
mod disk;
mod faults;
mod interop;
mod job;
mod options;
mod resume;
mod support;
mod verifying;
