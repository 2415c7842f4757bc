//! Files that a repo's own documents name and the repo lacks, containers without a reader, and options that leave
//! nothing: each alarm with its honest twin.

use hfget_core::finding::{Code, Severity};
use hfget_core::model::{Family, Options};

use crate::support::{Outcome, Repo};

const PIPELINE: &str = r#"{"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"], "scheduler": ["diffusers", "PNDMScheduler"],
    "safety_checker": [null, null]}"#;

fn errors(outcome: &Outcome) -> Vec<(Code, &str)> {
    let bad = outcome.selection.findings.iter().filter(|f| f.severity == Severity::Error);
    bad.map(|f| (f.code, f.message.as_str())).collect()
}

#[test]
fn a_component_whose_class_has_weights_and_that_has_none_is_an_error() {
    let whole = "unet/config.json unet/diffusion_pytorch_model.safetensors text_encoder/config.json
        text_encoder/model.safetensors scheduler/scheduler_config.json";
    for (lacking, says) in [
        ("text_encoder/", "\"text_encoder\", which is not in the repo"),
        ("text_encoder/model", "\"text_encoder\", but its folder has no weights"),
    ] {
        let files = whole.split_whitespace().filter(|f| !f.starts_with(lacking));
        let outcome = Repo::of(files).with("model_index.json", PIPELINE).taken(&Options::default());
        let found = errors(&outcome);
        assert!(matches!(found.as_slice(), [(Code::FamilyIncomplete, text)] if text.contains(says)), "{found:?}");
    }
    let outcome = Repo::parse(whole).with("model_index.json", PIPELINE).taken(&Options::default());
    assert!(outcome.codes().is_empty(), "{:?}", outcome.codes());
}

#[test]
fn a_component_without_weights_of_its_own_that_is_missing_is_a_warning() {
    let repo = Repo::parse(
        "unet/config.json unet/diffusion_pytorch_model.safetensors text_encoder/config.json text_encoder/model.safetensors",
    );
    let outcome = repo.with("model_index.json", PIPELINE).taken(&Options::default());
    assert_eq!((outcome.codes(), errors(&outcome)), (vec![Code::CompanionMissing], Vec::new()));
}

#[test]
fn a_module_whose_class_has_weights_and_that_has_none_is_an_error() {
    let modules = |last: &str| {
        format!(
            r#"[{{"path": "", "type": "sentence_transformers.models.Transformer"}},
                {{"path": "1_Last", "type": "sentence_transformers.models.{last}"}}]"#
        )
    };
    let repo = Repo::parse("config.json model.safetensors");
    let codes = |repo: &Repo, last: &str| {
        let outcome = repo.clone().with("modules.json", modules(last)).taken(&Options::default());
        (outcome.codes(), !errors(&outcome).is_empty())
    };
    assert_eq!(codes(&repo, "Dense"), (vec![Code::FamilyIncomplete], true));
    assert_eq!(codes(&repo, "Pooling"), (vec![Code::CompanionMissing], false));
    assert_eq!(codes(&repo, "Normalize"), (Vec::new(), false));
    let configured = repo.with("1_Last/config.json", "{}");
    assert_eq!(codes(&configured, "Dense"), (vec![Code::FamilyIncomplete], true));
    assert_eq!(codes(&configured, "Pooling"), (Vec::new(), false));
    let whole = configured.with("1_Last/model.safetensors", "x");
    assert_eq!(codes(&whole, "Dense"), (Vec::new(), false));
}

#[test]
fn a_container_without_a_reader_is_taken_and_reported_as_unread() {
    for name in ["model.pte", "model.pt2", "__0_0.distcp", "model.skops", "pkg.whl", "weights.odd", "params"] {
        let mut repo = Repo::of(["config.json", "README.md"]);
        repo.files.insert(name.to_owned(), 2_000_000);
        let outcome = repo.taken(&Options::default());
        outcome.check();
        assert!(outcome.takes(name), "{name}");
        assert_eq!(outcome.selection.weights[0].family, Family::Other, "{name}");
        assert!(outcome.has(Code::WeightsUnread) && !outcome.has(Code::WeightsAbsent), "{name}: {:?}", outcome.codes());
    }
    let mut data = Repo::of(["tokenizer.json", "README.md"]);
    data.files.insert("train.csv".to_owned(), 2_000_000);
    let outcome = data.taken(&Options::default());
    assert!(!outcome.takes("train.csv") && !outcome.has(Code::WeightsUnread), "data is no weights");
    let mut beside = Repo::of(["config.json", "model.safetensors"]);
    beside.files.insert("weights.odd".to_owned(), 2_000_000);
    let outcome = beside.taken(&Options::default());
    assert!(!outcome.takes("weights.odd") && outcome.codes().is_empty(), "beside weights that are read");
}

#[test]
fn a_selection_with_all_weights_excluded_is_recognised() {
    let repo = Repo::parse("config.json model.safetensors");
    let excluded = |globs: &[&str]| {
        let exclude = globs.iter().map(|g| (*g).to_owned()).collect();
        repo.taken(&Options { only: Some(Family::Safetensors), exclude, ..Options::default() })
            .selection
            .weights_excluded
    };
    assert!(excluded(&["*.safetensors"]) && excluded(&["*"]));
    assert!(!excluded(&["config.json"]) && !excluded(&[]));
    let bare = Repo::parse("config.json tokenizer.json").taken(&Options::default());
    assert!(!bare.selection.weights_excluded, "there were none");
}

#[test]
fn steps_of_a_training_are_left_out_where_its_result_is_there() {
    for step in ["a-000010", "a-step00000500", "a_000000500"] {
        let names = [format!("{step}.safetensors"), "a.safetensors".to_owned()];
        assert_eq!(Repo::of(&names).taken(&Options::default()).weights(), ["a.safetensors"], "{step}");
        let other = [format!("{step}.safetensors")];
        assert_eq!(Repo::of(&other).taken(&Options::default()).weights().len(), 1, "{step} is all there is");
    }
}

#[test]
fn a_components_folder_of_documentation_only_counts_as_missing() {
    let outcome = |files: &[&str]| {
        let repo = Repo::of(files.iter().copied())
            .with("model_index.json", r#"{"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"]}"#);
        repo.select(&Options::default()).map(|outcome| outcome.paths().len())
    };
    let bare = ["model_index.json", "model.fp16.safetensors", "vae/model.safetensors"];
    let documented = ["model_index.json", "model.fp16.safetensors", "vae/model.safetensors", "unet/README.md"];
    assert_eq!(outcome(&bare).is_ok(), outcome(&documented).is_ok());
}
