//! Weight formats of machine learning, read from untrusted bytes: safetensors, PyTorch, TorchScript, GGUF, ONNX,
//! TensorFlow, Keras and Flax. Nothing in a file is executed, and no length in it is used before the reader has checked
//! that the file has the bytes.
//!
//! Each reader takes anything that implements `Read` and `Seek`, and returns the tensors' table with the [`Problem`]s
//! that it found. There is no network, no disk and no command line here: the caller opens files.
//!
//! ```
//! use std::io::Cursor;
//!
//! let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
//! let mut file = (header.len() as u64).to_le_bytes().to_vec();
//! file.extend_from_slice(header);
//! file.extend_from_slice(&[0; 8]);
//! let length = file.len() as u64;
//! let (table, problems) = hfget_formats::safetensors::read(Cursor::new(&file), length, "model.safetensors");
//! assert!(problems.is_empty());
//! assert_eq!(&*table.tensors[0].name, "w");
//!
//! // With one byte less, the last tensor is not complete.
//! let cut = Cursor::new(&file[..file.len() - 1]);
//! let (_, problems) = hfget_formats::safetensors::read(cut, length - 1, "model.safetensors");
//! assert_eq!(problems[0].kind, hfget_formats::ProblemKind::TensorOutOfBounds);
//! ```

pub mod flax;
pub mod gguf;
pub mod hdf5;
pub mod json;
pub mod onnx;
mod positioned;
mod problem;
mod problems;
mod proto;
pub mod registry;
pub mod safetensors;
pub mod saved_model;
mod set;
mod table;
pub mod tf_checkpoint;
pub mod torch;
mod weight_index;

pub use problem::{Problem, ProblemKind, Severity};
#[doc(hidden)] // for `hfget-core`, which has checks of its own
pub use problems::{Problems, Quote, complaint};
pub use set::{Files, ReadSeek};
pub use table::{Tensor, TensorTable};
pub use weight_index::{INDEX_LIMIT, IndexError, WeightIndex};

#[cfg(test)]
mod tests;
