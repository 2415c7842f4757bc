//! Layouts that no known loader reads, parts in folders beside a model, and files that documents name: each rule
//! with a twin in which it must not act.

use hfget_core::finding::Code;
use hfget_core::model::{Family, Options};
use hfget_core::select::SelectError;

use crate::support::{Outcome, Repo, names, only, variant};

fn plain() -> Options {
    Options::default()
}

fn taken(repo: &Repo) -> Outcome {
    let outcome = repo.taken(&plain());
    outcome.check();
    outcome
}

fn asked(repo: &Repo) -> Vec<String> {
    match repo.select(&plain()) {
        Err(SelectError::Several { choices, .. } | SelectError::Ambiguous { choices }) => {
            names(&choices).into_iter().map(str::to_owned).collect()
        }
        Err(other) => panic!("{other:?}"),
        Ok(outcome) => panic!("{:?}", outcome.paths()),
    }
}

const LLAMA: &str = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#;

#[test]
fn a_layout_of_several_parts_is_taken_whole_but_its_documentation_media_and_training() {
    // CosyVoice: parts at the root and a model in a folder, described by a YAML file.
    let parts = "llm.pt flow.pt flow.cache.pt hift.pt campplus.onnx cosyvoice2.yaml CosyVoice-BlankEN/config.json
        CosyVoice-BlankEN/model.safetensors";
    let beside = "README.md asset/sample.wav asset/dingding.png optimizer.pt runs/events.out.tfevents.1 .gitattributes";
    let outcome = taken(&Repo::parse(&format!("{parts} {beside}")));
    let mut wanted: Vec<&str> = parts.split_whitespace().collect();
    wanted.sort_unstable();
    assert_eq!(outcome.paths(), wanted);
    assert!(outcome.has(Code::FamilyFallback));
}

#[test]
fn files_that_begin_alike_are_alternatives_that_the_user_must_choose_from() {
    assert_eq!(asked(&Repo::parse("sam_tiny.pt sam_small.pt sam_large.pt config.yaml")).len(), 3);
    // Without settings, nothing says that the files belong together.
    assert_eq!(asked(&Repo::parse("gpt.pt dvae.pt README.md")), ["dvae", "gpt"]);
}

#[test]
fn folders_of_one_kind_are_alternatives_and_of_several_kinds_parts() {
    let files = "config.yaml LLM/model.safetensors BiCodec/model.safetensors";
    let kinds = Repo::parse(files).with("LLM/config.json", LLAMA).with("BiCodec/config.yaml", "");
    assert_eq!(taken(&kinds).weights(), ["BiCodec/model.safetensors", "LLM/model.safetensors"]);
    let one = Repo::parse(files).with("LLM/config.json", LLAMA).with("BiCodec/config.json", LLAMA);
    assert_eq!(asked(&one), ["BiCodec", "LLM"]);
    let other = Repo::parse(files).with("LLM/config.json", LLAMA).with("BiCodec/config.json", r#"{"model_type": "x"}"#);
    assert_eq!(taken(&other).weights().len(), 2);
    // Each loads by itself, and nothing at the root describes the whole.
    let collection = Repo::parse("README.md LLM/model.safetensors BiCodec/model.safetensors")
        .with("LLM/config.json", LLAMA)
        .with("BiCodec/config.json", r#"{"model_type": "x"}"#);
    assert_eq!(asked(&collection), ["BiCodec", "LLM"]);
}

#[test]
fn folders_without_configs_and_with_names_of_their_own_are_parts() {
    // HunyuanVideo: `mp_rank_*_model_states.pt` is the model if there is no training state beside it.
    let repo = Repo::parse("README.md hunyuan/transformers/mp_rank_00_model_states.pt hunyuan/vae/pytorch_model.pt");
    assert_eq!(taken(&repo).weights().len(), 2);
    let training = Repo::parse(
        "config.json model.safetensors last/mp_rank_00_model_states.pt last/zero_pp_rank_0_mp_rank_00_optim_states.pt",
    );
    assert_eq!(taken(&training).weights(), ["model.safetensors"]);
}

#[test]
fn two_experts_are_both_taken() {
    let shards = |dir: &str| format!("{dir}/config.json {dir}/diffusion_pytorch_model.safetensors");
    let files =
        format!("{} {} configuration.json t5.pth VAE.pth", shards("high_noise_model"), shards("low_noise_model"));
    assert_eq!(taken(&Repo::parse(&files)).weights().len(), 4);
    let gguf = Repo::parse(
        "HighNoise/W-HighNoise-Q4_K_M.gguf HighNoise/W-HighNoise-Q8_0.gguf LowNoise/W-LowNoise-Q4_K_M.gguf",
    );
    assert_eq!(taken(&gguf).weights(), ["HighNoise/W-HighNoise-Q4_K_M.gguf", "LowNoise/W-LowNoise-Q4_K_M.gguf"]);
}

#[test]
fn a_folder_that_a_document_names_is_a_part_whatever_its_kind() {
    let config =
        "pipeline:\n  params:\n    segmentation: $model/segmentation@main\n    embedding: $model/embedding # why\n";
    let files = "segmentation/pytorch_model.bin embedding/pytorch_model.bin embedding/x.npz other.gif";
    let named = Repo::parse(files).with("config.yaml", config);
    assert_eq!(
        taken(&named).paths(),
        ["config.yaml", "embedding/pytorch_model.bin", "embedding/x.npz", "segmentation/pytorch_model.bin"]
    );
    assert_eq!(asked(&Repo::parse(files).with("config.yaml", "a: b\n")), ["embedding", "segmentation"]);
}

#[test]
fn files_that_values_of_a_config_name_are_taken() {
    let repo = Repo::parse("model.safetensors mimi.safetensors spm_32k.model other.safetensors asset/voice.bin")
        .with("config.json", r#"{"moshi_name": "model.safetensors", "parts": {"mimi": ["./mimi.safetensors"]}}"#);
    let outcome = taken(&repo);
    assert_eq!(outcome.weights(), ["asset/voice.bin", "mimi.safetensors", "model.safetensors"]);
    assert!(outcome.takes("spm_32k.model") && !outcome.takes("other.safetensors"));
}

#[test]
fn files_that_code_names_are_taken_except_other_formats_of_the_model() {
    let repo =
        Repo::parse("model.safetensors pytorch_model.bin assets/Vocos.pt assets/demo.wav x.gguf onnx/model.onnx")
            .with("config.json", r#"{"auto_map": {"AutoModel": "modeling_x.X"}}"#)
            .with(
                "modeling_x.py",
                "W = \"pytorch_model.bin\"\nx = load(d, 'assets/Vocos.pt')\nG = 'x.gguf'\nf = 'onnx'\n",
            );
    let outcome = taken(&repo);
    assert_eq!(outcome.weights(), ["assets/Vocos.pt", "model.safetensors"]);
    assert!(!outcome.takes("assets/demo.wav") && !outcome.takes("x.gguf") && !outcome.takes("onnx/model.onnx"));
}

#[test]
fn names_outside_the_repo_in_documents_are_ignored() {
    let repo = Repo::parse("model.safetensors a/b.txt").with(
        "config.json",
        r#"{"a": "../../etc/passwd", "b": "/a/b.txt", "c": "https://x/a", "d": "", "e": "*", "f": "."}"#,
    );
    assert!(taken(&repo).codes().is_empty());
}

#[test]
fn a_folder_beside_the_model_is_a_part_unless_it_is_a_copy() {
    let repo = |config: &str| {
        Repo::parse("model.safetensors vocoder/model.safetensors vocoder/notes.md")
            .with("config.json", LLAMA)
            .with("vocoder/config.json", config)
    };
    let part = taken(&repo(r#"{"model_type": "hifigan"}"#));
    assert_eq!(part.weights(), ["model.safetensors", "vocoder/model.safetensors"]);
    assert!(part.takes("vocoder/config.json") && !part.takes("vocoder/notes.md"));
    assert_eq!(taken(&repo(LLAMA)).weights(), ["model.safetensors"]);
    for other in ["gguf/x.gguf", "fp16/model.safetensors", "checkpoint-5/own.safetensors", "eagle/own.safetensors"] {
        let repo = Repo::parse("model.safetensors").with("config.json", LLAMA);
        let repo = Repo { files: repo.files.into_iter().chain([(other.to_owned(), 5)]).collect(), ..repo };
        assert!(!taken(&repo).takes(other), "{other}");
    }
}

#[test]
fn an_adapter_in_a_folder_goes_with_its_model_in_one_format() {
    let files = "model.safetensors speech-lora/adapter_config.json speech-lora/adapter_model.safetensors
        speech-lora/adapter_model.bin";
    let repo = Repo::parse(files).with("config.json", LLAMA);
    assert_eq!(taken(&repo).weights(), ["model.safetensors", "speech-lora/adapter_model.safetensors"]);
    let adapter = Repo::parse(
        "adapter_config.json adapter_model.safetensors reference/adapter_config.json reference/adapter_model.safetensors",
    );
    assert_eq!(taken(&adapter).weights(), ["adapter_model.safetensors"]);
}

#[test]
fn small_text_in_folders_is_taken_and_data_is_not() {
    let mut repo = Repo::parse(
        "model.safetensors experiment_cfg/metadata.json assets/tokenizer/vocab.spm samples/x.txt docs/a.md",
    )
    .with("config.json", LLAMA);
    for (name, size) in [("data/train.json", 5_000_000), ("assets/x.txt", 10), ("logs/x.json", 10)] {
        repo.files.insert(name.to_owned(), size);
    }
    let outcome = taken(&repo);
    for (name, wanted) in [
        ("experiment_cfg/metadata.json", true),
        ("assets/tokenizer/vocab.spm", true),
        ("assets/x.txt", true),
        ("data/train.json", false),
        ("samples/x.txt", false),
        ("logs/x.json", false),
        ("docs/a.md", false),
    ] {
        assert_eq!(outcome.takes(name), wanted, "{name}");
    }
}

#[test]
fn independent_weights_at_the_root_are_asked_for_and_beside_a_named_model_taken_together() {
    let files = "clip_l.safetensors t5xxl.safetensors README.md";
    assert_eq!(asked(&Repo::parse(files)), ["clip_l", "t5xxl"]);
    assert_eq!(Repo::parse(files).taken(&variant("t5xxl")).weights(), ["t5xxl.safetensors"]);
    let config = r#"{"architectures": ["X"]}"#;
    assert_eq!(taken(&Repo::parse(files).with("config.json", config)).weights().len(), 2);
    let twice = Repo::parse("x-fp8.safetensors x-bf16.safetensors").with("config.json", config);
    assert_eq!(asked(&twice), ["x-bf16", "x-fp8"]);
    assert_eq!(asked(&Repo::parse("s_000000250.safetensors s_000000500.safetensors")).len(), 2);
}

#[test]
fn gguf_files_of_several_models_are_asked_for_and_one_is_taken_by_its_name() {
    let repo = Repo::parse("tiny-1B-Q4_K_M.gguf tiny-1B-Q8_0.gguf big-70B-Q4_K_M.gguf");
    assert_eq!(asked(&repo), ["big-70B-Q4_K_M", "tiny-1B-Q4_K_M", "tiny-1B-Q8_0"]);
    assert_eq!(repo.taken(&variant("tiny-1B")).weights(), ["tiny-1B-Q4_K_M.gguf"]);
    assert_eq!(repo.taken(&variant("big-70B-Q4_K_M")).weights(), ["big-70B-Q4_K_M.gguf"]);
    assert_eq!(taken(&Repo::parse("m-Q4_K_M.gguf m-UD-Q2_K_XL.gguf m.i1-Q4_0.gguf")).weights(), ["m-Q4_K_M.gguf"]);
}

#[test]
fn the_only_variant_of_graphs_is_taken_and_with_several_the_user_is_asked() {
    let one = Repo::parse("config.json onnx/model_q4f16.onnx onnx/model_q4f16.onnx_data");
    let outcome = taken(&one);
    assert_eq!(outcome.weights(), ["onnx/model_q4f16.onnx", "onnx/model_q4f16.onnx_data"]);
    assert_eq!(outcome.selection.weights[0].variant.as_deref(), Some("q4f16"));
    assert_eq!(asked(&Repo::parse("config.json onnx/model_q4.onnx onnx/model_fp16.onnx")), ["fp16", "q4"]);
}

#[test]
fn a_graphs_external_data_are_those_that_it_names() {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let pair = field(13, &[field(1, b"location"), field(2, b"onnx__MatMul_1")].concat());
    let graph = field(7, &field(5, &[field(8, b"w"), pair].concat()));
    let repo = Repo::parse("config.json onnx__MatMul_1 stray.weight tokenizer.json").with("model.onnx", graph);
    assert_eq!(taken(&repo).weights(), ["model.onnx", "onnx__MatMul_1"]);
    let bare = Repo::parse("config.json model.onnx model.onnx_data tokenizer.json");
    let outcome = taken(&bare);
    assert_eq!((outcome.weights(), outcome.asked), (vec!["model.onnx", "model.onnx_data"], 1), "no graph is read");
}

#[test]
fn a_graph_brings_its_settings() {
    let repo = Repo::parse("en.onnx en.onnx.json MODEL_CARD");
    assert_eq!(taken(&repo).paths(), ["en.onnx", "en.onnx.json"]);
    let sherpa = Repo::parse("model.onnx tokens.txt espeak-ng-data/phontab rule.fst x.wav");
    assert!(["espeak-ng-data/phontab", "rule.fst"].iter().all(|name| taken(&sherpa).takes(name)));
}

#[test]
fn an_index_without_any_of_its_shards_is_stale_and_with_one_of_them_broken() {
    let output = ["output-00001-of-00002.safetensors", "output-00002-of-00002.safetensors"];
    let repo = Repo::of(output).index("model.safetensors.index.json", &["model-00001-of-00001.safetensors"]);
    let repo = repo.with("config.json", r#"{"model_type": "llama", "quantization_config": {"quant_method": "exl2"}}"#);
    let outcome = taken(&repo);
    assert_eq!(outcome.weights(), output);
    assert!(outcome.has(Code::FamilyIncomplete));
    let broken = Repo::of(output)
        .with("config.json", LLAMA)
        .index("model.safetensors.index.json", &[output[0], "gone.safetensors"]);
    assert!(matches!(broken.select(&plain()), Err(SelectError::NothingSelectable { .. })));
}

#[test]
fn exllama_reads_files_that_no_index_names() {
    let config =
        |method: &str| format!(r#"{{"model_type": "llama", "quantization_config": {{"quant_method": "{method}"}}}}"#);
    let repo = |method: &str| {
        Repo::parse("model-00001-of-00001.safetensors vision.safetensors")
            .with("config.json", config(method))
            .index("model.safetensors.index.json", &["model-00001-of-00001.safetensors"])
    };
    assert_eq!(taken(&repo("exl3")).selection.weights[0].files.len(), 2);
    assert!(!taken(&repo("gptq")).takes("vision.safetensors"));
}

#[test]
fn a_preset_of_keras_is_taken_with_its_settings_and_all_its_shards() {
    let settings = "config.json metadata.json tokenizer.json task.json assets/tokenizer/vocabulary.spm";
    let shards = "model_00000.weights.h5 model_00001.weights.h5";
    let repo = Repo::parse(&format!("{settings} {shards}"))
        .with("config.json", r#"{"class_name": "GemmaBackbone"}"#)
        .with("model.weights.json", r#"{"weight_map": {"/a": ["model_00000.weights.h5", "model_00001.weights.h5"]}}"#);
    let outcome = taken(&repo);
    assert_eq!((outcome.weights().len(), outcome.selection.left_out.len()), (2, 0));
    assert_eq!(outcome.selection.weights[0].family, Family::Tf);
}

#[test]
fn a_format_that_is_asked_for_brings_no_parts_of_another() {
    let repo = Repo::parse("model.safetensors vocoder/own.pt onnx/model.onnx").with("config.json", LLAMA);
    assert_eq!(repo.taken(&only("onnx")).weights(), ["onnx/model.onnx"]);
    assert_eq!(repo.taken(&plain()).weights(), ["model.safetensors", "vocoder/own.pt"]);
}

/// Checks that from a repo of `must` and `beside` every file of `must` is taken, and none of `beside`.
fn holds(name: &str, must: &str, beside: &str, documents: &[(&str, &str)]) {
    let mut repo = Repo::parse(&format!("{must} {beside}"));
    for (path, text) in documents {
        repo = repo.with(path, text);
    }
    let outcome = taken(&repo);
    for (files, wanted) in [(must, true), (beside, false)] {
        for file in files.split_whitespace() {
            assert_eq!(outcome.takes(file), wanted, "{name}: {file}");
        }
    }
}

#[test]
fn layouts_of_libraries_are_taken_whole() {
    holds(
        "BERTopic",
        "topics.json config.json topic_embeddings.safetensors ctfidf.safetensors ctfidf_config.json images/0.jpg",
        "README.md",
        &[("config.json", r#"{"calculate_probabilities": false}"#)],
    );
    holds(
        "ESPnet",
        "meta.yaml exp/asr/valid.acc.best.pth exp/asr/config.yaml exp/stats/feats_stats.npz data/token_list/bpe.model",
        "README.md exp/asr/images/loss.png",
        &[("meta.yaml", "files:\n  asr_model_file: exp/asr/valid.acc.best.pth\n")],
    );
    holds(
        "stable-baselines3",
        "ppo-X/policy.pth ppo-X/pytorch_variables.pth ppo-X/data ppo-X.zip vec_normalize.pkl config.json",
        "replay.mp4 README.md",
        &[("config.json", r#"{"policy_class": "x"}"#)],
    );
    holds(
        "TRELLIS",
        "pipeline.json ckpts/ss_dec.json ckpts/ss_dec.safetensors ckpts/slat_enc.json ckpts/slat_enc.safetensors",
        "assets/logo.webp",
        &[("pipeline.json", r#"{"args": {"models": {"a": "ckpts/ss_dec", "b": "ckpts/slat_enc"}}}"#)],
    );
    holds(
        "IndexTTS",
        "config.yaml gpt.pth s2mel.pth bpe.model feat1.pt feat2.pt stats.pt qwen-merge/config.json qwen-merge/model.safetensors",
        "README.md",
        &[(
            "config.yaml",
            "gpt_checkpoint: gpt.pth\nemo_matrix: feat2.pt\nspk_matrix: feat1.pt\nqwen_emo_path: qwen-merge/\n",
        )],
    );
    holds(
        "kokoro",
        "config.json kokoro-v1_0.pth voices/af_bella.pt voices/af_sky.pt",
        "samples/a.wav",
        &[("config.json", r#"{"n_token": 178}"#)],
    );
    holds(
        "kokoro in the browser",
        "config.json onnx/model.onnx voices/af.bin",
        "onnx/model_q4.onnx",
        &[("config.json", r#"{"model_type": "x"}"#)],
    );
    holds(
        "RAG",
        "config.json pytorch_model.bin question_encoder_tokenizer/vocab.txt generator_tokenizer/vocab.json",
        "tf_model.h5",
        &[("config.json", r#"{"model_type": "rag"}"#)],
    );
    holds(
        "HunyuanVideo",
        "hy/transformers/mp_rank_00_model_states.pt hy/vae/pytorch_model.pt hy/vae/config.json",
        "hy/transformers/mp_rank_00_model_states_fp8.pt README.md",
        &[],
    );
}

#[test]
fn collections_of_alternatives_in_folders_are_asked_for() {
    let repo = Repo::parse(
        "s/diffusion/wan_t2v_bf16.safetensors s/diffusion/wan_i2v_bf16.safetensors s/vae/wan_vae.safetensors README.md",
    );
    assert_eq!(asked(&repo), ["s/diffusion", "s/vae"]);
}

#[test]
fn settings_beside_a_known_model_name_its_parts_too() {
    let repo = Repo::parse("model.safetensors extra.pt other.pt")
        .with("config.json", LLAMA)
        .with("hyperparams.yaml", "a: extra.pt\n");
    let outcome = taken(&repo);
    assert!(outcome.takes("extra.pt") && !outcome.takes("other.pt"));
}
