//! Where a job's files go: one interface over folders, object stores and whatever comes next. The job itself is told once,
//! in [`Session::get`]; each destination says how its steps are done there.
//!
//! To add one: a module with a type that implements [`Destination`], a variant of [`super::DestinationConfig`], and the
//! arm of [`Session::deliver`] that makes the one of the other.

mod disk;
#[cfg(test)]
mod memory;
#[cfg_attr(not(feature = "object-store"), path = "absent.rs")]
mod object_store;
mod publish;
mod registry;

use std::time::Instant;

use tracing::{Instrument as _, info};

use self::disk::Disk;
use self::registry::Registry;
pub(super) use self::registry::missing as missing_layer;
use super::{DestinationConfig, Error, Prepared, Session, Statuses};
use crate::finding::{Finding, Outcome};
use crate::model::Options;
use crate::report::Report;

/// What a look at the files that are there came to.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Bytes that were hashed for it.
    pub bytes_hashed: u64,
    /// What is wrong and stays so, where nothing can be fetched.
    pub findings: Vec<Finding>,
}

/// Where a job's files go. The steps are called in this order, once each; a step that a destination has no need of keeps
/// its default.
pub(super) trait Destination {
    /// Looks at what is there of each file, without reading it.
    async fn look(&mut self, job: &mut Prepared) -> Result<(), Error>;

    /// Hashes what is there and was never checked.
    async fn check_present(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Present, Error>;

    /// What must not be replaced. Where there is any, nothing is fetched.
    async fn conflicts(&mut self, _job: &mut Prepared) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }

    /// Takes what this machine has elsewhere.
    async fn take_nearby(
        &mut self,
        _job: &mut Prepared,
        _statuses: &mut Statuses,
        _present: &mut Present,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// That what is to be fetched fits.
    async fn check_room(&mut self, _job: &Prepared) -> Result<(), Error> {
        Ok(())
    }

    /// Gets what is missing, and notes the evidence of each file in `statuses`. Gives what could not be made right.
    async fn receive(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error>;

    /// Checks the contents of all that is there, and looks again at what was hashed. `failed` are files that have their
    /// finding. Says whether an earlier run's check was taken.
    async fn check(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error>;

    /// Whether files of an earlier job are to go when this one is verified.
    fn has_leftovers(&self) -> bool {
        false
    }

    /// Removes them, and says so.
    async fn remove_leftovers(&mut self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }

    /// Makes a verified job known. What others look at first moves last.
    async fn publish(&mut self, job: Prepared, statuses: &Statuses, report: &Report) -> Result<(), Error>;
}

impl Session {
    /// Does a job where the configuration says. `keep_listing`: the listing is the endpoint's own, and worth keeping.
    pub(super) async fn deliver(
        &self,
        job: Prepared,
        options: &Options,
        started: Instant,
        keep_listing: bool,
    ) -> Result<Report, Error> {
        let span = Self::span(job.listing.info.repo_type, &job.listing.info.id);
        if let Some(objects) = &self.objects {
            return self.deliver_to_store(objects, options, job, started).instrument(span).await;
        }
        if let (Some(content), DestinationConfig::Oci(target)) = (&self.oci, &self.config.destination) {
            return self.run(Registry::new(self, content, target, options), job, started).instrument(span).await;
        }
        match job.store.clone() {
            Some(store) => self.run(Disk::new(self, store, keep_listing), job, started).instrument(span).await,
            None => Err(Error::NoDestination),
        }
    }

    /// A plan with what is there already.
    pub(super) async fn planned(&self, mut prepared: Prepared) -> Result<Prepared, Error> {
        if let Some(objects) = &self.objects {
            self.look_at_store(objects, &mut prepared).await?;
        }
        if let (Some(content), DestinationConfig::Oci(target)) = (&self.oci, &self.config.destination) {
            Registry::new(self, content, target, &Options::default()).look(&mut prepared).await?;
        }
        Ok(self.judged(prepared))
    }

    /// The job: what is missing is fetched, all of it is verified, and then it is published.
    async fn run(&self, mut to: impl Destination, mut job: Prepared, started: Instant) -> Result<Report, Error> {
        to.look(&mut job).await?;
        if let Some(report) = self.not_at_all(&job) {
            return Ok(report);
        }
        let mut statuses = Statuses::recorded(&job);
        let mut present = to.check_present(&mut job, &mut statuses).await?;
        let conflicts = to.conflicts(&mut job).await?;
        if !conflicts.is_empty() {
            return Ok(self.broken_early(&job, &statuses, conflicts));
        }
        to.take_nearby(&mut job, &mut statuses, &mut present).await?;
        let (hashed, mut findings) = (present.bytes_hashed, present.findings);
        if !self.config.offline {
            to.check_room(&job).await?;
            let broken = self.check_early(&job).await;
            if !broken.is_empty() {
                return Ok(self.broken_early(&job, &statuses, broken));
            }
            findings.extend(to.receive(&mut job, &mut statuses).await?);
        }
        let checked = Instant::now();
        let (mut outcome, remembered) = to.check(&mut job, &mut statuses, &mut findings).await?;
        info!(tensors = outcome.tensors, remembered, took = ?checked.elapsed(), "contents checked");
        outcome.bytes_hashed += hashed;
        outcome.findings.extend(findings);
        let mut draft = Self::report(&job, &outcome, &statuses);
        draft.remembered = remembered;
        draft.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Why this order: what an earlier job left is removed only when the new one is verified.
        if to.has_leftovers() && draft.clone().conclude(&self.config.policy).is_verified() {
            draft.findings.extend(to.remove_leftovers().await?);
        }
        let report = draft.conclude(&self.config.policy);
        if report.is_verified() {
            to.publish(job, &statuses, &report).await?;
        }
        Ok(report)
    }
}
