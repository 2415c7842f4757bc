//! The small files that loaders read beside the weights, by name and purpose. `siblings` and
//! `sentence` find files that only a document names (remote code, modules).

use super::classify::has_ext;
use crate::model::Purpose;

/// The purpose of a file directly in a model's folder, and the reason to take it; `None` if no
/// loader looks for that name.
///
/// Sources: `transformers` (`utils/__init__.py`, `tokenization_utils_base.py`, every `VOCAB_FILES_NAMES`
/// of versions 4 and 5, `processing_utils.py`), `sentence-transformers`, `peft`, `vllm`'s `weight_utils.py`, `lerobot`'s
/// `processor/pipeline.py`.
pub(super) fn companion(name: &str) -> Option<(Purpose, &'static str)> {
    use Purpose as P;
    Some(match name {
        "config.json" => (P::Config, "the model's configuration"),
        "configuration.json" => (P::Config, "ModelScope's configuration"),
        "open_clip_config.json" => (P::Config, "open_clip's configuration"),
        "genai_config.json" => (P::Config, "onnxruntime-genai's configuration"),
        "config.yaml" | "hyperparams.yaml" => (P::Config, "the pipeline's configuration"),
        "decision.json" | "decision_template.jinja" => (P::Config, "a part of the configuration"),
        "generation_config.json" => (P::Generation, "generation defaults"),
        "tokenizer.json"
        | "tokenizer_config.json"
        | "special_tokens_map.json"
        | "added_tokens.json"
        | "vocab.json"
        | "merges.txt"
        | "vocab.txt"
        | "spiece.model"
        | "sentencepiece.bpe.model"
        | "sentencepiece.model"
        | "tokenizer.model"
        | "spm.model"
        | "spm_char.model"
        | "source.spm"
        | "target.spm"
        | "target_vocab.json"
        | "vocab-src.json"
        | "vocab-tgt.json"
        | "bpe.codes"
        | "dict.txt"
        | "entity_vocab.json"
        | "normalizer.json"
        | "emoji.json"
        | "word_shape.json"
        | "word_pronunciation.json"
        | "byte_maps.json"
        | "prophetnet.tokenizer"
        | "vocab.pkl"
        | "vocab.bin"
        | "artists.json"
        | "genres.json"
        | "lyrics.json"
        | "bpe_encoder.bin"
        | "tekken.json"
        | "tiktoken.model"
        | "ice_text.model"
        | "merges.json"
        | "vocabulary.json"
        | "vocabulary.txt" => (P::Tokenizer, "tokenizer"),
        "whitespacetokenizer_config.json" | "phrasetokenizer_config.json" => {
            (P::Tokenizer, "sentence-transformers tokenizer")
        }
        "chat_template.jinja" | "chat_template.json" => (P::ChatTemplate, "chat template"),
        "processor_config.json"
        | "preprocessor_config.json"
        | "video_preprocessor_config.json"
        | "audio_tokenizer_config.json"
        | "image_processor_config.json"
        | "feature_extractor_config.json" => (P::Processor, "processor"),
        "policy_preprocessor.json" | "policy_postprocessor.json" => (P::Processor, "lerobot's processor"),
        "speaker_embeddings_path.json" => (P::Processor, "speaker embeddings"),
        "spk_dict.pt" => (P::Processor, "the speaker table that the processor loads"),
        "config_setfit.json" | "model_head.pkl" => (P::Pipeline, "SetFit's head and its settings"),
        "colbert_linear.pt" | "sparse_linear.pt" => (P::Pipeline, "FlagEmbedding's heads"),
        "tokens.txt" => (P::Tokenizer, "sherpa-onnx's tokens"),
        "alphabet.json" => (P::Processor, "language-model decoding"),
        "quantize_config.json" | "quant_config.json" | "hf_quant_config.json" | "quantization_config.json" => {
            (P::Quantization, "quantization settings")
        }
        "adapter_config.json" | "xlora_config.json" | "xlora_classifier.safetensors" => {
            (P::Adapter, "adapter settings")
        }
        "modules.json" | "router_config.json" | "config_sentence_transformers.json" => {
            (P::Pipeline, "sentence-transformers modules")
        }
        "lstm_config.json" | "cnn_config.json" | "wordembedding_config.json" | "idf.json" => {
            (P::Pipeline, "sentence-transformers module")
        }
        "model_index.json" | "modular_model_index.json" => (P::Pipeline, "the pipeline's components"),
        _ => return by_pattern(name),
    })
}

fn by_pattern(name: &str) -> Option<(Purpose, &'static str)> {
    use Purpose as P;
    let between =
        |start: &str, end: &str| name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
    if between("sentence_", "_config.json") {
        return Some((P::Pipeline, "sentence-transformers module"));
    }
    // `config.4.0.0.json`, `tokenizer.4.0.0.json`: the library picks one by its version (`configuration_files`,
    // `fast_tokenizer_files`).
    let versioned = |start: &str| {
        between(start, ".json") && name[start.len()..name.len() - 5].bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    if versioned("config.") {
        return Some((P::Config, "configuration for a library version"));
    }
    if versioned("tokenizer.") {
        return Some((P::Tokenizer, "tokenizer for a library version"));
    }
    // The states of its steps: `policy_preprocessor_step_5_normalizer_processor.safetensors`.
    if between("policy_preprocessor_step_", ".safetensors") || between("policy_postprocessor_step_", ".safetensors") {
        return Some((P::Processor, "a state of lerobot's processor"));
    }
    // Names of tokenizers of remote code and of other libraries: SentencePiece and tiktoken files,
    // word lists and merge lists of any name.
    let known = has_ext(name, &["tiktoken", "spm", "spm_model", "bpe"])
        || (has_ext(name, &["model"]) && !name.starts_with("lid"))
        || between("vocab_", ".txt")
        || between("vocab_", ".json")
        || between("vocab.", ".txt")
        || between("merges_", ".txt")
        || between("tokenizer_", ".json")
        || between("dict.", ".txt");
    known.then_some((P::Tokenizer, "tokenizer"))
}

/// Whether this is a tokenizer of Mistral's own format, with the version in its name
/// (`vllm/transformers_utils/tokenizers/mistral.py`).
pub(super) fn mistral_tokenizer(name: &str) -> bool {
    name.starts_with("tokenizer.model.v") || name.starts_with("tokenizer.mm.model.v")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_tokenizer_names_are_known() {
        for name in [
            "bpe_encoder.bin",
            "ice_text.model",
            "qwen.tiktoken",
            "source.spm",
            "spm_char.model",
            "normalizer.json",
            "tokenizer.4.0.0.json",
            "vocab-src.json",
            "prophetnet.tokenizer",
            "vocab.bin",
            "dict.txt",
            "tekken.json",
            "sentencepiece.bpe.model",
            "tiktoken.model",
            "byte_maps.json",
        ] {
            assert_eq!(companion(name).map(|c| c.0), Some(Purpose::Tokenizer), "{name}");
        }
    }

    #[test]
    fn other_companions_are_known_by_purpose() {
        for (name, purpose) in [
            ("config.json", Purpose::Config),
            ("config.4.10.0.json", Purpose::Config),
            ("hf_quant_config.json", Purpose::Quantization),
            ("chat_template.json", Purpose::ChatTemplate),
            ("video_preprocessor_config.json", Purpose::Processor),
            ("sentence_roberta_config.json", Purpose::Pipeline),
            ("policy_preprocessor.json", Purpose::Processor),
            ("policy_postprocessor_step_0_unnormalizer_processor.safetensors", Purpose::Processor),
            ("genai_config.json", Purpose::Config),
            ("adapter_config.json", Purpose::Adapter),
        ] {
            assert_eq!(companion(name).map(|c| c.0), Some(purpose), "{name}");
        }
    }

    #[test]
    fn a_file_that_no_loader_reads_is_not_a_companion() {
        for name in [
            "README.md",
            "labels.json",
            "data_config.json",
            "training_args.bin",
            "model.safetensors",
            "generation_config_for_summarization.json",
            "langs.txt",
            "tokenizer.model.v3",
            "params.json",
            "handler.py",
            "config..json.bak",
        ] {
            assert_eq!(companion(name), None, "{name}");
        }
    }
}
