//! Tests of the readers' promises, on files that are right, wrong and hostile.

mod calls;
mod flax;
mod gguf;
mod hdf5;
mod make;
mod pickles;
mod safetensors;
mod scanned;
mod tars;
mod torch;
mod zeros;
mod zips;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use self::zeros::Zeros;
use crate::{Problem, ProblemKind, Severity, TensorTable};

/// The kinds of problems, each once, sorted.
fn kinds(problems: &[Problem]) -> Vec<ProblemKind> {
    let mut kinds: Vec<ProblemKind> = problems.iter().map(|problem| problem.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn has_error(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// Reads bytes as a torch file.
fn read_torch(bytes: &[u8]) -> (TensorTable, Vec<Problem>) {
    crate::torch::read(Cursor::new(bytes), bytes.len() as u64, "x.bin")
}

/// Reads bytes as a safetensors file.
fn read_safetensors(bytes: &[u8]) -> (TensorTable, Vec<Problem>) {
    crate::safetensors::read(Cursor::new(bytes), bytes.len() as u64, "x.safetensors")
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}
