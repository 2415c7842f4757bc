//! Sets by standard names: the single file, the index with its shards or, without these, files that
//! only some loaders read: shards without an index, and files with names of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::companions::companion;
use super::names::{self, extension, lookup};
use super::sets::{Found, Query, Set, stems};
use super::shards::{shards, stale};
use super::view::{Doc, View};
use super::{alike, classify};
use crate::finding::{ChooseBy, Code, Finding, Remedy};
use crate::model::{Entry, Family, RepoPath};
use crate::text::printable;

/// The single file of a stem, otherwise the shards that its index names.
pub(super) fn named(
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
        let set = Set::new(query.family, query.variant, vec![single.path.clone()], "the single weight file");
        return Some(Set { notes, ..set });
    }
    for index in candidates {
        indexed.insert(stem.to_owned());
        match shards(view, query, index) {
            Ok((files, notes)) => return Some(Set::indexed(query, index, files, notes)),
            Err(why) => {
                // None of the files that a stale index names are here.
                if stale(view, &index.path) {
                    indexed.remove(stem);
                }
                broken.push((index.path.clone(), why));
            }
        }
    }
    None
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

/// Numbered shards of one folder that belong together: family, stem, variant, and how many there should be.
type Series<'v> = (Family, &'static str, Option<&'v str>, u32);

/// The numbered shards of a folder.
pub(super) fn series<'v>(view: &View<'v>, dir: &str) -> BTreeMap<Series<'v>, BTreeMap<u32, &'v RepoPath>> {
    let mut found: BTreeMap<Series<'v>, BTreeMap<u32, &'v RepoPath>> = BTreeMap::new();
    for &entry in view.files(dir) {
        if let Some(name) = names::parse(entry.path.file_name())
            && let Some((number, total)) = name.shard
        {
            let series = (name.family, name.stem, name.variant, total);
            found.entry(series).or_default().insert(number, &entry.path);
        }
    }
    found
}

/// Numbered shards as a set, if none is missing: vLLM and diffusers' downloader take them by name.
pub(super) fn series_set((family, _, variant, total): Series<'_>, parts: &BTreeMap<u32, &RepoPath>) -> Option<Set> {
    let (_, first) = parts.first_key_value().filter(|_| names::whole(parts, total))?;
    let note = Finding::new(
        Code::FamilyIncomplete,
        first,
        "these shards have no index: transformers cannot load them, vLLM reads them by name",
    );
    let files = parts.values().map(|path| (*path).clone()).collect();
    Some(Set { loose: true, notes: vec![note], ..Set::new(family, variant, files, "shards without an index") })
}

/// The first complete series of numbered shards without an index.
pub(super) fn unindexed(
    view: &View<'_>,
    query: Query<'_>,
    indexed: &BTreeSet<String>,
    broken: &mut Vec<(RepoPath, String)>,
) -> Option<Set> {
    let all = series(view, query.dir);
    for (stem, _) in stems(query).filter(|(stem, _)| !indexed.contains(*stem)) {
        let own = all
            .iter()
            .filter(|((family, s, variant, _), _)| (*s, *family, *variant) == (stem, query.family, query.variant));
        for (&series, parts) in own {
            if let Some(set) = series_set(series, parts) {
                return Some(set);
            }
            if let Some((_, first)) = parts.first_key_value() {
                let why = format!("there is no index, and only {} of {} shards", parts.len(), series.3);
                broken.push(((*first).clone(), why));
            }
        }
    }
    None
}

/// Files with names of their own: an index of another stem, otherwise every `*.safetensors` of the folder beside a
/// config that names its model (only vLLM, TGI and exllama load them together), otherwise the only one. Adapters count
/// only if there is nothing else. If files are alternatives of one another, the user must choose.
pub(super) fn own_names(view: &View<'_>, query: Query<'_>, broken: &mut Vec<(RepoPath, String)>) -> Found {
    let dotted = format!(".{}.index.json", extension(query.family));
    let own: Vec<&Entry> = view
        .files(query.dir)
        .iter()
        .copied()
        .filter(|e| {
            names::parse(e.path.file_name()).is_none()
                && !e.path.file_name().to_ascii_lowercase().starts_with("consolidated")
        })
        .collect();
    let indexes = own.iter().filter(|e| e.path.file_name().ends_with(&dotted));
    for index in indexes.filter(|_| query.variant.is_none()) {
        match shards(view, query, index) {
            Ok((files, notes)) => {
                return Found::Complete(Set { loose: true, ..Set::indexed(query, index, files, notes) });
            }
            Err(why) => broken.push((index.path.clone(), why)),
        }
    }
    if query.family != Family::Safetensors || !broken.is_empty() {
        return Found::Absent;
    }
    let all: Vec<&Entry> = own
        .into_iter()
        .filter(|e| classify::has_ext(e.path.file_name(), &["safetensors"]))
        .filter(|e| classify::classify(e.path.file_name()).weights && companion(e.path.file_name()).is_none())
        .collect();
    if let Some(variant) = query.variant {
        let asked = |e: &&&Entry| names::stem(e.path.file_name()).eq_ignore_ascii_case(variant);
        return match all.iter().find(asked) {
            Some(entry) => {
                let set = Set::new(query.family, query.variant, vec![entry.path.clone()], "the file asked for");
                Found::Complete(Set { loose: true, ..set })
            }
            None => Found::Absent,
        };
    }
    let adapter = |e: &&&Entry| {
        let name = e.path.file_name().to_ascii_lowercase();
        name.contains("lora") || name.starts_with("adapter")
    };
    let main: Vec<&Entry> = all.iter().filter(|e| !adapter(e)).copied().collect();
    let taken = without_steps(if main.is_empty() { all } else { main });
    let Some(first) = taken.first() else { return Found::Absent };
    let mut notes = Vec::new();
    if taken.len() > 1 && !one_series(&taken) {
        if alike::saved_twice(&taken) || !names_its_model(view, query.dir) {
            let choices = taken.iter().map(|e| (names::stem(e.path.file_name()).to_owned(), e.size)).collect();
            return Found::Several { at: first.path.clone(), choices, by: ChooseBy::Variant };
        }
        notes.push(
            Finding::new(
                Code::OverlappingWeights,
                &first.path,
                format!("{} weight files have names of their own and no index: all were taken", taken.len()),
            )
            .remedy(Remedy::ChooseIfAlternatives),
        );
    }
    let files = taken.iter().map(|e| e.path.clone()).collect();
    let set = Set::new(query.family, None, files, "weights by a name of their own");
    Found::Complete(Set { loose: true, notes, ..set })
}

/// Whether the folder's config names the model of the weights. A config that must still be read counts as yes.
fn names_its_model(view: &View<'_>, dir: &str) -> bool {
    match view.json(dir, "config.json") {
        Doc::Pending => true,
        Doc::Here(config) => ["architectures", "model_type"].iter().any(|key| config.get(*key).is_some()),
        Doc::Absent => false,
    }
}

/// The files without the steps of a training whose last result is there too.
fn without_steps(mut files: Vec<&Entry>) -> Vec<&Entry> {
    let names: BTreeSet<&str> = files.iter().map(|e| names::stem(e.path.file_name())).collect();
    files.retain(|e| step(names::stem(e.path.file_name())).is_none_or(|result| !names.contains(result)));
    files
}

/// `X` of `X-000010`, `X-step00000500` (sd-scripts) and `X_000000500` (ai-toolkit).
fn step(stem: &str) -> Option<&str> {
    let left = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = stem.len() - left.len();
    let result = left.strip_suffix("-step").or_else(|| left.strip_suffix(['-', '_']))?;
    (digits >= 6 && !result.is_empty()).then_some(result)
}

/// Whether the files are `X-00001-of-0000N` of one X and N.
fn one_series(entries: &[&Entry]) -> bool {
    let series = |e: &&Entry| names::split_shard(names::stem(e.path.file_name())).map(|(x, (_, n))| (x.to_owned(), n));
    entries.first().and_then(series).is_some_and(|one| entries.iter().all(|e| series(e).as_ref() == Some(&one)))
}
