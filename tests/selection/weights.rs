//! Which weight files are chosen: variants, names, indexes, families and layouts of every kind, one test per rule.

use hfget_core::finding::{ChooseBy, Code, Severity};
use hfget_core::model::{Family, Options, Purpose};
use hfget_core::select::SelectError;

use crate::support::{Repo, names, only, prefer, variant};

fn plain() -> Options {
    Options::default()
}

fn error(repo: &Repo, options: &Options) -> SelectError {
    repo.select(options).map(|o| o.selection).expect_err("an error")
}

#[test]
fn transformers_variants_have_no_fallback_and_absent_ones_list_the_existing_ones() {
    let repo = Repo::parse(
        "config.json model.safetensors model.fp16.safetensors pytorch_model.bf16-00001-of-00002.bin
         pytorch_model.bf16-00002-of-00002.bin pytorch_model.bin",
    )
    .index(
        "pytorch_model.bin.index.bf16.json",
        &["pytorch_model.bf16-00001-of-00002.bin", "pytorch_model.bf16-00002-of-00002.bin"],
    );
    let outcome = repo.taken(&variant("fp16"));
    assert_eq!(outcome.weights(), ["model.fp16.safetensors"]);
    assert_eq!(outcome.selection.weights[0].variant.as_deref(), Some("fp16"));
    assert_eq!(outcome.left("model.safetensors").as_deref(), Some("weights of no variant"));
    let outcome = repo.taken(&variant("bf16"));
    assert_eq!(outcome.selection.weights[0].family, Family::Bin);
    assert_eq!(outcome.selection.weights[0].files.len(), 2);
    match error(&repo, &variant("fp61")) {
        SelectError::VariantAbsent { variant, found, .. } => {
            assert_eq!(variant, "fp61");
            assert_eq!(found, ["bf16", "fp16"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_only_variant_of_a_repo_is_taken_and_with_several_the_user_is_asked() {
    let outcome = Repo::parse("config.json model.fp16.safetensors").taken(&plain());
    assert_eq!((outcome.weights(), outcome.codes()), (vec!["model.fp16.safetensors"], vec![Code::VariantFallback]));
    let repo = Repo::parse("config.json model.fp16.safetensors model.fp32.safetensors");
    match error(&repo, &plain()) {
        SelectError::Several { choices, .. } => assert_eq!(names(&choices), ["fp16", "fp32"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn transformers_weights_overrides_every_other_name() {
    let repo = Repo::parse("model.safetensors other.safetensors pytorch_model.bin")
        .with("config.json", r#"{"transformers_weights": "other.safetensors"}"#);
    assert_eq!(repo.taken(&plain()).weights(), ["other.safetensors"]);
    let repo = Repo::parse("model.safetensors a.safetensors b.safetensors")
        .with("config.json", r#"{"transformers_weights": "other.safetensors.index.json"}"#)
        .index("other.safetensors.index.json", &["a.safetensors", "b.safetensors"]);
    let outcome = repo.taken(&plain());
    assert_eq!(outcome.selection.weights[0].files.len(), 2);
    assert_eq!(outcome.selection.weights[0].index.as_ref().map(AsRef::as_ref), Some("other.safetensors.index.json"));
}

#[test]
fn the_index_decides_about_shards_of_any_name() {
    // XiaomiMiMo/MiMo: the names have no -of-; dflash/ has another model.
    let shards = ["model_pp0_ep0_shard0.safetensors", "model_pp0_ep1_shard0.safetensors", "model_mtp.safetensors"];
    let repo = Repo::of(shards).index("model.safetensors.index.json", &shards).with("config.json", "{}");
    let mut repo = repo;
    repo.files.insert("dflash/model.safetensors".to_owned(), 7);
    let outcome = repo.taken(&plain());
    assert_eq!(outcome.selection.weights[0].files.len(), 3);
    assert_eq!(outcome.left("dflash/model.safetensors").as_deref(), Some("safetensors weights in other folders"));
}

#[test]
fn weights_with_names_of_their_own_are_the_last_resort() {
    let one = Repo::parse("config.json gptq_model-4bit-128g.safetensors quantize_config.json");
    let outcome = one.taken(&plain());
    assert_eq!(outcome.weights(), ["gptq_model-4bit-128g.safetensors"]);
    assert!(outcome.takes("quantize_config.json"));
    assert_eq!(
        Repo::parse("config.json own.safetensors pytorch_model.bin").taken(&plain()).weights(),
        ["pytorch_model.bin"]
    );
    let several = Repo::parse("a.safetensors b.safetensors my_lora.safetensors")
        .with("config.json", r#"{"architectures": ["LlamaForCausalLM"]}"#);
    let outcome = several.taken(&plain());
    assert_eq!(outcome.weights(), ["a.safetensors", "b.safetensors"]);
    assert!(outcome.has(Code::OverlappingWeights));
    assert_eq!(Repo::parse("my_lora.safetensors README.md").taken(&plain()).weights(), ["my_lora.safetensors"]);
}

#[test]
fn mistral_only_repos_are_taken_in_their_own_layout_and_say_so() {
    let repo = Repo::parse("consolidated.safetensors params.json tekken.json README.md");
    for options in [plain(), prefer("safetensors"), prefer("bin"), prefer("mistral"), only("mistral")] {
        let outcome = repo.taken(&options);
        assert_eq!(outcome.paths(), ["consolidated.safetensors", "params.json", "tekken.json"]);
        assert_eq!(outcome.selection.weights[0].family, Family::Mistral);
        let wanted = options.prefer.or(options.only) == Some(Family::Mistral);
        assert_eq!(outcome.has(Code::FamilyFallback), !wanted);
    }
    assert!(
        matches!(error(&repo, &only("safetensors")), SelectError::FamilyAbsent { why, found, .. } if why.contains("Mistral") && found[0].0 == Family::Mistral)
    );
    let sharded =
        Repo::parse("consolidated-00001-of-00002.safetensors consolidated-00002-of-00002.safetensors params.json")
            .index(
                "consolidated.safetensors.index.json",
                &["consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors"],
            );
    assert_eq!(sharded.taken(&plain()).selection.weights[0].files.len(), 2);
}

#[test]
fn repos_of_other_families_only_are_taken_in_their_own_family() {
    for (files, family, weights) in [
        ("consolidated.00.pth consolidated.01.pth params.json tokenizer.model checklist.chk", Family::Meta, 2),
        ("a-Q4_K_M.gguf a-Q8_0.gguf config.json", Family::Gguf, 1),
        ("model.bin config.json vocabulary.json tokenizer.json", Family::CTranslate2, 1),
        ("onnx/model.onnx config.json", Family::Onnx, 1),
        ("model.nemo", Family::Other, 1),
        ("model.pt config.yaml", Family::Pt, 1),
        ("weights-00001-of-00002.pt weights-00002-of-00002.pt", Family::Pt, 2),
        ("model.pth dvae.pth mel_stats.pth config.json vocab.json", Family::Pt, 3),
        ("traced_model.pt config.json", Family::TorchScript, 1),
        ("tf_model.h5 config.json", Family::Tf, 1),
        ("flax_model.msgpack config.json", Family::Flax, 1),
        ("weights.npz config.json", Family::Mlx, 1),
        ("rust_model.ot config.json", Family::Rust, 1),
        ("openvino_model.xml openvino_model.bin config.json", Family::OpenVino, 2),
        ("a.mlpackage/Manifest.json a.mlpackage/Data/com.apple.CoreML/weights/weight.bin", Family::CoreMl, 2),
        ("a.tflite b.tflite", Family::TfLite, 2),
        ("tfjs/model.json tfjs/group1-shard1of1.bin", Family::TfJs, 1),
    ] {
        let repo = Repo::parse(files);
        for (options, code) in [
            (plain(), Some(Severity::Note)),
            (prefer("safetensors"), Some(Severity::Warning)),
            (only(family.as_str()), None),
        ] {
            let outcome = repo.taken(&options);
            outcome.check();
            let sets = &outcome.selection.weights;
            assert_eq!((sets.len(), sets[0].family, sets[0].files.len()), (1, family, weights), "{files}");
            let said = outcome.selection.findings.iter().find(|f| f.code == Code::FamilyFallback).map(|f| f.severity);
            assert_eq!(said, code, "{files}");
            // All of these belong to it.
            if family != Family::Gguf {
                assert_eq!(outcome.selection.left_out, [], "{files}");
            }
        }
        assert!(matches!(error(&repo, &only("safetensors")), SelectError::FamilyAbsent { .. }), "{files}");
    }
}

#[test]
fn a_family_without_what_belongs_to_it_is_not_taken() {
    for (files, family, why) in [
        ("openvino_model.xml config.json", "openvino", "its .bin file"),
        ("consolidated.00.pth consolidated.02.pth params.json", "meta", "consolidated.01.pth"),
        ("coreml/a.mlpackage/Data/weight.bin", "coreml", "Manifest.json"),
        ("weights-00001-of-00002.pt config.json", "pt", "1 of its 2 parts"),
    ] {
        match error(&Repo::parse(files), &only(family)) {
            SelectError::FamilyAbsent { why: told, .. } => assert!(told.contains(why), "{told}"),
            other => panic!("{files}: {other:?}"),
        }
    }
}

#[test]
fn a_family_beside_the_chosen_one_is_taken_whole_on_request() {
    let repo = Repo::parse(
        "config.json model.safetensors tokenizer.json original/consolidated.00.pth original/params.json
         original/tokenizer.model openvino/openvino_model.xml openvino/openvino_model.bin
         openvino/openvino_model_qint8_quantized.xml openvino/openvino_model_qint8_quantized.bin
         coreml/a.mlpackage/Manifest.json coreml/a.mlpackage/Data/weight.bin 64.tflite 64-fp16.tflite",
    );
    assert_eq!(repo.taken(&plain()).weights(), ["model.safetensors"]);
    let outcome = repo.taken(&only("meta"));
    assert_eq!(outcome.weights(), ["original/consolidated.00.pth"]);
    assert!(["original/params.json", "original/tokenizer.model"].iter().all(|p| outcome.paths().contains(p)));
    assert_eq!(repo.taken(&only("openvino")).weights().len(), 2, "the plain one");
    let qint8 = Options { variant: Some("qint8".into()), ..only("openvino") };
    assert_eq!(repo.taken(&qint8).weights().len(), 2);
    assert_eq!(repo.taken(&only("coreml")).weights().len(), 2);
    let fp16 = Options { variant: Some("fp16".into()), ..only("tflite") };
    assert_eq!(repo.taken(&fp16).weights(), ["64-fp16.tflite"]);
}

#[test]
fn several_files_that_may_each_be_the_model_are_a_question() {
    let repo = Repo::parse("yolov8n.pt yolov8s.pt yolov8n-seg.pt README.md config.yaml");
    for options in [plain(), only("pt"), variant("yolov8x")] {
        match error(&repo, &options) {
            SelectError::Several { family, choices, by } => {
                assert_eq!(family, Family::Pt);
                assert_eq!(names(&choices), ["yolov8n-seg", "yolov8n", "yolov8s"]);
                assert_eq!(by, ChooseBy::Variant);
            }
            other => panic!("{other:?}"),
        }
    }
    let outcome = repo.taken(&variant("yolov8n"));
    assert_eq!(outcome.weights(), ["yolov8n.pt"]);
    assert_eq!(outcome.left("yolov8s.pt").as_deref(), Some("other pt files"));
}

#[test]
fn a_variant_that_no_weights_have_is_not_looked_for_among_other_formats() {
    let repo = Repo::parse("config.json model.safetensors flax_model.msgpack a.pt b.pt");
    assert!(matches!(error(&repo, &variant("b")), SelectError::VariantAbsent { .. }));
    let options = Options { variant: Some("b".into()), ..only("pt") };
    assert_eq!(repo.taken(&options).weights(), ["b.pt"]);
}

#[test]
fn torchscript_is_taken_by_any_name_when_it_is_asked_for() {
    let repo = Repo::parse("model.pt config.yaml");
    assert_eq!(repo.taken(&only("torchscript")).selection.weights[0].family, Family::TorchScript);
    let repo = Repo::parse("a.pt traced_a.pt config.yaml");
    assert_eq!(repo.taken(&only("torchscript")).weights(), ["traced_a.pt"]);
}

/// llama.cpp takes the nearest projector, and from several the one in half precision.
#[test]
fn a_gguf_model_brings_its_projector_and_no_drafts() {
    let repo = Repo::parse(
        "m-Q4_K_M.gguf m-Q8_0.gguf mmproj-m-f16.gguf mmproj-m-f32.gguf imatrix.gguf mtp-m.gguf eagle3-m.gguf",
    );
    assert_eq!(repo.taken(&plain()).weights(), ["m-Q4_K_M.gguf", "mmproj-m-f16.gguf"]);
    let repo = Repo::parse("a/m-Q8_0.gguf a/mmproj-a-f16.gguf mmproj-root-f16.gguf b/mmproj-b-f16.gguf");
    assert_eq!(repo.taken(&only("gguf")).weights(), ["a/m-Q8_0.gguf", "a/mmproj-a-f16.gguf"]);
}

#[test]
fn an_absent_quantisation_lists_the_existing_ones() {
    let repo = Repo::parse("a-Q4_K_M.gguf a-Q8_0.gguf a-IQ2_XS-00001-of-00002.gguf a-IQ2_XS-00002-of-00002.gguf");
    let outcome = repo.taken(&variant("iq2_xs"));
    assert_eq!(outcome.weights().len(), 2);
    assert_eq!(outcome.left("a-Q8_0.gguf").as_deref(), Some("other gguf files"));
    match error(&repo, &variant("Q5_0")) {
        SelectError::VariantAbsent { found, .. } => assert_eq!(found, ["IQ2_XS", "Q4_K_M", "Q8_0"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_only_look_like_weights_are_never_taken_as_such() {
    let repo = Repo::parse(
        "config.json pytorch_model.bin training_args.bin optimizer.bin optimizer.pt scheduler.pt scaler.pt rng_state_0.pth
         openvino_model.bin openvino_model.xml bpe_encoder.bin coreml/m.mlpackage/Data/weights/weight.bin checkpoint-10/pytorch_model.bin
         global_step100/mp_rank_00_model_states.pt lid.176.bin trainer_state.json",
    );
    let outcome = repo.taken(&prefer("bin"));
    outcome.check();
    assert_eq!(outcome.paths(), ["bpe_encoder.bin", "config.json", "pytorch_model.bin"]);
    assert_eq!(outcome.selection.files[0].purpose, Purpose::Tokenizer);
    let repo = Repo::parse("config.json training_args.bin optimizer.bin");
    assert!(repo.taken(&prefer("bin")).has(Code::WeightsAbsent));
}

#[test]
fn open_clip_weights_beside_transformers_ones_are_a_copy_and_alone_the_model() {
    let repo = Repo::parse(
        "config.json model.safetensors open_clip_model.safetensors pytorch_model.bin open_clip_pytorch_model.bin open_clip_config.json tokenizer.json",
    );
    let outcome = repo.taken(&prefer("safetensors"));
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert_eq!(outcome.left("open_clip_model.safetensors").as_deref(), Some("open_clip's copy of the weights"));
    assert_eq!(repo.taken(&prefer("bin")).weights(), ["pytorch_model.bin"]);
    let alone = Repo::parse("open_clip_model.safetensors open_clip_pytorch_model.bin open_clip_config.json");
    assert_eq!(alone.taken(&prefer("safetensors")).weights(), ["open_clip_model.safetensors"]);
    assert_eq!(alone.taken(&prefer("bin")).weights(), ["open_clip_pytorch_model.bin"]);
}

#[test]
fn a_single_diffusers_model_and_a_lora_are_taken_by_their_own_names() {
    let controlnet = Repo::parse(
        "diffusion_pytorch_model.safetensors diffusion_pytorch_model.fp16.safetensors diffusion_pytorch_model.bin",
    )
    .with("config.json", r#"{"_class_name": "ControlNetModel"}"#);
    assert_eq!(controlnet.taken(&plain()).weights(), ["diffusion_pytorch_model.safetensors"]);
    assert_eq!(controlnet.taken(&variant("fp16")).weights(), ["diffusion_pytorch_model.fp16.safetensors"]);
    assert_eq!(
        Repo::parse("pytorch_lora_weights.safetensors README.md").taken(&plain()).weights(),
        ["pytorch_lora_weights.safetensors"]
    );
    assert_eq!(Repo::parse("pytorch_lora_weights.bin").taken(&plain()).weights(), ["pytorch_lora_weights.bin"]);
}

#[test]
fn a_native_pipeline_keeps_its_other_parts() {
    // Wan-AI/Wan2.1-I2V-14B-480P: shards, and .pth parts that the same pipeline loads.
    let repo = Repo::parse("diffusion_pytorch_model-00001-of-00001.safetensors models_t5_umt5-xxl-enc-bf16.pth Wan2.1_VAE.pth google/umt5-xxl/tokenizer.json assets/x.png")
        .with("config.json", r#"{"_class_name": "WanModel"}"#)
        .index("diffusion_pytorch_model.safetensors.index.json", &["diffusion_pytorch_model-00001-of-00001.safetensors"]);
    for options in [prefer("safetensors"), prefer("bin")] {
        let outcome = repo.taken(&options);
        for file in ["models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth", "google/umt5-xxl/tokenizer.json"] {
            assert!(outcome.takes(file), "{file}");
        }
        assert_eq!(outcome.selection.weights.len(), 1);
    }
}

#[test]
fn one_variant_of_a_model_for_the_browser_is_one() {
    let set = |dir: &str| format!("{dir}/model.json {dir}/group1-shard1of2.bin {dir}/group1-shard2of2.bin");
    let of = |dirs: &[&str]| Repo::parse(&dirs.iter().map(|dir| set(dir)).collect::<Vec<_>>().join(" "));
    // The plain variant is taken, if there is one.
    let outcome = of(&["tfjs", "tfjs/float16", "tfjs/uint8"]).taken(&plain());
    assert_eq!(outcome.weights(), ["tfjs/group1-shard1of2.bin", "tfjs/group1-shard2of2.bin"]);
    assert!(outcome.takes("tfjs/model.json") && !outcome.takes("tfjs/uint8/model.json"));
    // Without a plain variant, the user must name one, and that is taken.
    let repo = of(&["tfjs/float16", "tfjs/uint8"]);
    let SelectError::Several { choices, .. } = error(&repo, &plain()) else { panic!("it takes something") };
    assert_eq!(choices.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["float16", "uint8"]);
    let outcome = repo.taken(&Options { variant: Some("uint8".into()), ..plain() });
    assert_eq!(outcome.weights(), ["tfjs/uint8/group1-shard1of2.bin", "tfjs/uint8/group1-shard2of2.bin"]);
    assert!(outcome.takes("tfjs/uint8/model.json"));
    // The twin: parts are not variants.
    assert_eq!(of(&["tfjs/encoder", "tfjs/decoder"]).taken(&plain()).weights().len(), 4);
    assert_eq!(of(&["tfjs/float16"]).taken(&plain()).weights().len(), 2);
}
