//! The repos in the documentation, so that a reader can run its commands.

use std::path::Path;

use crate::{Access, Repo};

/// A safetensors file with one tensor.
fn safetensors(name: &str, bytes: u16) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..bytes).map(|i| i.to_le_bytes()[0]));
    file
}

/// A GGUF file without tensors.
fn gguf() -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend([0; 16]);
    file
}

fn model(name: &str) -> Repo {
    Repo::new(name)
        .file("config.json", r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}"#)
        .file("tokenizer.json", r#"{"version": "1.0", "model": {"type": "WordLevel", "vocab": {}}}"#)
        .file("README.md", "# A model\n")
        .lfs("model.safetensors", safetensors("transformer.wte.weight", 1000))
}

/// All repos; miniatures of real repos are read from `fixtures`.
pub fn samples(fixtures: &Path) -> Vec<Repo> {
    let miniatures =
        ["THUDM/chatglm3-6b", "org/bin-only", "org/tied-gpt2", "org/tiny-lora", "org/tiny-minilm", "org/tiny-sdxl"];
    let mut all: Vec<Repo> = miniatures.iter().map(|id| Repo::new(id).dir(&fixtures.join(id))).collect();
    all.extend([
        model("org/model").revision("v1.0"),
        model("org/gated").access(Access::Gated),
        Repo::new("org/model-GGUF").lfs("model-Q4_K_M.gguf", gguf()).lfs("model-Q8_0.gguf", gguf()),
        Repo::new("org/data").kind("datasets").file("README.md", "# Data\n").file("data/train.csv", "a,b\n1,2\n"),
    ]);
    all
}
