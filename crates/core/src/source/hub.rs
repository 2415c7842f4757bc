//! A Hub, or a mirror of one, as a source. The room `hub` has the wire protocol.

use std::ops::Range;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Source, SourceFile};
use crate::finding::Origin;
use crate::hub::{Body, Hub, HubError, Remote, Retries};
use crate::model::{Entry, Listing, RepoId, RepoInfo, RepoPath, RepoType, Revision};
use crate::progress::Progress;

impl Source for Hub {
    fn endpoint(&self) -> String {
        Hub::endpoint(self)
    }

    fn origin(&self) -> Origin {
        Origin::Hub
    }

    fn retries(&self) -> &Retries {
        Hub::retries(self)
    }

    fn resolve<'a>(
        &'a self,
        repo_type: RepoType,
        id: &'a RepoId,
        revision: &'a Revision,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<RepoInfo, HubError>> {
        Box::pin(self.info(repo_type, id, revision, progress))
    }

    fn list<'a>(&'a self, info: &'a RepoInfo, progress: &'a dyn Progress) -> BoxFuture<'a, Result<Listing, HubError>> {
        Box::pin(self.listing(info, progress))
    }

    fn sends_stream(&self, file: &Entry) -> bool {
        self.uses_xet(file)
    }

    fn file(self: Arc<Self>, info: Arc<RepoInfo>, entry: Entry) -> Box<dyn SourceFile> {
        Box::new(HubFile { hub: self, remote: Remote::new(info, entry) })
    }
}

/// A file on a Hub: over Xet if that is worth it, otherwise over HTTP.
#[derive(Debug)]
struct HubFile {
    hub: Arc<Hub>,
    remote: Remote,
}

impl SourceFile for HubFile {
    fn path(&self) -> &RepoPath {
        self.remote.path()
    }

    fn source(&self) -> &dyn Source {
        &*self.hub
    }

    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body<'_>, HubError>> {
        Box::pin(self.hub.open(&self.remote, range))
    }

    fn take_fast_transport(&self) {
        self.remote.use_xet(self.hub.uses_xet(self.remote.entry()));
    }

    fn is_one_stream(&self) -> bool {
        self.remote.is_over_xet()
    }

    fn fall_back(&self) -> bool {
        let leave = self.remote.is_over_xet() && self.hub.may_leave_xet();
        if leave {
            self.remote.use_xet(false);
            self.hub.xet_failed();
        }
        leave
    }

    fn hurry(&self, yes: bool) {
        self.remote.hurry(yes);
    }
}
