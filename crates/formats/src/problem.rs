//! A problem that a reader found in a file: a kind, the file, and a sentence with the figures. The caller decides
//! what follows from it.

macro_rules! kinds {
    ($($(#[$doc:meta])+ $name:ident, $severity:ident;)+) => {
        /// What kind of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum ProblemKind { $($(#[$doc])+ $name,)+ }

        impl ProblemKind {
            /// Every kind.
            pub const ALL: &[ProblemKind] = &[$(ProblemKind::$name,)+];

            /// How bad it is, unless the problem says otherwise.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(ProblemKind::$name => Severity::$severity,)+ }
            }
        }
    };
}

kinds! {
    /// A file's length is not what the format says.
    SizeMismatch, Error;
    /// A checksum that the format keeps does not match the bytes.
    ChecksumMismatch, Error;
    /// A file that another one names is missing, or cannot be read.
    FileMissing, Error;
    /// An index names a shard that is missing.
    ShardMissing, Error;
    /// An index names a tensor that no file contains.
    TensorMissing, Error;
    /// A tensor is in a shard other than the one that the index names.
    TensorMisplaced, Error;
    /// A shard contains a tensor that the index does not name.
    TensorUnindexed, Warning;
    /// One file, or two files of a set, contain two tensors of the same name.
    TensorDuplicate, Error;
    /// The index's `total_size` is not the sum of the tensors' bytes.
    TotalSizeMismatch, Warning;
    /// A file that should name a checkpoint names none.
    IndexInvalid, Error;
    /// The header breaks the format's rules.
    HeaderInvalid, Error;
    /// A tensor's bytes reach beyond its file or record.
    TensorOutOfBounds, Error;
    /// Bytes of the file belong to no tensor.
    DataGap, Error;
    /// Two tensors claim the same bytes although the format forbids it.
    DataOverlap, Error;
    /// A tensor's dtype is not known to this version, so its size was not checked.
    DtypeUnknown, Warning;
    /// A pickle would run code outside the known-safe set when it is loaded.
    UnsafePickle, Error;
    /// A pickle needs `weights_only=False` to load.
    NeedsFullUnpickle, Warning;
    /// A TorchScript archive brings code of its own, which its interpreter runs.
    TorchscriptCode, Note;
    /// A Keras model has a Lambda layer, which is code.
    KerasLambda, Warning;
    /// The graph of a `SavedModel` reads or writes files when it runs.
    GraphFileAccess, Warning;
    /// A pickle is malformed, or too large to be read safely.
    PickleInvalid, Error;
    /// A zip or tar archive is malformed.
    ArchiveInvalid, Error;
    /// A file is not of the format that its name promises.
    FormatUnexpected, Error;
    /// A file that a graph refers to is missing.
    ExternalDataMissing, Error;
    /// A part of a split set is missing.
    SplitIncomplete, Error;
    /// A name is not safe to use as a path.
    PathUnsafe, Error;
    /// Part of the file is in a form that this version does not read.
    WeightsUnread, Warning;
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; it changes nothing.
    Note,
    /// Loaders accept it, but a person should check it.
    Warning,
    /// The content is wrong.
    Error,
}

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of the problem.
    pub kind: ProblemKind,
    /// How bad.
    pub severity: Severity,
    /// The file's name, as the caller gave it.
    pub file: String,
    /// What is wrong, with the figures. One sentence without the file's name; it may quote the file, so escape it
    /// before a terminal sees it.
    pub message: String,
    /// The place in the file, in bytes from its start, if the problem has one.
    pub at: Option<u64>,
    /// The tensor that the problem is about, as the file names it, if it is about one.
    pub tensor: Option<Box<str>>,
}

/// The most bytes of a tensor's name that a problem keeps: hostile files have names of megabytes.
const NAME: usize = 1 << 10;

impl Problem {
    /// A problem of the kind's usual severity.
    pub fn new(kind: ProblemKind, file: impl AsRef<str>, message: impl Into<String>) -> Self {
        let (severity, file) = (kind.severity(), file.as_ref().to_owned());
        Problem { kind, severity, file, message: message.into(), at: None, tensor: None }
    }

    /// Adds the place in the file, in bytes from its start.
    #[must_use]
    pub fn at(mut self, at: u64) -> Self {
        self.at = Some(at);
        self
    }

    /// Adds the tensor. A name that is longer than any model's is left out.
    #[must_use]
    pub fn tensor(mut self, name: &str) -> Self {
        self.tensor = (name.len() <= NAME).then(|| name.into());
        self
    }

    /// Replaces the kind's usual severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}
