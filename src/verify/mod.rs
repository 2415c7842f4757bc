//! Proving that files on disk are right: digests, tensor tables read from untrusted bytes without
//! executing anything, and coverage of the index. No network; where files came from is unknown here.

use std::ops::Range;
use std::path::PathBuf;

use crate::progress::Progress;
use crate::repo::{Digest, RepoPath};
use crate::report::Finding;
use crate::select::{Purpose, WeightSet};

/// A file to check.
#[derive(Debug, Clone)]
pub struct SubjectFile {
    /// Its name in the repo, for findings.
    pub path: RepoPath,
    /// Where to read it.
    pub local: PathBuf,
    /// The size it must have; `None` when nobody says (a plain folder, offline).
    pub size: Option<u64>,
    /// The digest it must have; `None` when nobody says.
    pub digest: Option<Digest>,
    /// The digest was checked already (while streaming, or by an earlier run): do not read it all.
    pub digest_checked: bool,
    /// What it is for.
    pub purpose: Purpose,
}

/// What to check.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Every file.
    pub files: Vec<SubjectFile>,
    /// Which of them are weights, by scope; their paths are among `files`.
    pub weights: Vec<WeightSet>,
    /// Report `unsafe-pickle` as a warning.
    pub allow_unsafe_pickle: bool,
}

/// What a check found, and how much it covered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Sorted by path, worst first within a path.
    pub findings: Vec<Finding>,
    /// How many digests were computed or known to be right.
    pub digests: usize,
    /// Bytes hashed in this run.
    pub bytes_hashed: u64,
    /// Tensors read from headers.
    pub tensors: u64,
    /// Names in indexes that were compared with headers.
    pub indexed: u64,
    /// Elements of all tensors: the parameter count.
    pub parameters: u64,
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: Box<str>,
    /// Its dtype in the format's own spelling (`F32`, `BF16`, `torch.float16`...).
    pub dtype: Box<str>,
    /// Its shape; empty for a scalar.
    pub shape: Box<[u64]>,
    /// Its bytes in the file, where the format says.
    pub bytes: Option<Range<u64>>,
}

/// Every tensor of one weight file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorTable {
    /// In the file's order.
    pub tensors: Vec<Tensor>,
    /// `(dropped, kept)`: names that the writer left out because they share another's storage.
    pub aliases: Vec<(Box<str>, Box<str>)>,
}

/// Checks everything about `subject` on up to `threads` threads of its own. Blocks.
pub fn verify(_subject: &Subject, _threads: usize, _progress: &dyn Progress) -> Outcome {
    unimplemented!()
}
