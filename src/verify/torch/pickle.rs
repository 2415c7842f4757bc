//! A pickle machine that builds a graph of what *would* be made, and makes nothing. Protocols 0 to
//! 4 of `pickletools`; what the graph means is read in `state`.

use std::collections::HashMap;

/// Objects of one pickle. A real shard has some fifteen a tensor.
const NODE_LIMIT: usize = 4_000_000;
/// Slots on the stack, items of containers, memo entries: each bounded by this as well.
const SLOT_LIMIT: usize = 8_000_000;

/// The number of a node.
pub type Id = u32;

/// An object that the pickle describes. Text is a range of the pickle's own bytes.
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
    /// Bytes that matter to nothing here.
    Bytes,
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

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    pickle: Pickle,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    known: HashMap<(Box<str>, Box<str>), u32>,
    slots: usize,
}

/// Follows a pickle to its `STOP`.
pub fn read(input: &[u8]) -> Result<Pickle, PickleError> {
    let mut machine = Machine {
        input,
        at: 0,
        pickle: Pickle::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        known: HashMap::new(),
        slots: 0,
    };
    loop {
        let position = machine.at;
        match machine.step() {
            Ok(false) => {}
            Ok(true) => {
                machine.pickle.length = machine.at;
                return Ok(machine.pickle);
            }
            Err(why) => return Err(PickleError { why, position }),
        }
    }
}

type Step<T> = Result<T, &'static str>;

const SHORT: &str = "it ends in the middle of an instruction";
const EMPTY: &str = "an instruction finds the stack empty";

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(SHORT)?;
        let bytes = self.input.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    fn u8(&mut self) -> Step<usize> {
        Ok(usize::from(self.array::<1>()?[0]))
    }

    fn u32(&mut self) -> Step<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn len32(&mut self) -> Step<usize> {
        usize::try_from(self.u32()?).map_err(|_| SHORT)
    }

    fn len64(&mut self) -> Step<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| SHORT)
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = self.input.get(self.at..).ok_or(SHORT)?;
        let end = rest.iter().position(|b| *b == b'\n').ok_or(SHORT)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map(|s| s.strip_suffix('\r').unwrap_or(s)).map_err(|_| "a line is not UTF-8")
    }

    fn text(&mut self, n: usize) -> Step<Node> {
        // Surrogates that Python lets through are no reason to refuse a file.
        Ok(Node::Str(String::from_utf8_lossy(self.take(n)?).into()))
    }

    fn charge(&mut self, slots: usize) -> Step<()> {
        self.slots = self.slots.saturating_add(slots);
        if self.slots > SLOT_LIMIT { Err("it is larger than this reader follows") } else { Ok(()) }
    }

    fn add(&mut self, node: Node) -> Step<Id> {
        let id = self.pickle.nodes.len();
        if id >= NODE_LIMIT {
            return Err("it has more objects than this reader follows");
        }
        self.pickle.nodes.push(node);
        u32::try_from(id).map_err(|_| "it has more objects than this reader follows")
    }

    fn push(&mut self, node: Node) -> Step<()> {
        let id = self.add(node)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Step<()> {
        self.charge(1)?;
        self.stack.push(id);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        if self.marks.last().is_some_and(|mark| self.stack.len() <= *mark) {
            return Err("an instruction reaches below a mark");
        }
        self.stack.pop().ok_or(EMPTY)
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or(EMPTY)
    }

    /// Everything above the last mark.
    fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        if mark > self.stack.len() {
            return Err("there is no mark");
        }
        let items = self.stack.split_off(mark);
        self.charge(items.len())?;
        Ok(items)
    }

    fn node(&mut self, id: Id) -> Step<&mut Node> {
        self.pickle.nodes.get_mut(id as usize).ok_or("it refers to an object that is not there")
    }

    fn global(&mut self, module: &str, name: &str, position: usize) -> Step<()> {
        let key = (Box::from(module), Box::from(name));
        let index = if let Some(index) = self.known.get(&key) {
            *index
        } else {
            let index = u32::try_from(self.pickle.globals.len()).map_err(|_| "it imports too much")?;
            self.pickle.globals.push(Global { module: key.0.clone(), name: key.1.clone(), position });
            self.known.insert(key, index);
            index
        };
        self.push(Node::Global(index))
    }

    fn call(&mut self, function: Id, arguments: Id) -> Step<()> {
        self.push(Node::Call { function, arguments, state: None, items: Vec::new() })
    }

    fn tuple(&mut self, n: usize) -> Step<()> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items.into()))
    }

    fn append(&mut self, items: Vec<Id>) -> Step<()> {
        let top = self.top()?;
        match self.node(top)? {
            Node::List(list) => list.extend(items),
            // Anything else has its own `append`; what it keeps is unknown, and nothing here needs it.
            Node::Call { .. } => {}
            _ => return Err("it appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, flat: &[Id]) -> Step<()> {
        if !flat.len().is_multiple_of(2) {
            return Err("a key has no value");
        }
        let pairs = flat.chunks_exact(2).map(|p| (p[0], p[1]));
        let top = self.top()?;
        match self.node(top)? {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Call { items, .. } => items.extend(pairs),
            _ => return Err("it sets items of what is no dict"),
        }
        Ok(())
    }

    fn memoize(&mut self, key: u32) -> Step<()> {
        self.charge(1)?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Step<()> {
        let id = *self.memo.get(&key).ok_or("it recalls what it never stored")?;
        self.push_id(id)
    }

    fn integer(&mut self, bytes: &[u8]) -> Step<()> {
        if bytes.len() > 8 {
            return self.push(Node::Number);
        }
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text_of(&self, id: Id) -> Step<Box<str>> {
        match self.pickle.nodes.get(id as usize) {
            Some(Node::Str(text)) => Ok(text.clone()),
            _ => Err("it imports a name that is no text"),
        }
    }

    /// One instruction; `true` at `STOP`.
    #[allow(clippy::cognitive_complexity)] // one arm an opcode
    fn step(&mut self) -> Step<bool> {
        let position = self.at;
        match self.array::<1>()?[0] {
            b'.' => {
                self.pickle.root = self.pop()?;
                return Ok(true);
            }
            // Framing and protocol.
            0x80 => {
                if self.u8()? > 5 {
                    return Err("its protocol is newer than 5");
                }
            }
            0x95 => {
                self.take(8)?;
            }
            // Stack.
            b'(' => {
                self.charge(1)?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)?;
            }
            // Scalars.
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(n.into()))?;
            }
            b'K' => {
                let n = self.array::<1>()?[0];
                self.push(Node::Int(n.into()))?;
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(n.into()))?;
            }
            0x8a => {
                let n = self.u8()?;
                let bytes = self.take(n)?;
                self.integer(bytes)?;
            }
            0x8b => {
                let n = self.len32()?;
                let bytes = self.take(n)?;
                self.integer(bytes)?;
            }
            b'I' | b'L' => {
                let node = match self.line()?.trim_end_matches('L') {
                    "00" => Node::Bool(false),
                    "01" => Node::Bool(true),
                    number => number.parse().map_or(Node::Number, Node::Int),
                };
                self.push(node)?;
            }
            b'F' => {
                self.line()?;
                self.push(Node::Number)?;
            }
            b'G' => {
                self.take(8)?;
                self.push(Node::Number)?;
            }
            // Text and bytes.
            b'X' | b'T' => {
                let n = self.len32()?;
                let node = self.text(n)?;
                self.push(node)?;
            }
            0x8c | b'U' => {
                let n = self.u8()?;
                let node = self.text(n)?;
                self.push(node)?;
            }
            0x8d => {
                let n = self.len64()?;
                let node = self.text(n)?;
                self.push(node)?;
            }
            b'V' => {
                let text = self.line()?;
                self.push(Node::Str(text.into()))?;
            }
            b'S' => {
                let text = self.line()?;
                let bare = text.strip_prefix(['\'', '"']).and_then(|t| t.strip_suffix(['\'', '"'])).unwrap_or(text);
                self.push(Node::Str(bare.into()))?;
            }
            b'B' => {
                let n = self.len32()?;
                self.take(n)?;
                self.push(Node::Bytes)?;
            }
            b'C' => {
                let n = self.u8()?;
                self.take(n)?;
                self.push(Node::Bytes)?;
            }
            0x8e | 0x96 => {
                let n = self.len64()?;
                self.take(n)?;
                self.push(Node::Bytes)?;
            }
            // Containers.
            b']' | 0x8f => self.push(Node::List(Vec::new()))?,
            b')' => self.push(Node::Tuple(Box::default()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Node::List(items))?;
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Node::Tuple(items.into()))?;
            }
            b'd' => {
                let flat = self.since_mark()?;
                self.push(Node::Dict(Vec::new()))?;
                self.set_items(&flat)?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let flat = self.since_mark()?;
                self.set_items(&flat)?;
            }
            // Memo.
            b'q' => {
                let key = self.array::<1>()?[0];
                self.memoize(key.into())?;
            }
            b'r' => {
                let key = self.u32()?;
                self.memoize(key)?;
            }
            b'p' => {
                let key = self.line()?.parse().map_err(|_| "a memo key is no number")?;
                self.memoize(key)?;
            }
            0x94 => {
                let key = u32::try_from(self.memo.len()).map_err(|_| "its memo is too large")?;
                self.memoize(key)?;
            }
            b'h' => {
                let key = self.array::<1>()?[0];
                self.recall(key.into())?;
            }
            b'j' => {
                let key = self.u32()?;
                self.recall(key)?;
            }
            b'g' => {
                let key = self.line()?.parse().map_err(|_| "a memo key is no number")?;
                self.recall(key)?;
            }
            // Imports, calls, references.
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(module, name, position)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                let (module, name) = (self.text_of(module)?, self.text_of(name)?);
                self.global(&module, &name, position)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let items = self.since_mark()?;
                let arguments = self.add(Node::Tuple(items.into()))?;
                self.global(module, name, position)?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            b'o' => {
                let mut items = self.since_mark()?;
                if items.is_empty() {
                    return Err(EMPTY);
                }
                let function = items.remove(0);
                let arguments = self.add(Node::Tuple(items.into()))?;
                self.call(function, arguments)?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            0x92 => {
                self.pop()?;
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)?;
            }
            b'b' => {
                let given = self.pop()?;
                let top = self.top()?;
                if let Node::Call { state, .. } = self.node(top)? {
                    *state = Some(given);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))?;
            }
            b'P' => {
                let text = self.line()?;
                let id = self.add(Node::Str(text.into()))?;
                self.push(Node::Persistent(id))?;
            }
            0x82..=0x84 => return Err("it uses the extension registry, which weight files never do"),
            0x97 | 0x98 => return Err("it uses out-of-band buffers, which files never do"),
            _ => return Err("it has an unknown instruction"),
        }
        Ok(false)
    }
}

impl Pickle {
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
