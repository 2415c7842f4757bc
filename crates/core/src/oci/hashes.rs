//! The digests of a layer and of the file in it, of bytes that come in order. Who calls decides what they must be.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::layout::Form;
use super::local::blocking;
use crate::hashing::{Lane, Lanes};
use crate::model::{Digest, Hashed, Hasher, OciDigest};

/// The hashers of one layer. A thread hashes two things at once in either case, if the layer is large.
pub(crate) enum Hashes {
    /// The layer is the file, so its bytes are hashed once, beside those of another layer.
    File(Lane),
    /// The file and the layer around it.
    Both(Box<Both>),
}

pub(crate) struct Both {
    file: Hasher,
    layer: Hasher,
}

impl Both {
    /// Adds bytes that belong to the file.
    fn of_file(&mut self, bytes: &[u8]) {
        Hasher::update_two(&mut self.file, bytes, &mut self.layer, bytes);
    }
}

impl Hashes {
    /// For a file of `size` bytes that should have a digest like `like`.
    pub fn new(form: &Form, like: Digest, size: u64, lanes: &Arc<Lanes>) -> Self {
        match form {
            Form::Raw => Hashes::File(Lane::new(lanes, like.hasher(size), size)),
            Form::Tar(_) => Hashes::Both(Box::new(Both { file: like.hasher(size), layer: Hasher::sha256() })),
        }
    }

    /// Adds the layer's next bytes, off the async threads; those in `file` belong to the file.
    pub async fn add(self, bytes: Bytes, file: Range<usize>) -> Self {
        let mut both = match self {
            Hashes::File(mut lane) => {
                lane.push(bytes).await;
                return Hashes::File(lane);
            }
            Hashes::Both(both) => both,
        };
        blocking(move || {
            let (before, rest) = bytes.split_at(file.start.min(bytes.len()));
            let (file, after) = rest.split_at(file.len().min(rest.len()));
            both.layer.update(before);
            both.of_file(file);
            both.layer.update(after);
            Hashes::Both(both)
        })
        .await
    }

    /// Adds bytes of the file at once. A rest that waited for another file would keep the room of its part from that file.
    pub async fn add_all(self, pieces: Vec<Bytes>) -> Self {
        let mut both = match self {
            Hashes::File(mut lane) => {
                lane.push_all(pieces).await;
                return Hashes::File(lane);
            }
            Hashes::Both(both) => both,
        };
        blocking(move || {
            for piece in &pieces {
                both.of_file(piece);
            }
            Hashes::Both(both)
        })
        .await
    }

    /// The digests of the file and of the layer.
    pub async fn finish(self) -> (Hashed, OciDigest) {
        match self {
            Hashes::File(lane) => {
                let file = lane.finish().await;
                (file, OciDigest(file.sha256()))
            }
            Hashes::Both(both) => (both.file.finish(), OciDigest(both.layer.finish().sha256())),
        }
    }
}
