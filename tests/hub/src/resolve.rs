//! `/resolve/`, `/api/resolve-cache/` and the CDN with its signed URLs.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::api::{decode, find, html, refuse, with_status};
use crate::bytes_of;
use crate::fault::{Kind, Place};
use crate::repo::{File, Repo};
use crate::server::{Shared, lock};

/// The characters that must be encoded in a path's segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().try_into().unwrap_or(u64::MAX)
}

/// Not a secret, but enough to recognise our own URLs.
fn signature(path: &str, expires: u64) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(format!("loopback:{path}:{expires}")).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// `[datasets/|spaces/|kernels/]{id}/resolve/{rev}/{path}`.
fn split(path: &str) -> Option<(&'static str, String, String, String)> {
    let path = path.trim_start_matches('/');
    let (kind, path) = match path.split_once('/') {
        Some(("datasets", rest)) => ("datasets", rest),
        Some(("spaces", rest)) => ("spaces", rest),
        Some(("kernels", rest)) => ("kernels", rest),
        _ => ("models", path),
    };
    let (id, rest) = path.split_once("/resolve/")?;
    let (revision, file) = rest.split_once('/')?;
    Some((kind, decode(id), decode(revision), decode(file)))
}

pub(crate) async fn resolve(shared: &Arc<Shared>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let Some((kind, id, revision, path)) = split(uri.path()) else { return refuse(404, "", "Not found") };
    let fault = shared.fault(Place::Resolve, &path);
    match &fault {
        Some(Kind::Status(status, extra)) => return with_status(*status, extra),
        Some(Kind::Delay(wait)) => tokio::time::sleep(*wait).await,
        Some(Kind::Stall(_)) => tokio::time::sleep(Duration::from_secs(3600)).await,
        Some(Kind::Html) => return html(),
        Some(Kind::MovedTo(server)) => {
            return Response::builder()
                .status(302)
                .header("location", format!("{server}{uri}"))
                .body(Body::empty())
                .expect("a response");
        }
        Some(Kind::Redirect(location)) => {
            return Response::builder()
                .status(302)
                .header("location", location)
                .body(Body::empty())
                .expect("a response");
        }
        _ => {}
    }
    let repo = match find(shared, kind, &id, Some(&revision), headers, true, uri) {
        Ok(repo) => repo,
        Err(response) => return *response,
    };
    let Some(file) = repo.files.get(&path) else { return refuse(404, "EntryNotFound", "Entry not found") };
    let encoded: Vec<String> = path.split('/').map(|s| utf8_percent_encode(s, SEGMENT).to_string()).collect();
    let dialect = &shared.options.dialect;
    if dialect.bytes_only {
        return without_headers(bytes_of::send(shared, method, headers, file, &repo, &path).await);
    }
    let etag = match () {
        () if fault == Some(Kind::ChangedEtag) => "0".repeat(file.etag().len()),
        // A different digest of the same length.
        () if dialect.odd_etags => file.etag().chars().rev().collect(),
        () => file.etag().to_owned(),
    };
    let linked_size = if dialect.no_size { 0 } else { file.size };
    let mut response = Response::builder().header("x-repo-commit", repo.commit()).header("accept-ranges", "bytes");
    if file.lfs {
        let path = format!("/{kind}/{}/{}/{}", repo.id, repo.commit(), encoded.join("/"));
        let expires = now() + u64::try_from(shared.options.signed_for.as_millis()).unwrap_or(u64::MAX / 2);
        let location = if dialect.own_bytes {
            format!("{}{}/plain{path}", shared.hub, dialect.prefix)
        } else if file.elsewhere {
            format!("{}/{}/{}", shared.options.byte_host, repo.id, encoded.join("/"))
        } else {
            format!("{}{path}?Expires={expires}&Signature={}", shared.cdn, signature(&path, expires))
        };
        response = response
            .status(302)
            .header("location", location)
            .header("x-linked-size", linked_size)
            .header("x-linked-etag", format!("\"{etag}\""));
        if let Some(xet) = &file.xet {
            let link = format!("<{}/api/{kind}/{}/xet-read-token/{revision}>; rel=\"xet-auth\"", shared.hub, repo.id);
            response = response.header("x-xet-hash", xet).header("link", link);
        }
        let body = if *method == Method::HEAD { Body::empty() } else { Body::from("Found. Redirecting") };
        return response.body(body).expect("a response");
    }
    if shared.options.legacy_resolve {
        return bytes_of::send(shared, method, headers, file, &repo, &path).await;
    }
    let name = if dialect.raw_location { path.replace(' ', "%20") } else { encoded.join("/") };
    let location = format!("{}/api/resolve-cache/{kind}/{}/{}/{name}", dialect.prefix, repo.id, repo.commit());
    let location = axum::http::HeaderValue::from_bytes(location.as_bytes()).expect("a header");
    response = response
        .status(307)
        .header("location", location)
        .header("etag", format!("\"{etag}\""))
        .header("x-linked-size", linked_size);
    response.body(Body::empty()).expect("a response")
}

/// `{kind}/{owner}/{name}/{commit}/{path}` or, for short ids, `{kind}/{name}/{commit}/{path}`.
fn find_by_commit(shared: &Shared, path: &str) -> Option<(Arc<Repo>, String, File)> {
    let path = decode(path.trim_start_matches('/'));
    let (kind, rest) = path.split_once('/')?;
    let repos = lock(&shared.repos);
    repos.iter().filter(|r| r.kind == kind).find_map(|repo| {
        let path = rest.strip_prefix(&repo.id)?.strip_prefix('/')?.strip_prefix(&repo.commit())?.strip_prefix('/')?;
        Some((Arc::clone(repo), path.to_owned(), repo.files.get(path)?.clone()))
    })
}

pub(crate) async fn cached(shared: &Arc<Shared>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    match find_by_commit(shared, uri.path().trim_start_matches("/api/resolve-cache/")) {
        Some((repo, path, file)) => bytes_of::send(shared, method, headers, &file, &repo, &path).await,
        None => refuse(404, "EntryNotFound", "Entry not found"),
    }
}

/// Serves bytes and nothing else.
pub(crate) async fn plain(shared: &Arc<Shared>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let Some((repo, path, file)) = find_by_commit(shared, uri.path().trim_start_matches("/plain/")) else {
        return with_status(404, &[]);
    };
    without_headers(bytes_of::send(shared, method, headers, &file, &repo, &path).await)
}

/// The answer without headers about the repo.
fn without_headers(mut response: Response) -> Response {
    for name in ["etag", "x-repo-commit"] {
        response.headers_mut().remove(name);
    }
    response
}

pub(crate) async fn cdn(shared: &Arc<Shared>, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let xml = |status: StatusCode, code: &str| {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        Response::builder()
            .status(status)
            .header("content-type", "application/xml")
            .body(Body::from(body))
            .expect("a response")
    };
    if headers.contains_key("authorization") {
        return xml(StatusCode::BAD_REQUEST, "InvalidArgument");
    }
    let query = uri.query().unwrap_or("");
    let value = |key: &str| query.split('&').filter_map(|p| p.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v);
    let expires: u64 = value("Expires").and_then(|v| v.parse().ok()).unwrap_or(0);
    if value("Signature") != Some(&signature(uri.path(), expires)) || expires < now() {
        return xml(StatusCode::FORBIDDEN, "AccessDenied");
    }
    match find_by_commit(shared, uri.path()) {
        Some((repo, path, file)) => bytes_of::send(shared, method, headers, &file, &repo, &path).await,
        None => xml(StatusCode::NOT_FOUND, "NoSuchKey"),
    }
}
