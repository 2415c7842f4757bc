//! The parts of the command that differ between systems: signals, terminals, descriptors. `unix` and `windows` define
//! the same names.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod imp;

pub(super) use imp::{Stream, columns, descriptors, interrupted, may_write, prepare};
