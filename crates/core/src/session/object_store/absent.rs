//! A session's use of object stores in a build without them, where none can exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Error, Session};
use crate::lock::LockedRepo;
use crate::model::{Entry, Listing, RepoPath, RepoSpec, Revision};
use crate::object_store::Objects;
use crate::report::Report;

#[allow(clippy::unused_async)] // as in a build with object stores
impl Session {
    pub(super) async fn stored_documents(
        &self,
        _: &Listing,
        _: &[&Entry],
    ) -> Result<BTreeMap<RepoPath, Option<Vec<u8>>>, Error> {
        Ok(BTreeMap::new())
    }

    pub(super) async fn verify_stored(
        &self,
        objects: &Arc<Objects>,
        _: &RepoSpec,
        _: &Revision,
    ) -> Result<Report, Error> {
        match **objects {}
    }

    pub(super) async fn verify_objects(&self, objects: &Arc<Objects>, _: &LockedRepo) -> Result<Report, Error> {
        match **objects {}
    }
}
