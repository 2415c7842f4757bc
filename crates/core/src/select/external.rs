//! The files that an ONNX graph names as its external data (onnx/onnx.proto, docs/ExternalData.md). Only names are
//! read here, to know which files to take; `verify` checks whether the data fit.

use std::collections::BTreeSet;

/// Levels of messages in messages: protobuf's own limit.
const MOST_DEPTH: u32 = 100;
/// The most names that are returned: no folder of a repo has so many files.
const MOST_NAMES: usize = 100_000;

/// The messages of the schema on the way to a tensor.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

/// The message in the field `number` of `message`, if it leads to a tensor.
fn inner(message: Message, number: u64) -> Option<Message> {
    Some(match (message, number) {
        (Message::Model, 7) | (Message::Training, 1 | 2) | (Message::Attribute, 6 | 11) => Message::Graph,
        (Message::Model, 20) => Message::Training,
        (Message::Model, 25) => Message::Function,
        (Message::Function, 7) | (Message::Graph, 1) => Message::Node,
        (Message::Function, 11) | (Message::Node, 5) => Message::Attribute,
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::Sparse, 1 | 2) => Message::Tensor,
        (Message::Graph, 15) | (Message::Attribute, 22 | 23) => Message::Sparse,
        _ => return None,
    })
}

/// The locations that a graph names, in its spelling. A graph that is cut short is read as far as it goes.
pub(super) fn locations(graph: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(graph, Message::Model, 0, &mut found);
    found
}

fn walk(bytes: &[u8], message: Message, depth: u32, found: &mut BTreeSet<String>) {
    if depth > MOST_DEPTH || found.len() >= MOST_NAMES {
        return;
    }
    // If a key is given twice the last one counts, as in onnx (`external_data_helper.py`).
    let mut location: Option<String> = None;
    for (number, value) in Fields(bytes) {
        if let (Message::Tensor, 13) = (message, number) {
            location = pair(value).or(location);
        } else if let Some(inner) = inner(message, number) {
            walk(value, inner, depth + 1, found);
        }
    }
    found.extend(location);
}

/// The value of a `StringStringEntryProto` whose key is `location`.
fn pair(bytes: &[u8]) -> Option<String> {
    let last = |wanted| Fields(bytes).filter(|(number, _)| *number == wanted).last().map(|(_, value)| value);
    let text = last(2).and_then(|value| std::str::from_utf8(value).ok())?;
    (last(1)? == b"location" && !text.is_empty()).then(|| text.to_owned())
}

/// The length-delimited fields of a message, up to its end or to the first malformed field.
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = (u64, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            let skip = match tag & 7 {
                0 => {
                    self.varint()?;
                    0
                }
                1 => 8,
                5 => 4,
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    let (value, rest) = self.0.split_at_checked(length)?;
                    self.0 = rest;
                    return Some((tag >> 3, value));
                }
                _ => return None,
            };
            self.0 = self.0.get(skip..)?;
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::locations;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).expect("short");
        assert!(length < 0x80);
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn tensor(locations: &[&str]) -> Vec<u8> {
        let pair = |l: &&str| field(13, &[field(1, b"location"), field(2, l.as_bytes())].concat());
        [field(8, b"w"), locations.iter().flat_map(pair).collect()].concat()
    }

    #[test]
    fn a_graphs_external_files_are_found_wherever_a_tensor_may_be() {
        let initializer = field(5, &tensor(&["a.data"]));
        let attribute = field(1, &field(5, &field(5, &tensor(&["onnx__MatMul_3455"]))));
        let graph = field(7, &[initializer, attribute].concat());
        assert_eq!(locations(&graph).into_iter().collect::<Vec<_>>(), ["a.data", "onnx__MatMul_3455"]);
    }

    #[test]
    fn the_last_of_two_locations_counts() {
        let graph = field(7, &field(5, &tensor(&["first", "last"])));
        assert_eq!(locations(&graph).into_iter().collect::<Vec<_>>(), ["last"]);
    }

    #[test]
    fn a_graph_with_its_own_data_names_no_files() {
        assert!(locations(&field(7, &field(5, &[field(8, b"w"), field(9, b"data")].concat()))).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = locations(&bytes);
        }
    }
}
