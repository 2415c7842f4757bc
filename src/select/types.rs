//! The values that selection takes and gives. The rules live beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::repo::RepoPath;
use crate::report::Finding;

macro_rules! families {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        /// A set of weight files that one loader reads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Family { $($(#[$doc])+ $name,)+ }

        impl Family {
            /// Every family, best first: the order of fallback.
            pub const ALL: &[Family] = &[$(Family::$name,)+];

            /// The name on the command line and in reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Family::$name => $text,)+ }
            }
        }
    };
}

families! {
    /// `*.safetensors` with or without an index.
    Safetensors = "safetensors";
    /// `PyTorch` `*.bin` with or without an index.
    Bin = "bin";
    /// Mistral's `consolidated*.safetensors` with `params.json`.
    Mistral = "mistral";
    /// Meta's `consolidated.NN.pth` with `params.json`.
    Meta = "meta";
    /// Other `PyTorch` pickles: `.pt`, `.pth`, `.ckpt`.
    Pt = "pt";
    /// `TorchScript` archives.
    TorchScript = "torchscript";
    /// GGUF and older ggml files.
    Gguf = "gguf";
    /// ONNX graphs and their external data.
    Onnx = "onnx";
    /// Keras HDF5 (`tf_model.h5`).
    Tf = "tf";
    /// `TensorFlow` checkpoints (`checkpoint`, `.index`, `.data-*`, `.meta`).
    TfCheckpoint = "tf-checkpoint";
    /// `TensorFlow` `SavedModel`.
    SavedModel = "saved-model";
    /// `TensorFlow` Lite.
    TfLite = "tflite";
    /// `TensorFlow.js` archives.
    TfJs = "tfjs";
    /// Flax msgpack.
    Flax = "flax";
    /// `OpenVINO` `.xml` + `.bin`.
    OpenVino = "openvino";
    /// Core ML packages.
    CoreMl = "coreml";
    /// MLX `weights.npz`.
    Mlx = "mlx";
    /// rust-bert `rust_model.ot`.
    Rust = "rust";
    /// `CTranslate2` `model.bin`.
    CTranslate2 = "ctranslate2";
    /// A diffusers pipeline in one file at the root.
    DiffusersSingle = "diffusers-single";
    /// Any other container of weights (`.nemo`, `.tensors`, `.llamafile`, `.dduf`, `.flashpack`, `metal/`).
    Other = "other";
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a weight family", crate::text::printable(.0))]
pub struct UnknownFamily(String);

impl FromStr for Family {
    type Err = UnknownFamily;
    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        Family::ALL.iter().copied().find(|f| f.as_str() == text).ok_or_else(|| UnknownFamily(text.to_owned()))
    }
}

impl serde::Serialize for Family {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

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
    /// Globs of files to take on top of the selection.
    pub include: Vec<String>,
    /// Globs of files to leave out of it; wins over `include`.
    pub exclude: Vec<String>,
    /// Take every file.
    pub all: bool,
    /// Select as if this folder were the root.
    pub subfolder: Option<RepoPath>,
    /// Leave out the repo's own Python code.
    pub no_code: bool,
}

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
    /// Which files.
    pub paths: Vec<RepoPath>,
    /// Their bytes together.
    pub bytes: u64,
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

/// What to fetch, what not, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// The weights, one per scope that has any.
    pub weights: Vec<WeightSet>,
    /// Every file to fetch, sorted by path, each once.
    pub files: Vec<Selected>,
    /// Every other file of the listing, grouped by reason, largest group first.
    pub left_out: Vec<LeftOut>,
    /// Fallbacks, foreign code, missing companions, incomplete families.
    pub findings: Vec<Finding>,
    /// Repos that the model also needs (`auto_map`'s `repo--module`, an adapter's base model).
    pub other_repos: Vec<String>,
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
    /// Several sets of weights are equally good.
    #[error("the repo holds several sets of weights; name one with --subfolder")]
    Ambiguous {
        /// The folders to choose from.
        choices: Vec<String>,
    },
    /// Several sets of the family asked for are equally good.
    #[error("the repo holds several sets of {family} weights")]
    Several {
        /// The family asked for.
        family: Family,
        /// What they are called.
        choices: Vec<String>,
        /// How to name one.
        how: &'static str,
    },
    /// `--subfolder` names no folder of the repo.
    #[error("there is no folder \"{folder}\" in this repo")]
    SubfolderAbsent {
        /// The folder asked for.
        folder: RepoPath,
        /// The folders there are, the closest spelling first.
        found: Vec<String>,
    },
    /// `--include` or `--exclude` does not parse.
    #[error("\"{}\" is not a glob: {reason}", crate::text::printable(.glob))]
    BadGlob {
        /// The pattern.
        glob: String,
        /// The parser's complaint.
        reason: String,
    },
    /// `--include` matched nothing.
    #[error("--include \"{}\" matches no file of this repo", crate::text::printable(.glob))]
    NoMatch {
        /// The pattern.
        glob: String,
        /// Files that it may have meant: of nearly that name, or that match when the case of letters is ignored.
        near: Vec<String>,
    },
}
