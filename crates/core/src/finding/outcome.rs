//! What a check of contents found, and how much it covered. The checks live elsewhere.

use super::{Finding, Proof};

/// What a check found, and how much it covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Sorted by path, worst first within a path.
    pub findings: Vec<Finding>,
    /// What was seen of each file, in the order of the subject. It is not remembered: what was seen in one run is no
    /// evidence in the next.
    #[serde(skip)]
    pub proofs: Vec<Proof>,
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
    pub weights_read: usize,
}

impl Outcome {
    /// How many files are proven to have the digest that they must have.
    pub fn proven(&self) -> usize {
        self.proofs.iter().filter(|proof| proof.holds()).count()
    }
}
