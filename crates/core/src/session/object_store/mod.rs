//! Files that are in an object store: they are verified with their manifest, and small files are read from there. The
//! destination puts files there.

mod check;
mod remote_snapshot;

use std::collections::BTreeMap;

pub(super) use self::remote_snapshot::RemoteSnapshot;
use super::documents::is_content;
use super::{Error, Session};
use crate::model::{Entry, Listing, RepoPath};
use crate::object_store::{Keys, ObjectError};

impl Session {
    /// Reads those of a job's small files that an earlier run put into the store.
    pub(super) async fn stored_documents(
        &self,
        listing: &Listing,
        wanted: &[&Entry],
    ) -> Result<BTreeMap<RepoPath, Option<Vec<u8>>>, Error> {
        let mut found = BTreeMap::new();
        let Some(objects) = &self.objects else { return Ok(found) };
        let keys = Keys::new(listing.info.repo_type, &listing.info.id);
        for entry in wanted {
            let text = match objects.small(&keys.file(&listing.info.commit, &entry.path), entry.size).await {
                // The object is another one; it will be uploaded again.
                Err(ObjectError::Invalid { .. }) => None,
                other => other?,
            };
            if let Some(text) = text.filter(|text| is_content(text, entry)) {
                found.insert(entry.path.clone(), Some(text.to_vec()));
            }
        }
        Ok(found)
    }
}
