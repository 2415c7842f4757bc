//! Uploads, which `POST` begins, `PATCH` fills and `PUT` ends; mounts of another repo's blobs.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hfget_loopback_hub::lock;

use crate::digest_of;
use crate::fault::{Kind, Place};
use crate::server::{Asked, Chunks, Location, Options, Shared, Upload, answer, cut, refuse};

pub(crate) async fn serve(
    shared: &Shared,
    options: &Options,
    asked: &Asked,
    name: &str,
    id: &str,
    body: Body,
) -> Response {
    let place = match asked.method.as_str() {
        "POST" => Place::Begin,
        "PATCH" => Place::Patch,
        "PUT" => Place::Put,
        _ => Place::Status,
    };
    let fault = shared.fault(place, asked.length);
    match &fault {
        Some(Kind::Status(status, headers)) => {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            // A connection that closes on unread bytes loses the answer too.
            drain(body).await;
            return answer(*status, &headers, "");
        }
        Some(Kind::SessionLost) => {
            lock(&shared.uploads).remove(id);
        }
        _ => {}
    }
    let known = lock(&shared.uploads).contains_key(id);
    match place {
        Place::Begin => begin(shared, options, asked, name),
        _ if !known => refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
        Place::Status => at(shared, options, name, id, 204),
        Place::Patch => patch(shared, options, asked, name, id, body, fault).await,
        _ => put(shared, asked, name, id, body, fault).await,
    }
}

/// Reads a body and discards it.
pub(crate) async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    while let Some(Ok(_)) = stream.next().await {}
}

fn begin(shared: &Shared, options: &Options, asked: &Asked, name: &str) -> Response {
    if let (Some(digest), Some(from), true) = (asked.query.get("mount"), asked.query.get("from"), options.mounts) {
        let mut repos = lock(&shared.repos);
        let blob = repos.get(from).and_then(|repo| repo.blobs.get(digest).cloned());
        if let Some(blob) = blob {
            repos.entry(name.to_owned()).or_default().blobs.insert(digest.clone(), blob);
            let location = format!("/v2/{name}/blobs/{digest}");
            return answer(201, &[("location", &location), ("docker-content-digest", digest)], "");
        }
    }
    let id = format!("upload-{}", shared.next.fetch_add(1, Ordering::Relaxed));
    lock(&shared.uploads).insert(id.clone(), Upload::default());
    at(shared, options, name, &id, 202)
}

/// The URL of an upload, and the bytes that it has.
fn at(shared: &Shared, options: &Options, name: &str, id: &str, status: u16) -> Response {
    let (length, requests) = lock(&shared.uploads).get(id).map_or((0, 0), |u| (u.bytes.len(), u.requests));
    // As Debian's registry does: a new URL after each request.
    let path = format!("/v2/{name}/blobs/uploads/{id}?_state={requests}-secret");
    let location = match options.location {
        Location::Whole => format!("http://{}{path}", shared.here),
        Location::Relative => path,
        Location::Foreign => format!("http://{}{path}", shared.away),
    };
    let range = format!("0-{}", length.saturating_sub(1));
    let min = options.chunk_min.map(|n| n.to_string());
    let mut headers = vec![("location", location.as_str()), ("range", range.as_str()), ("docker-upload-uuid", id)];
    if let Some(min) = &min {
        headers.push(("oci-chunk-min-length", min));
    }
    answer(status, &headers, "")
}

/// Reads a body into an upload until the body ends or a fault ends it.
async fn read(shared: &Shared, id: &str, body: Body, fault: Option<&Kind>, keeps: bool) -> bool {
    let (most, then) = match fault {
        Some(Kind::Cut(n)) => (*n, Some(Kind::Cut(0))),
        Some(Kind::Lose(n)) => (*n, Some(Kind::Lose(0))),
        Some(Kind::Stall(n)) => (*n, Some(Kind::Stall(0))),
        _ => (usize::MAX, None),
    };
    let mut came = 0;
    let mut stream = body.into_data_stream();
    loop {
        let piece = if came >= most { None } else { stream.next().await };
        let Some(piece) = piece else {
            match then {
                Some(Kind::Cut(_)) if came >= most => cut(),
                Some(Kind::Lose(_)) if came >= most => {
                    lock(&shared.uploads).remove(id);
                    cut()
                }
                Some(Kind::Stall(_)) if came >= most => std::future::pending().await,
                _ => return true,
            }
        };
        let Ok(piece) = piece else { return false };
        let piece: Bytes = piece.slice(..piece.len().min(most - came));
        came += piece.len();
        shared.taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if keeps && let Some(upload) = lock(&shared.uploads).get_mut(id) {
            upload.bytes.extend_from_slice(&piece);
        }
    }
}

async fn patch(
    shared: &Shared,
    options: &Options,
    asked: &Asked,
    name: &str,
    id: &str,
    body: Body,
    fault: Option<Kind>,
) -> Response {
    if options.chunks == Chunks::Refused && asked.header("content-range").is_some() {
        drain(body).await;
        return refuse(400, "UNSUPPORTED", "chunked uploads are not supported");
    }
    if let Chunks::AtMost(most) = options.chunks
        && asked.length.is_some_and(|length| length > most)
    {
        drain(body).await;
        return refuse(416, "BLOB_UPLOAD_INVALID", "the chunk is too large");
    }
    let (have, before) = lock(&shared.uploads).get(id).map_or((0, 0), |u| (u.bytes.len() as u64, u.requests));
    if let Some(range) = asked.header("content-range") {
        let first = range.split_once('-').and_then(|(first, _)| first.parse::<u64>().ok());
        if first != Some(have) && options.chunks != Chunks::Lost {
            drain(body).await;
            return at(shared, options, name, id, 416);
        }
    }
    let keeps = before == 0 || options.chunks != Chunks::Lost;
    if let Some(upload) = lock(&shared.uploads).get_mut(id) {
        upload.requests += 1;
    }
    if !read(shared, id, body, fault.as_ref(), keeps).await {
        return refuse(400, "BLOB_UPLOAD_INVALID", "the body broke off");
    }
    at(shared, options, name, id, if options.chunks == Chunks::Lost { 201 } else { 202 })
}

async fn put(shared: &Shared, asked: &Asked, name: &str, id: &str, body: Body, fault: Option<Kind>) -> Response {
    if !read(shared, id, body, fault.as_ref(), true).await {
        // A body that broke off does not end the upload.
        return refuse(400, "BLOB_UPLOAD_INVALID", "the body broke off");
    }
    let Some(upload) = lock(&shared.uploads).remove(id) else {
        return refuse(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    };
    let mut bytes = upload.bytes;
    if let Some(Kind::CorruptByte(at)) = fault
        && let Some(byte) = bytes.get_mut(at)
    {
        *byte ^= 1;
    }
    let Some(digest) = asked.query.get("digest") else { return refuse(400, "DIGEST_INVALID", "no digest") };
    if digest_of(&bytes) != *digest || fault == Some(Kind::DigestRefused) {
        return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    if fault != Some(Kind::NotKept) {
        let mut repos = lock(&shared.repos);
        repos.entry(name.to_owned()).or_default().blobs.insert(digest.clone(), bytes.into());
    }
    let location = format!("/v2/{name}/blobs/{digest}");
    answer(201, &[("location", &location), ("docker-content-digest", digest)], "")
}
