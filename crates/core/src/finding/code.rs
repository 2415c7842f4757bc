//! The stable codes of findings, documented in docs/src/findings.md. The message of a finding is made where the problem
//! is found.

use std::fmt;

use super::Severity;

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal, $severity:ident;)+) => {
        /// The kind of a finding. The kebab-case form is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$name,)+];

            /// The stable name.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }

            /// How bad it is unless the finding says otherwise.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// A file's length is not the listed one.
    SizeMismatch = "size-mismatch", Error;
    /// The digest of a file's bytes is not the listed one.
    ChecksumMismatch = "checksum-mismatch", Error;
    /// A file of the selection is missing.
    FileMissing = "file-missing", Error;
    /// A file was wrong or missing, and was repaired. It is right now, unless it has another finding.
    Repaired = "repaired", Error;
    /// Nobody states the digests of some files: only the formats' own rules were checked.
    DigestsUnknown = "digests-unknown", Error;
    /// A file is a git-lfs pointer instead of the content.
    LfsPointer = "lfs-pointer", Error;
    /// The index names a shard that is missing.
    ShardMissing = "shard-missing", Error;
    /// The index names a tensor that its shard does not contain.
    TensorMissing = "tensor-missing", Error;
    /// A tensor is in a shard other than the one that the index names.
    TensorMisplaced = "tensor-misplaced", Error;
    /// A shard contains a tensor that the index does not name.
    TensorUnindexed = "tensor-unindexed", Warning;
    /// Two files contain a tensor of the same name.
    TensorDuplicate = "tensor-duplicate", Error;
    /// The index file does not parse or is not an index.
    IndexInvalid = "index-invalid", Error;
    /// The index's `total_size` is not the sum of the tensors' bytes.
    TotalSizeMismatch = "total-size-mismatch", Warning;
    /// A weight file's header breaks the format's rules.
    HeaderInvalid = "header-invalid", Error;
    /// A tensor's bytes reach beyond its file or record.
    TensorOutOfBounds = "tensor-out-of-bounds", Error;
    /// Bytes of a weight file belong to no tensor.
    DataGap = "data-gap", Error;
    /// Two tensors claim the same bytes although the format forbids it.
    DataOverlap = "data-overlap", Error;
    /// A tensor's dtype is not known to this version, so its size could not be checked.
    DtypeUnknown = "dtype-unknown", Warning;
    /// The Hub's own scan objects to a selected file.
    HubScan = "hub-scan", Warning;
    /// A pickle would run code outside the known-safe set when it is loaded.
    UnsafePickle = "unsafe-pickle", Error;
    /// A pickle needs `weights_only=False` to load.
    NeedsFullUnpickle = "needs-full-unpickle", Warning;
    /// A TorchScript archive brings code of its own, which its interpreter runs.
    TorchscriptCode = "torchscript-code", Note;
    /// A Keras model has a Lambda layer, which is code.
    KerasLambda = "keras-lambda", Warning;
    /// The graph of a `SavedModel` reads or writes files when it runs.
    GraphFileAccess = "graph-file-access", Warning;
    /// A pickle is malformed, or too large to be read safely.
    PickleInvalid = "pickle-invalid", Error;
    /// A zip or tar archive is malformed.
    ArchiveInvalid = "archive-invalid", Error;
    /// A file is not of the format that its name promises.
    FormatUnexpected = "format-unexpected", Error;
    /// A file that a graph refers to is missing.
    ExternalDataMissing = "external-data-missing", Error;
    /// Part of a split set is missing.
    SplitIncomplete = "split-incomplete", Error;
    /// A JSON companion does not parse.
    ConfigInvalid = "config-invalid", Error;
    /// A companion that loaders need is not in the repo.
    CompanionMissing = "companion-missing", Warning;
    /// Code that the model needs is in another repo.
    ForeignCode = "foreign-code", Warning;
    /// The repo brings code of its own that loaders run. It is a finding only if the policy denies it.
    RemoteCode = "remote-code", Note;
    /// A name is not safe to use as a path.
    PathUnsafe = "path-unsafe", Error;
    /// The preferred family is absent or incomplete; another was taken.
    FamilyFallback = "family-fallback", Warning;
    /// A family in the repo is incomplete and was skipped.
    FamilyIncomplete = "family-incomplete", Warning;
    /// Two sets of weights are in one place; the set that most loaders read was taken.
    OverlappingWeights = "overlapping-weights", Warning;
    /// Part of the weights has no file of the variant that the user asked for.
    VariantFallback = "variant-fallback", Warning;
    /// A weight file is in a container that no reader understands: its digest is checked, not its contents.
    WeightsUnread = "weights-unread", Warning;
    /// Weights were left out that are not just another format of the model, but a part of it.
    PartLeftOut = "part-left-out", Warning;
    /// There are no weights where loaders look for them.
    WeightsAbsent = "weights-absent", Warning;
    /// Another repo contains the model that this one builds on.
    BaseModel = "base-model", Note;
    /// `--exclude` left out a file that loaders need.
    Excluded = "excluded", Note;
    /// Only the files that the user named were taken, so a loader may need others.
    FilesOnly = "files-only", Note;
    /// A file in a folder is not part of the repo.
    FileExtra = "file-extra", Warning;
    /// A file in a plain folder is the user's own or was changed there, so it is not replaced.
    LocalChanges = "local-changes", Error;
    /// A file of an earlier commit, which the new one does not have, was changed in the folder.
    StaleFile = "stale-file", Error;
    /// A file of an earlier commit, which the new one does not have, was removed from the folder.
    FileRemoved = "file-removed", Note;
    /// Files of several commits are in one folder.
    MixedCommits = "mixed-commits", Warning;
    /// A trusted signature disagrees with a file, or no signature is trusted.
    SignatureInvalid = "signature-invalid", Error;
    /// A signature is required, but there is none.
    SignatureMissing = "signature-missing", Error;
    /// A file of the selection is not signed.
    FileUnsigned = "file-unsigned", Error;
    /// Some signed files were not selected.
    SignaturePartial = "signature-partial", Note;
    /// There is a signature, but no trusted signer is configured.
    SignatureUnchecked = "signature-unchecked", Note;
    /// A mirror resolves the revision to another commit.
    CommitStale = "commit-stale", Error;
    /// A mirror's listing or headers describe a file in a way that differs from the reference.
    MetadataMismatch = "metadata-mismatch", Error;
    /// A mirror leaves out facts that clients need: digests, `ETag`, commit or size.
    MetadataMissing = "metadata-missing", Warning;
    /// A server answers a request for a range with other bytes or another status.
    RangeBroken = "range-broken", Error;
    /// A range of a file has other bytes on the mirror.
    BytesDiffer = "bytes-differ", Error;
    /// The server sends a web page instead of a file.
    HtmlInsteadOfBytes = "html-instead-of-bytes", Error;
    /// A redirect leads to a host that is not allowed.
    RedirectForeign = "redirect-foreign", Error;
    /// Bytes come over plain HTTP although HTTPS is possible.
    PlainHttp = "plain-http", Error;
    /// A mirror refuses a file or repo that the reference serves.
    AccessDenied = "access-denied", Error;
    /// A server limited the rate of requests. The run waited for it, or (then an error) gave up.
    RateLimited = "rate-limited", Warning;
    /// The mirror did not give a file even after retries, so nothing is known about it.
    MirrorUnavailable = "mirror-unavailable", Error;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(UnknownCode)
    }
}

/// A text that is not a finding code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a finding code, such as unsafe-pickle, remote-code or tensor-unindexed")]
pub struct UnknownCode;

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
