//! The protobuf wire format over any bytes of known length: tags, varints, and fields within their
//! message. The formats' readers know which message is which.

use std::io::{Read, Seek};

use super::positioned::Positioned;

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// A nested message, text or packed list: where it starts and ends. It has not been read.
    Bytes(u64, u64),
}

/// Reads messages through a [`Positioned`], and leaves it at any place. Groups, which protobuf dropped long ago, are
/// refused.
pub(super) struct FieldReader<R> {
    place: Positioned<R>,
}

impl<R: Read + Seek> FieldReader<R> {
    pub fn new(file: R, length: u64) -> Self {
        FieldReader { place: Positioned::new(file, length) }
    }

    /// Calls `each` for every field between two places, with the field's number. `each` may read
    /// within the value that it is given, and nest calls of this function as deep as it likes.
    pub fn fields<E: From<String>>(
        &mut self,
        (start, end): (u64, u64),
        each: &mut dyn FnMut(&mut Self, u64, Value) -> Result<(), E>,
    ) -> Result<(), E> {
        self.place.to(start)?;
        while let Some((number, value)) = self.field(end)? {
            let next = if let Value::Bytes(_, end) = value { end } else { self.place.at() };
            each(self, number, value)?;
            self.place.to(next)?;
        }
        Ok(())
    }

    /// The next field of a message that ends at `end`, or `None` at its end. A value that has not been
    /// read starts here.
    pub fn field(&mut self, end: u64) -> Result<Option<(u64, Value)>, String> {
        let from = self.place.at();
        if from >= end {
            return Ok(None);
        }
        let tag = self.varint(end)?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(format!("no field begins at {from}"));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint(end)?),
            1 => Value::Fixed64(u64::from_le_bytes(self.fixed(end)?)),
            5 => Value::Fixed32(u32::from_le_bytes(self.fixed(end)?)),
            2 => {
                let length = self.varint(end)?;
                let here = self.place.at();
                if length > end.saturating_sub(here) {
                    return Err(format!(
                        "a field of {length} bytes at {from} reaches beyond its message, which ends at {end}: \
                         it is cut short or wrong"
                    ));
                }
                Value::Bytes(here, here + length)
            }
            wire => return Err(format!("the field at {from} is of wire type {wire}")),
        };
        Ok(Some((number, value)))
    }

    /// Where the next field, or a value that has not been read, starts.
    pub fn at(&self) -> u64 {
        self.place.at()
    }

    /// Skips the bytes before `at`.
    pub fn to(&mut self, at: u64) -> Result<(), String> {
        self.place.to(at)
    }

    /// Skips the varints between here and `end`, and counts them.
    pub fn count(&mut self, end: u64) -> Result<u64, String> {
        let (mut count, mut open) = (0, false);
        self.place.scan(end, &mut |bytes| {
            count += bytes.iter().filter(|b| **b < 0x80).count() as u64;
            open = bytes.last().is_some_and(|b| *b >= 0x80);
        })?;
        if open { Err(format!("a number before {end} is cut short")) } else { Ok(count) }
    }

    pub fn varint(&mut self, end: u64) -> Result<u64, String> {
        let from = self.place.at();
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.fixed(end)?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("a number at {from} has more than ten bytes"))
    }

    fn fixed<const N: usize>(&mut self, end: u64) -> Result<[u8; N], String> {
        if N as u64 > end.saturating_sub(self.place.at()) {
            return Err(format!("a number at {} is cut short", self.place.at()));
        }
        self.place.bytes()
    }

    /// The text between two places, if it has at most `limit` bytes.
    pub fn text(&mut self, (start, end): (u64, u64), limit: u64) -> Result<String, String> {
        if end - start > limit {
            return Err(format!("a text at {start} has {} bytes, and at most {limit} are read", end - start));
        }
        self.place.to(start)?;
        let bytes = self.place.few(end - start)?;
        String::from_utf8(bytes).map_err(|_| format!("a text at {start} is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn walk(bytes: &[u8]) -> Result<Vec<(u64, Value)>, String> {
        let mut found = Vec::new();
        let length = bytes.len() as u64;
        FieldReader::new(Cursor::new(bytes), length).fields((0, length), &mut |_, number, value| {
            found.push((number, value));
            Ok::<_, String>(())
        })?;
        Ok(found)
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes = [&b"\x08\x96\x01"[..], b"\x11\x01\0\0\0\0\0\0\0", b"\x1a\x02ab", b"\x25\x01\0\0\0"].concat();
        let want = [(1, Value::Varint(150)), (2, Value::Fixed64(1)), (3, Value::Bytes(14, 16)), (4, Value::Fixed32(1))];
        assert_eq!(walk(&bytes).unwrap(), want);
        assert_eq!(walk(b"").unwrap(), []);
    }

    #[test]
    fn a_field_that_reaches_beyond_its_message_is_an_error() {
        for bad in
            [&b"\x08"[..], b"\x08\x80", b"\x0a\x01", b"\x0d\0", b"\x09\0", b"\0\0", b"\x0b", b"\x0c", &[0xff; 11]]
        {
            assert!(walk(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = walk(&bytes);
        }
    }
}
