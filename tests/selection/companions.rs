//! Files beside the weights: adapters and their base models, modules with a scope of their own, code, other files that
//! loaders read; one test per rule.

use hfget_core::finding::{Code, Severity};
use hfget_core::model::{Options, Purpose};

use crate::support::{Repo, prefer};

fn plain() -> Options {
    Options::default()
}

#[test]
fn an_adapter_brings_its_settings_and_names_its_base_model() {
    let repo = Repo::parse("adapter_model.safetensors adapter_model.bin tokenizer.json README.md training_args.bin checkpoint-5/adapter_model.safetensors")
        .with("adapter_config.json", r#"{"base_model_name_or_path": "meta-llama/Llama-2-7b-hf"}"#);
    let outcome = repo.taken(&prefer("safetensors"));
    outcome.check();
    assert_eq!(outcome.paths(), ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]);
    assert_eq!(outcome.selection.other_repos, ["meta-llama/Llama-2-7b-hf"]);
    let finding = outcome.selection.findings.iter().find(|f| f.code == Code::BaseModel).expect("a note");
    assert_eq!(finding.severity, Severity::Note);
    assert_eq!(outcome.left("checkpoint-5/adapter_model.safetensors").as_deref(), Some("training state"));
    assert_eq!(repo.taken(&prefer("bin")).weights(), ["adapter_model.bin"]);

    let local = Repo::parse("adapter_model.safetensors")
        .with("adapter_config.json", r#"{"base_model_name_or_path": "/home/me/llama"}"#);
    let outcome = local.taken(&plain());
    assert!(outcome.selection.other_repos.is_empty() && outcome.has(Code::BaseModel));
}

#[test]
fn an_adapter_beside_its_model_is_taken_with_it() {
    let repo = Repo::parse("config.json model.safetensors adapter_model.safetensors adapter_config.json");
    let outcome = repo.taken(&plain());
    outcome.check();
    assert_eq!(outcome.weights(), ["adapter_model.safetensors", "model.safetensors"]);
}

#[test]
fn sentence_transformers_modules_are_scopes_of_their_own() {
    let repo = Repo::parse(
        "config.json model.safetensors pytorch_model.bin 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors
         2_Dense/pytorch_model.bin 3_Dense/config.json 3_Dense/pytorch_model.bin onnx/model.onnx vocab.txt",
    )
    .with(
        "modules.json",
        r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
            {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
            {"idx":2,"name":"2","path":"2_Dense","type":"sentence_transformers.models.Dense"},
            {"idx":3,"name":"3","path":"3_Dense","type":"sentence_transformers.models.Dense"}]"#,
    );
    let outcome = repo.taken(&prefer("safetensors"));
    outcome.check();
    assert_eq!(outcome.weights(), ["2_Dense/model.safetensors", "3_Dense/pytorch_model.bin", "model.safetensors"]);
    assert!(outcome.has(Code::FamilyFallback), "3_Dense has bin only");
    assert!(outcome.takes("1_Pooling/config.json") && outcome.takes("3_Dense/config.json"));
    let scopes: Vec<_> = outcome.selection.weights.iter().map(|s| s.scope.as_str()).collect();
    assert_eq!(scopes, ["", "2_Dense", "3_Dense"]);
    assert_eq!(
        repo.taken(&prefer("bin")).weights(),
        ["2_Dense/pytorch_model.bin", "3_Dense/pytorch_model.bin", "pytorch_model.bin"]
    );
}

#[test]
fn a_transformer_in_a_module_folder_and_a_router_are_followed() {
    let repo = Repo::parse(
        "0_CLIPModel/config.json 0_CLIPModel/pytorch_model.bin 0_CLIPModel/merges.txt 0_CLIPModel/vocab.json README.md",
    )
    .with(
        "modules.json",
        r#"[{"idx":0,"name":"0","path":"0_CLIPModel","type":"sentence_transformers.models.CLIPModel"}]"#,
    );
    let outcome = repo.taken(&plain());
    assert_eq!(outcome.weights(), ["0_CLIPModel/pytorch_model.bin"]);
    assert!(outcome.takes("0_CLIPModel/merges.txt"));

    let repo = Repo::parse("query_0_Static/model.safetensors query_0_Static/tokenizer.json document_0_MLM/config.json document_0_MLM/model.safetensors other/model.safetensors")
        .with("modules.json", r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Router"}]"#)
        .with("router_config.json", r#"{"types": {"query_0_Static": "x.StaticEmbedding", "document_0_MLM": "x.MLMTransformer"}}"#);
    let outcome = repo.taken(&plain());
    outcome.check();
    assert_eq!(outcome.weights(), ["document_0_MLM/model.safetensors", "query_0_Static/model.safetensors"]);
    assert!(outcome.rounds <= 2);
}

#[test]
fn code_in_another_repo_is_reported_and_custom_modules_bring_theirs() {
    // jinaai/jina-embeddings-v3: auto_map to another repo, and custom_st.py of its own.
    let repo = Repo::parse("model.safetensors custom_st.py other.py 1_Pooling/config.json")
        .with("config.json", r#"{"auto_map": {"AutoModel": "jinaai/xlm-roberta-flash-implementation--modeling_lora.X"}}"#)
        .with("modules.json", r#"[{"idx":0,"name":"0","path":"","type":"custom_st.Transformer"},{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]"#)
        .with("custom_st.py", "import os\n");
    let outcome = repo.taken(&plain());
    outcome.check();
    assert!(outcome.takes("custom_st.py") && !outcome.takes("other.py"));
    assert_eq!(outcome.selection.other_repos, ["jinaai/xlm-roberta-flash-implementation"]);
    assert_eq!(outcome.codes(), [Code::ForeignCode]);
    let code: Vec<&str> = outcome.selection.code_repos.iter().map(hfget_core::model::RepoId::as_str).collect();
    assert_eq!(code, ["jinaai/xlm-roberta-flash-implementation"]);
    let outcome = repo.taken(&Options { no_code: true, ..plain() });
    assert!(!outcome.takes("custom_st.py"));
    assert_eq!(outcome.left("custom_st.py").as_deref(), Some("remote code, which is not wanted"));
}

/// A repo with more Python files than a plan reads by their names alone; `helper.py` is only imported.
fn with_helpers(helper: &str) -> Repo {
    let names = ["modeling_x", "modeling_y", "configuration_x", "processing_x", "image_processing_x", "tokenization_x"];
    let repo = Repo::parse("model.safetensors README.md assets/demo.wav")
        .with(
            "config.json",
            r#"{"model_type": "x", "auto_map": {"AutoConfig": "configuration_x.C", "AutoModel": "modeling_x.M"}}"#,
        )
        .with("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": ["tokenization_x.T", null]}}"#)
        .with(
            "preprocessor_config.json",
            r#"{"auto_map": {"AutoProcessor": "processing_x.P", "AutoImageProcessor": "image_processing_x.I"}}"#,
        )
        .with("helper.py", helper)
        .with("second.py", "");
    let repo = names.iter().fold(repo, |repo, name| repo.with(&format!("{name}.py"), ""));
    repo.with("modeling_x.py", "from .modeling_y import Y\nfrom .helper import h\nfrom .second import s\n")
}

#[test]
fn a_helper_that_can_name_nothing_new_is_taken_without_a_look() {
    let outcome = with_helpers("from .second import s\n").taken(&plain());
    outcome.check();
    assert!(outcome.takes("helper.py") && outcome.takes("second.py"));
    assert_eq!((outcome.asked, outcome.rounds), (9, 1), "three settings and six files of code");
    // With few files of code, all come in the first round and are read.
    let few = Repo::parse("model.safetensors")
        .with("config.json", r#"{"model_type": "x", "auto_map": {"AutoModel": "modeling_x.M"}}"#)
        .with("modeling_x.py", "from .helper import h\n")
        .with("helper.py", "");
    let outcome = few.taken(&plain());
    assert_eq!((outcome.asked, outcome.rounds), (3, 1));
}

#[test]
fn a_helper_is_read_if_it_may_name_a_module_or_a_file_that_is_not_taken() {
    let outcome = with_helpers("from .package.module import m\n").with("package/module.py", "").taken(&plain());
    outcome.check();
    assert!(outcome.takes("package/module.py"));
    let data = "load(\"assets/table.npz\")\n";
    let outcome = with_helpers(data).with("assets/table.npz", "table").taken(&plain());
    outcome.check();
    assert!(outcome.takes("assets/table.npz"));
    let outcome = with_helpers("").with("assets/table.npz", "table").taken(&plain());
    assert!(!outcome.takes("assets/table.npz"), "no document names it");
}

#[test]
fn code_that_a_config_names_is_read_whatever_its_name_is() {
    let load = "load(\"assets/voice.wav\")\n";
    let repo = Repo::parse("model.safetensors assets/voice.wav assets/demo.wav")
        .with("config.json", r#"{"model_type": "x", "auto_map": {"AutoModel": "model.M"}}"#);
    for repo in [
        repo.clone().with("model.py", load),
        repo.clone().with("model.py", "from .inference_tools import t\n").with("inference_tools.py", load),
        ["a", "b", "c", "d", "e", "f", "g"]
            .iter()
            .fold(repo.with("model.py", load), |repo, name| repo.with(&format!("{name}.py"), "")),
    ] {
        let outcome = repo.taken(&plain());
        outcome.check();
        assert!(outcome.takes("assets/voice.wav") && !outcome.takes("assets/demo.wav"));
    }
}

#[test]
fn remote_code_brings_what_it_imports_and_its_kernels() {
    // Qwen/Qwen-7B, with an import chain and a package.
    let repo = Repo::parse("model.safetensors qwen.tiktoken cache_kernel_256.cpp cache_kernel_256.cu unrelated.py")
        .with("config.json", r#"{"auto_map": {"AutoModel": "modeling_qwen.Q"}}"#)
        .with("tokenizer_config.json", r#"{"auto_map": {"AutoTokenizer": ["tokenization_qwen.T", null]}}"#)
        .with("modeling_qwen.py", "try:\n    from .a import x\nexcept ImportError:\n    pass\nfrom . import b\n")
        .with("tokenization_qwen.py", "")
        .with("a.py", "from .pkg.c import y\n")
        .with("b.py", "")
        .with("pkg/c.py", "from .d import z\n")
        .with("pkg/d.py", "");
    let outcome = repo.taken(&plain());
    outcome.check();
    for file in [
        "modeling_qwen.py",
        "tokenization_qwen.py",
        "a.py",
        "b.py",
        "pkg/c.py",
        "pkg/d.py",
        "qwen.tiktoken",
        "cache_kernel_256.cu",
    ] {
        assert!(outcome.takes(file), "{file}");
    }
    assert_eq!(outcome.left("unrelated.py").as_deref(), Some("code that no loader runs"));
    let code = outcome.selection.files.iter().filter(|f| f.purpose == Purpose::Code).count();
    assert_eq!(code, 8);
    let outcome = repo.taken(&Options { no_code: true, ..plain() });
    assert!(outcome.paths().iter().all(|f| !f.ends_with(".py") && !f.ends_with(".cu")));
}

#[test]
fn code_that_is_named_but_absent_is_reported_and_own_repo_id_is_not_foreign() {
    let repo = Repo::parse("model.safetensors modeling_y.py")
        .with("config.json", r#"{"auto_map": {"A": "gone.X", "B": "org/repo--modeling_y.Y"}}"#)
        .with("modeling_y.py", "");
    let outcome = repo.taken(&plain());
    assert_eq!(outcome.codes(), [Code::CompanionMissing]);
    assert!(outcome.takes("modeling_y.py") && outcome.selection.other_repos.is_empty());
}

#[test]
fn companions_of_odd_purposes_are_taken() {
    let repo = Repo::parse(
        "config.json pytorch_model.bin config.4.9.0.json tokenizer.4.0.0.json additional_chat_templates/rag.jinja
         additional_chat_templates/deep/x.jinja speaker_embeddings_path.json speaker_embeddings/v2/en_0.npy text.pt spk_dict.pt
         custom_generate/generate.py custom_generate/requirements.txt generation_config_for_summarization.json chat_template.jinja",
    )
    .with("video_preprocessor_config.json", r#"{"font": "Roboto.ttf"}"#)
    .with("Roboto.ttf", "x");
    let outcome = repo.taken(&plain());
    outcome.check();
    for file in [
        "config.4.9.0.json",
        "tokenizer.4.0.0.json",
        "additional_chat_templates/rag.jinja",
        "speaker_embeddings/v2/en_0.npy",
        "spk_dict.pt",
        "custom_generate/generate.py",
        "Roboto.ttf",
        "chat_template.jinja",
    ] {
        assert!(outcome.takes(file), "{file}");
    }
    for file in ["generation_config_for_summarization.json", "text.pt"] {
        assert!(!outcome.takes(file), "{file}");
    }
}

#[test]
fn language_adapters_are_left_out_beside_the_model() {
    let repo = Repo::parse("config.json model.safetensors adapter.fra.safetensors adapter.deu.bin vocab.json");
    let outcome = repo.taken(&plain());
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert_eq!(outcome.left("adapter.fra.safetensors").as_deref(), Some("language adapters"));
    let outcome = repo.taken(&Options { with: vec!["adapter.fra.*".into()], ..plain() });
    assert!(outcome.takes("adapter.fra.safetensors"));
}

#[test]
fn tied_embeddings_are_read_from_the_config_of_the_scope() {
    for (config, tied) in [
        (r#"{"tie_word_embeddings": true}"#, true),
        (r#"{"tie_word_embeddings": false}"#, false),
        (r#"{"model_type": "bert"}"#, true),
        (r#"{"text_config": {"tie_word_embeddings": false}}"#, false),
        (r#"{"llm_config": {"tie_word_embeddings": false}}"#, false),
        (r#"{"tie_word_embeddings": true, "text_config": {"tie_word_embeddings": false}}"#, true),
    ] {
        let outcome = Repo::parse("model.safetensors").with("config.json", config).taken(&plain());
        assert_eq!(outcome.selection.weights[0].tied_embeddings, tied, "{config}");
    }
}

#[test]
fn a_model_without_a_config_is_taken_with_a_warning() {
    assert_eq!(Repo::parse("model.safetensors").taken(&plain()).codes(), [Code::CompanionMissing]);
    assert!(Repo::parse("config.json model.safetensors").taken(&plain()).codes().is_empty());
}
