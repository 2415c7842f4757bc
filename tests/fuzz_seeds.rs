//! Replays the fuzz seeds and the real fixtures through the entry points that are fuzzed: what once
//! made a parser fail does not do so again. Not exploring: that is `fuzz/`'s business.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use hfget::repo::{RepoPath, RepoSpec, Revision};
use hfget::select::WeightIndex;
use hfget::verify::{safetensors, torch};

fn files(below: &str) -> Vec<PathBuf> {
    fn walk(at: &Path, out: &mut Vec<PathBuf>) {
        for item in std::fs::read_dir(at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
            let path = item.unwrap().path();
            if path.is_dir() { walk(&path, out) } else { out.push(path) }
        }
    }
    let mut out = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(below), &mut out);
    assert!(!out.is_empty(), "{below} is empty");
    out
}

#[test]
fn no_seed_makes_any_parser_panic() {
    for path in files("fuzz/seeds").into_iter().chain(files("tests/fixtures")) {
        let data = std::fs::read(&path).unwrap();
        let length = data.len() as u64;
        // Every parser sees every input: that it is of another format is input, too.
        let (table, findings) = safetensors::read(Cursor::new(&data), length, "m");
        if findings.is_empty() {
            let inside = |t: &hfget::verify::Tensor| t.bytes.as_ref().is_some_and(|b| b.end <= length);
            assert!(table.tensors.iter().all(inside), "{}", path.display());
        }
        torch::read(Cursor::new(&data), length, "m");
        let _ = torch::pickle::read(&data);
        let _ = WeightIndex::parse(&data);
        let text = String::from_utf8_lossy(&data);
        if let Ok(path) = text.parse::<RepoPath>() {
            assert!(path.under(Path::new("/root/of/all")).starts_with("/root/of/all"));
        }
        let _ = text.parse::<RepoSpec>();
        let _ = text.parse::<Revision>();
    }
}
