//! The tensor names of one set of weights, each kept once and known by its number. An index and its shards have the same
//! names, and a set may have a million of them. Other modules read and compare tables.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::model::WeightIndex;

/// Names, numbered from 0. The names of the index are read from it; all others are kept here.
#[derive(Default)]
pub(crate) struct Names {
    index: Option<Arc<WeightIndex>>,
    /// The names that the index does not have, one after the other.
    others: String,
    /// The end of each of `others`.
    ends: Vec<usize>,
    /// The numbers, found by the hash of their names.
    numbers: HashTable<usize>,
    hasher: RandomState,
}

impl Names {
    /// The names of `index`, if the set has one. A name that it repeats has the number of its first row.
    pub fn of(index: Option<Arc<WeightIndex>>) -> Self {
        let mut names = Names::default();
        let Some(index) = index else { return names };
        let hasher = names.hasher.clone();
        let hash = |name: &str| hasher.hash_one(name);
        names.numbers.reserve(index.weight_map().len(), |_| 0); // The table is empty: nothing is hashed.
        for (number, (name, _)) in index.weight_map().enumerate() {
            let same = |other: &usize| index.tensor(*other) == Some(name);
            let rehash = |other: &usize| hash(index.tensor(*other).unwrap_or_default());
            names.numbers.entry(hash(name), same, rehash).or_insert(number);
        }
        names.index = Some(index);
        names
    }

    /// The number of `name`. A new name is kept.
    pub fn number(&mut self, name: &str) -> usize {
        let next = self.len();
        let Names { index, others, ends, numbers, hasher } = self;
        let text = |number: &usize| name_of(index.as_deref(), others, ends, *number);
        let hash = hasher.hash_one(name);
        match numbers.entry(hash, |number| text(number) == name, |number| hasher.hash_one(text(number))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => {
                free.insert(next);
                others.push_str(name);
                ends.push(others.len());
                next
            }
        }
    }

    /// The number of `name`, if the name is known.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.numbers.find(self.hasher.hash_one(name), |number| self.name(*number) == name).copied()
    }

    /// The name with this number; empty if no name has it.
    pub fn name(&self, number: usize) -> &str {
        name_of(self.index.as_deref(), &self.others, &self.ends, number)
    }

    /// All numbers are below this one.
    pub fn len(&self) -> usize {
        rows(self.index.as_deref()) + self.ends.len()
    }
}

fn rows(index: Option<&WeightIndex>) -> usize {
    index.map_or(0, |index| index.weight_map().len())
}

fn name_of<'a>(index: Option<&'a WeightIndex>, others: &'a str, ends: &[usize], number: usize) -> &'a str {
    let Some(at) = number.checked_sub(rows(index)) else {
        return index.and_then(|index| index.tensor(number)).unwrap_or_default();
    };
    let start = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or_default();
    ends.get(at).and_then(|end| others.get(start..*end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::Names;
    use crate::model::WeightIndex;

    fn index(names: &[String]) -> Arc<WeightIndex> {
        let pairs: Vec<String> = names.iter().map(|name| format!("{}: \"s\"", serde_json::json!(name))).collect();
        let text = format!("{{\"weight_map\": {{{}}}}}", pairs.join(","));
        Arc::new(WeightIndex::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_name_that_an_index_repeats_has_one_number() {
        let mut names = Names::of(Some(index(&["a".into(), "b".into(), "a".into()])));
        assert_eq!((names.number("a"), names.number("b"), names.len()), (0, 1, 3));
        assert_eq!((names.number("c"), names.name(3), names.name(4)), (3, "c", ""));
    }

    proptest! {
        #[test]
        fn equal_names_have_equal_numbers_and_numbers_give_their_names(
            indexed in proptest::collection::vec("[ab模]{0,3}", 0..20),
            asked in proptest::collection::vec("[ab模]{0,3}", 0..60),
        ) {
            let mut names = Names::of((!indexed.is_empty()).then(|| index(&indexed)));
            for name in &indexed {
                prop_assert_eq!(names.find(name), indexed.iter().position(|other| other == name));
            }
            for name in &asked {
                let known = names.find(name);
                let number = names.number(name);
                prop_assert_eq!(names.name(number), name.as_str());
                prop_assert!(known.is_none_or(|known| known == number) && number < names.len());
                prop_assert_eq!(names.find(name), Some(number));
            }
        }
    }
}
