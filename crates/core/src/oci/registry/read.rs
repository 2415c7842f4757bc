//! The bytes of a blob from a registry, by ranges. A read that broke off continues at the same byte. The reader of a
//! whole blob hashes it and reports a wrong digest, so the digest is not compared here.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::auth::Scope;
use super::wire::{Ask, Wire};
use crate::hub::{HubError, Via, length_of, parse_content_range};
use crate::model::OciDigest;
use crate::oci::{Blobstream, OciError};
use crate::progress::Silent;

/// A stream of bytes, and the offset of its next byte.
struct Answer {
    url: Url,
    response: Response,
    /// Bytes before the requested range, from a registry that ignores ranges.
    skip: u64,
}

struct Reader {
    wire: Arc<Wire>,
    digest: OciDigest,
    at: u64,
    end: u64,
    answer: Option<Answer>,
    failures: u32,
}

/// A range of a blob.
pub(super) async fn open(wire: Arc<Wire>, digest: OciDigest, range: Range<u64>) -> Result<Blobstream, OciError> {
    if range.is_empty() {
        return Ok(stream::empty().boxed());
    }
    let answer = wire.persist(|| ask(&wire, &digest, range.clone())).await?;
    let reader = Reader { wire, digest, at: range.start, end: range.end, answer: Some(answer), failures: 0 };
    let read =
        stream::try_unfold(reader, |mut reader| async move { Ok(reader.next().await?.map(|bytes| (bytes, reader))) });
    Ok(read.boxed())
}

async fn ask(wire: &Wire, digest: &OciDigest, range: Range<u64>) -> Result<Answer, OciError> {
    let place = || wire.place(&digest.to_string());
    let wanted = format!("{}-{}", range.start, range.end.saturating_sub(1));
    let ask = Ask::new(Method::GET, wire.url(&format!("blobs/{digest}")).await?, &Scope::Pull);
    let (url, response) = wire.once(Via::Data, &ask.with(RANGE, &format!("bytes={wanted}"))).await?;
    let length = length_of(response.headers());
    let short = |total: u64| OciError::Invalid {
        place: place(),
        why: format!("it has {total} bytes, but bytes {wanted} were requested"),
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let said =
                response.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or("no Content-Range");
            let covers = parse_content_range(said).filter(|(covers, _)| covers.start == range.start);
            let Some((covers, total)) = covers else {
                let got = crate::text::printable(said).into_owned();
                return Err(HubError::WrongRange { url: (&url).into(), wanted, got }.into());
            };
            match total {
                Some(total) if covers.end.max(range.end) > total => Err(short(total)),
                _ => Ok(Answer { url, response, skip: 0 }),
            }
        }
        StatusCode::OK => match length {
            Some(length) if length < range.end => Err(short(length)),
            _ => Ok(Answer { url, response, skip: range.start }),
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let why = format!("it has no bytes {wanted}");
            Err(OciError::Invalid { place: place(), why })
        }
        _ => Err(wire.refusal(place(), &url, response).await),
    }
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, OciError> {
        while self.at < self.end {
            match self.piece().await {
                Ok(bytes) => {
                    self.at += bytes.len() as u64;
                    self.failures = 0;
                    self.wire.http.retries.arrived(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                Err(error) if error.is_worth_retrying() => {
                    self.answer = None;
                    self.failures += 1;
                    self.wire.back_off(None, error, self.failures, &Silent).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The next requested bytes.
    async fn piece(&mut self) -> Result<Bytes, OciError> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            none => none.insert(ask(&self.wire, &self.digest, self.at..self.end).await?),
        };
        let retries = &self.wire.http.retries;
        let window = retries.timing().stall_timeout;
        loop {
            let next = retries.within(&answer.url, "bytes", window, answer.response.chunk()).await?;
            let next = next.map_err(|e| HubError::of_library(&answer.url, &e))?;
            let Some(mut bytes) = next else {
                let (got, expected) = (self.at, self.end);
                return Err(HubError::CutShort { url: (&answer.url).into(), got, expected }.into());
            };
            let skipped = usize::try_from(answer.skip).unwrap_or(usize::MAX).min(bytes.len());
            answer.skip -= skipped as u64;
            bytes = bytes.slice(skipped..);
            bytes.truncate(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                return Ok(bytes);
            }
        }
    }
}
