//! The replacement for Xet in a build without it: files in Xet storage come over HTTP.

use std::ops::Range;

use bytes::Bytes;
use url::Url;

use super::{Hub, HubError, Transport};
use crate::model::{Entry, RepoInfo};

/// The state of Xet, which is empty here.
#[derive(Debug, Default)]
pub(super) struct Xet {
    _nothing: (),
}

/// A body over Xet, which cannot exist here.
#[derive(Debug)]
pub(super) enum XetBody {}

impl XetBody {
    // Async, like the real one.
    #[allow(clippy::unused_async)]
    pub async fn chunk(&mut self, _: &Hub, _: &Url) -> Result<Option<Bytes>, HubError> {
        match *self {}
    }
}

// Async, like the real ones.
#[allow(clippy::unused_self, clippy::unused_async)]
impl Hub {
    /// Only if the user demands Xet, and then the request fails.
    pub(crate) fn uses_xet(&self, entry: &Entry) -> bool {
        self.config.transport == Transport::Xet && entry.xet_hash.is_some() && entry.lfs.is_some()
    }

    pub(crate) fn may_leave_xet(&self) -> bool {
        self.config.transport != Transport::Xet
    }

    pub(crate) fn xet_failed(&self) {}

    pub(super) async fn open_xet(&self, _: &RepoInfo, _: &Entry, _: Range<u64>) -> Result<(Url, XetBody), HubError> {
        Err(HubError::Setup("this program was built without Xet".into()))
    }
}
