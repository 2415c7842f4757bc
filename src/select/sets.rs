//! Finding the complete weight sets of one family in one folder: single file, index with the shards
//! it names, or, failing both, files that only some loaders read. Which set is taken is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{self, extension, lookup};
use super::shards::shards;
use super::view::{INDEX_LIMIT, View};
use super::{Family, packed, pickled, tensorflow, whole};
use crate::hub::Entry;
use crate::repo::RepoPath;
use crate::report::{Code, Finding};
use crate::text::printable;

/// A complete set of weights in one folder.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub family: Family,
    pub variant: Option<String>,
    pub index: Option<RepoPath>,
    /// Sorted, each once, never empty unless the index has still to be read.
    pub files: Vec<RepoPath>,
    /// Not by a standard name or index: only some loaders read it.
    pub loose: bool,
    /// The rule that took it, for people.
    pub reason: String,
    /// What to say when it is taken.
    pub notes: Vec<Finding>,
}

/// What a folder has of a family.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Complete(Set),
    /// A part is there; the path and what is wrong.
    Incomplete(Vec<(RepoPath, String)>),
    /// Several are there, and none is better than the others.
    Several {
        /// One of them.
        at: RepoPath,
        choices: Vec<String>,
        /// What the user can do.
        how: &'static str,
    },
    Absent,
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'q> {
    /// The folder, below the view's root.
    pub dir: &'q str,
    pub family: Family,
    pub variant: Option<&'q str>,
    /// Stems of names, best first.
    pub stems: &'q [&'q str],
    /// Stems that are no standard ones here: their sets count as loose.
    pub loose_stems: &'q [&'q str],
    /// Whether an index may name shards in folders below its own; diffusers refuses them.
    pub nested: bool,
    /// Whether files with names of their own count, in default of standard ones.
    pub any_name: bool,
}

/// Looks for the set that a loader would take: `transformers/modeling_utils.py` (single file, then
/// index), `diffusers` likewise per component.
pub(super) fn resolve(view: &View<'_>, query: Query<'_>) -> Found {
    if query.family == Family::Mistral {
        return mistral(view, query);
    }
    if pickled::knows(query.family) {
        return pickled::resolve(view, query);
    }
    if whole::knows(query.family) {
        return whole::resolve(view, query);
    }
    match query.family {
        Family::Gguf => return packed::gguf(view, query),
        Family::Onnx => return packed::onnx(view, query),
        Family::TfCheckpoint => return tensorflow::checkpoint(view, query),
        Family::SavedModel => return tensorflow::saved_model(view, query),
        Family::Safetensors | Family::Bin | Family::Tf | Family::Flax => {}
        _ => return Found::Absent,
    }
    let query = with_stems(query);
    let mut broken = Vec::new();
    let mut indexed = BTreeSet::new();
    for (stem, loose) in stems(query) {
        if let Some(mut set) = standard(view, query, stem, &mut broken, &mut indexed) {
            set.loose = loose;
            return Found::Complete(set);
        }
    }
    if let Some(set) = unindexed(view, query, &indexed, &mut broken) {
        return Found::Complete(set);
    }
    if query.any_name
        && query.variant.is_none()
        && broken.is_empty()
        && let Some(set) = own_names(view, query, &mut broken)
    {
        return Found::Complete(set);
    }
    if !broken.is_empty() {
        return Found::Incomplete(broken);
    }
    let own = query.any_name && tensorflow::stems(query.family).is_some();
    if own { tensorflow::own_name(view, query) } else { Found::Absent }
}

/// Families that have stems of their own, whatever the model.
fn with_stems(query: Query<'_>) -> Query<'_> {
    match tensorflow::stems(query.family) {
        Some(stems) => Query { stems, loose_stems: &[], ..query },
        None => query,
    }
}

/// Asks for the index files that [`resolve`] would read.
pub(super) fn want_indexes(view: &View<'_>, query: Query<'_>) {
    if packed::knows(query.family) || pickled::knows(query.family) || whole::knows(query.family) {
        return;
    }
    let query = with_stems(query);
    for (stem, _) in stems(query) {
        let names = lookup(stem, query.family, query.variant);
        if view.find(query.dir, &names.single).is_none() {
            for entry in names.indexes.iter().filter_map(|name| view.find(query.dir, name)) {
                view.want(entry, INDEX_LIMIT);
            }
        }
    }
}

fn stems(query: Query<'_>) -> impl Iterator<Item = (&str, bool)> {
    query.stems.iter().map(|s| (*s, false)).chain(query.loose_stems.iter().map(|s| (*s, true)))
}

fn standard(
    view: &View<'_>,
    query: Query<'_>,
    stem: &str,
    broken: &mut Vec<(RepoPath, String)>,
    indexed: &mut BTreeSet<String>,
) -> Option<Set> {
    let names = lookup(stem, query.family, query.variant);
    let candidates: Vec<&Entry> = names.indexes.iter().filter_map(|name| view.find(query.dir, name)).collect();
    if let Some(single) = view.find(query.dir, &names.single) {
        let notes = candidates.first().map(|index| overlapping(&single.path, &index.path)).into_iter().collect();
        return Some(Set {
            family: query.family,
            variant: query.variant.map(str::to_owned),
            index: None,
            files: vec![single.path.clone()],
            loose: false,
            reason: "the single weight file".to_owned(),
            notes,
        });
    }
    for index in candidates {
        indexed.insert(stem.to_owned());
        match shards(view, query, index) {
            Ok((files, notes)) => return Some(indexed_set(query, index, files, notes)),
            Err(why) => broken.push((index.path.clone(), why)),
        }
    }
    None
}

pub(super) fn indexed_set(query: Query<'_>, index: &Entry, files: Vec<RepoPath>, notes: Vec<Finding>) -> Set {
    Set {
        family: query.family,
        variant: query.variant.map(str::to_owned),
        reason: format!("named by {}", printable(index.path.file_name())),
        index: Some(index.path.clone()),
        files,
        loose: false,
        notes,
    }
}

fn overlapping(single: &RepoPath, index: &RepoPath) -> Finding {
    Finding::new(
        Code::OverlappingWeights,
        single,
        format!(
            "the single file was taken, as transformers does; {} describes another set, which vLLM would read",
            printable(index.file_name())
        ),
    )
}

/// Numbered shards without an index: vLLM and diffusers' downloader take them by name.
fn unindexed(
    view: &View<'_>,
    query: Query<'_>,
    indexed: &BTreeSet<String>,
    broken: &mut Vec<(RepoPath, String)>,
) -> Option<Set> {
    for (stem, _) in stems(query).filter(|(stem, _)| !indexed.contains(*stem)) {
        let mut counts: BTreeMap<u32, Vec<(u32, &RepoPath)>> = BTreeMap::new();
        for entry in view.files(query.dir) {
            if let Some(parsed) = names::parse(entry.path.file_name())
                && (parsed.stem, parsed.family, parsed.variant) == (stem, query.family, query.variant)
                && let Some((number, total)) = parsed.shard
            {
                counts.entry(total).or_default().push((number, &entry.path));
            }
        }
        for (total, parts) in &counts {
            let numbers: BTreeSet<u32> = parts.iter().map(|(n, _)| *n).collect();
            let complete = (1..=*total).all(|n| numbers.contains(&n)) || (0..*total).all(|n| numbers.contains(&n));
            let first = parts[0].1;
            if !complete || *total == 0 {
                broken
                    .push((first.clone(), format!("there is no index, and only {} of {total} shards", numbers.len())));
                continue;
            }
            let note = Finding::new(
                Code::FamilyIncomplete,
                first,
                "these shards have no index: transformers cannot load them, vLLM reads them by name",
            );
            return Some(Set {
                family: query.family,
                variant: query.variant.map(str::to_owned),
                index: None,
                files: parts.iter().map(|(_, path)| (*path).clone()).collect(),
                loose: true,
                reason: "shards without an index".to_owned(),
                notes: vec![note],
            });
        }
    }
    None
}

/// Files with names of their own: an index of another stem, else every `*.safetensors` of the folder
/// (vLLM and TGI load them together), but adapters only when there is nothing else.
fn own_names(view: &View<'_>, query: Query<'_>, broken: &mut Vec<(RepoPath, String)>) -> Option<Set> {
    let dotted = format!(".{}.index.json", extension(query.family));
    let own: Vec<&Entry> = view
        .files(query.dir)
        .iter()
        .copied()
        .filter(|e| {
            !is_standard(e.path.file_name()) && !e.path.file_name().to_ascii_lowercase().starts_with("consolidated")
        })
        .collect();
    for index in own.iter().filter(|e| e.path.file_name().ends_with(&dotted)) {
        match shards(view, query, index) {
            Ok((files, notes)) => {
                let mut set = indexed_set(query, index, files, notes);
                set.loose = true;
                return Some(set);
            }
            Err(why) => broken.push((index.path.clone(), why)),
        }
    }
    if query.family != Family::Safetensors || !broken.is_empty() {
        return None;
    }
    let all: Vec<&Entry> = own
        .into_iter()
        .filter(|e| super::classify::has_ext(e.path.file_name(), &["safetensors"]))
        .filter(|e| !super::classify::classify(e.path.file_name()).reason.starts_with("training"))
        .collect();
    let adapter = |e: &&&Entry| {
        let name = e.path.file_name().to_ascii_lowercase();
        name.contains("lora") || name.starts_with("adapter")
    };
    let main: Vec<&Entry> = all.iter().filter(|e| !adapter(e)).copied().collect();
    let taken = if main.is_empty() { all } else { main };
    let first = taken.first()?;
    let mut notes = Vec::new();
    if taken.len() > 1 && !one_series(&taken) {
        notes.push(
            Finding::new(
                Code::OverlappingWeights,
                &first.path,
                format!("{} weight files have names of their own and no index: all were taken", taken.len()),
            )
            .hint("if they are alternatives, leave some out with --exclude"),
        );
    }
    Some(Set {
        family: query.family,
        variant: None,
        index: None,
        files: taken.iter().map(|e| e.path.clone()).collect(),
        loose: true,
        reason: "weights by a name of their own".to_owned(),
        notes,
    })
}

/// Whether the files are `X-00001-of-0000N` of one X and N.
fn one_series(entries: &[&Entry]) -> bool {
    let series = |e: &&Entry| {
        let name = e.path.file_name();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        names::split_shard(stem).map(|(x, (_, n))| (x.to_owned(), n))
    };
    entries.first().and_then(series).is_some_and(|one| entries.iter().all(|e| series(e).as_ref() == Some(&one)))
}

fn is_standard(name: &str) -> bool {
    names::parse(name).is_some()
}

/// Mistral's own layout: `consolidated*.safetensors` with an optional index (`vllm`'s load format "mistral").
fn mistral(view: &View<'_>, query: Query<'_>) -> Found {
    if query.variant.is_some() {
        return Found::Absent;
    }
    let query = Query { nested: false, ..query };
    let mut broken = Vec::new();
    if let Some(single) = view.find(query.dir, "consolidated.safetensors") {
        return Found::Complete(mistral_set(vec![single.path.clone()]));
    }
    if let Some(index) = view.find(query.dir, "consolidated.safetensors.index.json") {
        match shards(view, query, index) {
            Ok((files, notes)) => return Found::Complete(indexed_set(query, index, files, notes)),
            Err(why) => broken.push((index.path.clone(), why)),
        }
    } else {
        let files: Vec<RepoPath> = view
            .files(query.dir)
            .iter()
            .filter(|e| {
                let name = e.path.file_name();
                name.starts_with("consolidated") && super::classify::has_ext(name, &["safetensors"])
            })
            .map(|e| e.path.clone())
            .collect();
        if !files.is_empty() {
            return Found::Complete(mistral_set(files));
        }
    }
    if broken.is_empty() { Found::Absent } else { Found::Incomplete(broken) }
}

fn mistral_set(files: Vec<RepoPath>) -> Set {
    Set {
        family: Family::Mistral,
        variant: None,
        index: None,
        files,
        loose: false,
        reason: "Mistral's own layout".to_owned(),
        notes: Vec::new(),
    }
}
