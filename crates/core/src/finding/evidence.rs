//! What is known of one file: what it must be and who says so, and what was seen of its bytes. What follows
//! from that is the verdict's; how bytes are read lives elsewhere.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use crate::model::{Digest, Hashed, RepoPath};

/// Who stated what a file must be, or on whose word it rests; the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// The Hub (or the endpoint in its place), asked in this run.
    Hub,
    /// A lockfile.
    Lock,
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
    /// The registry, which names each layer by its digest and compared the two when it took it. Nobody read the bytes.
    Registry,
    /// Nobody: what the file must be is not known.
    Nobody,
}

impl Origin {
    /// Every origin, the strongest first.
    pub const ALL: &[Origin] = &[
        Origin::Hub,
        Origin::Lock,
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

/// What a file must be, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// Its bytes; `None` when nobody says.
    pub size: Option<u64>,
    /// Its digest; `None` when nobody says.
    pub digest: Option<Digest>,
    /// Who says.
    pub origin: Origin,
}

impl Expectation {
    /// This size and digest, as `origin` states them.
    pub fn new(size: u64, digest: Digest, origin: Origin) -> Self {
        Expectation { size: Some(size), digest: Some(digest), origin }
    }

    /// Nobody says what the file must be.
    pub const UNKNOWN: Expectation = Expectation { size: None, digest: None, origin: Origin::Nobody };

    /// Who stated the digest.
    pub fn against(&self) -> Origin {
        if self.digest.is_some() { self.origin } else { Origin::Nobody }
    }
}

/// What identifies unchanged content without reading it. The change time notices a restored modification time.
/// The device is no part of it: a remount is no change, and must not cost a second hash of every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// Bytes.
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
    /// Reads a file by `read`. Gives what that gives with the stamp that the file had before and after, or `None` if it
    /// changed meanwhile.
    ///
    /// # Errors
    /// What `read` says, or looking at the file.
    pub fn around<T>(file: &File, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<Option<(T, Stamp)>> {
        let before = Stamp::from(&file.metadata()?);
        let value = read(file)?;
        Ok((Stamp::from(&file.metadata()?) == before).then_some((value, before)))
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(meta: &std::fs::Metadata) -> Self {
        Stamp {
            size: meta.len(),
            mtime: meta.mtime(),
            mtime_ns: meta.mtime_nsec(),
            ctime: meta.ctime(),
            ctime_ns: meta.ctime_nsec(),
            inode: meta.ino(),
        }
    }
}

/// What was seen of a file's bytes. Nothing can assert [`Evidence::Hashed`]: the [`Hashed`] in it is made by the
/// hasher that the bytes went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Evidence {
    /// Its bytes were read whole in this run.
    Hashed(Hashed),
    /// An earlier run hashed it to this digest, and its stamp is unchanged.
    Recorded(Digest),
    /// The registry that has it says that its layer is there, by whose digest this file is in it. Registries compare
    /// the two when they take a layer; nobody read the bytes in this run.
    Stated(Digest),
    /// It is there, and nobody looked at its bytes.
    #[default]
    Unread,
    /// It is not there.
    Absent,
    /// It is there, and it is not what it must be.
    Wrong,
}

impl Evidence {
    /// Every kind of evidence, by its word.
    pub const KINDS: &[&str] = &["hashed", "recorded", "stated", "unread", "absent", "wrong"];

    /// The word in reports.
    pub fn as_str(&self) -> &'static str {
        match self {
            Evidence::Hashed(_) => "hashed",
            Evidence::Recorded(_) => "recorded",
            Evidence::Stated(_) => "stated",
            Evidence::Unread => "unread",
            Evidence::Absent => "absent",
            Evidence::Wrong => "wrong",
        }
    }

    /// The digest that the bytes are known to have.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Evidence::Hashed(hashed) => Some(hashed.digest()),
            Evidence::Recorded(digest) | Evidence::Stated(digest) => Some(*digest),
            _ => None,
        }
    }

    /// Whether it proves that the file is what `expected` says.
    pub fn proves(&self, expected: &Expectation) -> bool {
        expected.digest.is_some() && self.digest() == expected.digest
    }
}

/// What one file must be, and what was seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Its name in the repo.
    pub path: RepoPath,
    /// What it must be.
    pub expected: Expectation,
    /// What was seen.
    pub evidence: Evidence,
    /// What the file looked like when its bytes were read: of the descriptor, not of the name. `None` where nothing
    /// was read, or where files have no stamps.
    pub stamp: Option<Stamp>,
}

impl Proof {
    /// A file of which nothing was seen yet.
    pub fn unread(path: RepoPath, expected: Expectation) -> Self {
        Proof { path, expected, evidence: Evidence::Unread, stamp: None }
    }

    /// On whose word it rests: whoever stated the digest, or the registry where it says that the bytes are there.
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
