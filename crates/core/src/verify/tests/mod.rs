//! Tests of verification's promises, on files that are right, wrong and hostile.

mod companions;
mod coverage;
mod digest;
#[allow(dead_code)]
#[path = "../../../../formats/src/tests/make.rs"]
mod make;
mod onnx;
mod saved_model;
mod tf_checkpoint;
mod torch_files;
mod whole;
#[cfg(feature = "xet")]
mod xet;
#[path = "../../../../formats/src/tests/zeros.rs"]
mod zeros;

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use self::zeros::Zeros;
use hfget_formats::Problem;

use super::{Content, Far, ReadSeek, SubjectFile, TensorTable};
use crate::finding::{Code, Finding, Severity};
use crate::finding::{Evidence, Origin};
use crate::model::Purpose;

/// The codes of findings, each once, sorted.
fn codes(findings: &[Finding]) -> Vec<Code> {
    let mut codes: Vec<Code> = findings.iter().map(|f| f.code).collect();
    codes.sort();
    codes.dedup();
    codes
}

fn has_error(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.severity == Severity::Error)
}

/// A reader's result, with findings for its problems.
fn with_findings<T>((table, problems): (T, Vec<Problem>)) -> (T, Vec<Finding>) {
    (table, super::problems::found(problems))
}

/// Reads bytes as a torch file.
fn read_torch(bytes: &[u8]) -> (TensorTable, Vec<Finding>) {
    with_findings(super::torch::read(Cursor::new(bytes), bytes.len() as u64, "x.bin"))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

impl Zeros {
    fn content(length: u64) -> (Content, Arc<AtomicU64>) {
        let zeros = Zeros { length, ..Zeros::default() };
        let read = Arc::clone(&zeros.read);
        (Content::Far(Arc::new(zeros)), read)
    }
}

impl Far for Zeros {
    fn size(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(self.clone()))
    }
}

/// A file to check, without a known size or digest.
fn subject_file(dir: &Path, path: &str, purpose: Purpose) -> SubjectFile {
    SubjectFile {
        path: path.parse().unwrap(),
        content: dir.join(path).into(),
        size: None,
        digest: None,
        xet: None,
        origin: Origin::Hub,
        known: Evidence::Unread,
        purpose,
    }
}
