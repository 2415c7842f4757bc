//! Reads layers back, several at once. The caller decides what they must contain.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::finding::{Code, Finding};
use crate::model::{Hashed, RepoPath};
use crate::oci::{Content, OciError, Placed, read_layer};
use crate::progress::Event;
use crate::session::Session;

/// The most layers that are read at once; each takes a core.
const AT_ONCE: usize = 4;

/// The result for each file: its digest, if its layer as a whole is intact.
pub(in crate::session) type Read = BTreeMap<RepoPath, Result<Hashed, ()>>;

/// Reads the layers of one repository or image layout.
pub(in crate::session) struct Reader<'a> {
    pub session: &'a Session,
    pub content: &'a Arc<dyn Content>,
}

impl Reader<'_> {
    /// Reads whole layers. Returns their files' digests and the count of bytes read.
    pub async fn read_all(&self, layers: Vec<Placed>) -> Result<(Read, u64), OciError> {
        let (found, bytes) = self.findings_of(layers).await?;
        Ok((found.into_iter().map(|(path, found)| (path, found.map_err(drop))).collect(), bytes))
    }

    /// The same, with a finding for each wrong layer.
    pub async fn findings_of(
        &self,
        layers: Vec<Placed>,
    ) -> Result<(BTreeMap<RepoPath, Result<Hashed, Finding>>, u64), OciError> {
        let bytes = layers.iter().fold(0u64, |sum, placed| sum.saturating_add(placed.layer_size()));
        let threads = self.session.config.threads.clamp(1, AT_ONCE);
        let lanes = &Arc::default();
        let read = stream::iter(layers).map(|placed| async move {
            let (path, size) = (&placed.file.path, placed.file.size);
            self.session.progress.event(Event::VerifyFile { path, size });
            let seen = |bytes: u64| self.session.progress.event(Event::VerifyBytes { path, bytes });
            let found = match read_layer(&**self.content, &placed, lanes, seen).await {
                Ok(read) if read.file.digest() != placed.file.digest => {
                    let message = format!("expected {:?}, got {:?}", placed.file.digest, read.file.digest());
                    Err(Finding::new(Code::ChecksumMismatch, path, message))
                }
                Ok(read) if read.framed && read.layer == placed.layer => Ok(read.file),
                // Unpacking this layer would not give the checked file.
                Ok(read) => {
                    let message = if read.framed {
                        format!("its layer is named {}, but its bytes have the digest {}", placed.layer, read.layer)
                    } else {
                        format!("its layer {} contains something besides the file", placed.layer)
                    };
                    Err(Finding::new(Code::ChecksumMismatch, path, message))
                }
                // The client of a registry compares the digest of a whole blob too.
                Err(OciError::WrongDigest { .. }) => {
                    let message = format!("the bytes of its layer {} have another digest", placed.layer);
                    Err(Finding::new(Code::ChecksumMismatch, path, message))
                }
                Err(OciError::NotFound { .. }) => {
                    let message = format!("its layer {} is missing", placed.layer);
                    Err(Finding::new(Code::FileMissing, path, message))
                }
                Err(error) => return Err(error),
            };
            Ok((placed.file.path, found))
        });
        Ok((read.buffer_unordered(threads).try_collect().await?, bytes))
    }
}
