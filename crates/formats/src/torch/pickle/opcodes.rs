//! The instructions, with one arm for each opcode. `machine` bounds the stack and the memo.

use super::machine::{EMPTY, Machine, Step};
use super::{Node, text};

/// The instructions of torch's own unpickler (`Unpickler.load` of `torch/_weights_only_unpickler.py`, 2.15):
/// those of protocol 2 that Python 3 writes, and an empty set.
fn is_restricted(instruction: u8) -> bool {
    matches!(
        instruction,
        b'(' | b')'
            | b'.'
            | b'G'
            | b'J'
            | b'K'
            | b'M'
            | b'N'
            | b'Q'
            | b'R'
            | b'U'
            | b'X'
            | b']'
            | b'a'
            | b'b'
            | b'c'
            | b'e'
            | b'h'
            | b'j'
            | b'q'
            | b'r'
            | b's'
            | b't'
            | b'u'
            | b'}'
            | 0x80
            | 0x81
            | 0x85..=0x8a | 0x8f
    )
}

impl Machine<'_> {
    /// Follows one instruction; `true` at `STOP`.
    #[allow(clippy::cognitive_complexity)] // one arm for each opcode
    pub(super) fn step(&mut self) -> Step<bool> {
        let position = self.position();
        let [instruction] = self.array()?;
        if !is_restricted(instruction) {
            self.note_unrestricted(position);
        }
        match instruction {
            b'.' => {
                let root = self.pop()?;
                self.set_root(root);
                return Ok(true);
            }
            // Framing and protocol.
            0x80 => {
                let protocol = self.u8()?;
                if protocol > 5 {
                    return Err("its protocol is newer than 5");
                }
                self.set_protocol(protocol);
            }
            0x95 => {
                let length = self.len64()?;
                self.open_frame(length)?;
            }
            // Stack.
            b'(' => self.mark()?,
            b'0' => self.discard()?,
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
                self.integer(&bytes)?;
            }
            0x8b => {
                let n = self.len32()?;
                // So large a number is not a count of anything.
                if n > 64 {
                    self.skip(n)?;
                    self.push(Node::Number)?;
                } else {
                    let bytes = self.take(n)?;
                    self.integer(&bytes)?;
                }
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
                self.text(n)?;
            }
            0x8c | b'U' => {
                let n = self.u8()?;
                self.text(n)?;
            }
            0x8d => {
                let n = self.len64()?;
                self.text(n)?;
            }
            b'V' => {
                let line = self.raw_line()?;
                self.text_of_line(text::raw_unicode_escape(&line))?;
            }
            b'S' => {
                let line = self.raw_line()?;
                self.text_of_line(text::string_literal(&line))?;
            }
            b'B' => {
                let n = self.len32()?;
                self.bytes(n)?;
            }
            b'C' => {
                let n = self.u8()?;
                self.bytes(n)?;
            }
            0x8e | 0x96 => {
                let n = self.len64()?;
                self.bytes(n)?;
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
                let key = self.line()?.parse().map_err(|_| "a memo key is not a number")?;
                self.memoize(key)?;
            }
            0x94 => self.memoize_next()?,
            b'h' => {
                let key = self.array::<1>()?[0];
                self.recall(key.into())?;
            }
            b'j' => {
                let key = self.u32()?;
                self.recall(key)?;
            }
            b'g' => {
                let key = self.line()?.parse().map_err(|_| "a memo key is not a number")?;
                self.recall(key)?;
            }
            // Imports, calls, references.
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(&module, &name, position)?;
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
                self.global(&module, &name, position)?;
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
                self.build(given)?;
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
