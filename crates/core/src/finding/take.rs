//! The change to a selection that takes files which it left out, as data. `select` decides which group needs which
//! change.

use serde::{Deserialize, Serialize};

use crate::model::{Family, Options};

/// A change to the options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Take {
    /// Take everything.
    All,
    /// Take these too: a glob that matches nothing else.
    Files {
        /// The glob.
        glob: String,
    },
    /// Ask for this family, or for this variant, or for both.
    Weights {
        /// The family, if another one was taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<Family>,
        /// The variant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        variant: Option<String>,
    },
    /// Leave out no files by this pattern.
    NotExcluded {
        /// The pattern.
        pattern: String,
    },
    /// Take remote code.
    Code,
    /// Ask for no variant.
    NoVariant,
    /// Use the repo's own root, not a folder.
    NoSubfolder,
}

impl Take {
    /// Makes the change.
    pub fn apply(&self, options: &mut Options) {
        match self {
            Take::All => options.all = true,
            Take::Files { glob } => options.with.push(glob.clone()),
            Take::Weights { family, variant } => {
                if family.is_some() {
                    options.only = *family;
                }
                if variant.is_some() {
                    options.variant.clone_from(variant);
                }
            }
            Take::NotExcluded { pattern } => options.exclude.retain(|given| given != pattern),
            Take::Code => options.no_code = false,
            Take::NoVariant => options.variant = None,
            Take::NoSubfolder => options.subfolder = None,
        }
    }
}
