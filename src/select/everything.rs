//! `--all`: every file, with every complete set of safetensors or bin weights recognised, so that it
//! gets verified.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::has_ext;
use super::companions::companion;
use super::model::{self, MODEL};
use super::names;
use super::picks::{Picks, class_of};
use super::sets::{Found, Query, Set, indexed_set, resolve};
use super::shards::{shards, shards_here};
use super::view::{CONFIG_LIMIT, View};
use super::{Family, Purpose, tensorflow};
use crate::repo::RepoPath;
use crate::report::{Code, Finding};

/// Takes every file of the view.
pub(super) fn select(view: &View<'_>, picks: &mut Picks) {
    let dirs: Vec<&str> = view.dirs().collect();
    for dir in dirs {
        folder(view, dir, picks);
    }
    for entry in view.tree("") {
        let (purpose, reason) = companion(entry.path.file_name()).unwrap_or((Purpose::Other, "--all"));
        picks.take(entry, purpose, reason);
    }
}

/// Recognises the sets of one folder.
fn folder(view: &View<'_>, dir: &str, picks: &mut Picks) {
    let mut done: BTreeSet<RepoPath> = BTreeSet::new();
    let mut sets: Vec<Set> = Vec::new();
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        // Every index, also of an odd stem and beside a single file.
        let json = has_ext(name, &["json"]);
        let family = if name.starts_with("consolidated.safetensors.index") {
            Some(Family::Mistral)
        } else if json && name.contains(".safetensors.") && name.contains("index") {
            Some(Family::Safetensors)
        } else if json && name.contains(".bin.") && name.contains("index") {
            Some(Family::Bin)
        } else {
            None
        };
        let Some(family) = family else { continue };
        let variant = names::parse(name).and_then(|n| n.variant);
        let query = Query { dir, family, variant, ..MODEL };
        match shards(view, query, entry) {
            Ok((files, notes)) => {
                done.extend(files.iter().cloned());
                sets.push(indexed_set(query, entry, files, notes));
            }
            Err(why) => match shards_here(view, entry) {
                // What is left of a set is held to its index: every gap gets its finding there.
                Ok(here) if !here.is_empty() => {
                    done.extend(here.iter().cloned());
                    sets.push(indexed_set(query, entry, here, Vec::new()));
                }
                Ok(_) => view.find_out(Finding::new(
                    Code::FamilyIncomplete,
                    &entry.path,
                    format!("its weights are not complete: {why}"),
                )),
                Err(why) => view.find_out(Finding::new(Code::IndexInvalid, &entry.path, why)),
            },
        }
    }
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        if done.contains(&entry.path) {
            continue;
        }
        let parsed = names::parse(name).filter(|n| !(n.index || n.family == Family::Bin && n.stem == "model"));
        let set = match parsed {
            Some(n) if n.shard.is_some() => {
                let stems = [n.stem];
                let query =
                    Query { dir, family: n.family, variant: n.variant, stems: &stems, any_name: false, ..MODEL };
                match view.quietly(|| resolve(view, query)) {
                    Found::Complete(set) if set.files.contains(&entry.path) => Some(set),
                    // Parts of a set that is not whole can still be checked one by one.
                    _ => (n.family == Family::Safetensors).then(|| single(n.family, n.variant, &entry.path)),
                }
            }
            Some(n) => Some(single(n.family, n.variant, &entry.path)),
            None if has_ext(name, &["safetensors"]) && name.starts_with("consolidated") => {
                Some(single(Family::Mistral, None, &entry.path))
            }
            None if has_ext(name, &["safetensors"]) => Some(single(Family::Safetensors, None, &entry.path)),
            None => {
                let class = view.rel(&entry.path).map(|rel| class_of(view, rel)).filter(|c| c.weights);
                class
                    .and_then(|c| c.family)
                    .filter(|f| matches!(f, Family::Pt | Family::TorchScript | Family::Meta))
                    .map(|family| single(family, None, &entry.path))
            }
        };
        if let Some(set) = set {
            done.extend(set.files.iter().cloned());
            sets.push(set);
        }
    }
    let mut packed: BTreeMap<String, Vec<RepoPath>> = BTreeMap::new();
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        if has_ext(name, &["onnx"]) {
            // Its external files are looked up among all that is taken.
            sets.push(single(Family::Onnx, None, &entry.path));
        } else if has_ext(name, &["gguf"]) {
            let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
            let group = names::split_shard(stem).map_or(name.to_owned(), |(x, (_, n))| format!("{x}/{n}"));
            packed.entry(group).or_default().push(entry.path.clone());
        }
    }
    sets.extend(
        packed.into_values().map(|files| Set { files, ..single(Family::Gguf, None, &view.files(dir)[0].path) }),
    );
    sets.extend(tensorflow::everything(view, dir, MODEL));
    let indexed = sets.iter().any(|set| set.index.is_some());
    if indexed && let Some(config) = view.find(dir, "config.json") {
        view.want(config, CONFIG_LIMIT);
    }
    let tied = indexed && view.json(dir, "config.json").here().is_some_and(|c| model::tied(&c));
    for set in sets {
        picks.take_set(view, dir, &set, tied);
    }
}

fn single(family: Family, variant: Option<&str>, path: &RepoPath) -> Set {
    Set {
        family,
        variant: variant.map(str::to_owned),
        index: None,
        files: vec![path.clone()],
        loose: false,
        reason: "--all".to_owned(),
        notes: Vec::new(),
    }
}
