//! What can be made to go wrong, where, and how often.

use std::time::Duration;

use globset::Glob;

/// Which requests a fault may hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `/api/…` but what is named here.
    Api,
    /// `/api/…/refs`.
    Refs,
    /// The listing.
    Tree,
    /// `/api/…/xet-read-token/…`.
    XetToken,
    /// `/resolve/…`, before any redirect.
    Resolve,
    /// Where the bytes of a file come from: `/api/resolve-cache/…` or the CDN.
    Bytes,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Another status, with headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes, and the connection stays open.
    Stall(usize),
    /// One byte of the file is another.
    CorruptByte(usize),
    /// The body is shorter, and `Content-Length` says so.
    Short(usize),
    /// The body goes on after its end, without a `Content-Length`.
    Long(usize),
    /// `Content-Length` is off by so much; the body is right.
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
    /// So many bytes a second.
    Slow(u64),
    /// A pause before the answer.
    Delay(Duration),
    /// The body comes as it is, with a `Content-Encoding` that it does not have.
    Encoded,
    /// A redirect to the same path on another server.
    MovedTo(String),
    /// A redirect to this location.
    Redirect(String),
    /// A listing whose last page names a next one, for ever.
    EndlessListing,
    /// This body with 200 and JSON's content type.
    Body(String),
}

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    pub(crate) place: Place,
    pub(crate) path: globset::GlobMatcher,
    pub(crate) kind: Kind,
    pub(crate) left: Option<u32>,
    pub(crate) from: std::ops::Range<u64>,
}

impl Fault {
    /// On every request at `place`, until limited.
    pub fn new(place: Place, kind: Kind) -> Self {
        Fault { place, path: Glob::new("**").expect("a glob").compile_matcher(), kind, left: None, from: 0..u64::MAX }
    }

    /// Only for files whose path matches.
    ///
    /// # Panics
    /// When the glob does not parse.
    #[must_use]
    pub fn on(mut self, glob: &str) -> Self {
        self.path = Glob::new(glob).expect("a glob").compile_matcher();
        self
    }

    /// Only requests that ask for bytes from an offset in `range` on.
    #[must_use]
    pub fn from(mut self, range: std::ops::Range<u64>) -> Self {
        self.from = range;
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, n: u32) -> Self {
        self.left = Some(n);
        self
    }
}
