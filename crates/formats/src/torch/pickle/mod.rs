//! A pickle machine that builds a graph of what *would* be made, and makes nothing. Protocols 0 to
//! 5 of `pickletools`; what the graph means is read in `state`.

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
    /// A number that matters to nothing here: a float, a huge integer.
    Number,
    /// A text.
    Str(Box<str>),
    /// Bytes, which are not kept.
    Bytes {
        /// Where they start, in bytes from the pickle's start.
        start: u64,
        /// How many they are.
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
    /// `function(*arguments)`, with what was added to the result later.
    Call {
        /// What is called.
        function: Id,
        /// The tuple of arguments.
        arguments: Id,
        /// What `BUILD` gave it.
        state: Option<Id>,
        /// What `SETITEM(S)` put into it.
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
    /// Where the importing opcode stands, in bytes from the pickle's start.
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
    /// Imports that it gives a state of its own, each once: that changes them for the whole process.
    pub assigned: Vec<u32>,
    /// Pickles among its instructions: joblib's arrays of objects.
    pub nested: Vec<Pickle>,
    /// Where the first instruction stands that `torch.load(weights_only=True)` refuses, if there is one.
    pub unrestricted: Option<usize>,
    /// Bytes that it took, to the end of `STOP`.
    pub length: usize,
}

/// Why bytes are no pickle that this machine follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} at byte {position}")]
pub struct PickleError {
    /// What is wrong.
    pub why: &'static str,
    /// Where.
    pub position: usize,
}

/// Follows a pickle to its `STOP`.
pub fn read(mut input: &[u8]) -> Result<Pickle, PickleError> {
    match follow(&mut input) {
        (pickle, None) => Ok(pickle),
        (_, Some(error)) => Err(error),
    }
}

/// Follows a pickle to its `STOP`, and leaves `input` behind it. Python runs what it can before it meets what
/// it cannot follow: beside an error stands what was read until then.
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
    /// How many objects it has, with those of the pickles in it.
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

    /// A text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    /// A number that counts something.
    pub fn count(&self, id: Id) -> Option<u64> {
        match self.node(id) {
            Node::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }
}
