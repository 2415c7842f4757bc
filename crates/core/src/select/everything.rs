//! `--all`: takes every file, and recognises every set of weights, so that it is verified.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::has_ext;
use super::companions::companion;
use super::model::{MODEL, tied};
use super::names::{self, stem};
use super::picks::{Picks, weights_of};
use super::sets::{Query, Set};
use super::shards::{shards, shards_here};
use super::standard::{series, series_set};
use super::view::{CONFIG_LIMIT, View};
use super::{EVERYTHING, code, tensorflow};
use crate::finding::{Code, Finding};
use crate::model::{Entry, Family, Purpose, RepoPath};

/// Takes every file of the view. `refused`: no document is read to find code in other repos.
pub(super) fn select(view: &View<'_>, refused: bool, picks: &mut Picks) {
    let dirs: Vec<&str> = view.dirs().collect();
    for dir in dirs {
        let (sets, tied) = folder(view, dir);
        if !refused && (dir.is_empty() || !sets.is_empty()) {
            let repos = code::elsewhere_of(view, dir);
            picks.code_repos.extend(repos.iter().cloned());
            picks.repos.extend(repos);
        }
        for set in sets {
            picks.take_set(view, dir, &set, tied);
        }
    }
    for entry in view.tree("") {
        let (purpose, reason) = companion(entry.path.file_name()).unwrap_or((Purpose::Other, EVERYTHING));
        picks.take(entry, purpose, reason);
    }
}

/// Takes the sets of one folder whose files are in `keep`. Sets of one family without an index become one set if
/// nothing distinguishes them.
pub(super) fn parts(view: &View<'_>, dir: &str, keep: &BTreeSet<RepoPath>, picks: &mut Picks) {
    let mut loose: BTreeMap<Family, BTreeSet<RepoPath>> = BTreeMap::new();
    for mut set in sets(view, dir) {
        let whole = set.files.len();
        set.files.retain(|path| keep.contains(path));
        set.index = set.index.filter(|_| set.files.len() == whole);
        if set.files.is_empty() {
            continue;
        }
        "part of a layout that no known loader reads".clone_into(&mut set.reason);
        if set.index.is_none() && together(set.family) {
            loose.entry(set.family).or_default().extend(set.files);
        } else {
            take(view, dir, &set, picks);
        }
    }
    let taken: BTreeSet<RepoPath> = loose.values().flatten().cloned().collect();
    let kept = |e: &&Entry| keep.contains(&e.path) && !taken.contains(&e.path) && !picks.has(&e.path);
    let left: Vec<&Entry> = view.files(dir).iter().copied().filter(kept).collect();
    for entry in left {
        match weights_of(view, entry) {
            Some(family) if together(family) => {
                loose.entry(family).or_default().insert(entry.path.clone());
            }
            Some(family) => {
                let reason = "part of a layout that no known loader reads";
                take(view, dir, &Set::new(family, None, vec![entry.path.clone()], reason), picks);
            }
            None => {}
        }
    }
    for (family, files) in loose {
        let files = files.into_iter().collect();
        take(view, dir, &Set::new(family, None, files, "part of a layout that no known loader reads"), picks);
    }
}

/// Whether parts of one model make up one set in this family. In other families a name means one tensor of a set, and
/// two parts may have tensors of the same name.
pub(super) fn together(family: Family) -> bool {
    use Family as F;
    !matches!(family, F::Safetensors | F::Bin | F::Mistral | F::Gguf | F::Flax | F::Tf)
}

/// Takes a set, with its folder's setting for tied embeddings.
fn take(view: &View<'_>, dir: &str, set: &Set, picks: &mut Picks) {
    let config = view.find(dir, "config.json").filter(|_| set.index.is_some());
    let tied = config.is_some() && view.json(dir, "config.json").here().is_some_and(|c| tied(&c));
    if let Some(first) = set.files.first().filter(|_| set.family == Family::Other) {
        super::model::unread(view, first, set.files.len());
    }
    picks.take_set(view, dir, set, tied);
}

/// Recognises the sets of one folder: first by indexes, then by complete series of shards, then file by file.
fn sets(view: &View<'_>, dir: &str) -> Vec<Set> {
    let mut done: BTreeSet<RepoPath> = BTreeSet::new();
    let mut sets = indexed(view, dir);
    done.extend(sets.iter().flat_map(|set| set.files.iter().cloned()));
    for (series, parts) in series(view, dir) {
        // `model.bin` belongs to another family. The parts of an incomplete series are checked one by one.
        let own = (series.0, series.1) != (Family::Bin, "model") && parts.values().any(|path| !done.contains(*path));
        if let Some(set) = series_set(series, &parts).filter(|_| own) {
            done.extend(set.files.iter().cloned());
            sets.push(set);
        }
    }
    sets.extend(alone(view, dir, &done));
    sets.extend(packed(view, dir));
    sets.extend(tensorflow::everything(view, dir, MODEL));
    sets
}

/// The sets of one folder, and whether the model in it ties its embeddings.
pub(super) fn folder(view: &View<'_>, dir: &str) -> (Vec<Set>, bool) {
    let sets = sets(view, dir);
    let indexed = sets.iter().any(|set| set.index.is_some());
    if indexed && let Some(config) = view.find(dir, "config.json") {
        view.want(config, CONFIG_LIMIT);
    }
    let tied = indexed && view.json(dir, "config.json").here().is_some_and(|c| tied(&c));
    (sets, tied)
}

/// The sets that indexes name, also an index of an unusual stem and one beside a single file.
fn indexed(view: &View<'_>, dir: &str) -> Vec<Set> {
    let mut sets = Vec::new();
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        let json = has_ext(name, &["json"]);
        let family = if name.starts_with("consolidated.safetensors.index") {
            Family::Mistral
        } else if json && name.contains(".safetensors.") && name.contains("index") {
            Family::Safetensors
        } else if json && name.contains(".bin.") && name.contains("index") {
            Family::Bin
        } else {
            continue;
        };
        let query = Query { dir, family, variant: names::parse(name).and_then(|n| n.variant), ..MODEL };
        match shards(view, query, entry) {
            Ok((files, notes)) => sets.push(Set::indexed(query, entry, files, notes)),
            Err(why) => match shards_here(view, entry) {
                // The remaining files of a set are checked with their index, which gives each gap its finding.
                Ok(here) if !here.is_empty() => sets.push(Set::indexed(query, entry, here, Vec::new())),
                Ok(_) => view.find_out(Finding::new(
                    Code::FamilyIncomplete,
                    &entry.path,
                    format!("its weights are not complete: {why}"),
                )),
                Err(why) => view.find_out(Finding::new(Code::IndexInvalid, &entry.path, why)),
            },
        }
    }
    sets
}

/// Every other file that is read by itself.
fn alone(view: &View<'_>, dir: &str, done: &BTreeSet<RepoPath>) -> Vec<Set> {
    let left = view.files(dir).iter().filter(|entry| !done.contains(&entry.path));
    left.filter_map(|entry| {
        let name = entry.path.file_name();
        let (family, variant) = match names::parse(name).filter(|n| !(n.family == Family::Bin && n.stem == "model")) {
            Some(n) if n.index || n.family == Family::Bin && n.shard.is_some() => return None,
            Some(n) => (n.family, n.variant),
            None if has_ext(name, &["safetensors"]) && name.starts_with("consolidated") => (Family::Mistral, None),
            None if has_ext(name, &["safetensors"]) => (Family::Safetensors, None),
            None => {
                let own = |f: &Family| matches!(f, Family::Pt | Family::TorchScript | Family::Meta);
                (weights_of(view, entry).filter(own)?, None)
            }
        };
        Some(single(family, variant, &entry.path))
    })
    .collect()
}

/// Every graph, and every GGUF file or split set of them.
fn packed(view: &View<'_>, dir: &str) -> Vec<Set> {
    let mut sets = Vec::new();
    let mut splits: BTreeMap<(&str, u32), Vec<RepoPath>> = BTreeMap::new();
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        if has_ext(name, &["onnx"]) {
            // Its external files are found among all files that are taken.
            sets.push(single(Family::Onnx, None, &entry.path));
        } else if has_ext(name, &["gguf"]) {
            match names::split_shard(stem(name)) {
                Some((prefix, (_, total))) => splits.entry((prefix, total)).or_default().push(entry.path.clone()),
                None => sets.push(single(Family::Gguf, None, &entry.path)),
            }
        }
    }
    sets.extend(splits.into_values().map(|files| Set::new(Family::Gguf, None, files, EVERYTHING)));
    sets
}

fn single(family: Family, variant: Option<&str>, path: &RepoPath) -> Set {
    Set::new(family, variant, vec![path.clone()], EVERYTHING)
}
