//! The stream of a blob's bytes into a request: the count of bytes, which side must act next, and how the maker of the
//! bytes ended. `upload` makes the request.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::Fuse;
use futures_util::{Stream, StreamExt as _, stream};
use url::Url;

use crate::hub::HubError;
use crate::mutex::lock;
use crate::oci::{Blobstream, OciError};

/// The time between two checks whether the registry takes bytes.
const LOOK: Duration = Duration::from_millis(250);
/// Bytes in one write to the network: few enough to see progress on a slow line.
const PIECE: usize = 256 << 10;
/// The least rate, in bytes a second, at which a registry stores and hashes a blob after the last byte: some registries
/// answer only after they have copied it.
const SETTLES: u64 = 20 << 20;

/// A stream that is the body of a request.
pub(super) struct Feed {
    stream: Fuse<Blobstream>,
    /// The bytes that the maker gave and that were not sent yet.
    left: Bytes,
    /// The count of bytes that the maker gave.
    made: u64,
    size: u64,
    place: String,
    meter: Meter,
}

/// The state of a stream.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<Mutex<State>>);

struct State {
    /// Either side made progress.
    at: Instant,
    /// Whether it is the maker's turn; otherwise it is the registry's.
    maker: bool,
    over: bool,
    came: u64,
    error: Option<OciError>,
}

impl Default for State {
    fn default() -> Self {
        State { at: Instant::now(), maker: false, over: false, came: 0, error: None }
    }
}

impl Meter {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// The maker's reason for ending the stream before its last byte.
    pub fn take_error(&self) -> Option<OciError> {
        self.state().error.take()
    }

    /// The count of bytes that were handed to the network.
    pub fn came(&self) -> u64 {
        self.state().came
    }

    /// Returns if the registry takes nothing for a `window`, or does not answer after the last byte. Time that the
    /// maker waits for bytes does not count: the maker has its own limit.
    pub async fn registry_is_silent(&self, url: &Url, size: u64, window: Duration, answer: Duration) -> HubError {
        let answer = answer.saturating_add(Duration::from_secs(size / SETTLES));
        self.state().at = Instant::now();
        loop {
            tokio::time::sleep(LOOK.min(window / 4)).await;
            let state = self.state();
            let (what, after) = if state.over { ("answer", answer) } else { ("room for more bytes", window) };
            if !state.maker && state.at.elapsed() > after {
                return HubError::Timeout { url: url.into(), what, after };
            }
        }
    }
}

impl Feed {
    /// A stream that must have `size` bytes, and its meter.
    pub fn new(stream: Blobstream, size: u64, place: String) -> (Self, Meter) {
        let meter = Meter::default();
        (Feed { stream: stream.fuse(), left: Bytes::new(), made: 0, size, place, meter: meter.clone() }, meter)
    }
}

impl Feed {
    fn counted(&self) -> OciError {
        let why = format!("expected {} bytes, got {}", self.size, self.made);
        OciError::Invalid { place: self.place.clone(), why }
    }
}

impl Stream for Feed {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let feed = &mut *self;
        while feed.left.is_empty() {
            feed.meter.state().maker = true;
            let next = match feed.stream.poll_next_unpin(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            };
            let mut state = feed.meter.state();
            (state.maker, state.at) = (false, Instant::now());
            let error = match next {
                Some(Ok(bytes)) => {
                    feed.made += bytes.len() as u64;
                    feed.left = bytes;
                    if feed.made <= feed.size {
                        continue;
                    }
                    feed.left = Bytes::new();
                    feed.counted()
                }
                Some(Err(error)) => error,
                None if feed.made < feed.size => feed.counted(),
                None => {
                    state.over = true;
                    return Poll::Ready(None);
                }
            };
            state.error.get_or_insert(error);
            return Poll::Ready(Some(Err(io::Error::other("the bytes ended"))));
        }
        let piece = feed.left.split_to(feed.left.len().min(PIECE));
        let mut state = feed.meter.state();
        state.came += piece.len() as u64;
        state.over = state.came >= feed.size;
        state.at = Instant::now();
        Poll::Ready(Some(Ok(piece)))
    }
}

/// Bytes in memory as a stream.
pub(super) fn one(bytes: Bytes) -> Blobstream {
    stream::iter([Ok(bytes)]).boxed()
}
