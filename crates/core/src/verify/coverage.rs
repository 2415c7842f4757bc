//! Checks the shards with the index: every tensor is in the file that the index names, no shard is
//! missing, no tensor occurs twice. The shards' tables are read elsewhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use hfget_formats::{Problem, ProblemKind, Problems, Quote, hdf5};

use super::compact_table::CompactTable;
use super::names::Names;
use crate::model::{Family, RepoPath, WeightIndex, WeightSet};

/// The last parts of names that `transformers`' `_tied_weights_keys` ties to one another: input
/// and output embeddings. With `tie_word_embeddings` one of them replaces all others.
const TIED: &[&str] = &[
    "lm_head.weight",
    "lm_head.decoder.weight",
    "lm_head.decoder.bias",
    "lm_head.bias",
    "embed_tokens.weight",
    "embed_out.weight",
    "shared.weight",
    "wte.weight",
    "word_embeddings.weight",
    "predictions.decoder.weight",
    "predictions.decoder.bias",
    "output_projection.weight",
    "output_layer.weight",
];

fn is_tied(name: &str) -> bool {
    TIED.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// The table of each shard, with numbers of the set's names; `None` if the file is missing or could not be read (it has a finding already).
pub(crate) type Tables<'a> = BTreeMap<&'a RepoPath, Option<&'a CompactTable>>;

/// Finds tensors that are in two files of a set.
pub(super) fn duplicates(set: &WeightSet, names: &Names, tables: &Tables<'_>) -> Vec<Problem> {
    let read = set.files.iter().filter_map(|path| Some((path, (*tables.get(path)?)?)));
    let mut last: Vec<Option<&RepoPath>> = vec![None; names.len()];
    let mut found = Problems::default();
    for (path, table) in read {
        for number in table.numbers() {
            let Some(other) = last[number].replace(path).filter(|other| *other != path) else { continue };
            let text = format!("tensor {} is also in {}", Quote(names.name(number)), other.shown());
            found.push(Problem::new(ProblemKind::TensorDuplicate, path, text));
        }
    }
    found.into_vec()
}

/// The files of each tensor, by the number of its name.
struct Homes<'a> {
    /// The first one, sorted by path.
    first: Vec<Option<&'a RepoPath>>,
    /// The others, of the few names that are in several files.
    others: HashMap<usize, Vec<&'a RepoPath>>,
}

impl<'a> Homes<'a> {
    fn new(names: &Names, tables: &Tables<'a>) -> Self {
        let mut homes = Homes { first: vec![None; names.len()], others: HashMap::new() };
        for (path, table) in tables {
            for number in table.iter().flat_map(|table| table.numbers()) {
                match homes.first[number] {
                    None => homes.first[number] = Some(path),
                    Some(first) if first == *path => {}
                    Some(_) => homes.others.entry(number).or_default().push(path),
                }
            }
        }
        homes
    }

    /// The files that have a tensor, sorted.
    fn of(&self, number: Option<usize>) -> impl Iterator<Item = &'a RepoPath> {
        let first = number.and_then(|number| self.first[number]);
        let others = number.and_then(|number| self.others.get(&number));
        first.into_iter().chain(others.into_iter().flatten().copied())
    }
}

/// Compares an index with its shards' tables; returns the problems, and how many names were compared. `names` has the
/// names of the tables.
pub(super) fn check(
    set: &WeightSet,
    index_path: &RepoPath,
    index: &WeightIndex,
    names: &Names,
    tables: &Tables<'_>,
) -> (Vec<Problem>, u64) {
    let read = || tables.values().flatten();
    let present = || read().flat_map(|table| table.numbers()).map(|number| names.name(number));
    let renamed;
    let index = if set.family == Family::Tf {
        let here: HashSet<&str> = present().collect();
        renamed = hdf5::renamed(index, &here);
        &renamed
    } else {
        index
    };
    let mut problems = Problems::default();
    let dir = index_path.dir();
    if !index.has_metadata {
        problems.push(
            Problem::new(
                ProblemKind::IndexInvalid,
                index_path,
                "it has no \"metadata\", without which transformers and diffusers do not load it",
            )
            .severity(hfget_formats::Severity::Warning),
        );
    }
    for name in &index.duplicates {
        problems.push(Problem::new(
            ProblemKind::IndexInvalid,
            index_path,
            format!("it names tensor {} more than once", Quote(name)),
        ));
    }
    let homes = Homes::new(names, tables);
    // The names that writers noted as dropped aliases.
    let dropped: HashSet<&str> = read().flat_map(|table| &table.aliases).map(|(dropped, _)| &**dropped).collect();
    let tied_present = present().any(is_tied);
    let mut shards: HashMap<&str, Option<RepoPath>> = HashMap::new();
    let mut compared = 0;
    for (tensor, file) in index.weight_map() {
        let shard = shards.entry(file).or_insert_with(|| match RepoPath::join(dir, file) {
            Ok(path) => {
                if !tables.contains_key(&path) {
                    problems.push(Problem::new(
                        ProblemKind::ShardMissing,
                        &path,
                        format!("{} names it, but it is missing", index_path.shown()),
                    ));
                }
                Some(path)
            }
            Err(error) => {
                problems.push(Problem::new(
                    ProblemKind::PathUnsafe,
                    index_path,
                    format!("it names a shard by an unsafe path: {error}"),
                ));
                None
            }
        });
        let Some(shard) = shard else { continue };
        // Nothing is known about the tensors of a missing or unreadable shard.
        let Some(Some(_)) = tables.get(&*shard) else { continue };
        compared += 1;
        // The same name may be in two files; then the table of the named one decides.
        let number = names.find(tensor);
        if homes.of(number).any(|at| at == shard) {
            continue;
        }
        match homes.of(number).next() {
            Some(at) => {
                let (index, named) = (index_path.shown(), shard.shown());
                let text = format!("tensor {} is in this file; {index} says it is in {named}", Quote(tensor));
                problems.push(Problem::new(ProblemKind::TensorMisplaced, at, text).tensor(tensor));
            }
            None if dropped.contains(tensor) => {}
            None if set.tied_embeddings && tied_present && is_tied(tensor) => {}
            None => {
                let text =
                    format!("{} says that this file has tensor {}, but it does not", index_path.shown(), Quote(tensor));
                problems.push(Problem::new(ProblemKind::TensorMissing, shard, text).tensor(tensor));
            }
        }
    }
    drop(homes);
    problems.extend(unindexed(index_path, index, names, tables));
    let whole = shards.values().flatten().all(|shard| tables.contains_key(shard));
    if whole {
        problems.extend(total_size(set, index_path, index, tables));
    }
    (problems.into_vec(), compared)
}

fn unindexed(index_path: &RepoPath, index: &WeightIndex, names: &Names, tables: &Tables<'_>) -> Vec<Problem> {
    let mut named = vec![false; names.len()];
    for number in index.weight_map().filter_map(|(tensor, _)| names.find(tensor)) {
        named[number] = true;
    }
    let mut found = Problems::default();
    for (path, table) in tables {
        for number in table.iter().flat_map(|table| table.numbers()).filter(|number| !named[*number]) {
            let name = names.name(number);
            let text = format!("{} does not name its tensor {}", index_path.shown(), Quote(name));
            found.push(Problem::new(ProblemKind::TensorUnindexed, path, text).tensor(name));
        }
    }
    found.into_vec()
}

/// Checks `total_size`. By design it is the bytes of all tensors, with shared storages once
/// (`huggingface_hub`, `serialization/_base.py`). Converters copy it from other repos, so a
/// difference is only a warning.
fn total_size(set: &WeightSet, index_path: &RepoPath, index: &WeightIndex, tables: &Tables<'_>) -> Option<Problem> {
    let stated = index.total_size?;
    if set.family != Family::Safetensors || tables.values().any(Option::is_none) {
        return None;
    }
    let bytes = tables.values().flatten().fold(0u64, |sum, table| sum.saturating_add(table.bytes));
    (stated != bytes).then(|| {
        Problem::new(
            ProblemKind::TotalSizeMismatch,
            index_path,
            format!("its total_size is {stated}, but the tensors have {bytes} bytes"),
        )
    })
}
