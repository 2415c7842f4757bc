//! Compares the selection of every repo in `tests/data/listings.json` with `tests/data/expected.txt`, for both
//! preferences.

use std::collections::{BTreeMap, BTreeSet};

use hfget_core::finding::{Code, Severity};
use hfget_core::model::Family;
use hfget_core::select::SelectError;

use crate::support::{Repo, only, prefer};

/// Indexes: the repo, the index, and the beginning of its shards' names.
const INDEXES: &[(&str, &str, &str)] = &[
    ("OpenGVLab/InternVL3-78B", "model.safetensors.index.json", "model-"),
    ("Qwen/Qwen2.5-VL-7B-Instruct", "model.safetensors.index.json", "model-"),
    ("PKU-Alignment/beaver-7b-v1.0-cost", "model.safetensors.index.json", "model-"),
    ("meta-llama/Llama-3.1-8B-Instruct", "model.safetensors.index.json", "model-"),
    ("Wan-AI/Wan2.1-T2V-14B-Diffusers", "text_encoder/model.safetensors.index.json", "model-"),
    (
        "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model-",
    ),
    ("THUDM/chatglm3-6b", "model.safetensors.index.json", "model-"),
    ("THUDM/chatglm3-6b", "pytorch_model.bin.index.json", "pytorch_model-"),
    ("openai/whisper-large-v3", "model.safetensors.index.fp32.json", "model.fp32-"),
    ("openai/whisper-large-v3", "pytorch_model.bin.index.fp32.json", "pytorch_model.fp32-"),
    ("openai/gpt-oss-20b", "model.safetensors.index.json", "model-"),
    ("bigscience/bloom", "model.safetensors.index.json", "model_"),
    ("bigscience/bloom", "pytorch_model.bin.index.json", "pytorch_model_"),
    ("deepseek-ai/DeepSeek-R1", "model.safetensors.index.json", "model-"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "model.safetensors.index.json", "model-"),
];

/// Documents whose content matters.
const DOCUMENTS: &[(&str, &str, &str)] = &[
    (
        "stabilityai/stable-diffusion-xl-base-1.0",
        "model_index.json",
        r#"{"_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.19.0", "force_zeros_for_empty_prompt": true,
            "add_watermarker": null, "scheduler": ["diffusers", "EulerDiscreteScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}"#,
    ),
    (
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "model_index.json",
        r#"{"_class_name": "StableDiffusionPipeline", "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "scheduler": ["diffusers", "PNDMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}"#,
    ),
    (
        "Wan-AI/Wan2.1-T2V-14B-Diffusers",
        "model_index.json",
        r#"{"_class_name": "WanPipeline", "scheduler": ["diffusers", "UniPCMultistepScheduler"],
            "text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"],
            "transformer": ["diffusers", "WanTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLWan"]}"#,
    ),
    ("BAAI/bge-base-en-v1.5", "modules.json", MODULES),
    ("sentence-transformers/all-MiniLM-L6-v2", "modules.json", MODULES),
    (
        "THUDM/chatglm3-6b",
        "config.json",
        r#"{"auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig",
            "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration"}, "tie_word_embeddings": false}"#,
    ),
    (
        "THUDM/chatglm3-6b",
        "tokenizer_config.json",
        r#"{"auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", null]}}"#,
    ),
    ("THUDM/chatglm3-6b", "configuration_chatglm.py", "from transformers import PretrainedConfig\n"),
    ("THUDM/chatglm3-6b", "tokenization_chatglm.py", "import os\nimport torch\n"),
    (
        "THUDM/chatglm3-6b",
        "modeling_chatglm.py",
        "import torch\nfrom .configuration_chatglm import ChatGLMConfig\n\ndef quantize(self, bits):\n    from .quantization import quantize\n",
    ),
    (
        "OpenGVLab/InternVL3-78B",
        "config.json",
        r#"{"auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": "modeling_internvl_chat.InternVLChatModel"}, "llm_config": {"tie_word_embeddings": false}}"#,
    ),
    (
        "OpenGVLab/InternVL3-78B",
        "modeling_internvl_chat.py",
        "from .configuration_internvl_chat import InternVLChatConfig\nfrom .conversation import get_conv_template\nfrom .modeling_intern_vit import InternVisionModel, has_flash_attn\n",
    ),
    (
        "OpenGVLab/InternVL3-78B",
        "configuration_internvl_chat.py",
        "from .configuration_intern_vit import InternVisionConfig\n",
    ),
    (
        "deepseek-ai/DeepSeek-R1",
        "config.json",
        r#"{"auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config", "AutoModel": "modeling_deepseek.DeepseekV3Model"},
            "num_nextn_predict_layers": 1, "tie_word_embeddings": false}"#,
    ),
    ("deepseek-ai/DeepSeek-R1", "modeling_deepseek.py", "from .configuration_deepseek import DeepseekV3Config\n"),
];

const MODULES: &str = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

/// Every repo with its files and documents.
pub fn repos() -> Vec<Repo> {
    let listings: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(include_str!("../data/listings.json")).expect("the data parses");
    let repos = listings.into_iter().map(|(id, listing)| {
        let files = listing["files"].as_array().expect("files").iter().map(|f| f.as_str().expect("a name").to_owned());
        let mut repo = Repo { id: id.clone(), ..Repo::of(files) };
        for (path, size) in listing["sizes"].as_object().into_iter().flatten() {
            repo.files.insert(path.clone(), size.as_u64().expect("a size"));
        }
        for (_, path, start) in INDEXES.iter().filter(|(repo, ..)| *repo == id) {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let extension = if path.contains(".bin.") { ".bin" } else { ".safetensors" };
            let names: Vec<String> = repo
                .files
                .keys()
                .filter_map(|f| {
                    let (d, name) = f.rsplit_once('/').unwrap_or(("", f));
                    (d == dir && name.starts_with(start) && name.ends_with(extension)).then(|| name.to_owned())
                })
                .collect();
            repo = repo.index(path, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for (_, path, content) in DOCUMENTS.iter().filter(|(repo, ..)| *repo == id) {
            assert!(repo.files.contains_key(*path), "{id} has {path}");
            repo = repo.with(path, content);
        }
        repo
    });
    repos.collect()
}

/// The expectations: by repo, then by key.
fn expected() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut repo = String::new();
    for line in include_str!("../data/expected.txt").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            name.clone_into(&mut repo);
            assert!(all.insert(repo.clone(), BTreeMap::new()).is_none(), "{repo} occurs twice");
        } else if !line.starts_with('#') && !line.trim().is_empty() {
            let (key, value) = line.split_once(':').expect("key: value");
            let fresh = all.get_mut(&repo).expect("under a repo").insert(key.to_owned(), value.trim().to_owned());
            assert!(fresh.is_none(), "{repo}: {key} occurs twice");
        }
    }
    all
}

/// Expands `{a..b}` and splits at white space.
fn names(text: &str) -> BTreeSet<String> {
    let expand = |word: &str| match word.split_once('{').and_then(|(l, r)| Some((l, r.split_once('}')?))) {
        Some((left, (range, right))) => {
            let (from, to) = range.split_once("..").expect("a range");
            let (width, from, to): (usize, u32, u32) = (from.len(), from.parse().expect("n"), to.parse().expect("n"));
            (from..=to).map(|n| format!("{left}{n:0width$}{right}")).collect()
        }
        None => vec![word.to_owned()],
    };
    text.split_whitespace().flat_map(expand).collect()
}

fn check(repo: &Repo, family: &str, expected: &BTreeMap<String, String>) {
    let want = &expected[family];
    let result = repo.select(&prefer(family));
    if let Some(error) = want.strip_prefix("error ") {
        let told = match result.map(|o| o.selection).expect_err("an error") {
            SelectError::Ambiguous { choices } => format!("ambiguous {}", crate::support::names(&choices).join(" ")),
            SelectError::NothingSelectable { found, .. } => {
                format!("nothing {}", found.iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>().join(" "))
            }
            other => format!("{other:?}"),
        };
        assert_eq!(told, error, "{} --prefer {family}", repo.id);
        return;
    }
    let outcome = result.unwrap_or_else(|error| panic!("{} --prefer {family}: {error:?}", repo.id));
    outcome.check();
    let (fallback, weights) = match want.strip_prefix("else ").and_then(|w| w.split_once(": ")) {
        Some((other, weights)) => (Some(other), weights),
        None => (None, if want == "none" { "" } else { want.as_str() }),
    };
    let weights = names(weights);
    let place = format!("{} --prefer {family}", repo.id);
    assert_eq!(outcome.weights().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), weights, "{place}");
    let all: BTreeSet<String> =
        weights.union(&names(expected.get("also").map_or("", String::as_str))).cloned().collect();
    assert_eq!(outcome.paths().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), all, "{place}");
    let reasons: BTreeSet<String> = outcome.selection.left_out.iter().map(|g| g.reason.to_string()).collect();
    let left: BTreeSet<String> = expected[&format!("left {family}")].split("; ").map(str::to_owned).collect();
    assert_eq!(reasons, left, "{place}");
    assert_eq!(outcome.has(Code::FamilyFallback), fallback.is_some(), "{place}: {:?}", outcome.selection.findings);
    assert_eq!(outcome.has(Code::WeightsAbsent), want == "none", "{place}");
    for set in &outcome.selection.weights {
        assert_eq!(set.family.as_str(), fallback.unwrap_or(family), "{place}");
        // Parts of other kinds have no index.
        assert_eq!(set.index.is_some(), set.files.len() > 1 && set.family != Family::Pt, "{place}");
    }
    let wrong: Vec<_> = outcome
        .selection
        .findings
        .iter()
        .filter(|f| ![Code::FamilyFallback, Code::WeightsAbsent].contains(&f.code))
        .collect();
    assert!(wrong.is_empty(), "{place}: {wrong:?}");
    assert!(outcome.rounds <= 2, "{place}: {} rounds", outcome.rounds);
}

#[test]
fn every_listed_repo_gives_the_expected_selection_for_either_preference() {
    let expected = expected();
    let repos = repos();
    assert_eq!(repos.len(), 47);
    assert_eq!(
        repos.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(),
        expected.keys().map(String::as_str).collect::<Vec<_>>()
    );
    for repo in &repos {
        for family in ["safetensors", "bin"] {
            check(repo, family, &expected[&repo.id]);
        }
    }
}

#[test]
fn without_a_preference_safetensors_come_first_and_falling_back_is_not_a_finding() {
    let expected = expected();
    for repo in repos().iter().filter(|r| !expected[&r.id]["safetensors"].starts_with("error")) {
        let plain = repo.taken(&hfget_core::model::Options::default());
        let preferred = repo.taken(&prefer("safetensors"));
        assert_eq!(plain.selection.files, preferred.selection.files, "{}", repo.id);
        // If there are no weights of either kind, a note is enough.
        let standard =
            |s: &hfget_core::model::WeightSet| matches!(s.family, Family::Safetensors | Family::Bin | Family::Mistral);
        let said = plain.selection.findings.iter().find(|f| f.code == Code::FamilyFallback);
        assert_eq!(said.is_none(), plain.selection.weights.iter().all(standard), "{}", repo.id);
        assert!(said.is_none_or(|f| f.severity == Severity::Note), "{}", repo.id);
    }
}

#[test]
fn everything_is_taken_with_all_and_every_set_is_recognised() {
    for repo in repos() {
        let outcome = repo.taken(&hfget_core::model::Options { all: true, ..Default::default() });
        outcome.check();
        assert!(outcome.selection.left_out.is_empty(), "{}", repo.id);
        let safetensors = repo.files.keys().filter(|f| f.ends_with(".safetensors")).count();
        let in_sets = outcome.weights().iter().filter(|f| f.ends_with(".safetensors")).count();
        assert_eq!(in_sets, safetensors, "{}", repo.id);
    }
    let whisper = repos().into_iter().find(|r| r.id == "openai/whisper-large-v3").expect("it is listed");
    let sets = whisper.taken(&hfget_core::model::Options { all: true, ..Default::default() }).selection.weights;
    assert_eq!(sets.len(), 5, "two families, each with and without the fp32 variant, and Flax");
}

#[test]
fn keras_and_flax_weights_are_taken_when_they_are_asked_for() {
    let mut seen = 0;
    for repo in repos() {
        for (family, single) in [("tf", "tf_model.h5"), ("flax", "flax_model.msgpack")] {
            // At the root, or in a folder of a pipeline.
            let held: Vec<&str> = repo
                .files
                .keys()
                .map(String::as_str)
                .filter(|f| f.ends_with(single) || family == "flax" && f.ends_with("diffusion_flax_model.msgpack"))
                .collect();
            if held.is_empty() {
                assert!(repo.select(&only(family)).is_err(), "{}", repo.id);
                continue;
            }
            seen += 1;
            let outcome = repo.taken(&only(family));
            outcome.check();
            assert_eq!(outcome.weights(), held, "{}", repo.id);
        }
    }
    assert!(seen > 25, "{seen}");
}
