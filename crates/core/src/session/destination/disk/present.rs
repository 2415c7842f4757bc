//! What is here of a job before anything is fetched: hashed where nobody knows it, shown in its place, and whether the
//! rest fits. What may be replaced is `keeping`'s business.

use std::collections::HashSet;

use super::{Disk, Present};
use crate::finding::{Evidence, Outcome, Stamp};
use crate::model::{Entry, Presence};
use crate::session::{DestinationConfig, Error, Prepared, Statuses};
use crate::store::{Store, StoreError};
use crate::verify::Subject;

impl Disk<'_> {
    /// Hashes what is here and was never checked. What proves wrong is struck from the record and planned anew; it stays
    /// until verified bytes take its place. What cannot be read is an error: nothing is known of it.
    pub(super) async fn hash_present(
        &self,
        prepared: &mut Prepared,
        statuses: &mut Statuses,
    ) -> Result<Present, Error> {
        let offline = self.session.config.offline;
        if self.session.config.fetch.force && !offline {
            for item in &mut prepared.plan.items {
                item.presence = Presence::Absent;
            }
            statuses.seen.retain(|path, _| statuses.fetched.contains_key(path));
            return Ok(Present::default());
        }
        let commit = prepared.listing.info.commit;
        let mut subject = Subject::default();
        for item in &prepared.plan.items {
            if item.presence == Presence::Unverified || offline && !item.presence.is_here() {
                subject.files.push(self.subject_file(prepared, item, Evidence::Unread));
            }
        }
        let outcome =
            if subject.files.is_empty() { Outcome::default() } else { self.session.verify_subject(subject).await };
        statuses.saw(&outcome.proofs);
        self.strike_wrong(prepared, &outcome.proofs).await;
        for item in &mut prepared.plan.items {
            let path = &item.entry.path;
            match (item.presence, statuses.evidence(path)) {
                (Presence::Unverified, Evidence::Hashed(_)) => item.presence = Presence::Verified,
                (Presence::Unverified, Evidence::Wrong | Evidence::Absent) => {
                    let (entry, stamp) = (item.entry.clone(), statuses.seen.get(path).and_then(|(_, stamp)| *stamp));
                    // Offline it may not be had again: it is reported as what it is.
                    if !offline {
                        statuses.seen.remove(path);
                    }
                    self.blocking(move |store| {
                        store.reject(&commit, &entry, stamp);
                        Ok(())
                    })
                    .await?;
                    item.presence = Presence::Absent;
                }
                (Presence::Unverified, Evidence::Unread) => {
                    let entry = item.entry.clone();
                    // It says why it cannot be read; or it can be by now.
                    let adopt = move |store: &Store| unless_changed(store.adopt(&commit, &entry, None));
                    match self.blocking(adopt).await? {
                        Some(evidence) => {
                            statuses.seen.insert(path.clone(), (evidence, None));
                            item.presence = Presence::Verified;
                        }
                        None => item.presence = Presence::Absent,
                    }
                }
                _ => {}
            }
        }
        let findings = if offline { outcome.findings } else { Vec::new() };
        Ok(Present { bytes_hashed: outcome.bytes_hashed, findings })
    }

    /// Shows what is here and right in its place, and notes it.
    /// What another process took away meanwhile is fetched.
    pub(super) async fn adopt_present(&self, prepared: &mut Prepared, statuses: &mut Statuses) -> Result<(), Error> {
        let commit = prepared.listing.info.commit;
        let here = prepared.plan.items.iter().filter(|item| item.presence == Presence::Verified);
        let here: Vec<(Entry, Option<Stamp>)> = here
            .map(|item| (item.entry.clone(), statuses.seen.get(&item.entry.path).and_then(|(_, stamp)| *stamp)))
            .collect();
        let revision = prepared.listing.info.revision.clone();
        let adopted = self
            .blocking(move |store| {
                store.set_belongs(&revision, &commit)?;
                let adopt = |(entry, hashed): (Entry, Option<Stamp>)| {
                    let evidence = unless_changed(store.adopt(&commit, &entry, hashed))?;
                    Ok((entry.path, evidence, hashed.is_some()))
                };
                here.into_iter().map(adopt).collect::<Result<Vec<_>, crate::store::StoreError>>()
            })
            .await?;
        for (path, evidence, hashed_here) in adopted {
            let Some(evidence) = evidence else {
                statuses.seen.remove(&path);
                let items = prepared.plan.items.iter_mut().filter(|item| item.entry.path == path);
                items.for_each(|item| item.presence = Presence::Absent);
                continue;
            };
            // What this run hashed itself stays that.
            if !hashed_here || matches!(evidence, Evidence::Hashed(_)) {
                statuses.seen.insert(path, (evidence, None));
            }
        }
        Ok(())
    }

    /// That what is to be fetched fits, as far as the file system says. What partials have set aside is theirs already,
    /// and a cache holds equal files once.
    pub(super) async fn check_space(&self, prepared: &Prepared) -> Result<(), Error> {
        let Some(free) = prepared.plan.free_space.filter(|_| self.session.config.fetch.check_space) else {
            return Ok(());
        };
        let missing = prepared.entries(|item| item.presence != Presence::Verified);
        let cached = matches!(self.session.config.destination, DestinationConfig::Cache { .. });
        let needed = self
            .blocking(move |store| {
                let mut counted = HashSet::new();
                let needed = missing.iter().filter(|entry| !cached || counted.insert(entry.digest()));
                Ok(needed.fold(0u64, |sum, entry| sum.saturating_add(entry.size.saturating_sub(store.reserved(entry)))))
            })
            .await?;
        if free < needed {
            let place = self.store.snapshot_dir(&prepared.listing.info.commit);
            return Err(Error::NoSpace { needed, free, place });
        }
        Ok(())
    }
}

/// `None` where the file changed or went each time that it was looked at: another process works on it.
fn unless_changed(adopted: Result<Evidence, StoreError>) -> Result<Option<Evidence>, StoreError> {
    match adopted {
        Err(StoreError::Changed(_)) => Ok(None),
        other => other.map(Some),
    }
}
