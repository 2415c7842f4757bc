//! The user's options for a repo. `select` decides which files they select.

use super::{Family, RepoPath};

/// The user's options for a repo. Name the fields that matter and end with `..Options::default()`: later versions
/// add fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Take this family if it is complete, otherwise the next best one.
    pub prefer: Option<Family>,
    /// Take this family, or fail.
    pub only: Option<Family>,
    /// A variant of the weights, such as `fp16`.
    pub variant: Option<String>,
    /// Globs of the files to take. No other files are chosen then. A pattern that is a file's whole name means that
    /// file, with the set of weights that it is a part of.
    pub include: Vec<String>,
    /// Globs of files to take in addition to the chosen ones.
    pub with: Vec<String>,
    /// Globs of files to leave out; wins over the others.
    pub exclude: Vec<String>,
    /// Take every file.
    pub all: bool,
    /// Select as if this folder was the root.
    pub subfolder: Option<RepoPath>,
    /// Skip the repo's own Python code.
    pub no_code: bool,
}
