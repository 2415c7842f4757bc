//! Checks the memory that reading a hostile file may take: each file tries to make a reader keep too much.
//! The end of the test shows that reading also ends. The readers' own tests cover good files.

#![cfg(target_os = "linux")] // only there the peak of a process can be read and reset
#![allow(clippy::unwrap_used)] // tests, but outside `#[cfg(test)]`

#[path = "../crates/formats/src/tests/zeros.rs"]
mod zeros;

use std::io::Cursor;

use hfget_formats::{Problem, flax, gguf, onnx, safetensors, torch};

use zeros::Zeros;

/// The most bytes of memory that reading one file may take, without the file itself.
const BOUND: usize = 512 << 20;

/// The most memory that this process had since the last call of [`reset`], in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

fn reset() {
    // `5` resets the peak (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The peak memory of reading, and the problems.
fn cost(read: impl FnOnce() -> Vec<Problem>) -> (usize, Vec<Problem>) {
    reset();
    let before = peak();
    let findings = read();
    (peak().saturating_sub(before), findings)
}

/// A pickle as a file of torch's legacy format.
fn legacy(object: &[u8]) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    file.extend(object);
    file.extend(b"\x80\x02].");
    file
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

fn get(at: u32) -> Vec<u8> {
    [b"j", &at.to_le_bytes()[..]].concat()
}

fn put(at: u32) -> Vec<u8> {
    [b"r", &at.to_le_bytes()[..]].concat()
}

/// A float tensor of shape `(1)` in a storage of one element.
fn tensor() -> Vec<u8> {
    let storage =
        [&b"("[..], &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x01tQ"].concat();
    [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &storage, b"K\0K\x01\x85K\x01\x85\x89NtR"].concat()
}

/// Imports every pair of 2,000 long modules and 2,000 long names.
fn imports() -> Vec<u8> {
    let mut pickle = b"\x80\x04".to_vec();
    for n in 0..4000 {
        pickle.extend(text(&format!("{n:0>1000}")));
        pickle.extend(put(n));
        pickle.push(b'0');
    }
    for module in 0..1900 {
        for name in 2000..4000 {
            pickle.extend(get(module));
            pickle.extend(get(name));
            pickle.extend(b"\x930");
        }
    }
    pickle.extend(b"N.");
    legacy(&pickle)
}

/// As many storages as a pickle may have, of a class with a long name.
fn storages() -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    pickle.extend(text("storage"));
    pickle.extend(b"q\0");
    pickle.extend(format!("ctorch\n{:x>1000}Storage\nq\x01", "").as_bytes());
    for key in 0..900_000u32 {
        pickle.extend(b"(h\0h\x01J");
        pickle.extend(key.to_le_bytes());
        pickle.extend(b"NK\x01tQ0");
    }
    pickle.extend(b"N.");
    legacy(&pickle)
}

/// A dict of a tensor and a million numbers, at a million places.
fn places() -> Vec<u8> {
    let mut pickle = [&b"\x80\x02}q\0"[..], &text("w"), &tensor(), b"s("].concat();
    pickle.extend(b"K\x01K\x02".repeat(500_000));
    pickle.extend(b"u]q\x01(");
    pickle.extend(b"h\0".repeat(1_000_000));
    pickle.extend(b"e.");
    legacy(&pickle)
}

/// Sparse tensors, each made of a thousand of the level below.
fn sparse() -> Vec<u8> {
    let mut pickle = [&b"\x80\x02"[..], &tensor(), b"q\0"].concat();
    for level in 0..4u8 {
        pickle.extend(b"ctorch._utils\n_rebuild_sparse_tensor\nN(");
        pickle.extend([b'h', level].repeat(1000));
        pickle.extend([b')', b't', 0x86, b'R', b'q', level + 1]);
    }
    pickle.push(b'.');
    legacy(&pickle)
}

/// As many objects as a pickle may have, in each of files in pickles in files.
fn files_in_pickles() -> Vec<u8> {
    let objects = b"N0".repeat(3_900_000);
    let mut file = [b"\x80\x04", &objects[..], b"N."].concat();
    for _ in 0..4 {
        let length = u32::try_from(file.len()).unwrap().to_le_bytes();
        let load = [b"ctorch.storage\n_load_from_bytes\nB", &length[..], &file, b"\x85R."].concat();
        file = [b"\x80\x04", &objects[..], &load].concat();
    }
    file
}

/// One text that is a file and is loaded again and again.
fn one_file_often() -> Vec<u8> {
    let mut pickle = b"\x80\x04ctorch.storage\n_load_from_bytes\nq\0c_codecs\nencode\nq\x01".to_vec();
    pickle.extend(text(&"x".repeat(4 << 20)));
    pickle.extend(b"q\x02");
    pickle.extend(text("latin1"));
    pickle.extend(b"q\x03");
    pickle.extend(b"h\0h\x01h\x02h\x03\x86R\x85R0".repeat(100_000));
    pickle.extend(b"N.");
    pickle
}

/// One header of a tar archive.
fn tar(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..136].copy_from_slice(format!("{size:011o} ").as_bytes());
    header[148..156].fill(b' ');
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A zip archive with the most empty records that are read.
fn records() -> Vec<u8> {
    const COUNT: u64 = 1_000_000;
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for n in 0..COUNT {
        let name = format!("x/{n:08}");
        let at = u32::try_from(file.len()).unwrap();
        // Version, flags, method, time, date, CRC-32, sizes, length of the name, no extra field.
        let mut common = [0u8; 26];
        common[0] = 20;
        common[22] = 10;
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes()].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (start, size) = (file.len() as u64, directory.len() as u64);
    file.extend(directory);
    let end = file.len() as u64;
    file.extend(b"PK\x06\x06");
    file.extend(44u64.to_le_bytes());
    file.extend([20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([COUNT, COUNT, size, start].map(u64::to_le_bytes).concat());
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(end.to_le_bytes());
    file.extend([1, 0, 0, 0]);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([0xff; 12]);
    file.extend([0, 0]);
    file
}

fn safetensors_of(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

fn read_torch(bytes: &[u8]) -> Vec<Problem> {
    torch::read(Cursor::new(bytes), bytes.len() as u64, "x").1
}

#[test]
fn no_hostile_file_takes_more_memory_than_the_bound() {
    let mut costs = Vec::new();
    let mut held = |what: &'static str, read: &mut dyn FnMut() -> Vec<Problem>| {
        let (bytes, findings) = cost(read);
        println!("{:>6} MiB  {what}  {:?}", bytes >> 20, findings.first().map(|f| &f.message));
        assert!(findings.iter().map(|f| f.message.len()).sum::<usize>() < 1 << 20, "{what}");
        costs.push((what, bytes));
    };
    for (what, file) in [
        ("imports", imports()),
        ("storages", storages()),
        ("places", places()),
        ("sparse", sparse()),
        ("records", records()),
        ("files in pickles", files_in_pickles()),
        ("one file often", one_file_often()),
    ] {
        held(what, &mut || read_torch(&file));
    }
    for (what, kind) in [("a pax header", b'x'), ("a long name", b'L')] {
        let start = tar("././@LongLink", kind, 2 << 30);
        let length = (2 << 30) + 4096;
        held(what, &mut || torch::read(Zeros { start: start.clone(), length, ..Zeros::default() }, length, "x").1);
    }
    let dimensions = format!(r#"{{"w":{{"dtype":"U8","shape":[{}1],"data_offsets":[0,1]}}}}"#, "1,".repeat(49_000_000));
    let dimensions = safetensors_of(&dimensions);
    held("dimensions", &mut || safetensors::read(Cursor::new(&dimensions), dimensions.len() as u64, "x").1);
    drop(dimensions);
    let metadata = safetensors_of(&format!(r#"{{"__metadata__":{{{}"":""}}}}"#, r#""":"","#.repeat(16_000_000)));
    held("metadata", &mut || safetensors::read(Cursor::new(&metadata), metadata.len() as u64, "x").1);
    drop(metadata);
    let one = r#""":{"dtype":"","shape":[],"data_offsets":[0,0]},"#;
    let tensors = safetensors_of(&format!("{{{}\"__metadata__\":null}}", one.repeat(2_000_000)));
    held("tensors", &mut || safetensors::read(Cursor::new(&tensors), tensors.len() as u64, "x").1);
    drop(tensors);
    let mut arrays = b"\xdf\0\x0f\xff\xff".to_vec();
    for n in 0..0xf_ffffu32 {
        arrays.extend(b"\xa8");
        arrays.extend(format!("{n:08}").as_bytes());
        arrays.extend(b"\xc7\x0b\x01\x93\x90\xa5uint8\xc4\x01\0");
    }
    held("arrays", &mut || flax::read(Cursor::new(&arrays), arrays.len() as u64, "x").1);
    drop(arrays);
    let mut infos = b"GGUF\x03\0\0\0".to_vec();
    infos.extend((1u64 << 20).to_le_bytes());
    infos.extend(0u64.to_le_bytes());
    for n in 0..1u32 << 20 {
        infos.extend(8u64.to_le_bytes());
        infos.extend(format!("{n:08}").as_bytes());
        infos.extend(1u32.to_le_bytes());
        infos.extend(0u64.to_le_bytes());
        infos.extend(24u32.to_le_bytes());
        infos.extend(0u64.to_le_bytes());
    }
    held("infos", &mut || gguf::read(Cursor::new(&infos), infos.len() as u64, "x").1);
    drop(infos);
    let mut initializers = b"\x08\x0a\x3a\x80\x80\x80\x09".to_vec();
    for n in 0..1u32 << 20 {
        initializers.extend(b"\x2a\x10\x42\x08");
        initializers.extend(format!("{n:08}").as_bytes());
        initializers.extend(b"\x10\x02\x08\0\x4a\0");
    }
    held("initializers", &mut || onnx::read(Cursor::new(&initializers), initializers.len() as u64, "x").1);
    drop(initializers);
    for (what, bytes) in costs {
        assert!(bytes <= BOUND, "{what}: {} MiB", bytes >> 20);
    }
}
