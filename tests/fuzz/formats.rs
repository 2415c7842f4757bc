//! The functions of the formats' fuzz targets, shared by `fuzz/` and the test that replays its seeds: one
//! function for each reader of untrusted bytes, with the promises for any bytes. It needs only `hfget-formats`.

use std::io::Cursor;

use hfget_formats::tf_checkpoint::CheckpointState;
use hfget_formats::{
    Problem, Severity, TensorTable, WeightIndex, flax, gguf, hdf5, onnx, safetensors, saved_model, tf_checkpoint, torch,
};

/// Checks that problems are printable and a table's ranges make sense, whatever the file states.
fn sane(read: (TensorTable, Vec<Problem>)) {
    let (table, problems) = read;
    for tensor in &table.tensors {
        assert!(tensor.bytes.as_ref().is_none_or(|r| r.start <= r.end), "{tensor:?}");
    }
    printable(&problems);
}

fn printable(problems: &[Problem]) {
    assert!(problems.len() < 1000, "{} problems", problems.len());
    assert!(problems.iter().all(|f| f.message.len() < 10_000), "a problem quotes too much of the file");
}

/// The same, and if a file of `length` bytes has no problem, every tensor is within it.
fn within(length: u64, read: (TensorTable, Vec<Problem>)) {
    if read.1.iter().all(|f| f.severity < Severity::Error) {
        let beyond = read.0.tensors.iter().find(|t| t.bytes.as_ref().is_some_and(|r| r.end > length));
        assert!(beyond.is_none(), "{beyond:?} of {length} bytes");
    }
    sane(read);
}

/// A whole safetensors file.
pub fn safetensors(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let read = safetensors::read(Cursor::new(bytes), length, "x");
    if read.1.is_empty() {
        // A file without problems is read to its last byte.
        let last = read.0.tensors.iter().filter_map(|t| t.bytes.as_ref()).map(|r| r.end).max();
        assert!(last.is_none_or(|end| end == length));
    }
    within(length, read);
}

/// A header alone: the fuzzer need not find a fitting length prefix.
pub fn safetensors_header(text: &[u8]) {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text);
    safetensors(&bytes);
}

/// A whole torch file, in any of its containers.
pub fn torch(bytes: &[u8]) {
    let length = bytes.len() as u64;
    within(length, torch::read(Cursor::new(bytes), length, "x"));
    printable(&torch::deep(Cursor::new(bytes), length, "x"));
}

/// A whole GGUF file.
pub fn gguf(bytes: &[u8]) {
    within(bytes.len() as u64, gguf::read(Cursor::new(bytes), bytes.len() as u64, "x"));
}

/// A whole ONNX file.
pub fn onnx(bytes: &[u8]) {
    let (model, problems) = onnx::model(Cursor::new(bytes), bytes.len() as u64, "x");
    assert!(model.external.iter().all(|e| e.tensor < model.table.tensors.len()));
    within(bytes.len() as u64, (model.table, problems));
}

/// An index of a TensorFlow checkpoint, a checkpoint in one file, or a `checkpoint` file; also the
/// bytes as the content of a block, with the checksums that the fuzzer would not find.
pub fn tf_checkpoint(bytes: &[u8]) {
    sane(tf_checkpoint::read(Cursor::new(bytes), bytes.len() as u64, "x"));
    for kind in [0, 1] {
        let table = sorted_table(bytes, kind);
        sane(tf_checkpoint::read(Cursor::new(&table), table.len() as u64, "x"));
    }
    let state = CheckpointState::parse(bytes);
    assert!(state.latest.is_none_or(|name| name.len() < bytes.len()));
}

/// A table of one data block of these bytes, packed by the method `kind`, with right checksums.
pub fn sorted_table(block: &[u8], kind: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |content: &[u8], kind: u8| {
        let mut handle = Vec::new();
        varint(&mut handle, out.len());
        varint(&mut handle, content.len());
        out.extend_from_slice(content);
        out.push(kind);
        let sum = crc32c(&out[out.len() - 1 - content.len()..]);
        out.extend(sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        handle
    };
    let data = put(block, kind);
    let mut footer = put(&[0, 0, 0, 0, 1, 0, 0, 0], 0);
    // One entry, whose key sorts after any other.
    let mut index = vec![0, 4, u8::try_from(data.len()).unwrap_or(u8::MAX), 0xff, 0xff, 0xff, 0xff];
    index.extend(data);
    index.extend([0, 0, 0, 0, 1, 0, 0, 0]);
    footer.extend(put(&index, 0));
    footer.resize(40, 0);
    out.extend(footer);
    out.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    out
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// The CRC-32C.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// A whole Flax file.
pub fn flax(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let read = flax::read(Cursor::new(bytes), length, "x");
    assert!(read.0.tensors.iter().filter_map(|t| t.bytes.as_ref()).all(|r| r.end <= length));
    sane(read);
}

/// A whole HDF5 file.
pub fn hdf5(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let read = hdf5::read(Cursor::new(bytes), length, "x");
    assert!(read.0.tensors.iter().filter_map(|t| t.bytes.as_ref()).all(|r| r.end <= length));
    sane(read);
}

/// A graph of TensorFlow, read as each kind of message.
pub fn saved_model(bytes: &[u8]) {
    use saved_model::Message;
    for message in [Message::SavedModel, Message::MetaGraph, Message::Other] {
        let (graph, problems) = saved_model::read(Cursor::new(bytes), bytes.len() as u64, "x", message);
        assert!(graph.assets.len() <= saved_model::MAX_ASSETS + 1);
        sane((TensorTable::default(), problems));
    }
}

/// The names that [`scan`] gives to a file: names that promise a pickle, and others.
const SCANNED: [&str; 6] = ["x.bin", "x.pkl", "x.joblib", "x.npz", "x.keras", "x"];

/// A file other than weights, in which pickles are searched: its name, and its bytes.
pub fn scan(bytes: &[u8]) {
    let Some((kind, content)) = bytes.split_first() else { return };
    let Some(name) = SCANNED.get(usize::from(*kind)) else { return };
    let head = content.get(..usize::try_from(torch::HEAD).unwrap_or(usize::MAX)).unwrap_or(content);
    if torch::may_run(head, name) {
        printable(&torch::walk(Cursor::new(content), content.len() as u64, name));
    }
}

/// A weight index.
pub fn index(bytes: &[u8]) {
    match WeightIndex::parse(bytes) {
        Ok(index) => assert!(index.weight_map().len() > 0),
        Err(error) => assert!(error.to_string().len() < 10_000, "it quotes too much of the file"),
    }
}

/// A pickle, alone and as the `data.pkl` of a file with one storage.
pub fn pickle(bytes: &[u8]) {
    if let Ok(pickle) = torch::pickle::read(bytes) {
        assert!(pickle.length <= bytes.len());
        assert!((pickle.root as usize) < pickle.nodes.len());
        assert!(pickle.globals.iter().all(|g| g.position < bytes.len()));
    }
    torch(&stored_zip(&[("x/data.pkl", bytes), ("x/data/0", &[0; 96]), ("x/version", b"3\n")]));
}

/// A zip archive of stored records, written without the crate that reads it.
pub fn stored_zip(records: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in records {
        let offset = u32::try_from(out.len()).unwrap_or(u32::MAX);
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
        // Version, flags, method, time, date, CRC-32, sizes, length of the name, no extra field.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32(data).to_le_bytes());
        common.extend(size);
        common.extend(size);
        common.extend(name_length);
        common.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(name.as_bytes());
        out.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = u32::try_from(out.len()).unwrap_or(u32::MAX).to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u16::try_from(records.len()).unwrap_or(u16::MAX).to_le_bytes();
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count);
    out.extend(count);
    out.extend(size);
    out.extend(start);
    out.extend([0, 0]);
    out
}

/// The CRC-32 of zip.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
