//! The weight families by name, best first. `select` chooses one.

use std::fmt;
use std::str::FromStr;

macro_rules! families {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        /// A set of weight files that one loader reads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Family { $($(#[$doc])+ $name,)+ }

        impl Family {
            /// Every family, best first: the order of fallback.
            pub const ALL: &[Family] = &[$(Family::$name,)+];

            /// The name on the command line and in reports.
            pub fn as_str(self) -> &'static str {
                match self { $(Family::$name => $text,)+ }
            }
        }
    };
}

families! {
    /// `*.safetensors` with or without an index.
    Safetensors = "safetensors";
    /// `PyTorch` `*.bin` with or without an index.
    Bin = "bin";
    /// Mistral's `consolidated*.safetensors` with `params.json`.
    Mistral = "mistral";
    /// Meta's `consolidated.NN.pth` with `params.json`.
    Meta = "meta";
    /// Other `PyTorch` pickles: `.pt`, `.pth`, `.ckpt`.
    Pt = "pt";
    /// `TorchScript` archives.
    TorchScript = "torchscript";
    /// GGUF and older ggml files.
    Gguf = "gguf";
    /// ONNX graphs and their external data.
    Onnx = "onnx";
    /// Keras HDF5 (`tf_model.h5`).
    Tf = "tf";
    /// `TensorFlow` checkpoints (`checkpoint`, `.index`, `.data-*`, `.meta`).
    TfCheckpoint = "tf-checkpoint";
    /// `TensorFlow` `SavedModel`.
    SavedModel = "saved-model";
    /// `TensorFlow` Lite.
    TfLite = "tflite";
    /// `TensorFlow.js` archives.
    TfJs = "tfjs";
    /// Flax msgpack.
    Flax = "flax";
    /// `OpenVINO` `.xml` + `.bin`.
    OpenVino = "openvino";
    /// Core ML packages.
    CoreMl = "coreml";
    /// MLX `weights.npz`.
    Mlx = "mlx";
    /// rust-bert `rust_model.ot`.
    Rust = "rust";
    /// `CTranslate2` `model.bin`.
    CTranslate2 = "ctranslate2";
    /// A diffusers pipeline in one file at the root.
    DiffusersSingle = "diffusers-single";
    /// Any other container of weights (`.nemo`, `.tensors`, `.llamafile`, `.dduf`, `.flashpack`, `metal/`).
    Other = "other";
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not the name of a family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a weight family", crate::text::printable(.0))]
pub struct UnknownFamily(String);

impl FromStr for Family {
    type Err = UnknownFamily;
    fn from_str(text: &str) -> Result<Self, UnknownFamily> {
        Family::ALL.iter().copied().find(|f| f.as_str() == text).ok_or_else(|| UnknownFamily(text.to_owned()))
    }
}

impl serde::Serialize for Family {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Family {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
