//! Jobs whose files lie in an object store: putting a selection there without a disk in between, and
//! holding what is there against its manifest. How objects come and go lives in [`crate::objects`].

mod check;
mod remote_snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Semaphore;

use self::remote_snapshot::RemoteSnapshot;
use super::documents::is_content;
use super::outcome::paths_of;
use super::{Error, Prepared, Session, Statuses};
use crate::finding::{Again, Evidence, Finding, Outcome, Remedy};
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{Entry, Listing, Options, Presence, RepoPath};
use crate::object_store::{Keys, ObjectError, Objects};
use crate::progress::Event;
use crate::report::Report;
use crate::transfer::Limiter;
use crate::upload::{Done, PART, Upload, UploadError};

/// Large files on their way at once; each has several parts.
const LARGE: usize = 4;
/// How often what others replace meanwhile is hashed again.
const LOOKS: usize = 4;

impl Session {
    /// What is there of a prepared job; its plan says so from then on.
    async fn shelve(&self, objects: &Arc<Objects>, prepared: &mut Prepared) -> Result<RemoteSnapshot, Error> {
        let info = &prepared.listing.info;
        let keys = Keys::new(info.repo_type, &info.id);
        let shelf = RemoteSnapshot::look(objects, keys, info.commit, self.config.records.as_deref()).await?;
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
        let mut statuses = Statuses::recorded(&prepared);
        let hashed = self.check_shelved(&shelf, &mut prepared, &mut statuses).await?;
        let broken = self.check_early(&prepared).await;
        if !broken.is_empty() {
            return Ok(self.broken_early(&prepared, &statuses, broken));
        }
        let mut failed = self.upload_missing(&mut shelf, &prepared, &mut statuses).await?;
        let (mut outcome, remembered) =
            self.settle_shelf(&mut shelf, &mut prepared, &mut statuses, &mut failed).await?;
        outcome.bytes_hashed += hashed;
        outcome.findings.extend(failed);
        let mut draft = Self::report(&prepared, &outcome, &statuses);
        draft.remembered = remembered;
        let mut report = draft.conclude(&self.config.policy);
        if report.is_verified() {
            self.say_so(shelf, &prepared, options, report.already_verified).await?;
        }
        report.totals.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// Reads what is there and of which nobody knows whether it is right.
    async fn check_shelved(
        &self,
        shelf: &RemoteSnapshot,
        prepared: &mut Prepared,
        statuses: &mut Statuses,
    ) -> Result<u64, Error> {
        if self.config.fetch.force {
            for item in &mut prepared.plan.items {
                item.presence = Presence::Absent;
            }
            statuses.seen.clear();
            return Ok(0);
        }
        let subject = shelf.subject(prepared, |_| Evidence::Unread, |_, presence| presence == Presence::Unverified);
        if subject.files.is_empty() {
            return Ok(0);
        }
        let outcome = self.verify_far(&shelf.objects, subject).await?;
        statuses.saw(&outcome.proofs);
        for item in prepared.plan.items.iter_mut().filter(|i| i.presence == Presence::Unverified) {
            let path = &item.entry.path;
            if statuses.evidence(path).digest() == Some(item.entry.digest()) {
                item.presence = Presence::Verified;
            } else {
                item.presence = Presence::Absent;
                statuses.seen.remove(path);
            }
        }
        Ok(outcome.bytes_hashed)
    }

    /// Checks the contents of what is there now, and that it is still what was hashed or uploaded in this run: what
    /// others replaced meanwhile is hashed again. This machine knows of it from then on.
    async fn settle_shelf(
        &self,
        shelf: &mut RemoteSnapshot,
        prepared: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error> {
        let mut hashed = 0;
        for _ in 0..LOOKS {
            let wrong = paths_of(failed.iter());
            for item in &mut prepared.plan.items {
                item.presence =
                    if wrong.contains(item.entry.path.as_str()) { Presence::Absent } else { Presence::Verified };
            }
            let (mut outcome, remembered) = self.check_shelf(shelf, prepared, statuses, failed).await?;
            // Nothing took any time: what was there when the run began is there.
            if remembered && statuses.nothing_done() {
                return Ok((outcome, remembered));
            }
            let here = prepared.plan.items.iter().filter(|i| i.presence == Presence::Verified);
            let replaced = shelf.look_again(here.map(|i| &i.entry.path)).await?;
            if replaced.is_empty() {
                outcome.bytes_hashed += hashed;
                if failed.is_empty() && !remembered {
                    let outcome = Outcome { bytes_hashed: 0, ..outcome.clone() };
                    shelf.record.remember_check(self.contents_key(prepared), outcome);
                }
                remember(shelf, prepared);
                shelf.record.save().await;
                return Ok((outcome, remembered));
            }
            let subject = shelf.subject(prepared, |_| Evidence::Unread, |path, _| replaced.contains(path));
            let outcome = self.verify_far(&shelf.objects, subject).await?;
            hashed += outcome.bytes_hashed;
            statuses.saw(&outcome.proofs);
            failed.extend(outcome.findings.into_iter().map(|f| f.remedy(Remedy::RunAgain { why: Again::OthersWrote })));
        }
        let why = "others replace its objects while they are checked".into();
        Err(ObjectError::Failed { url: shelf.url().to_string(), why }.into())
    }

    async fn upload_missing(
        &self,
        shelf: &mut RemoteSnapshot,
        prepared: &Prepared,
        statuses: &mut Statuses,
    ) -> Result<Vec<Finding>, Error> {
        let missing = prepared.plan.items.iter().filter(|i| i.presence != Presence::Verified).map(|i| i.entry.clone());
        let (large, small): (Vec<Entry>, Vec<Entry>) = missing.partition(|entry| entry.size > PART);
        if large.is_empty() && small.is_empty() {
            return Ok(Vec::new());
        }
        self.progress.event(Event::Planned(prepared.plan.figures()));
        let permits = u32::try_from(self.config.fetch.connections).unwrap_or(u32::MAX).clamp(1, 1024);
        let wanted: Vec<Entry> = large.iter().chain(&small).cloned().collect();
        let upload = Arc::new(Upload {
            sources: self.sources.clone(),
            nearby: self.offered(prepared, wanted).await?,
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
                Ok(Done::Put { mark, hashed, received }) => {
                    // After a kill this one need not be read back.
                    if entry.size > PART
                        && let Some(now) = shelf.objects.mark(&shelf.keys.file(&shelf.commit, &entry.path)).await?
                        && now.is_still(&mark)
                    {
                        shelf.record.remember(&entry.path, entry.digest(), &now);
                        shelf.record.save().await;
                    }
                    shelf.found.insert(entry.path.as_str().to_owned(), mark);
                    statuses.seen.insert(entry.path.clone(), (Evidence::Hashed(hashed), None));
                    if received > 0 || entry.size == 0 {
                        statuses.fetched.insert(entry.path, received);
                    }
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
        shelf: &RemoteSnapshot,
        prepared: &Prepared,
        statuses: &Statuses,
        failed: &[Finding],
    ) -> Result<(Outcome, bool), Error> {
        let known = paths_of(failed);
        if failed.is_empty()
            && prepared.plan.items.iter().all(|item| shelf.is_as_recorded(&item.entry))
            && let Some(outcome) = shelf.record.check(&self.contents_key(prepared))
        {
            return Ok((outcome.clone(), true));
        }
        let mut subject =
            shelf.subject(prepared, |path| statuses.evidence(path), |path, _| !known.contains(path.as_str()));
        subject.unavailable =
            prepared.plan.items.iter().map(|i| i.entry.path.clone()).filter(|p| known.contains(p.as_str())).collect();
        subject.weights.clone_from(&prepared.selection.weights);
        Ok((self.verify_far(&shelf.objects, subject).await?, false))
    }

    /// Writes what is known now, the ref last.
    async fn say_so(
        &self,
        shelf: RemoteSnapshot,
        prepared: &Prepared,
        options: &Options,
        nothing_new: bool,
    ) -> Result<(), Error> {
        let info = &prepared.listing.info;
        let RemoteSnapshot { objects, keys, commit, journals, manifest, .. } = shelf;
        let merge = |before: Option<&LockedRepo>| merged(prepared, options, before);
        if manifest.as_ref().is_none_or(|before| before.files != merge(Some(before)).files) {
            objects.put_manifest(&keys, &commit, merge).await?;
        }
        objects.set_reference(&keys, &info.revision, &commit).await?;
        for journal in multipart(prepared).filter(|journal| !nothing_new && journals.contains(journal)) {
            objects.delete(&format!("{}/{journal}", keys.journals(&commit))).await?;
        }
        Ok(())
    }
}

/// What a commit's files must be, all that is known of them: what this run verified, and what other runs put there.
fn merged(prepared: &Prepared, options: &Options, before: Option<&LockedRepo>) -> LockedRepo {
    let info = &prepared.listing.info;
    let mut files: BTreeMap<RepoPath, LockedFile> =
        prepared.plan.items.iter().map(|i| (i.entry.path.clone(), LockedFile::from(&i.entry))).collect();
    for file in before.iter().flat_map(|before| &before.files) {
        // Where the listing names another digest the manifest was written by somebody else.
        let listed = prepared.listing.get(file.path.as_str()).map(LockedFile::from);
        let same = listed.as_ref().is_none_or(|l| l.digest == file.digest && l.size == file.size);
        let file = listed.filter(|_| !same).unwrap_or_else(|| file.clone());
        files.entry(file.path.clone()).or_insert(file);
    }
    LockedRepo {
        repo_type: info.repo_type,
        id: info.id.clone(),
        revision: info.revision.clone(),
        commit: info.commit,
        options: options.clone(),
        files: files.into_values().collect(),
    }
}

/// Notes what this run found to be right, and that nothing else is to be relied on.
fn remember(shelf: &mut RemoteSnapshot, prepared: &Prepared) {
    for item in &prepared.plan.items {
        let path = &item.entry.path;
        match shelf.found.get(path.as_str()) {
            Some(mark) if item.presence == Presence::Verified => {
                shelf.record.remember(path, item.entry.digest(), mark);
            }
            _ => shelf.record.forget(path.as_str()),
        }
    }
}

/// The journals that the uploads of this selection may have left.
fn multipart(prepared: &Prepared) -> impl Iterator<Item = String> {
    prepared.plan.items.iter().filter(|i| i.entry.size > PART).map(|i| format!("{}.json", i.entry.path.as_str()))
}
