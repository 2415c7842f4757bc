//! What the user wants of a repo. What that selects is decided elsewhere.

use super::{Family, RepoPath};

/// What the user wants of a repo. Name the fields that matter and end with `..Options::default()`: later versions
/// add fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Take this family where it is complete, else the best other.
    pub prefer: Option<Family>,
    /// Take this family or fail.
    pub only: Option<Family>,
    /// A variant of the weights, such as `fp16`.
    pub variant: Option<String>,
    /// Globs of the files to take, and no others: nothing is chosen then. A pattern that is a file's whole name means
    /// that file, with the set of weights that it is a part of.
    pub include: Vec<String>,
    /// Globs of files to take on top of what is chosen.
    pub with: Vec<String>,
    /// Globs of files to leave out; wins over the others.
    pub exclude: Vec<String>,
    /// Take every file.
    pub all: bool,
    /// Select as if this folder were the root.
    pub subfolder: Option<RepoPath>,
    /// Skip the repo's own Python code.
    pub no_code: bool,
}
