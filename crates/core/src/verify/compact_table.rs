//! The parts of a file's table that the check of a whole set needs: names and sizes of tensors, without dtypes, shapes
//! and places. Other modules read and compare tables.

use hfget_formats::TensorTable;

/// A table that takes a quarter of the memory, in a few large allocations, which go back to the system when they are
/// dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CompactTable {
    /// The names, one after the other, in the file's order.
    names: String,
    /// The end of each name, and the number of its tensor's elements.
    rows: Vec<(usize, u64)>,
    /// Bytes of all tensors, as far as the format states them; `u64::MAX` on overflow.
    pub bytes: u64,
    /// `(dropped, kept)`: names that the writer left out because they share another's storage.
    pub aliases: Vec<(Box<str>, Box<str>)>,
}

impl From<TensorTable> for CompactTable {
    fn from(table: TensorTable) -> Self {
        let mut names = String::with_capacity(table.tensors.iter().map(|tensor| tensor.name.len()).sum());
        let mut rows = Vec::with_capacity(table.tensors.len());
        let mut bytes = 0u64;
        for tensor in table.tensors {
            names.push_str(&tensor.name);
            rows.push((names.len(), tensor.elements()));
            bytes = bytes.saturating_add(tensor.bytes.map_or(0, |range| range.end.saturating_sub(range.start)));
        }
        CompactTable { names, rows, bytes, aliases: table.aliases }
    }
}

impl CompactTable {
    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Each tensor's name and elements, in the file's order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, u64)> {
        let mut start = 0;
        self.rows.iter().map(move |&(end, elements)| {
            let name = self.names.get(start..end).unwrap_or_default();
            start = end;
            (name, elements)
        })
    }

    /// Each tensor's name, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors().map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::CompactTable;
    use hfget_formats::{Tensor, TensorTable};

    #[test]
    fn names_and_sums_are_those_of_the_table() {
        let tensor = |name: &str, shape: &[u64], bytes| Tensor {
            name: name.into(),
            dtype: "F32".into(),
            shape: shape.into(),
            bytes,
        };
        let tensors = vec![
            tensor("a", &[2, 3], Some(8..32)),
            tensor("", &[], Some(32..36)),
            tensor("模型", &[u64::MAX, 2], None),
            tensor("a", &[0], Some(5..5)),
        ];
        let held = CompactTable::from(TensorTable { tensors, aliases: vec![("x".into(), "a".into())] });
        let all: Vec<(&str, u64)> = held.tensors().collect();
        assert_eq!(all, [("a", 6), ("", 1), ("模型", u64::MAX), ("a", 0)]);
        assert_eq!((held.len(), held.bytes, held.aliases.len()), (4, 28, 1));
        assert_eq!(CompactTable::default().tensors().count(), 0);
    }
}
