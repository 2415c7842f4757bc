//! The tensors of one weight file: which format it is in, by its name and family, and who reads it. The
//! formats have their own modules; what several files make together is the parent's.

use std::io::{BufReader, Read, Seek};
use std::path::Path;

use hfget_formats::{Problem, TensorTable, flax, gguf, hdf5, onnx, safetensors, saved_model, tf_checkpoint, torch};

use super::problems::found;
use super::{Content, digest};
use crate::finding::{Code, Finding, Severity};
use crate::model::{Family, RepoPath};

/// The formats of which something is read.
pub(super) enum Reader {
    Safetensors,
    Torch,
    Gguf,
    Onnx,
    Flax,
    /// An index of a checkpoint, or a checkpoint in one file.
    TfCheckpoint,
    Hdf5,
    /// A proto beside weights, which has no tensors that are listed.
    Graph(saved_model::Message),
}

/// By the name first: a pipeline in one file may be either, and indexes name what they like.
pub(super) fn reader(name: &RepoPath, family: Family) -> Option<Reader> {
    let file = name.file_name().to_ascii_lowercase();
    let ending = file.rsplit('.').next();
    Some(match family {
        _ if file.ends_with(".safetensors") => Reader::Safetensors,
        _ if ending == Some("gguf") => Reader::Gguf,
        _ if ending == Some("onnx") => Reader::Onnx,
        Family::Safetensors | Family::Mistral => Reader::Safetensors,
        Family::Bin | Family::Meta | Family::Pt | Family::TorchScript | Family::DiffusersSingle => Reader::Torch,
        Family::Gguf => Reader::Gguf,
        Family::Flax => Reader::Flax,
        Family::TfCheckpoint | Family::SavedModel if ending == Some("index") => Reader::TfCheckpoint,
        Family::TfCheckpoint | Family::SavedModel if ending == Some("meta") => {
            Reader::Graph(saved_model::Message::MetaGraph)
        }
        Family::SavedModel if file == "saved_model.pb" => Reader::Graph(saved_model::Message::SavedModel),
        Family::SavedModel if matches!(&*file, "fingerprint.pb" | "keras_metadata.pb") => {
            Reader::Graph(saved_model::Message::Other)
        }
        Family::TfCheckpoint if file == "checkpoint" || file.contains(".data-") => return None,
        Family::TfCheckpoint => Reader::TfCheckpoint,
        Family::Tf if matches!(ending, Some("h5" | "hdf5")) => Reader::Hdf5,
        _ => return None,
    })
}

/// Whether [`table_of`] reads a table of a file by this name.
pub(crate) fn has_table(name: &RepoPath, family: Family) -> bool {
    reader(name, family).is_some_and(|reader| !matches!(reader, Reader::Graph(_)))
}

/// Reads the tensors of a weight file without executing anything in it; the findings are about `name`.
/// There is no table of formats that are not read here: their digests are all that is checked.
pub fn tensor_table(local: &Path, name: &RepoPath, family: Family) -> (Option<TensorTable>, Vec<Finding>) {
    content_table(&Content::Local(local.to_path_buf()), name, family)
}

pub(super) fn content_table(content: &Content, name: &RepoPath, family: Family) -> (Option<TensorTable>, Vec<Finding>) {
    let fail = |code, message: String| (None, vec![Finding::new(code, name, message)]);
    let (mut file, length) = match content.open() {
        Ok(open) => open,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return fail(Code::FileMissing, error.to_string());
        }
        Err(error) => return fail(Code::FileMissing, format!("it cannot be read: {error}")),
    };
    // Its size and digest may be right: mirrors commit pointers as if they were the content.
    if digest::is_lfs_pointer(&mut file) {
        return fail(Code::LfsPointer, "it is a git-lfs pointer, and the weights are elsewhere".into());
    }
    table_of(BufReader::new(file), length, name, family)
}

/// The same for a file of `length` bytes that is read through `file`, wherever it lies.
///
/// ```
/// use hfget_core::{model::Family, verify::table_of};
///
/// let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// file.extend_from_slice(header);
/// file.extend_from_slice(&[0; 8]);
/// let length = file.len() as u64;
/// let name = "model.safetensors".parse()?;
/// let (table, findings) = table_of(std::io::Cursor::new(&file), length, &name, Family::Safetensors);
/// assert!(findings.is_empty());
/// assert_eq!(&*table.unwrap().tensors[0].name, "w");
///
/// // A byte less, and the last tensor is not all there.
/// let (_, findings) = table_of(std::io::Cursor::new(&file[..file.len() - 1]), length - 1, &name, Family::Safetensors);
/// assert_eq!(findings[0].code.to_string(), "tensor-out-of-bounds");
/// # Ok::<(), hfget_core::model::PathError>(())
/// ```
pub fn table_of(
    mut file: impl Read + Seek,
    length: u64,
    name: &RepoPath,
    family: Family,
) -> (Option<TensorTable>, Vec<Finding>) {
    let fail = |code, message: String| (None, vec![Finding::new(code, name, message)]);
    let (table, problems): (_, Vec<Problem>) = match reader(name, family) {
        None => return (None, Vec::new()),
        Some(Reader::Safetensors) => safetensors::read(&mut file, length, name.as_str()),
        // The first checkpoints of TensorFlow were called so too.
        Some(Reader::Torch)
            if name.file_name().rsplit('.').next() == Some("ckpt")
                && tf_checkpoint::is_table(&mut file, length).unwrap_or(false) =>
        {
            tf_checkpoint::read(&mut file, length, name.as_str())
        }
        Some(Reader::Torch) => torch::read(&mut file, length, name.as_str()),
        Some(Reader::Gguf) => match starts_with(&mut file, &gguf::OLD_MAGICS) {
            Err(error) => return fail(Code::FileMissing, format!("it cannot be read: {error}")),
            Ok(true) => return (None, Vec::new()),
            Ok(false) => gguf::read(&mut file, length, name.as_str()),
        },
        Some(Reader::Flax) => flax::read(&mut file, length, name.as_str()),
        Some(Reader::TfCheckpoint) => tf_checkpoint::read(&mut file, length, name.as_str()),
        Some(Reader::Onnx) => onnx::read(&mut file, length, name.as_str()),
        Some(Reader::Graph(message)) => {
            return (None, found(saved_model::read(&mut file, length, name.as_str(), message).1));
        }
        Some(Reader::Hdf5) => hdf5::read(&mut file, length, name.as_str()),
    };
    let mut findings = found(problems);
    if matches!(reader(name, family), Some(Reader::Torch)) && findings.iter().all(|f| f.severity < Severity::Error) {
        findings.extend(torchscript_or_not(&mut file, length, name, family));
    }
    // A table that was not read whole, or not at all, would make every promised tensor "missing".
    let unread = |f: &Finding| match f.code {
        Code::UnsafePickle => false,
        Code::FormatUnexpected => true,
        _ => f.severity == Severity::Error,
    };
    let whole = !findings.iter().any(unread);
    (whole.then_some(table), findings)
}

/// A complaint where `torch.load` is needed and a TorchScript archive lies, or the other way round.
fn torchscript_or_not(file: impl Read + Seek, length: u64, name: &RepoPath, family: Family) -> Option<Finding> {
    let want = match family {
        Family::TorchScript => true,
        Family::Bin | Family::Meta => false,
        _ => return None,
    };
    let message = match (torch::is_torchscript(file, length), want) {
        (true, false) => "it is a TorchScript archive, which loaders of this family do not take",
        (false, true) => "it is no TorchScript archive, but weights alone",
        _ => return None,
    };
    Some(Finding::new(Code::FormatUnexpected, name, message))
}

/// Whether a file starts with one of these; leaves it at its start.
fn starts_with(file: &mut (impl Read + Seek), known: &[&[u8; 4]]) -> std::io::Result<bool> {
    let mut head = Vec::with_capacity(4);
    file.by_ref().take(4).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(known.iter().any(|magic| head == **magic))
}
