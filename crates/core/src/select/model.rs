//! One model in one folder, by `transformers`' rules, with the additions of timm, `open_clip`,
//! PEFT, vLLM and native layouts. Pipelines of several folders have their own modules.

use serde_json::Value;

use super::adapter::adapter;
use super::choose::{Choice, choose, only_variants, variant_absent};
use super::classify::has_ext;
use super::code;
use super::companions::companion;
use super::picks::{Picks, Wish, found};
use super::sets::{Query, Set};
use super::shards::shards;
use super::siblings::companions;
use super::view::{CONFIG_LIMIT, View};
use super::{SelectError, exl, graphs, mistral, whole};
use crate::finding::{ChooseBy, Code, Finding, Severity};
use crate::model::{Family, Purpose, RepoPath};
use crate::text::{brief, printable};

/// The query for a model's folder.
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
    let choice = match weights(view, wish, dir, config.as_ref()) {
        none if none.set.is_none() && none.broken.is_empty() => only_variant(view, wish, dir, config.as_ref(), none),
        choice => choice,
    };
    if let Some(set) = &choice.set {
        // An adapter's own file must not count as the model's too.
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

/// If there are only variants of the weights: takes the one variant, or asks which.
fn only_variant(view: &View<'_>, wish: &Wish, dir: &str, config: Option<&Value>, none: Choice) -> Choice {
    let variants = only_variants(view, &[dir]);
    if wish.variant.is_some() || !view.needs().is_empty() {
        return none;
    }
    let of = |variant: &String| weights(view, &Wish { variant: Some(variant.clone()), ..wish.clone() }, dir, config);
    if let [variant] = variants.as_slice() {
        let choice = of(variant);
        if let Some(first) = choice.set.as_ref().and_then(|set| set.files.first()) {
            let message = format!(
                "the weights exist only as {}: they were taken, and loaders must name the variant",
                printable(variant)
            );
            view.find_out(Finding::new(Code::VariantFallback, first, message));
        }
        return choice;
    }
    let sets: Vec<(String, Set)> =
        variants.iter().filter_map(|variant| Some((variant.clone(), of(variant).set?))).collect();
    let size = |set: &Set| set.files.iter().filter_map(|p| view.listing().get(p.as_str())).map(|e| e.size).sum();
    match sets.first() {
        Some((_, first)) if sets.len() > 1 => {
            let choices = sets.iter().map(|(variant, set)| (variant.clone(), size(set))).collect();
            Choice { several: Some((first.family, choices, ChooseBy::Variant)), ..none }
        }
        _ => none,
    }
}

/// The error if there is no set; `None` if there are no weights of any kind.
pub(super) fn failure(view: &View<'_>, wish: &Wish, dir: &str, choice: &Choice) -> Option<SelectError> {
    let found = found(view);
    if let Some((family, choices, by)) =
        choice.several.clone().filter(|(family, ..)| wish.only.is_none_or(|only| only == *family))
    {
        let choices = choices.iter().take(100).map(|(name, size)| (printable(name).into_owned(), *size)).collect();
        return Some(SelectError::Several { family, choices, by });
    }
    if let Some(variant) = &wish.variant
        && choice.broken.is_empty()
        && !found.is_empty()
    {
        return Some(variant_absent(view, wish, &[dir], variant));
    }
    let mut why = choice.why();
    let mut variants = Vec::new();
    if why.is_empty() && wish.variant.is_none() {
        variants = only_variants(view, &[dir]);
        if !variants.is_empty() {
            why = format!("there are only variants: {}", printable(&variants.join(", ")));
        }
    }
    if let Some(family) = wish.only {
        if why.is_empty() && family == Family::Safetensors && found.iter().any(|(f, _)| *f == Family::Mistral) {
            why.push_str("consolidated.safetensors is Mistral's own layout");
        }
        return Some(SelectError::FamilyAbsent { family, why, found, variants });
    }
    (!found.is_empty()).then_some(SelectError::NothingSelectable { found, why, variants })
}

/// Asks for every document whose name is known beforehand.
fn documents(view: &View<'_>, wish: &Wish, dir: &str) {
    for name in code::CARRIERS.iter().chain(&["adapter_config.json", exl::SIDECAR]) {
        if let Some(entry) = view.find(dir, name) {
            view.want(entry, CONFIG_LIMIT);
        }
    }
    if !wish.no_code {
        code::want_likely(view, dir);
    }
}

/// Stems of a transformers model. Those of `open_clip` and of adapters yield to any other.
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

/// `config.json`'s `transformers_weights` names the file or index to load, even if there are others
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
    let shown = brief(name);
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
            Ok((files, notes)) => Set::indexed(query, entry, files, notes),
            Err(why) => return complain(format!("transformers_weights names \"{shown}\": {why}")),
        }
    } else if has_ext(name, &["safetensors", "bin"]) {
        Set::new(family, None, vec![entry.path.clone()], "")
    } else {
        return complain(format!("transformers_weights names \"{shown}\", which is not a weight file"));
    };
    Some(Set { reason: "config.json's transformers_weights".to_owned(), ..set })
}

/// Takes the set, with the files that belong to it alone.
fn take(view: &View<'_>, wish: &Wish, dir: &str, config: Option<&Value>, set: &Set, picks: &mut Picks) {
    let mut set = set.clone();
    add_mtp(view, dir, config, &mut set);
    exl::complete(view, dir, config, &mut set);
    picks.take_set(view, dir, &set, config.is_some_and(tied));
    mistral::beside(view, wish, dir, &set, picks);
    native_parts(view, dir, &set, picks);
    if let Some(first) = set.files.first().filter(|_| set.family == Family::Other) {
        unread(view, first, set.files.len());
    }
    whole::beside(view, dir, &set, picks);
    graphs::beside(view, dir, &set, picks);
    let standard = !set.loose
        && matches!(set.family, Family::Safetensors | Family::Bin)
        && set.files.first().is_some_and(|f| !f.file_name().starts_with("diffusion"));
    if standard
        && !wish.module
        && config.is_none()
        && view.find(dir, "config.json").is_none()
        && view.find(dir, "open_clip_config.json").is_none()
    {
        view.find_out(Finding::repo(
            Code::CompanionMissing,
            format!(
                "there is no config.json beside the weights{}",
                if dir.is_empty() { String::new() } else { format!(" in {dir}/") }
            ),
        ));
    }
}

/// Adds the finding that `count` files, of which `first` is the first, are in a container without a reader.
pub(super) fn unread(view: &View<'_>, first: &RepoPath, count: usize) {
    let more = match count {
        1 => String::new(),
        n => format!(", nor are {} other files", n - 1),
    };
    view.find_out(Finding::new(
        Code::WeightsUnread,
        first,
        format!("its contents are not read{more}: no reader knows the format, so only digests are checked"),
    ));
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

/// Whether the output embedding is tied to the input embedding, so that its tensor may be absent.
///
/// `PretrainedConfig.tie_word_embeddings` is true unless the config says otherwise, and configs are
/// saved as differences from it (`transformers/configuration_utils.py`), so an absent key means true.
/// Composite configs may have the key for their language model instead.
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
