//! Where a job's files go: one interface over folders, object stores and future destinations. The job itself is written
//! once, in [`Session::get`]; each destination implements its steps.
//!
//! To add one: a module with a type that implements [`Destination`], a variant of [`super::DestinationConfig`], and the
//! arm of [`Session::deliver`] that makes the type from the variant.

mod disk;
#[cfg(test)]
mod memory;
#[cfg_attr(not(feature = "object-store"), path = "absent.rs")]
mod object_store;
mod publish;
mod registry;

use std::sync::Arc;
use std::time::Instant;

use tracing::{Instrument as _, info};

use self::disk::Disk;
use self::registry::Registry;
pub(super) use self::registry::missing as missing_layer;
use super::fleet::{Aim, lacking, there_before};
use super::{DestinationConfig, Error, Prepared, Session, Statuses};
use crate::finding::{Finding, Outcome};
use crate::model::{Entry, Options, RepoPath};
use crate::report::Report;
use crate::verify::Content;

/// The result of checking the files that are there.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Bytes that were hashed for this check.
    pub bytes_hashed: u64,
    /// Findings about wrong files that cannot be fetched again.
    pub findings: Vec<Finding>,
}

/// Where a job's files go. Each step is called once, in this order. A step that a destination does not need keeps its
/// default. A job may be one worker's part of a selection, or may only publish; a destination need not distinguish
/// them.
pub(super) trait Destination {
    /// Finds out how much of each file is there, without reading it.
    async fn look(&mut self, job: &mut Prepared) -> Result<(), Error>;

    /// Hashes the files that are there and were never checked.
    async fn check_present(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Present, Error>;

    /// Files that must not be replaced. If there are any, nothing is fetched.
    async fn conflicts(&mut self, _job: &mut Prepared) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }

    /// Takes files that this machine has elsewhere.
    async fn take_nearby(
        &mut self,
        _job: &mut Prepared,
        _statuses: &mut Statuses,
        _present: &mut Present,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Checks that the files to fetch fit.
    async fn check_room(&mut self, _job: &Prepared) -> Result<(), Error> {
        Ok(())
    }

    /// Fetches the missing files, and notes the evidence of each file in `statuses`. Returns findings about the files
    /// that failed.
    async fn receive(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error>;

    /// Checks the contents of all files, and looks again at the files that were hashed. `failed` are files that have
    /// their finding already. Also returns whether an earlier run's check was used.
    async fn check(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error>;

    /// The place where a file of the job can be read.
    fn content(&self, job: &Prepared, entry: &Entry) -> Option<Content>;

    /// Whether files of an earlier job must be removed when this one is verified.
    fn has_leftovers(&self) -> bool {
        false
    }

    /// Removes them, with a finding for each.
    async fn remove_leftovers(&mut self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }

    /// Notes the files that a worker has stored, if the next run could not find them otherwise. Publishes nothing.
    async fn note_part(&mut self, _job: &Prepared) -> Result<(), Error> {
        Ok(())
    }

    /// Publishes a verified job. The ref, which readers look at first, moves last.
    async fn publish(&mut self, job: Prepared, statuses: &Statuses, report: &Report) -> Result<(), Error>;
}

impl Session {
    /// Does a job at the configured destination. `keep_listing`: the listing is the endpoint's own, so that it is worth
    /// keeping.
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

    /// Completes a plan with the files that are at the destination already.
    pub(super) async fn planned(&self, mut prepared: Prepared) -> Result<Prepared, Error> {
        self.look_far(&mut prepared).await?;
        Ok(self.judged(prepared))
    }

    /// Finds out how much of a job is at a destination other than this machine's disk.
    async fn look_far(&self, job: &mut Prepared) -> Result<(), Error> {
        if let Some(objects) = &self.objects {
            self.look_at_store(objects, job).await?;
        }
        if let (Some(content), DestinationConfig::Oci(target)) = (&self.oci, &self.config.destination) {
            Registry::new(self, content, target, &Options::default()).look(job).await?;
        }
        Ok(())
    }

    /// Counts the files of a job that are not at its destination, without reading the others.
    pub(super) async fn lacks(&self, job: &mut Prepared) -> Result<usize, Error> {
        match job.store.clone() {
            Some(store) if self.objects.is_none() && self.oci.is_none() => {
                // The plan was made before this worker's part arrived.
                let own = Arc::clone(&store);
                let (commit, plan) = (job.listing.info.commit, std::mem::take(&mut job.plan));
                job.plan = self.blocking(&store, move |_| plan.again(&own, &commit)).await?;
            }
            _ => self.look_far(job).await?,
        }
        Ok(job.plan.items.iter().filter(|item| !item.presence.is_here()).count())
    }

    /// The job: fetches the missing files, verifies all of them, and then publishes them.
    async fn run(&self, mut to: impl Destination, mut job: Prepared, started: Instant) -> Result<Report, Error> {
        to.look(&mut job).await?;
        if let Some(report) = self.not_at_all(&job) {
            return Ok(report);
        }
        let mut statuses = Statuses::recorded(&job);
        let before = there_before(&job);
        let mut present = to.check_present(&mut job, &mut statuses).await?;
        let conflicts = to.conflicts(&mut job).await?;
        if !conflicts.is_empty() {
            return Ok(self.broken_early(&job, &statuses, conflicts));
        }
        // Why this order: files that disagree with a signature must not become visible.
        let unsigned = self.signed_early(&job);
        if !unsigned.is_empty() {
            return Ok(self.broken_early(&job, &statuses, unsigned));
        }
        to.take_nearby(&mut job, &mut statuses, &mut present).await?;
        let lacking = if matches!(job.aim, Aim::Publish) { lacking(&job, &before, &present) } else { Vec::new() };
        let (hashed, mut findings) = (present.bytes_hashed, present.findings);
        findings.extend(lacking);
        if !self.config.offline && !matches!(job.aim, Aim::Publish) {
            to.check_room(&job).await?;
            // For a part, the first worker has asked already.
            let broken = if job.aim.partition().is_none() { self.check_early(&job).await } else { Vec::new() };
            if !broken.is_empty() {
                return Ok(self.broken_early(&job, &statuses, broken));
            }
            findings.extend(to.receive(&mut job, &mut statuses).await?);
        }
        self.read_postponed(&mut job).await?;
        let checked = Instant::now();
        let (mut outcome, remembered) = to.check(&mut job, &mut statuses, &mut findings).await?;
        info!(tensors = outcome.tensors, remembered, took = ?checked.elapsed(), "contents checked");
        outcome.bytes_hashed += hashed;
        outcome.findings.extend(findings);
        let mut draft = Self::report(&job, &outcome, &statuses);
        draft.remembered = remembered;
        draft.totals.milliseconds = crate::session::outcome::milliseconds_since(started);
        let content = |path: &RepoPath| to.content(&job, job.listing.get(path.as_str())?);
        self.check_signatures(&job.signatures, &job.known(), &mut draft, content).await;
        // Why this order: files of an earlier job are removed only after the new one is verified.
        if to.has_leftovers() && draft.clone().conclude(&self.config.policy).is_verified() {
            draft.findings.extend(to.remove_leftovers().await?);
        }
        let report = draft.conclude(&self.config.policy);
        if report.is_verified() {
            to.publish(job, &statuses, &report).await?;
        } else if report.verdict.partition().is_some() {
            to.note_part(&job).await?;
        }
        Ok(report)
    }
}
