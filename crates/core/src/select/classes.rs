//! Whether a class that a document names has weights, by the class's name. Its files are found elsewhere.

/// Whether a class has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    Needed,
    /// It has none: a scheduler, a tokenizer, a processor.
    None,
    /// Its name does not show it.
    Unknown,
}

/// The last part of a dotted name.
fn last(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

/// For a component's class in `model_index.json` (diffusers' and transformers' class names show what the class is).
pub(super) fn of_pipeline(class: &str) -> Weights {
    const NONE: &[&str] = &[
        "Scheduler",
        "Tokenizer",
        "TokenizerFast",
        "Processor",
        "ProcessorFast",
        "FeatureExtractor",
        "FeatureExtractorFast",
        "Guidance",
        "Guider",
        "Mel",
    ];
    const NEEDED: &[&str] = &[
        "Model",
        "Autoencoder",
        "UNet",
        "Transformer",
        "TextEncoder",
        "ControlNet",
        "ForConditionalGeneration",
        "ForCausalLM",
        "LMHead",
        "SafetyChecker",
        "Projection",
        "HifiGan",
        "MotionAdapter",
        "T2IAdapter",
    ];
    let name = last(class);
    if NONE.iter().any(|end| name.ends_with(end)) {
        Weights::None
    } else if NEEDED.iter().any(|part| name.contains(part)) {
        Weights::Needed
    } else {
        Weights::Unknown
    }
}

/// For a module's class in `modules.json` (`sentence_transformers/models`).
pub(super) fn of_module(class: &str) -> Weights {
    if !class.starts_with("sentence_transformers.") {
        return Weights::Unknown;
    }
    match last(class) {
        "Transformer"
        | "MLMTransformer"
        | "CLIPModel"
        | "Dense"
        | "LayerNorm"
        | "LSTM"
        | "CNN"
        | "WeightedLayerPooling"
        | "WordEmbeddings"
        | "StaticEmbedding"
        | "SparseAutoEncoder" => Weights::Needed,
        "Pooling" | "Normalize" | "Dropout" | "BoW" | "WordWeights" | "SpladePooling" | "Router" | "Asym" => {
            Weights::None
        }
        _ => Weights::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::{Weights, of_module, of_pipeline};

    #[test]
    fn classes_of_pipelines_show_whether_they_have_weights() {
        for class in [
            "UNet2DConditionModel",
            "AutoencoderKL",
            "CLIPTextModelWithProjection",
            "T5EncoderModel",
            "SD3Transformer2DModel",
            "Qwen2_5_VLForConditionalGeneration",
            "StableDiffusionSafetyChecker",
            "SpeechT5HifiGan",
        ] {
            assert_eq!(of_pipeline(class), Weights::Needed, "{class}");
        }
        for class in
            ["PNDMScheduler", "CLIPTokenizer", "T5TokenizerFast", "CLIPImageProcessor", "CLIPFeatureExtractor", "Mel"]
        {
            assert_eq!(of_pipeline(class), Weights::None, "{class}");
        }
        assert_eq!(of_pipeline("Thing"), Weights::Unknown);
    }

    #[test]
    fn classes_of_modules_show_whether_they_have_weights() {
        assert_eq!(of_module("sentence_transformers.models.Dense"), Weights::Needed);
        assert_eq!(of_module("sentence_transformers.models.Normalize"), Weights::None);
        assert_eq!(of_module("pylate.models.Dense.Dense"), Weights::Unknown);
    }
}
