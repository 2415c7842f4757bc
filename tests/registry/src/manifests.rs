//! Manifests by tag and digest, and their referrers.

use axum::body::Body;
use axum::response::Response;
use hfget_loopback_hub::lock;
use serde_json::{Value, json};

use crate::digest_of;
use crate::fault::{Kind, Place};
use crate::server::{Asked, Manifest, Options, Shared, answer, refuse};

/// The largest manifest that registries accept.
const LIMIT: usize = 4 << 20;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) async fn serve(
    shared: &Shared,
    options: &Options,
    asked: &Asked,
    name: &str,
    reference: &str,
    body: Body,
) -> Response {
    let place = if asked.method == "PUT" { Place::ManifestPut } else { Place::ManifestGet };
    let fault = shared.fault(place, None);
    match &fault {
        Some(Kind::Status(status, headers)) => {
            let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            return answer(*status, &headers, "");
        }
        Some(Kind::Body(text)) => {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            return answer(200, &[("content-type", kind)], text.clone());
        }
        _ => {}
    }
    if place == Place::ManifestPut {
        let Ok(bytes) = axum::body::to_bytes(body, LIMIT).await else {
            return refuse(413, "MANIFEST_INVALID", "manifest too large");
        };
        if fault == Some(Kind::DigestRefused) {
            return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
        }
        return put(shared, options, asked, name, reference, bytes);
    }
    if asked.method == "DELETE" {
        return remove(shared, options, name, reference);
    }
    let repos = lock(&shared.repos);
    let repo = repos.get(name);
    let digest = repo.and_then(|repo| repo.tags.get(reference).map(String::as_str)).unwrap_or(reference);
    let Some(manifest) = repo.and_then(|repo| repo.manifests.get(digest)) else {
        return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let mut bytes = manifest.bytes.clone();
    if let Some(Kind::CorruptByte(at)) = fault {
        let mut other = bytes.to_vec();
        if let Some(byte) = other.get_mut(at) {
            *byte ^= 1;
        }
        bytes = other.into();
    }
    let length = bytes.len().to_string();
    let headers = [
        ("content-type", manifest.media_type.as_str()),
        ("docker-content-digest", digest),
        ("content-length", length.as_str()),
    ];
    answer(200, &headers, if asked.method == "HEAD" { Body::empty() } else { Body::from(bytes) })
}

/// By digest only, as in Debian's registry: the tags that name it are removed too.
fn remove(shared: &Shared, options: &Options, name: &str, reference: &str) -> Response {
    if !options.removes || !reference.starts_with("sha256:") {
        return refuse(405, "UNSUPPORTED", "the operation is unsupported");
    }
    let mut repos = lock(&shared.repos);
    let Some(repo) = repos.get_mut(name).filter(|repo| repo.manifests.contains_key(reference)) else {
        return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    repo.manifests.remove(reference);
    repo.tags.retain(|_, digest| digest != reference);
    answer(202, &[], "")
}

fn put(
    shared: &Shared,
    options: &Options,
    asked: &Asked,
    name: &str,
    reference: &str,
    bytes: bytes::Bytes,
) -> Response {
    let Ok(json) = serde_json::from_slice::<Value>(&bytes) else {
        return refuse(400, "MANIFEST_INVALID", "manifest invalid");
    };
    let digest = digest_of(&bytes);
    if reference.starts_with("sha256:") && reference != digest {
        return refuse(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
    }
    let mut repos = lock(&shared.repos);
    let repo = repos.entry(name.to_owned()).or_default();
    let named = json["layers"].as_array().into_iter().flatten().chain([&json["config"]]);
    for descriptor in named.filter(|d| d.is_object()) {
        let wanted = descriptor["digest"].as_str().unwrap_or_default();
        let Some(blob) = repo.blobs.get(wanted) else {
            let errors = json!({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry",
                                            "detail": {"digest": wanted}}]});
            return answer(400, &[("content-type", "application/json")], errors.to_string());
        };
        if !options.any_size && descriptor["size"].as_u64() != Some(blob.len() as u64) {
            return refuse(400, "MANIFEST_INVALID", "the size of a layer is wrong");
        }
    }
    let media_type = asked.header("content-type").unwrap_or_default().to_owned();
    repo.manifests.insert(digest.clone(), Manifest { media_type, bytes });
    if !reference.starts_with("sha256:") {
        repo.tags.insert(reference.to_owned(), digest.clone());
    }
    let location = format!("/v2/{name}/manifests/{digest}");
    let mut headers = vec![("location", location.as_str()), ("docker-content-digest", digest.as_str())];
    let subject = json["subject"]["digest"].as_str();
    if let Some(subject) = subject.filter(|_| options.referrers) {
        headers.push(("oci-subject", subject));
    }
    answer(201, &headers, "")
}

/// The index of a manifest's referrers.
pub(crate) fn referrers(shared: &Shared, options: &Options, asked: &Asked, name: &str, digest: &str) -> Response {
    if let Some(Kind::Status(status, headers)) = shared.fault(Place::Referrers, None) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        return answer(status, &headers, "");
    }
    if !options.referrers {
        return answer(404, &[("content-type", "text/plain")], "404 page not found");
    }
    let wanted = asked.query.get("artifactType");
    let repos = lock(&shared.repos);
    let mut found: Vec<Value> = Vec::new();
    for (own, manifest) in repos.get(name).into_iter().flat_map(|repo| &repo.manifests) {
        let json: Value = serde_json::from_slice(&manifest.bytes).unwrap_or_default();
        let kind = json["artifactType"].as_str().or_else(|| json["config"]["mediaType"].as_str()).unwrap_or_default();
        if json["subject"]["digest"] == digest && wanted.is_none_or(|wanted| wanted == kind) {
            let mut one = json!({"mediaType": manifest.media_type, "digest": own, "size": manifest.bytes.len(),
                                 "artifactType": kind});
            if json["annotations"].is_object() {
                one["annotations"] = json["annotations"].clone();
            }
            found.push(one);
        }
    }
    found.sort_by_key(|descriptor| descriptor["digest"].to_string());
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).to_string();
    let mut headers = vec![("content-type", INDEX)];
    if wanted.is_some() {
        headers.push(("oci-filters-applied", "artifactType"));
    }
    answer(200, &headers, index)
}
