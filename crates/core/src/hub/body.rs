//! The body of an answer: its bytes as they come, and every way in which they can differ from the requested range.
//! `open` makes the request.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::Response;
use url::Url;

use super::host::name_of;
use super::http1::Dense;
use super::patience::Pace;
use super::xet::XetBody;
use super::{Hub, HubError, Retries};

/// A body that is being received.
#[derive(Debug)]
pub struct Body<'a> {
    retries: &'a Retries,
    url: Url,
    source: BytesFrom<'a>,
    /// The place of its first byte in the file; before the start of the requested range if the server ignored the
    /// range.
    pub start: u64,
    at: u64,
    end: u64,
    pace: Pace,
    /// The time spent waiting for it.
    waited: Duration,
    /// The error if the body is too slow, so that the next bytes are not waited for.
    late: Option<HubError>,
}

/// The stream that gives its bytes.
pub(super) enum BytesFrom<'a> {
    /// The body of an HTTP answer.
    Http(Response),
    /// A stream over Xet, and its Hub.
    Xet(XetBody, &'a Hub),
    /// Any other stream.
    Stream(BoxStream<'a, Result<Bytes, HubError>>),
}

impl std::fmt::Debug for BytesFrom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BytesFrom::Http(_) => "Http",
            BytesFrom::Xet(..) => "Xet",
            BytesFrom::Stream(_) => "Stream",
        })
    }
}

impl<'a> Body<'a> {
    /// A range that comes as a stream of its own.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code))]
    pub(crate) fn of_stream(
        retries: &'a Retries,
        url: Url,
        stream: BoxStream<'a, Result<Bytes, HubError>>,
        covers: Range<u64>,
    ) -> Self {
        Body::new(retries, url, BytesFrom::Stream(stream), covers)
    }

    pub(super) fn new(retries: &'a Retries, url: Url, source: BytesFrom<'a>, covers: Range<u64>) -> Self {
        Body {
            retries,
            url,
            source,
            start: covers.start,
            at: covers.start,
            end: covers.end,
            pace: Pace::default(),
            waited: Duration::ZERO,
            late: None,
        }
    }
}

impl Body<'_> {
    /// Whether it comes over Xet.
    pub(crate) fn is_over_xet(&self) -> bool {
        matches!(self.source, BytesFrom::Xet(..))
    }

    /// Whether chunks can be kept as they are: their memory has nothing but bytes of this body. Otherwise a chunk may keep
    /// much more memory than it has bytes.
    pub(crate) fn is_dense(&self) -> bool {
        matches!(&self.source, BytesFrom::Http(response) if response.extensions().get::<Dense>().is_some())
    }

    /// The next bytes, or `None` after the last; an error if the body ends early, stalls or is too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HubError> {
        // The bytes before the error were worth keeping, so the error comes only now.
        if let Some(error) = self.late.take() {
            return Err(error);
        }
        let asked = Instant::now();
        let next = match &mut self.source {
            BytesFrom::Xet(body, hub) => body.chunk(hub, &self.url).await?,
            BytesFrom::Http(response) => {
                let wait = self.retries.timing().stall_timeout;
                let next = self.retries.within(&self.url, "bytes", wait, response.chunk()).await?;
                next.map_err(|e| HubError::of_library(&self.url, &e))?
            }
            BytesFrom::Stream(stream) => {
                let wait = self.retries.timing().stall_timeout;
                self.retries.within(&self.url, "bytes", wait, stream.next()).await?.transpose()?
            }
        };
        let waited = asked.elapsed();
        self.waited += waited;
        match next {
            Some(bytes) => {
                self.at += bytes.len() as u64;
                if self.at > self.end {
                    return Err(HubError::WrongLength { url: (&self.url).into(), got: self.at, expected: self.end });
                }
                let host = self.retries.hosts.of(name_of(&self.url));
                if self.at == self.end {
                    host.gave(self.end - self.start, self.waited);
                } else if let BytesFrom::Http(_) = self.source {
                    let window = self.retries.timing().stall_timeout;
                    if let Some(came) = self.pace.is_too_slow(waited, bytes.len(), window, host.least()) {
                        self.late = Some(HubError::Trickle { url: (&self.url).into(), came, window });
                    }
                }
                Ok(Some(bytes))
            }
            None if self.at < self.end => Err(HubError::CutShort {
                url: (&self.url).into(),
                got: self.at - self.start,
                expected: self.end - self.start,
            }),
            None => Ok(None),
        }
    }
}
