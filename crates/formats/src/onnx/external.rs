//! Checks the external data of ONNX graphs against the files that are here: no file is outside the
//! graph's folder, none is missing, each tensor is within its file, and the SHA-1 matches if the graph
//! states one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufReader, Read as _};

use sha1::{Digest as _, Sha1};

use super::model;
use crate::problem::{Problem, ProblemKind, Severity};
use crate::set::{Files, folder};
use crate::{ReadSeek, Tensor, problems::Problems, problems::Quote};

/// A file above this is not hashed a second time for the graph's SHA-1: its listed digest is enough.
const SHA1_LIMIT: u64 = 256 << 20;

/// Checks every graph of a set against its external files. `deep`: compare each SHA-1 that a graph
/// states, whatever the file's size.
pub fn check_set(names: &[&str], files: &dyn Files, deep: bool) -> Vec<Problem> {
    let limit = if deep { u64::MAX } else { SHA1_LIMIT };
    let mut problems = Problems::default();
    for &path in names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".onnx")) {
        if let Some(Ok((open, length))) = files.open(path) {
            graph(path, model(open, length, path).0, files, limit, &mut problems);
        }
    }
    problems.into_vec()
}

fn graph(path: &str, model: super::Model, files: &dyn Files, limit: u64, problems: &mut Problems) {
    let mut lengths: BTreeMap<String, Option<u64>> = BTreeMap::new();
    // A file is hashed once, however many sums a graph claims for it; each sum is compared once.
    let mut hashed: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut sums: BTreeSet<(String, String)> = BTreeSet::new();
    for external in model.external {
        let tensor = model.table.tensors.get(external.tensor);
        let name = tensor.map_or("", |t| &*t.name);
        // If the graph states no length, the data is as long as the tensor's elements.
        let size = external.length.or_else(|| size_of(tensor?)).unwrap_or(0);
        let quoted = Quote(name);
        let place = match files.join(folder(path), external.location.strip_prefix("./").unwrap_or(&external.location)) {
            Ok(place) => place,
            Err(reason) => {
                let text = format!("tensor {quoted} is placed at {}: {reason}", Quote(&external.location));
                problems.push(Problem::new(ProblemKind::PathUnsafe, path, text).tensor(name));
                continue;
            }
        };
        let length = *lengths.entry(place.clone()).or_insert_with(|| {
            let length = files.length(&place).and_then(Result::ok);
            if length.is_none() {
                let text = format!("it needs {}, which is not here", Quote(&place));
                problems.push(Problem::new(ProblemKind::ExternalDataMissing, path, text));
            }
            length
        });
        let Some(length) = length else { continue };
        let end = external.offset.checked_add(size);
        if end.is_none_or(|end| end > length) {
            let text = format!(
                "tensor {quoted} is at {} with {size} bytes, but {} has {length}",
                external.offset,
                Quote(&place)
            );
            problems.push(Problem::new(ProblemKind::TensorOutOfBounds, path, text).tensor(name));
        }
        if let Some(sum) = external.checksum
            && length <= limit
            && sums.insert((place.clone(), sum.to_ascii_lowercase()))
            && let Some(found) =
                hashed.entry(place.clone()).or_insert_with(|| sha1_of(files.open(&place)?.ok()?.0).ok())
            && !found.eq_ignore_ascii_case(&sum)
        {
            // A warning only: optimizers rewrite the file and keep the old sum, and the listed digest decides.
            let text = format!("{} has the SHA-1 {found}, and the graph says {}", Quote(&place), Quote(&sum));
            problems.push(Problem::new(ProblemKind::ChecksumMismatch, path, text).severity(Severity::Warning));
        }
    }
}

/// Bytes of a tensor's elements, if the size of one is known.
fn size_of(tensor: &Tensor) -> Option<u64> {
    let bits = super::dtype::by_name(&tensor.dtype)?.bits;
    tensor.elements().checked_mul(bits).map(|bits| bits.div_ceil(8))
}

fn sha1_of(file: Box<dyn ReadSeek>) -> std::io::Result<String> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut hasher = Sha1::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let n = reader.read(&mut block)?;
        if n == 0 {
            let mut hex = String::new();
            for byte in hasher.finalize() {
                // Writing to a string does not fail.
                let _ = write!(hex, "{byte:02x}");
            }
            return Ok(hex);
        }
        hasher.update(&block[..n]);
    }
}
