//! The links of an HDF5 group, and the places of a dataset's chunks: B-trees of version 1 with their
//! local heaps, and the fractal heaps of large new groups with their B-trees of version 2.

use std::collections::HashSet;
use std::io::{Read, Seek};

use super::bytes::{Bytes, sums_to};
use super::object::{Link, defined, link};
use super::{Hdf5File, MAX_LINKS, MAX_PATH, UNREAD};

/// Bytes of a heap of names.
const MAX_HEAP: u64 = 64 << 20;
/// Nodes of one tree.
const MAX_NODES: usize = 1 << 20;
/// Bytes of a node or block.
const MAX_NODE: u64 = 16 << 20;
/// Bytes of a heap's id: the type, an offset and a length.
const MAX_ID: usize = 17;
/// Levels of a tree.
const MAX_LEVEL: u64 = 32;

/// Called with a leaf's key and address.
type Each<'e, R> = dyn FnMut(&mut Hdf5File<R>, &[u8], u64) -> Result<(), String> + 'e;

/// Calls `each` with every leaf of a B-tree of version 1, with its key.
pub(super) fn tree<R: Read + Seek>(
    file: &mut Hdf5File<R>,
    root: u64,
    kind: u64,
    key: usize,
    each: &mut Each<'_, R>,
) -> Result<(), String> {
    let mut seen = HashSet::new();
    let mut nodes: Vec<(u64, Option<u64>)> = vec![(root, None)];
    while let Some((address, level_wanted)) = nodes.pop() {
        if !seen.insert(address) || seen.len() > MAX_NODES {
            return Err(format!("the B-tree at {root} goes round in circles, or is too large"));
        }
        let head = file.few(address, 8)?;
        let mut head = Bytes(&head);
        head.expect(b"TREE", "B-tree")?;
        let (found, level, count) = (head.number(1)?, head.number(1)?, head.size(2)?);
        if found != kind || level > MAX_LEVEL || level_wanted.is_some_and(|wanted| wanted != level) {
            return Err(format!("the B-tree node at {address} is of kind {found} and level {level}"));
        }
        let width = key + file.offsets;
        let content = file.few(address + 8 + 2 * file.offsets as u64, (count * width + key) as u64)?;
        let mut content = Bytes(&content);
        let mut children = Vec::new();
        for _ in 0..count {
            let key = content.take(key)?;
            let child = content.number(file.offsets)?;
            if level == 0 {
                each(file, key, child)?;
            } else {
                children.push((child, Some(level - 1)));
            }
        }
        // The first child comes next.
        nodes.extend(children.into_iter().rev());
    }
    Ok(())
}

/// The links of an old group.
pub(super) fn table<R: Read + Seek>(file: &mut Hdf5File<R>, root: u64, names_at: u64) -> Result<Vec<Link>, String> {
    let head = file.few(names_at, 8 + 2 * file.lengths as u64 + file.offsets as u64)?;
    let mut head = Bytes(&head);
    head.expect(b"HEAP", "heap of names")?;
    head.take(4)?;
    let size = head.number(file.lengths)?;
    head.take(file.lengths)?;
    let at = head.number(file.offsets)?;
    if size > MAX_HEAP {
        return Err(format!("a heap of names has {size} bytes; more than {MAX_HEAP} are not read"));
    }
    let names = file.few(at, size)?;
    let mut links = Vec::new();
    let (lengths, offsets) = (file.lengths, file.offsets);
    tree(file, root, 0, lengths, &mut |file, _, node| {
        let head = file.few(node, 8)?;
        let mut head = Bytes(&head);
        head.expect(b"SNOD", "node of symbols")?;
        head.take(2)?;
        let count = head.size(2)?;
        let entry = 2 * offsets + 24;
        let content = file.few(node + 8, (count * entry) as u64)?;
        for entry in content.chunks_exact(entry) {
            let mut entry = Bytes(entry);
            let at = entry.size(offsets)?;
            let address = entry.number(offsets)?;
            let soft = entry.number(4)? == 2;
            let name = names.get(at..).ok_or("a name is outside its heap")?;
            let end = name.iter().take(MAX_PATH).position(|b| *b == 0);
            let end = end.ok_or("a name in a heap does not end")?;
            file.charge(end)?;
            let name = String::from_utf8_lossy(&name[..end]).into_owned();
            links.push(Link { name, address: (!soft).then_some(address) });
        }
        if links.len() > MAX_LINKS {
            return Err(format!("a group has more than {MAX_LINKS} links"));
        }
        Ok(())
    })?;
    Ok(links)
}

/// A piece whose last four bytes are the checksum of the others.
fn summed<R: Read + Seek>(file: &mut Hdf5File<R>, address: u64, length: u64, what: &str) -> Result<Vec<u8>, String> {
    if length > MAX_NODE {
        return Err(format!("the {what} at {address} has {length} bytes"));
    }
    let mut bytes = file.few(address, length)?;
    let (content, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| format!("the {what} is cut short"))?;
    if !sums_to(content, u32::from_le_bytes(*sum)) {
        return Err(format!("the checksum of the {what} at {address} does not match"));
    }
    bytes.truncate(bytes.len() - 4);
    Ok(bytes)
}

/// The fields of a fractal heap that are needed to find an object in it.
struct Heap {
    root: Option<u64>,
    /// Rows of blocks in the root; 0 if it is one block.
    rows: usize,
    width: usize,
    start: u64,
    max_direct: u64,
    offset_bytes: usize,
    length_bytes: usize,
}

fn heap<R: Read + Seek>(file: &mut Hdf5File<R>, address: u64) -> Result<Heap, String> {
    let (o, l) = (file.offsets, file.lengths);
    // With filters the header is longer, and its checksum is elsewhere.
    let head = file.few(address, 9)?;
    let mut b = Bytes(&head);
    b.expect(b"FRHP", "fractal heap")?;
    b.take(3)?;
    if b.number(2)? != 0 {
        return Err(format!("a fractal heap is packed{UNREAD}"));
    }
    let length = 22 + 12 * l + 3 * o + 4;
    let bytes = summed(file, address, length as u64, "fractal heap")?;
    let mut b = Bytes(&bytes);
    b.expect(b"FRHP", "fractal heap")?;
    b.take(6)?;
    let max_object = b.number(4)?;
    b.take(l + o + l + o + 8 * l)?;
    let width = b.size(2)?;
    let (start, max_direct) = (b.number(l)?, b.number(l)?);
    let bits = b.size(2)?;
    b.take(2)?;
    let root = defined(b.number(o)?, o);
    let rows = b.size(2)?;
    let length_bytes = |n: u64| (64 - n.leading_zeros() as usize).div_ceil(8).max(1);
    let sound = start.is_power_of_two() && max_direct.is_power_of_two() && start <= max_direct;
    if !sound || max_direct > MAX_NODE || width == 0 || !(1..=64).contains(&bits) {
        return Err(format!("the fractal heap at {address} is invalid"));
    }
    Ok(Heap {
        root,
        rows,
        width,
        start,
        max_direct,
        offset_bytes: bits.div_ceil(8),
        length_bytes: length_bytes(max_direct).min(length_bytes(max_object)),
    })
}

impl Heap {
    /// The size of a block in a row.
    fn block(&self, row: usize) -> Option<u64> {
        self.start.checked_shl(u32::try_from(row.saturating_sub(1)).ok()?).filter(|n| *n >= self.start)
    }

    /// The address of the object at `offset` of the heap.
    fn find<R: Read + Seek>(&self, file: &mut Hdf5File<R>, offset: u64, length: u64) -> Result<u64, String> {
        let wrong = || format!("an object at {offset} of a fractal heap is not in it");
        let (mut address, mut rows, mut from) = (self.root.ok_or_else(wrong)?, self.rows, 0u64);
        if rows == 0 {
            return address.checked_add(offset).filter(|_| offset < self.start).ok_or_else(wrong);
        }
        for _ in 0..MAX_LEVEL {
            let mut entry = 0u64;
            let mut start = from;
            let mut hit = None;
            for row in 0..rows {
                let size = self.block(row).ok_or_else(wrong)?;
                let all = size.checked_mul(self.width as u64).ok_or_else(wrong)?;
                if offset - start < all {
                    let column = (offset - start) / size;
                    hit = Some((entry + column, start + column * size, size));
                    break;
                }
                start = start.checked_add(all).filter(|s| *s <= offset).ok_or_else(wrong)?;
                entry += self.width as u64;
            }
            let (entry, start, size) = hit.ok_or_else(wrong)?;
            let head = 5 + file.offsets as u64 + self.offset_bytes as u64;
            if file.few(address, 4)? != *b"FHIB" {
                return Err(format!("no block of a fractal heap is at {address}"));
            }
            let at = address.checked_add(head + entry * file.offsets as u64).ok_or_else(wrong)?;
            let child = Bytes(&file.few(at, file.offsets as u64)?).number(file.offsets)?;
            let child = defined(child, file.offsets).ok_or_else(wrong)?;
            if size <= self.max_direct {
                let inside = offset - start;
                return inside
                    .checked_add(length)
                    .filter(|end| *end <= size)
                    .and_then(|_| child.checked_add(inside))
                    .ok_or_else(wrong);
            }
            // An indirect block of `size` bytes: it has as many rows as make up this size.
            let mut total = 0u64;
            rows = 0;
            while total < size {
                let row = self.block(rows).and_then(|n| n.checked_mul(self.width as u64)).ok_or_else(wrong)?;
                total = total.checked_add(row).ok_or_else(wrong)?;
                rows += 1;
            }
            (address, from) = (child, start);
        }
        Err(wrong())
    }
}

/// The links of a large new group, in the order of their hashes.
pub(super) fn dense<R: Read + Seek>(file: &mut Hdf5File<R>, heap_at: u64, tree_at: u64) -> Result<Vec<Link>, String> {
    let heap = heap(file, heap_at)?;
    let mut links = Vec::new();
    for id in records(file, tree_at)? {
        let mut id = Bytes(&id);
        if id.u8()? != 0 {
            return Err(format!("a link is outside its heap's blocks{UNREAD}"));
        }
        let (offset, length) = (id.number(heap.offset_bytes)?, id.number(heap.length_bytes)?);
        let at = heap.find(file, offset, length)?;
        let bytes = file.few(at, length.min(MAX_NODE))?;
        let link = link(Bytes(&bytes), file.offsets)?;
        file.charge(link.name.len())?;
        links.push(link);
    }
    Ok(links)
}

/// The part of each link's heap id that says where the link is. The ids are in records of type 5 of a B-tree
/// of version 2; each record is a hash and an id.
fn records<R: Read + Seek>(file: &mut Hdf5File<R>, address: u64) -> Result<Vec<Vec<u8>>, String> {
    let (o, l) = (file.offsets, file.lengths);
    let bytes = summed(file, address, (16 + o + 2 + l + 4) as u64, "B-tree")?;
    let mut b = Bytes(&bytes);
    b.expect(b"BTHD", "B-tree")?;
    let (_, kind) = (b.u8()?, b.u8()?);
    let (node, record, depth) = (b.number(4)?, b.size(2)?, b.size(2)?);
    b.take(2)?;
    let root = b.number(o)?;
    let count = b.size(2)?;
    let overhead = 10;
    if kind != 5 || record < 5 || node > MAX_NODE || node < overhead + record as u64 || depth > 16 {
        return Err(format!("the B-tree at {address} is not one of links"));
    }
    // The most records of a node at each height, and the bytes of their counts (`H5B2hdr.c`).
    let width = |n: u64| (64 - n.max(1).leading_zeros() as usize).div_ceil(8);
    let leaf = (node - overhead) / record as u64;
    let count_bytes = width(leaf);
    let mut totals = vec![leaf];
    let mut total_bytes = vec![0];
    for height in 1..=depth {
        let pointer = (o + count_bytes + if height > 1 { total_bytes[height - 1] } else { 0 }) as u64;
        let most = (node - overhead).saturating_sub(pointer) / (record as u64 + pointer);
        let below = totals[height - 1];
        totals.push((most + 1).saturating_mul(below).saturating_add(most));
        total_bytes.push(width(totals[height]));
    }
    let mut ids = Vec::new();
    let mut seen = HashSet::new();
    let mut nodes = vec![(root, count, depth)];
    if count == 0 {
        return Ok(ids);
    }
    while let Some((at, count, height)) = nodes.pop() {
        if !seen.insert(at) || seen.len() > MAX_NODES {
            return Err(format!("the B-tree at {address} goes round in circles, or is too large"));
        }
        let below = if height > 1 { total_bytes[height - 1] } else { 0 };
        let pointer = if height == 0 { 0 } else { o + count_bytes + below };
        let used = 6 + count * record + if height == 0 { 0 } else { (count + 1) * pointer } + 4;
        if used as u64 > node {
            return Err(format!("the B-tree node at {at} claims {count} records"));
        }
        let bytes = summed(file, at, used as u64, "B-tree node")?;
        let mut b = Bytes(&bytes);
        b.expect(if height == 0 { b"BTLF" } else { b"BTIN" }, "B-tree node")?;
        b.take(2)?;
        for _ in 0..count {
            ids.push(b.take(record)?.iter().skip(4).take(MAX_ID).copied().collect());
        }
        if ids.len() > MAX_LINKS {
            return Err(format!("a group has more than {MAX_LINKS} links"));
        }
        if height > 0 {
            for _ in 0..=count {
                let child = b.number(o)?;
                let records = b.size(count_bytes)?;
                b.take(below)?;
                nodes.push((child, records, height - 1));
            }
        }
    }
    Ok(ids)
}
