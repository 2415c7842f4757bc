//! exllama's quantisations: its loaders read every root `*.safetensors`, regardless of an index (exllamav2
//! `config.py:426`, exllamav3 `loader/safetensors.py:227`).

use serde_json::Value;

use super::classify::{classify, has_ext};
use super::companions::companion;
use super::names;
use super::sets::Set;
use super::view::View;
use crate::model::Family;

/// The file in which exllamav3 notes how every tensor was quantised.
pub(super) const SIDECAR: &str = "quantization_config.json";

/// Adds the files that the index does not name to a set in exllama's format.
pub(super) fn complete(view: &View<'_>, dir: &str, config: Option<&Value>, set: &mut Set) {
    let Some(index) = set.index.clone().filter(|_| set.family == Family::Safetensors) else { return };
    if set.files.is_empty() || !is_exl(view, dir, config) {
        return;
    }
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        let own = has_ext(name, &["safetensors"]) && classify(name).weights && !name.starts_with("consolidated");
        if own && names::parse(name).is_none() && companion(name).is_none() && !set.files.contains(&entry.path) {
            set.files.push(entry.path.clone());
        }
    }
    set.files.sort();
    set.reason = format!("{}, and files that exllama reads beside it", names::stem(index.file_name()));
}

/// Whether the config, or the file that exllamav3 writes beside it, describes such a quantisation.
fn is_exl(view: &View<'_>, dir: &str, config: Option<&Value>) -> bool {
    let method = |document: &Value| document.get("quant_method").and_then(Value::as_str).map(str::to_owned);
    let own = config.and_then(|config| config.get("quantization_config")).and_then(method);
    // AutoRound writes a file of the same name, which names AutoRound's method.
    let beside = match (view.find(dir, SIDECAR), view.json(dir, SIDECAR).here()) {
        (Some(_), Some(document)) => Some(method(&document).unwrap_or_else(|| "exl3".to_owned())),
        _ => None,
    };
    own.or(beside).is_some_and(|method| matches!(method.as_str(), "exl2" | "exl3"))
}
