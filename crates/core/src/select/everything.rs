//! `--all`: every file, with every set of weights recognised, so that it gets verified.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::has_ext;
use super::companions::companion;
use super::model::{MODEL, tied};
use super::names::{self, stem};
use super::picks::{Picks, weights_of};
use super::sets::{Query, Set};
use super::shards::{shards, shards_here};
use super::standard::{series, series_set};
use super::tensorflow;
use super::view::{CONFIG_LIMIT, View};
use crate::finding::{Code, Finding};
use crate::model::{Family, Purpose, RepoPath};

/// Takes every file of the view.
pub(super) fn select(view: &View<'_>, picks: &mut Picks) {
    let dirs: Vec<&str> = view.dirs().collect();
    for dir in dirs {
        let (sets, tied) = folder(view, dir);
        for set in sets {
            picks.take_set(view, dir, &set, tied);
        }
    }
    for entry in view.tree("") {
        let (purpose, reason) = companion(entry.path.file_name()).unwrap_or((Purpose::Other, "--all"));
        picks.take(entry, purpose, reason);
    }
}

/// The sets of one folder: what indexes name, then whole series of shards, then file by file; and whether the model
/// ties its embeddings.
pub(super) fn folder(view: &View<'_>, dir: &str) -> (Vec<Set>, bool) {
    let mut done: BTreeSet<RepoPath> = BTreeSet::new();
    let mut sets = indexed(view, dir);
    done.extend(sets.iter().flat_map(|set| set.files.iter().cloned()));
    for (series, parts) in series(view, dir) {
        // `model.bin` is another family's, and parts of a set that is not whole are checked one by one.
        let own = (series.0, series.1) != (Family::Bin, "model") && parts.values().any(|path| !done.contains(*path));
        if let Some(set) = series_set(series, &parts).filter(|_| own) {
            done.extend(set.files.iter().cloned());
            sets.push(set);
        }
    }
    sets.extend(alone(view, dir, &done));
    sets.extend(packed(view, dir));
    sets.extend(tensorflow::everything(view, dir, MODEL));
    let indexed = sets.iter().any(|set| set.index.is_some());
    if indexed && let Some(config) = view.find(dir, "config.json") {
        view.want(config, CONFIG_LIMIT);
    }
    let tied = indexed && view.json(dir, "config.json").here().is_some_and(|c| tied(&c));
    (sets, tied)
}

/// What every index names, also one of an odd stem and one beside a single file.
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
                // What is left of a set is held to its index: every gap gets its finding there.
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

/// Every other file that is read for itself.
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
            // Its external files are looked up among all that is taken.
            sets.push(single(Family::Onnx, None, &entry.path));
        } else if has_ext(name, &["gguf"]) {
            match names::split_shard(stem(name)) {
                Some((prefix, (_, total))) => splits.entry((prefix, total)).or_default().push(entry.path.clone()),
                None => sets.push(single(Family::Gguf, None, &entry.path)),
            }
        }
    }
    sets.extend(splits.into_values().map(|files| Set::new(Family::Gguf, None, files, "--all")));
    sets
}

fn single(family: Family, variant: Option<&str>, path: &RepoPath) -> Set {
    Set::new(family, variant, vec![path.clone()], "--all")
}
