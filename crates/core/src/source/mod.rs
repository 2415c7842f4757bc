//! Where files come from: one interface over Hubs and object stores. `hub` and `object_store` read the servers'
//! answers; the rooms above use the bytes.

mod config;
mod hub;
#[cfg_attr(not(feature = "object-store"), path = "absent.rs")]
mod object_store;
mod oci;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use config::SourceConfig;
pub(crate) use object_store::open_store;
pub(crate) use oci::{name_of, open_oci};

use crate::finding::Origin;
use crate::hub::{Body, HubError, Retries};
use crate::model::{Entry, Listing, RepoId, RepoInfo, RepoPath, RepoType, Revision};
use crate::progress::Progress;

/// A server that has repos.
///
/// To add one: implement this, and add a variant to [`SourceConfig`] with the form of its URLs.
pub trait Source: fmt::Debug + Send + Sync {
    /// The server's name for its kept listings: its URL without secrets.
    fn endpoint(&self) -> String;

    /// Who states the sizes and digests in its listing.
    fn origin(&self) -> Origin;

    /// Whether it lists all files of a repo. A store lists only the uploaded files.
    fn lists_all(&self) -> bool {
        self.origin() == Origin::Hub
    }

    /// When to ask the server again, and when to give up.
    fn retries(&self) -> &Retries;

    /// Pins a revision to a commit.
    fn resolve<'a>(
        &'a self,
        repo_type: RepoType,
        id: &'a RepoId,
        revision: &'a Revision,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<RepoInfo, HubError>>;

    /// Every file at a pinned commit.
    fn list<'a>(&'a self, info: &'a RepoInfo, progress: &'a dyn Progress) -> BoxFuture<'a, Result<Listing, HubError>>;

    /// Whether all bytes of this file would come as one stream.
    fn sends_stream(&self, _file: &Entry) -> bool {
        false
    }

    /// A file at a pinned commit. Makes no request yet.
    fn file(self: Arc<Self>, info: Arc<RepoInfo>, entry: Entry) -> Box<dyn SourceFile>;
}

/// A file that a source has.
pub trait SourceFile: fmt::Debug + Send + Sync {
    /// Its name in the repo.
    fn path(&self) -> &RepoPath;

    /// The server that has it.
    fn source(&self) -> &dyn Source;

    /// Asks for a range of its bytes.
    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body<'_>, HubError>>;

    /// Uses the file's fastest transport, if that is not ranges over HTTP.
    fn take_fast_transport(&self) {}

    /// Whether its bytes come over a transport that gives all of them as one stream.
    fn is_one_stream(&self) -> bool {
        false
    }

    /// Leaves the fast transport after it failed; `false` if there is no other.
    fn fall_back(&self) -> bool {
        false
    }

    /// Sets whether other servers have the file, so that the run does not wait for a host that asked for a pause.
    fn hurry(&self, _yes: bool) {}
}
