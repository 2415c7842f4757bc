//! The values that selection takes and gives. The rules live beside it.

use crate::model::{Family, Purpose, WeightSet};
use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::model::{RepoId, RepoPath};

/// A file to fetch, with the reason in a few words (`"config.json's auto_map"`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selected {
    /// Which file; it is in the listing.
    pub path: RepoPath,
    /// What for.
    pub purpose: Purpose,
    /// The rule that took it.
    pub reason: String,
}

/// Files not to fetch, grouped by the rule that left them out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// What they are, when they are weights of another family.
    pub family: Option<Family>,
    /// The rule, in a few words: `"onnx family"`, `"fp16 variant"`, `"training state"`.
    pub reason: String,
    /// What to change in the command so that it takes them: `"--variant fp16"`, `"--all"`, `"leave out --no-code"`.
    pub take: String,
    /// Which files.
    pub paths: Vec<RepoPath>,
    /// Their bytes together.
    pub bytes: u64,
}

/// What to fetch, what not, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// The weights, one per scope that has any.
    pub weights: Vec<WeightSet>,
    /// Whether there were weights to fetch, and `--exclude` left out all of them.
    pub weights_excluded: bool,
    /// Whether these are just the files that were asked for: nothing was chosen, so nothing is known to be complete.
    pub named: bool,
    /// Every file to fetch, sorted by path, each once.
    pub files: Vec<Selected>,
    /// Every other file of the listing, grouped by reason, largest group first.
    pub left_out: Vec<LeftOut>,
    /// Fallbacks, foreign code, missing companions, incomplete families.
    pub findings: Vec<Finding>,
    /// Repos that the model also needs (`auto_map`'s `repo--module`, an adapter's base model).
    pub other_repos: Vec<String>,
    /// Those of them that have code of the model (`auto_map`'s `repo--module`).
    pub code_repos: Vec<RepoId>,
}

/// The small files that selection has asked for so far, by path. `None`: could not be had.
pub type Documents = BTreeMap<RepoPath, Option<Vec<u8>>>;

/// One step of selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Call again with these small files (all are in the listing) added to the documents.
    Need(Vec<RepoPath>),
    /// Done.
    Done(Box<Selection>),
}

/// Why nothing can be selected. Exit code 3, or 2 for a bad glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// `--only` named a family that the repo does not have complete.
    #[error("the {family} family is not {}in this repo{}{}",
        if .why.is_empty() { "" } else { "complete " }, if .why.is_empty() { "" } else { ": " }, .why)]
    FamilyAbsent {
        /// The family asked for.
        family: Family,
        /// Why it is not complete, when a part of it is there.
        why: String,
        /// What is there, with bytes.
        found: Vec<(Family, u64)>,
    },
    /// `--variant` named a variant that no weights have.
    #[error("no weights of variant \"{}\" in this repo", crate::text::printable(.variant))]
    VariantAbsent {
        /// The variant asked for.
        variant: String,
        /// What variants there are, the closest spelling first.
        found: Vec<String>,
        /// Families that have it, but were not looked at.
        families: Vec<Family>,
    },
    /// There are weights, but none of a family that can be selected.
    #[error("no complete safetensors or bin weights in this repo{}{}", if .why.is_empty() { "" } else { ": " }, .why)]
    NothingSelectable {
        /// What is there, with bytes.
        found: Vec<(Family, u64)>,
        /// Why the selectable families are not complete.
        why: String,
    },
    /// The files that say what belongs to the model have too many bytes together.
    #[error("the files that say what belongs to the model have more than {} together, so none of them is read",
        crate::text::bytes(*.most))]
    DocumentsTooLarge {
        /// The bytes that they may have.
        most: u64,
    },
    /// Several sets of weights are equally good.
    #[error("the repo holds several sets of weights; name one with --subfolder")]
    Ambiguous {
        /// The folders to choose from, with their bytes.
        choices: Vec<(String, u64)>,
    },
    /// Several sets of the family asked for are equally good.
    #[error("the repo holds several sets of {family} weights")]
    Several {
        /// The family asked for.
        family: Family,
        /// What they are called, with their bytes.
        choices: Vec<(String, u64)>,
        /// How to name one.
        how: &'static str,
    },
    /// `--subfolder` names no folder of the repo.
    #[error("there is no folder \"{}\" in this repo", .folder.shown())]
    SubfolderAbsent {
        /// The folder asked for.
        folder: RepoPath,
        /// The folders there are, the closest spelling first.
        found: Vec<String>,
    },
    /// A pattern does not parse.
    #[error("\"{}\" is not a glob: {reason}", crate::text::printable(.glob))]
    BadGlob {
        /// The pattern.
        glob: String,
        /// The parser's complaint.
        reason: String,
    },
    /// A pattern of files to take matches nothing.
    #[error("no file of this repo matches \"{}\"", crate::text::printable(.glob))]
    NoMatch {
        /// The pattern.
        glob: String,
        /// Files that it may have meant: of nearly that name, or that match when the case of letters is ignored.
        near: Vec<String>,
    },
}
