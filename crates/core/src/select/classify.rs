//! Classifies a file by its name alone: its weight family, or the reason why no loader needs it.
//! Other rules decide whether a family is complete or chosen.

use hfget_formats::registry::{self, Format};

use super::{Reason, names};
use crate::model::Family;

/// The class of a file by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// The family whose loader reads the file, whether it has weights or belongs to them.
    pub family: Option<Family>,
    /// Whether the file itself contains weights.
    pub weights: bool,
    /// The reason if it is left out.
    pub reason: Reason,
}

/// Folders that never belong to a model at the root, with the family of their files.
const FAMILY_DIRS: &[(&str, Family, Reason)] = &[
    ("onnx", Family::Onnx, Reason::Family(Family::Onnx)),
    ("openvino", Family::OpenVino, Reason::Family(Family::OpenVino)),
    ("coreml", Family::CoreMl, Reason::Family(Family::CoreMl)),
    ("original", Family::Meta, Reason::Layout("original/ (Meta layout)")),
    ("metal", Family::Other, Reason::Layout("metal/ (Apple Metal layout)")),
    ("mlx", Family::Mlx, Reason::Family(Family::Mlx)),
    ("tflite", Family::TfLite, Reason::Family(Family::TfLite)),
    ("tensorrt", Family::Other, Reason::OtherFormats),
    ("gguf", Family::Gguf, Reason::Family(Family::Gguf)),
    ("saved_model", Family::SavedModel, Reason::Family(Family::SavedModel)),
    ("tfjs", Family::TfJs, Reason::Family(Family::TfJs)),
];

/// The family that usually has a folder of this name.
pub(super) fn family_dir(segment: &str) -> Option<(Family, Reason)> {
    if has_ext(segment, &["mlpackage", "mlmodelc"]) {
        return Some((Family::CoreMl, Reason::Family(Family::CoreMl)));
    }
    let known = FAMILY_DIRS.iter().find(|(dir, ..)| segment.eq_ignore_ascii_case(dir));
    known.map(|(_, family, reason)| (*family, reason.clone()))
}

/// Whether training writes a folder of this name.
pub(super) fn training_dir(segment: &str) -> bool {
    let numbered =
        |prefix| segment.strip_prefix(prefix).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    numbered("checkpoint-")
        || numbered("global_step")
        || numbered("checkpoint_")
        || matches!(segment, "runs" | "logs" | "wandb")
}

/// Judges a file by its path below the root folder.
pub(super) fn classify(rel: &str) -> Class {
    let (dir, name) = rel.rsplit_once('/').unwrap_or(("", rel));
    for segment in dir.split('/').filter(|s| !s.is_empty()) {
        if let Some((family, reason)) = family_dir(segment) {
            let weights = by_name(dir, name).is_some_and(|(_, weights)| weights);
            return Class { family: Some(family), weights, reason };
        }
        if training_dir(segment) {
            return plain(Reason::Training);
        }
    }
    if training(name) {
        return plain(Reason::Training);
    }
    if let Some((family, weights)) = by_name(dir, name) {
        let adapter = name.starts_with("adapter.");
        let reason = match (family, names::parse(name).and_then(|n| n.variant)) {
            (Family::Safetensors | Family::Bin, Some(variant)) => Reason::Variant(variant.to_owned()),
            (Family::Safetensors | Family::Bin, None) if adapter => Reason::LanguageAdapters,
            (Family::Other, _) => Reason::OtherFormats,
            (family, _) => Reason::Family(family),
        };
        return Class { family: Some(family), weights, reason };
    }
    plain(rest(dir, name))
}

fn plain(reason: Reason) -> Class {
    Class { family: None, weights: false, reason }
}

/// Whether it is a file that training writes beside a model (`vllm`'s ignore list, `transformers.Trainer`,
/// `DeepSpeed`).
fn training(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    matches!(
        name,
        "training_args.bin"
            | "training_args.json"
            | "training_args.pt"
            | "trainer_state.json"
            | "trainer_log.jsonl"
            | "zero_to_fp32.py"
            | "latest"
            | "all_results.json"
            | "train_results.json"
            | "eval_results.json"
            | "predict_results.json"
            | "training_loss.png"
            | "training_eval_loss.png"
    ) || (matches!(stem, "optimizer" | "scheduler" | "scaler" | "grad_scaler" | "trainer_state")
        && has_ext(name, &["pt", "pth", "bin", "pkl", "safetensors"]))
        || (name.starts_with("optimizer_") && has_ext(name, &["pt", "bin"]))
        || name.starts_with("rng_state")
        || name.starts_with("random_states")
        || name.starts_with("events.out.tfevents")
        || name.ends_with("_optim_states.pt")
}

/// Containers of weights without a family here.
const OTHER: &[&str] = &[
    "nemo",
    "tensors",
    "llamafile",
    "dduf",
    "flashpack",
    "uqff",
    "pdparams",
    "pdmodel",
    "pdiparams",
    "mnn",
    "engine",
    "plan",
    "dlc",
    "rknn",
    "hef",
    "caffemodel",
    "params",
    "joblib",
    "pkl",
    "pickle",
    "pb",
    "model_state",
    "pt2",
    "pte",
    "distcp",
    "skops",
    "whl",
];

/// The family of a weight file by its name, and whether the file itself contains weights.
fn by_name(dir: &str, name: &str) -> Option<(Family, bool)> {
    use Family as F;
    let lower = name.to_ascii_lowercase();
    let ext = |exts| has_ext(&lower, exts);
    // The table of formats knows the endings that belong to one format; below are the names to which loaders give a
    // meaning.
    let format = registry::by_name(&lower);
    if lower.starts_with("consolidated") {
        if ext(&["safetensors"]) {
            return Some((F::Mistral, true));
        }
        if lower == "consolidated.safetensors.index.json" {
            return Some((F::Mistral, false));
        }
        if ext(&["pth"]) {
            return Some((F::Meta, true));
        }
    }
    if name == "checklist.chk" {
        return Some((F::Meta, false));
    }
    if lower.starts_with("openvino") && ext(&["bin", "xml"]) {
        return Some((F::OpenVino, true));
    }
    if format == Some(Format::Gguf) || (lower.starts_with("ggml") && ext(&["bin"])) || lower.contains(".ggmlv3.") {
        return Some((F::Gguf, true));
    }
    // piper's settings of the graph, whose name comes before `.json`.
    if lower.ends_with(".onnx.json") {
        return Some((F::Onnx, false));
    }
    if format == Some(Format::Onnx) || ext(&["ort"]) || lower.contains(".onnx_data") || lower.contains(".onnx.") {
        return Some((F::Onnx, true));
    }
    if format == Some(Format::Flax) {
        return Some((F::Flax, true));
    }
    if lower.starts_with("flax_model.msgpack.index") {
        return Some((F::Flax, false));
    }
    if format == Some(Format::Hdf5) || ext(&["keras"]) {
        return Some((F::Tf, true));
    }
    if lower.starts_with("tf_model.h5.index") {
        return Some((F::Tf, false));
    }
    if lower.starts_with("tfjs") || lower.starts_with("group1-shard") {
        return Some((F::TfJs, true));
    }
    if matches!(&*lower, "saved_model.pb" | "saved_model.pbtxt" | "saved_model.tar.gz")
        || dir.rsplit('/').next() == Some("variables") && lower.starts_with("variables.")
    {
        return Some((F::SavedModel, true));
    }
    if matches!(&*lower, "keras_metadata.pb" | "fingerprint.pb") {
        return Some((F::SavedModel, false));
    }
    if is_tf_checkpoint(&lower) {
        return Some((F::TfCheckpoint, true));
    }
    if lower == "checkpoint" {
        return Some((F::TfCheckpoint, false));
    }
    if ext(&["tflite", "litertlm", "task"]) {
        return Some((F::TfLite, true));
    }
    if ext(&["mlmodel"]) {
        return Some((F::CoreMl, true));
    }
    if ext(&["ot"]) {
        return Some((F::Rust, true));
    }
    if lower == "weights.npz" {
        return Some((F::Mlx, true));
    }
    if ext(&["torchscript", "ptl"])
        || ext(&["pt", "pth"])
            && (lower.starts_with("traced") || lower.contains("scripted") || lower.contains("torchscript"))
    {
        return Some((F::TorchScript, true));
    }
    if format == Some(Format::Torch) && !ext(&["bin"]) {
        return Some((F::Pt, true));
    }
    if ext(OTHER) {
        return Some((F::Other, true));
    }
    if let Some(parsed) = names::parse(name) {
        // `model.bin` may be CTranslate2's, fastText's or any other program's, but not transformers'.
        let family = match (parsed.family, parsed.stem) {
            (F::Bin, "model") if name == "model.bin" => F::CTranslate2,
            (F::Bin, "model") if !parsed.index => F::Other,
            (family, _) => family,
        };
        return Some((family, !parsed.index));
    }
    if format == Some(Format::Safetensors) {
        return Some((F::Safetensors, true));
    }
    if lower.ends_with(".safetensors.index.json") {
        return Some((F::Safetensors, false));
    }
    if ext(&["bin"]) {
        // The file is part of a set that an index names, or of an unknown kind.
        let torch = lower.starts_with("pytorch_model") || lower.starts_with("adapter.");
        return Some((if torch { F::Bin } else { F::Other }, true));
    }
    if lower.ends_with(".bin.index.json") {
        return Some((F::Bin, false));
    }
    None
}

/// `X.index`, `X.meta`, `X.data-00000-of-00001`, where X is a TensorFlow checkpoint's prefix.
pub(super) fn is_tf_checkpoint(lower: &str) -> bool {
    let data = lower.rsplit_once(".data-").is_some_and(|(_, n)| n.contains("-of-"));
    let stem = lower.strip_suffix(".index").or_else(|| lower.strip_suffix(".meta"));
    data || stem.is_some_and(|s| s.contains("ckpt") || s.contains("model") || s.contains("checkpoint"))
}

/// Whether the name is that of a picture, a film or a sound.
pub(super) fn is_media(name: &str) -> bool {
    has_ext(
        name,
        &[
            "png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "avif", "ico", "tiff", "mp4", "webm", "mov", "mkv",
            "wav", "mp3", "flac", "ogg", "m4a",
        ],
    )
}

fn rest(dir: &str, name: &str) -> Reason {
    let lower = name.to_ascii_lowercase();
    let first = dir.split('/').next().unwrap_or("").to_ascii_lowercase();
    if is_media(name) {
        return Reason::Media;
    }
    if has_ext(&lower, &["md", "rst", "pdf", "html", "bib", "tex", "docx"])
        || ["readme", "license", "licence", "notice", "citation", "copying", "authors", "changelog", "contributing"]
            .iter()
            .any(|word| lower.starts_with(word))
        || lower.contains("license")
        || lower.ends_with("policy")
        || lower.ends_with("policy.txt")
    {
        return Reason::Documentation;
    }
    if matches!(
        &*first,
        "samples" | "sample" | "examples" | "example" | "images" | "assets" | "figures" | "media" | "demo"
    ) {
        return Reason::Media;
    }
    if has_ext(&lower, &["py", "ipynb", "sh", "cpp", "cc", "cu", "cuh", "h", "rs", "js", "ts", "bat", "ps1"])
        || matches!(&*lower, "requirements.txt" | "dockerfile" | "setup.cfg" | "pyproject.toml" | "makefile")
    {
        return Reason::Script;
    }
    Reason::Unneeded
}

/// Whether `name` ends in a dot and one of `exts`, and has a name before it.
pub(super) fn has_ext(name: &str, exts: &[&str]) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, ext)| !stem.is_empty() && exts.iter().any(|e| ext.eq_ignore_ascii_case(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_recognised_by_its_names() {
        for (path, family, weights) in [
            ("model.safetensors", Family::Safetensors, true),
            ("model_pp0_ep1_shard2.safetensors", Family::Safetensors, true),
            ("model.safetensors.index.json", Family::Safetensors, false),
            ("pytorch_model-00001-of-00002.bin", Family::Bin, true),
            ("consolidated.safetensors", Family::Mistral, true),
            ("consolidated-00001-of-00002.safetensors", Family::Mistral, true),
            ("consolidated.00.pth", Family::Meta, true),
            ("original/model--00001-of-00007.safetensors", Family::Meta, true),
            ("original/params.json", Family::Meta, false),
            ("metal/model.bin", Family::Other, true),
            ("x.pt", Family::Pt, true),
            ("v1-5-pruned.ckpt", Family::Pt, true),
            ("traced_model.pt", Family::TorchScript, true),
            ("Q4_K_M/a-00001-of-00002.gguf", Family::Gguf, true),
            ("ggml-model-q4_0.bin", Family::Gguf, true),
            ("unet/model.onnx_data", Family::Onnx, true),
            ("onnx/tokenizer.json", Family::Onnx, false),
            ("tf_model-00001-of-00002.h5", Family::Tf, true),
            ("bert_model.ckpt.data-00000-of-00001", Family::TfCheckpoint, true),
            ("bert_model.ckpt.index", Family::TfCheckpoint, true),
            ("model/variables/variables.index", Family::SavedModel, true),
            ("64-8bits.tflite", Family::TfLite, true),
            ("tfjs.tar.gz", Family::TfJs, true),
            ("flax_model.msgpack", Family::Flax, true),
            ("text_encoder/openvino_model.bin", Family::OpenVino, true),
            ("coreml/x.mlpackage/Data/com.apple.CoreML/weights/weight.bin", Family::CoreMl, true),
            ("x.mlpackage/Manifest.json", Family::CoreMl, false),
            ("weights.npz", Family::Mlx, true),
            ("rust_model.ot", Family::Rust, true),
            ("model.bin", Family::CTranslate2, true),
            ("m.nemo", Family::Other, true),
            ("lid.176.bin", Family::Other, true),
        ] {
            let class = classify(path);
            assert_eq!((class.family, class.weights), (Some(family), weights), "{path}");
        }
    }

    #[test]
    fn a_file_without_weights_has_the_reason_why_it_is_left_out() {
        for (path, reason) in [
            ("training_args.bin", Reason::Training),
            ("optimizer.pt", Reason::Training),
            ("checkpoint-500/model.safetensors", Reason::Training),
            ("runs/Feb19/events.out.tfevents.1", Reason::Training),
            ("README.md", Reason::Documentation),
            ("USAGE_POLICY", Reason::Documentation),
            ("01.png", Reason::Media),
            ("train_script.py", Reason::Script),
            (".gitattributes", Reason::Unneeded),
            ("labels.json", Reason::Unneeded),
        ] {
            let class = classify(path);
            assert_eq!((class.family, class.reason), (None, reason), "{path}");
        }
    }
}
