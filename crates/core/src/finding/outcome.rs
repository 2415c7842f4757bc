//! The result of a check of contents: its findings, and how much it covered. The checks are in `verify`.

use super::{Finding, Proof};

/// The result of a check: its findings, and how much it covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Sorted by path, worst first within a path.
    pub findings: Vec<Finding>,
    /// What this run saw of each file, in the order of the subject. It is not kept: what one run saw is no evidence in
    /// the next.
    #[serde(skip)]
    pub(crate) proofs: Vec<Proof>,
    /// Bytes hashed in this run.
    pub bytes_hashed: u64,
    /// Tensors read from headers.
    pub tensors: u64,
    /// Names in indexes that were compared with headers.
    pub indexed: u64,
    /// Elements of all tensors: the parameter count.
    pub parameters: u64,
    /// Weight files that a reader understood.
    #[serde(default)]
    pub(crate) weights_read: usize,
}

impl Outcome {
    /// How many files are proven to have the digest that they must have.
    pub fn proven(&self) -> usize {
        self.proofs.iter().filter(|proof| proof.holds()).count()
    }
}
