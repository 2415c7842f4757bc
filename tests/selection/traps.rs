//! Repos for which a simple reading of names gives a wrong selection.

use hfget_core::finding::Code;
use hfget_core::model::{Family, Options, Purpose};
use hfget_core::select::SelectError;

use crate::support::{Repo, names, only, prefer, variant};

fn plain() -> Options {
    Options::default()
}

fn only_variant(family: &str, name: &str) -> Options {
    Options { variant: Some(name.to_owned()), ..only(family) }
}

fn error(repo: &Repo, options: &Options) -> SelectError {
    repo.select(options).map(|o| o.selection).expect_err("an error")
}

#[test]
fn a_quantisation_is_a_word_and_not_the_end_of_another() {
    let repo = Repo::parse("m-BF16.gguf m-F16.gguf m-Q4_K_M.gguf mmproj-BF16.gguf mmproj-F32.gguf mmproj-Q8_0.gguf");
    assert_eq!(repo.taken(&variant("f16")).weights(), ["m-F16.gguf", "mmproj-BF16.gguf"]);
    assert_eq!(repo.taken(&variant("BF16")).weights(), ["m-BF16.gguf", "mmproj-BF16.gguf"]);
    // llama.cpp takes the projector with the nearest number of bits.
    assert_eq!(repo.taken(&plain()).weights(), ["m-Q4_K_M.gguf", "mmproj-Q8_0.gguf"]);
    match error(&Repo::parse("m-BF16.gguf mmproj-F16.gguf"), &variant("F16")) {
        SelectError::VariantAbsent { found, .. } => assert_eq!(found, ["BF16"], "a projector is no choice"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn quantisations_in_folders_are_recognised_and_taken_by_the_folders_name() {
    let repo = Repo::parse(
        "UD-Q4_K_XL/m-UD-Q4_K_XL-00001-of-00002.gguf UD-Q4_K_XL/m-UD-Q4_K_XL-00002-of-00002.gguf Q8_0/part.gguf",
    );
    assert_eq!(repo.taken(&variant("UD-Q4_K_XL")).weights().len(), 2);
    assert_eq!(repo.taken(&variant("Q8_0")).weights(), ["Q8_0/part.gguf"]);
    match error(&repo, &variant("Q4_K_L")) {
        SelectError::VariantAbsent { found, .. } => assert_eq!(found, ["Q4_K_XL"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ggml_files_of_before_gguf_are_taken_one_by_name() {
    let repo = Repo::parse("ggml-base.bin ggml-base.en.bin ggml-base-q5_1.bin README.md");
    assert_eq!(repo.taken(&variant("base")).weights(), ["ggml-base.bin"]);
    assert!(
        matches!(error(&repo, &plain()), SelectError::Several { family: Family::Gguf, choices, .. } if choices.len() == 3)
    );
    assert_eq!(Repo::parse("ggml-base.bin").taken(&plain()).weights(), ["ggml-base.bin"]);
}

#[test]
fn every_graph_suffix_is_a_variant_and_no_part_of_the_model() {
    // sentence-transformers/all-MiniLM-L6-v2
    let repo = Repo::parse(
        "config.json model.safetensors onnx/model.onnx onnx/model_O1.onnx onnx/model_O4.onnx onnx/model_fp16.onnx
         onnx/model_qint8_arm64.onnx onnx/model_qint8_avx512_vnni.onnx onnx/model_quint8_avx2.onnx onnx/model.onnx_data",
    );
    assert_eq!(repo.taken(&only("onnx")).weights(), ["onnx/model.onnx", "onnx/model.onnx_data"]);
    assert_eq!(repo.taken(&only_variant("onnx", "O4")).weights(), ["onnx/model_O4.onnx"]);
    let chosen = repo.taken(&only_variant("onnx", "qint8_avx512_vnni"));
    assert_eq!(chosen.weights(), ["onnx/model_qint8_avx512_vnni.onnx"]);
    match error(&repo, &only_variant("onnx", "qint8_arm46")) {
        SelectError::VariantAbsent { found, .. } => {
            assert!(found.iter().any(|name| name == "qint8_arm64"), "{found:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_variant_that_another_family_has_says_which() {
    let repo = Repo::parse("config.json model.safetensors m-Q4_K_M.gguf onnx/model_fp16.onnx");
    for (name, family) in [("fp16", Family::Onnx), ("Q4_K_M", Family::Gguf)] {
        match error(&repo, &variant(name)) {
            SelectError::VariantAbsent { found, families, .. } => {
                assert_eq!((families, found), (vec![family], Vec::new()), "{name}");
            }
            other => panic!("{other:?}"),
        }
    }
}

const DENSE: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]"#;

#[test]
fn a_layer_is_taken_whatever_was_asked_of_the_transformer() {
    let repo = Repo::parse(
        "config.json model.safetensors model.fp16.safetensors onnx/model.onnx 2_Dense/config.json 2_Dense/model.safetensors",
    )
    .with("modules.json", DENSE);
    assert_eq!(repo.taken(&only("onnx")).weights(), ["2_Dense/model.safetensors", "onnx/model.onnx"]);
    assert_eq!(repo.taken(&variant("fp16")).weights(), ["2_Dense/model.safetensors", "model.fp16.safetensors"]);
}

#[test]
fn a_module_without_its_weights_is_an_error_and_not_silently_left_out() {
    let bin = Repo::parse("config.json model.safetensors 2_Dense/pytorch_model.bin").with("modules.json", DENSE);
    assert!(matches!(
        error(&bin, &only("safetensors")),
        SelectError::FamilyAbsent { why, .. } if why.contains("2_Dense")
    ));
    // The transformer's shards are missing, although a layer's weights are there.
    let broken = Repo::parse("config.json 2_Dense/model.safetensors")
        .index("model.safetensors.index.json", &["gone.safetensors"])
        .with("modules.json", DENSE);
    assert!(matches!(
        error(&broken, &plain()),
        SelectError::NothingSelectable { why, .. } if why.contains("not in the repo")
    ));
}

#[test]
fn a_custom_modules_folder_is_taken_whole_if_no_name_is_standard() {
    let repo = Repo::parse("config.json model.safetensors 2_Own/weights.pt 2_Own/config.json own.py").with(
        "modules.json",
        r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "2_Own", "type": "own.Own"}]"#,
    );
    let outcome = repo.taken(&plain());
    assert!(outcome.takes("2_Own/weights.pt") && outcome.takes("own.py"));
}

#[test]
fn a_gguf_file_beside_adapter_settings_is_one_set() {
    let repo = Repo::parse("adapter_config.json lora-f16.gguf");
    let outcome = repo.taken(&plain());
    outcome.check();
    assert_eq!((outcome.weights(), outcome.selection.weights.len()), (vec!["lora-f16.gguf"], 1));
}

#[test]
fn checkpoints_of_a_training_are_weights_where_there_are_no_others() {
    let one = Repo::parse("README.md checkpoint-500/config.json checkpoint-500/model.safetensors");
    assert!(one.taken(&plain()).takes("checkpoint-500/model.safetensors"));
    let two = Repo::parse("checkpoint-500/model.safetensors checkpoint-900/model.safetensors trainer_state.json");
    match error(&two, &plain()) {
        SelectError::Ambiguous { choices } => assert_eq!(names(&choices), ["checkpoint-500", "checkpoint-900"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repo_of_nothing_to_load_says_so() {
    for (files, part) in
        [("", "no files"), ("README.md .gitattributes", "nothing was taken"), ("tokenizer.json", "other files")]
    {
        let outcome = Repo::parse(files).taken(&plain());
        let finding = outcome.selection.findings.iter().find(|f| f.code == Code::WeightsAbsent).expect(files);
        assert!(finding.message.contains(part), "{}", finding.message);
    }
}

#[test]
fn mistral_shards_without_an_index_are_whole_or_refused() {
    let repo = Repo::parse("consolidated-00001-of-00002.safetensors params.json");
    assert!(
        matches!(error(&repo, &only("mistral")), SelectError::FamilyAbsent { why, .. } if why.contains("only 1 of 2"))
    );
    let repo =
        Repo::parse("consolidated-00001-of-00002.safetensors consolidated-00002-of-00002.safetensors params.json");
    assert_eq!(repo.taken(&plain()).weights().len(), 2);
}

#[test]
fn a_robots_processors_and_onnx_runtimes_settings_are_companions() {
    let states = "policy_preprocessor_step_5_normalizer_processor.safetensors";
    let repo = Repo::parse("config.json model.safetensors policy_preprocessor.json policy_postprocessor.json")
        .with(states, "x");
    let outcome = repo.taken(&prefer("safetensors"));
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert_eq!(outcome.paths().len(), 5);
    assert!(outcome.selection.files.iter().any(|f| f.path.as_str() == states && f.purpose == Purpose::Processor));
    let genai = Repo::parse("config.json genai_config.json model.onnx model.onnx.data tokenizer.json");
    assert!(genai.taken(&plain()).takes("genai_config.json"));
}

#[test]
fn a_misspelt_folder_or_file_is_answered_with_the_existing_names() {
    let repo = Repo::parse("unet/model.safetensors vae/deep/x.json config.json");
    let absent = Options { subfolder: Some("unte".parse().unwrap()), ..plain() };
    assert!(
        matches!(error(&repo, &absent), SelectError::SubfolderAbsent { found, .. } if found == ["unet", "vae", "vae/deep"])
    );
    let include = Options { include: vec!["Config.json".into()], ..plain() };
    assert!(
        matches!(error(&repo, &include), SelectError::NoMatch { names, .. } if names.iter().any(|name| name == "config.json"))
    );
}
