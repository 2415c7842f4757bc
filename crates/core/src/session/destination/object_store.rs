//! An object store as a destination: files go there without a copy on this disk. The rooms `object_store` and `upload`
//! make the requests.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _};

use super::{Destination, Present};
use crate::finding::{Again, Evidence, Finding, Outcome, Remedy};
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{Entry, Options, Presence, RepoPath};
use crate::object_store::{Keys, ObjectError, Objects};
use crate::progress::Event;
use crate::report::Report;
use crate::session::object_store::RemoteSnapshot;
use crate::session::outcome::paths_of;
use crate::session::{Error, Prepared, Session, Statuses};
use crate::upload::{Done, PART, Upload, UploadError};
use crate::verify::Content;

/// How many large files are uploaded at once; each has several parts.
const LARGE: usize = 4;
/// How often to hash objects again that other runs replace meanwhile.
const LOOKS: usize = 4;

/// A job's objects in a store.
struct ObjectStore<'a> {
    filler: Filler<'a>,
    /// The objects that are there, after the first look.
    there: Option<RemoteSnapshot>,
}

/// Uploads files.
#[derive(Clone, Copy)]
struct Filler<'a> {
    session: &'a Session,
    objects: &'a Arc<Objects>,
    /// The options that the manifest notes.
    options: &'a Options,
}

impl<'a> ObjectStore<'a> {
    fn new(session: &'a Session, objects: &'a Arc<Objects>, options: &'a Options) -> Self {
        ObjectStore { filler: Filler { session, objects, options }, there: None }
    }

    /// The objects that are there. `look` must have been called.
    fn there(&mut self) -> Result<&mut RemoteSnapshot, Error> {
        self.there.as_mut().ok_or(Error::NoDestination)
    }
}

impl Session {
    /// Does a job with a store as its destination.
    pub(super) async fn deliver_to_store(
        &self,
        objects: &Arc<Objects>,
        options: &Options,
        job: Prepared,
        started: Instant,
    ) -> Result<Report, Error> {
        self.run(ObjectStore::new(self, objects, options), job, started).await
    }

    /// Completes a plan with the objects that are in the store already.
    pub(super) async fn look_at_store(&self, objects: &Arc<Objects>, job: &mut Prepared) -> Result<(), Error> {
        ObjectStore::new(self, objects, &Options::default()).look(job).await
    }
}

impl Destination for ObjectStore<'_> {
    async fn look(&mut self, job: &mut Prepared) -> Result<(), Error> {
        let info = &job.listing.info;
        let keys = Keys::new(info.repo_type, &info.id);
        let records = self.filler.session.config.records.as_deref();
        let there = RemoteSnapshot::look(self.filler.objects, keys, info.commit, records).await?;
        for item in &mut job.plan.items {
            item.presence = there.presence(&item.entry).await?;
        }
        job.plan.free_space = None;
        job.place = there.url();
        self.there = Some(there);
        Ok(())
    }

    async fn check_present(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Present, Error> {
        let filler = self.filler;
        let bytes_hashed = filler.check_present(self.there()?, job, statuses).await?;
        Ok(Present { bytes_hashed, findings: Vec::new() })
    }

    async fn receive(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        let filler = self.filler;
        filler.upload_missing(self.there()?, job, statuses).await
    }

    async fn check(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error> {
        let filler = self.filler;
        filler.settle(self.there()?, job, statuses, failed).await
    }

    fn content(&self, _job: &Prepared, entry: &Entry) -> Option<Content> {
        Some(self.there.as_ref()?.content(&entry.path))
    }

    async fn publish(&mut self, job: Prepared, _statuses: &Statuses, report: &Report) -> Result<(), Error> {
        let filler = self.filler;
        filler.publish(self.there()?, &job, report.already_verified).await
    }
}

impl Filler<'_> {
    /// Reads the objects that are there and that no record proves.
    async fn check_present(
        &self,
        there: &RemoteSnapshot,
        prepared: &mut Prepared,
        statuses: &mut Statuses,
    ) -> Result<u64, Error> {
        if self.session.config.fetch.force {
            for item in &mut prepared.plan.items {
                item.presence = Presence::Absent;
            }
            statuses.seen.clear();
            return Ok(0);
        }
        let subject = there.subject(prepared, |_| Evidence::Unread, |_, presence| presence == Presence::Unverified);
        if subject.files.is_empty() {
            return Ok(0);
        }
        let outcome = self.session.verify_far(&there.objects, subject).await?;
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

    /// Checks the contents of the objects, and that they are still those that this run hashed or uploaded; objects
    /// that other runs replaced meanwhile are hashed again. Then notes them in this machine's record.
    async fn settle(
        &self,
        there: &mut RemoteSnapshot,
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
            let (mut outcome, remembered) = self.check_contents(there, prepared, statuses, failed).await?;
            // The run did nothing that takes time, so the objects that it saw at the start are still there.
            if remembered && statuses.nothing_done() {
                return Ok((outcome, remembered));
            }
            let here = prepared.plan.items.iter().filter(|i| i.presence == Presence::Verified);
            let replaced = there.look_again(here.map(|i| &i.entry.path)).await?;
            if replaced.is_empty() {
                outcome.bytes_hashed += hashed;
                if failed.is_empty() && !remembered {
                    let outcome = Outcome { bytes_hashed: 0, ..outcome.clone() };
                    there.record.remember_check(self.session.contents_key(prepared), outcome);
                }
                remember(there, prepared);
                there.record.save().await;
                return Ok((outcome, remembered));
            }
            let subject = there.subject(prepared, |_| Evidence::Unread, |path, _| replaced.contains(path));
            let outcome = self.session.verify_far(&there.objects, subject).await?;
            hashed += outcome.bytes_hashed;
            statuses.saw(&outcome.proofs);
            failed.extend(outcome.findings.into_iter().map(|f| f.remedy(Remedy::RunAgain { why: Again::OthersWrote })));
        }
        let why = "other programs replace its objects while they are checked".into();
        Err(ObjectError::Failed { url: there.url().to_string(), why }.into())
    }

    async fn upload_missing(
        &self,
        there: &mut RemoteSnapshot,
        prepared: &Prepared,
        statuses: &mut Statuses,
    ) -> Result<Vec<Finding>, Error> {
        let missing = prepared.plan.items.iter().filter(|i| i.presence != Presence::Verified).map(|i| i.entry.clone());
        let (large, small): (Vec<Entry>, Vec<Entry>) = missing.partition(|entry| entry.size > PART);
        if large.is_empty() && small.is_empty() {
            return Ok(Vec::new());
        }
        self.session.progress.event(Event::Planned(prepared.plan.figures()));
        let wanted: Vec<Entry> = large.iter().chain(&small).cloned().collect();
        let upload = Arc::new(Upload {
            supply: self.session.fetched_from(prepared, wanted, HashMap::new(), PART).await?,
            objects: Arc::clone(&there.objects),
            keys: there.keys.clone(),
        });
        let one = |entry: Entry| {
            let upload = Arc::clone(&upload);
            async move {
                let done = upload.file(&entry).await;
                (entry, done)
            }
        };
        let large = stream::iter(large).map(one).buffer_unordered(LARGE);
        let small = stream::iter(small).map(one).buffer_unordered(self.session.config.fetch.jobs.max(1));
        let mut all = std::pin::pin!(stream::select(small, large));
        let mut failed = Vec::new();
        let mut ended = None;
        while let Some((entry, done)) = all.next().await {
            match done {
                Ok(Done::Put { mark, hashed, received }) => {
                    // If the run is killed later, the record saves reading this object back.
                    if entry.size > PART
                        && let Some(now) = there.objects.mark(&there.keys.file(&there.commit, &entry.path)).await?
                        && now.is_still(&mark)
                    {
                        there.record.remember(&entry.path, entry.digest(), &now);
                        there.record.save().await;
                    }
                    there.found.insert(entry.path.as_str().to_owned(), mark);
                    statuses.sent(&entry, hashed, received);
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

    /// Checks headers, index and companions, read back from the store.
    async fn check_contents(
        &self,
        there: &RemoteSnapshot,
        prepared: &Prepared,
        statuses: &Statuses,
        failed: &[Finding],
    ) -> Result<(Outcome, bool), Error> {
        let known = paths_of(failed);
        if failed.is_empty()
            && prepared.plan.items.iter().all(|item| there.is_as_recorded(&item.entry))
            && let Some(outcome) = there.record.check(&self.session.contents_key(prepared))
        {
            return Ok((outcome.clone(), true));
        }
        let mut subject =
            there.subject(prepared, |path| statuses.evidence(path), |path, _| !known.contains(path.as_str()));
        subject.unavailable =
            prepared.plan.items.iter().map(|i| i.entry.path.clone()).filter(|p| known.contains(p.as_str())).collect();
        subject.weights.clone_from(&prepared.selection.weights);
        Ok((self.session.verify_far(&there.objects, subject).await?, false))
    }

    /// Writes the record, the manifest and, last, the ref.
    async fn publish(&self, there: &RemoteSnapshot, prepared: &Prepared, nothing_new: bool) -> Result<(), Error> {
        let info = &prepared.listing.info;
        let RemoteSnapshot { objects, keys, commit, journals, manifest, .. } = there;
        let merge = |before: Option<&LockedRepo>| merged(prepared, self.options, before);
        if manifest.as_ref().is_none_or(|before| before.files != merge(Some(before)).files) {
            objects.put_manifest(keys, commit, merge).await?;
        }
        objects.set_reference(keys, &info.revision, commit).await?;
        for journal in multipart(prepared).filter(|journal| !nothing_new && journals.contains(journal)) {
            objects.delete(&format!("{}/{journal}", keys.journals(commit))).await?;
        }
        Ok(())
    }
}

/// A commit's new manifest: the files that this run verified, and those that other runs uploaded.
fn merged(prepared: &Prepared, options: &Options, before: Option<&LockedRepo>) -> LockedRepo {
    let info = &prepared.listing.info;
    let mut files: BTreeMap<RepoPath, LockedFile> =
        prepared.plan.items.iter().map(|i| (i.entry.path.clone(), LockedFile::from(&i.entry))).collect();
    for file in before.iter().flat_map(|before| &before.files) {
        // If the listing names another digest, hfget did not write this manifest.
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

/// Notes the objects that this run proved, and removes all others of the selection from the record.
fn remember(there: &mut RemoteSnapshot, prepared: &Prepared) {
    for item in &prepared.plan.items {
        let path = &item.entry.path;
        match there.found.get(path.as_str()) {
            Some(mark) if item.presence == Presence::Verified => {
                there.record.remember(path, item.entry.digest(), mark);
            }
            _ => there.record.forget(path.as_str()),
        }
    }
}

/// The journals that uploads of this selection may have left.
fn multipart(prepared: &Prepared) -> impl Iterator<Item = String> {
    prepared.plan.items.iter().filter(|i| i.entry.size > PART).map(|i| format!("{}.json", i.entry.path.as_str()))
}
