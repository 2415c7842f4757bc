//! Jobs whose files lie in an object store: putting a selection there without a disk in between, and
//! holding what is there against its manifest. How objects come and go lives in [`crate::objects`].

mod check;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;

use self::shelf::Shelf;
use super::outcome::paths_of;
use super::prepare::is_content;
use super::{Error, Prepared, Session, Statuses};
use crate::fetch::Limiter;
use crate::finding::{Finding, Outcome};
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{Entry, Listing, Options, Presence, RepoPath};
use crate::objects::{Done, Keys, ObjectError, Objects, PART, Upload, UploadError};
use crate::progress::Event;
use crate::report::Report;

/// Large files on their way at once; each has several parts.
const LARGE: usize = 4;

impl Session {
    /// What is there of a prepared job; its plan says so from then on.
    async fn shelve(&self, objects: &Arc<Objects>, prepared: &mut Prepared) -> Result<Shelf, Error> {
        let info = &prepared.listing.info;
        let shelf = Shelf::look(objects, Keys::new(info.repo_type, &info.id), info.commit).await?;
        for item in &mut prepared.plan.items {
            item.presence = shelf.presence(&item.entry).await?;
        }
        prepared.plan.free_space = None;
        prepared.place = Some(shelf.url());
        Ok(shelf)
    }

    /// Those of a job's small files that an earlier run put there.
    pub(super) async fn shelved(
        &self,
        listing: &Listing,
        wanted: &[&Entry],
    ) -> Result<BTreeMap<RepoPath, Option<Vec<u8>>>, Error> {
        let mut found = BTreeMap::new();
        let Some(objects) = &self.objects else { return Ok(found) };
        let keys = Keys::new(listing.info.repo_type, &listing.info.id);
        for entry in wanted {
            let text = match objects.small(&keys.file(&listing.info.commit, &entry.path), entry.size).await {
                // It is another: it will be put there again.
                Err(ObjectError::Invalid { .. }) => None,
                other => other?,
            };
            if let Some(text) = text.filter(|text| is_content(text, entry)) {
                found.insert(entry.path.clone(), Some(text.to_vec()));
            }
        }
        Ok(found)
    }

    /// A plan for an object store.
    pub(super) async fn plan_objects(&self, objects: &Arc<Objects>, mut prepared: Prepared) -> Result<Prepared, Error> {
        self.shelve(objects, &mut prepared).await?;
        Ok(self.judged(prepared))
    }

    /// Puts what was chosen there, and verifies what is there then.
    pub(super) async fn put(
        &self,
        objects: &Arc<Objects>,
        mut prepared: Prepared,
        options: &Options,
        started: Instant,
    ) -> Result<Report, Error> {
        let mut shelf = self.shelve(objects, &mut prepared).await?;
        if let Some(report) = self.not_at_all(&prepared) {
            return Ok(report);
        }
        let mut statuses = Statuses::default();
        let hashed = self.check_shelved(&shelf, &mut prepared, &mut statuses).await?;
        let broken = self.check_early(&prepared).await;
        if !broken.is_empty() {
            return Ok(self.broken_early(&prepared, &statuses, broken));
        }
        let failed = self.upload_missing(&mut shelf, &prepared, &mut statuses).await?;
        let wrong = paths_of(&failed);
        for item in &mut prepared.plan.items {
            item.presence =
                if wrong.contains(item.entry.path.as_str()) { Presence::Absent } else { Presence::Verified };
        }
        let (mut outcome, remembered) = self.check_shelf(&shelf, &prepared, &failed).await?;
        outcome.bytes_hashed += hashed;
        if failed.is_empty() && !remembered {
            shelf.record.checks.insert(self.contents_key(&prepared), Outcome { bytes_hashed: 0, ..outcome.clone() });
        }
        outcome.findings.extend(failed);
        let mut report = Self::report(&prepared, &outcome, &statuses);
        self.config.policy.judge(&mut report.findings);
        report.already_verified = remembered && statuses.nothing_done() && report.is_verified();
        if report.is_verified() {
            self.say_so(shelf, &prepared, options, report.already_verified).await?;
        }
        report.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// Reads what is there and of which nobody knows whether it is right.
    async fn check_shelved(
        &self,
        shelf: &Shelf,
        prepared: &mut Prepared,
        statuses: &mut Statuses,
    ) -> Result<u64, Error> {
        if self.config.fetch.force {
            for item in &mut prepared.plan.items {
                item.presence = Presence::Absent;
            }
            return Ok(0);
        }
        let subject = shelf.subject(prepared, false, |_, presence| presence == Presence::Unverified);
        if subject.files.is_empty() {
            return Ok(0);
        }
        let outcome = self.verify_far(&shelf.objects, subject).await?;
        let wrong = paths_of(&outcome.findings);
        for item in prepared.plan.items.iter_mut().filter(|i| i.presence == Presence::Unverified) {
            if wrong.contains(item.entry.path.as_str()) {
                item.presence = Presence::Absent;
            } else {
                item.presence = Presence::Verified;
                statuses.checked.insert(item.entry.path.clone());
            }
        }
        Ok(outcome.bytes_hashed)
    }

    async fn upload_missing(
        &self,
        shelf: &mut Shelf,
        prepared: &Prepared,
        statuses: &mut Statuses,
    ) -> Result<Vec<Finding>, Error> {
        let missing = prepared.plan.items.iter().filter(|i| i.presence != Presence::Verified).map(|i| i.entry.clone());
        let (large, small): (Vec<Entry>, Vec<Entry>) = missing.partition(|entry| entry.size > PART);
        if large.is_empty() && small.is_empty() {
            return Ok(Vec::new());
        }
        self.progress.event(Event::Planned(&prepared.plan));
        let permits = u32::try_from(self.config.fetch.connections).unwrap_or(u32::MAX).clamp(1, 1024);
        let upload = Arc::new(Upload {
            hubs: self.hubs.clone(),
            objects: Arc::clone(&shelf.objects),
            keys: shelf.keys.clone(),
            info: Arc::new(prepared.listing.info.clone()),
            limiter: self.config.fetch.limit_rate.map(Limiter::new),
            progress: Arc::clone(&self.progress),
            budget: Arc::new(Semaphore::new(permits as usize)),
            permits,
        });
        let one = |entry: Entry| {
            let upload = Arc::clone(&upload);
            async move {
                let done = upload.file(&entry).await;
                (entry, done)
            }
        };
        let large = stream::iter(large).map(one).buffer_unordered(LARGE);
        let small = stream::iter(small).map(one).buffer_unordered(self.config.fetch.jobs.max(1));
        let mut all = std::pin::pin!(stream::select(small, large));
        let mut failed = Vec::new();
        let mut ended = None;
        while let Some((entry, done)) = all.next().await {
            match done {
                Ok(Done::Put { mark, received }) => {
                    shelf.found.insert(entry.path.as_str().to_owned(), mark);
                    statuses.fetched.insert(entry.path, received);
                }
                Ok(Done::Wrong(finding)) => failed.push(finding),
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            }
        }
        match ended {
            None => Ok(failed),
            Some(UploadError::Hub(error)) => Err(error.into()),
            Some(UploadError::Objects(error)) => Err(error.into()),
        }
    }

    /// Headers, index and companions, read back from where they were put.
    async fn check_shelf(
        &self,
        shelf: &Shelf,
        prepared: &Prepared,
        failed: &[Finding],
    ) -> Result<(Outcome, bool), Error> {
        let known = paths_of(failed);
        if failed.is_empty()
            && prepared.plan.items.iter().all(|item| shelf.is_as_recorded(&item.entry.path))
            && let Some(outcome) = shelf.record.checks.get(&self.contents_key(prepared))
        {
            return Ok((outcome.clone(), true));
        }
        let mut subject = shelf.subject(prepared, true, |path, _| !known.contains(path.as_str()));
        subject.unavailable =
            prepared.plan.items.iter().map(|i| i.entry.path.clone()).filter(|p| known.contains(p.as_str())).collect();
        subject.weights.clone_from(&prepared.selection.weights);
        Ok((self.verify_far(&shelf.objects, subject).await?, false))
    }

    /// Writes what is known now, the ref last.
    async fn say_so(
        &self,
        shelf: Shelf,
        prepared: &Prepared,
        options: &Options,
        nothing_new: bool,
    ) -> Result<(), Error> {
        let info = &prepared.listing.info;
        let Shelf { objects, keys, commit, found, mut record, manifest, journals } = shelf;
        let mut files: BTreeMap<RepoPath, LockedFile> =
            prepared.plan.items.iter().map(|i| (i.entry.path.clone(), LockedFile::from(&i.entry))).collect();
        for path in files.keys().map(RepoPath::as_str) {
            if let Some(mark) = found.get(path) {
                record.files.insert(path.to_owned(), mark.clone());
            }
        }
        // What an earlier run put there of the same commit stays what it was.
        let before = manifest.map(|m| m.files).unwrap_or_default();
        let news = files.values().any(|file| !before.contains(file));
        for file in before {
            files.entry(file.path.clone()).or_insert(file);
        }
        if news {
            let repo = LockedRepo {
                repo_type: info.repo_type,
                id: info.id.clone(),
                revision: info.revision.clone(),
                commit,
                options: options.clone(),
                files: files.into_values().collect(),
            };
            objects.put_manifest(&keys, repo).await?;
        }
        if news || !nothing_new {
            objects.put_record(&keys, &commit, record).await?;
        }
        objects.set_reference(&keys, &info.revision, &commit).await?;
        for journal in journals.into_iter().chain(multipart(prepared)).collect::<BTreeSet<_>>() {
            if !nothing_new {
                objects.delete(&format!("{}/{journal}", keys.journals(&commit))).await?;
            }
        }
        Ok(())
    }
}

/// The journals that the uploads of this selection may have left.
fn multipart(prepared: &Prepared) -> impl Iterator<Item = String> {
    prepared.plan.items.iter().filter(|i| i.entry.size > PART).map(|i| format!("{}.json", i.entry.path.as_str()))
}
