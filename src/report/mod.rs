//! Findings, the report they make up, its renderings and the exit code. How a thing was found out
//! lives elsewhere.

mod code;
mod compare;
mod finding;
mod human;
mod machine;
mod plan;
mod policy;
mod summary;

pub use code::{Code, UnknownCode};
pub use compare::{Checked, CompareReport, ComparedFile, Level, line as compare_line};
pub use finding::{ExitCode, Finding, Severity};
pub use human::{HumanOptions, group, many};
pub use machine::{Ended, github, junit, summary};
pub use plan::PlanReport;
pub use policy::{NotAllowable, Policy};
pub use summary::{FileReport, FileStatus, Report, Totals, WeightsReport};
