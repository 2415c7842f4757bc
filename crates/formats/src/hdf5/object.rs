//! Object headers of HDF5 and those of their messages that describe a dataset or group.

use std::collections::HashSet;
use std::io::{Read, Seek};

use super::bytes::{Bytes, sums_to};
use super::dtype::{Hdf5Dtype, dtype};
use super::{Hdf5File, UNREAD};

/// Bytes of one piece of a header.
const MAX_PIECE: u64 = 16 << 20;
/// Bytes of all pieces of one header.
const MAX_HEADER: u64 = 64 << 20;
/// Pieces of one header.
const MAX_PIECES: usize = 1 << 12;
/// `H5S_MAX_RANK`.
const MAX_RANK: usize = 32;

/// A link of a group.
pub(super) struct Link {
    pub name: String,
    /// The address of the object; `None` for soft and external links, which are not followed.
    pub address: Option<u64>,
}

/// Where a dataset's elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// In the header itself: this many bytes.
    Compact(u64),
    /// In one piece: its address, if it has been written, and its bytes, if the header states them.
    Contiguous(Option<u64>, Option<u64>),
    /// In chunks, with the root of their B-tree and the bytes of its keys.
    Chunked(Option<u64>, usize),
    /// In chunks, with an index other than a B-tree of version 1.
    ChunkedOther(Option<u64>),
    /// Made of other datasets. The heap at this address has an object of this number, which names them.
    Virtual(u64, u64),
}

/// The elements of a dataset.
pub(super) enum Space {
    /// No elements.
    Null,
    /// As many as these dimensions give; one element if there are no dimensions.
    Shape(Vec<u64>),
}

/// The content of an object's header.
#[derive(Default)]
pub(super) struct Object {
    pub space: Option<Space>,
    pub dtype: Option<Hdf5Dtype>,
    pub layout: Option<Layout>,
    pub links: Vec<Link>,
    /// The B-tree and heap of an old group.
    pub table: Option<(u64, u64)>,
    /// The heap and B-tree of a new group with many links.
    pub dense: Option<(u64, u64)>,
    pub external: bool,
}

/// Reads the header at an address.
pub(super) fn object<R: Read + Seek>(file: &mut Hdf5File<R>, address: u64) -> Result<Object, String> {
    let mut object = Object::default();
    let mut shared = None;
    read(file, address, &mut |file, kind, flags, data| {
        if flags & 2 != 0 {
            if kind == 3 {
                shared = Some(shared_address(data, file.offsets)?);
            }
            return Ok(());
        }
        message(&mut object, file.offsets, file.lengths, kind, data)
    })?;
    if let Some(address) = shared {
        // The datatype is an object with a name of its own.
        read(file, address, &mut |_, kind, flags, data| {
            if kind == 3 && flags & 2 == 0 {
                object.dtype = Some(dtype(data)?);
            }
            Ok(())
        })?;
    }
    Ok(object)
}

/// The address of the object header that has a shared message. Shared messages in the file's own heap are not read.
fn shared_address(mut data: Bytes<'_>, offsets: usize) -> Result<u64, String> {
    let version = data.u8()?;
    let kind = data.u8()?;
    if version == 1 {
        data.take(6)?;
    }
    if version == 3 && kind != 2 {
        return Err(format!("a datatype is in the file's shared heap{UNREAD}"));
    }
    data.number(offsets)
}

type Each<'e, R> = dyn FnMut(&Hdf5File<R>, u64, u8, Bytes<'_>) -> Result<(), String> + 'e;

/// Calls `each` with the type, flags and content of every message.
fn read<R: Read + Seek>(file: &mut Hdf5File<R>, address: u64, each: &mut Each<'_, R>) -> Result<(), String> {
    let head = file.few(address, 4)?;
    let new = head == *b"OHDR";
    let mut pieces = Vec::new();
    let mut flags = 0;
    if new {
        let version_flags = file.few(address + 4, 2)?;
        if version_flags[0] != 2 {
            return Err(format!("an object header is of version {}", version_flags[0]));
        }
        flags = version_flags[1];
        let skipped = 6 + if flags & 0x20 != 0 { 16 } else { 0 } + if flags & 0x10 != 0 { 4 } else { 0 };
        let width = 1usize << (flags & 3);
        let size = Bytes(&file.few(address + skipped, width as u64)?).number(width)?;
        let start = skipped + width as u64;
        pieces.push((address, start, start.saturating_add(size).saturating_add(4)));
    } else {
        let head = file.few(address, 16)?;
        let mut head = Bytes(&head);
        let version = head.u8()?;
        if version != 1 {
            return Err(format!("no object header is at {address}"));
        }
        head.take(7)?;
        pieces.push((address + 16, 0, head.number(4)?));
    }
    let mut seen = HashSet::new();
    let (mut next, mut total) = (0, 0u64);
    while let Some((address, start, length)) = pieces.get(next).copied() {
        next += 1;
        total = total.saturating_add(length);
        if length > MAX_PIECE || total > MAX_HEADER || !seen.insert(address) || next > MAX_PIECES {
            return Err(format!("the object header at {address} is too large, or goes round in circles"));
        }
        let bytes = file.few(address, length)?;
        let content = if new {
            let (content, sum) = bytes.split_last_chunk::<4>().ok_or("an object header is cut short")?;
            if !sums_to(content, u32::from_le_bytes(*sum)) {
                return Err(format!("the checksum of the object header at {address} does not match"));
            }
            content
        } else {
            &bytes
        };
        let start = usize::try_from(start).map_err(|e| e.to_string())?;
        let mut rest = Bytes(content.get(start..).ok_or("an object header is cut short")?);
        let least = if new { 4 } else { 8 };
        while rest.0.len() >= least {
            let kind = rest.number(if new { 1 } else { 2 })?;
            let size = rest.size(2)?;
            let message_flags = rest.u8()?;
            rest.take(if !new {
                3
            } else if flags & 4 != 0 {
                2
            } else {
                0
            })?;
            let mut data = Bytes(rest.take(size)?);
            if kind == 0x10 {
                let at = data.number(file.offsets)?;
                let length = data.number(file.lengths)?;
                if new {
                    if file.few(at, 4)? != *b"OCHK" {
                        return Err(format!("an object header does not continue at {at}"));
                    }
                    pieces.push((at, 4, length));
                } else {
                    pieces.push((at, 0, length));
                }
            } else {
                each(file, kind, message_flags, data)?;
            }
        }
    }
    Ok(())
}

fn message(object: &mut Object, offsets: usize, lengths: usize, kind: u64, mut data: Bytes<'_>) -> Result<(), String> {
    let address = |data: &mut Bytes<'_>| data.number(offsets).map(|n| defined(n, offsets));
    match kind {
        0x01 => object.space = Some(dataspace(data, lengths)?),
        0x02 => {
            data.u8()?;
            if data.u8()? & 1 != 0 {
                data.take(8)?;
            }
            if let (Some(heap), Some(tree)) = (address(&mut data)?, address(&mut data)?) {
                object.dense = Some((heap, tree));
            }
        }
        0x03 => object.dtype = Some(dtype(data)?),
        0x06 => object.links.push(link(data, offsets)?),
        0x07 => object.external = true,
        0x08 => object.layout = Some(layout(data, offsets, lengths)?),
        0x11 => {
            let (tree, heap) = (data.number(offsets)?, data.number(offsets)?);
            object.table = Some((tree, heap));
        }
        _ => {}
    }
    Ok(())
}

/// An address of all ones means "no address".
pub(super) fn defined(address: u64, offsets: usize) -> Option<u64> {
    let none = u64::MAX >> (64 - 8 * offsets.clamp(1, 8));
    (address != none).then_some(address)
}

fn dataspace(mut data: Bytes<'_>, lengths: usize) -> Result<Space, String> {
    let version = data.u8()?;
    let rank = usize::from(data.u8()?);
    data.u8()?;
    match version {
        1 => data.take(5).map(drop)?,
        2 if data.u8()? == 2 => return Ok(Space::Null),
        2 => {}
        _ => return Err(format!("a dataspace is of version {version}")),
    }
    if rank > MAX_RANK {
        return Err(format!("a dataset has {rank} dimensions, and at most {MAX_RANK} are allowed"));
    }
    (0..rank).map(|_| data.number(lengths)).collect::<Result<_, _>>().map(Space::Shape)
}

/// A link message, in a header or a heap.
pub(super) fn link(mut data: Bytes<'_>, offsets: usize) -> Result<Link, String> {
    if data.u8()? != 1 {
        return Err("a link is of another version than 1".to_owned());
    }
    let flags = data.u8()?;
    let kind = if flags & 8 != 0 { data.u8()? } else { 0 };
    if flags & 4 != 0 {
        data.take(8)?;
    }
    if flags & 0x10 != 0 {
        data.u8()?;
    }
    let length = data.size(1 << (flags & 3))?;
    let name = String::from_utf8_lossy(data.take(length)?).into_owned();
    let address = if kind == 0 { Some(data.number(offsets)?) } else { None };
    Ok(Link { name, address })
}

fn layout(mut data: Bytes<'_>, offsets: usize, lengths: usize) -> Result<Layout, String> {
    let version = data.u8()?;
    match version {
        1 | 2 => {
            let dims = usize::from(data.u8()?);
            let class = data.u8()?;
            data.take(5)?;
            Ok(match class {
                0 => {
                    data.take(4 * dims)?;
                    Layout::Compact(data.number(4)?)
                }
                1 => Layout::Contiguous(defined(data.number(offsets)?, offsets), None),
                2 => Layout::Chunked(defined(data.number(offsets)?, offsets), 8 + 8 * dims),
                _ => return Err(format!("a dataset's layout is of class {class}")),
            })
        }
        3..=5 => {
            let class = data.u8()?;
            Ok(match class {
                0 => Layout::Compact(data.number(2)?),
                1 => {
                    let address = defined(data.number(offsets)?, offsets);
                    Layout::Contiguous(address, Some(data.number(lengths)?))
                }
                2 if version == 3 => {
                    let dims = usize::from(data.u8()?);
                    Layout::Chunked(defined(data.number(offsets)?, offsets), 8 + 8 * dims)
                }
                2 => {
                    let flags = data.u8()?;
                    let dims = usize::from(data.u8()?);
                    let width = usize::from(data.u8()?);
                    data.take(dims * width)?;
                    let parameters = match data.u8()? {
                        1 if flags & 2 != 0 => lengths + 4,
                        1 | 2 => 0,
                        3 => 1,
                        4 => 5,
                        5 => 6,
                        kind => return Err(format!("chunks are found by an index of kind {kind}")),
                    };
                    data.take(parameters)?;
                    Layout::ChunkedOther(defined(data.number(offsets)?, offsets))
                }
                3 => Layout::Virtual(data.number(offsets)?, data.number(4)?),
                _ => return Err(format!("a dataset's layout is of class {class}")),
            })
        }
        _ => Err(format!("a dataset's layout is of version {version}")),
    }
}
