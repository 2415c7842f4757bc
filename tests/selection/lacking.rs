//! Files other than weights that a model's documents name and the repo lacks, and the alarms that must stay silent.

use hfget_core::finding::{Code, Severity};
use hfget_core::model::{Family, Options};

use crate::support::{Repo, only};

/// The alarms about missing files, with their severity.
fn missing(repo: &Repo) -> Vec<(Severity, String)> {
    let outcome = repo.taken(&Options::default());
    let found = outcome.selection.findings.iter().filter(|f| f.code == Code::CompanionMissing);
    found.map(|f| (f.severity, f.message.clone())).collect()
}

const PIPELINE: &str = r#"{"_class_name": "X", "unet": ["diffusers", "UNet2DConditionModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", "PNDMScheduler"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"]}"#;

#[test]
fn a_component_that_has_weights_and_no_config_is_an_error_and_one_of_settings_a_warning() {
    let whole =
        "unet/config.json unet/diffusion_pytorch_model.safetensors tokenizer/tokenizer_config.json tokenizer/vocab.json
        scheduler/scheduler_config.json feature_extractor/preprocessor_config.json";
    for (lacking, instead, severity) in [
        ("unet/config.json", "", Severity::Error),
        ("tokenizer/vocab.json", "", Severity::Warning),
        ("scheduler/scheduler_config.json", "scheduler/other.json", Severity::Warning),
        ("feature_extractor/preprocessor_config.json", "feature_extractor/other.json", Severity::Warning),
    ] {
        let repo = Repo::parse(&whole.replace(lacking, instead)).with("model_index.json", PIPELINE);
        let found = missing(&repo);
        assert!(matches!(found.as_slice(), [(told, _)] if *told == severity), "{lacking}: {found:?}");
    }
    assert!(missing(&Repo::parse(whole).with("model_index.json", PIPELINE)).is_empty());
    let onnx =
        Repo::parse("unet/model.onnx").with("model_index.json", r#"{"unet": ["diffusers", "OnnxRuntimeModel"]}"#);
    assert!(onnx.taken(&only("onnx")).selection.findings.iter().all(|f| f.severity < Severity::Error));
}

fn modules(class: &str, path: &str) -> String {
    format!(r#"[{{"path": "{path}", "type": "sentence_transformers.models.{class}"}}]"#)
}

#[test]
fn a_module_that_has_weights_and_lacks_the_file_that_its_class_reads_is_an_error() {
    for (class, path, needed) in [
        ("Transformer", "", "config.json"),
        ("Transformer", "0_Transformer", "config.json"),
        ("Dense", "2_Dense", "config.json"),
        ("StaticEmbedding", "0_StaticEmbedding", "tokenizer.json"),
    ] {
        let place = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        let repo = Repo::of([place("model.safetensors")]).with("modules.json", modules(class, path));
        let found = missing(&repo);
        assert!(matches!(found.as_slice(), [(Severity::Error, text)] if text.contains(needed)), "{class}: {found:?}");
        assert!(missing(&repo.with(&place(needed), "{}")).is_empty(), "{class}");
    }
}

#[test]
fn a_static_embedding_needs_no_config() {
    let repo = Repo::parse("model.safetensors tokenizer.json").with("modules.json", modules("StaticEmbedding", ""));
    assert!(repo.taken(&Options::default()).codes().is_empty());
}

#[test]
fn a_class_of_an_installed_package_is_no_missing_code_and_of_a_file_of_the_repo_it_is() {
    let with = |kind: &str| {
        let modules = format!(
            r#"[{{"path": "", "type": "sentence_transformers.models.Transformer"}}, {{"path": "1_D", "type": "{kind}"}}]"#
        );
        Repo::parse("config.json model.safetensors 1_D/config.json").with("modules.json", modules)
    };
    assert!(missing(&with("pylate.models.Dense.Dense")).is_empty());
    assert_eq!(missing(&with("custom_st.Dense")).len(), 1);
    assert_eq!(missing(&with("own.layers.Dense").with("own/other.py", "")).len(), 1, "the repo has the package");
}

#[test]
fn files_that_documents_list_and_the_repo_lacks_are_warnings() {
    let repo = Repo::parse("model.safetensors config.4.9.0.json").with(
        "config.json",
        r#"{"model_type": "x", "configuration_files": ["config.4.9.0.json", "config.5.0.0.json"]}"#,
    );
    assert!(matches!(missing(&repo).as_slice(), [(Severity::Warning, text)] if text.contains("config.5.0.0.json")));
    let tokenizer = |class: &str| {
        Repo::parse("config.json model.safetensors")
            .with("tokenizer_config.json", format!(r#"{{"tokenizer_class": "{class}"}}"#))
    };
    assert!(
        matches!(missing(&tokenizer("LlamaTokenizer")).as_slice(), [(Severity::Warning, text)] if text.contains("vocabulary"))
    );
    assert!(missing(&tokenizer("LlamaTokenizer").with("tokenizer.model", "x")).is_empty());
    assert!(missing(&tokenizer("ByT5Tokenizer")).is_empty(), "it reads bytes");
}

#[test]
fn an_audio_tokenizer_of_another_repo_is_reported() {
    let repo = Repo::parse("config.json model.safetensors")
        .with("audio_tokenizer_config.json", r#"{"audio_tokenizer_name_or_path": "descript/dac_44khz"}"#);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.selection.other_repos, ["descript/dac_44khz"]);
    assert!(outcome.has(Code::BaseModel) && outcome.takes("audio_tokenizer_config.json"));
}

#[test]
fn a_combined_pipeline_names_its_prior_and_a_plain_one_does_not() {
    let card = "---\nprior:\n- org/prior\n---\n";
    let repo = |class: &str| {
        Repo::parse("unet/config.json unet/diffusion_pytorch_model.safetensors")
            .with("README.md", card)
            .with(
                "model_index.json",
                format!(r#"{{"_class_name": "{class}", "unet": ["diffusers", "UNet2DConditionModel"]}}"#),
            )
            .taken(&Options::default())
            .selection
            .other_repos
    };
    assert_eq!(repo("StableCascadeCombinedPipeline"), ["org/prior"]);
    assert_eq!(repo("KandinskyV22Pipeline"), ["org/prior"]);
    assert!(repo("Kandinsky3Pipeline").is_empty() && repo("KandinskyPriorPipeline").is_empty());
}

#[test]
fn a_repo_of_code_gives_its_code() {
    let repo = Repo::parse("modeling_x.py configuration_x.py README.md train_it.py");
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.paths(), ["configuration_x.py", "modeling_x.py"]);
    let none = repo.taken(&Options { no_code: true, ..Options::default() });
    assert!(none.paths().is_empty());
}

#[test]
fn the_plain_one_of_several_variants_of_a_format_is_taken_or_the_user_is_asked() {
    use hfget_core::select::SelectError;
    let repo = Repo::parse("config.json 64.tflite 64-8bits.tflite 64-fp16.tflite");
    let outcome = repo.taken(&only("tflite"));
    assert_eq!((outcome.weights(), outcome.selection.weights[0].family), (vec!["64.tflite"], Family::TfLite));
    let parts = Repo::parse(
        "config.json openvino_encoder_model.xml openvino_encoder_model.bin openvino_decoder_model.xml openvino_decoder_model.bin",
    );
    assert_eq!(parts.taken(&only("openvino")).weights().len(), 4);
    let asked = Repo::parse("config.json tflite/m_fp16.tflite tflite/m_int8.tflite").select(&only("tflite"));
    assert!(matches!(asked, Err(SelectError::Several { choices, .. }) if choices.len() == 2));
}
