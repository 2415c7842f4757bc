//! The parts of a model in folders beside it: files that its documents name, folders with weights that are not a copy
//! of the model, and small text. Other rules choose the root's files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Reason;
use super::choose::{Stems, choose};
use super::classify::{Class, family_dir, has_ext, is_media, training_dir};
use super::code;
use super::companions::companion;
use super::everything::together;
use super::model::{MODEL, tied};
use super::named::{Named, named};
use super::names;
use super::native::standard_at_root;
use super::picks::{Picks, Wish, class_of, weights_of};
use super::quants::expert;
use super::sets::{Query, Set};
use super::view::{CONFIG_LIMIT, Doc, View, inside};
use crate::model::{Entry, Family, Purpose, RepoPath};

/// Text with fewer bytes costs almost nothing.
const SMALL: u64 = 1 << 20;
/// A folder with more text than this is data.
const MOST_TEXT: usize = 300;
/// The endings of small text.
const TEXT: &[&str] = &["json", "yaml", "yml", "txt", "jinja", "model", "spm", "vocab", "tiktoken"];
/// Folders of draft models for speculative decoding, which no loader takes automatically.
const DRAFTS: &[&str] = &["draft", "eagle", "dflash", "dspark", "medusa", "mtp"];

/// Takes the files that belong to the model in `dir`, other than its own weights and companions.
pub(super) fn beside(view: &View<'_>, wish: &Wish, dir: &str, known: bool, picks: &mut Picks) {
    let code: Vec<&Entry> = view.listing().entries.iter().filter(|e| picks.is_code(&e.path)).collect();
    let named = named(view, dir, &code, known);
    take_named(view, wish, dir, &named, picks);
    // Other formats of a model have no parts; an adapter's folder is not a model's.
    let torch = |family: Family| matches!(family, Family::Safetensors | Family::Bin | Family::Pt);
    let adapter = view.find(dir, "adapter_config.json").is_some() && view.find(dir, "config.json").is_none();
    if !adapter && wish.only.is_none_or(torch) && picks.weights.iter().any(|set| torch(set.family)) {
        let taken = picks.folders();
        for folder in part_folders(view, dir) {
            if !taken.contains(&view.scope(folder)) && !is_copy(view, dir, folder) {
                part(view, wish, folder, "a part of the model, in a folder of its own", picks);
            }
        }
    }
    // Loaders of weights with standard names also know the names of their settings.
    if !known && !standard_at_root(view) {
        root_text(view, dir, picks);
    }
    small_text(view, dir, picks);
    code::unread(view, dir, picks);
}

/// Small text beside a model whose loader is not known: its settings have names of their own (Keras' `metadata.json`,
/// `task.json`).
fn root_text(view: &View<'_>, dir: &str, picks: &mut Picks) {
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        let class = view.rel(&entry.path).map(|rel| class_of(view, rel));
        let about = class.is_some_and(|c| c.family.is_none() && c.reason == Reason::Unneeded);
        if about
            && entry.size <= SMALL
            && !name.starts_with('.')
            && has_ext(name, TEXT)
            && !name.ends_with(".index.json")
        {
            picks.take(entry, Purpose::Config, "settings of a repo whose loader is not known");
        }
    }
}

/// Takes the files and folders that documents name.
pub(super) fn take_named(view: &View<'_>, wish: &Wish, dir: &str, named: &Named<'_>, picks: &mut Picks) {
    for (entry, by) in named.files.values() {
        let Some(rel) = view.rel(&entry.path) else { continue };
        let class = class_of(view, rel);
        let reason = format!("named by {by}");
        if class.weights {
            named_weights(view, dir, entry, &class, reason, picks);
        } else if class.family.is_none() && ![Reason::Documentation, Reason::Training].contains(&class.reason) {
            let (purpose, _) = companion(entry.path.file_name()).unwrap_or((Purpose::Config, ""));
            if !has_ext(entry.path.file_name(), &["py"]) {
                picks.take(entry, purpose, reason);
            }
        }
    }
    for (folder, by) in &named.folders {
        let reason = format!("in a folder that {by} names");
        let below: Vec<&str> = view.dirs().filter(|d| within(d, folder)).collect();
        for inner in below {
            if !apart(inner) {
                part(view, wish, inner, &reason, picks);
                whole_rest(view, inner, &reason, picks);
            }
        }
    }
}

/// Takes a weight file that a document names, unless it is another format or an alternative of the model.
fn named_weights(view: &View<'_>, dir: &str, entry: &Entry, class: &Class, reason: String, picks: &mut Picks) {
    let Some(family) = class.family else { return };
    let own = matches!(family, Family::Safetensors | Family::Bin | Family::Pt | Family::Other | Family::Onnx);
    let name = entry.path.file_name();
    let scope = view.rel(&entry.path).and_then(|rel| rel.rsplit_once('/')).map_or("", |(dir, _)| dir);
    let standard = names::parse(name).is_some() || name.starts_with("model.") || name.contains("_model");
    let taken = picks.weights.iter().any(|set| set.scope == view.scope(scope));
    if !own || scope == dir && standard && taken || picks.has(&entry.path) {
        return;
    }
    let set = Set::new(family, None, vec![entry.path.clone()], reason.clone());
    // The file is read in its own format, but is not a second model of its folder.
    if scope == dir && picks.weights.iter().any(|set| set.scope == view.scope(scope) && set.family != family) {
        picks.take(entry, Purpose::Other, reason);
    } else {
        picks.take_set(view, scope, &set, false);
    }
}

/// Whether `dir` is `folder` or inside it.
fn within(dir: &str, folder: &str) -> bool {
    dir.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a folder belongs to a format or a training, or is hidden.
pub(super) fn apart(dir: &str) -> bool {
    dir.split('/').any(|s| family_dir(s).is_some() || training_dir(s) || s.starts_with('.'))
}

/// The folders below `dir` with weights of the model's own kind, or of its parts.
fn part_folders<'a>(view: &View<'a>, dir: &str) -> Vec<&'a str> {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let draft = |d: &str| d.split(['/', '-', '_']).any(|s| DRAFTS.contains(&s.to_ascii_lowercase().as_str()));
    view.dirs()
        .filter(|d| !d.is_empty() && *d != dir && d.starts_with(&prefix))
        .filter(|d| !apart(&d[prefix.len()..]) && !draft(&d[prefix.len()..]))
        .filter(|d| !own_weights(view, d).is_empty())
        .collect()
}

/// The weight files directly in a folder that may be a part: those of torch's families, those in a container of their
/// own, or a graph that is not a format of the model by its name (`yolov10m.onnx`).
pub(super) fn own_weights<'a>(view: &View<'a>, dir: &str) -> Vec<&'a Entry> {
    let own = |e: &&Entry| match weights_of(view, e) {
        Some(Family::Safetensors | Family::Bin | Family::Pt | Family::Other) => true,
        Some(Family::Onnx) => !e.path.file_name().contains("model"),
        _ => false,
    };
    view.files(dir).iter().copied().filter(own).collect()
}

/// The kind of a folder's model, by its config.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// Its config must still be read.
    Pending,
    /// A PEFT adapter.
    Adapter,
    /// `model_type`, `architectures` and `_class_name`.
    Model([Value; 3]),
    /// Its config names no model: the config's bytes.
    Unnamed(Vec<u8>),
    /// It has no config.
    None,
}

/// The kind of the model in a folder.
pub(super) fn kind(view: &View<'_>, dir: &str) -> Kind {
    let Some(entry) = view.find(dir, "config.json") else {
        return if view.find(dir, "adapter_config.json").is_some() { Kind::Adapter } else { Kind::None };
    };
    match view.quietly(|| view.json(dir, "config.json")) {
        Doc::Pending => Kind::Pending,
        Doc::Absent => Kind::Unnamed(Vec::new()),
        Doc::Here(config) => {
            let names = ["model_type", "architectures", "_class_name"].map(|key| config[key].clone());
            if names.iter().all(Value::is_null) {
                Kind::Unnamed(view.bytes(entry, CONFIG_LIMIT).here().unwrap_or_default().to_vec())
            } else {
                Kind::Model(names)
            }
        }
    }
}

/// Whether `folder` has the model of `dir` again: the same kind of model or, without a config, files of the same or of
/// standard names. A further tokenizer or the second of two experts is never a copy.
fn is_copy(view: &View<'_>, dir: &str, folder: &str) -> bool {
    let last = folder.rsplit('/').next().unwrap_or(folder);
    if last.ends_with("tokenizer") || expert(last).is_some() {
        return false;
    }
    match kind(view, folder) {
        Kind::Pending => true,
        Kind::Adapter => kind(view, dir) == Kind::Adapter,
        Kind::None => {
            let settings = view.files(folder).iter().any(|e| has_ext(e.path.file_name(), &["yaml", "yml"]));
            let weights = own_weights(view, folder);
            let standard = weights.iter().all(|e| names::parse(e.path.file_name()).is_some());
            let same = weights.iter().all(|e| view.find(dir, e.path.file_name()).is_some());
            same || standard && !settings
        }
        named => named == kind(view, dir),
    }
}

/// Takes one folder as a part: its weights in the usual order of families, and its companions.
pub(super) fn part(view: &View<'_>, wish: &Wish, dir: &str, reason: &str, picks: &mut Picks) {
    let adapter = view.find(dir, "adapter_config.json").is_some();
    let stems: Stems = |family| match family {
        Family::Bin => (&["pytorch_model", "diffusion_pytorch_model", "adapter_model"], &[]),
        _ => (&["model", "diffusion_pytorch_model", "adapter_model"], &[]),
    };
    let mut wish = wish.clone();
    wish.order.retain(|family| matches!(family, Family::Safetensors | Family::Bin));
    // A part need not have the variant of the model.
    let choice = choose(view, &wish, Query { any_name: true, ..MODEL }, dir, stems);
    let choice = if choice.set.is_none() && wish.variant.is_some() {
        choose(view, &Wish { variant: None, ..wish.clone() }, Query { any_name: true, ..MODEL }, dir, stems)
    } else {
        choice
    };
    if let Some(set) = &choice.set {
        let config = view.find(dir, "config.json").filter(|_| set.index.is_some() && !adapter);
        let tied = config.is_some() && view.json(dir, "config.json").here().is_some_and(|c| tied(&c));
        picks.take_set(view, dir, &Set { reason: reason.to_owned(), ..set.clone() }, tied);
    } else if wish.only.is_none_or(|only| only == Family::Pt) {
        take_all(view, dir, reason, wish.only, picks);
    }
    for entry in view.files(dir) {
        if let Some((purpose, reason)) = companion(entry.path.file_name()) {
            picks.take(entry, purpose, reason);
        }
    }
}

/// Takes all weights of a folder without standard weights: each family is one set.
fn take_all(view: &View<'_>, dir: &str, reason: &str, only: Option<Family>, picks: &mut Picks) {
    let all = without_twins(own_weights(view, dir));
    for family in [Family::Safetensors, Family::Bin, Family::Pt, Family::Onnx, Family::Other] {
        let files: Vec<RepoPath> = all
            .iter()
            .filter(|e| weights_of(view, e) == Some(family) && only.is_none_or(|only| only == family))
            .filter(|e| !picks.has(&e.path))
            .map(|e| e.path.clone())
            .collect();
        let sets: Vec<Vec<RepoPath>> = match files.len() {
            0 => Vec::new(),
            _ if together(family) => vec![files],
            _ => files.into_iter().map(|file| vec![file]).collect(),
        };
        for files in sets {
            picks.take_set(view, dir, &Set::new(family, None, files, reason), false);
        }
    }
}

/// The files without pickles that have the stem of a safetensors file: those are the same weights in another format.
pub(super) fn without_twins(files: Vec<&Entry>) -> Vec<&Entry> {
    let safe: BTreeSet<String> = files
        .iter()
        .filter(|e| has_ext(e.path.file_name(), &["safetensors"]))
        .map(|e| inside(e.path.dir(), names::stem(e.path.file_name())))
        .collect();
    let twin = |e: &&Entry| {
        has_ext(e.path.file_name(), &["bin", "pt", "pth", "ckpt"])
            && safe.contains(&inside(e.path.dir(), names::stem(e.path.file_name())))
    };
    files.into_iter().filter(|e| !twin(e)).collect()
}

/// Takes the rest of a folder that a document names, without documentation, media and training files.
fn whole_rest(view: &View<'_>, dir: &str, reason: &str, picks: &mut Picks) {
    for entry in view.files(dir) {
        let class = view.rel(&entry.path).map(|rel| class_of(view, rel));
        if class.is_some_and(|c| c.family.is_none() && ![Reason::Documentation, Reason::Training].contains(&c.reason))
            && !is_media(entry.path.file_name())
            && !has_ext(entry.path.file_name(), &["py"])
        {
            picks.take(entry, Purpose::Config, reason);
        }
    }
}

/// Takes small text in folders that belong to no format or training and that have no weights which were left out: it
/// costs little, and loaders of all kinds read some of it (`experiment_cfg/metadata.json`, `assets/tokenizer/*`).
fn small_text(view: &View<'_>, dir: &str, picks: &mut Picks) {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let folders = view.dirs().filter(|d| !d.is_empty() && *d != dir && d.starts_with(&prefix));
    // Whether weights of a folder were left out; each folder is checked once.
    let mut skipped: BTreeMap<String, bool> = BTreeMap::new();
    for folder in folders.filter(|d| !apart(&d[prefix.len()..])) {
        let top = folder.get(prefix.len()..).and_then(|rel| rel.split('/').next()).unwrap_or(folder);
        let mut left_out = |folder: String| {
            let of =
                |folder: &str| view.files(folder).iter().any(|e| weights_of(view, e).is_some() && !picks.has(&e.path));
            *skipped.entry(folder).or_insert_with_key(|folder| of(folder))
        };
        if left_out(folder.to_owned()) || left_out(inside(dir, top)) {
            continue;
        }
        let of_model = folder.rsplit('/').next() == Some("assets") || holds_tokenizer(view, folder);
        let text = |e: &&&Entry| {
            let name = e.path.file_name();
            let class = view.rel(&e.path).map(|rel| class_of(view, rel));
            // Text among samples does not describe the model; a tokenizer's files do, in any folder.
            let about = class.is_some_and(|c| {
                c.family.is_none()
                    && ![Reason::Documentation, Reason::Training].contains(&c.reason)
                    && (c.reason != Reason::Media || of_model)
            });
            about && !name.starts_with('.') && has_ext(name, TEXT) && (e.size <= SMALL || companion(name).is_some())
        };
        let found: Vec<&Entry> = view.files(folder).iter().filter(text).copied().collect();
        for entry in found.iter().filter(|_| found.len() <= MOST_TEXT) {
            let (purpose, reason) = companion(entry.path.file_name()).unwrap_or((Purpose::Other, "small text"));
            picks.take(entry, purpose, reason);
        }
    }
}

/// Whether a folder has a tokenizer's files.
fn holds_tokenizer(view: &View<'_>, dir: &str) -> bool {
    dir.split('/').any(|s| s.contains("tokenizer"))
        || view.files(dir).iter().any(|e| companion(e.path.file_name()).is_some_and(|c| c.0 == Purpose::Tokenizer))
}
