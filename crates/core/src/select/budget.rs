//! How many bytes one selection may read from all documents together. The rule that reads a document limits its
//! size.

use super::SelectError;

/// The most bytes of all documents of one selection together. The indexes of the largest models have about 20 MB.
const ALL_DOCUMENTS: u64 = 512_000_000;

/// How many bytes one selection may still read.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: ALL_DOCUMENTS }
    }
}

impl Budget {
    /// Takes documents of these sizes from the budget, before any of them is read.
    ///
    /// # Errors
    /// [`SelectError::DocumentsTooLarge`] if the budget is too small for them.
    pub fn spend(&mut self, sizes: impl IntoIterator<Item = u64>) -> Result<(), SelectError> {
        let wanted = sizes.into_iter().fold(0, u64::saturating_add);
        self.left = self.left.checked_sub(wanted).ok_or(SelectError::DocumentsTooLarge { most: ALL_DOCUMENTS })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_count_together_over_all_rounds() {
        let mut budget = Budget::default();
        budget.spend([ALL_DOCUMENTS / 2, 10]).unwrap();
        budget.spend([]).unwrap();
        budget.spend([ALL_DOCUMENTS / 2 - 10]).unwrap();
        assert_eq!(budget.spend([1]), Err(SelectError::DocumentsTooLarge { most: ALL_DOCUMENTS }));
        assert!(Budget::default().spend([u64::MAX, u64::MAX]).is_err());
    }
}
