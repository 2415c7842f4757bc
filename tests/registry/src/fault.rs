//! What can be made to go wrong, where, and how often. How a registry is when nothing goes wrong is said in `server`.

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
    /// The list of what refers to a manifest.
    Referrers,
    /// The server of tokens.
    Token,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Another status, with headers. The body of the request is thrown away.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection closes after so many bytes of the body, whoever sends it. What came of an upload is kept.
    Cut(usize),
    /// The same, and the upload is gone.
    Lose(usize),
    /// Nothing more is read or sent after so many bytes, and the connection stays open.
    Stall(usize),
    /// One byte of what is sent, or of what is kept, is another.
    CorruptByte(usize),
    /// The upload is gone before the request is looked at.
    SessionLost,
    /// The body's digest is said to be wrong, and the upload is gone.
    DigestRefused,
    /// The blob is said to be kept, and is not.
    NotKept,
    /// This body with 200 and the content type of a manifest.
    Body(String),
}

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    pub(crate) left: Option<u32>,
    pub(crate) above: u64,
    pub(crate) skip: u32,
}

impl Fault {
    /// On every request at `place`, until limited.
    #[must_use]
    pub fn new(place: Place, kind: Kind) -> Self {
        Fault { place, kind, left: None, above: 0, skip: 0 }
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, n: u32) -> Self {
        self.left = Some(n);
        self
    }

    /// Not the first so many that it could hit.
    #[must_use]
    pub fn skip(mut self, n: u32) -> Self {
        self.skip = n;
        self
    }

    /// Only where the body has at least so many bytes, or where nobody says how many.
    #[must_use]
    pub fn above(mut self, bytes: u64) -> Self {
        self.above = bytes;
        self
    }
}
