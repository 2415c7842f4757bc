//! The facts about one file: what it must be, who states it, and what the run saw of its bytes. `verdict`
//! draws the conclusion; other rooms read the bytes.

use std::fs::File;
use std::io;

use crate::model::{Digest, Hashed, RepoPath, Sha256, XetHash, XetMerkle};
use crate::platform::{Stat, look_at_file};

/// Who stated a file's size and digest, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// The Hub (or the endpoint in its place), asked in this run.
    Hub,
    /// A lockfile.
    Lock,
    /// A signature of a trusted signer.
    Signature,
    /// The manifest of an object store, which an earlier run wrote.
    Manifest,
    /// A listing of the same endpoint that an earlier run kept.
    KeptListing,
    /// The headers of each file, asked for in this run: the endpoint lists no digests.
    Headers,
    /// The names of the cache's own blobs.
    BlobNames,
    /// The metadata that `huggingface_hub` keeps beside each file of a local dir.
    LocalMetadata,
    /// The registry. It names each layer by its digest, and compared the two when it accepted the layer. The bytes were
    /// not read in this run.
    Registry,
    /// Nobody: the file's size and digest are not known.
    Nobody,
}

impl Origin {
    /// Every origin, the strongest first.
    #[cfg(test)]
    pub(super) const ALL: &[Origin] = &[
        Origin::Hub,
        Origin::Lock,
        Origin::Signature,
        Origin::Manifest,
        Origin::KeptListing,
        Origin::Headers,
        Origin::BlobNames,
        Origin::LocalMetadata,
        Origin::Registry,
        Origin::Nobody,
    ];

    /// The word after `against=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Hub => "hub",
            Origin::Lock => "lock",
            Origin::Signature => "signature",
            Origin::Manifest => "manifest",
            Origin::KeptListing => "kept-listing",
            Origin::Headers => "headers",
            Origin::BlobNames => "blob-names",
            Origin::LocalMetadata => "local-metadata",
            Origin::Registry => "registry",
            Origin::Nobody => "nobody",
        }
    }
}

/// The size and digest that a file must have, and who states them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// Its size in bytes; `None` if nobody states it.
    pub size: Option<u64>,
    /// Its digest; `None` if nobody states it.
    pub digest: Option<Digest>,
    /// Who states them.
    pub origin: Origin,
    /// Its Xet hash, if the same origin states one.
    pub xet: Option<XetHash>,
}

impl Expectation {
    /// This size and digest, as `origin` states them.
    pub fn new(size: u64, digest: Digest, origin: Origin) -> Self {
        Expectation { size: Some(size), digest: Some(digest), origin, xet: None }
    }

    /// Nobody states the file's size or digest.
    pub const UNKNOWN: Expectation = Expectation { size: None, digest: None, origin: Origin::Nobody, xet: None };

    /// Who stated the digest.
    pub fn against(&self) -> Origin {
        if self.digest.is_some() { self.origin } else { Origin::Nobody }
    }
}

/// Facts that identify unchanged content without reading it. The change time reveals a restored modification
/// time. The device is not among them: a remount changes no content, and must not cost a second hash of every
/// file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub size: u64,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds beside `mtime`.
    pub mtime_ns: i64,
    /// Change time, seconds since 1970. No program can set it.
    pub ctime: i64,
    /// Nanoseconds beside `ctime`.
    pub ctime_ns: i64,
    /// Inode number.
    pub inode: u64,
}

impl Stamp {
    /// The stamp that an open file has now.
    pub(crate) fn of(file: &File) -> io::Result<Stamp> {
        Ok(Stamp::from(&look_at_file(file)?))
    }

    /// Reads a file by `read`. Returns the result of `read` with the stamp that the file had before and after, or
    /// `None` if the file changed meanwhile.
    ///
    /// # Errors
    /// The error of `read`, or of looking at the file.
    pub fn around<T>(file: &File, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<Option<(T, Stamp)>> {
        let before = Stamp::of(file)?;
        let value = read(file)?;
        Ok((Stamp::of(file)? == before).then_some((value, before)))
    }
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Stamp {
            size: stat.size,
            mtime: stat.modified.seconds,
            mtime_ns: stat.modified.nanos,
            ctime: stat.changed.seconds,
            ctime_ns: stat.changed.nanos,
            inode: stat.identity.1,
        }
    }
}

/// What the run saw of a file's bytes. Nothing can assert [`Evidence::Hashed`] or [`Evidence::XetMerkle`]: only the hasher that
/// the bytes went through makes the [`Hashed`] or the [`XetMerkle`] in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evidence {
    /// Its bytes were read whole in this run.
    Hashed(Hashed),
    /// Its bytes were read whole in this run, and this is their Xet hash. No other digest of them was computed.
    XetMerkle(XetMerkle),
    /// An earlier run hashed it to this digest, and its stamp is unchanged.
    Recorded(Digest),
    /// The registry states that it has the file's layer, under the layer's digest. Registries compare a layer with its
    /// digest when they accept it; the bytes were not read in this run.
    Stated(Digest),
    /// It is there, but its bytes were not read.
    #[default]
    Unread,
    /// It is missing.
    Absent,
    /// It is there, but its size or digest is wrong.
    Wrong,
}

impl Evidence {
    /// The word in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Evidence::Hashed(_) => "hashed",
            Evidence::XetMerkle(_) => "xet-merkle",
            Evidence::Recorded(_) => "recorded",
            Evidence::Stated(_) => "stated",
            Evidence::Unread => "unread",
            Evidence::Absent => "absent",
            Evidence::Wrong => "wrong",
        }
    }

    /// The known digest of the bytes; a Xet hash is not a digest.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Evidence::Hashed(hashed) => Some(hashed.digest()),
            Evidence::Recorded(digest) | Evidence::Stated(digest) => Some(*digest),
            _ => None,
        }
    }

    /// The known SHA-256 of the bytes.
    #[doc(hidden)] // for the command
    #[must_use]
    pub fn sha256(&self) -> Option<Sha256> {
        match self {
            Evidence::Hashed(hashed) => Some(hashed.sha256()),
            Evidence::Recorded(Digest::Sha256(sha256)) => Some(*sha256),
            _ => None,
        }
    }

    /// Whether it proves that the file has the expected size and digest.
    pub(crate) fn proves(&self, expected: &Expectation) -> bool {
        // A Xet hash stands for the digest that the same origin states. It proves nothing without one.
        let same = match self {
            Evidence::XetMerkle(root) => expected.xet == Some(root.hash()),
            _ => self.digest() == expected.digest,
        };
        expected.digest.is_some() && same
    }
}

/// What one file must be, and what the run saw of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its name in the repo.
    pub path: RepoPath,
    /// What it must be.
    pub expected: Expectation,
    /// What the run saw of it.
    pub evidence: Evidence,
    /// The file's stamp when its bytes were read, taken from the descriptor and not from the name. `None` if
    /// nothing was read, or if files have no stamps there.
    pub stamp: Option<Stamp>,
}

impl Proof {
    /// A file of which the run has seen nothing yet.
    pub fn unread(path: RepoPath, expected: Expectation) -> Self {
        Proof { path, expected, evidence: Evidence::Unread, stamp: None }
    }

    /// Who stated the digest; the registry, if the evidence is only its claim that it has the bytes.
    pub fn against(&self) -> Origin {
        match self.evidence {
            Evidence::Stated(_) => self.expected.against().max(Origin::Registry),
            _ => self.expected.against(),
        }
    }

    /// Whether the file is proven to be what it must be.
    pub fn holds(&self) -> bool {
        self.evidence.proves(&self.expected)
    }
}
