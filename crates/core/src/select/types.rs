//! The inputs and results of selection. The rules are in the other modules.

use crate::model::{Family, Purpose, WeightSet};
use std::collections::BTreeMap;

use super::Reason;
use super::classify::has_ext;
use crate::finding::{ChooseBy, Finding, Remedy, Take};
use crate::model::{RepoId, RepoPath};

/// A file to fetch, with the reason in a few words (`"config.json's auto_map"`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selected {
    /// The file, which is in the listing.
    pub path: RepoPath,
    /// Its purpose.
    pub purpose: Purpose,
    /// The rule that took it.
    pub reason: String,
}

impl Selected {
    /// A file that is taken for a reason.
    pub(crate) fn new(path: RepoPath, purpose: Purpose, reason: &str) -> Self {
        Selected { path, purpose, reason: reason.to_owned() }
    }

    /// Whether its name is that of a Python module.
    pub(crate) fn is_python(&self) -> bool {
        has_ext(self.path.file_name(), &["py"])
    }
}

/// Files not to fetch, grouped by the rule that left them out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Their family, if they are weights of another family.
    pub family: Option<Family>,
    /// The reason.
    pub reason: Reason,
    /// The change of options that takes them.
    pub take: Take,
    /// The files.
    pub paths: Vec<RepoPath>,
    /// Their bytes together.
    pub bytes: u64,
}

/// The files to fetch, the files not to fetch, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// The weights, one per scope that has any.
    pub weights: Vec<WeightSet>,
    /// Whether the user's patterns left out all weights.
    pub weights_excluded: bool,
    /// Whether these are only the files that the user named. Nothing was chosen then, so nothing is known to be
    /// complete.
    pub named: bool,
    /// Every file to fetch, sorted by path, each once.
    pub files: Vec<Selected>,
    /// Every other file of the listing, grouped by reason, largest group first.
    pub left_out: Vec<LeftOut>,
    /// Fallbacks, foreign code, missing companions, incomplete families.
    pub findings: Vec<Finding>,
    /// Repos that the model also needs (`auto_map`'s `repo--module`, an adapter's base model).
    pub other_repos: Vec<String>,
    /// Those of the other repos that have code of the model (`auto_map`'s `repo--module`).
    pub code_repos: Vec<RepoId>,
}

/// The small files that selection has asked for so far, by path. `None`: not available.
pub type Documents = BTreeMap<RepoPath, Option<Vec<u8>>>;

/// One step of selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Call again with these small files (all are in the listing) added to the documents.
    Need(Vec<RepoPath>),
    /// Done.
    Done(Box<Selection>),
}

/// Why nothing can be selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// The repo does not have the demanded family, or has it only in part.
    #[error("the {family} family is not {}in this repo{}{}",
        if .why.is_empty() { "" } else { "complete " }, if .why.is_empty() { "" } else { ": " }, .why)]
    FamilyAbsent {
        /// The family that the user asked for.
        family: Family,
        /// Why it is not complete, if a part of it is there.
        why: String,
        /// The families that the repo has, with their bytes.
        found: Vec<(Family, u64)>,
        /// The variants, if the repo has no other weights.
        variants: Vec<String>,
    },
    /// No weights have the variant that was asked for.
    #[error("no weights of variant \"{}\" in this repo", crate::text::printable(.variant))]
    VariantAbsent {
        /// The variant that the user asked for.
        variant: String,
        /// The variants that the repo has.
        found: Vec<String>,
        /// Families that have it, but were not tried.
        families: Vec<Family>,
    },
    /// There are weights, but none of a family that can be selected.
    #[error("no complete safetensors or bin weights in this repo{}{}", if .why.is_empty() { "" } else { ": " }, .why)]
    NothingSelectable {
        /// The families that the repo has, with their bytes.
        found: Vec<(Family, u64)>,
        /// Why the selectable families are not complete.
        why: String,
        /// The variants, if the repo has no other weights.
        variants: Vec<String>,
    },
    /// The documents that describe the model have too many bytes together.
    #[error("the documents that name the model's files have more than {} together, so none of them is read",
        crate::text::bytes(*.most))]
    DocumentsTooLarge {
        /// The most bytes that they may have.
        most: u64,
    },
    /// Several sets of weights are equally good.
    #[error("the repo has several sets of weights")]
    Ambiguous {
        /// The folders to choose from, with their bytes.
        choices: Vec<(String, u64)>,
    },
    /// Several sets of the family that the user asked for are equally good.
    #[error("the repo has several sets of {family} weights")]
    Several {
        /// The family that the user asked for.
        family: Family,
        /// Their names, with their bytes.
        choices: Vec<(String, u64)>,
        /// How the user can name one.
        by: ChooseBy,
    },
    /// The folder that should be the root is not in the repo.
    #[error("there is no folder \"{}\" in this repo", .folder.shown())]
    SubfolderAbsent {
        /// The folder that the user asked for.
        folder: RepoPath,
        /// The folders of the repo.
        found: Vec<String>,
    },
    /// A pattern does not parse.
    #[error("\"{}\" is not a glob: {reason}", crate::text::printable(.glob))]
    BadGlob {
        /// The pattern.
        glob: String,
        /// The parser's error.
        reason: String,
    },
    /// A pattern of files to take matches nothing.
    #[error("no file of this repo matches \"{}\"", crate::text::printable(.glob))]
    NoMatch {
        /// The pattern.
        glob: String,
        /// Files that match if the case of letters is ignored.
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
