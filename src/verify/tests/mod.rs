//! Promises of the verifiers: what is right is found right, what is wrong has its code, and nothing
//! that bytes can say makes them panic, hang or allocate without bound.

mod coverage;
mod files;
mod safetensors;
mod torch;

use std::path::PathBuf;

use crate::report::{Finding, Severity};

/// The committed files of real producers.
fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.code.as_str()).collect()
}

fn has_error(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.severity == Severity::Error)
}
