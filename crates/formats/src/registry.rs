//! The one table of formats: which file is which, and who reads it. A new format is a module and a row. The files that
//! make up a model, and those of them that a loader takes, are decided elsewhere.

use std::io::{self, Read, Seek};

use crate::saved_model::Message;
use crate::{Problem, TensorTable, flax, gguf, hdf5, onnx, safetensors, saved_model, tf_checkpoint, torch};

/// Bytes of a file's start that [`of`] looks at.
pub const HEAD: u64 = 512;

/// A format that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `safetensors`.
    Safetensors,
    /// PyTorch's zip, legacy, tar and TorchScript archives.
    Torch,
    /// GGUF.
    Gguf,
    /// ONNX.
    Onnx,
    /// The msgpack of Flax.
    Flax,
    /// The index of a TensorFlow checkpoint, or a checkpoint in one file.
    TfCheckpoint,
    /// A `SavedModel`'s graph, or another proto beside it.
    Graph(Message),
    /// HDF5, as Keras writes it.
    Hdf5,
}

/// The facts about a format, other than its reader.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The format.
    pub format: Format,
    /// Its name, as reports write it.
    pub name: &'static str,
    /// The endings that belong to it and to no other.
    pub endings: &'static [&'static str],
    /// Whether a file that starts with these bytes is of this format; `None` if the first bytes do not tell.
    pub magic: Option<fn(&[u8]) -> bool>,
    /// Whether it lists its tensors.
    pub table: bool,
    /// Whether it keeps checksums of its own, which a deep check compares.
    pub deep: bool,
    /// Whether several of its files are checked against each other.
    pub set: bool,
}

/// Every format. If two claim a name, the first one has it.
pub const FORMATS: &[Row] = &[
    Row {
        format: Format::Safetensors,
        name: "safetensors",
        endings: &["safetensors"],
        magic: Some(is_safetensors),
        table: true,
        deep: false,
        set: false,
    },
    Row {
        format: Format::Gguf,
        name: "gguf",
        endings: &["gguf", "ggml"],
        magic: Some(is_gguf),
        table: true,
        deep: false,
        set: true,
    },
    Row { format: Format::Onnx, name: "onnx", endings: &["onnx"], magic: None, table: true, deep: true, set: true },
    Row {
        format: Format::Torch,
        name: "torch",
        endings: &["pt", "pth", "ckpt", "bin", "torchscript", "ptl", "pth.tar", "pt.tar"],
        magic: Some(is_torch),
        table: true,
        deep: true,
        set: false,
    },
    Row {
        format: Format::Hdf5,
        name: "hdf5",
        endings: &["h5", "hdf5"],
        magic: Some(|head| head.starts_with(b"\x89HDF\r\n\x1a\n")),
        table: true,
        deep: false,
        set: false,
    },
    Row {
        format: Format::Flax,
        name: "flax",
        endings: &["msgpack"],
        magic: None,
        table: true,
        deep: false,
        set: false,
    },
    Row {
        format: Format::TfCheckpoint,
        name: "tf-checkpoint",
        endings: &["ckpt.index"],
        magic: None,
        table: true,
        deep: true,
        set: true,
    },
    Row {
        format: Format::Graph(Message::SavedModel),
        name: "saved-model",
        endings: &[],
        magic: None,
        table: false,
        deep: false,
        set: true,
    },
];

/// The header's length in eight bytes, and a JSON object (`safetensors/src/tensor.rs`).
fn is_safetensors(head: &[u8]) -> bool {
    let length = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    length.is_some_and(|length| (2..=safetensors::MAX_HEADER).contains(&length)) && head.get(8) == Some(&b'{')
}

fn is_gguf(head: &[u8]) -> bool {
    head.starts_with(b"GGUF") || gguf::OLD_MAGICS.iter().any(|magic| head.starts_with(*magic))
}

/// A zip archive, a pickle of protocol 2 to 5, or a tar archive (`torch/serialization.py`).
fn is_torch(head: &[u8]) -> bool {
    let pickle = head.first() == Some(&0x80) && head.get(1).is_some_and(|protocol| (2..=5).contains(protocol));
    head.starts_with(b"PK\x03\x04") || pickle || head.get(257..262) == Some(b"ustar")
}

/// The format that a name promises, if the name alone tells.
#[must_use]
pub fn by_name(name: &str) -> Option<Format> {
    let name = crate::set::file_name(name).to_ascii_lowercase();
    let ends = |ending: &str| name.strip_suffix(ending).is_some_and(|stem| stem.len() > 1 && stem.ends_with('.'));
    // `model.pth.tar` is not a tar archive of files, and `model.ckpt.index` is not an index of another kind.
    let row = FORMATS.iter().find(|row| row.endings.iter().any(|ending| ends(ending)));
    row.map(|row| row.format).or_else(|| index_of_checkpoint(&name).then_some(Format::TfCheckpoint))
}

/// `model.index`, `variables.index`: other files have this ending too.
fn index_of_checkpoint(name: &str) -> bool {
    let words = ["ckpt", "checkpoint", "model", "variables"];
    name.strip_suffix(".index").is_some_and(|stem| words.iter().any(|word| stem.contains(word)))
}

/// The format of a file by its name and its first bytes, at most [`HEAD`] of them. Many programs use `.bin`: such a
/// file is PyTorch's by its bytes, or by a name that only PyTorch's loaders use.
#[must_use]
pub fn of(name: &str, head: &[u8]) -> Option<Format> {
    let told = FORMATS.iter().find(|row| row.magic.is_some_and(|is| is(head))).map(|row| row.format);
    let named = by_name(name)?;
    let file = crate::set::file_name(name).to_ascii_lowercase();
    let anybodys = file.rsplit_once('.').is_some_and(|(_, ending)| ending == "bin");
    if named != Format::Torch || !anybodys {
        return Some(named);
    }
    let torchs =
        ["pytorch_model", "diffusion_pytorch_model", "adapter_model"].iter().any(|stem| file.starts_with(stem));
    // A file that is still empty, or that a pointer replaces, has the format that its name promises.
    told.or_else(|| (torchs || head.is_empty()).then_some(Format::Torch))
}

impl Format {
    /// The format's row in [`FORMATS`].
    #[must_use]
    pub fn row(self) -> &'static Row {
        let same = |row: &&Row| match (row.format, self) {
            (Format::Graph(_), Format::Graph(_)) => true,
            (one, other) => one == other,
        };
        // Every format has a row; a test checks it.
        FORMATS.iter().find(same).unwrap_or(&FORMATS[0])
    }

    /// Reads a file of `length` bytes. The table is `None` if the format has none, or if the file is of an older
    /// version of the format than this reader reads. The problems are about `name`.
    ///
    /// # Errors
    /// If the first bytes cannot be read.
    pub fn read(
        self,
        mut file: impl Read + Seek,
        length: u64,
        name: &str,
    ) -> io::Result<(Option<TensorTable>, Vec<Problem>)> {
        let (table, problems) = match self {
            Format::Safetensors => safetensors::read(file, length, name),
            // TensorFlow's first checkpoints had such names too.
            Format::Torch
                if name.to_ascii_lowercase().ends_with(".ckpt")
                    && tf_checkpoint::is_table(&mut file, length).unwrap_or(false) =>
            {
                tf_checkpoint::read(file, length, name)
            }
            Format::Torch => torch::read(file, length, name),
            Format::Gguf => {
                let mut head = Vec::with_capacity(4);
                file.by_ref().take(4).read_to_end(&mut head)?;
                file.rewind()?;
                // The formats before GGUF have no table that is read here.
                if gguf::OLD_MAGICS.iter().any(|magic| head == **magic) {
                    return Ok((None, Vec::new()));
                }
                gguf::read(file, length, name)
            }
            Format::Flax => flax::read(file, length, name),
            Format::TfCheckpoint => tf_checkpoint::read(file, length, name),
            Format::Onnx => onnx::read(file, length, name),
            Format::Graph(message) => return Ok((None, saved_model::read(file, length, name, message).1)),
            Format::Hdf5 => hdf5::read(file, length, name),
        };
        Ok((Some(table), problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_row() {
        for row in FORMATS {
            assert_eq!(row.format.row().name, row.name);
        }
        assert_eq!(Format::Graph(Message::Other).row().name, "saved-model");
    }

    #[test]
    fn a_name_promises_a_format() {
        for (name, format) in [
            ("a/model.safetensors", Some(Format::Safetensors)),
            ("model.torchscript", Some(Format::Torch)),
            ("model.pth.tar", Some(Format::Torch)),
            ("MODEL.PT", Some(Format::Torch)),
            ("model.ckpt.index", Some(Format::TfCheckpoint)),
            ("variables/variables.index", Some(Format::TfCheckpoint)),
            ("q.gguf", Some(Format::Gguf)),
            ("model.safetensors.index.json", None),
            ("faiss.index", None),
            ("data.tar", None),
            ("bin", None),
            (".bin", None),
        ] {
            assert_eq!(by_name(name), format, "{name}");
        }
    }

    #[test]
    fn the_bytes_decide_for_an_ending_that_many_programs_use() {
        let zip = b"PK\x03\x04rest".as_slice();
        for (name, head, format) in [
            ("ggml-model-q4_0.bin", b"lmgg\0\0\0\0".as_slice(), Some(Format::Gguf)),
            ("weights.bin", zip, Some(Format::Torch)),
            ("weights.bin", b"\x80\x02\x8a\x0a", Some(Format::Torch)),
            ("openvino_model.bin", b"\0\0\x80?\0\0\0\0", None),
            ("outside.bin", b"raw numbers", None),
            // A name that only PyTorch's loaders use promises a format, whatever the bytes are.
            ("pytorch_model.bin", b"raw numbers", Some(Format::Torch)),
            ("pytorch_model-00001-of-00002.bin", b"", Some(Format::Torch)),
            ("model.pt", b"raw numbers", Some(Format::Torch)),
        ] {
            assert_eq!(of(name, head), format, "{name}");
        }
    }
}
