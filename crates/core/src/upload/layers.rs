//! One file from the Hub into a layer of OCI content, without a local copy: parts are fetched by ranges, hashed in order,
//! and sent on as one stream. If the Hub stalls, the fetch is retried and the stream continues. If a push fails, the
//! whole layer is sent again: registries take a layer as a whole or not at all.
//!
//! The file's hash must match the listing; the layer's is its name, and the same if the layer is the file. If the file does
//! not match, the last bytes are not sent.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::LAYER_PART;
use super::fetch::{Fetcher, Supply};
use super::room::length;
use super::task::Task;
use crate::finding::Finding;
use crate::hub::HubError;
use crate::model::{Digest, Entry, Hashed, OciDigest};
use crate::mutex::lock;
use crate::oci::{Body, Content, Form, Hashes, OciError, OciLayout, Push, PushDigest, zeros};
use crate::progress::Event;
use crate::transfer::{integrity_finding, mismatch_finding};

/// Parts of one file that are on their way from the Hub.
const WIDTH: usize = 16;

/// Why a file could not be uploaded.
#[derive(Debug)]
pub(crate) enum PushError {
    Hub(HubError),
    Oci(OciError),
}

impl From<HubError> for PushError {
    fn from(error: HubError) -> Self {
        PushError::Hub(error)
    }
}

impl From<OciError> for PushError {
    fn from(error: OciError) -> Self {
        PushError::Oci(error)
    }
}

/// The result for a file.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// It was pushed as this layer. Its bytes were hashed in this run, and this many of them came from the Hub.
    There { layer: OciDigest, hashed: Hashed, received: u64 },
    /// The Hub sends other bytes than it lists; none of them is visible there.
    Wrong(Finding),
}

/// What the uploads of a run share.
pub(crate) struct Layers {
    pub supply: Arc<Supply>,
    pub content: Arc<dyn Content>,
    pub layout: OciLayout,
}

/// One file that is being pushed.
struct LayerPush {
    fetcher: Arc<Fetcher>,
    form: Form,
    /// The stream's result: the digest of its file, or why it ended early.
    found: Mutex<Option<Result<Hashed, Trouble>>>,
    /// The layer's digest, once all of its bytes were hashed.
    digest: Arc<OnceLock<OciDigest>>,
}

/// Why the bytes of a file stopped.
#[derive(Debug)]
enum Trouble {
    Hub(HubError),
    /// They have this digest.
    Differs(Digest),
}

/// The result of a try.
enum Try {
    There(OciDigest, Hashed),
    Stopped(Trouble),
    Failed(OciError),
}

impl Layers {
    /// Pushes one file. `number`: its number among the announced blobs.
    ///
    /// # Errors
    /// If the Hub or the registry keeps failing.
    #[tracing::instrument(level = "debug", name = "file", skip_all, fields(file = %entry.path.shown()))]
    pub async fn file(&self, entry: &Entry, number: usize) -> Result<Pushed, PushError> {
        let place = || format!("{}: {}", self.content.shown(), entry.path.shown());
        let Some(form) = Form::new(self.layout, &entry.path, entry.size) else {
            let why = format!("no layer can have {} bytes", entry.size);
            return Err(OciError::Invalid { place: place(), why }.into());
        };
        let fetcher = Arc::new(self.supply.file(entry).await);
        let (mut failures, mut differed) = (0, false);
        loop {
            let file = Arc::new(LayerPush::new(Arc::clone(&fetcher), form.clone()));
            fetcher.started(0);
            match file.attempt(&*self.content, number).await {
                Try::There(layer, hashed) => {
                    self.supply.progress.event(Event::FileDone { path: &entry.path });
                    return Ok(Pushed::There { layer, hashed, received: fetcher.received() });
                }
                Try::Stopped(Trouble::Hub(error @ (HubError::WrongLength { .. } | HubError::Changed { .. }))) => {
                    return Ok(Pushed::Wrong(integrity_finding(&entry.path, &error)));
                }
                Try::Stopped(Trouble::Hub(error)) => return Err(error.into()),
                // The transfer may have damaged a byte, so the whole file is tried once more.
                Try::Stopped(Trouble::Differs(_)) if !differed => {
                    differed = true;
                    fetcher.start_again_alone("its checksum is wrong");
                }
                Try::Stopped(Trouble::Differs(actual)) => {
                    return Ok(Pushed::Wrong(mismatch_finding(&entry.path, entry.digest(), actual)));
                }
                Try::Failed(error) if error.is_worth_retrying() => {
                    failures += 1;
                    self.content.back_off(Some(&entry.path), error, failures, &*self.supply.progress).await?;
                    fetcher.restarted("it could not be pushed");
                }
                Try::Failed(error) => return Err(error.into()),
            }
        }
    }
}

impl LayerPush {
    fn new(fetcher: Arc<Fetcher>, form: Form) -> Self {
        LayerPush { fetcher, form, found: Mutex::default(), digest: Arc::default() }
    }

    fn entry(&self) -> &Entry {
        &self.fetcher.entry
    }

    fn note(&self, found: Result<Hashed, Trouble>) {
        *lock(&self.found) = Some(found);
    }

    fn hashes(&self) -> Hashes {
        Hashes::new(&self.form, self.entry().digest(), self.entry().size, &self.fetcher.supply.lanes)
    }

    /// The layer's bytes before and after the file.
    fn around(&self) -> (Bytes, Bytes) {
        match &self.form {
            Form::Raw => (Bytes::new(), Bytes::new()),
            Form::Tar(framing) => (framing.head.clone().into(), zeros(framing.tail).into()),
        }
    }

    /// Compares the file with the listing, and keeps the layer's digest.
    async fn end(&self, hashes: Hashes) -> Result<(), Trouble> {
        let (hashed, layer) = hashes.finish().await;
        if hashed.digest() != self.entry().digest() {
            return Err(Trouble::Differs(hashed.digest()));
        }
        // Each push has its own cell.
        let _ = self.digest.set(layer);
        self.note(Ok(hashed));
        Ok(())
    }

    async fn attempt(self: &Arc<Self>, content: &dyn Content, number: usize) -> Try {
        let size = self.form.layer_size(self.entry().size);
        let body = if self.entry().size <= LAYER_PART { self.whole().await } else { self.parts().await };
        let body = match body {
            Ok(body) => body,
            Err(trouble) => return Try::Stopped(trouble),
        };
        let known = match (&self.form, self.entry().digest()) {
            (Form::Raw, Digest::Sha256(digest)) => Some(OciDigest(digest)),
            // For bytes in memory it is known already.
            _ => self.digest.get().copied(),
        };
        let digest = known.map_or_else(|| PushDigest::After(Arc::clone(&self.digest)), PushDigest::Before);
        let pushed = content.push_blob(Push { size, digest, number: Some(number), body }).await;
        let found = lock(&self.found).take();
        match (pushed, found) {
            // The stream's own error is the reason of the failed push, whatever error the registry's client returns.
            (_, Some(Err(trouble))) => Try::Stopped(trouble),
            (Ok(layer), Some(Ok(hashed))) => Try::There(layer, hashed),
            (Ok(_), None) => Try::Failed(OciError::Stopped),
            (Err(error), _) => Try::Failed(error),
        }
    }

    /// A file of one part: fetches, hashes and pushes it as a whole.
    async fn whole(&self) -> Result<Body, Trouble> {
        let size = self.entry().size;
        let (head, tail) = self.around();
        let room = self.fetcher.supply.space.room(size).await.around(head.clone(), tail.clone());
        let layer = self.fetcher.fetch(0..size, room).await.map_err(Trouble::Hub)?.pop().unwrap_or_default();
        let file = head.len()..layer.len() - tail.len();
        self.end(self.hashes().add(layer.clone(), file).await).await?;
        Ok(Body::Whole(layer))
    }

    /// A file of many parts. Waits for the first one, so that no push begins while the Hub does not answer.
    async fn parts(self: &Arc<Self>) -> Result<Body, Trouble> {
        let mut parts = self.fetched();
        let first = match parts.next().await {
            Some(Ok(first)) => first,
            Some(Err(error)) => return Err(Trouble::Hub(error)),
            None => return Ok(Body::Whole(Bytes::new())),
        };
        let parts = stream::iter([Ok(first)]).chain(parts);
        let (head, tail) = self.around();
        let hashes = self.hashes().add(head.clone(), 0..0).await;
        let state = Some((Arc::clone(self), parts.boxed(), tail, hashes, 0u64));
        let sent = stream::unfold(state, |state| async move {
            let (file, mut parts, tail, hashes, passed) = state?;
            let pieces = match parts.next().await? {
                Ok(pieces) => pieces,
                Err(error) => {
                    file.note(Err(Trouble::Hub(error)));
                    return Some((vec![Err(OciError::Stopped)], None));
                }
            };
            let hashes = hashes.add_all(pieces.clone()).await;
            let passed = passed + length(&pieces);
            let mut sent: Vec<_> = pieces.into_iter().map(Ok).collect();
            if passed < file.entry().size {
                return Some((sent, Some((file, parts, tail, hashes, passed))));
            }
            // The last bytes are sent only after the whole file matched.
            match file.end(hashes.add(tail.clone(), 0..0).await).await {
                Ok(()) => {
                    sent.extend((!tail.is_empty()).then_some(Ok(tail)));
                    Some((sent, None))
                }
                Err(trouble) => {
                    file.note(Err(trouble));
                    Some((vec![Err(OciError::Stopped)], None))
                }
            }
        });
        let head = (!head.is_empty()).then_some(Ok(head));
        Ok(Body::Stream(stream::iter(head).chain(sent.flat_map(stream::iter)).fuse().boxed()))
    }

    /// The parts in order, each in pieces, as many on their way as there is room for.
    fn fetched(self: &Arc<Self>) -> BoxStream<'static, Result<Vec<Bytes>, HubError>> {
        let size = self.entry().size;
        let count = size.div_ceil(LAYER_PART);
        let (asking, fetching) = (Arc::clone(self), Arc::clone(self));
        stream::iter(0..count)
            .then(move |number| {
                let file = Arc::clone(&asking);
                async move {
                    let range = number * LAYER_PART..((number + 1) * LAYER_PART).min(size);
                    // In order, so that the part that is hashed next always has its room.
                    (range.clone(), file.fetcher.supply.space.room(range.end - range.start).await)
                }
            })
            .map(move |(range, room)| {
                let file = Arc::clone(&fetching);
                async move {
                    let task = Task::spawn(async move { file.fetcher.fetch(range, room).await });
                    task.join().await
                }
            })
            .buffered(WIDTH)
            .boxed()
    }
}
