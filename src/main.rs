//! The `hfget` binary: arguments, progress bars, exit code. The work lives in the library.
#![allow(missing_docs)]
fn main() {}
