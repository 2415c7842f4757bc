//! The tensors of one weight file: chooses the format by name and family, and its reader. The formats
//! are in `hfget-formats`; the parent checks several files together.

use std::io::{BufReader, Read, Seek};
use std::path::Path;

use hfget_formats::registry::{self, Format};
use hfget_formats::saved_model::Message;
use hfget_formats::{ReadSeek, TensorTable, torch};

use super::problems::found;
use super::{Content, Unread, digest};
use crate::finding::{Code, Finding, Severity};
use crate::model::{Family, RepoPath};

/// Chooses the reader, first by the name: a pipeline in one file may be safetensors or a pickle, and an index may name
/// any file.
pub(super) fn reader(name: &RepoPath, family: Family) -> Option<Format> {
    let file = name.file_name().to_ascii_lowercase();
    let ending = file.rsplit('.').next();
    Some(match (family, registry::by_name(&file)) {
        (_, Some(told @ (Format::Safetensors | Format::Onnx))) => told,
        (_, Some(Format::Gguf)) if ending == Some("gguf") => Format::Gguf,
        (Family::Safetensors | Family::Mistral, _) => Format::Safetensors,
        (Family::Bin | Family::Meta | Family::Pt | Family::TorchScript | Family::DiffusersSingle, _) => Format::Torch,
        (Family::Gguf, _) => Format::Gguf,
        (Family::Flax, _) => Format::Flax,
        (Family::TfCheckpoint | Family::SavedModel, _) if ending == Some("index") => Format::TfCheckpoint,
        (Family::TfCheckpoint | Family::SavedModel, _) if ending == Some("meta") => Format::Graph(Message::MetaGraph),
        (Family::SavedModel, _) if file == "saved_model.pb" => Format::Graph(Message::SavedModel),
        (Family::SavedModel, _) if matches!(&*file, "fingerprint.pb" | "keras_metadata.pb") => {
            Format::Graph(Message::Other)
        }
        (Family::TfCheckpoint, _) if file == "checkpoint" || file.contains(".data-") => return None,
        (Family::TfCheckpoint, _) => Format::TfCheckpoint,
        (Family::Tf, Some(Format::Hdf5)) => Format::Hdf5,
        _ => return None,
    })
}

/// Whether [`table_of`] reads a table from a file of this name.
pub(crate) fn has_table(name: &RepoPath, family: Family) -> bool {
    reader(name, family).is_some_and(|format| format.row().table)
}

/// An open weight file, and its length in bytes.
type Open = (BufReader<Box<dyn ReadSeek>>, u64);

/// Opens a weight file; the error is a finding that says why it cannot be read.
fn opened(content: &Content, name: &str, unread: &Unread) -> Result<Open, Box<Finding>> {
    let fail = |code, message: String| Err(Box::new(Finding::new(code, name, message)));
    let (mut file, length) = match unread.open(content) {
        Ok(open) => open,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            return fail(Code::FileMissing, error.to_string());
        }
        Err(error) => return Err(Box::new(cannot_read(name, &error))),
    };
    // The pointer's size and digest may be the listed ones: some mirrors commit pointers as if they were the content.
    if digest::is_lfs_pointer(&mut file) {
        return fail(Code::LfsPointer, "it is a git-lfs pointer, not the weights".into());
    }
    Ok((BufReader::new(file), length))
}

/// Reads the tensors of a weight file without executing anything in it; the findings are about `name`.
/// Formats without a reader have no table: only their digests are checked.
pub(super) fn content_table(
    content: &Content,
    name: &RepoPath,
    family: Family,
    unread: &Unread,
) -> (Option<TensorTable>, Vec<Finding>) {
    match opened(content, name.as_str(), unread) {
        Ok((file, length)) => table_of(file, length, name, family),
        Err(finding) => (None, vec![*finding]),
    }
}

/// Reads the tensors of a local file without a known family. If its name is not specific, its first bytes tell the
/// format. A file that no format claims has no table.
pub(crate) fn table_by_bytes(local: &Path, name: &str) -> (Option<TensorTable>, Vec<Finding>) {
    let (mut file, length) = match opened(&Content::Local(local.to_path_buf()), name, &Unread::default()) {
        Ok(open) => open,
        Err(finding) => return (None, vec![*finding]),
    };
    let mut head = Vec::new();
    if let Err(error) = file.by_ref().take(registry::HEAD).read_to_end(&mut head).and_then(|_| file.rewind()) {
        return (None, vec![cannot_read(name, &error)]);
    }
    let Some(format) = registry::of(name, &head) else { return (None, Vec::new()) };
    let (table, findings) = read(file, length, name, format);
    (table.filter(|_| is_whole(&findings)), findings)
}

/// Reads the tensors of a file of `length` bytes through `file`; the findings are about `name`.
pub fn table_of(
    mut file: impl Read + Seek,
    length: u64,
    name: &RepoPath,
    family: Family,
) -> (Option<TensorTable>, Vec<Finding>) {
    let Some(format) = reader(name, family) else { return (None, Vec::new()) };
    let (table, mut findings) = read(&mut file, length, name.as_str(), format);
    if format == Format::Torch && findings.iter().all(|f| f.severity < Severity::Error) {
        findings.extend(torchscript_or_not(&mut file, length, name, family));
    }
    (table.filter(|_| is_whole(&findings)), findings)
}

fn read(file: impl Read + Seek, length: u64, name: &str, format: Format) -> (Option<TensorTable>, Vec<Finding>) {
    match format.read(file, length, name) {
        Ok((table, problems)) => (table, found(problems)),
        Err(error) => (None, vec![cannot_read(name, &error)]),
    }
}

fn cannot_read(name: &str, error: &std::io::Error) -> Finding {
    Finding::new(Code::FileMissing, name, format!("it cannot be read: {error}"))
}

/// Whether a table was read completely. With an incomplete table, every promised tensor would be "missing".
fn is_whole(findings: &[Finding]) -> bool {
    let unread = |f: &Finding| match f.code {
        Code::UnsafePickle => false,
        Code::FormatUnexpected => true,
        _ => f.severity == Severity::Error,
    };
    !findings.iter().any(unread)
}

/// The finding that a file is a TorchScript archive although its loader uses `torch.load`, or the other way round.
fn torchscript_or_not(file: impl Read + Seek, length: u64, name: &RepoPath, family: Family) -> Option<Finding> {
    let want = match family {
        Family::TorchScript => true,
        Family::Bin | Family::Meta => false,
        _ => return None,
    };
    let message = match (torch::is_torchscript(file, length), want) {
        (true, false) => "it is a TorchScript archive, which loaders of this family do not take",
        (false, true) => "it is not a TorchScript archive: it has weights only",
        _ => return None,
    };
    Some(Finding::new(Code::FormatUnexpected, name, message))
}

#[cfg(test)]
mod tests {
    use super::table_of;
    use crate::model::Family;

    #[test]
    fn a_whole_file_has_its_tensors_and_one_byte_less_is_a_finding() {
        let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header);
        file.extend_from_slice(&[0; 8]);
        let length = file.len() as u64;
        let name = "model.safetensors".parse().unwrap();
        let (table, findings) = table_of(std::io::Cursor::new(&file), length, &name, Family::Safetensors);
        assert!(findings.is_empty());
        assert_eq!(&*table.unwrap().tensors[0].name, "w");

        let short = std::io::Cursor::new(&file[..file.len() - 1]);
        let (_, findings) = table_of(short, length - 1, &name, Family::Safetensors);
        assert_eq!(findings[0].code.to_string(), "tensor-out-of-bounds");
    }
}
