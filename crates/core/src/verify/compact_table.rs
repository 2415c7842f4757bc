//! The parts of a file's table that the check of a whole set needs: names and sizes of tensors, without dtypes, shapes
//! and places. Other modules read and compare tables.

use hfget_formats::TensorTable;

use super::names::Names;

/// A table that takes a tenth of the memory: sixteen bytes a tensor, in two allocations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CompactTable {
    /// The numbers of the tensors' names, in the file's order.
    numbers: Vec<usize>,
    /// How many elements each tensor has.
    elements: Vec<u64>,
    /// Bytes of all tensors, as far as the format states them; `u64::MAX` on overflow.
    pub bytes: u64,
    /// `(dropped, kept)`: names that the writer left out because they share another's storage.
    pub aliases: Vec<(Box<str>, Box<str>)>,
}

impl CompactTable {
    /// The table of a file whose set has these names.
    pub fn new(table: TensorTable, names: &mut Names) -> Self {
        let mut compact = CompactTable {
            numbers: Vec::with_capacity(table.tensors.len()),
            elements: Vec::with_capacity(table.tensors.len()),
            bytes: 0,
            aliases: table.aliases,
        };
        for tensor in table.tensors {
            compact.numbers.push(names.number(&tensor.name));
            compact.elements.push(tensor.elements());
            let bytes = tensor.bytes.map_or(0, |range| range.end.saturating_sub(range.start));
            compact.bytes = compact.bytes.saturating_add(bytes);
        }
        compact
    }

    /// Each tensor's number and elements, in the file's order.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, u64)> {
        self.numbers().zip(self.elements.iter().copied())
    }

    /// The number of each tensor's name, in the file's order.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.numbers.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{CompactTable, Names};
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
        let mut names = Names::default();
        let table = CompactTable::new(TensorTable { tensors, aliases: vec![("x".into(), "a".into())] }, &mut names);
        let all: Vec<(&str, u64)> = table.tensors().map(|(number, elements)| (names.name(number), elements)).collect();
        assert_eq!(all, [("a", 6), ("", 1), ("模型", u64::MAX), ("a", 0)]);
        assert_eq!((names.len(), table.bytes, table.aliases.len()), (3, 28, 1));
        assert_eq!(CompactTable::default().tensors().count(), 0);
    }
}
