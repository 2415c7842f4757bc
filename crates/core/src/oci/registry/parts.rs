//! A blob in parts: for a registry, or a proxy in front of it, that breaks off large requests and accepts parts. A
//! registry gets parts only after it broke off a whole blob. `upload` sends whole blobs.
//!
//! The registry's `Range` says which bytes it has; the count of sent bytes does not. A registry gets whole blobs again
//! if it does not answer the first part with 202 and a `Range` that moved (Google's refuses the part, Amazon's answers
//! 201, GitHub's 416 above 4 MiB), or if the blob has another digest in the end.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use tracing::debug;
use url::Url;

use super::auth::Scope;
use super::feed::one;
use super::upload::Named;
use super::wire::{Ask, Wire, failed};
use crate::hub::Via;
use crate::model::OciDigest;
use crate::oci::{Blobstream, OciError};
use crate::progress::Silent;

/// The size of a part, which stays in memory until the registry has it. It is above the least size that Amazon's
/// registry accepts.
const PART: usize = 8 << 20;
/// A registry that asks for larger parts than this gets whole blobs.
const MOST: u64 = 64 << 20;
/// The header with the least size of a part.
const LEAST: &str = "oci-chunk-min-length";

/// Whether a registry is sent parts.
#[derive(Debug, Default)]
pub(super) struct Parts(AtomicU8);

const UNNEEDED: u8 = 0;
const WANTED: u8 = 1;
const REFUSED: u8 = 2;

impl Parts {
    /// It broke off a request after this many bytes.
    pub fn broke_off(&self, after: u64) {
        if after >= PART as u64 {
            let _ = self.0.compare_exchange(UNNEEDED, WANTED, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether a blob of this size is sent in parts.
    pub fn are_wanted(&self, size: u64) -> bool {
        self.0.load(Ordering::Relaxed) == WANTED && size > 2 * PART as u64
    }

    fn are_refused(&self) {
        self.0.store(REFUSED, Ordering::Relaxed);
    }
}

/// The end of the bytes that a `Range` states. Both no byte and one byte are `0-0`.
fn reached(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    if first != 0 {
        return None;
    }
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

/// An upload in parts.
struct Upload<'a> {
    wire: &'a Wire,
    what: String,
    url: Url,
    /// The bytes that the registry has.
    at: u64,
    /// Whether it accepted a part.
    shown: bool,
}

impl Wire {
    /// Sends a stream in parts.
    pub(super) async fn in_parts(&self, stream: Blobstream, size: u64, named: &Named) -> Result<OciDigest, OciError> {
        let mut stream = stream.fuse();
        let what = named.shown();
        let (url, headers) = self.begun(&what).await?;
        let least = headers.get(LEAST).and_then(|v| v.to_str().ok()?.parse().ok()).unwrap_or(0u64);
        if least > MOST {
            self.parts.are_refused();
            return Err(failed(self.place(&what), format!("the registry wants parts of {least} bytes"), true));
        }
        let part = PART.max(usize::try_from(least).unwrap_or(PART));
        let mut upload = Upload { wire: self, what, url, at: 0, shown: false };
        let mut left = Bytes::new();
        loop {
            let bytes = gather(&mut stream, &mut left, part).await?;
            if bytes.is_empty() {
                break;
            }
            let ends = upload.at + bytes.len() as u64;
            if ends > size {
                return Err(upload.counted(ends, size));
            }
            upload.send(bytes).await?;
        }
        if upload.at != size {
            return Err(upload.counted(upload.at, size));
        }
        let digest = named.digest(self)?;
        let url = upload.url.clone();
        let finished = self.persist(|| self.finish(&url, digest)).await;
        if finished.is_err() {
            // The registry confirmed each part, but the blob has another digest.
            self.parts.are_refused();
        }
        finished?;
        Ok(digest)
    }
}

/// The next bytes of a stream, at most `wanted`.
async fn gather(stream: &mut Fuse<Blobstream>, left: &mut Bytes, wanted: usize) -> Result<Bytes, OciError> {
    let mut part = BytesMut::with_capacity(wanted);
    while part.len() < wanted {
        if left.is_empty() {
            match stream.next().await {
                Some(bytes) => *left = bytes?,
                None => break,
            }
        }
        let taken = left.split_to(left.len().min(wanted - part.len()));
        part.extend_from_slice(&taken);
    }
    Ok(part.freeze())
}

impl Upload<'_> {
    fn counted(&self, came: u64, size: u64) -> OciError {
        let why = format!("expected {size} bytes, got {came}");
        OciError::Invalid { place: self.wire.place(&self.what), why }
    }

    fn lost(&self) -> OciError {
        failed(self.wire.place(&self.what), "the registry lost the upload", true)
    }

    /// Sends one part until the registry has it.
    async fn send(&mut self, mut bytes: Bytes) -> Result<(), OciError> {
        let mut failures = 0;
        while !bytes.is_empty() {
            let range = format!("{}-{}", self.at, self.at + bytes.len() as u64 - 1);
            let (url, wire) = (self.url.clone(), self.wire);
            let size = bytes.len() as u64;
            let sent = wire.send_stream(Method::PATCH, url, one(bytes.clone()), size, &self.what, Some(&range)).await;
            let (reached, error) = match sent {
                Ok((url, response)) if response.status() == StatusCode::ACCEPTED => {
                    self.url = wire.next(&url, response.headers())?;
                    (reached(response.headers()), None)
                }
                Ok((url, response)) => (None, Some(self.refused(&url, response).await)),
                Err(error) => (None, Some(error)),
            };
            let reached = match error {
                Some(error) if error.is_worth_retrying() && self.shown => {
                    failures += 1;
                    debug!(%error, at = self.at, "a part was not accepted");
                    wire.back_off(None, error, failures, &Silent).await?;
                    self.ask().await?
                }
                Some(error) => return Err(error),
                None => reached,
            };
            let ends = self.at + size;
            match reached {
                Some(reached) if (self.at..=ends).contains(&reached) && (self.shown || reached == ends) => {
                    bytes.advance(usize::try_from(reached - self.at).unwrap_or(usize::MAX).min(bytes.len()));
                    if reached > self.at {
                        failures = 0;
                        wire.http.retries.answered();
                    } else if failures == 0 {
                        // The registry accepts the part and discards it: another try would end the same way.
                        wire.parts.are_refused();
                        return Err(self.lost());
                    }
                    (self.at, self.shown) = (reached, true);
                }
                _ => {
                    wire.parts.are_refused();
                    return Err(self.lost());
                }
            }
        }
        Ok(())
    }

    /// The meaning of an unexpected answer.
    async fn refused(&self, url: &Url, response: Response) -> OciError {
        if crate::hub::is_passing(response.status()) {
            return self.wire.refusal(self.wire.place(&self.what), url, response).await;
        }
        // Amazon's registry answers 201 to a part, and loses the next one.
        self.wire.parts.are_refused();
        let why = format!("the registry answered {} to a part of it", response.status());
        failed(self.wire.place(&self.what), why, !self.shown)
    }

    /// Asks which bytes the registry has.
    async fn ask(&mut self) -> Result<Option<u64>, OciError> {
        let (wire, url) = (self.wire, self.url.clone());
        let headers = wire
            .persist(|| async {
                let (asked, response) = wire.once(Via::Api, &Ask::new(Method::GET, url.clone(), &Scope::Push)).await?;
                match response.status() {
                    StatusCode::NO_CONTENT | StatusCode::OK => Ok((asked, response.headers().clone())),
                    status if crate::hub::is_passing(status) => {
                        Err(wire.refusal(wire.place(&self.what), &asked, response).await)
                    }
                    // After a part broke off, not every registry knows which of its bytes were kept or are still
                    // being written.
                    _ => Err(self.lost()),
                }
            })
            .await;
        let (asked, headers) = match headers {
            Err(OciError::Failed { .. }) => return Err(self.lost()),
            other => other?,
        };
        if headers.contains_key(reqwest::header::LOCATION) {
            self.url = wire.next(&asked, &headers)?;
        }
        Ok(reached(&headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_of_an_upload_is_read_in_every_dialect_and_never_guessed() {
        let of = |text: &str| reached(&[(RANGE, text.parse().unwrap())].into_iter().collect());
        assert_eq!(of("0-999"), Some(1000));
        assert_eq!(of("bytes=0-999"), Some(1000));
        assert_eq!(of("0-0"), Some(0));
        for nothing in ["", "999", "5-9", "-1", "0-", "0-18446744073709551615", "a-b"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        assert_eq!(reached(&HeaderMap::new()), None);
    }
}
