//! The report of a run, as plain values and as JSON. How a thing was found out, and how a person sees it, is decided
//! elsewhere.

mod compare;
mod plan;
mod summary;

pub use compare::{Checked, CompareReport, ComparedFile, Level};
pub use plan::{PlanReport, state};
pub use summary::{Draft, FileReport, FileStatus, Report, Totals, WeightsReport};
