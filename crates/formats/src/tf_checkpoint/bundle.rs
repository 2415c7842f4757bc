//! The entries of a tensor bundle (`tensor_bundle.proto`), and of the single-file checkpoints before it
//! (`saved_tensor_slice.proto`): parsed, not judged.

use std::io::{Cursor, Read, Seek};

use super::dtype::dtype;
use super::sstable::Table;
use super::{MAX_NAMES, MAX_NUMBERS, MAX_TENSORS};
use crate::{problems::Quote, proto::FieldReader, proto::Value};

/// Dimensions of a tensor (`TensorShape::MaxDimensions` is 254).
const MAX_DIMS: usize = 254;

/// One extent of a slice: where it starts, and its length, or `None` if it is the whole dimension.
pub(super) type Extent = (u64, Option<u64>);

/// An index's entry for a tensor, or for a slice of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct BundleEntry {
    /// The tensor's name. For a slice, the key, which starts with a nul.
    pub key: Vec<u8>,
    pub dtype: u64,
    pub shape: Vec<u64>,
    pub shard: u64,
    pub offset: u64,
    pub size: u64,
    /// The CRC-32C, masked.
    pub crc: Option<u32>,
    /// The slices that contain the tensor, which then has no bytes itself.
    pub slices: Vec<Vec<Extent>>,
}

impl BundleEntry {
    pub fn is_slice(&self) -> bool {
        self.key.first() == Some(&0)
    }

    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.key).into_owned()
    }

    pub fn dtype_name(&self) -> String {
        dtype(self.dtype).map_or_else(|| format!("DT_{}", self.dtype), |(name, _)| name.to_owned())
    }

    /// The number of elements; `None` on overflow.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d))
    }
}

/// The content of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bundle {
    /// A checkpoint in one file, of the format before bundles: its entries have no offsets.
    pub old: bool,
    pub shards: u64,
    pub big_endian: bool,
    /// The oldest version of TensorFlow's reader that understands the index, as the index states it.
    pub min_consumer: u64,
    /// In the order of their keys.
    pub entries: Vec<BundleEntry>,
}

/// Reads an index. `Ok(None)`: the file is not a table.
pub(super) fn bundle(file: impl Read + Seek, length: u64) -> Result<Option<Bundle>, String> {
    let Some(mut table) = Table::open(file, length)? else { return Ok(None) };
    let mut bundle = Bundle::default();
    let (mut first, mut names, mut numbers) = (true, MAX_NAMES, MAX_NUMBERS);
    table.walk(&mut |key, value| {
        if std::mem::take(&mut first) {
            if !key.is_empty() {
                return Err("it has no header entry".into());
            }
            return header(value, &mut bundle, &mut numbers).map(|()| !bundle.old);
        }
        if bundle.entries.len() >= MAX_TENSORS {
            return Err(format!("it has more than {MAX_TENSORS} entries"));
        }
        let complain = |why: String| format!("the entry {}: {why}", Quote(&String::from_utf8_lossy(key)));
        let entry = entry(key, value, &mut numbers).map_err(complain)?;
        // Each slice is looked up by a key that contains the name.
        names = (key.len() as u64)
            .checked_mul(1 + entry.slices.len() as u64)
            .and_then(|n| names.checked_sub(n))
            .ok_or_else(|| format!("its names have more than {MAX_NAMES} bytes together"))?;
        bundle.entries.push(entry);
        Ok(true)
    })?;
    if first {
        return Err("it is empty: it has no header entry".into());
    }
    Ok(Some(bundle))
}

type Memory<'v> = FieldReader<Cursor<&'v [u8]>>;
type Span = (u64, u64);

fn fields(value: &[u8], each: &mut dyn FnMut(&mut Memory<'_>, u64, Value) -> Result<(), String>) -> Result<(), String> {
    let length = value.len() as u64;
    FieldReader::new(Cursor::new(value), length).fields((0, length), each)
}

fn expected(number: u64) -> String {
    format!("field {number} is of another type than it should be")
}

/// `BundleHeaderProto`, or in the old format `SavedTensorSlices` with all of the metadata.
fn header(value: &[u8], bundle: &mut Bundle, numbers: &mut u64) -> Result<(), String> {
    bundle.shards = 0;
    fields(value, &mut |wire, number, value| match (number, value) {
        (1, Value::Varint(n)) => {
            bundle.shards = n;
            Ok(())
        }
        (1, Value::Bytes(start, end)) => {
            bundle.old = true;
            old_meta(wire, (start, end), &mut bundle.entries, numbers)
        }
        (2, Value::Varint(n)) => {
            bundle.big_endian = n == 1;
            if n > 1 { Err(format!("its header knows an endianness of {n}")) } else { Ok(()) }
        }
        (3, Value::Bytes(start, end)) => wire.fields((start, end), &mut |_, number, value| match (number, value) {
            (2, Value::Varint(n)) => {
                bundle.min_consumer = n;
                Ok(())
            }
            _ => Ok(()),
        }),
        (1..=3, _) => Err(expected(number)),
        _ => Ok(()),
    })
    .map_err(|why| format!("its header entry: {why}"))
}

/// `SavedTensorSliceMeta`: `tensor = 1`.
fn old_meta(
    wire: &mut Memory<'_>,
    span: Span,
    entries: &mut Vec<BundleEntry>,
    numbers: &mut u64,
) -> Result<(), String> {
    wire.fields(span, &mut |wire, number, value| {
        let (1, Value::Bytes(start, end)) = (number, value) else { return Ok(()) };
        if entries.len() >= MAX_TENSORS {
            return Err(format!("it has more than {MAX_TENSORS} tensors"));
        }
        let mut entry = BundleEntry::default();
        wire.fields((start, end), &mut |wire, number, value| {
            match (number, value) {
                (1, Value::Bytes(start, end)) => {
                    entry.key = wire.text((start, end), super::sstable::MAX_KEY as u64)?.into_bytes();
                }
                (2, Value::Bytes(start, end)) => entry.shape = shape(wire, (start, end), numbers)?,
                (3, Value::Varint(n)) => entry.dtype = n,
                (1..=3, _) => return Err(expected(number)),
                _ => {}
            }
            Ok::<_, String>(())
        })?;
        entries.push(entry);
        Ok(())
    })
}

/// Counts a dimension, an extent or a slice.
fn spend(numbers: &mut u64) -> Result<(), String> {
    *numbers = numbers
        .checked_sub(1)
        .ok_or_else(|| format!("its shapes and slices have more than {MAX_NUMBERS} numbers together"))?;
    Ok(())
}

/// `BundleEntryProto`.
fn entry(key: &[u8], value: &[u8], numbers: &mut u64) -> Result<BundleEntry, String> {
    let mut entry = BundleEntry { key: key.to_vec(), ..BundleEntry::default() };
    let positive = |n: u64, what: &str| {
        if n.cast_signed() < 0 { Err(format!("its {what} is negative")) } else { Ok(n) }
    };
    fields(value, &mut |wire, number, value| {
        match (number, value) {
            (1, Value::Varint(n)) => entry.dtype = n,
            (2, Value::Bytes(start, end)) => entry.shape = shape(wire, (start, end), numbers)?,
            (3, Value::Varint(n)) => entry.shard = positive(n, "shard")?,
            (4, Value::Varint(n)) => entry.offset = positive(n, "offset")?,
            (5, Value::Varint(n)) => entry.size = positive(n, "size")?,
            (6, Value::Fixed32(n)) => entry.crc = Some(n),
            (7, Value::Bytes(start, end)) => entry.slices.push(slice(wire, (start, end), numbers)?),
            (1..=7, _) => return Err(expected(number)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(entry)
}

/// `TensorShapeProto`: `dim = 2 { size = 1 }`, `unknown_rank = 3`.
fn shape(wire: &mut Memory<'_>, span: Span, numbers: &mut u64) -> Result<Vec<u64>, String> {
    let mut shape = Vec::new();
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (2, Value::Bytes(start, end)) => {
            let mut size = 0;
            wire.fields((start, end), &mut |_, number, value| {
                if let (1, Value::Varint(n)) = (number, value) {
                    size = n;
                }
                Ok::<_, String>(())
            })?;
            if size.cast_signed() < 0 || shape.len() >= MAX_DIMS {
                return Err("its shape is not known, or has too many dimensions".into());
            }
            spend(numbers)?;
            shape.push(size);
            Ok(())
        }
        (3, Value::Varint(n)) if n != 0 => Err("its shape is not known".into()),
        (2 | 3, Value::Varint(0)) => Ok(()),
        (2 | 3, _) => Err(expected(number)),
        _ => Ok(()),
    })?;
    Ok(shape)
}

/// `TensorSliceProto`: `extent = 1 { start = 1, length = 2 }`.
fn slice(wire: &mut Memory<'_>, span: Span, numbers: &mut u64) -> Result<Vec<Extent>, String> {
    let mut slice: Vec<Extent> = Vec::new();
    spend(numbers)?;
    wire.fields(span, &mut |wire, number, value| match (number, value) {
        (1, Value::Bytes(start, end)) => {
            let mut extent = (0, None);
            wire.fields((start, end), &mut |_, number, value| {
                match (number, value) {
                    (1, Value::Varint(n)) => extent.0 = n,
                    (2, Value::Varint(n)) => extent.1 = Some(n),
                    _ => {}
                }
                Ok::<_, String>(())
            })?;
            let negative = extent.0.cast_signed() < 0 || extent.1.is_some_and(|n| n.cast_signed() < 0);
            if negative || slice.len() >= MAX_DIMS {
                return Err("one of its slices is none".into());
            }
            spend(numbers)?;
            slice.push(extent);
            Ok(())
        }
        (1, _) => Err(expected(number)),
        _ => Ok(()),
    })?;
    Ok(slice)
}

/// The key of a slice (`EncodeTensorNameSlice` of `saved_tensor_slice_util.cc`, by
/// `ordered_code.cc`): a nul, the escaped name, and all starts and lengths as numbers that sort.
pub(super) fn slice_key(name: &[u8], slice: &[Extent]) -> Vec<u8> {
    let mut key = vec![0];
    for byte in name {
        match byte {
            0 => key.extend([0, 0xff]),
            0xff => key.extend([0xff, 0]),
            _ => key.push(*byte),
        }
    }
    key.extend([0, 1]);
    increasing(&mut key, slice.len() as u64);
    for (start, length) in slice {
        signed(&mut key, start.cast_signed());
        signed(&mut key, length.map_or(-1, u64::cast_signed));
    }
    key
}

/// `OrderedCode::WriteNumIncreasing`.
fn increasing(key: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let own = &bytes[number.leading_zeros() as usize / 8..];
    // `own` has at most eight bytes.
    key.push(own.len().to_le_bytes()[0]);
    key.extend(own);
}

/// `OrderedCode::WriteSignedNumIncreasing`.
fn signed(key: &mut Vec<u8>, number: i64) {
    let positive = if number < 0 { !number } else { number };
    // Seven bits a byte, one of them the sign's.
    let length = (64 - positive.leading_zeros()) as usize / 7 + 1;
    let mut bytes = [if number < 0 { 0xff } else { 0 }; 10];
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    let own = &mut bytes[10 - length..];
    // The header starts with as many ones as there are bytes.
    let header = !(0xffff_u16 >> length.min(16));
    let [high, low] = header.to_be_bytes();
    own[0] ^= high;
    if let Some(second) = own.get_mut(1) {
        *second ^= low;
    }
    key.extend(&*own);
}
