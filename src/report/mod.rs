//! Findings, the report they make up, its renderings and the exit code. How a thing was found out
//! lives elsewhere.

mod code;
mod finding;

pub use code::Code;
pub use finding::{ExitCode, Finding, Severity};
