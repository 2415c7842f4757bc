//! The report of a run, as plain values and as JSON. `session` makes it; the command shows it.

mod compare;
mod plan;
mod summary;

pub use compare::{Checked, CompareReport, ComparedFile, Level};
pub use plan::{PlanReport, state};
pub use summary::{Draft, FileReport, FileStatus, Report, Totals, WeightsReport};
