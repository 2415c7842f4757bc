//! The stack, the marks and the memo of the pickle machine, and their bounds.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read as _};

use super::{Global, Id, Node, Pickle, compat, joblib};

/// Objects of one pickle. A real shard has about fifteen for each tensor.
pub(super) const NODE_LIMIT: usize = 4_000_000;
/// Slots on the stack, items of containers, memo entries: each bounded by this as well.
const SLOT_LIMIT: usize = 8_000_000;
/// Bytes of an imported module's or function's name: each import of a memoised text copies it.
const NAME_LIMIT: usize = 1024;
/// Bytes of all imported names together: five bytes of a pickle can import a pair of memoised texts again and again.
const NAMES_LIMIT: usize = 4 << 20;
/// Bytes of one text that are kept. Names and keys are far shorter; a longer one is skipped, as bytes are.
const TEXT_LIMIT: usize = 4 << 20;
/// Levels of pickles in arrays in pickles.
const DEPTH: usize = 4;
/// Bytes of all texts that are kept.
const TEXTS_LIMIT: usize = 64 << 20;

pub(super) struct Machine<'a> {
    input: &'a mut dyn BufRead,
    at: usize,
    /// The end of the open frame.
    frame: Option<usize>,
    /// The protocol that the pickle states, or 0.
    protocol: usize,
    texts: usize,
    /// How many pickles this one is in.
    depth: usize,
    /// How many objects it may have, with those of the pickles in it.
    room: usize,
    assigned: HashSet<u32>,
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
    pub(super) fn new(input: &'a mut dyn BufRead, depth: usize, room: usize) -> Self {
        Machine {
            input,
            at: 0,
            frame: None,
            protocol: 0,
            texts: 0,
            depth,
            room,
            assigned: HashSet::new(),
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

    pub(super) fn set_protocol(&mut self, protocol: usize) {
        self.protocol = protocol;
    }

    /// A frame of this many bytes begins here. Python's unpickler refuses a frame inside another, and an
    /// instruction that crosses a frame's end (`_Unframer` of `Lib/pickle.py`); versions that do not refuse
    /// would read other instructions.
    pub(super) fn open_frame(&mut self, length: usize) -> Step<()> {
        if self.frame.is_some_and(|end| self.at < end) {
            return Err("a frame begins inside another");
        }
        self.frame = Some(self.at.checked_add(length).ok_or(SHORT)?);
        Ok(())
    }

    /// Advances by `n` bytes, which must be in one frame.
    fn pass(&mut self, n: usize) -> Step<()> {
        let end = self.at.checked_add(n).ok_or(SHORT)?;
        match self.frame {
            Some(frame) if self.at >= frame => self.frame = None,
            Some(frame) if end > frame => return Err("an instruction crosses the end of its frame"),
            _ => {}
        }
        self.at = end;
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        self.pass(N)?;
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|_| SHORT)?;
        Ok(bytes)
    }

    /// Reads `n` bytes, which the caller knows to be few.
    pub(super) fn take(&mut self, n: usize) -> Step<Vec<u8>> {
        self.pass(n)?;
        let mut bytes = Vec::new();
        (&mut *self.input).take(n as u64).read_to_end(&mut bytes).map_err(|_| SHORT)?;
        if bytes.len() == n { Ok(bytes) } else { Err(SHORT) }
    }

    /// Skips `n` bytes.
    pub(super) fn skip(&mut self, n: usize) -> Step<()> {
        self.pass(n)?;
        let passed = io::copy(&mut (&mut *self.input).take(n as u64), &mut io::sink()).map_err(|_| SHORT)?;
        if passed == n as u64 { Ok(()) } else { Err(SHORT) }
    }

    /// Skips `n` bytes that belong to an object.
    pub(super) fn bytes(&mut self, n: usize) -> Step<()> {
        let start = self.at;
        self.skip(n)?;
        self.push(Node::Bytes { start: start as u64, length: n as u64 })
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
    pub(super) fn raw_line(&mut self) -> Step<Vec<u8>> {
        let limit = TEXTS_LIMIT.saturating_sub(self.texts);
        let mut line = Vec::new();
        let read = (&mut *self.input).take(limit as u64).read_until(b'\n', &mut line).map_err(|_| SHORT)?;
        self.pass(read)?;
        if line.pop() != Some(b'\n') {
            return Err(if read == limit { "its lines are longer than this reader follows" } else { SHORT });
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    pub(super) fn line(&mut self) -> Step<String> {
        String::from_utf8(self.raw_line()?).map_err(|_| "a line is not UTF-8")
    }

    /// Reads a text of `n` bytes and pushes it; skips the bytes of a text that is too long to keep.
    pub(super) fn text(&mut self, n: usize) -> Step<()> {
        if n > TEXT_LIMIT || n > TEXTS_LIMIT.saturating_sub(self.texts) {
            return self.bytes(n);
        }
        self.texts += n;
        // Python accepts lone surrogates, so they must not stop this reader.
        let text = String::from_utf8_lossy(&self.take(n)?).into();
        self.push(Node::Str(text))
    }

    /// Pushes a text that has been read already.
    pub(super) fn text_of_line(&mut self, text: String) -> Step<()> {
        self.texts = self.texts.saturating_add(text.len());
        self.push(Node::Str(text.into()))
    }

    pub(super) fn charge(&mut self, slots: usize) -> Step<()> {
        self.slots = self.slots.saturating_add(slots);
        if self.slots > SLOT_LIMIT { Err("it is larger than this reader follows") } else { Ok(()) }
    }

    pub(super) fn add(&mut self, node: Node) -> Step<Id> {
        let id = self.pickle.nodes.len();
        if id >= self.room {
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

    /// Takes everything above the last mark off the stack.
    pub(super) fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("the mark is missing")?;
        if mark > self.stack.len() {
            return Err("the mark is missing");
        }
        let items = self.stack.split_off(mark);
        self.charge(items.len())?;
        Ok(items)
    }

    pub(super) fn node(&mut self, id: Id) -> Step<&mut Node> {
        self.pickle.nodes.get_mut(id as usize).ok_or("it refers to an object that does not exist")
    }

    pub(super) fn global(&mut self, module: &str, name: &str, position: usize) -> Step<()> {
        let (module, name) = if self.protocol < 3 { compat::mapped(module, name) } else { (module, name) };
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

    /// `BUILD`: gives the object on top its state.
    pub(super) fn build(&mut self, given: Id) -> Step<()> {
        let top = self.top()?;
        match self.node(top)? {
            Node::Call { state, .. } => *state = Some(given),
            // This changes the imported object for the whole process.
            Node::Global(index) => {
                let index = *index;
                if self.assigned.insert(index) {
                    self.pickle.assigned.push(index);
                }
            }
            _ => {}
        }
        match joblib::array(&self.pickle, top) {
            None => Ok(()),
            Some(array) => self.raw_array(&array?),
        }
    }

    /// Skips the bytes of an array that joblib writes between the instructions, after the array's description.
    fn raw_array(&mut self, array: &joblib::Array) -> Step<()> {
        if array.aligned {
            let padding = self.u8()?;
            self.skip(padding)?;
        }
        match array.bytes {
            Some(bytes) => self.skip(bytes),
            // The array is a pickle of its own; this pickle continues after it.
            None if self.depth >= DEPTH => Err("its arrays of objects nest deeper than this reader follows"),
            None => {
                let (inner, error) = super::follow_within(
                    &mut *self.input,
                    self.depth + 1,
                    self.room.saturating_sub(self.pickle.nodes.len()),
                );
                self.frame = None;
                self.room = self.room.saturating_sub(inner.objects());
                self.at = self.at.saturating_add(inner.length);
                self.pickle.nested.push(inner);
                error.map_or(Ok(()), |error| Err(error.why))
            }
        }
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
            // Any other object has its own `append`; its content is unknown, and nothing here needs it.
            Node::Call { .. } => {}
            _ => return Err("it appends to something that is not a list"),
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
            _ => return Err("it sets items of something that is not a dict"),
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
            _ => Err("it imports a name that is not text"),
        }
    }

    pub(super) fn mark(&mut self) -> Step<()> {
        self.charge(1)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// `POP`: removes the top of the stack, which may be a mark.
    pub(super) fn discard(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    /// `MEMOIZE`: the new key is the number of keys so far.
    pub(super) fn memoize_next(&mut self) -> Step<()> {
        let key = u32::try_from(self.memo.len()).map_err(|_| "its memo is too large")?;
        self.memoize(key)
    }
}
