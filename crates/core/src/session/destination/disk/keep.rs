//! Git's rule for a plain folder: files that the user changed are not overwritten or removed, and unchanged files of an
//! earlier commit are removed after the new one is verified. `store` finds out whose a file is.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};

use super::Disk;
use crate::finding::{Code, Finding, Origin, Outcome, Remedy, Severity, Stamp};
use crate::model::{Entry, Presence, RepoPath};
use crate::session::places::FilePlace;
use crate::session::{Error, Prepared};
use crate::store::{Earlier, Standing};

/// How many bytes are compared at each end of a file that may be the beginning of a listed file.
const SAMPLE: u64 = 64 << 10;

impl Disk<'_> {
    /// Finds files that verified bytes must not replace, because the user made or changed them. With `force` there are
    /// none. Offline such a file cannot be replaced, so it is verified without a change.
    pub(super) async fn local_changes(&self, prepared: &mut Prepared) -> Result<Vec<Finding>, Error> {
        if self.session.plain_folder().is_none() || self.session.config.fetch.force {
            return Ok(Vec::new());
        }
        let missing = prepared.entries(|item| item.presence != Presence::Verified);
        let seen = self
            .blocking(move |store| {
                let standing = |entry: Entry| store.standing(&entry).map(|(standing, stamp)| (entry, standing, stamp));
                missing.into_iter().map(standing).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let mut changes = Vec::new();
        let mut free: Vec<(RepoPath, Option<Stamp>)> = Vec::new();
        for (entry, standing, stamp) in seen {
            let why = match standing {
                Standing::Free => None,
                Standing::Beginning if self.is_beginning(prepared, &entry, stamp).await => None,
                Standing::Beginning => Some("neither hfget nor huggingface_hub put it here"),
                Standing::Users(why) => Some(why),
            };
            match why {
                None => free.push((entry.path, stamp)),
                Some(_) if self.session.config.offline => {
                    for item in prepared.plan.items.iter_mut().filter(|item| item.entry.path == entry.path) {
                        item.presence = Presence::Unverified;
                    }
                }
                Some(why) => changes.push(Finding::new(
                    Code::LocalChanges,
                    &entry.path,
                    format!("it is not the file of the repo, and {why}"),
                )),
            }
        }
        if changes.is_empty() {
            self.blocking(move |store| {
                store.replace_only(free);
                Ok(())
            })
            .await?;
        } else if let Some(last) = changes.last_mut() {
            last.remedy = Some(Remedy::KeepOrReplace);
        }
        Ok(changes)
    }

    /// Whether a shorter file is the beginning of the listed one, by the bytes at both of its ends. Then another
    /// tool began to fetch it.
    async fn is_beginning(&self, prepared: &Prepared, entry: &Entry, stamp: Option<Stamp>) -> bool {
        let Some(length) = stamp.map(|stamp| stamp.size).filter(|_| !self.session.config.offline) else { return false };
        let Some(place @ FilePlace::Remote(..)) = self.session.places(prepared).of(&entry.path) else { return false };
        let here = self.store.content_path(&prepared.listing.info.commit, entry);
        let compare = move || -> std::io::Result<bool> {
            let mut here = std::fs::File::open(here)?;
            let mut there = place.open()?;
            for start in [0, length.saturating_sub(SAMPLE)] {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                here.seek(SeekFrom::Start(start))?;
                (&mut here).take(SAMPLE.min(length - start)).read_to_end(&mut ours)?;
                there.seek(SeekFrom::Start(start))?;
                (&mut there).take(ours.len() as u64).read_to_end(&mut theirs)?;
                if ours != theirs {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        matches!(tokio::task::spawn_blocking(compare).await, Ok(Ok(true)))
    }

    /// Finds files of earlier commits that are still here. Returns those to remove: the new commit lacks them, and are
    /// unchanged. Findings about the others go into `outcome`.
    pub(super) async fn earlier_files(
        &self,
        prepared: &Prepared,
        outcome: &mut Outcome,
    ) -> Result<Vec<Earlier>, Error> {
        if self.session.plain_folder().is_none() || self.session.config.offline {
            return Ok(Vec::new());
        }
        let selected: BTreeSet<RepoPath> = prepared.plan.items.iter().map(|item| item.entry.path.clone()).collect();
        let earlier = self.blocking(move |store| store.earlier(|path| !selected.contains(path))).await?;
        let info = &prepared.listing.info;
        let complete = prepared.whole && prepared.origin != Origin::Lock;
        let mut stale = Vec::new();
        for file in earlier {
            let listed = prepared.listing.get(file.path.as_str());
            if file.commit == Some(info.commit) || listed.is_some_and(|e| file.digest == Some(e.digest())) {
                continue;
            }
            let ours = file.commit.is_some_and(|commit| prepared.commits.contains(&commit));
            let commit =
                file.commit.map_or_else(|| "another commit".to_owned(), |commit| format!("commit {}", commit.short()));
            let finding = if ours && complete && listed.is_none() {
                if !file.changed || self.session.config.fetch.force {
                    stale.push(file);
                    continue;
                }
                let message = format!("it is from {commit} and was changed here; the new commit does not have it");
                Finding::new(Code::StaleFile, &file.path, message).remedy(Remedy::MoveAwayStale)
            } else {
                let message =
                    format!("it is from {commit}; this run took no such file from commit {}", info.commit.short());
                Finding::new(Code::MixedCommits, &file.path, message).remedy(Remedy::MoveAwayMixed)
            };
            outcome.findings.push(finding);
        }
        Ok(stale)
    }

    /// Removes files of an earlier commit, with a finding for each.
    pub(super) async fn remove_earlier(&self, stale: Vec<Earlier>) -> Result<Vec<Finding>, Error> {
        self.blocking(move |store| {
            let mut findings = Vec::new();
            for file in stale {
                let commit = file.commit.map_or_else(String::new, |commit| format!(" {}", commit.short()));
                findings.push(if store.remove_earlier(&file)? {
                    let message =
                        format!("it was from commit{commit}, and the new commit does not have it: it was removed");
                    Finding::new(Code::FileRemoved, &file.path, message)
                } else {
                    let message =
                        format!("it is from commit{commit}, and another program works on it: it was not removed");
                    Finding::new(Code::StaleFile, &file.path, message).severity(Severity::Warning)
                });
            }
            Ok(findings)
        })
        .await
    }
}
