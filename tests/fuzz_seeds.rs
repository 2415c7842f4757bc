//! Replays the fuzz targets' seeds and the fixtures through the fuzz targets' own entry points, so
//! that plain `cargo test` covers them. A file that a fuzz target found stays among its seeds.

#![allow(clippy::unwrap_used)] // tests, but outside `#[cfg(test)]`

#[path = "fuzz/core.rs"]
mod core_targets;
#[path = "fuzz/formats.rs"]
mod formats;

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder of the crate.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        // The published crate has no seeds.
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
    replay(formats::safetensors, "safetensors", 3);
    replay(formats::safetensors_header, "safetensors_header", 3);
    fixtures(formats::safetensors, &[".safetensors"]);
}

#[test]
fn torch() {
    replay(formats::torch, "torch", 3);
    fixtures(formats::torch, &[".bin", ".pt"]);
}

#[test]
fn gguf() {
    replay(formats::gguf, "gguf", 2);
    fixtures(formats::gguf, &[".gguf"]);
}

#[test]
fn onnx() {
    replay(formats::onnx, "onnx", 2);
    fixtures(formats::onnx, &["formats/onnx/plain.onnx", "formats/onnx/outside.onnx"]);
}

#[test]
fn tf_checkpoint() {
    replay(formats::tf_checkpoint, "tf_checkpoint", 3);
    fixtures(formats::tf_checkpoint, &[".index", "v1/model.ckpt", "/checkpoint"]);
}

#[test]
fn flax() {
    replay(formats::flax, "flax", 3);
    fixtures(formats::flax, &[".msgpack"]);
}

#[test]
fn hdf5() {
    replay(formats::hdf5, "hdf5", 3);
    fixtures(formats::hdf5, &[".h5"]);
}

#[test]
fn saved_model() {
    replay(formats::saved_model, "saved_model", 3);
    fixtures(formats::saved_model, &[".pb", ".meta"]);
}

#[test]
fn pickles() {
    replay(formats::pickle, "pickle", 3);
}

#[test]
fn indexes() {
    replay(formats::index, "index", 3);
    replay(core_targets::index, "index", 3);
    fixtures(formats::index, &[".index.json"]);
}

#[test]
fn names() {
    replay(core_targets::names, "names", 3);
}

#[test]
fn listings() {
    replay(core_targets::tree, "tree", 4);
}

#[test]
fn selections() {
    replay(core_targets::select, "select", 6);
}

#[test]
fn sets() {
    replay(core_targets::sets, "sets", 4);
}

#[test]
fn scans() {
    replay(formats::scan, "scan", 6);
}

/// The entry points take each other's seeds without a panic as well.
#[test]
fn every_entry_point_takes_every_seed() {
    for seed in files("fuzz/seeds") {
        let bytes = fs::read(&seed).unwrap();
        for target in [
            formats::safetensors,
            formats::safetensors_header,
            formats::torch,
            formats::pickle,
            formats::gguf,
            formats::onnx,
            formats::tf_checkpoint,
            formats::flax,
            formats::hdf5,
            formats::saved_model,
            formats::index,
            core_targets::names,
            core_targets::tree,
            core_targets::select,
            core_targets::sets,
            formats::scan,
        ] {
            target(&bytes);
        }
    }
}

/// The reader accepts the framing that the target adds.
#[test]
fn a_framed_block_is_read() {
    let block = b"\0\0\x02\x08\x01\0\x01\x04a\x08\x01\x12\0\0\0\0\0\x01\0\0\0";
    let table = formats::sorted_table(block, 0);
    let (read, findings) = hfget_formats::tf_checkpoint::read(std::io::Cursor::new(&table), table.len() as u64, "x");
    assert_eq!((read.tensors.len(), findings.len()), (1, 1), "{findings:?}");
    assert!(findings[0].message.contains("has 0 bytes"), "{findings:?}");
}

#[test]
fn registry() {
    replay(core_targets::registry, "registry", 8);
}

#[test]
fn signature() {
    replay(core_targets::signature, "signature", 4);
    let vectors = files("tests/data/signatures");
    assert!(vectors.len() > 5 || files("fuzz").is_empty(), "{vectors:?}");
    for vector in vectors {
        println!("{}", vector.display());
        core_targets::signature(&fs::read(&vector).unwrap());
    }
}
