//! The reasons for leaving out a file. `classify` and `picks` decide which reason a file has.

use std::fmt;

use crate::model::Family;
use crate::text::printable;

/// Why a file is left out. Its text is a few words, safe to print.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Weights of another family.
    Family(Family),
    /// A folder of a known layout without a family, in words.
    Layout(&'static str),
    /// Weights of another variant.
    Variant(String),
    /// Weights without a variant, if the user asked for one.
    NoVariant,
    /// A container of weights without a family.
    OtherFormats,
    /// Adapters for languages.
    LanguageAdapters,
    /// A pipeline in one file, beside the pipeline in folders.
    SingleFile,
    /// Further files of the family that was taken.
    OtherFiles(Family),
    /// Weights of the family that was taken, in other folders.
    OtherFolders(Family),
    /// Files of the family that was taken, which its index does not name.
    NotInIndex(Family),
    /// A folder that the pipeline does not name.
    NotInPipeline,
    /// A second copy of the weights, for `open_clip`.
    OpenClipCopy,
    /// Files that training wrote.
    Training,
    /// Documentation.
    Documentation,
    /// Samples and images.
    Media,
    /// Code that no loader runs.
    Script,
    /// No loader reads it.
    Unneeded,
    /// The user named other files.
    NotAsked,
    /// Remote code, which the user does not want.
    RemoteCode,
    /// A pattern of the user's leaves it out.
    Excluded(String),
    /// It is outside the folder that counts as the root.
    Outside(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Family(family) => write!(f, "{family} family"),
            Reason::Layout(words) => f.write_str(words),
            Reason::Variant(variant) => write!(f, "{} variant", printable(variant)),
            Reason::NoVariant => f.write_str("weights of no variant"),
            Reason::OtherFormats => f.write_str("other weight formats"),
            Reason::LanguageAdapters => f.write_str("language adapters"),
            Reason::SingleFile => f.write_str("single-file checkpoints"),
            Reason::OtherFiles(family) => write!(f, "other {family} files"),
            Reason::OtherFolders(family) => write!(f, "{family} weights in other folders"),
            Reason::NotInIndex(family) => write!(f, "{family} files that the index does not name"),
            Reason::NotInPipeline => f.write_str("not in model_index.json"),
            Reason::OpenClipCopy => f.write_str("open_clip's copy of the weights"),
            Reason::Training => f.write_str("training state"),
            Reason::Documentation => f.write_str("documentation"),
            Reason::Media => f.write_str("samples and images"),
            Reason::Script => f.write_str("code that no loader runs"),
            Reason::Unneeded => f.write_str("not needed by the loader"),
            Reason::NotAsked => f.write_str("not asked for"),
            Reason::RemoteCode => f.write_str("remote code, which is not wanted"),
            Reason::Excluded(pattern) => write!(f, "excluded by {}", printable(pattern)),
            Reason::Outside(root) => write!(f, "outside {}/", printable(root)),
        }
    }
}
