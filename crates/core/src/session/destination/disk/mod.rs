//! A folder of this machine as a destination: a Hub cache, or a plain folder. Files are fetched in parts, and hashed
//! while they arrive. The room `store` does the work on the disk.

mod check;
mod keep;
mod nearby;
mod present;

use std::sync::Arc;

use super::{Destination, Present};
use crate::finding::{Evidence, Finding, Origin, Outcome};
use crate::model::{Entry, Presence};
use crate::plan::Item;
use crate::progress::Event;
use crate::report::Report;
use crate::session::{Error, Prepared, Session, Statuses};
use crate::store::{Earlier, Store, StoreError};
use crate::transfer::fetch;
use crate::verify::{Content, SubjectFile};

/// A job's folder.
pub(in crate::session) struct Disk<'a> {
    pub session: &'a Session,
    pub store: Arc<Store>,
    /// Whether the listing is the endpoint's own, so that it is worth keeping.
    pub keep_listing: bool,
    /// Files of an earlier commit, to be removed when the new one is verified.
    earlier: Vec<Earlier>,
}

impl<'a> Disk<'a> {
    pub fn new(session: &'a Session, store: Arc<Store>, keep_listing: bool) -> Self {
        Disk { session, store, keep_listing, earlier: Vec::new() }
    }

    /// Runs disk work off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        self.session.blocking(&self.store, work).await
    }

    /// A file to check, at the place where it is or will be.
    pub(super) fn subject_file(&self, prepared: &Prepared, item: &Item, known: Evidence) -> SubjectFile {
        SubjectFile {
            path: item.entry.path.clone(),
            content: self.store.content_path(&prepared.listing.info.commit, &item.entry).into(),
            size: Some(item.entry.size),
            digest: Some(item.entry.digest()),
            xet: None,
            origin: prepared.origin,
            known,
            purpose: item.purpose,
        }
    }

    async fn fetch_missing(&self, prepared: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        let (missing, twins) = self::nearby::split_twins(&prepared.plan.items);
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let missing: Vec<&Entry> = missing.iter().collect();
        self.session.progress.event(Event::Planned(prepared.plan.figures()));
        let report = fetch(
            &self.session.sources,
            &self.store,
            &prepared.listing.info,
            &missing,
            self.session.config.fetch,
            &self.session.progress,
            &self.session.threads,
        )
        .await;
        if report.is_err() {
            // Remove the folders that were made for nothing: a refused run leaves no trace.
            self.blocking(|store| {
                store.tidy();
                Ok(())
            })
            .await?;
        }
        let mut report = report?;
        statuses.arrived(std::mem::take(&mut report.done));
        statuses.over_xet += report.over_xet;
        self.place_twins(prepared, statuses, twins, &mut report.failed).await?;
        // Another process finished these files while this one waited: its record has the digests.
        let theirs: Vec<Entry> =
            prepared.entries(|item| matches!(statuses.evidence(&item.entry.path), Evidence::Unread));
        let commit = prepared.listing.info.commit;
        let recorded = self
            .blocking(move |store| {
                let (mut recorded, mut look) = (Vec::new(), store.look(&commit));
                for entry in theirs {
                    if look.presence(&entry)? == Presence::Verified {
                        recorded.push(entry);
                    }
                }
                Ok(recorded)
            })
            .await?;
        for entry in recorded {
            statuses.seen.insert(entry.path.clone(), (Evidence::Recorded(entry.digest()), None));
        }
        Ok(report.failed)
    }

    /// Checks that the endpoint has the commit, if only a lockfile names it and nothing was fetched: a ref must not
    /// move to a commit that does not exist.
    async fn confirm_commit(&self, prepared: &Prepared, statuses: &Statuses) -> Result<(), Error> {
        let info = &prepared.listing.info;
        if prepared.origin != Origin::Lock || !statuses.fetched.is_empty() || info.revision.as_commit().is_some() {
            return Ok(());
        }
        let (revision, commit) = (info.revision.clone(), info.commit);
        let moves = self.blocking(move |store| Ok(store.read_ref(&revision) != Some(commit))).await?;
        if moves && let Ok(pinned) = commit.to_string().parse() {
            self.session.source().resolve(info.repo_type, &info.id, &pinned, &*self.session.progress).await?;
        }
        Ok(())
    }
}

impl Destination for Disk<'_> {
    async fn look(&mut self, _job: &mut Prepared) -> Result<(), Error> {
        // The plan has looked at the folder already.
        Ok(())
    }

    async fn check_present(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Present, Error> {
        self.hash_present(job, statuses).await
    }

    async fn conflicts(&mut self, job: &mut Prepared) -> Result<Vec<Finding>, Error> {
        self.local_changes(job).await
    }

    async fn take_nearby(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        present: &mut Present,
    ) -> Result<(), Error> {
        self.adopt_present(job, statuses).await?;
        self.import_nearby(job, statuses, present).await
    }

    async fn check_room(&mut self, job: &Prepared) -> Result<(), Error> {
        self.check_space(job).await
    }

    async fn receive(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        self.fetch_missing(job, statuses).await
    }

    async fn check(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error> {
        let (mut outcome, remembered) = self.check_contents(job, statuses, failed).await?;
        if !(remembered && statuses.nothing_done()) {
            self.settle(job, statuses, failed, &mut outcome).await?;
        }
        self.earlier = self.earlier_files(job, &mut outcome).await?;
        Ok((outcome, remembered))
    }

    fn content(&self, job: &Prepared, entry: &Entry) -> Option<Content> {
        Some(self.store.content_path(&job.listing.info.commit, entry).into())
    }

    fn has_leftovers(&self) -> bool {
        !self.earlier.is_empty()
    }

    async fn remove_leftovers(&mut self) -> Result<Vec<Finding>, Error> {
        let earlier = std::mem::take(&mut self.earlier);
        self.remove_earlier(earlier).await
    }

    async fn publish(&mut self, job: Prepared, statuses: &Statuses, report: &Report) -> Result<(), Error> {
        if self.session.config.offline {
            return Ok(());
        }
        self.confirm_commit(&job, statuses).await?;
        let whole = job.selection.files.len() == job.listing.entries.len();
        let (endpoint, keep) = (self.session.endpoint(), self.keep_listing);
        let names = if report.already_verified { Vec::new() } else { job.entries(|_| true) };
        // Why this order: names are flushed before the ref moves, so that a ref never names files that a power cut has
        // removed.
        self.blocking(move |store| {
            if !names.is_empty() {
                store.flush_names(&job.listing.info.commit, &names)?;
                if job.whole {
                    store.mark_absent(&job.listing)?;
                }
            }
            if keep {
                store.write_listing(&job.listing, whole, &endpoint)?;
            }
            store.set_ref(&job.listing.info.revision, &job.listing.info.commit)
        })
        .await
    }
}
