//! The identity of this build: the text of `--version`.

/// The version, and on lines of their own the commit, the features and the target.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("HFGET_COMMIT"),
    "\nfeatures: ",
    env!("HFGET_FEATURES"),
    "\ntarget: ",
    env!("HFGET_TARGET"),
);
