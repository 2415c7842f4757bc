//! One model in one folder, by `transformers`' rules, with what timm, `open_clip`, PEFT, vLLM and
//! native layouts add. Pipelines of several folders live elsewhere.

use serde_json::Value;

use super::adapter::{adapter, base_model};
use super::choose::{Choice, choose, variants};
use super::classify::has_ext;
use super::code::{self, Reference};
use super::companions::{companion, mistral_tokenizer};
use super::picks::{Picks, Wish, found};
use super::sets::{Query, Set, indexed_set};
use super::shards::shards;
use super::view::{CONFIG_LIMIT, View};
use super::{Family, Purpose, SelectError, whole};
use crate::report::{Code, Finding, Severity};
use crate::text::printable;

/// What to look for in a model's folder.
pub(super) const MODEL: Query<'static> = Query {
    dir: "",
    family: Family::Safetensors,
    variant: None,
    stems: &[],
    loose_stems: &[],
    nested: true,
    any_name: true,
};

/// Selects the model in `dir`. `Ok(false)`: there are no weights of any kind in it.
pub(super) fn select(view: &View<'_>, wish: &Wish, dir: &str, picks: &mut Picks) -> Result<bool, SelectError> {
    let config = view.json(dir, "config.json").here();
    documents(view, wish, dir);
    companions(view, wish, dir, config.as_ref(), picks);

    let adapter = adapter(view, wish, dir, picks);
    let choice = weights(view, wish, dir, config.as_ref());
    if let Some(set) = &choice.set {
        // An adapter's own file is not the model's too.
        if !(adapter && set.loose) {
            choice.report(view, dir, wish);
            take(view, wish, dir, config.as_ref(), set, picks);
        }
        return Ok(true);
    }
    if adapter {
        return Ok(true);
    }
    if !view.needs().is_empty() {
        return Ok(true);
    }
    Err(match failure(view, wish, dir, &choice) {
        Some(error) => error,
        None => return Ok(false),
    })
}

/// Why there is no set; `None` when there are no weights of any kind.
pub(super) fn failure(view: &View<'_>, wish: &Wish, dir: &str, choice: &Choice) -> Option<SelectError> {
    let found = found(view);
    if let Some((family, choices, how)) = choice.several.clone().filter(|(family, ..)| wish.only == Some(*family)) {
        let choices = choices.iter().take(100).map(|c| printable(c).into_owned()).collect();
        return Some(SelectError::Several { family, choices, how });
    }
    if let Some(variant) = &wish.variant {
        let others = variants(view, &[dir], variant);
        if choice.broken.is_empty() && !found.is_empty() {
            return Some(SelectError::VariantAbsent { variant: variant.clone(), found: others });
        }
    }
    let mut why = choice.why();
    if why.is_empty() && wish.variant.is_none() {
        let variants = variants(view, &[dir], "");
        if !variants.is_empty() {
            why = format!("there are only variants: add --variant {}", printable(&variants.join(" or --variant ")));
        }
    }
    if let Some(family) = wish.only {
        if why.is_empty() && family == Family::Safetensors && found.iter().any(|(f, _)| *f == Family::Mistral) {
            why.push_str("consolidated.safetensors is Mistral's own layout: --only mistral");
        }
        return Some(SelectError::FamilyAbsent { family, why, found });
    }
    (!found.is_empty()).then_some(SelectError::NothingSelectable { found, why })
}

/// Asks for every document whose name is known beforehand.
fn documents(view: &View<'_>, wish: &Wish, dir: &str) {
    for name in code::CARRIERS.iter().chain(&["adapter_config.json"]) {
        if let Some(entry) = view.find(dir, name) {
            view.want(entry, CONFIG_LIMIT);
        }
    }
    if !wish.no_code {
        code::want_likely(view, dir);
    }
}

/// Stems of a transformers model. `open_clip`'s and adapters' yield to any other.
fn transformers_stems(family: Family) -> (&'static [&'static str], &'static [&'static str]) {
    match family {
        Family::Bin => (
            &["pytorch_model", "diffusion_pytorch_model"],
            &[
                "open_clip_pytorch_model",
                "pytorch_lora_weights",
                "pytorch_custom_diffusion_weights",
                "learned_embeds",
                "adapter_model",
            ],
        ),
        _ => (
            &["model", "diffusion_pytorch_model", "pytorch_model"],
            &["open_clip_model", "pytorch_lora_weights", "learned_embeds", "adapter_model"],
        ),
    }
}

/// Stems of a single diffusers model: its `config.json` has `_class_name`.
fn diffusers_stems(family: Family) -> (&'static [&'static str], &'static [&'static str]) {
    match family {
        Family::Bin => (&["diffusion_pytorch_model", "pytorch_model"], transformers_stems(family).1),
        _ => (&["diffusion_pytorch_model", "model"], transformers_stems(family).1),
    }
}

fn weights(view: &View<'_>, wish: &Wish, dir: &str, config: Option<&Value>) -> Choice {
    if let Some(set) = config.and_then(|config| named_weights(view, wish, dir, config)) {
        return Choice { set: Some(set), broken: Vec::new(), several: None };
    }
    let diffusers = config.is_some_and(|c| c.get("_class_name").is_some());
    choose(view, wish, MODEL, dir, if diffusers { diffusers_stems } else { transformers_stems })
}

/// `config.json`'s `transformers_weights` names the file or index to load, whatever else is there
/// (`transformers/modeling_utils.py:556`).
fn named_weights(view: &View<'_>, wish: &Wish, dir: &str, config: &Value) -> Option<Set> {
    let name = config.get("transformers_weights")?.as_str()?;
    if wish.variant.is_some() {
        return None;
    }
    let by = view.find(dir, "config.json")?;
    let complain = |message: String| {
        view.find_out(Finding::new(Code::FamilyIncomplete, &by.path, message));
        None
    };
    let shown: String = printable(name).chars().take(200).collect();
    let Some(entry) = view.find(dir, name) else {
        return complain(format!("transformers_weights names \"{shown}\", which is not in the repo"));
    };
    let family =
        if has_ext(name, &["bin"]) || name.ends_with(".bin.index.json") { Family::Bin } else { Family::Safetensors };
    if wish.only.is_some_and(|only| only != family) {
        return None;
    }
    let query = Query { dir, family, ..MODEL };
    let set = if name.ends_with(".index.json") {
        match shards(view, query, entry) {
            Ok((files, notes)) => indexed_set(query, entry, files, notes),
            Err(why) => return complain(format!("transformers_weights names \"{shown}\": {why}")),
        }
    } else if has_ext(name, &["safetensors", "bin"]) {
        Set {
            family,
            variant: None,
            index: None,
            files: vec![entry.path.clone()],
            loose: false,
            reason: String::new(),
            notes: Vec::new(),
        }
    } else {
        return complain(format!("transformers_weights names \"{shown}\", which is no weight file"));
    };
    Some(Set { reason: "config.json's transformers_weights".to_owned(), ..set })
}

/// Takes the set, with what belongs to it alone.
fn take(view: &View<'_>, wish: &Wish, dir: &str, config: Option<&Value>, set: &Set, picks: &mut Picks) {
    let mut set = set.clone();
    add_mtp(view, dir, config, &mut set);
    let mistral = set.family == Family::Mistral;
    picks.take_set(view, dir, &set, config.is_some_and(tied));
    let has = |name: &str| view.find(dir, name).is_some();
    let other_tokenizer = has("tokenizer.json") || has("tokenizer.model");
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        if mistral && name == "params.json" {
            picks.take(entry, Purpose::Config, "Mistral's configuration");
        } else if mistral_tokenizer(name) {
            if mistral || !other_tokenizer {
                picks.take(entry, Purpose::Tokenizer, "Mistral's tokenizer");
            } else {
                picks.leave(entry, Some(Family::Mistral), "mistral family");
            }
        } else if name == "params.json"
            && view.files(dir).iter().any(|e| e.path.file_name().starts_with("consolidated"))
        {
            picks.leave(entry, Some(Family::Mistral), "mistral family");
        }
    }
    if let Some(first) = set.files.first()
        && mistral
        && wish.only.is_none()
        && wish.prefer != Some(Family::Mistral)
    {
        view.find_out(
            Finding::new(Code::FamilyFallback, first, "these weights are in Mistral's own layout, not transformers'")
                .severity(Severity::Note)
                .hint("vLLM and mistral-inference read it; transformers needs a converted repo"),
        );
    }
    native_parts(view, dir, &set, picks);
    whole::beside(view, dir, &set, picks);
    let standard = !set.loose
        && matches!(set.family, Family::Safetensors | Family::Bin)
        && set.files.first().is_some_and(|f| !f.file_name().starts_with("diffusion"));
    if standard && config.is_none() && view.find(dir, "config.json").is_none() && !has("open_clip_config.json") {
        view.find_out(Finding::repo(
            Code::CompanionMissing,
            format!(
                "there is no config.json beside the weights{}",
                if dir.is_empty() { String::new() } else { format!(" in {dir}/") }
            ),
        ));
    }
}

/// GLM-4's multi-token-prediction shard that the index forgets ("checkpoint packaging bug",
/// `sglang/model_loader/loader.py:811`).
fn add_mtp(view: &View<'_>, dir: &str, config: Option<&Value>, set: &mut Set) {
    let layers = config.and_then(|c| c.get("num_nextn_predict_layers")).and_then(Value::as_u64).unwrap_or(0);
    if layers > 0
        && set.index.is_some()
        && let Some(entry) = view.find(dir, "mtp.safetensors")
        && !set.files.is_empty()
        && !set.files.contains(&entry.path)
    {
        set.files.push(entry.path.clone());
        set.files.sort();
        set.notes.push(Finding::new(
            Code::TensorUnindexed,
            &entry.path,
            "the index does not name it, but the config asks for its layers: it was taken",
        ));
    }
}

/// Whether the output embedding is the input one, which makes the absence of its tensor legal.
///
/// `PretrainedConfig.tie_word_embeddings` is true unless the config says otherwise, and configs are
/// saved as differences from it (`transformers/configuration_utils.py`), so an absent key means true.
/// Composite configs may say it for their language model instead.
pub(super) fn tied(config: &Value) -> bool {
    let own = |value: &Value| value.get("tie_word_embeddings").and_then(Value::as_bool);
    own(config)
        .or_else(|| {
            ["text_config", "llm_config", "language_config", "decoder"].iter().find_map(|key| own(config.get(key)?))
        })
        .unwrap_or(true)
}

/// Native pipelines (Wan 2.1 I2V) keep a text encoder and a VAE as `.pth` beside the diffusion
/// model's shards: different formats that are needed together.
fn native_parts(view: &View<'_>, dir: &str, set: &Set, picks: &mut Picks) {
    let diffusion = set.files.first().is_some_and(|f| f.file_name().starts_with("diffusion_pytorch_model"));
    if !diffusion || view.find(dir, "model_index.json").is_some() {
        return;
    }
    let parts: Vec<_> = view
        .files(dir)
        .iter()
        .filter(|e| {
            let name = e.path.file_name().to_ascii_lowercase();
            has_ext(&name, &["pth"]) && ["t5", "vae", "clip", "encoder"].iter().any(|part| name.contains(part))
        })
        .collect();
    let Some(first) = parts.first() else { return };
    view.find_out(
        Finding::new(
            Code::FamilyFallback,
            &first.path,
            "the pipeline needs these .pth files beside the chosen weights: they were taken",
        )
        .severity(Severity::Note),
    );
    for entry in &parts {
        picks.take(entry, Purpose::Other, "part of the pipeline in its native layout");
    }
    for entry in view.tree(dir) {
        let inside = view
            .rel(&entry.path)
            .is_some_and(|rel| !super::classify::training_dir(rel.split('/').next().unwrap_or("")));
        if let Some((Purpose::Tokenizer, _)) = companion(entry.path.file_name())
            && inside
            && super::classify::classify(view.rel(&entry.path).unwrap_or("")).family.is_none()
        {
            picks.take(entry, Purpose::Tokenizer, "tokenizer of the native layout");
        }
    }
}

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
        }
    }
    folders(view, wish, dir, picks);
    take_code(view, wish, dir, &references, picks);
}

fn settings(view: &View<'_>, entry: &crate::hub::Entry) -> bool {
    let class = view.rel(&entry.path).map(super::classify::classify);
    let mistral = entry.path.file_name() == "params.json";
    !mistral
        && entry.size <= CONFIG_LIMIT
        && class.is_some_and(|c| c.family.is_none() && c.reason == super::classify::UNNEEDED)
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
    let sub = |name: &str| if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
    for entry in view.files(&sub("additional_chat_templates")) {
        if has_ext(entry.path.file_name(), &["jinja"]) {
            picks.take(entry, Purpose::ChatTemplate, "additional chat template");
        }
    }
    if view.find(dir, "alphabet.json").is_some() {
        for entry in view.tree(&sub("language_model")) {
            picks.take(entry, Purpose::Processor, "language-model decoding");
        }
    }
    if view.find(dir, "speaker_embeddings_path.json").is_some() {
        for entry in view.tree(&sub("speaker_embeddings")) {
            picks.take(entry, Purpose::Processor, "speaker embeddings");
        }
    }
    for entry in view.tree(&sub("custom_generate")) {
        if wish.no_code {
            picks.leave(entry, None, "--no-code");
        } else {
            picks.take(entry, Purpose::Code, "custom generation code");
        }
    }
}

/// Takes the code that is referred to, unless it is unwanted.
pub(super) fn take_code(view: &View<'_>, wish: &Wish, dir: &str, references: &[Reference], picks: &mut Picks) {
    if wish.no_code {
        let (foreign, own): (Vec<_>, Vec<_>) = references.iter().cloned().partition(|r| r.repo.is_some());
        let followed = code::follow(view, dir, &foreign);
        picks.repos.extend(followed.repos);
        if !own.is_empty() {
            for entry in view.files("").iter().chain(view.files(dir)) {
                if has_ext(entry.path.file_name(), &["py", "cpp", "cc", "cu", "cuh", "h"]) {
                    picks.leave(entry, None, "--no-code");
                }
            }
        }
        return;
    }
    let followed = code::follow(view, dir, references);
    picks.repos.extend(followed.repos);
    for (entry, reason) in followed.files {
        picks.take(entry, Purpose::Code, reason);
    }
}
