//! The files of a job that are here before anything is fetched: hashes unknown ones, puts right ones in place, and
//! checks that the rest fits. `keep` decides which files may be replaced.

use std::collections::HashSet;

use super::{Disk, Present};
use crate::finding::{Evidence, Outcome, Stamp};
use crate::model::{Entry, Presence};
use crate::session::{DestinationConfig, Error, Prepared, Statuses};
use crate::store::{Store, StoreError};
use crate::verify::Subject;

impl Disk<'_> {
    /// Hashes files that are here and were never checked. A wrong file is removed from the record and planned again; it
    /// stays until verified bytes replace it. A file that cannot be read is an error, since nothing is known about it.
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
        let outcome = if subject.files.is_empty() {
            Outcome::default()
        } else {
            self.session.verify_here(subject, false).await?
        };
        statuses.saw(&outcome.proofs);
        self.strike_wrong(prepared, &outcome.proofs).await;
        for item in &mut prepared.plan.items {
            let path = &item.entry.path;
            match (item.presence, statuses.evidence(path)) {
                (Presence::Unverified, Evidence::Hashed(_)) => item.presence = Presence::Verified,
                (Presence::Unverified, Evidence::Wrong | Evidence::Absent) => {
                    let (entry, stamp) = (item.entry.clone(), statuses.seen.get(path).and_then(|(_, stamp)| *stamp));
                    // Offline it cannot be fetched again, so it is reported as wrong.
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
                    // `adopt` gives the reason why it cannot be read, unless it can be read by now.
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

    /// Puts right files in place, and records them. A file that another process removed meanwhile
    /// is fetched.
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
            // A file that this run hashed keeps that evidence.
            if !hashed_here || matches!(evidence, Evidence::Hashed(_)) {
                statuses.seen.insert(path, (evidence, None));
            }
        }
        Ok(())
    }

    /// Checks that the files to fetch fit, by what the file system says. Partial files have their space already, and a
    /// cache has equal files once.
    pub(super) async fn check_space(&self, prepared: &Prepared) -> Result<(), Error> {
        let Some(free) = prepared.plan.free_space.filter(|_| self.session.config.fetch.check_space) else {
            return Ok(());
        };
        let commit = prepared.listing.info.commit;
        let missing = prepared.entries(|item| item.presence != Presence::Verified);
        let cached = matches!(self.session.config.destination, DestinationConfig::Cache { .. });
        let needed = self
            .blocking(move |store| {
                let mut look = store.look(&commit);
                let mut reserved = |entry: &Entry| look.arrived(entry).map_or(0, |(_, reserved)| reserved);
                let mut counted = HashSet::new();
                let needed = missing.iter().filter(|entry| !cached || counted.insert(entry.digest()));
                Ok(needed.fold(0u64, |sum, entry| sum.saturating_add(entry.size.saturating_sub(reserved(entry)))))
            })
            .await?;
        if free < needed {
            let place = self.store.snapshot_dir(&prepared.listing.info.commit);
            return Err(Error::NoSpace { needed, free, place });
        }
        Ok(())
    }
}

/// `None` if the file changed or disappeared at each look: another process works on it.
fn unless_changed(adopted: Result<Evidence, StoreError>) -> Result<Option<Evidence>, StoreError> {
    match adopted {
        Err(StoreError::Changed(_)) => Ok(None),
        other => other.map(Some),
    }
}
