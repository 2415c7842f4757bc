//! The report of a run, as plain values and as JSON. `session` makes it; the command shows it.

mod compare;
mod plan;
mod signature;
mod summary;

pub use compare::{Checked, CompareReport, ComparedFile, Level};
pub use plan::{PlanReport, state};
pub use signature::{SignatureReport, SignatureStanding};
pub use summary::{Draft, FileReport, FileStatus, Report, Totals, WeightsReport};
