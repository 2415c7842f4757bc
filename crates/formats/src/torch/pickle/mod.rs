//! A pickle machine that builds a graph of the objects that loading *would* make, and makes none of
//! them. It knows protocols 0 to 5 of `pickletools`; `state` reads the graph.

mod compat;
mod joblib;
mod machine;
mod opcodes;
mod text;

use std::io::BufRead;

use machine::Machine;

/// The number of a node.
pub type Id = u32;

/// An object that the pickle describes.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// A number that nothing here needs: a float, a huge integer.
    Number,
    /// A text.
    Str(Box<str>),
    /// Bytes, which are not kept.
    Bytes {
        /// The place where they start, in bytes from the pickle's start.
        start: u64,
        /// How many bytes there are.
        length: u64,
    },
    /// A tuple.
    Tuple(Box<[Id]>),
    /// A list, set or frozenset.
    List(Vec<Id>),
    /// A dict: keys and values.
    Dict(Vec<(Id, Id)>),
    /// `module.name`; an index into [`Pickle::globals`].
    Global(u32),
    /// `function(*arguments)`, with the state and items that were added to the result later.
    Call {
        /// The function that is called.
        function: Id,
        /// The tuple of arguments.
        arguments: Id,
        /// The state that `BUILD` gave it.
        state: Option<Id>,
        /// The items that `SETITEM(S)` put into it.
        items: Vec<(Id, Id)>,
    },
    /// A reference out of the pickle: for torch, a storage.
    Persistent(Id),
}

/// A name that the pickle imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// The module.
    pub module: Box<str>,
    /// The name in it.
    pub name: Box<str>,
    /// The place of the importing instruction, in bytes from the pickle's start.
    pub position: usize,
}

/// The graph of one pickle.
#[derive(Debug, Default)]
pub struct Pickle {
    /// Every object; [`Pickle::root`] is the one that would be returned.
    pub nodes: Vec<Node>,
    /// The result.
    pub root: Id,
    /// Every import, in order, each (module, name) once.
    pub globals: Vec<Global>,
    /// Imports that it gives a state of its own, each once: this changes them for the whole process.
    pub assigned: Vec<u32>,
    /// Pickles among its instructions: joblib's arrays of objects.
    pub nested: Vec<Pickle>,
    /// The place of the first instruction that `torch.load(weights_only=True)` refuses, in bytes from the pickle's
    /// start.
    pub unrestricted: Option<usize>,
    /// The pickle's length in bytes, to the end of `STOP`.
    pub length: usize,
}

/// Why this machine cannot follow the bytes as a pickle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} at byte {position}")]
pub struct PickleError {
    /// What is wrong.
    pub why: &'static str,
    /// The place, in bytes from the pickle's start.
    pub position: usize,
}

/// Follows a pickle to its `STOP`.
pub fn read(mut input: &[u8]) -> Result<Pickle, PickleError> {
    match follow(&mut input) {
        (pickle, None) => Ok(pickle),
        (_, Some(error)) => Err(error),
    }
}

/// Follows a pickle to its `STOP`, and leaves `input` after it. Python runs all instructions before the one
/// that it cannot follow, so an error comes with the part of the pickle before it.
pub fn follow(input: &mut dyn BufRead) -> (Pickle, Option<PickleError>) {
    follow_within(input, 0, machine::NODE_LIMIT)
}

fn follow_within(input: &mut dyn BufRead, depth: usize, room: usize) -> (Pickle, Option<PickleError>) {
    let mut machine = Machine::new(input, depth, room);
    loop {
        let position = machine.position();
        match machine.step() {
            Ok(false) => {}
            Ok(true) => return (machine.finish(), None),
            Err(why) => return (machine.finish(), Some(PickleError { why, position })),
        }
    }
}

impl Pickle {
    /// How many objects the pickle has, with those of the pickles in it.
    pub fn objects(&self) -> usize {
        self.nested.iter().fold(self.nodes.len(), |count, inner| count.saturating_add(inner.objects()))
    }

    /// The node called `id`; ids made by [`read`] always exist.
    pub fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::None)
    }

    /// The import that a node is, if it is one.
    pub fn global(&self, id: Id) -> Option<&Global> {
        match self.node(id) {
            Node::Global(index) => self.globals.get(*index as usize),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(items) => Some(items),
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The node's text, if it is one.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The node's number, if it is a count.
    pub fn count(&self, id: Id) -> Option<u64> {
        match self.node(id) {
            Node::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }
}
