//! The faults: which, in which requests, and how often. `server` has the behaviour without faults.

/// Which requests a fault may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `HEAD` of a blob.
    BlobHead,
    /// `GET` of a blob.
    BlobGet,
    /// `POST` that begins an upload, or mounts a blob.
    Begin,
    /// `PATCH` of an upload.
    Patch,
    /// `PUT` that ends an upload.
    Put,
    /// `GET` that asks how far an upload is.
    Status,
    /// `GET` or `HEAD` of a manifest.
    ManifestGet,
    /// `PUT` of a manifest.
    ManifestPut,
    /// The list of referrers.
    Referrers,
    /// The token server.
    Token,
}

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Another status, with headers. The body of the request is discarded.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection closes after this many bytes of the request's or the answer's body. The bytes of an upload that
    /// arrived are kept.
    Cut(usize),
    /// The same, and the upload is lost.
    Lose(usize),
    /// Nothing more is read or sent after this many bytes, and the connection stays open.
    Stall(usize),
    /// One byte of the sent or kept bytes is changed.
    CorruptByte(usize),
    /// The upload is lost before the request is read.
    SessionLost,
    /// The answer says that the body's digest is wrong, and the upload is lost.
    DigestRefused,
    /// The answer says that the blob was kept, but it was not.
    NotKept,
    /// This body with 200 and the content type of a manifest.
    Body(String),
}

/// A fault, its place and its limits.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) left: Option<u32>,
    pub(crate) above: u64,
    pub(crate) skip: u32,
}

impl Fault {
    /// A fault in every request at `place`, unless it is limited.
    #[must_use]
    pub fn new(place: Place, kind: Kind) -> Self {
        Fault { place, kind, left: None, above: 0, skip: 0 }
    }

    /// Limits it to `times` times.
    #[must_use]
    pub fn times(mut self, n: u32) -> Self {
        self.left = Some(n);
        self
    }

    /// Skips the first requests that match.
    #[must_use]
    pub fn skip(mut self, n: u32) -> Self {
        self.skip = n;
        self
    }

    /// Limits it to bodies of at least this many bytes, and to bodies of unknown size.
    #[must_use]
    pub fn above(mut self, bytes: u64) -> Self {
        self.above = bytes;
        self
    }
}
