//! The SHA-256 of every locked file, for signatures and bills of materials. The lockfile has that of LFS files; git
//! files are read, and must have the locked git digest.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Error, Session};
use crate::lock::LockedRepo;
use crate::model::{Digest, Entry, RepoPath, Sha256};

/// How many small files are read at once.
const AT_ONCE: usize = 8;

#[doc(hidden)] // for the command
impl Session {
    /// The SHA-256 of each locked file. Reads a git file from its place, or from the source.
    ///
    /// # Errors
    /// If a file cannot be read, or does not have the locked digest.
    pub async fn digests_of(&self, locked: &LockedRepo) -> Result<BTreeMap<RepoPath, Sha256>, Error> {
        let prepared = self.prepare_locked(locked).await?;
        let places = self.places(&prepared);
        let one = |entry: &Entry| {
            let (path, expected, size) = (entry.path.clone(), entry.digest(), entry.size);
            let place = places.of(&path);
            async move {
                if let Digest::Sha256(sha256) = expected {
                    return Ok((path, sha256));
                }
                let fail = |why: String| Error::Document { path: path.clone(), why };
                let place = place.ok_or_else(|| fail("it cannot be opened".into()))?;
                if self.config.offline && place.is_remote() {
                    return Err(self.not_cached(&locked.spec()));
                }
                let read = move || {
                    let mut source = place.open()?;
                    let hashed = expected.read(&mut source, size, &mut |_| {});
                    std::io::Result::Ok((hashed, source.error))
                };
                let read = tokio::task::spawn_blocking(read).await;
                let read = read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                let (hashed, error) = read.map_err(|error| fail(format!("it cannot be opened: {error}")))?;
                if let Some(error) = error {
                    return Err(Error::Hub(error));
                }
                let hashed = hashed.map_err(|error| fail(format!("it cannot be read: {error}")))?;
                if hashed.digest() != expected {
                    return Err(fail("its bytes are not those that are locked".into()));
                }
                Ok((path.clone(), hashed.sha256()))
            }
        };
        stream::iter(&prepared.listing.entries).map(one).buffer_unordered(AT_ONCE).try_collect().await
    }
}
