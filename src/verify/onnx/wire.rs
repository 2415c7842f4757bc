//! The protobuf wire format over a file: tags, varints and lengths, each within its message. What
//! fields mean is decided elsewhere; nothing is kept that is not asked for.

use std::io::{BufRead as _, BufReader, Read, Seek};

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    /// Eight bytes, which have been passed.
    Fixed64,
    /// Four bytes, which have been passed.
    Fixed32,
    /// The end of a nested message, text or packed list, whose start is here.
    Until(u64),
}

/// A place in a file.
pub(super) struct Wire<R> {
    inner: BufReader<R>,
    pub at: u64,
}

impl<R: Read + Seek> Wire<R> {
    /// `file` is at its start.
    pub fn new(file: R) -> Self {
        Wire { inner: BufReader::with_capacity(64 << 10, file), at: 0 }
    }

    /// The next field of the message that ends at `end`, or `None` at its end.
    pub fn field(&mut self, end: u64) -> Result<Option<(u64, Value)>, String> {
        if self.at >= end {
            return Ok(None);
        }
        let from = self.at;
        let tag = self.varint(end)?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(format!("there is no field at {from}"));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(end)?),
            1 => self.pass(8, end).map(|()| Value::Fixed64)?,
            5 => self.pass(4, end).map(|()| Value::Fixed32)?,
            2 => {
                let length = self.varint(end)?;
                if length > end - self.at {
                    return Err(format!(
                        "a field of {length} bytes at {from} reaches beyond what holds it, which ends at {end}: \
                         the file is cut short or wrong"
                    ));
                }
                Value::Until(self.at + length)
            }
            // Groups: gone from protobuf before ONNX was made.
            wire => return Err(format!("the field at {from} is of wire type {wire}")),
        };
        Ok(Some((number, value)))
    }

    pub fn varint(&mut self, end: u64) -> Result<u64, String> {
        let from = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.at >= end {
                return Err(format!("a number at {from} is cut short"));
            }
            let mut byte = [0];
            self.inner.read_exact(&mut byte).map_err(|e| self.unread(&e))?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("a number at {from} has more than ten bytes"))
    }

    fn unread(&self, error: &std::io::Error) -> String {
        format!("it cannot be read at {}: {error}", self.at)
    }

    fn pass(&mut self, bytes: u64, end: u64) -> Result<(), String> {
        if bytes > end.saturating_sub(self.at) {
            return Err(format!("a number at {} is cut short", self.at));
        }
        self.to(self.at + bytes)
    }

    /// Goes on to `at`, which is not before here.
    pub fn to(&mut self, at: u64) -> Result<(), String> {
        let by = i64::try_from(at.saturating_sub(self.at)).map_err(|e| e.to_string())?;
        self.inner.seek_relative(by).map_err(|e| self.unread(&e))?;
        self.at = at;
        Ok(())
    }

    /// The text up to `end`, if it has at most `limit` bytes.
    pub fn text(&mut self, end: u64, limit: u64) -> Result<String, String> {
        let length = end - self.at;
        if length > limit {
            return Err(format!("a name at {} has {length} bytes, and at most {limit} are read", self.at));
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|e| e.to_string())?];
        self.inner.read_exact(&mut bytes).map_err(|e| self.unread(&e))?;
        self.at = end;
        String::from_utf8(bytes).map_err(|_| format!("a name that ends at {end} is not UTF-8"))
    }

    /// How many varints lie before `end`.
    pub fn count(&mut self, end: u64) -> Result<u64, String> {
        let mut count = 0;
        let mut open = false;
        while self.at < end {
            let buffer = self.inner.fill_buf().map_err(|e| format!("it cannot be read at {}: {e}", self.at))?;
            if buffer.is_empty() {
                return Err(format!("it ends at {}", self.at));
            }
            let some = buffer.len().min(usize::try_from(end - self.at).unwrap_or(usize::MAX));
            count += buffer[..some].iter().filter(|b| **b < 0x80).count() as u64;
            open = buffer[some - 1] >= 0x80;
            self.inner.consume(some);
            self.at += some as u64;
        }
        if open { Err(format!("a number before {end} is cut short")) } else { Ok(count) }
    }
}
