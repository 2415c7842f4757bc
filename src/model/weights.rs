//! A set of weights, and what a file is for. Which files make up a set is decided elsewhere.

use super::{Family, RepoPath};

/// Why a file is in the selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum Purpose {
    Weights,
    Index,
    Config,
    Generation,
    Tokenizer,
    ChatTemplate,
    Processor,
    Quantization,
    Adapter,
    Pipeline,
    Code,
    /// Taken because of `--include`, `--all`, or a folder that loaders take whole.
    Other,
}

impl Purpose {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Weights => "weights",
            Purpose::Index => "index",
            Purpose::Config => "config",
            Purpose::Generation => "generation",
            Purpose::Tokenizer => "tokenizer",
            Purpose::ChatTemplate => "chat template",
            Purpose::Processor => "processor",
            Purpose::Quantization => "quantization",
            Purpose::Adapter => "adapter",
            Purpose::Pipeline => "pipeline",
            Purpose::Code => "code",
            Purpose::Other => "other",
        }
    }
}

/// The weights chosen for one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeightSet {
    /// The scope's folder: empty for the root, else a component or module folder.
    pub scope: String,
    /// The family.
    pub family: Family,
    /// The variant, when one was asked for and this scope has it.
    pub variant: Option<String>,
    /// The index file, when the weights are sharded.
    pub index: Option<RepoPath>,
    /// The weight files, sorted: the single file or the shards that the index names.
    pub files: Vec<RepoPath>,
    /// Whether the scope's config ties the output embedding to the input one
    /// (`tie_word_embeddings`), which makes the absence of the tied tensor legal.
    pub tied_embeddings: bool,
}

impl WeightSet {
    /// These files of the root, in no variant and without an index.
    #[must_use]
    pub fn new(family: Family, files: Vec<RepoPath>) -> Self {
        WeightSet { scope: String::new(), family, variant: None, index: None, files, tied_embeddings: false }
    }
}
