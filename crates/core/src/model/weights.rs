//! A set of weights, and the purpose of a file. `select` decides which files make up a set.

use std::fmt;
use std::sync::Arc;

use super::{Family, RepoPath, WeightIndex};

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
    /// The scope's folder: empty for the root, otherwise a component's or module's folder.
    pub scope: String,
    /// The family.
    pub family: Family,
    /// The variant, if the user asked for one and this scope has it.
    pub variant: Option<String>,
    /// The index file, if the weights are sharded.
    pub index: Option<RepoPath>,
    /// The parsed index, if selection has read it: it is parsed only once.
    pub(crate) parsed: Parsed,
    /// The weight files, sorted: the single file or the shards that the index names.
    pub files: Vec<RepoPath>,
    /// Whether the scope's config ties the output embedding to the input one
    /// (`tie_word_embeddings`), which makes the absence of the tied tensor legal.
    pub tied_embeddings: bool,
}

impl WeightSet {
    /// A set of these files in the root, without a variant and without an index.
    #[must_use]
    pub fn new(family: Family, files: Vec<RepoPath>) -> Self {
        WeightSet {
            scope: String::new(),
            family,
            variant: None,
            index: None,
            parsed: Parsed::default(),
            files,
            tied_embeddings: false,
        }
    }
}

/// A parsed index. The index file and its digest identify it, so it is neither compared nor shown.
#[derive(Clone, Default)]
pub struct Parsed(Option<Arc<WeightIndex>>);

impl Parsed {
    /// The index, if it was read.
    pub fn get(&self) -> Option<&Arc<WeightIndex>> {
        self.0.as_ref()
    }
}

impl From<Arc<WeightIndex>> for Parsed {
    fn from(index: Arc<WeightIndex>) -> Self {
        Parsed(Some(index))
    }
}

impl PartialEq for Parsed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Parsed {}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parsed")
    }
}
