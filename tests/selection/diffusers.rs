//! The facts of diffusers' own published cases (`tests/pipelines/test_pipeline_utils.py`), as
//! selections of ours: diffusers' cases say whether a list of names has safetensors for every
//! component, and which files each variant takes; here the repo has a `model_index.json` that names
//! the folders.

use std::collections::BTreeSet;

use hfget_core::finding::Code;
use hfget_core::model::{Family, Options};
use hfget_core::select::SelectError;

use crate::support::{Outcome, Repo, only, prefer, variant};

/// A pipeline whose index names every folder of the list (or only `folders`), with indexes that name
/// the shards beside them.
fn pipeline(files: &str, folders: Option<&[&str]>) -> Repo {
    let mut repo = Repo::parse(files);
    let names: Vec<String> = repo.files.keys().cloned().collect();
    for index in names.iter().filter(|n| n.ends_with(".json") && n.contains(".index")) {
        let dir = index.rsplit_once('/').map_or("", |(dir, _)| dir);
        let extension = if index.contains(".bin.") { ".bin" } else { ".safetensors" };
        let shards: Vec<&str> = names
            .iter()
            .filter_map(|n| {
                let (d, name) = n.rsplit_once('/').unwrap_or(("", n));
                let alike = name.contains("fp16") == index.contains("fp16");
                (d == dir && alike && name.contains("-of-") && name.ends_with(extension)).then_some(name)
            })
            .collect();
        repo = repo.index(index, &shards);
    }
    let dirs: BTreeSet<&str> = names.iter().filter_map(|n| n.split_once('/')).map(|(dir, _)| dir).collect();
    let mut index = serde_json::json!({"_class_name": "SomePipeline", "_diffusers_version": "0.30.0"});
    for dir in dirs.into_iter().filter(|d| folders.is_none_or(|f| f.contains(d))) {
        let library = if matches!(dir, "text_encoder" | "safety_checker") { "transformers" } else { "diffusers" };
        index[dir] = serde_json::json!([library, "SomeClass"]);
    }
    repo.with("model_index.json", index.to_string())
}

/// Whether every component is taken as safetensors.
fn all_safetensors(repo: &Repo, variant: Option<&str>) -> bool {
    let options = Options { variant: variant.map(str::to_owned), ..prefer("safetensors") };
    match repo.select(&options) {
        Ok(outcome) => {
            outcome.check();
            outcome.selection.weights.iter().all(|set| set.family == Family::Safetensors)
        }
        Err(SelectError::VariantAbsent { .. } | SelectError::NothingSelectable { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Four components in both families; `V` is replaced by the variant with its dot.
const BOTH: &str =
    "safety_checker/pytorch_modelV.bin safety_checker/modelV.safetensors vae/diffusion_pytorch_modelV.bin
    vae/diffusion_pytorch_modelV.safetensors text_encoder/pytorch_modelV.bin text_encoder/modelV.safetensors
    unet/diffusion_pytorch_modelV.bin unet/diffusion_pytorch_modelV.safetensors";

fn both(variant: &str, without: &str) -> String {
    let files = BOTH.replace('V', variant);
    files.split_whitespace().filter(|f| *f != without).collect::<Vec<_>>().join(" ")
}

#[test]
fn safetensors_are_taken_only_if_every_component_has_them() {
    let fp16 = ".fp16";
    // (files, folders in the index, result without a variant, result with fp16 if the case has one)
    let cases: Vec<(String, Option<&[&str]>, Option<bool>, Option<bool>)> = vec![
        (both("", ""), None, Some(true), None),
        ("unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.safetensors".into(), None, Some(true), None),
        (both("", "unet/diffusion_pytorch_model.safetensors"), None, Some(false), None),
        ("text_encoder/pytorch_model.bin text_encoder/model.safetensors".into(), None, Some(true), None),
        (both("", "text_encoder/model.safetensors"), None, Some(false), None),
        (both(fp16, ""), None, Some(false), Some(true)),
        (
            "unet/diffusion_pytorch_model.fp16.bin unet/diffusion_pytorch_model.fp16.safetensors".into(),
            None,
            Some(false),
            Some(true),
        ),
        (
            "unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.fp16.safetensors".into(),
            None,
            Some(false),
            Some(true),
        ),
        (both(fp16, "unet/diffusion_pytorch_model.fp16.safetensors"), None, Some(false), None),
        (
            "text_encoder/pytorch_model.fp16.bin text_encoder/model.fp16.safetensors".into(),
            None,
            Some(false),
            Some(true),
        ),
        (both(fp16, "text_encoder/model.fp16.safetensors"), None, Some(false), None),
        (both(fp16, "text_encoder/model.fp16.safetensors"), Some(&["vae", "unet"]), Some(false), Some(true)),
        (both(fp16, "text_encoder/model.fp16.safetensors"), Some(&["text_encoder"]), Some(false), None),
        (
            "text_encoder/pytorch_model.bin text_encoder/model-00001-of-00002.safetensors
             text_encoder/model-00002-of-00002.safetensors text_encoder/model.safetensors.index.json"
                .into(),
            None,
            Some(true),
            None,
        ),
        (
            "text_encoder/pytorch_model.bin text_encoder/model.fp16-00001-of-00002.safetensors
             text_encoder/model.fp16-00002-of-00002.safetensors"
                .into(),
            None,
            Some(false),
            Some(true),
        ),
        (
            "unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model-00001-of-00002.safetensors
             unet/diffusion_pytorch_model-00002-of-00002.safetensors"
                .into(),
            None,
            Some(true),
            None,
        ),
        (
            "unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors
             unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors"
                .into(),
            None,
            Some(false),
            Some(true),
        ),
        ("unet/diffusion_pytorch_model.fp16.safetensors".into(), None, Some(false), Some(true)),
        ("diffusion_pytorch_model.bin".into(), None, Some(false), None),
        ("diffusion_pytorch_model.fp16.bin".into(), None, Some(false), None),
        ("diffusion_pytorch_model.safetensors".into(), None, Some(true), None),
        ("diffusion_pytorch_model.fp16.safetensors".into(), None, None, Some(true)),
        ("model.safetensors scheduler/scheduler_config.json".into(), None, Some(true), None),
        ("pytorch_model.bin scheduler/scheduler_config.json".into(), None, Some(false), None),
        (
            "model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json
             scheduler/scheduler_config.json"
                .into(),
            None,
            Some(true),
            None,
        ),
        (
            "unet/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors".into(),
            None,
            None,
            Some(true),
        ),
        (
            "unet/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.bin".into(),
            None,
            None,
            Some(false),
        ),
    ];
    assert_eq!(cases.len(), 27);
    for (files, folders, plain, fp16) in cases {
        let repo = pipeline(&files, folders);
        if let Some(want) = plain {
            assert_eq!(all_safetensors(&repo, None), want, "{files} {folders:?}");
        }
        if let Some(want) = fp16 {
            assert_eq!(all_safetensors(&repo, Some("fp16")), want, "{files} {folders:?} fp16");
        }
    }
}

#[test]
fn one_component_without_safetensors_turns_the_whole_pipeline_to_bin() {
    let repo = pipeline(&both("", "unet/diffusion_pytorch_model.safetensors"), None);
    let outcome = repo.taken(&prefer("safetensors"));
    assert!(outcome.selection.weights.iter().all(|set| set.family == Family::Bin));
    assert!(outcome.has(Code::FamilyFallback));
    assert!(matches!(
        repo.select(&only("safetensors")).map(|_| ()),
        Err(SelectError::FamilyAbsent { why, .. }) if why.contains("unet/")
    ));
}

const UNET_SHARDS: &str = "unet/diffusion_pytorch_model.safetensors.index.json
    unet/diffusion_pytorch_model-00001-of-00003.safetensors unet/diffusion_pytorch_model-00002-of-00003.safetensors
    unet/diffusion_pytorch_model-00003-of-00003.safetensors";
const UNET_FP16_SHARDS: &str = "unet/diffusion_pytorch_model.safetensors.index.fp16.json
    unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors unet/diffusion_pytorch_model.fp16-00002-of-00002.safetensors";

fn under(dir: &str, files: &str) -> String {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    files.replace("unet/", &prefix)
}

fn set(files: &str) -> BTreeSet<String> {
    files.split_whitespace().map(str::to_owned).collect()
}

fn weights(outcome: &Outcome) -> BTreeSet<String> {
    outcome.check();
    outcome.weights().into_iter().map(str::to_owned).collect()
}

#[test]
fn variants_are_taken_per_component_with_plain_weights_in_their_place() {
    let three = "vae/diffusion_pytorch_modelV.safetensors text_encoder/modelV.safetensors unet/diffusion_pytorch_modelV.safetensors";
    let (plain, fp16) = (three.replace('V', ""), three.replace('V', ".fp16"));
    let flat_plain = "diffusion_pytorch_model.safetensors model.safetensors";
    let flat_fp16 = "diffusion_pytorch_model.fp16.safetensors model.fp16.safetensors";
    let vae_bins = "vae/diffusion_pytorch_model.bin.index.fp16.json vae/diffusion_pytorch_model.fp16-00001-of-00002.bin
        vae/diffusion_pytorch_model.fp16-00002-of-00002.bin";
    let both_three = format!("{plain} {fp16}");
    let mixed = format!("{fp16} vae/diffusion_pytorch_model.safetensors unet/diffusion_pytorch_model.safetensors")
        .replace("text_encoder/model.fp16.safetensors", "text_encoder/model.safetensors");
    // (files, the only family, variant, the files taken)
    let st = Some("safetensors");
    let v = Some("fp16");
    let cases: Vec<(String, Option<&str>, Option<&str>, String)> = vec![
        (both_three.clone(), st, None, plain),
        (both_three, st, v, fp16.clone()),
        (mixed, st, v, fp16.replace("text_encoder/model.fp16", "text_encoder/model")),
        (format!("{flat_plain} {flat_fp16}"), st, None, flat_plain.into()),
        (format!("{flat_plain} {flat_fp16}"), st, v, flat_fp16.into()),
        (
            "diffusion_pytorch_model.fp16.safetensors diffusion_pytorch_model.safetensors model.safetensors".into(),
            st,
            v,
            "diffusion_pytorch_model.fp16.safetensors model.safetensors".into(),
        ),
        (under("", &format!("{UNET_SHARDS} {UNET_FP16_SHARDS}")), st, v, under("", UNET_FP16_SHARDS)),
        (
            under("", &format!("{UNET_SHARDS} unet/diffusion_pytorch_model.fp16.safetensors")),
            st,
            v,
            "diffusion_pytorch_model.fp16.safetensors".into(),
        ),
        (under("", &format!("{UNET_SHARDS} {UNET_FP16_SHARDS}")), st, None, under("", UNET_SHARDS)),
        (format!("{UNET_SHARDS} {UNET_FP16_SHARDS}"), st, None, UNET_SHARDS.into()),
        (format!("{UNET_SHARDS} {UNET_FP16_SHARDS}"), st, v, UNET_FP16_SHARDS.into()),
        (
            format!("{UNET_SHARDS} unet/diffusion_pytorch_model.fp16.safetensors"),
            st,
            v,
            "unet/diffusion_pytorch_model.fp16.safetensors".into(),
        ),
        (
            format!("{UNET_SHARDS} {} vae/diffusion_pytorch_model.fp16.safetensors", under("vae", UNET_SHARDS)),
            st,
            v,
            format!("{UNET_SHARDS} vae/diffusion_pytorch_model.fp16.safetensors"),
        ),
        (
            format!("{UNET_SHARDS} {} {}", under("vae", UNET_SHARDS), under("vae", UNET_FP16_SHARDS)),
            st,
            v,
            format!("{UNET_SHARDS} {}", under("vae", UNET_FP16_SHARDS)),
        ),
        (
            "text_encoder/model.bin unet/diffusion_pytorch_model.bin unet/diffusion_pytorch_model.safetensors".into(),
            Some("bin"),
            None,
            "text_encoder/model.bin unet/diffusion_pytorch_model.bin".into(),
        ),
        (
            "unet/diffusion_pytorch_model.fp16.safetensors diffusion_pytorch_model.safetensors".into(),
            st,
            v,
            "unet/diffusion_pytorch_model.fp16.safetensors diffusion_pytorch_model.safetensors".into(),
        ),
        (
            "unet/diffusion_pytorch_model.fp16.bin vae/diffusion_pytorch_model.safetensors
             vae/diffusion_pytorch_model.fp16.safetensors"
                .into(),
            None,
            v,
            "unet/diffusion_pytorch_model.fp16.bin vae/diffusion_pytorch_model.fp16.safetensors".into(),
        ),
        (
            // diffusers takes unet's plain safetensors index beside vae's bin variant here; so does a
            // choice per component if no family is demanded.
            format!("{vae_bins} {} {UNET_SHARDS}", under("vae", UNET_SHARDS)),
            None,
            v,
            format!("{vae_bins} {UNET_SHARDS}"),
        ),
        (
            // The older spelling of sharded variants.
            format!(
                "{} vae/diffusion_pytorch_model.safetensors.fp16.index.json
                 vae/diffusion_pytorch_model-00001-of-00002.fp16.safetensors
                 vae/diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
                under("vae", UNET_SHARDS)
            ),
            None,
            v,
            "vae/diffusion_pytorch_model.safetensors.fp16.index.json
             vae/diffusion_pytorch_model-00001-of-00002.fp16.safetensors
             vae/diffusion_pytorch_model-00002-of-00002.fp16.safetensors"
                .into(),
        ),
    ];
    for (files, family, variant, want) in cases {
        let repo = pipeline(&files, None);
        let options = Options { variant: variant.map(str::to_owned), ..family.map(only).unwrap_or_default() };
        assert_eq!(weights(&repo.taken(&options)), set(&want), "{files} {family:?} {variant:?}");
    }
}

#[test]
fn a_variant_that_no_component_has_is_an_error_that_lists_the_existing_ones() {
    let repo = pipeline("model.safetensors diffusion_pytorch_model.safetensors", None);
    assert!(matches!(
        repo.select(&variant("fp16")).map(|_| ()),
        Err(SelectError::VariantAbsent { found, .. }) if found.is_empty()
    ));
    let files = format!(
        "vae/diffusion_pytorch_model.bin.index.fp16.json vae/diffusion_pytorch_model.fp16-00001-of-00002.bin
         vae/diffusion_pytorch_model.fp16-00002-of-00002.bin {} {UNET_SHARDS}",
        under("vae", UNET_SHARDS)
    );
    let options = Options { variant: Some("fp16".to_owned()), ..only("safetensors") };
    assert!(matches!(
        pipeline(&files, None).select(&options).map(|_| ()),
        Err(SelectError::VariantAbsent { found, families, .. }) if found.is_empty() && families == [Family::Bin]
    ));
}

#[test]
fn a_pipeline_of_other_formats_is_taken_if_it_has_no_standard_one() {
    let repo = pipeline("vae/model.onnx unet/model.onnx unet/weights.pb", None);
    let outcome = repo.taken(&prefer("safetensors"));
    assert_eq!(outcome.weights(), ["unet/model.onnx", "unet/weights.pb", "vae/model.onnx"]);
    assert!(outcome.has(Code::FamilyFallback));
    let files = "vae/diffusion_pytorch_model.safetensors unet/diffusion_pytorch_model.safetensors
         vae/openvino_model.xml vae/openvino_model.bin unet/openvino_model.xml unet/openvino_model.bin
         big.safetensors unet-Q8_0.gguf";
    let repo = pipeline(files, None);
    let outcome = repo.taken(&only("openvino"));
    assert!(outcome.weights().iter().all(|w| w.contains("/openvino_model.")) && outcome.weights().len() == 4);
    assert_eq!(repo.taken(&only("diffusers-single")).weights(), ["big.safetensors"]);
    assert_eq!(repo.taken(&only("gguf")).weights(), ["unet-Q8_0.gguf"]);
    assert_eq!(repo.taken(&prefer("safetensors")).left("big.safetensors").as_deref(), Some("single-file checkpoints"));
}

#[test]
fn a_mixture_of_variant_and_plain_weights_is_reported() {
    let repo = pipeline("unet/diffusion_pytorch_model.fp16.safetensors vae/diffusion_pytorch_model.safetensors", None);
    let outcome = repo.taken(&variant("fp16"));
    assert!(outcome.has(Code::VariantFallback));
    let kinds: Vec<_> = outcome.selection.weights.iter().map(|s| (s.scope.as_str(), s.variant.as_deref())).collect();
    assert_eq!(kinds, [("unet", Some("fp16")), ("vae", None)]);
}

#[test]
fn only_folders_that_the_index_names_are_taken_and_weightless_ones_whole() {
    let repo = pipeline(
        "unet/diffusion_pytorch_model.safetensors unet/config.json unet/notes.txt tokenizer/vocab.json tokenizer/sub/extra.txt
         tokenizer/added.msgpack scheduler/scheduler_config.json vae/diffusion_pytorch_model.safetensors big.safetensors
         unet/model.onnx README.md",
        Some(&["unet", "tokenizer", "scheduler"]),
    );
    let outcome = repo.taken(&Options::default());
    assert_eq!(
        outcome.paths(),
        [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "tokenizer/sub/extra.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors"
        ]
    );
    assert_eq!(outcome.left("vae/diffusion_pytorch_model.safetensors").as_deref(), Some("not in model_index.json"));
    assert_eq!(outcome.left("big.safetensors").as_deref(), Some("single-file checkpoints"));
    assert_eq!(outcome.left("tokenizer/added.msgpack").as_deref(), Some("flax family"));
}

#[test]
fn two_shard_splits_side_by_side_are_distinguished_by_the_index() {
    // Lightricks/LTX-2.5-Diffusers: a 4-way and an 8-way split in one folder (sglang PR #35107).
    let mut repo =
        Repo::of((1..=8).map(|n| format!("transformer/diffusion_pytorch_model-{n:05}-of-00008.safetensors")));
    let four: Vec<String> = (1..=4).map(|n| format!("diffusion_pytorch_model-{n:05}-of-00004.safetensors")).collect();
    for name in &four {
        repo.files.insert(format!("transformer/{name}"), 5_000_000_000);
    }
    let names: Vec<&str> = four.iter().map(String::as_str).collect();
    let repo = repo
        .index("transformer/diffusion_pytorch_model.safetensors.index.json", &names)
        .with("model_index.json", r#"{"_class_name": "X", "transformer": ["diffusers", "T"]}"#);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.selection.weights[0].files.len(), 4);
    assert_eq!(
        outcome.left("transformer/diffusion_pytorch_model-00008-of-00008.safetensors").as_deref(),
        Some("safetensors files that the index does not name")
    );
}

#[test]
fn custom_pipelines_bring_their_code_and_combined_ones_name_their_prior() {
    let repo = pipeline(
        "unet/diffusion_pytorch_model.safetensors unet/my_unet.py unet/helper.py my_pipeline.py other.py",
        None,
    )
    .with("unet/my_unet.py", "from .helper import x\n")
    .with("model_index.json", r#"{"_class_name": ["my_pipeline", "P"], "unet": ["my_unet", "U"]}"#);
    let outcome = repo.taken(&Options::default());
    assert!(["my_pipeline.py", "unet/my_unet.py", "unet/helper.py"].iter().all(|f| outcome.takes(f)));
    assert!(!outcome.takes("other.py"));
    let outcome = repo.taken(&Options { no_code: true, ..Options::default() });
    assert!(outcome.paths().iter().all(|f| !f.ends_with(".py")));

    let repo = pipeline("unet/diffusion_pytorch_model.safetensors", None)
        .with("model_index.json", r#"{"_class_name": "KandinskyV22Pipeline", "unet": ["diffusers", "U"]}"#)
        .with(
            "README.md",
            "---\nlicense: apache-2.0\nprior:\n- kandinsky-community/kandinsky-2-2-prior\ntags:\n- x\n---\n- a/b\n",
        );
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.selection.other_repos, ["kandinsky-community/kandinsky-2-2-prior"]);
    assert!(outcome.takes("README.md"));
}
