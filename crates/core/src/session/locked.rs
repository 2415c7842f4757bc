//! Jobs with a lockfile: make one, fetch exactly its files, and verify files with it. The lockfile
//! replaces any listing: a Hub or mirror only gives the bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::local::Held;
use super::prepare::Listed;
use super::{DestinationConfig, Error, Prepared, Session};
use crate::finding::{Finding, Origin};
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{Location, Options, RepoSpec};
use crate::progress::Event;
use crate::report::Report;
use crate::store::Store;

/// Selects all locked files; their purpose follows from their names again.
fn everything() -> Options {
    Options { all: true, ..Options::default() }
}

#[doc(hidden)] // for the command
impl Session {
    /// Chooses files as [`Session::plan`] does. Returns the lockfile's entry, and the findings; an
    /// error among them means that the selection must not be locked.
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn lock(&self, spec: &RepoSpec, options: &Options) -> Result<(LockedRepo, Vec<Finding>), Error> {
        let prepared = self.plan(spec, options).await?;
        prepared.not_empty()?;
        if !prepared.whole {
            return Err(Error::ListingUnknown { repo: spec.repo_type.qualify(&spec.id) });
        }
        let mut findings = prepared.unsafe_names();
        findings.extend(prepared.selection.findings.iter().cloned());
        let info = &prepared.listing.info;
        let entries = prepared.selection.files.iter().filter_map(|f| prepared.listing.get(f.path.as_str()));
        let locked = LockedRepo {
            repo_type: info.repo_type,
            id: spec.id.clone(),
            revision: info.revision.clone(),
            commit: info.commit,
            options: options.clone(),
            files: entries.map(LockedFile::from).collect(),
        };
        Ok((locked, findings))
    }

    /// The plan of [`Session::get_locked`].
    ///
    /// # Errors
    /// As [`Session::plan`].
    pub async fn plan_locked(&self, locked: &LockedRepo) -> Result<Prepared, Error> {
        let prepared = self.prepare_locked(locked).await?;
        self.planned(prepared).await
    }

    /// Fetches exactly the locked files at the locked commit, and verifies them with the lockfile. Asks
    /// for no listing.
    ///
    /// # Errors
    /// As [`Session::get`].
    pub async fn get_locked(&self, locked: &LockedRepo) -> Result<Report, Error> {
        let started = Instant::now();
        let prepared = self.prepare_locked(locked).await?;
        // The repo may have more files than the lockfile, so its files must not be kept as a listing.
        self.deliver(prepared, &locked.options, started, false).await
    }

    pub(super) async fn prepare_locked(&self, locked: &LockedRepo) -> Result<Prepared, Error> {
        let store = self.store(locked.repo_type, &locked.id);
        let listing = locked.listing();
        self.progress.event(Event::Resolved(&listing.info));
        self.prepare_listing(Listed::whole(listing, Origin::Lock), everything(), store, false).await
    }

    /// Verifies a cached snapshot, or `folder`, with the lockfile. Makes no request.
    ///
    /// # Errors
    /// If no file of the repo is here, or if a file cannot be read.
    pub async fn verify_locked(&self, locked: &LockedRepo, folder: Option<&Path>) -> Result<Report, Error> {
        if let (None, Some(objects)) = (folder, &self.objects) {
            return self.verify_objects(objects, locked).await;
        }
        let folder = folder.or(match &self.config.destination {
            DestinationConfig::LocalDir(dir) => Some(dir),
            DestinationConfig::Cache { .. }
            | DestinationConfig::Nowhere
            | DestinationConfig::Objects(_)
            | DestinationConfig::Oci(_) => None,
        });
        let store = match folder {
            Some(dir) => Arc::new(Store::local_dir(dir)),
            None => self.store(locked.repo_type, &locked.id).ok_or(Error::NoDestination)?,
        };
        let root = store.snapshot_dir(&locked.commit);
        let place = root.clone();
        if !self.blocking(&store, move |_| Ok(place.is_dir())).await? {
            let place = Location::Folder(root);
            return Err(Error::LockedNotHere { repo: locked.name(), commit: locked.commit.to_string(), place });
        }
        let listed = Listed::whole(locked.listing(), Origin::Lock);
        let (spec, options) = (locked.spec(), everything());
        self.verify_folder(&root, store, Some(locked.commit), Some(listed), Held::new(Some(&spec), &options)).await
    }
}
