//! Jobs that several workers share: each worker gets its part, and a last step publishes the whole. `plan` decides which file
//! belongs to which part; `destination` runs the steps, as for any job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::destination::Present;
use super::documents::Early;
use super::{Error, Prepared, Session, Statuses};
use crate::finding::{Code, Finding, Remedy, Weights};
use crate::lock::LockedRepo;
use crate::model::{Family, Options, Partition, Presence, RepoPath, RepoSpec, WeightSet};
use crate::plan::divide;
use crate::report::Report;

/// The purpose of a job.
#[derive(Debug, Clone, Default)]
pub(super) enum Aim {
    /// Fetch a selection and publish it.
    #[default]
    Whole,
    /// Fetch one part of it, and publish nothing.
    Part {
        partition: Partition,
        /// The selection's files that other workers fetch.
        others: BTreeSet<RepoPath>,
        /// Whether the whole selection has the expected weights.
        weights_known: Weights,
    },
    /// Publish the files that are there, and fetch nothing.
    Publish,
}

impl Aim {
    /// The job's part; `None` for the whole job.
    pub fn partition(&self) -> Option<Partition> {
        match self {
            Aim::Part { partition, .. } => Some(*partition),
            Aim::Whole | Aim::Publish => None,
        }
    }

    /// The selection's files that other workers fetch.
    pub fn others(&self) -> impl Iterator<Item = &RepoPath> {
        match self {
            Aim::Part { others, .. } => Some(others),
            Aim::Whole | Aim::Publish => None,
        }
        .into_iter()
        .flatten()
    }
}

#[doc(hidden)] // for the command
impl Session {
    /// Lists a repo and selects its files, without looking at the destination: all workers must get the same selection,
    /// whichever files exist already. Uses no kept listing.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn wanted(&self, spec: &RepoSpec, options: &Options) -> Result<Prepared, Error> {
        let prepared = self.prepare(spec, options, true).await?;
        prepared.not_empty()?;
        Ok(prepared)
    }

    /// The same for the files of a lockfile.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn wanted_locked(&self, locked: &LockedRepo) -> Result<Prepared, Error> {
        self.prepare_locked(locked).await
    }

    /// Reduces `jobs`, which are all jobs of the fleet, to one part. Files are shared out by bytes over all jobs together. A
    /// file that two jobs name belongs to one part.
    pub fn keep_part(jobs: &mut [Prepared], partition: Partition) {
        let name = |job: &Prepared, path: &RepoPath| {
            let info = &job.listing.info;
            (info.repo_type.plural(), info.id.as_str().to_owned(), info.commit.to_string(), path.clone())
        };
        let all = jobs
            .iter()
            .flat_map(|job| job.plan.items.iter().map(move |item| (name(job, &item.entry.path), item.entry.size)));
        let part_of: BTreeMap<_, u32> = divide(all, partition.of());
        for job in jobs {
            let paths = job.plan.items.iter().map(|item| item.entry.path.clone());
            let is_own = |path: &RepoPath| part_of.get(&name(job, path)) == Some(&partition.part());
            let others: BTreeSet<RepoPath> = paths.filter(|path| !is_own(path)).collect();
            job.aim = Aim::Part { partition, others, weights_known: job.weights_known() };
        }
    }

    /// Gets the part of a job that [`Session::keep_part`] left, and verifies it. Nothing is published:
    /// [`Session::publish`] finds out whether the whole selection is there.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_part(&self, mut job: Prepared, options: &Options) -> Result<Report, Error> {
        let started = Instant::now();
        let mut broken = Vec::new();
        if job.aim.partition().is_some_and(|partition| partition.part() == 1) && !self.config.offline {
            // One worker compares the headers of all shards with the index: others would only repeat its requests.
            broken = self.check_early(&job).await;
        }
        job.only_own_files();
        if !broken.is_empty() {
            return Ok(self.broken_early(&job, &Statuses::recorded(&job), broken));
        }
        self.deliver(job, options, started, false).await
    }

    /// The plan of [`Session::get_part`].
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn plan_part(&self, mut job: Prepared) -> Result<Prepared, Error> {
        job.only_own_files();
        if let Aim::Part { others, .. } = &job.aim {
            job.selection.files.retain(|file| !others.contains(&file.path));
        }
        self.planned(job).await
    }

    /// Publishes the whole of a job that [`Session::keep_part`] has divided, if all of its files are there. A first
    /// look finds that out without reading them. Only then are they verified, as by [`Session::publish`]. Two workers
    /// that end at the same time may both publish: they write the same.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn publish_if_complete(&self, whole: Whole, options: &Options) -> Result<Published, Error> {
        let started = Instant::now();
        let mut job = whole.0;
        let missing = self.lacks(&mut job).await?;
        if missing > 0 {
            return Ok(Published::Incomplete { missing });
        }
        let report = self.deliver(job, options, started, false).await?;
        Ok(Published::Done(Box::new(report)))
    }

    /// Verifies that the workers put every file of a selection in its place, and publishes it. Nothing is fetched; a file
    /// that is missing or wrong is a finding.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn publish(&self, spec: &RepoSpec, options: &Options) -> Result<Report, Error> {
        let started = Instant::now();
        let job = self.wanted(spec, options).await?;
        self.deliver(Prepared { aim: Aim::Publish, ..job }, options, started, self.lists_all()).await
    }

    /// The same for the files that a lockfile names.
    ///
    /// # Errors
    /// As [`Session::get_locked`].
    pub async fn publish_locked(&self, locked: &LockedRepo) -> Result<Report, Error> {
        let started = Instant::now();
        let job = self.prepare_locked(locked).await?;
        self.deliver(Prepared { aim: Aim::Publish, ..job }, &locked.options, started, false).await
    }
}

/// The whole of a job, of which a worker does a part.
#[derive(Debug)]
pub struct Whole(Prepared);

/// Whether a worker has published the whole.
#[derive(Debug)]
pub enum Published {
    /// All files were there; this is the report.
    Done(Box<Report>),
    /// Other workers are not done.
    Incomplete {
        /// Files that are not there yet.
        missing: usize,
    },
}

impl Prepared {
    /// The whole of a job, to be published when the parts are there. Taken before [`Session::get_part`].
    #[doc(hidden)] // for the command
    #[must_use]
    pub fn to_be_published(&self) -> Whole {
        Whole(Prepared {
            listing: self.listing.clone(),
            selection: self.selection.clone(),
            plan: self.plan.clone(),
            store: self.store.clone(),
            origin: self.origin,
            whole: self.whole,
            // Nothing is fetched; the files are read in place.
            early: Early::default(),
            commits: self.commits.clone(),
            refused: self.refused.clone(),
            signatures: self.signatures.clone(),
            place: self.place.clone(),
            aim: Aim::Publish,
        })
    }

    /// Removes the files of other parts from the plan, and checks that need all files of a set from the weights.
    fn only_own_files(&mut self) {
        let Aim::Part { others, .. } = &self.aim else { return };
        self.plan.items.retain(|item| !others.contains(&item.entry.path));
        self.selection.weights.retain_mut(|set| keep_own(set, others));
    }
}

/// Removes `others` from a set. Returns whether the rest can be checked without them.
fn keep_own(set: &mut WeightSet, others: &BTreeSet<RepoPath>) -> bool {
    if !set.files.iter().chain(&set.index).any(|path| others.contains(path)) {
        return true;
    }
    // The readers of these families look at the neighbours of a file too.
    let needs_all = matches!(set.family, Family::Onnx | Family::Gguf | Family::TfCheckpoint | Family::SavedModel);
    set.files.retain(|path| !others.contains(path));
    set.index = None;
    set.parsed = crate::model::Parsed::default();
    !needs_all && !set.files.is_empty()
}

/// The files that were there before their bytes were read.
pub(super) fn there_before(job: &Prepared) -> BTreeSet<RepoPath> {
    let there = job.plan.items.iter().filter(|item| item.presence.is_here());
    there.map(|item| item.entry.path.clone()).collect()
}

/// The files that prevent publishing: they are missing, or were there `before` and proved to be wrong.
pub(super) fn lacking(job: &Prepared, before: &BTreeSet<RepoPath>, present: &Present) -> Vec<Finding> {
    let said: BTreeSet<&str> = present.findings.iter().filter_map(|finding| finding.path.as_deref()).collect();
    let missing = job.plan.items.iter().filter(|item| item.presence != Presence::Verified);
    let missing = missing.map(|item| &item.entry.path).filter(|path| !said.contains(path.as_str()));
    missing
        .map(|path| {
            let (code, message) = if before.contains(path) {
                (Code::ChecksumMismatch, "its bytes differ from the listing")
            } else {
                (Code::FileMissing, "no worker has finished it")
            };
            Finding::new(code, path, message).remedy(Remedy::RunWorkers)
        })
        .collect()
}
