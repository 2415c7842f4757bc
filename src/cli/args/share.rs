//! The flag that makes a run one worker of a fleet.

use clap::Args;
use hfget_core::unstable::model::Partition;

use super::values::partition;

/// Which part of the whole job.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to take")]
pub struct Share {
    /// Do part K of N, divided by bytes; `hfget publish` verifies the whole
    ///
    /// N workers with the same repos and flags take files that do not overlap. Any of them may fail and be run again. A worker
    /// moves no ref, manifest or tag: its result is "part", never "verified". /N takes K from JOB_COMPLETION_INDEX, which
    /// Kubernetes counts from 0.
    #[arg(long, value_name = "K/N", hide_short_help = true, value_parser = partition, conflicts_with_all = ["offline", "prefer_offline", "follow_code"])]
    pub partition: Option<Partition>,
}
