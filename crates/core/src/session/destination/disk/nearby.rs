//! Files that need not come over the network: a cache of this machine has them, selection has read them, or they
//! are equal to others of the same repo. They are hashed, as all files are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Disk, Present};
use crate::finding::{Again, Code, Evidence, Finding, Remedy};
use crate::model::{Entry, Presence, RepoPath};
use crate::plan::Item;
use crate::progress::{Event, Progress};
use crate::session::{DestinationConfig, Error, Prepared, Statuses};
use crate::store::{Imported, Store, StoreError};
use crate::transfer::Arrived;

/// A file with the same bytes as a file that is fetched.
#[derive(Debug, Clone)]
pub(super) struct Twin {
    entry: Entry,
    like: Entry,
}

/// The missing files, each content once, and the files that are equal to one of them.
pub(super) fn split_twins(items: &[Item]) -> (Vec<Entry>, Vec<Twin>) {
    let mut first: HashMap<crate::model::Digest, &Entry> = HashMap::new();
    let (mut missing, mut twins) = (Vec::new(), Vec::new());
    for item in items.iter().filter(|item| item.presence != Presence::Verified) {
        let entry = &item.entry;
        if let Some(like) = first.get(&entry.digest()).filter(|like| like.size == entry.size) {
            twins.push(Twin { entry: entry.clone(), like: (*like).clone() });
        } else {
            first.insert(entry.digest(), entry);
            missing.push(entry.clone());
        }
    }
    (missing, twins)
}

/// A file to put in its place, where its bytes are, and how many of them came over the network before.
struct Offer {
    entry: Entry,
    from: PathBuf,
    early: Option<Arrived>,
}

impl Disk<'_> {
    /// Puts missing files in place that are on this machine: those that selection has read, and those in the cache.
    pub(super) async fn import_nearby(
        &self,
        prepared: &mut Prepared,
        statuses: &mut Statuses,
        present: &mut Present,
    ) -> Result<(), Error> {
        let (store, commit) = (Arc::clone(&self.store), prepared.listing.info.commit);
        let mut arrived: HashMap<RepoPath, Arrived> =
            prepared.early.arrived.drain(..).map(|file| (file.path.clone(), file)).collect();
        let info = &prepared.listing.info;
        let cache = self.session.nearby(info.repo_type, &info.id).filter(|_| !self.session.config.fetch.force);
        let missing = prepared.entries(|item| !item.presence.is_here());
        if missing.is_empty() || arrived.is_empty() && cache.is_none() {
            return Ok(());
        }
        let early: Vec<(Entry, Option<Offer>)> = missing
            .into_iter()
            .map(|entry| {
                let from = prepared.early.place(&commit, &entry);
                let offer = arrived.remove(&entry.path).zip(from).map(|(early, from)| Offer {
                    entry: entry.clone(),
                    from,
                    early: Some(early),
                });
                (entry, offer)
            })
            .collect();
        let progress = Arc::clone(&self.session.progress);
        let work = move || -> Result<Vec<(Entry, Option<Arrived>, Imported)>, StoreError> {
            let offer = |(entry, early): (Entry, Option<Offer>)| {
                early.or_else(|| {
                    let from = cache.as_ref()?.offers(&commit, &entry)?;
                    Some(Offer { entry, from, early: None })
                })
            };
            let offers: Vec<Offer> = early.into_iter().filter_map(offer).collect();
            import(&store, &commit, offers, &*progress)
        };
        let done = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        for (entry, early, imported) in done {
            match imported {
                Imported::Here(hashed) => {
                    if early.is_none() {
                        present.bytes_hashed = present.bytes_hashed.saturating_add(hashed.length());
                    }
                    statuses.seen.insert(entry.path.clone(), (Evidence::Hashed(hashed), None));
                }
                Imported::Already => {
                    statuses.seen.insert(entry.path.clone(), (Evidence::Recorded(entry.digest()), None));
                }
                // The fetch will wait for the other process, or replace the wrong file.
                Imported::Busy | Imported::Other => continue,
            }
            statuses.arrived(early);
            present.findings.retain(|finding| finding.path.as_deref() != Some(entry.path.as_str()));
            for item in prepared.plan.items.iter_mut().filter(|item| item.entry.path == entry.path) {
                item.presence = Presence::Verified;
            }
        }
        Ok(())
    }

    /// Puts files in place that are equal to fetched ones. `failed` has the files that could not be fetched.
    pub(super) async fn place_twins(
        &self,
        prepared: &Prepared,
        statuses: &mut Statuses,
        twins: Vec<Twin>,
        failed: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        if twins.is_empty() {
            return Ok(());
        }
        let commit = prepared.listing.info.commit;
        let mut wanted = Vec::new();
        for twin in twins {
            let cause = failed.iter().find(|finding| finding.path.as_deref() == Some(twin.like.path.as_str())).cloned();
            match cause {
                Some(mut cause) => {
                    cause.path = Some(twin.entry.path.as_str().to_owned());
                    failed.push(cause);
                }
                None => wanted.push(twin),
            }
        }
        let (store, progress) = (Arc::clone(&self.store), Arc::clone(&self.session.progress));
        let cached = matches!(self.session.config.destination, DestinationConfig::Cache { .. });
        let work = move || -> Result<Vec<(Entry, Option<Evidence>)>, StoreError> {
            let mut done = Vec::new();
            for Twin { entry, like } in wanted {
                progress.event(Event::FileStarted { path: &entry.path, size: entry.size, have: 0 });
                // A cache has equal files once, so only the name is missing.
                let ended = if cached {
                    Some(store.adopt(&commit, &entry, None)?)
                } else {
                    let from = store.content_path(&commit, &like);
                    match store.import(&commit, &entry, &from, &mut |_| {})? {
                        Imported::Here(hashed) => Some(Evidence::Hashed(hashed)),
                        Imported::Already => Some(Evidence::Recorded(entry.digest())),
                        Imported::Busy | Imported::Other => None,
                    }
                };
                progress.event(Event::FileBytes { path: &entry.path, bytes: entry.size });
                progress.event(Event::FileDone { path: &entry.path });
                done.push((entry, ended));
            }
            Ok(done)
        };
        let done = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        for (entry, ended) in done {
            match ended {
                Some(evidence) => {
                    statuses.seen.insert(entry.path, (evidence, None));
                }
                None => failed.push(
                    Finding::new(Code::FileMissing, &entry.path, "another process is working on it")
                        .remedy(Remedy::RunAgain { why: Again::OtherProcess }),
                ),
            }
        }
        Ok(())
    }
}

/// Puts files in place. Blocks.
fn import(
    store: &Arc<Store>,
    commit: &crate::model::CommitId,
    offers: Vec<Offer>,
    progress: &dyn Progress,
) -> Result<Vec<(Entry, Option<Arrived>, Imported)>, StoreError> {
    let shown: Vec<&Offer> = offers.iter().filter(|offer| offer.early.is_none()).collect();
    let said = !shown.is_empty();
    if said {
        let bytes = shown.iter().fold(0u64, |sum, offer| sum.saturating_add(offer.entry.size));
        progress.event(Event::VerifyStarted { files: shown.len(), bytes });
    }
    let mut done = Vec::new();
    for Offer { entry, from, early } in offers {
        let quiet = early.is_some();
        if !quiet {
            progress.event(Event::VerifyFile { path: &entry.path, size: entry.size });
        }
        let imported = store.import(commit, &entry, &from, &mut |bytes| {
            if !quiet {
                progress.event(Event::VerifyBytes { path: &entry.path, bytes });
            }
        })?;
        done.push((entry, early, imported));
    }
    if said {
        progress.event(Event::VerifyDone);
    }
    Ok(done)
}
