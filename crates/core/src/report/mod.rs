//! The report of a run, as plain values and as JSON. `session` makes it; the command shows it.

pub(crate) mod compare;
pub(crate) mod plan;
mod signature;
pub(crate) mod summary;

pub(crate) use compare::{Checked, CompareReport, ComparedFile, Level};
pub(crate) use plan::PlanReport;
pub use signature::{SignatureReport, SignatureStanding};
pub(crate) use summary::Draft;
pub use summary::{FileReport, FileStatus, Report, Totals, WeightsReport};
