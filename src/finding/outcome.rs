//! What a check of contents found, and how much it covered. The checks live elsewhere.

use super::Finding;

/// What a check found, and how much it covered.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
