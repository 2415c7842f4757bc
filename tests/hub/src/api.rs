//! The JSON endpoints: repo info, listing, paths-info, refs, whoami; and the errors with their codes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::fault::{Kind, Place};
use crate::repo::{Access, File, Repo};
use crate::server::{Dialect, Shared, lock};

/// A name as it was before it was encoded for a URL.
pub fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// An error answer in the Hub's form.
pub(crate) fn refuse(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-error-code", code)
        .header("x-error-message", message)
        .body(Body::from(json!({ "error": message }).to_string()))
        .expect("a response")
}

pub(crate) fn reply(value: &Value) -> Response {
    Response::builder()
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from(value.to_string()))
        .expect("a response")
}

/// A repo by id, kind and revision, or the refusal or redirect that the real Hub would send.
pub(crate) fn find(
    shared: &Shared,
    kind: &str,
    id: &str,
    revision: Option<&str>,
    headers: &HeaderMap,
    files: bool,
    uri: &Uri,
) -> Result<std::sync::Arc<Repo>, Box<Response>> {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok());
    let known = authorization.is_some_and(|value| shared.knows(value));
    if authorization.is_some() && !known {
        return Err(Box::new(refuse(401, "", "Invalid credentials in Authorization header")));
    }
    let repos = lock(&shared.repos);
    if let Some(moved) = repos.iter().find(|r| r.kind == kind && r.old_names.iter().any(|n| n == id)) {
        let location = uri.to_string().replacen(id, &moved.id, 1);
        let response =
            Response::builder().status(307).header("location", location).body(Body::from("Temporary Redirect"));
        return Err(Box::new(response.expect("a response")));
    }
    let missing = || {
        let (status, message) =
            if known { (404, "Repository not found") } else { (401, "Invalid username or password.") };
        Box::new(refuse(status, "RepoNotFound", message))
    };
    let named: Vec<_> = repos.iter().filter(|r| r.kind == kind && r.id == id).collect();
    // An earlier commit is asked for by its id.
    let earlier = named.iter().find(|r| revision == Some(&*r.commit()));
    let repo = earlier.or(named.first()).map(|repo| std::sync::Arc::clone(repo)).ok_or_else(missing)?;
    match repo.access {
        Access::Private if !known => return Err(missing()),
        Access::Disabled => return Err(Box::new(refuse(403, "DisabledRepo", "Access to this resource is disabled."))),
        Access::Gated if files && !known => {
            let message = format!(
                "Access to model {id} is restricted. You must have access to it and be authenticated to access it. Please log in."
            );
            return Err(Box::new(refuse(401, "GatedRepo", &message)));
        }
        Access::GatedAway if files => {
            let status = if known { 403 } else { 401 };
            return Err(Box::new(refuse(
                status,
                "GatedRepo",
                &format!("Access to model {id} is restricted and you are not in the authorized list."),
            )));
        }
        _ => {}
    }
    match revision {
        Some(revision) if revision != repo.commit() && !repo.revisions.iter().any(|r| r == revision) => {
            Err(Box::new(refuse(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"))))
        }
        _ => Ok(repo),
    }
}

/// `models/{id}[/...]` as kind, id and the rest.
fn split(path: &str) -> Option<(&str, String, Vec<&str>)> {
    let parts: Vec<&str> = path.trim_start_matches("/api/").split('/').collect();
    let (kind, rest) = parts.split_first()?;
    let verb = |s: &&str| matches!(*s, "revision" | "tree" | "paths-info" | "refs" | "xet-read-token");
    let at = rest.iter().position(verb).unwrap_or(rest.len());
    if at == 0 || at > 2 {
        return None;
    }
    Some((kind, decode(&rest[..at].join("/")), rest[at..].to_vec()))
}

pub(crate) async fn serve(shared: &Arc<Shared>, uri: &Uri, headers: &HeaderMap, body: &str) -> Response {
    if uri.path() == "/api/whoami-v2" {
        return match headers.get("authorization").and_then(|v| v.to_str().ok()) {
            Some(value) if shared.knows(value) => {
                reply(&json!({ "name": "loopback", "type": "user", "orgs": [], "auth": { "type": "access_token" } }))
            }
            _ => refuse(401, "", "Invalid username or password."),
        };
    }
    let Some((kind, id, rest)) = split(uri.path()) else { return refuse(404, "", "Not found") };
    let place = match rest.first() {
        Some(&"tree") => Place::Tree,
        Some(&"refs") => Place::Refs,
        Some(&"xet-read-token") => Place::XetToken,
        _ => Place::Api,
    };
    let dialect = &shared.options.dialect;
    if dialect.knows_no_queries && uri.query().is_some_and(|q| q.contains("securityStatus") || q.contains("expand")) {
        return with_status(404, &[]);
    }
    if let Some(status) = dialect.no_tree.filter(|_| place == Place::Tree) {
        return with_status(status, &[]);
    }
    let mut endless = false;
    let mut slow = None;
    match shared.fault(place, &id) {
        Some(Kind::Status(status, extra)) => return with_status(status, &extra),
        Some(Kind::Delay(wait)) => tokio::time::sleep(wait).await,
        Some(Kind::Stall(_)) => tokio::time::sleep(Duration::from_secs(3600)).await,
        Some(Kind::Html) => return html(),
        Some(Kind::Redirect(location)) => {
            return Response::builder()
                .status(302)
                .header("location", location)
                .body(Body::empty())
                .expect("a response");
        }
        Some(Kind::MovedTo(server)) => {
            return Response::builder()
                .status(301)
                .header("location", format!("{server}{uri}"))
                .body(Body::empty())
                .expect("a response");
        }
        Some(Kind::Body(text)) => {
            return Response::builder()
                .header("content-type", "application/json")
                .body(Body::from(text))
                .expect("a response");
        }
        Some(Kind::EndlessListing) => endless = true,
        Some(Kind::Slow(rate)) => slow = Some(rate),
        _ => {}
    }
    let revision = match rest.as_slice() {
        ["refs"] | [] => None,
        [_, revision, ..] => Some(decode(revision)),
        _ => return refuse(404, "", "Not found"),
    };
    // The listing of a gated repo is open; its files are not.
    let of_files = place == Place::XetToken;
    let repo = match find(shared, kind, &id, revision.as_deref(), headers, of_files, uri) {
        Ok(repo) => repo,
        Err(response) => return *response,
    };
    let response = match rest.first() {
        None | Some(&"revision") => reply(&info(&repo, uri, dialect)),
        Some(&"tree") => tree(shared, &repo, uri, endless, &rest),
        Some(&"paths-info") => paths_info(&repo, body),
        Some(&"refs") => refs(&repo),
        _ => xet_token(shared),
    };
    match slow {
        Some(rate) => crate::bytes_of::dripped(shared, response, rate).await,
        None => response,
    }
}

/// `{accessToken, exp, casUrl}`, in headers too.
fn xet_token(shared: &Shared) -> Response {
    let Some(cas) = &shared.options.cas else { return refuse(404, "", "no Xet token here: this Hub has no CAS") };
    let (token, exp) = ("xet_loopback_token", crate::resolve::now() / 1000 + 3600);
    let body = json!({ "accessToken": token, "exp": exp, "casUrl": cas }).to_string();
    Response::builder()
        .header("content-type", "application/json")
        .header("x-xet-access-token", token)
        .header("x-xet-token-expiration", exp)
        .header("x-xet-cas-url", cas)
        .body(Body::from(body))
        .expect("a response")
}

/// A web page instead of the answer.
pub(crate) fn html() -> Response {
    let page = "<!doctype html><title>Sign in</title><p>Please sign in to the network.</p>";
    Response::builder().header("content-type", "text/html; charset=utf-8").body(Body::from(page)).expect("a response")
}

pub(crate) fn with_status(status: u16, extra: &[(&'static str, String)]) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in extra {
        response = response.header(*name, value);
    }
    response.body(Body::from("{\"error\":\"as ordered\"}")).expect("a response")
}

fn info(repo: &Repo, uri: &Uri, dialect: &Dialect) -> Value {
    let blobs = !dialect.no_blobs && uri.query().is_some_and(|q| q.to_ascii_lowercase().contains("blobs=true"));
    let siblings: Vec<Value> = repo
        .files
        .iter()
        .map(|(path, file)| {
            let mut row = json!({ "rfilename": path });
            if blobs {
                row["size"] = json!(file.size);
                row["blobId"] = json!(file.oid);
                if file.lfs {
                    row["lfs"] = json!({ "sha256": file.sha256, "size": file.size, "pointerSize": 134 });
                }
            }
            row
        })
        .collect();
    let mut info = json!({
        "_id": "6537e1a5b2ff3d3b0a4f0001",
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.id.split_once('/').map(|(owner, _)| owner),
        "sha": repo.commit(),
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "private": repo.access == Access::Private,
        "gated": if matches!(repo.access, Access::Gated | Access::GatedAway) { json!("manual") } else { json!(false) },
        "disabled": false,
        "downloads": 1,
        "likes": 0,
        "tags": ["license:apache-2.0"],
        "siblings": siblings,
        "securityRepoStatus": { "scansDone": true, "filesWithIssues": repo.issues.iter()
            .map(|(path, level)| json!({ "path": path, "level": level })).collect::<Vec<_>>() },
    });
    if dialect.no_siblings {
        info.as_object_mut().map(|info| info.remove("siblings"));
    }
    info
}

fn entry(path: &str, file: &File) -> Value {
    let mut row = json!({ "type": "file", "oid": file.oid, "size": file.size, "path": path });
    if file.lfs {
        row["lfs"] = json!({ "oid": file.sha256, "size": file.size, "pointerSize": 134 });
    }
    if let Some(xet) = &file.xet {
        row["xetHash"] = json!(xet);
    }
    row
}

/// A row of a listing.
enum Row<'a> {
    Folder(&'a str),
    File(&'a str, &'a File),
    /// A raw name, with a size in bytes.
    Raw(&'a str, u64),
}

impl Row<'_> {
    fn json(&self) -> Value {
        match self {
            Row::Folder(path) => json!({ "type": "directory", "oid": "0".repeat(40), "size": 0, "path": path }),
            Row::File(path, file) => entry(path, file),
            Row::Raw(path, size) => {
                json!({ "type": "file", "oid": "ce013625030ba8dba906f756967f9e9ca394464a", "size": size, "path": path })
            }
        }
    }
}

fn tree(shared: &Shared, repo: &Repo, uri: &Uri, endless: bool, rest: &[&str]) -> Response {
    let query = uri.query().unwrap_or("");
    let value =
        |key: &str| query.split('&').filter_map(|p| p.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| decode(v));
    let recursive = !shared.options.flat && value("recursive").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let below =
        rest.get(2..).map(|p| decode(&p.join("/"))).filter(|p| !p.is_empty()).map(|p| p + "/").unwrap_or_default();
    // Only the requested page of a long listing becomes JSON.
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut before = "";
    for (path, file) in repo.files.iter().filter(|(path, _)| path.starts_with(&below)) {
        let inner = &path[below.len()..];
        for (at, _) in inner.match_indices('/') {
            let at = below.len() + at;
            // The paths are sorted, so the files of one folder are neighbours.
            if !before.starts_with(&path[..=at]) {
                rows.push(Row::Folder(&path[..at]));
            }
            if !recursive {
                break;
            }
        }
        if recursive || !inner.contains('/') {
            rows.push(Row::File(path, file));
        }
        before = path;
    }
    rows.extend(repo.raw.iter().map(|(name, size)| Row::Raw(name, *size)));
    let start: usize = value("cursor").and_then(|c| c.parse().ok()).unwrap_or(0);
    let size =
        value("limit").and_then(|l| l.parse().ok()).unwrap_or(shared.options.page_size).min(shared.options.page_size);
    let end = (start + size).min(rows.len());
    let mut page: Vec<Value> = rows.get(start.min(end)..end).unwrap_or_default().iter().map(Row::json).collect();
    if shared.options.dialect.no_lfs {
        page.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove("lfs")));
    }
    let mut response = Response::builder().header("content-type", "application/json; charset=utf-8");
    if end < rows.len() || endless {
        let cursor = if endless { start + size } else { end };
        response = response.header(
            "link",
            format!(
                "<{}{}?recursive={recursive}&cursor={cursor}>; rel=\"next\"",
                shared.options.dialect.link_to.as_ref().unwrap_or(&shared.hub),
                uri.path()
            ),
        );
    }
    response.body(Body::from(Value::from(page).to_string())).expect("a response")
}

fn paths_info(repo: &Repo, body: &str) -> Response {
    let mut wanted: Vec<String> = Vec::new();
    if let Ok(Value::Object(json)) = serde_json::from_str(body) {
        wanted.extend(
            json.get("paths")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|p| p.as_str().map(str::to_owned)),
        );
    } else {
        // huggingface_hub sends a form.
        wanted.extend(body.split('&').filter_map(|p| p.strip_prefix("paths=")).map(|p| decode(&p.replace('+', " "))));
    }
    let rows: Vec<Value> =
        wanted.iter().filter_map(|path| repo.files.get(path).map(|file| entry(path, file))).collect();
    reply(&Value::from(rows))
}

fn refs(repo: &Repo) -> Response {
    let row =
        |name: &String| json!({ "name": name, "ref": format!("refs/heads/{name}"), "targetCommit": repo.commit() });
    let branches: Vec<Value> = repo.revisions.iter().filter(|r| !r.starts_with("refs/")).map(row).collect();
    reply(&json!({ "branches": branches, "tags": [], "converts": [] }))
}
