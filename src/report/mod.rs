//! The report of a run and its renderings. How a thing was found out lives elsewhere.

mod compare;
mod human;
mod machine;
mod plan;
mod summary;

pub use compare::{Checked, CompareReport, ComparedFile, Level, line as compare_line};
pub use human::{HumanOptions, group, many};
pub use machine::{Ended, github, junit, summary};
pub use plan::PlanReport;
pub use summary::{Draft, FileReport, FileStatus, Report, Totals, WeightsReport};
