//! Repos that no known loader reads: native layouts of several parts, whose own code opens them file by file. The
//! whole repo is taken without documentation, media and training files, instead of a fragment. This module also
//! decides whether files are parts or alternatives of one another; other rules ask about alternatives.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Reason;
use super::alike::{begin_alike, begins_with_how, look_alike, saved_twice, without_numbers};
use super::classify::{has_ext, is_media};
use super::companions::companion;
use super::everything;
use super::named::{Named, named, settings};
use super::parts::{Kind, apart, kind, without_twins};
use super::picks::{Picks, Wish, class_of, weights_of};
use super::quants::expert;
use super::view::{CONFIG_LIMIT, Doc, View, inside};
use super::{PIPELINE_INDEXES, names, siblings};
use crate::finding::{Code, Finding, Severity};
use crate::model::{Entry, Family, Purpose, RepoPath};

/// Whether a known loader reads the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    Known,
    Unknown,
    /// The config must still be read.
    Pending,
}

/// Whether the root's files name their loader: a config with `model_type` and the like (transformers, diffusers,
/// timm), or the settings of another library.
pub(super) fn loader(view: &View<'_>) -> Loader {
    const MARKERS: &[&str] = &["modules.json", "adapter_config.json", "open_clip_config.json", "genai_config.json"];
    const KEYS: &[&str] = &[
        "model_type",
        "architectures",
        "_class_name",
        "architecture",
        "pretrained_cfg",
        "auto_map",
        "transformers_weights",
    ];
    let has = |name: &str| view.find("", name).is_some();
    let own = |start: &str| view.files("").iter().any(|e| e.path.file_name().starts_with(start));
    if PIPELINE_INDEXES.iter().chain(MARKERS).any(|name| has(name)) || has("params.json") && own("consolidated") {
        return Loader::Known;
    }
    match view.quietly(|| view.json("", "config.json")) {
        Doc::Pending => Loader::Pending,
        Doc::Here(config) if KEYS.iter().any(|key| config.get(*key).is_some()) => Loader::Known,
        // A config that does not parse proves nothing.
        Doc::Absent if has("config.json") => Loader::Known,
        Doc::Here(_) | Doc::Absent => Loader::Unknown,
    }
}

/// Asks for the settings of a native layout, so that they come with the first documents.
pub(super) fn want(view: &View<'_>) {
    for entry in settings(view, "", loader(view) == Loader::Known) {
        view.want(entry, CONFIG_LIMIT);
    }
}

/// Takes the whole repo, if no known loader reads it and its weights are parts of one model; returns whether it did.
pub(super) fn select(view: &View<'_>, wish: &Wish, picks: &mut Picks) -> bool {
    if wish.only.is_some() || wish.variant.is_some() || loader(view) != Loader::Unknown {
        return false;
    }
    let weights: Vec<&Entry> = view
        .tree("")
        .filter(|e| view.rel(&e.path).is_some_and(|rel| !apart(folder_of(rel))))
        .filter(|e| weights_of(view, e).is_some())
        .collect();
    let weights = plain(&without_twins(weights));
    // The usual rules handle a single file that no settings describe.
    let least = if described(view) { 1 } else { 2 };
    if weights.len() < least || standard_at_root(view) || one_package(view, &weights) {
        return false;
    }
    let named = named(view, "", &[], false);
    if !parts(view, &weights, &named) {
        return false;
    }
    take(view, wish, &weights, picks);
    if wish.no_code {
        // The loader's own code may be among the files.
        for entry in view.tree("").filter(|e| has_ext(e.path.file_name(), &["py"])) {
            picks.leave(entry, None, Reason::RemoteCode);
        }
    }
    true
}

/// The weights without files that are the same model saved in another way, by their names: `X_fp8.pt` beside `X.pt`.
fn plain<'v>(weights: &[&'v Entry]) -> Vec<&'v Entry> {
    let stem = |entry: &Entry| inside(entry.path.dir(), names::stem(entry.path.file_name()));
    let stems: BTreeSet<String> = weights.iter().map(|entry| stem(entry)).collect();
    let again = |entry: &&Entry| {
        let name = stem(entry);
        let starts = name.match_indices(['-', '_', '.']).map(|(at, _)| at);
        starts.into_iter().any(|at| stems.contains(&name[..at]) && begins_with_how(&name[at + 1..]))
    };
    weights.iter().filter(|entry| !again(entry)).copied().collect()
}

/// The folder of a path below the view's root.
fn folder_of(rel: &str) -> &str {
    rel.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// Whether the root has a single file or an index of a standard name. Then the usual rules choose the family.
pub(super) fn standard_at_root(view: &View<'_>) -> bool {
    let standard = |e: &&Entry| {
        let name = e.path.file_name();
        names::parse(name).is_some_and(|n| n.variant.is_none() && n.shard.is_none()) && name != "model.bin"
    };
    view.files("").iter().any(standard)
}

/// Whether all weights are of one family that has rules for files that belong together.
fn one_package(view: &View<'_>, weights: &[&Entry]) -> bool {
    let families: BTreeSet<Family> = weights.iter().filter_map(|e| weights_of(view, e)).collect();
    let loose = [Family::Safetensors, Family::Bin, Family::Pt, Family::Other, Family::Tf];
    families.len() == 1 && families.iter().all(|family| !loose.contains(family))
}

/// Whether the weights are parts of one model and not alternatives: the root has settings that describe the whole,
/// or no folder is a model of its own.
fn parts(view: &View<'_>, weights: &[&Entry], named: &Named<'_>) -> bool {
    let described = described(view);
    let is_named = |e: &&Entry| {
        let dir = view.rel(&e.path).map_or("", folder_of);
        named.files.contains_key(e.path.as_str()) || named.folders.contains_key(dir)
    };
    let root: Vec<&Entry> = weights.iter().copied().filter(|e| e.path.dir() == view.root()).collect();
    let asked: Vec<&Entry> = root.iter().copied().filter(|e| !is_named(e)).collect();
    let of = |family: Family| -> Vec<&Entry> {
        asked.iter().copied().filter(|e| weights_of(view, e) == Some(family)).collect()
    };
    if asked.len() > 1 {
        let torch = [Family::Safetensors, Family::Bin, Family::Pt].into_iter().map(of);
        if torch.into_iter().any(|files| files.len() > 1 && (begin_alike(&files) || saved_twice(&files))) {
            return false;
        }
    }
    // Without settings, files side by side may well be alternatives, and a folder beside a model belongs to that model.
    if !described && !root.is_empty() {
        return false;
    }
    let mut folders: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in weights.iter().filter(|e| e.path.dir() != view.root() && !is_named(e)) {
        folders.entry(view.rel(&entry.path).map_or("", folder_of)).or_default().push(entry);
    }
    folders.retain(|dir, _| !dir.split('/').any(|segment| expert(segment).is_some()));
    if !described && folders.iter().filter(|(dir, files)| of_its_own(view, dir, files)).count() > 1 {
        return false;
    }
    if !described && folders.values().any(|files| files.len() > 1 && (look_alike(files) || saved_twice(files))) {
        return false;
    }
    let all: Vec<(&&str, &Vec<&Entry>)> = folders.iter().collect();
    // A repo with more folders is a collection, or its settings name them.
    let few = &all[..all.len().min(100)];
    !few.iter().enumerate().any(|(at, one)| few[at + 1..].iter().any(|other| copies(view, one, other)))
}

/// Whether the root has settings that describe the whole repo.
fn described(view: &View<'_>) -> bool {
    // An empty config describes nothing.
    let config = view.quietly(|| view.json("", "config.json")).here();
    let empty = config.as_ref().and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
    view.files("").iter().any(|entry| {
        let name = entry.path.file_name();
        let json = has_ext(name, &["json"]) && !name.ends_with(".index.json") && !name.contains("result");
        let words = ["config", "pipeline", "meta", "param", "setting", "manifest", "topics", "args", "task"];
        let other = companion(name).is_some_and(|c| c.0 != Purpose::Config);
        let training = view.rel(&entry.path).is_some_and(|rel| class_of(view, rel).reason == Reason::Training);
        let silent = name.starts_with('.') || other || training || name == "config.json" && empty;
        !silent && (has_ext(name, &["yaml", "yml"]) || json && words.iter().any(|word| name.contains(word)))
    })
}

/// Whether a folder has a model that loads by itself: it has a config, or weights of standard names.
fn of_its_own(view: &View<'_>, dir: &str, files: &[&Entry]) -> bool {
    let config = ["config.json", "adapter_config.json"].iter().any(|name| view.find(dir, name).is_some());
    config || files.iter().any(|e| names::parse(e.path.file_name()).is_some())
}

/// Whether two folders have the same kind of model: files of the same names (without numbers), and configs that do
/// not differ.
fn copies(view: &View<'_>, (a, one): &(&&str, &Vec<&Entry>), (b, other): &(&&str, &Vec<&Entry>)) -> bool {
    let of = |files: &[&Entry]| -> BTreeSet<String> {
        files.iter().map(|e| without_numbers(names::stem(e.path.file_name()))).collect()
    };
    if of(one).is_disjoint(&of(other)) {
        return false;
    }
    let config = |dir: &str| view.find(dir, "config.json").is_some();
    if config(a) != config(b) {
        return false;
    }
    match (kind(view, a), kind(view, b)) {
        (Kind::Pending, _) | (_, Kind::Pending) => false,
        (first, second) => first == second,
    }
}

/// Takes everything but documentation, media and training files, and only one format if the same weights have two.
fn take(view: &View<'_>, wish: &Wish, weights: &[&Entry], picks: &mut Picks) {
    let keep: BTreeSet<RepoPath> = weights.iter().map(|e| e.path.clone()).collect();
    let dirs: BTreeSet<&str> = keep.iter().filter_map(|path| view.rel(path)).map(folder_of).collect();
    for dir in dirs {
        everything::parts(view, dir, &keep, picks);
    }
    let config = view.json("", "config.json").here();
    siblings::companions(view, wish, "", config.as_ref(), picks);
    // BERTopic shows its topics with pictures.
    let pictures = view.find("", "topics.json").is_some();
    for entry in view.tree("") {
        let (name, rel) = (entry.path.file_name(), view.rel(&entry.path).unwrap_or(""));
        let class = class_of(view, rel);
        let media = is_media(name) && !(pictures && rel.starts_with("images/"));
        let code = has_ext(name, &["py", "ipynb", "sh"]);
        if apart(folder_of(rel)) || name.starts_with('.') || class.weights || media || code && wish.no_code {
            continue;
        }
        if class.reason != Reason::Documentation && class.reason != Reason::Training && !has_ext(name, &["ipynb"]) {
            let (purpose, reason) = companion(name).unwrap_or((
                if code { Purpose::Code } else { Purpose::Other },
                "part of a layout that no known loader reads",
            ));
            picks.take(entry, purpose, reason);
        }
    }
    let families: BTreeSet<Family> = picks.weights.iter().map(|set| set.family).collect();
    let (message, severity) = match wish.prefer.filter(|family| !families.contains(family)) {
        Some(family) => (
            format!("{family} was preferred, but no known loader reads this repo: all of its parts were taken"),
            Severity::Warning,
        ),
        None => (
            "no known loader reads this repo: everything was taken but documentation, media and training".to_owned(),
            Severity::Note,
        ),
    };
    view.find_out(Finding::repo(Code::FamilyFallback, message).severity(severity));
}
