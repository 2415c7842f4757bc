//! The content of every format: named tensors.

use std::ops::Range;

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: Box<str>,
    /// Its dtype in the format's own spelling (`F32`, `BF16`, `torch.float16`...).
    pub dtype: Box<str>,
    /// Its shape; empty for a scalar.
    pub shape: Box<[u64]>,
    /// The range of its bytes in the file, if the format states it.
    pub bytes: Option<Range<u64>>,
}

impl Tensor {
    /// The number of elements; `u64::MAX` on overflow.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d))
    }
}

/// Every tensor of one weight file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorTable {
    /// The tensors, in the file's order.
    pub tensors: Vec<Tensor>,
    /// `(dropped, kept)`: names that the writer left out because they share another's storage.
    pub aliases: Vec<(Box<str>, Box<str>)>,
}
