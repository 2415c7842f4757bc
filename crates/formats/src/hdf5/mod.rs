//! HDF5, read from untrusted bytes: the superblock, every dataset that groups lead to, and the
//! places of its elements. The rules are those of the HDF5 file format specification 3.0 and of
//! libhdf5. Chunks are checked against the file's end if a B-tree of version 1 lists them; packed
//! chunks are not unpacked, and soft and external links are not followed.
//!
//! Memory: names (`MAX_TENSORS`, `MAX_NAMES`), one piece of metadata at a time (64 MiB at most), and
//! the addresses of objects and of one tree's nodes. Time: each object and node is read once.

mod bytes;
mod dtype;
mod groups;
mod mapping;
mod object;

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::io::{Read, Seek};

use self::bytes::{Bytes, sums_to};
use self::object::{Layout, Link, Object, Space, object};
use super::positioned::Positioned;
use super::problems::{Problems, Quote, Shape};
use super::{Tensor, TensorTable};
use crate::WeightIndex;
use crate::problem::{Problem, ProblemKind, Severity};

/// Datasets of one file; a file with more is refused.
pub(crate) const MAX_TENSORS: usize = 1 << 20;
/// Bytes of all paths together.
pub(crate) const MAX_NAMES: u64 = 256 << 20;
/// Links of one file.
pub(crate) const MAX_LINKS: usize = 1 << 21;
/// Bytes of a path.
const MAX_PATH: usize = 1 << 16;

/// Bytes of metadata that are read of one file; eight times its length if that is less.
const MAX_METADATA: u64 = 4 << 30;

/// The ending of a message about something that this reader does not follow, as opposed to something wrong.
const UNREAD: &str = ", which is not read here";

const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// A file whose superblock has been read.
struct Hdf5File<R> {
    place: Positioned<R>,
    /// The place from which addresses count.
    base: u64,
    /// Bytes of an address.
    offsets: usize,
    /// Bytes of a length.
    lengths: usize,
    /// Bytes of metadata that may still be read. The limit stops structures that refer to each other.
    budget: u64,
    /// How many bytes further names may take.
    names: u64,
}

impl<R: Read + Seek> Hdf5File<R> {
    /// Reads some bytes of metadata; checks that the file has them before it takes memory.
    fn few(&mut self, address: u64, length: u64) -> Result<Vec<u8>, String> {
        let at = self.base.checked_add(address).filter(|at| *at <= self.place.end);
        let at = at.ok_or_else(|| format!("its metadata points to {address}, and it ends at {}", self.place.end))?;
        self.budget = self.budget.checked_sub(length).ok_or("its metadata contains itself")?;
        self.place.to(at)?;
        self.place.few(length)
    }

    /// Counts the bytes of a name.
    fn charge(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.names.checked_sub(bytes as u64);
        self.names = left.ok_or_else(|| format!("its names have more than {MAX_NAMES} bytes together"))?;
        Ok(())
    }
}

/// Reads the datasets of an HDF5 file of `length` bytes; the problems are about `path`.
pub fn read(file: impl Read + Seek, length: u64, path: &str) -> (TensorTable, Vec<Problem>) {
    let mut walk = GroupWalk { path, table: TensorTable::default(), problems: Problems::default() };
    if let Err((code, why)) = walk.run(Positioned::new(file, length), length) {
        walk.problems.push(match why.strip_suffix(UNREAD) {
            None => Problem::new(code, path, why),
            // The format has more features than Keras and h5py use, and a file that uses them is not broken.
            Some(what) => {
                let text = format!("{what}, which is not read here: its tensors were not checked, only its digest");
                Problem::new(ProblemKind::FormatUnexpected, path, text).severity(Severity::Warning)
            }
        });
    }
    walk.overlaps();
    (walk.table, walk.problems.into_vec())
}

/// Turns the names of an index into those of datasets, as `TFPreTrainedModel.save_pretrained` does
/// (`transformers` 4.57, `modeling_tf_utils.py:2498`): without the model's own name at the start, unless
/// the name contains "model.". A name that the shard has (`here`) is kept as it is, since that exception
/// came later.
pub fn renamed<S: BuildHasher>(index: &WeightIndex, here: &HashSet<&str, S>) -> WeightIndex {
    index.renamed(|name| match name.split_once('/') {
        Some((_, rest)) if !here.contains(name) && (here.contains(rest) || !name.contains("model.")) => rest,
        _ => name,
    })
}

type Wrong = (ProblemKind, String);

fn invalid(why: String) -> Wrong {
    (ProblemKind::HeaderInvalid, why)
}

/// Finds the superblock: at 0, or after a user block, whose size is a power of two.
fn superblock<R: Read + Seek>(mut place: Positioned<R>, length: u64) -> Result<(Hdf5File<R>, u64), Wrong> {
    let mut at = 0u64;
    loop {
        if at.saturating_add(SIGNATURE.len() as u64) > length {
            let text = "it does not start as an HDF5 file does, nor does a later block of it";
            return Err((ProblemKind::FormatUnexpected, text.to_owned()));
        }
        place.to(at).map_err(invalid)?;
        if place.bytes::<8>().map_err(invalid)? == SIGNATURE {
            break;
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    let version = place.u8().map_err(invalid)?;
    let head = |n: u64, place: &mut Positioned<R>| place.few(n).map_err(invalid);
    let (offsets, lengths, rest) = match version {
        0 | 1 => {
            let head = head(15, &mut place)?;
            (head[4], head[5], if version == 1 { 4 } else { 0 })
        }
        2 | 3 => {
            let head = head(3, &mut place)?;
            // `H5F_SUPER_WRITE_ACCESS` and `H5F_SUPER_SWMR_WRITE_ACCESS`, which version 2 did not have.
            if version == 3 && head[2] & 0b101 != 0 {
                let text = "it was never closed after writing, and HDF5 opens it only once h5clear has repaired it";
                return Err(invalid(text.to_owned()));
            }
            (head[0], head[1], 0)
        }
        _ => return Err(invalid(format!("its superblock is of version {version}, and 0 to 3 are known"))),
    };
    if !matches!(offsets, 2 | 4 | 8) || !matches!(lengths, 2 | 4 | 8) {
        return Err(invalid(format!("its addresses have {offsets} bytes and its lengths {lengths}")));
    }
    let (offsets, lengths) = (usize::from(offsets), usize::from(lengths));
    place.skip(rest).map_err(invalid)?;
    let bytes = head(4 * offsets as u64, &mut place)?;
    let mut numbers = Bytes(&bytes);
    let mut number = || numbers.number(offsets).map_err(invalid);
    let (stored_base, _, end, fourth) = (number()?, number()?, number()?, number()?);
    // The number between base and end is the free space or the extension; the number after the end is the driver or
    // the root.
    let root = if version < 2 {
        // The root's entry: its name, then its header.
        let entry = head(2 * offsets as u64, &mut place)?;
        Bytes(&entry[offsets..]).number(offsets).map_err(invalid)?
    } else {
        let covered = 12 + 4 * offsets as u64;
        place.to(at).map_err(invalid)?;
        let covered = head(covered, &mut place)?;
        let sum = u32::from_le_bytes(place.bytes().map_err(invalid)?);
        if !sums_to(&covered, sum) {
            return Err(invalid("the checksum of its superblock does not match".to_owned()));
        }
        fourth
    };
    // A user block that was added later moves everything (`H5F__super_read`).
    let end = i128::from(end) + i128::from(at) - i128::from(stored_base);
    if end > i128::from(length) {
        let text = format!("it says that it ends at {end}, and it has {length} bytes: it is cut short");
        return Err((ProblemKind::TensorOutOfBounds, text));
    }
    place.end = u64::try_from(end).unwrap_or(0);
    // Bytes after the end are not an error for libhdf5.
    let budget = length.saturating_mul(8).saturating_add(1 << 20).min(MAX_METADATA);
    Ok((Hdf5File { place, base: at, offsets, lengths, budget, names: MAX_NAMES }, root))
}

struct GroupWalk<'p> {
    path: &'p str,
    table: TensorTable,
    problems: Problems,
}

impl GroupWalk<'_> {
    fn found(&mut self, kind: ProblemKind, why: String) {
        self.problems.push(Problem::new(kind, self.path, why));
    }

    fn run<R: Read + Seek>(&mut self, place: Positioned<R>, length: u64) -> Result<(), Wrong> {
        let (mut file, root) = superblock(place, length)?;
        let mut seen: BTreeMap<u64, Option<Box<str>>> = BTreeMap::new();
        let mut stack: Vec<(u64, String)> = vec![(root, String::new())];
        let mut links_read = 0usize;
        while let Some((address, name)) = stack.pop() {
            if let Some(known) = seen.get(&address) {
                if let Some(kept) = known.clone() {
                    file.charge(name.len()).map_err(invalid)?;
                    self.table.aliases.push((name.into(), kept));
                }
                continue;
            }
            let named = |why: String| invalid(format!("{}: {why}", Quote(if name.is_empty() { "/" } else { &name })));
            let mut object = object(&mut file, address).map_err(named)?;
            if object.layout.is_some() {
                seen.insert(address, Some(name.as_str().into()));
                self.dataset(&mut file, &object, name)?;
                continue;
            }
            seen.insert(address, None);
            let mut links = std::mem::take(&mut object.links);
            if let Some((tree, heap)) = object.table {
                links.extend(groups::table(&mut file, tree, heap).map_err(named)?);
            }
            if let Some((heap, tree)) = object.dense {
                links.extend(groups::dense(&mut file, heap, tree).map_err(named)?);
            }
            links_read += links.len();
            if links_read > MAX_LINKS {
                return Err(invalid(format!("it has more than {MAX_LINKS} links")));
            }
            self.enter(&mut file, &name, links, &mut stack)?;
        }
        Ok(())
    }

    /// Puts a group's links on the stack, the first name on top.
    fn enter<R: Read + Seek>(
        &mut self,
        file: &mut Hdf5File<R>,
        group: &str,
        mut links: Vec<Link>,
        stack: &mut Vec<(u64, String)>,
    ) -> Result<(), Wrong> {
        links.sort_by(|a, b| a.name.cmp(&b.name));
        for two in links.windows(2).filter(|two| two[0].name == two[1].name) {
            self.found(ProblemKind::HeaderInvalid, format!("group {} has {} twice", Quote(group), Quote(&two[0].name)));
        }
        for Link { name, address } in links.into_iter().rev() {
            let Some(address) = address else { continue };
            let path = if group.is_empty() { name } else { format!("{group}/{name}") };
            if path.len() > MAX_PATH {
                return Err(invalid(format!("the path {} is too long", Quote(&path))));
            }
            file.charge(path.len()).map_err(invalid)?;
            stack.push((address, path));
        }
        Ok(())
    }

    fn dataset<R: Read + Seek>(&mut self, file: &mut Hdf5File<R>, object: &Object, name: String) -> Result<(), Wrong> {
        if self.table.tensors.len() >= MAX_TENSORS {
            return Err(invalid(format!("it has more than {MAX_TENSORS} datasets")));
        }
        let (Some(space), Some(dtype), Some(layout)) = (&object.space, &object.dtype, &object.layout) else {
            return Err(invalid(format!("dataset {} has no shape or no dtype", Quote(&name))));
        };
        let (shape, elements) = match space {
            Space::Null => (Vec::new(), Some(0)),
            Space::Shape(shape) => (shape.clone(), shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d))),
        };
        let Some(need) = elements.and_then(|n| n.checked_mul(dtype.size)) else {
            return Err(invalid(format!("dataset {} of {} {} is too large", Quote(&name), dtype.name, Shape(&shape))));
        };
        let wrong = |has: u64| {
            format!("dataset {} of {} {} needs {need} bytes and has {has}", Quote(&name), dtype.name, Shape(&shape))
        };
        let mut bytes = None;
        match layout {
            Layout::Compact(has) if *has < need => self.found(ProblemKind::HeaderInvalid, wrong(*has)),
            Layout::Contiguous(..) if object.external => self.outside(&name),
            Layout::Contiguous(Some(address), has) => {
                let has = has.unwrap_or(need);
                if has < need {
                    self.found(ProblemKind::HeaderInvalid, wrong(has));
                }
                let start = file.base.checked_add(*address);
                match start.and_then(|start| Some(start..start.checked_add(has)?)) {
                    Some(range) if range.end <= file.place.end => bytes = Some(range).filter(|r| !r.is_empty()),
                    _ => {
                        let text = format!(
                            "dataset {} is at {address} with {has} bytes, but the file ends at {}",
                            Quote(&name),
                            file.place.end
                        );
                        let problem = Problem::new(ProblemKind::TensorOutOfBounds, self.path, text);
                        self.problems.push(problem.tensor(&name).at(*address));
                    }
                }
            }
            Layout::Chunked(Some(root), key) => self.chunks(file, *root, *key, &name)?,
            Layout::ChunkedOther(Some(root)) if file.base.checked_add(*root).is_none_or(|at| at >= file.place.end) => {
                self.found(
                    ProblemKind::TensorOutOfBounds,
                    format!("the chunks of dataset {} are at {root}", Quote(&name)),
                );
            }
            Layout::Virtual(heap, index) if mapping::is_here(file, *heap, *index).map_err(invalid)? != Some(true) => {
                self.outside(&name);
            }
            _ => {}
        }
        let dtype = dtype.name.as_str().into();
        self.table.tensors.push(Tensor { name: name.into(), dtype, shape: shape.into(), bytes });
        Ok(())
    }

    fn outside(&mut self, name: &str) {
        let text = format!("the elements of dataset {} are not in it", Quote(name));
        self.problems.push(Problem::new(ProblemKind::ExternalDataMissing, self.path, text).severity(Severity::Warning));
    }

    fn chunks<R: Read + Seek>(
        &mut self,
        file: &mut Hdf5File<R>,
        root: u64,
        key: usize,
        name: &str,
    ) -> Result<(), Wrong> {
        let mut bad = None;
        groups::tree(file, root, 1, key, &mut |file, key, chunk| {
            let size = Bytes(key).number(4)?;
            let end = file.base.checked_add(chunk).and_then(|at| at.checked_add(size));
            if end.is_none_or(|end| end > file.place.end) {
                bad.get_or_insert((chunk, size));
            }
            Ok(())
        })
        .map_err(|why| invalid(format!("the chunks of {}: {why}", Quote(name))))?;
        if let Some((chunk, size)) = bad {
            let text = format!(
                "a chunk of dataset {} is at {chunk} with {size} bytes, but the file ends at {}",
                Quote(name),
                file.place.end
            );
            self.problems.push(Problem::new(ProblemKind::TensorOutOfBounds, self.path, text).tensor(name).at(chunk));
        }
        Ok(())
    }

    /// Checks that contiguous datasets share no bytes.
    fn overlaps(&mut self) {
        let mut places: Vec<(u64, u64, usize)> = Vec::new();
        for (at, tensor) in self.table.tensors.iter().enumerate() {
            places.extend(tensor.bytes.as_ref().map(|r| (r.start, r.end, at)));
        }
        places.sort_unstable();
        let mut before: Option<(u64, u64, usize)> = None;
        let mut said = HashSet::new();
        for place in places {
            if let Some(other) = before.filter(|other| place.0 < other.1)
                && said.insert(place.2)
            {
                let name = |at: usize| Quote(&self.table.tensors[at].name).to_string();
                let text = format!("datasets {} and {} share bytes at {}", name(other.2), name(place.2), place.0);
                self.found(ProblemKind::DataOverlap, text);
            }
            before = Some(before.map_or(place, |other| if other.1 > place.1 { other } else { place }));
        }
    }
}
