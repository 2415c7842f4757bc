//! The pickle machine: every node it gives refers to nodes that exist.
#![no_main]
use hfget::verify::torch::pickle::{Node, read};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(pickle) = read(data) else { return };
    let known = |id: &u32| assert!((*id as usize) < pickle.nodes.len());
    known(&pickle.root);
    for node in &pickle.nodes {
        match node {
            Node::Tuple(items) => items.iter().for_each(known),
            Node::List(items) => items.iter().for_each(known),
            Node::Dict(items) => items.iter().for_each(|(k, v)| {
                known(k);
                known(v);
            }),
            Node::Persistent(id) => known(id),
            _ => {}
        }
    }
    assert!(pickle.length <= data.len());
});
