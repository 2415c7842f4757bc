//! Takes the files beside a model's weights: companions by their names, the folders and files that only
//! a config names, and the repo's own code. `companions` knows the names of companions.

use serde_json::Value;

use super::Reason;
use super::adapter::base_model;
use super::classify::{classify, has_ext};
use super::code::{self, Reference};
use super::companions::companion;
use super::lacking;
use super::picks::{Picks, Wish};
use super::view::{CONFIG_LIMIT, View, inside};
use crate::model::{Entry, Purpose};

/// Names the repo of a processor's audio tokenizer.
const AUDIO_TOKENIZER: &str = "audio_tokenizer_config.json";

/// Takes the companions of the model in `dir`, and its code.
pub(super) fn companions(view: &View<'_>, wish: &Wish, dir: &str, config: Option<&Value>, picks: &mut Picks) {
    let mut references: Vec<Reference> = Vec::new();
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        if let Some((purpose, reason)) = companion(name) {
            picks.take(entry, purpose, reason);
        } else if view.find(dir, "config.json").is_none()
            && has_ext(name, &["json", "yaml", "yml"])
            && settings(view, entry)
        {
            picks.take(entry, Purpose::Config, "settings of a repo without config.json");
        }
    }
    for &name in code::CARRIERS {
        let document = if name == "config.json" { config.cloned() } else { view.json(dir, name).here() };
        if let Some(document) = document {
            references.extend(code::references(&document, name));
            extras(view, dir, name, &document, picks);
            lacking::documents(view, dir, name, &document, picks);
        }
    }
    if let Some(document) = view.json(dir, AUDIO_TOKENIZER).here() {
        lacking::documents(view, dir, AUDIO_TOKENIZER, &document, picks);
    }
    folders(view, wish, dir, picks);
    take_code(view, wish, dir, &references, picks);
    let unnamed = |e: &&Entry| {
        let name = e.path.file_name();
        has_ext(name, &["py"]) && !code::is_script(name) && !picks.has(&e.path)
    };
    if !wish.no_code
        && view.needs().is_empty()
        && view.files(dir).iter().any(unnamed)
        && let Some(document) = view.json(dir, code::GENERATION).here()
    {
        take_code(view, wish, dir, &code::references(&document, code::GENERATION), picks);
    }
}

fn settings(view: &View<'_>, entry: &Entry) -> bool {
    let class = view.rel(&entry.path).map(classify);
    let mistral = entry.path.file_name() == "params.json";
    !mistral && entry.size <= CONFIG_LIMIT && class.is_some_and(|c| c.family.is_none() && c.reason == Reason::Unneeded)
}

/// Files that only a config's content names.
fn extras(view: &View<'_>, dir: &str, by: &str, document: &Value, picks: &mut Picks) {
    if by == "video_preprocessor_config.json"
        && let Some(font) = document.get("font").and_then(Value::as_str)
        && let Some(entry) = view.find(dir, font)
    {
        picks.take(entry, Purpose::Processor, "the font that the video processor names");
    }
    if by == "config.json"
        && let Some(base) = document.get("base_model_name_or_path").and_then(Value::as_str)
    {
        base_model(view, dir, by, base, picks);
    }
}

/// Folders that loaders take beside a model.
fn folders(view: &View<'_>, wish: &Wish, dir: &str, picks: &mut Picks) {
    for entry in view.files(&inside(dir, "additional_chat_templates")) {
        if has_ext(entry.path.file_name(), &["jinja"]) {
            picks.take(entry, Purpose::ChatTemplate, "additional chat template");
        }
    }
    // A further tokenizer is in a folder that is named after its use (`qformer_tokenizer/`).
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let nested =
        |d: &&str| d.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('/') && rest.ends_with("_tokenizer"));
    for folder in view.dirs().filter(nested) {
        for entry in view.files(folder) {
            if let Some((purpose, _)) = companion(entry.path.file_name()) {
                picks.take(entry, purpose, "a further tokenizer");
            }
        }
    }
    if view.find(dir, "alphabet.json").is_some() {
        for entry in view.tree(&inside(dir, "language_model")) {
            picks.take(entry, Purpose::Processor, "language-model decoding");
        }
    }
    if view.find(dir, "speaker_embeddings_path.json").is_some() {
        for entry in view.tree(&inside(dir, "speaker_embeddings")) {
            picks.take(entry, Purpose::Processor, "speaker embeddings");
        }
    }
    for entry in view.tree(&inside(dir, "custom_generate")) {
        if wish.no_code {
            picks.leave(entry, None, Reason::RemoteCode);
        } else {
            picks.take(entry, Purpose::Code, "custom generation code");
        }
    }
}

/// Takes the code of the references, unless the user does not want it.
pub(super) fn take_code(view: &View<'_>, wish: &Wish, dir: &str, references: &[Reference], picks: &mut Picks) {
    if wish.no_code {
        let (foreign, own): (Vec<_>, Vec<_>) = references.iter().cloned().partition(|r| r.repo.is_some());
        picks.repos.extend(code::follow(view, dir, &foreign).repos);
        if !own.is_empty() {
            for entry in view.files("").iter().chain(view.files(dir)) {
                if has_ext(entry.path.file_name(), &["py", "cpp", "cc", "cu", "cuh", "h"]) {
                    picks.leave(entry, None, Reason::RemoteCode);
                }
            }
        }
        return;
    }
    let followed = code::follow(view, dir, references);
    picks.code_repos.extend(followed.repos.iter().cloned());
    picks.repos.extend(followed.repos);
    for (entry, reason) in followed.files {
        picks.take(entry, Purpose::Code, reason);
    }
}
