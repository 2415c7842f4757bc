//! The values that selection takes and gives. The rules live beside it.

use crate::model::{Family, Purpose, WeightSet};
use std::collections::BTreeMap;

use super::Reason;
use crate::finding::{ChooseBy, Finding, Remedy, Take};
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
    /// The rule.
    pub reason: Reason,
    /// What to change in what is asked for, so that it takes them.
    pub take: Take,
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
    /// Whether there were weights to fetch, and the user's patterns left out all of them.
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
    /// The repo does not have the family that was demanded, or not complete.
    #[error("the {family} family is not {}in this repo{}{}",
        if .why.is_empty() { "" } else { "complete " }, if .why.is_empty() { "" } else { ": " }, .why)]
    FamilyAbsent {
        /// The family asked for.
        family: Family,
        /// Why it is not complete, when a part of it is there.
        why: String,
        /// What is there, with bytes.
        found: Vec<(Family, u64)>,
        /// The variants there are, where there is nothing else.
        variants: Vec<String>,
    },
    /// No weights have the variant that was asked for.
    #[error("no weights of variant \"{}\" in this repo", crate::text::printable(.variant))]
    VariantAbsent {
        /// The variant asked for.
        variant: String,
        /// What variants there are.
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
        /// The variants there are, where there is nothing else.
        variants: Vec<String>,
    },
    /// The files that say what belongs to the model have too many bytes together.
    #[error("the files that say what belongs to the model have more than {} together, so none of them is read",
        crate::text::bytes(*.most))]
    DocumentsTooLarge {
        /// The bytes that they may have.
        most: u64,
    },
    /// Several sets of weights are equally good.
    #[error("the repo has several sets of weights")]
    Ambiguous {
        /// The folders to choose from, with their bytes.
        choices: Vec<(String, u64)>,
    },
    /// Several sets of the family asked for are equally good.
    #[error("the repo has several sets of {family} weights")]
    Several {
        /// The family asked for.
        family: Family,
        /// What they are called, with their bytes.
        choices: Vec<(String, u64)>,
        /// How one is named.
        by: ChooseBy,
    },
    /// The folder that is to be the root is no folder of the repo.
    #[error("there is no folder \"{}\" in this repo", .folder.shown())]
    SubfolderAbsent {
        /// The folder asked for.
        folder: RepoPath,
        /// The folders there are.
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
        /// Files that match when the case of letters is ignored.
        near: Vec<String>,
        /// The repo's files, or some of them.
        names: Vec<String>,
    },
}

impl SelectError {
    /// What the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            SelectError::FamilyAbsent { variants, .. } | SelectError::NothingSelectable { variants, .. }
                if !variants.is_empty() =>
            {
                Remedy::ChooseVariant { there: variants.clone() }
            }
            SelectError::FamilyAbsent { found, .. } if !found.is_empty() => {
                Remedy::ChooseFamily { there: found.clone(), demanded: true }
            }
            SelectError::NothingSelectable { found, .. } if !found.is_empty() => {
                Remedy::ChooseFamily { there: found.clone(), demanded: false }
            }
            SelectError::FamilyAbsent { .. } | SelectError::NothingSelectable { .. } => return None,
            SelectError::VariantAbsent { families, .. } if !families.is_empty() => {
                Remedy::ChooseFamilyOfVariant { families: families.clone() }
            }
            SelectError::VariantAbsent { variant, found, .. } if !found.is_empty() => {
                Remedy::NameOneOf { asked: variant.clone(), there: found.clone() }
            }
            SelectError::VariantAbsent { .. } => Remedy::AskForNoVariant,
            SelectError::Ambiguous { choices } => Remedy::Choose { by: ChooseBy::Subfolder, choices: choices.clone() },
            SelectError::Several { choices, by, .. } => Remedy::Choose { by: *by, choices: choices.clone() },
            SelectError::DocumentsTooLarge { .. } => Remedy::NameFilesOrExclude,
            SelectError::BadGlob { .. } => Remedy::FixGlob,
            SelectError::SubfolderAbsent { folder, found } if !found.is_empty() => {
                Remedy::NameOneOf { asked: folder.as_str().to_owned(), there: found.clone() }
            }
            SelectError::NoMatch { near, .. } if !near.is_empty() => Remedy::DidYouMean { there: near.clone() },
            SelectError::NoMatch { names, glob, .. } => Remedy::NameFile { asked: glob.clone(), there: names.clone() },
            SelectError::SubfolderAbsent { .. } => Remedy::LookAtFiles,
        })
    }
}
