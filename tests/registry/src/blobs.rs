//! Requests for blobs: `HEAD` and `GET`, with ranges.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use hfget_loopback_hub::lock;

use crate::fault::{Kind, Place};
use crate::server::{Asked, Options, Shared, answer, cut, refuse};

/// The most bytes of a body that are sent at once.
const PIECE: usize = 64 << 10;

pub(crate) async fn serve(shared: &Shared, options: &Options, asked: &Asked, name: &str, digest: &str) -> Response {
    let place = if asked.method == "HEAD" { Place::BlobHead } else { Place::BlobGet };
    // The fault of a blob on the other host is applied there.
    let sends_away = options.blobs_elsewhere && !asked.away && asked.method == "GET";
    let fault = if sends_away { None } else { shared.fault(place, None) };
    if let Some(Kind::Status(status, headers)) = &fault {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        return answer(*status, &headers, "");
    }
    let found = lock(&shared.repos).get(name).and_then(|repo| repo.blobs.get(digest).cloned());
    let Some(mut bytes) = found else { return refuse(404, "BLOB_UNKNOWN", "blob unknown to registry") };
    if sends_away {
        let location = format!("http://{}/v2/{name}/blobs/{digest}?signature=secret", shared.away);
        return answer(307, &[("location", &location)], "");
    }
    if let Some(Kind::CorruptByte(at)) = fault
        && at < bytes.len()
    {
        let mut other = bytes.to_vec();
        other[at] ^= 1;
        bytes = other.into();
    }
    let total = bytes.len();
    let range = asked.header("range").filter(|_| options.ranges).and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let last = if last.is_empty() { total.checked_sub(1)? } else { last.parse().ok()? };
        Some((first.parse::<usize>().ok()?, last))
    });
    let (status, part, content_range) = match range {
        Some((first, last)) if first <= last && first < total => {
            let last = last.min(total - 1);
            (206, bytes.slice(first..=last), Some(format!("bytes {first}-{last}/{total}")))
        }
        Some(_) => return refuse(416, "RANGE_INVALID", "no such range"),
        None => (200, bytes, None),
    };
    let length = part.len().to_string();
    let mut headers = vec![("content-length", length.as_str()), ("docker-content-digest", digest)];
    if let Some(content_range) = &content_range {
        headers.push(("content-range", content_range));
    }
    if asked.method == "HEAD" {
        return answer(status, &headers, Body::empty());
    }
    match fault {
        Some(Kind::Cut(0)) => cut(),
        Some(Kind::Cut(n)) => {
            let broken = stream::once(async { Err(std::io::Error::other("cut")) });
            answer(
                status,
                &headers,
                Body::from_stream(pieces(part.slice(..n.min(part.len())), options.rate).chain(broken)),
            )
        }
        Some(Kind::Stall(n)) => {
            let silent = stream::once(std::future::pending());
            answer(
                status,
                &headers,
                Body::from_stream(pieces(part.slice(..n.min(part.len())), options.rate).chain(silent)),
            )
        }
        _ => answer(status, &headers, Body::from_stream(pieces(part, options.rate))),
    }
}

/// The bytes in small pieces, at a limited rate.
fn pieces(bytes: Bytes, rate: Option<u64>) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        let piece = left.split_to(PIECE.min(left.len()));
        if let Some(rate) = rate {
            tokio::time::sleep(std::time::Duration::from_secs_f64(piece.len() as f64 / rate as f64)).await;
        }
        Some((Ok(piece), left))
    })
}
