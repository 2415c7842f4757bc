//! What stands in for Xet where the crate is built without it: files in Xet storage come over HTTP.

use std::ops::Range;

use bytes::Bytes;
use url::Url;

use super::{Hub, HubError, Transport};
use crate::model::{Entry, RepoInfo};

/// Nothing is needed.
#[derive(Debug, Default)]
pub(super) struct Xet {
    _nothing: (),
}

/// There is none.
#[derive(Debug)]
pub(super) enum XetBody {}

impl XetBody {
    // As the real one is called.
    #[allow(clippy::unused_async)]
    pub async fn chunk(&mut self, _: &Hub, _: &Url) -> Result<Option<Bytes>, HubError> {
        match *self {}
    }
}

// As the real ones are called.
#[allow(clippy::unused_self, clippy::unused_async)]
impl Hub {
    /// Only where it is insisted on, and then it fails.
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
