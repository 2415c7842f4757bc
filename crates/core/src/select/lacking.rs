//! Finds files other than weights that a model's own documents name and the repo lacks: a component's config, a
//! tokenizer's vocabulary, files that a config lists. The rules that choose weights find missing weights.

use serde_json::Value;

use super::classes::{self, Weights};
use super::classify::has_ext;
use super::companions::companion;
use super::picks::Picks;
use super::view::View;
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::model::{Purpose, RepoId};
use crate::text::{brief, printable};

/// Adds findings about the files that a pipeline's component lacks, by the needs of its class (`from_pretrained` of
/// diffusers' and transformers' models, tokenizers, schedulers and processors).
pub(super) fn component(view: &View<'_>, by: &str, dir: &str, class: &str) {
    let has = |name: &str| view.find(dir, name).is_some();
    let complain = |what: &str, severity: Severity| {
        let message = format!("{by} names the component \"{}\", but its folder has no {what}", brief(dir));
        view.find_out(Finding::new(Code::CompanionMissing, by, message).severity(severity));
    };
    let name = class.rsplit('.').next().unwrap_or(class);
    match classes::of_pipeline(class) {
        // An ONNX graph needs no config.
        Weights::Needed if !name.contains("Onnx") && !has("config.json") => complain("config.json", Severity::Error),
        Weights::None if name.ends_with("Scheduler") && !has("scheduler_config.json") && !has("config.json") => {
            complain("scheduler_config.json", Severity::Warning);
        }
        Weights::None if name.contains("Tokenizer") && !has_vocabulary(view, dir) && has_any_config(view, dir) => {
            complain("vocabulary", Severity::Warning);
        }
        Weights::None if name.contains("Processor") || name.contains("FeatureExtractor") => {
            let settings = ["preprocessor_config.json", "processor_config.json", "config.json"];
            match settings.iter().find(|name| has(name)) {
                Some(_) => {}
                None => complain("preprocessor_config.json", Severity::Warning),
            }
        }
        _ => {}
    }
}

/// Adds a finding if a sentence-transformers module, whose weights are here, lacks the file that its class reads first.
pub(super) fn module(view: &View<'_>, dir: &str, class: &str) {
    let Some(name) = class.strip_prefix("sentence_transformers.").and_then(|class| class.rsplit('.').next()) else {
        return;
    };
    let needed = match name {
        "Transformer"
        | "MLMTransformer"
        | "CLIPModel"
        | "Dense"
        | "LayerNorm"
        | "WeightedLayerPooling"
        | "SparseAutoEncoder" => "config.json",
        "StaticEmbedding" => "tokenizer.json",
        _ => return,
    };
    if view.find(dir, needed).is_none() {
        let place = if dir.is_empty() { "the root".to_owned() } else { format!("\"{}\"", brief(dir)) };
        let message = format!("modules.json names a {name} in {place}, but {needed} is missing");
        view.find_out(Finding::new(Code::CompanionMissing, "modules.json", message).severity(Severity::Error));
    }
}

/// Whether a folder has a file with a tokenizer's vocabulary.
fn has_vocabulary(view: &View<'_>, dir: &str) -> bool {
    const SETTINGS: &[&str] = &["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
    view.files(dir).iter().any(|entry| {
        let name = entry.path.file_name();
        let words = companion(name).is_some_and(|c| c.0 == Purpose::Tokenizer) && !SETTINGS.contains(&name);
        words || name.starts_with("tokenizer.") || name.starts_with("vocab")
    })
}

fn has_any_config(view: &View<'_>, dir: &str) -> bool {
    view.files(dir).iter().any(|entry| has_ext(entry.path.file_name(), &["json"]))
}

/// Tokenizers of bytes have no vocabulary.
const OF_BYTES: &[&str] = &["ByT5", "Canine", "Perceiver", "Dia"];

/// Adds findings about the files that the documents of the model in `dir` list and the repo lacks.
pub(super) fn documents(view: &View<'_>, dir: &str, by: &str, document: &Value, picks: &mut Picks) {
    match by {
        "config.json" => listed(view, dir, by, document, "configuration_files"),
        "tokenizer_config.json" => {
            listed(view, dir, by, document, "fast_tokenizer_files");
            // Own code may read any file, so nothing is known to be missing.
            let class = document.get("tokenizer_class").and_then(Value::as_str).unwrap_or("");
            let of_bytes = OF_BYTES.iter().any(|start| class.starts_with(start));
            let code = document.get("auto_map").is_some();
            if !class.is_empty() && !of_bytes && !code && !has_vocabulary(view, dir) {
                let message = format!("it names the tokenizer {}, but its vocabulary is missing", brief(class));
                view.find_out(Finding::new(Code::CompanionMissing, path(view, dir, by), message));
            }
        }
        "video_preprocessor_config.json" => {
            if let Some(font) = document.get("font").and_then(Value::as_str)
                && view.find(dir, font).is_none()
            {
                missing(view, dir, by, font);
            }
        }
        "audio_tokenizer_config.json" => {
            audio_tokenizer(view, dir, by, document.get("audio_tokenizer_name_or_path"), picks);
        }
        "processor_config.json" => {
            let named =
                document.get("audio_tokenizer").and_then(|tokenizer| tokenizer.get("audio_tokenizer_name_or_path"));
            audio_tokenizer(view, dir, by, named, picks);
        }
        _ => {}
    }
}

/// The audio tokenizer of a processor is another repo (`transformers/processing_utils.py:1525`).
fn audio_tokenizer(view: &View<'_>, dir: &str, by: &str, named: Option<&Value>, picks: &mut Picks) {
    let Some(id) = named.and_then(Value::as_str).and_then(|text| text.parse::<RepoId>().ok()) else { return };
    let info = &view.listing().info;
    if id != info.id && id != info.canonical_id && picks.repos.insert(id.as_str().to_owned()) {
        let message = format!("the processor's audio tokenizer is in another repo, {id}");
        let finding = Finding::new(Code::BaseModel, path(view, dir, by), message);
        view.find_out(finding.remedy(Remedy::Fetch { repo: id.to_string(), revision: None, was_offline: false }));
    }
}

/// Adds a finding about the files of a list that the repo lacks.
fn listed(view: &View<'_>, dir: &str, by: &str, document: &Value, key: &str) {
    /// The most names that the finding lists.
    const TOLD: usize = 10;
    let names = document.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in names.filter(|name| view.find(dir, name).is_none()).take(TOLD) {
        missing(view, dir, by, name);
    }
}

fn missing(view: &View<'_>, dir: &str, by: &str, name: &str) {
    let message = format!("it names \"{}\", which is not in the repo", printable(&brief(name)));
    view.find_out(Finding::new(Code::CompanionMissing, path(view, dir, by), message));
}

/// The document as a path of the repo.
fn path<'a>(view: &View<'a>, dir: &str, by: &'a str) -> &'a str {
    view.find(dir, by).map_or(by, |entry| entry.path.as_str())
}
