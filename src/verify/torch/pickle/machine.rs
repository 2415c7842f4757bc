//! The stack, the marks and the memo of the pickle machine, and what bounds them.

use std::collections::HashMap;

use super::{Global, Id, Node, Pickle};

/// Objects of one pickle. A real shard has some fifteen a tensor.
const NODE_LIMIT: usize = 4_000_000;
/// Slots on the stack, items of containers, memo entries: each bounded by this as well.
const SLOT_LIMIT: usize = 8_000_000;
/// Bytes of an imported module's or function's name: each import of a memoised text copies it.
const NAME_LIMIT: usize = 1024;
/// Bytes of all imported names together: two memoised texts are five bytes as often as they are paired anew.
const NAMES_LIMIT: usize = 4 << 20;

pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    pickle: Pickle,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    known: HashMap<(Box<str>, Box<str>), u32>,
    slots: usize,
    names: usize,
}

pub(super) type Step<T> = Result<T, &'static str>;

const SHORT: &str = "it ends in the middle of an instruction";
const LONG_NAME: &str = "it imports a name of more than 1,024 bytes";
pub(super) const EMPTY: &str = "an instruction finds the stack empty";

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Machine {
            input,
            at: 0,
            pickle: Pickle::default(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            known: HashMap::new(),
            slots: 0,
            names: 0,
        }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn finish(self) -> Pickle {
        Pickle { length: self.at, ..self.pickle }
    }

    pub(super) fn note_unrestricted(&mut self, position: usize) {
        self.pickle.unrestricted.get_or_insert(position);
    }

    pub(super) fn set_root(&mut self, root: Id) {
        self.pickle.root = root;
    }

    pub(super) fn take(&mut self, n: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(n).ok_or(SHORT)?;
        let bytes = self.input.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| SHORT)
    }

    pub(super) fn u8(&mut self) -> Step<usize> {
        Ok(usize::from(self.array::<1>()?[0]))
    }

    pub(super) fn u32(&mut self) -> Step<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn len32(&mut self) -> Step<usize> {
        usize::try_from(self.u32()?).map_err(|_| SHORT)
    }

    pub(super) fn len64(&mut self) -> Step<usize> {
        usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| SHORT)
    }

    /// The bytes before the next line feed.
    pub(super) fn raw_line(&mut self) -> Step<&'a [u8]> {
        let rest = self.input.get(self.at..).ok_or(SHORT)?;
        let end = rest.iter().position(|b| *b == b'\n').ok_or(SHORT)?;
        self.at += end + 1;
        let line = &rest[..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    pub(super) fn line(&mut self) -> Step<&'a str> {
        std::str::from_utf8(self.raw_line()?).map_err(|_| "a line is not UTF-8")
    }

    pub(super) fn text(&mut self, n: usize) -> Step<Node> {
        // Surrogates that Python lets through are no reason to refuse a file.
        Ok(Node::Str(String::from_utf8_lossy(self.take(n)?).into()))
    }

    pub(super) fn charge(&mut self, slots: usize) -> Step<()> {
        self.slots = self.slots.saturating_add(slots);
        if self.slots > SLOT_LIMIT { Err("it is larger than this reader follows") } else { Ok(()) }
    }

    pub(super) fn add(&mut self, node: Node) -> Step<Id> {
        let id = self.pickle.nodes.len();
        if id >= NODE_LIMIT {
            return Err("it has more objects than this reader follows");
        }
        self.pickle.nodes.push(node);
        u32::try_from(id).map_err(|_| "it has more objects than this reader follows")
    }

    pub(super) fn push(&mut self, node: Node) -> Step<()> {
        let id = self.add(node)?;
        self.push_id(id)
    }

    pub(super) fn push_id(&mut self, id: Id) -> Step<()> {
        self.charge(1)?;
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Step<Id> {
        if self.marks.last().is_some_and(|mark| self.stack.len() <= *mark) {
            return Err("an instruction reaches below a mark");
        }
        self.stack.pop().ok_or(EMPTY)
    }

    pub(super) fn top(&self) -> Step<Id> {
        if self.marks.last().is_some_and(|mark| self.stack.len() <= *mark) {
            return Err("an instruction reaches below a mark");
        }
        self.stack.last().copied().ok_or(EMPTY)
    }

    /// Everything above the last mark.
    pub(super) fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        if mark > self.stack.len() {
            return Err("there is no mark");
        }
        let items = self.stack.split_off(mark);
        self.charge(items.len())?;
        Ok(items)
    }

    pub(super) fn node(&mut self, id: Id) -> Step<&mut Node> {
        self.pickle.nodes.get_mut(id as usize).ok_or("it refers to an object that is not there")
    }

    pub(super) fn global(&mut self, module: &str, name: &str, position: usize) -> Step<()> {
        if module.len() > NAME_LIMIT || name.len() > NAME_LIMIT {
            return Err(LONG_NAME);
        }
        let key = (Box::from(module), Box::from(name));
        let index = if let Some(index) = self.known.get(&key) {
            *index
        } else {
            self.names += module.len() + name.len();
            let index = u32::try_from(self.pickle.globals.len()).ok().filter(|_| self.names <= NAMES_LIMIT);
            let index = index.ok_or("it imports more than this reader follows")?;
            self.pickle.globals.push(Global { module: key.0.clone(), name: key.1.clone(), position });
            self.known.insert(key, index);
            index
        };
        self.push(Node::Global(index))
    }

    pub(super) fn call(&mut self, function: Id, arguments: Id) -> Step<()> {
        self.push(Node::Call { function, arguments, state: None, items: Vec::new() })
    }

    pub(super) fn tuple(&mut self, n: usize) -> Step<()> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items.into()))
    }

    pub(super) fn append(&mut self, items: Vec<Id>) -> Step<()> {
        let top = self.top()?;
        match self.node(top)? {
            Node::List(list) => list.extend(items),
            // Anything else has its own `append`; what it keeps is unknown, and nothing here needs it.
            Node::Call { .. } => {}
            _ => return Err("it appends to what is no list"),
        }
        Ok(())
    }

    pub(super) fn set_items(&mut self, flat: &[Id]) -> Step<()> {
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

    pub(super) fn memoize(&mut self, key: u32) -> Step<()> {
        self.charge(1)?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    pub(super) fn recall(&mut self, key: u32) -> Step<()> {
        let id = *self.memo.get(&key).ok_or("it recalls what it never stored")?;
        self.push_id(id)
    }

    pub(super) fn integer(&mut self, bytes: &[u8]) -> Step<()> {
        if bytes.len() > 8 {
            return self.push(Node::Number);
        }
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    pub(super) fn text_of(&self, id: Id) -> Step<Box<str>> {
        match self.pickle.nodes.get(id as usize) {
            Some(Node::Str(text)) if text.len() <= NAME_LIMIT => Ok(text.clone()),
            Some(Node::Str(_)) => Err(LONG_NAME),
            _ => Err("it imports a name that is no text"),
        }
    }

    pub(super) fn mark(&mut self) -> Step<()> {
        self.charge(1)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// `POP` takes a mark off as well, if that is on top.
    pub(super) fn discard(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    /// `MEMOIZE`: the key is the number of keys so far.
    pub(super) fn memoize_next(&mut self) -> Step<()> {
        let key = u32::try_from(self.memo.len()).map_err(|_| "its memo is too large")?;
        self.memoize(key)
    }
}
