//! The faults that a test can cause, where, and how often.

use std::time::Duration;

use globset::Glob;

/// Which requests a fault may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `/api/…` without the places below.
    Api,
    /// `/api/…/refs`.
    Refs,
    /// The listing.
    Tree,
    /// `/api/…/xet-read-token/…`.
    XetToken,
    /// `/resolve/…`, before any redirect.
    Resolve,
    /// The source of a file's bytes: `/api/resolve-cache/…` or the CDN.
    Bytes,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Another status, with headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection closes after this many bytes of the body.
    Cut(usize),
    /// After this many bytes nothing more comes, and the connection stays open.
    Stall(usize),
    /// One byte of the file is changed.
    CorruptByte(usize),
    /// The body is shorter, with the shorter `Content-Length`.
    Short(usize),
    /// The body continues after its end, without a `Content-Length`.
    Long(usize),
    /// `Content-Length` is off by this much; the body is right.
    WrongLength(i64),
    /// A range request is answered with 200 and everything.
    IgnoreRange,
    /// A range request is answered with another range.
    WrongContentRange,
    /// A login page with 200.
    Html,
    /// Other content of the same length.
    Replaced,
    /// The `ETag` headers name other content.
    ChangedEtag,
    /// The rate in bytes a second.
    Slow(u64),
    /// A pause before the answer.
    Delay(Duration),
    /// The body is not encoded, but has a `Content-Encoding`.
    Encoded,
    /// A redirect to the same path on another server.
    MovedTo(String),
    /// A redirect to this location.
    Redirect(String),
    /// A listing whose last page always names a next one.
    EndlessListing,
    /// This body with 200 and JSON's content type.
    Body(String),
}

/// One fault.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) place: Place,
    pub(crate) path: globset::GlobMatcher,
    pub(crate) kind: Kind,
    pub(crate) left: Option<u32>,
    pub(crate) from: std::ops::Range<u64>,
}

impl Fault {
    /// A fault on every request at `place`, unless it is limited.
    pub fn new(place: Place, kind: Kind) -> Self {
        Fault { place, path: Glob::new("**").expect("a glob").compile_matcher(), kind, left: None, from: 0..u64::MAX }
    }

    /// Limits it to files whose path matches.
    ///
    /// # Panics
    /// If the glob does not parse.
    #[must_use]
    pub fn on(mut self, glob: &str) -> Self {
        self.path = Glob::new(glob).expect("a glob").compile_matcher();
        self
    }

    /// Limits it to requests for bytes that start at an offset in `range`.
    #[must_use]
    pub fn from(mut self, range: std::ops::Range<u64>) -> Self {
        self.from = range;
        self
    }

    /// Limits it to `n` times.
    #[must_use]
    pub fn times(mut self, n: u32) -> Self {
        self.left = Some(n);
        self
    }
}
