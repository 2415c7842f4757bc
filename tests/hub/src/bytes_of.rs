//! A file's bytes: ranges, rate, and the faults in the middle of a body.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use crate::api::{html, with_status};
use crate::fault::{Kind, Place};
use crate::repo::{File, Repo};
use crate::server::Shared;

/// Bytes of one write.
const CHUNK: usize = 64 << 10;

/// How a body ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Whole,
    Cut,
    Stall,
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n` within `size`; `None` for anything else.
fn parse_range(text: &str, size: usize) -> Option<Result<(usize, usize), ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = if first.is_empty() {
        let n: usize = last.parse().ok()?;
        (size.saturating_sub(n), size)
    } else {
        let first: usize = first.parse().ok()?;
        let end = if last.is_empty() { size } else { last.parse::<usize>().ok()?.saturating_add(1).min(size) };
        (first, end)
    };
    Some(if range.0 < range.1 { Ok(range) } else { Err(()) })
}

pub(crate) async fn send(
    shared: &Arc<Shared>,
    method: &Method,
    headers: &HeaderMap,
    file: &File,
    repo: &Repo,
    path: &str,
) -> Response {
    let range = headers.get("range").and_then(|v| v.to_str().ok());
    let offset = range.and_then(|r| parse_range(r, file.content.len())?.ok()).map_or(0, |(start, _)| start);
    let fault = if *method == Method::GET { shared.fault_from(Place::Bytes, path, offset as u64) } else { None };
    match &fault {
        Some(Kind::Status(status, extra)) => return with_status(*status, extra),
        Some(Kind::Html) => return html(),
        Some(Kind::Delay(wait)) => tokio::time::sleep(*wait).await,
        _ => {}
    }
    let mut content = file.content.clone();
    match &fault {
        Some(Kind::CorruptByte(at)) if *at < content.len() => {
            let mut other = content.to_vec();
            other[*at] ^= 0x40;
            content = other.into();
        }
        Some(Kind::Short(n)) => content.truncate(content.len().saturating_sub(*n)),
        Some(Kind::Long(n)) => content = [&content[..], &vec![b'x'; *n]].concat().into(),
        _ => {}
    }
    let size = content.len();
    let asked = range.filter(|_| fault != Some(Kind::IgnoreRange)).and_then(|r| parse_range(r, size));
    let etag = match () {
        () if fault == Some(Kind::ChangedEtag) => "0".repeat(file.etag().len()),
        () if shared.options.dialect.odd_etags => file.etag().chars().rev().collect(),
        () => file.etag().to_owned(),
    };
    let mut response = Response::builder()
        .header("etag", format!("\"{etag}\""))
        .header("accept-ranges", "bytes")
        .header("x-repo-commit", repo.commit())
        .header("content-type", "application/octet-stream");
    if fault == Some(Kind::Encoded) {
        response = response.header("content-encoding", "gzip");
    }
    let (start, end) = match asked {
        None => (0, size),
        Some(Ok((start, end))) => {
            let shift = usize::from(fault == Some(Kind::WrongContentRange));
            response = response
                .status(206)
                .header("content-range", format!("bytes {}-{}/{size}", start + shift, end - 1 + shift));
            (start, end)
        }
        Some(Err(())) => {
            return response
                .status(416)
                .header("content-range", format!("bytes */{size}"))
                .body(Body::empty())
                .expect("a response");
        }
    };
    let mut body = content.slice(start..end);
    if fault == Some(Kind::Replaced) {
        body = body.iter().map(|b| b.wrapping_add(1)).collect();
    }
    let length = body.len();
    match &fault {
        Some(Kind::Long(_)) => {}
        Some(Kind::WrongLength(by)) => response = response.header("content-length", (length as i64 + by).max(0)),
        _ => response = response.header("content-length", length),
    }
    if *method == Method::HEAD {
        return response.body(Body::empty()).expect("a response");
    }
    let (until, ending) = match &fault {
        Some(Kind::Cut(n)) => ((*n).min(length), End::Cut),
        Some(Kind::Stall(n)) => ((*n).min(length), End::Stall),
        // The server itself would refuse a body that is longer than promised, so the body ends early instead.
        Some(Kind::WrongLength(by)) if *by < 0 => ((length as i64 + by).max(0) as usize, End::Whole),
        Some(Kind::WrongLength(_)) => (length, End::Cut),
        _ => (length, End::Whole),
    };
    let rate = match &fault {
        Some(Kind::Slow(rate)) => Some(*rate),
        _ => shared.options.rate,
    };
    response.body(Body::from_stream(chunks(Arc::clone(shared), body.slice(..until), ending, rate))).expect("a response")
}

/// A body with a rate in bytes a second.
pub(crate) async fn dripped(shared: &Arc<Shared>, response: Response, rate: u64) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove("content-length");
    let whole = axum::body::to_bytes(body, usize::MAX).await.expect("a body of ours");
    Response::from_parts(parts, Body::from_stream(chunks(Arc::clone(shared), whole, End::Whole, Some(rate))))
}

fn chunks(
    shared: Arc<Shared>,
    body: Bytes,
    ending: End,
    rate: Option<u64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::unfold((shared, body, false), move |(shared, mut body, over)| async move {
        if over {
            return None;
        }
        if shared.down.load(std::sync::atomic::Ordering::Relaxed) {
            return Some((Err(io::Error::other("down")), (shared, body, true)));
        }
        if body.is_empty() {
            return match ending {
                End::Whole => None,
                End::Cut => Some((Err(io::Error::other("cut, as ordered")), (shared, body, true))),
                End::Stall => {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    None
                }
            };
        }
        let size = rate.map_or(CHUNK, |r| usize::try_from(r / 20).unwrap_or(CHUNK).clamp(1, CHUNK)).min(body.len());
        let chunk = body.split_to(size);
        match rate {
            Some(rate) => tokio::time::sleep(Duration::from_secs_f64(size as f64 / rate as f64)).await,
            None => tokio::task::yield_now().await,
        }
        shared.sent.fetch_add(chunk.len() as u64, std::sync::atomic::Ordering::Relaxed);
        Some((Ok(chunk), (shared, body, false)))
    })
}
