//! Checks of a folder after the fetch: headers, index and companions, and a last look at the files that were hashed.

use std::collections::HashSet;

use super::Disk;
use crate::finding::{Again, Evidence, Finding, Outcome, Proof, Remedy};
use crate::model::Entry;
use crate::session::outcome::paths_of;
use crate::session::{Error, Prepared, Statuses};
use crate::store::Store;
use crate::verify::Subject;

impl Disk<'_> {
    /// Reads headers and compares them with the index, unless an earlier run did so for the same
    /// bytes.
    pub(super) async fn check_contents(
        &self,
        prepared: &Prepared,
        statuses: &Statuses,
        failed: &[Finding],
    ) -> Result<(Outcome, bool), Error> {
        let key = self.session.contents_key(prepared);
        let proven =
            |item: &crate::plan::Item| statuses.evidence(&item.entry.path).digest() == Some(item.entry.digest());
        if failed.is_empty() && prepared.plan.items.iter().all(proven) {
            let key = key.clone();
            let known = self.blocking(move |store| Ok(store.checked_contents(&key))).await?;
            if let Some(outcome) = known {
                return Ok((Outcome { bytes_hashed: 0, ..outcome }, true));
            }
        }
        // A file that failed to arrive has its finding already; a second one, that it is missing, would be noise.
        let known = paths_of(failed);
        let (lost, files): (Vec<_>, Vec<_>) =
            prepared.plan.items.iter().partition(|item| known.contains(item.entry.path.as_str()));
        let subject = Subject {
            files: files.iter().map(|i| self.subject_file(prepared, i, statuses.evidence(&i.entry.path))).collect(),
            unavailable: lost.iter().map(|item| item.entry.path.clone()).collect(),
            weights: prepared.selection.weights.clone(),
            allow_unsafe_pickle: self.session.config.allow_unsafe_pickle,
            deep: self.session.config.deep,
            ..Subject::default()
        };
        let outcome = self.session.verify_here(subject, !failed.is_empty()).await?;
        if failed.is_empty() && outcome.proven() == prepared.plan.items.len() {
            let remembered = outcome.clone();
            self.blocking(move |store| {
                store.remember_contents(&key, &remembered);
                Ok(())
            })
            .await?;
        }
        Ok((outcome, false))
    }

    /// Looks again at the files that this run hashed or fetched, and hashes those that were replaced, written or
    /// removed since. Order matters: this is the last look before the verdict.
    pub(super) async fn settle(
        &self,
        prepared: &Prepared,
        statuses: &Statuses,
        failed: &[Finding],
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let (commit, entries) = (prepared.listing.info.commit, prepared.entries(|_| true));
        let look = move |store: &Store| {
            let changed = store.recheck(&commit, &entries)?;
            let same = entries.iter().filter(|entry| !changed.contains(entry));
            store.remove_finished(&same.map(Entry::digest).collect());
            Ok(changed)
        };
        let changed = self.blocking(look).await?;
        let known: HashSet<String> = outcome.findings.iter().chain(failed).filter_map(|f| f.path.clone()).collect();
        let mut subject = Subject::default();
        for item in &prepared.plan.items {
            let path = &item.entry.path;
            if changed.contains(&item.entry) && !known.contains(path.as_str()) && statuses.seen.contains_key(path) {
                subject.files.push(self.subject_file(prepared, item, Evidence::Unread));
            }
        }
        if subject.files.is_empty() {
            return Ok(());
        }
        let again = self.session.verify_here(subject, !failed.is_empty()).await?;
        self.strike_wrong(prepared, &again.proofs).await;
        outcome.bytes_hashed += again.bytes_hashed;
        outcome.findings.extend(
            again.findings.into_iter().map(|finding| finding.remedy(Remedy::RunAgain { why: Again::ChangedMeanwhile })),
        );
        for proof in again.proofs {
            outcome.proofs.retain(|old| old.path != proof.path);
            outcome.proofs.push(proof);
        }
        Ok(())
    }

    /// Removes wrong files from the record, so that no later run trusts it. If the record cannot be written, the
    /// finding says so.
    pub(super) async fn strike_wrong(&self, prepared: &Prepared, proofs: &[Proof]) {
        let commit = prepared.listing.info.commit;
        let wrong: Vec<Entry> = proofs
            .iter()
            .filter(|proof| matches!(proof.evidence, Evidence::Wrong | Evidence::Absent))
            .filter_map(|proof| prepared.listing.get(proof.path.as_str()).cloned())
            .collect();
        if !wrong.is_empty() {
            let strike = move |store: &Store| wrong.iter().try_for_each(|entry| store.strike(&commit, entry));
            let _ = self.blocking(strike).await;
        }
    }
}
