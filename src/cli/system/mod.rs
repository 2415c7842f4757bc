//! What the command asks of the system that differs between systems: signals, terminals, descriptors. `unix` and
//! `windows` give the same names.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod imp;

pub(super) use imp::{Stream, columns, descriptors, interrupted, may_write, prepare};
