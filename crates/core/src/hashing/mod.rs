//! Hashes files while their bytes come: a thread hashes two files at once, because two take little longer than one. So a
//! file waits a little for another one. The bytes of a batch can have a digest of their own, beside the file's.
//! `desk` has the threads, `seat` is a file at one of them, `lane` is a file whose bytes come in order. Nothing here decides what
//! a digest means.

mod desk;
mod lane;
mod seat;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

pub(crate) use self::desk::{Desk, StillOpen};
pub(crate) use self::lane::{Lane, Lanes};
use crate::model::{Hashed, Hasher};

/// A file with fewer bytes to hash is never [worth it alone](Feed::is_worth_alone), unless they are its last ones.
pub(crate) const ENOUGH: u64 = 2 << 20;

/// A file whose bytes come little by little.
pub(crate) trait Feed: Send + Sync + 'static {
    /// Keeps alive what must hear of the file.
    type Run: Send + 'static;

    /// A thread that hashes this file, or another one of the run, has this until it ends.
    fn run(&self) -> Self::Run;

    /// Whether there is something to do that no thread does: there are bytes to hash, or all are hashed.
    fn wants_hashing(&self) -> bool;

    /// Whether the bytes that have come should be hashed although no other file has any: they are many, or the last ones. Whoever
    /// feeds a file must have memory until this is so: otherwise the file would wait for another one, and that one for memory.
    fn is_worth_alone(&self) -> bool;

    /// Where its next bytes are.
    fn ahead(&self) -> Ahead;

    /// The hasher, if no thread has it.
    fn take_hasher(&self) -> Option<Hasher>;

    /// Gives the hasher back, between two calls of [`next`](Feed::next).
    fn give_back(&self, hasher: Hasher);

    /// Takes the next bytes. `scratch` is the thread's memory for this file, used again and again. Blocks.
    fn next(&self, hasher: Hasher, scratch: &mut BytesMut) -> Next;

    /// All bytes are hashed. Must not block: the thread has another file too.
    fn whole(self: Arc<Self>, hashed: Hashed);

    /// The thread that had the file's hasher has panicked.
    fn lost(&self);
}

/// Where the next bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// They have not come.
    Nowhere,
    Memory,
    /// They are not in memory any more.
    Disk,
}

/// What a thread does next with a file. Lives for a moment, so its size does not matter.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Next {
    /// It hashes these bytes.
    Bytes(Hasher, Batch),
    /// It lets go of the file. The file has its hasher again, or has failed.
    Nothing,
    /// All bytes of the file are hashed.
    Whole(Hashed),
}

/// Consecutive bytes of a file.
pub(crate) struct Batch {
    pub pieces: Vec<Bytes>,
    /// The SHA-256 of these bytes alone, if somebody waits for it.
    part: Option<Part>,
}

/// The SHA-256 of a batch alone, beside that of the file.
struct Part {
    hasher: Hasher,
    digest: oneshot::Sender<Hashed>,
}

impl From<Vec<Bytes>> for Batch {
    fn from(pieces: Vec<Bytes>) -> Self {
        Batch { pieces, part: None }
    }
}

impl Part {
    /// All its bytes are hashed.
    fn finish(self) {
        // Whoever waited may have given up.
        let _ = self.digest.send(self.hasher.finish());
    }
}
