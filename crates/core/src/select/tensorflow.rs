//! Sets of TensorFlow, Keras and Flax files: one checkpoint with its index and shards, one `SavedModel`
//! with its folders, one HDF5 or msgpack file or its shards. They are taken only on request.

use std::collections::{BTreeMap, BTreeSet};

use super::EVERYTHING;
use super::classify::{classify, has_ext, is_tf_checkpoint};
use super::names::stem;
use super::sets::{Found, Query, Set};
use super::shards::shards_here;
use super::view::{CONFIG_LIMIT, Doc, View, inside};
use crate::finding::{ChooseBy, Code, Finding, Severity};
use crate::model::{Entry, Family, RepoPath};
use crate::text::printable;
use hfget_formats::tf_checkpoint::CheckpointState;

/// The stems of a family's standard names, if it has some (`transformers` 4:
/// `modeling_tf_utils.py`, `modeling_flax_utils.py`; `diffusers`: `modeling_flax_utils.py`).
pub(super) fn stems(family: Family) -> Option<&'static [&'static str]> {
    match family {
        Family::Flax => Some(&["flax_model", "diffusion_flax_model"]),
        Family::Tf => Some(&["tf_model"]),
        _ => None,
    }
}

/// The endings of a family's files.
fn endings(family: Family) -> &'static [&'static str] {
    if family == Family::Flax { &["msgpack"] } else { &["h5", "hdf5", "keras"] }
}

/// A Keras or Flax file with a name of its own: the only one, or the one that the user asked for by its stem.
pub(super) fn own_name(view: &View<'_>, query: Query<'_>) -> Found {
    let all: Vec<&Entry> =
        view.files(query.dir).iter().copied().filter(|e| has_ext(e.path.file_name(), endings(query.family))).collect();
    let (Some(first), reason) = (all.first(), "weights by a name of their own") else { return Found::Absent };
    let several = || Found::Several {
        at: first.path.clone(),
        choices: all.iter().map(|e| (stem(e.path.file_name()).to_owned(), e.size)).collect(),
        by: ChooseBy::Variant,
    };
    match query.variant {
        None if all.len() == 1 => Found::Complete(Set::new(query.family, None, vec![first.path.clone()], reason)),
        None => several(),
        Some(variant) => match all.iter().find(|e| stem(e.path.file_name()) == variant) {
            Some(entry) => Found::Complete(Set::new(query.family, Some(variant), vec![entry.path.clone()], reason)),
            None => several(),
        },
    }
}

/// The files of one checkpoint.
#[derive(Default)]
struct Checkpoint<'v> {
    index: Option<&'v Entry>,
    meta: Option<&'v Entry>,
    /// A checkpoint in one file, of TensorFlow's first format.
    single: Option<&'v Entry>,
    /// The shards by how many there should be, each by its number.
    data: BTreeMap<u32, BTreeMap<u32, &'v Entry>>,
}

impl Checkpoint<'_> {
    /// The bytes of its files together.
    fn bytes(&self) -> u64 {
        let shards = self.data.values().flat_map(|parts| parts.values());
        let all = self.index.iter().chain(&self.meta).chain(&self.single).chain(shards);
        all.fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// Its files, with a reason if they are not complete.
    fn files(&self) -> (Vec<RepoPath>, Option<String>) {
        let mut files: Vec<RepoPath> =
            self.index.iter().chain(&self.meta).chain(&self.single).map(|e| e.path.clone()).collect();
        files.extend(self.data.values().flat_map(|parts| parts.values()).map(|e| e.path.clone()));
        files.sort();
        if self.single.is_some() && self.index.is_none() && self.data.is_empty() {
            return (files, None);
        }
        if self.index.is_none() {
            return (files, Some("its .index is not in the repo".to_owned()));
        }
        let why = match self.data.iter().next() {
            None => Some("none of its .data files are in the repo".to_owned()),
            Some(_) if self.data.len() > 1 => {
                let totals: Vec<String> = self.data.keys().map(u32::to_string).collect();
                Some(format!("it has shards of several sets, of {} files", totals.join(" and of ")))
            }
            Some((total, parts)) => {
                // The loop stops at the first missing number, so a huge `total` costs nothing.
                let missing = (0..*total).find(|no| !parts.contains_key(no));
                missing.map(|no| {
                    format!("{} of its {total} shards are in the repo, .data-{no:05}-of-{total:05} is not", parts.len())
                })
            }
        };
        (files, why)
    }
}

/// `X` and the numbers of `X.data-00000-of-00001`.
fn shard(name: &str) -> Option<(&str, u32, u32)> {
    let (prefix, numbers) = name.rsplit_once(".data-")?;
    let (no, total) = numbers.split_once("-of-")?;
    let number =
        |text: &str| (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten();
    Some((prefix, number(no)?, number(total)?))
}

/// The checkpoints of a folder by their prefixes.
fn checkpoints<'v>(view: &View<'v>, dir: &str) -> BTreeMap<&'v str, Checkpoint<'v>> {
    let mut found: BTreeMap<&str, Checkpoint<'v>> = BTreeMap::new();
    for entry in view.files(dir) {
        let entry: &'v Entry = entry;
        let name = entry.path.file_name();
        if let Some((prefix, no, total)) = shard(name) {
            found.entry(prefix).or_default().data.entry(total).or_default().insert(no, entry);
        }
    }
    for entry in view.files(dir) {
        let entry: &'v Entry = entry;
        let name = entry.path.file_name();
        let known = is_tf_checkpoint(&name.to_ascii_lowercase());
        if let Some(prefix) = name.strip_suffix(".index").filter(|p| known || found.contains_key(p)) {
            found.entry(prefix).or_default().index = Some(entry);
        } else if let Some(prefix) = name.strip_suffix(".meta").filter(|p| known || found.contains_key(p)) {
            found.entry(prefix).or_default().meta = Some(entry);
        }
    }
    for entry in view.files(dir) {
        let entry: &'v Entry = entry;
        if let Some(checkpoint) = found.get_mut(entry.path.file_name()).filter(|c| c.index.is_none()) {
            checkpoint.single = Some(entry);
        }
    }
    // A graph alone is not a checkpoint.
    found.retain(|_, c| c.index.is_some() || c.single.is_some() || !c.data.is_empty());
    found
}

/// `(stem, step)` of `model.ckpt-20`.
fn step(prefix: &str) -> Option<(&str, u64)> {
    let (series, number) = prefix.rsplit_once('-')?;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok()).flatten().map(|number| (series, number))
}

/// One checkpoint: the variant that the user asked for (a prefix, or a step), otherwise the only
/// one, the one that `checkpoint` names, or the last of one series.
pub(super) fn checkpoint(view: &View<'_>, query: Query<'_>) -> Found {
    let found = checkpoints(view, query.dir);
    let Some(first) = found.values().find_map(|c| c.files().0.into_iter().next()) else { return Found::Absent };
    let state_file = view.find(query.dir, "checkpoint");
    let named = match state_file.map(|entry| view.bytes(entry, CONFIG_LIMIT)) {
        Some(Doc::Pending) => {
            return Found::Complete(Set::new(query.family, query.variant, Vec::new(), "a checkpoint"));
        }
        Some(Doc::Here(bytes)) => CheckpointState::parse(bytes).prefix().map(str::to_owned),
        Some(Doc::Absent) | None => None,
    };
    let several = || Found::Several {
        at: first.clone(),
        choices: found.iter().map(|(prefix, c)| ((*prefix).to_owned(), c.bytes())).collect(),
        by: ChooseBy::Variant,
    };
    let series: BTreeSet<Option<&str>> = found.keys().map(|prefix| step(prefix).map(|(stem, _)| stem)).collect();
    let (prefix, reason) = if let Some(variant) = query.variant {
        let asked = |prefix: &&&str| **prefix == variant || step(prefix).is_some_and(|(_, n)| n.to_string() == variant);
        let Some(prefix) = found.keys().find(|p| **p == variant).or_else(|| found.keys().find(asked)) else {
            return several();
        };
        (*prefix, "the checkpoint asked for")
    } else if let Some((prefix, _)) = found.iter().next().filter(|_| found.len() == 1) {
        (*prefix, "the checkpoint")
    } else if let Some((prefix, _)) = named.as_deref().and_then(|named| found.get_key_value(named)) {
        (*prefix, "the latest, as \"checkpoint\" says")
    } else if let (1, Some(Some(_)), Some(last)) =
        (series.len(), series.first(), found.keys().max_by_key(|prefix| step(prefix).map(|(_, n)| n)))
    {
        (*last, "the checkpoint of the highest step")
    } else {
        return several();
    };
    let (mut files, why) = found[prefix].files();
    if let Some(why) = why {
        return Found::Incomplete(vec![(files.swap_remove(0), format!("checkpoint {}: {why}", printable(prefix)))]);
    }
    let mut notes = Vec::new();
    match (state_file, named) {
        (Some(state), Some(named)) if named == prefix => files.push(state.path.clone()),
        (Some(state), named) => {
            let says = named.map_or("no checkpoint".to_owned(), |n| format!("\"{}\"", printable(&n)));
            let text = format!("it names {says}, but {} was taken: it was left out", printable(prefix));
            let severity = if query.variant.is_some() { Severity::Note } else { Severity::Warning };
            notes.push(Finding::new(Code::CompanionMissing, &state.path, text).severity(severity));
        }
        (None, _) => {}
    }
    Found::Complete(Set { notes, ..Set::new(query.family, query.variant, files, reason) })
}

fn is_saved_model(name: &str) -> bool {
    matches!(name, "saved_model.pb" | "saved_model.pbtxt")
}

/// Every file of the `SavedModel` in `dir`, with a reason if it is not complete.
fn members(view: &View<'_>, dir: &str) -> (Vec<RepoPath>, Option<String>) {
    let own = |e: &&&Entry| {
        let name = e.path.file_name();
        is_saved_model(name) || matches!(name, "fingerprint.pb" | "keras_metadata.pb")
    };
    let mut files: Vec<RepoPath> = view.files(dir).iter().filter(own).map(|e| e.path.clone()).collect();
    for folder in ["assets", "assets.extra", "variables"] {
        files.extend(view.tree(&inside(dir, folder)).map(|e| e.path.clone()));
    }
    let variables = checkpoints(view, &inside(dir, "variables"));
    let why = variables.get("variables").and_then(|c| c.files().1).map(|why| format!("variables/variables: {why}"));
    (files, why)
}

/// One `SavedModel` with all of its folders: the one in this folder, or the only one below it.
pub(super) fn saved_model(view: &View<'_>, query: Query<'_>) -> Found {
    let mut dirs: Vec<(&str, &Entry)> = Vec::new();
    for entry in view.tree(query.dir).filter(|e| is_saved_model(e.path.file_name())) {
        let dir = view.rel(&entry.path).and_then(|rel| rel.rsplit_once('/')).map_or("", |(dir, _)| dir);
        // The tree is in the order of folders.
        if dirs.last().is_none_or(|(known, _)| *known != dir) {
            dirs.push((dir, entry));
        }
    }
    let asked = |dir: &str| match query.variant {
        // The variant is a folder's path, or its last part.
        Some(variant) => dir == variant || dir.rsplit('/').next() == Some(variant),
        None => dir == query.dir,
    };
    let (dir, entry) = match (dirs.iter().find(|(dir, _)| asked(dir)), dirs.as_slice()) {
        (Some(found), _) => *found,
        (None, []) => return Found::Absent,
        (None, [one]) if query.variant.is_none() => *one,
        (None, all) => {
            return Found::Several {
                at: all[0].1.path.clone(),
                choices: all.iter().map(|(dir, _)| (view.scope(dir), view.bytes_of(dir))).collect(),
                by: ChooseBy::VariantFolder,
            };
        }
    };
    match members(view, dir) {
        (_, Some(why)) => Found::Incomplete(vec![(entry.path.clone(), why)]),
        (files, None) => Found::Complete(Set::new(query.family, query.variant, files, "the SavedModel's folder")),
    }
}

/// For `--all`: every set of one folder, complete or not.
pub(super) fn everything(view: &View<'_>, dir: &str, query: Query<'_>) -> Vec<Set> {
    let mut sets = Vec::new();
    let mut done: BTreeSet<RepoPath> = BTreeSet::new();
    let family = |e: &Entry| classify(e.path.file_name()).family.filter(|f| stems(*f).is_some());
    for entry in view.files(dir).iter().filter(|e| e.path.file_name().ends_with(".index.json")) {
        let Some(family) = family(entry) else { continue };
        match shards_here(view, entry) {
            Ok(files) => {
                done.extend(files.iter().cloned());
                sets.push(Set::indexed(Query { dir, family, ..query }, entry, files, Vec::new()));
            }
            Err(why) => view.find_out(Finding::new(Code::IndexInvalid, &entry.path, why)),
        }
    }
    for entry in view.files(dir).iter().filter(|e| !done.contains(&e.path)) {
        if let Some(family) = family(entry).filter(|f| has_ext(entry.path.file_name(), endings(*f))) {
            sets.push(Set::new(family, None, vec![entry.path.clone()], EVERYTHING));
        }
    }
    if view.files(dir).iter().any(|e| is_saved_model(e.path.file_name())) {
        sets.push(Set::new(Family::SavedModel, None, members(view, dir).0, EVERYTHING));
    }
    let parent = dir.strip_suffix("variables").map(|p| p.trim_end_matches('/'));
    let belongs = parent.is_some_and(|p| view.files(p).iter().any(|e| is_saved_model(e.path.file_name())));
    if !belongs {
        let of = checkpoints(view, dir).into_values().map(|c| c.files().0);
        sets.extend(of.map(|files| Set::new(Family::TfCheckpoint, None, files, EVERYTHING)));
    }
    sets
}
