//! Replays the fuzz targets' seeds and the fixtures through the fuzz targets' own entry points, so
//! that plain `cargo test` covers them. What a target found stays among its seeds.

#![allow(clippy::unwrap_used)] // tests, but outside `#[cfg(test)]`

#[path = "fuzz/entry.rs"]
mod entry;

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder of the crate.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        // The published crate comes without seeds.
        for path in fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()) {
            if path.is_dir() { &mut folders } else { &mut files }.push(path);
        }
    }
    files.sort();
    files
}

fn replay(target: fn(&[u8]), folder: &str, at_least: usize) {
    let seeds = files(&format!("fuzz/seeds/{folder}"));
    assert!(seeds.len() >= at_least || files("fuzz").is_empty(), "{folder}: {} seeds", seeds.len());
    for seed in seeds {
        println!("{}", seed.display());
        target(&fs::read(&seed).unwrap());
    }
}

/// Fixtures with one of these endings.
fn fixtures(target: fn(&[u8]), endings: &[&str]) {
    let fixtures = files("tests/fixtures");
    let mut replayed = 0;
    for path in fixtures.iter().filter(|p| endings.iter().any(|e| p.to_string_lossy().ends_with(e))) {
        println!("{}", path.display());
        target(&fs::read(path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 1, "{endings:?}");
}

#[test]
fn safetensors() {
    replay(entry::safetensors, "safetensors", 3);
    replay(entry::safetensors_header, "safetensors_header", 3);
    fixtures(entry::safetensors, &[".safetensors"]);
}

#[test]
fn torch() {
    replay(entry::torch, "torch", 3);
    fixtures(entry::torch, &[".bin", ".pt"]);
}

#[test]
fn gguf() {
    replay(entry::gguf, "gguf", 2);
    fixtures(entry::gguf, &[".gguf"]);
}

#[test]
fn onnx() {
    replay(entry::onnx, "onnx", 2);
    fixtures(entry::onnx, &["formats/onnx/plain.onnx", "formats/onnx/outside.onnx"]);
}

#[test]
fn tf_checkpoint() {
    replay(entry::tf_checkpoint, "tf_checkpoint", 3);
    fixtures(entry::tf_checkpoint, &[".index", "v1/model.ckpt", "/checkpoint"]);
}

#[test]
fn flax() {
    replay(entry::flax, "flax", 3);
    fixtures(entry::flax, &[".msgpack"]);
}

#[test]
fn hdf5() {
    replay(entry::hdf5, "hdf5", 3);
    fixtures(entry::hdf5, &[".h5"]);
}

#[test]
fn saved_model() {
    replay(entry::saved_model, "saved_model", 3);
    fixtures(entry::saved_model, &[".pb", ".meta"]);
}

#[test]
fn pickles() {
    replay(entry::pickle, "pickle", 3);
}

#[test]
fn indexes() {
    replay(entry::index, "index", 3);
    fixtures(entry::index, &[".index.json"]);
}

#[test]
fn names() {
    replay(entry::names, "names", 3);
}

#[test]
fn sets() {
    replay(entry::sets, "sets", 4);
}

#[test]
fn scans() {
    replay(entry::scan, "scan", 6);
}

/// The entry points take each other's seeds without a panic as well.
#[test]
fn every_entry_point_takes_every_seed() {
    for seed in files("fuzz/seeds") {
        let bytes = fs::read(&seed).unwrap();
        for target in [
            entry::safetensors,
            entry::safetensors_header,
            entry::torch,
            entry::pickle,
            entry::gguf,
            entry::onnx,
            entry::tf_checkpoint,
            entry::flax,
            entry::hdf5,
            entry::saved_model,
            entry::index,
            entry::names,
            entry::sets,
            entry::scan,
        ] {
            target(&bytes);
        }
    }
}

/// The framing that the target adds is one that the reader accepts.
#[test]
fn a_framed_block_is_read() {
    let block = b"\0\0\x02\x08\x01\0\x01\x04a\x08\x01\x12\0\0\0\0\0\x01\0\0\0";
    let table = entry::sorted_table(block, 0);
    let (read, findings) =
        hfget_core::verify::tf_checkpoint::read(std::io::Cursor::new(&table), table.len() as u64, "x");
    assert_eq!((read.tensors.len(), findings.len()), (1, 1), "{findings:?}");
    assert!(findings[0].message.contains("has 0 bytes"), "{findings:?}");
}
