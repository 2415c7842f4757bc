//! Manifests of a registry, and their referrers: from the registry's own list, or from the tag that replaces such a
//! list. `contents` reads what a manifest says about a repo.

use std::collections::HashSet;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LINK};
use reqwest::{Method, StatusCode};
use tracing::debug;

use super::auth::Scope;
use super::wire::{Ask, Wire, failed};
use crate::hub::{Via, next_link};
use crate::model::OciDigest;
use crate::oci::{Descriptor, Got, INDEX, Index, MANIFEST, MANIFEST_LIMIT, ManifestName, OciError};

/// The types that are accepted, docker's own among them.
const KINDS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                     application/vnd.docker.distribution.manifest.v2+json, \
                     application/vnd.docker.distribution.manifest.list.v2+json";
/// The code of a registry that got bytes with another digest than it should.
const OTHER_DIGEST: &str = "DIGEST_INVALID";
/// The header with the digest of the body.
const CONTENT_DIGEST: &str = "docker-content-digest";
/// The most pages of a list of referrers.
const PAGES: usize = 100;
/// The most tries to write the tag that replaces a list, while other programs write it too.
const TRIES: usize = 5;

/// The digest that an answer states for its content; `None` if it is of another algorithm.
fn claimed(headers: &HeaderMap) -> Option<OciDigest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

/// The error of a refused manifest. Its digest was computed before it was sent: so if the registry finds another one, it was
/// damaged on its way, or another writer sent the same at this moment, and it is sent again.
fn may_be_damaged(error: OciError) -> OciError {
    match error {
        OciError::Failed { place, why, after, .. } if why.contains(OTHER_DIGEST) => {
            OciError::Failed { place, why, again: true, after }
        }
        other => other,
    }
}

fn kind_of(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next().unwrap_or(kind).trim().to_owned())
}

/// The fields that state the type of a manifest.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

impl Wire {
    /// A manifest and the digest of its bytes.
    pub async fn get_manifest(&self, of: &ManifestName) -> Result<Option<Got>, OciError> {
        let place = self.place(&of.to_string());
        let got = self
            .persist(|| async {
                let url = self.url(&format!("manifests/{of}")).await?;
                let ask = Ask::new(Method::GET, url, &Scope::Pull).with(ACCEPT, KINDS);
                let (url, response) = self.once(Via::Api, &ask).await?;
                if response.status() == StatusCode::NOT_FOUND {
                    return Ok(None);
                }
                if response.status() != StatusCode::OK {
                    return Err(self.refusal(place.clone(), &url, response).await);
                }
                let headers = response.headers().clone();
                let limit = usize::try_from(MANIFEST_LIMIT).unwrap_or(usize::MAX);
                let bytes = Bytes::from(self.http.body(&url, response, limit).await?);
                let digest = OciDigest::of(&bytes);
                let named = match of {
                    ManifestName::Digest(named) => Some(*named),
                    // Only the registry knows which digest a tag has, so bytes with another digest are damaged.
                    ManifestName::Tag(_) => claimed(&headers),
                };
                if let Some(digest) = named.filter(|named| *named != digest) {
                    return Err(OciError::WrongDigest { place: place.clone(), digest });
                }
                Ok(Some((headers, bytes, digest)))
            })
            .await?;
        self.http.retries.answered();
        let Some((headers, bytes, digest)) = got else { return Ok(None) };
        let invalid = |why: String| OciError::Invalid { place: place.clone(), why };
        let kind: Kind = serde_json::from_slice(&bytes).map_err(|e| invalid(format!("not a manifest: {e}")))?;
        let sent = kind_of(&headers);
        // A reader that assumes the other type would see other layers than the signer saw.
        if let (Some(sent), Some(own)) = (&sent, &kind.media_type)
            && sent != own
        {
            let (sent, own) = (crate::text::brief(sent), crate::text::brief(own));
            return Err(invalid(format!("the registry states the type {sent}, but the manifest states {own}")));
        }
        let media_type = kind.media_type.or(sent).unwrap_or_else(|| MANIFEST.to_owned());
        Ok(Some(Got { media_type, bytes, digest }))
    }

    /// Puts a manifest after checking that every blob has the size that the manifest states.
    pub async fn put_manifest(&self, name: &ManifestName, kind: &str, bytes: &Bytes) -> Result<OciDigest, OciError> {
        self.check_sizes(bytes).await?;
        Ok(self.send_manifest(name, kind, bytes).await?.0)
    }

    /// Sends the manifest; also returns the head of the answer.
    async fn send_manifest(
        &self,
        name: &ManifestName,
        kind: &str,
        bytes: &Bytes,
    ) -> Result<(OciDigest, HeaderMap), OciError> {
        let digest = OciDigest::of(bytes);
        let place = self.place(&name.to_string());
        if bytes.len() as u64 > MANIFEST_LIMIT {
            let why = format!("it has {} bytes, but registries accept at most {MANIFEST_LIMIT}", bytes.len());
            return Err(OciError::Invalid { place, why });
        }
        if let ManifestName::Digest(named) = name
            && *named != digest
        {
            return Err(OciError::WrongDigest { place, digest: *named });
        }
        let headers = self
            .persist(|| async {
                let mut ask = Ask::new(Method::PUT, self.url(&format!("manifests/{name}")).await?, &Scope::Push);
                ask.body = bytes.clone();
                let (url, response) = self.once(Via::Api, &ask.with(CONTENT_TYPE, kind)).await?;
                match response.status() {
                    StatusCode::CREATED | StatusCode::OK => Ok(response.headers().clone()),
                    _ => Err(may_be_damaged(self.refusal(place.clone(), &url, response).await)),
                }
            })
            .await?;
        if let Some(other) = claimed(&headers).filter(|other| *other != digest) {
            let why = format!("the registry stored it as {other}, but its digest is {digest}");
            return Err(OciError::Invalid { place, why });
        }
        self.http.retries.answered();
        Ok((digest, headers))
    }

    /// Removes a manifest, with its tags. `false` if the registry refuses. There is only one try.
    pub async fn remove_manifest(&self, digest: &OciDigest) -> bool {
        let removed = async {
            let url = self.url(&format!("manifests/{digest}")).await?;
            let (_, response) = self.once(Via::Api, &Ask::new(Method::DELETE, url, &Scope::Remove)).await?;
            Ok::<_, OciError>(response.status())
        };
        let answer = removed.await;
        debug!(%digest, ?answer, "the registry's answer to the removal of a manifest");
        answer.is_ok_and(|status| status.is_success() || status == StatusCode::NOT_FOUND)
    }

    /// Registries accept a manifest with a wrong size, and every client fails to pull it.
    async fn check_sizes(&self, bytes: &Bytes) -> Result<(), OciError> {
        let kind: Option<Kind> = serde_json::from_slice(bytes).ok();
        let mut seen = HashSet::new();
        for blob in kind.into_iter().flat_map(|kind| kind.layers.into_iter().chain(kind.config)) {
            if !seen.insert(blob.digest) {
                continue;
            }
            let there = match self.known_size(&blob.digest) {
                Some(size) => Some(size),
                None => self.size_of(&blob.digest).await?,
            };
            let place = self.place(&blob.digest.to_string());
            match there {
                Some(there) if there == blob.size => {}
                Some(there) => {
                    let why = format!("it has {there} bytes, but the manifest states {}", blob.size);
                    return Err(OciError::Invalid { place, why });
                }
                None => return Err(OciError::NotFound { place }),
            }
        }
        Ok(())
    }

    /// The referrers of a manifest.
    pub async fn referrers_of(&self, subject: &OciDigest, kind: &str) -> Result<Vec<Descriptor>, OciError> {
        let listed = match self.listed_referrers(subject, kind).await? {
            Some(listed) => listed,
            None => self.tagged_referrers(subject).await?.map(|index| index.manifests).unwrap_or_default(),
        };
        // A registry may ignore the filter in the request.
        Ok(listed.into_iter().filter(|one| one.artifact_type.as_deref() == Some(kind)).collect())
    }

    /// From the registry's own list; `None` if it has none.
    async fn listed_referrers(&self, subject: &OciDigest, kind: &str) -> Result<Option<Vec<Descriptor>>, OciError> {
        let mut url = self.url(&format!("referrers/{subject}")).await?;
        url.query_pairs_mut().append_pair("artifactType", kind);
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let page = self
                .persist(|| async {
                    let ask = Ask::new(Method::GET, url.clone(), &Scope::Pull).with(ACCEPT, INDEX);
                    let (url, response) = self.once(Via::Api, &ask).await?;
                    match response.status() {
                        StatusCode::OK => {}
                        // Some registries answer an unknown address with each of these.
                        StatusCode::NOT_FOUND
                        | StatusCode::METHOD_NOT_ALLOWED
                        | StatusCode::BAD_REQUEST
                        | StatusCode::NOT_ACCEPTABLE
                        | StatusCode::NOT_IMPLEMENTED => return Ok(None),
                        _ => return Err(self.refusal(self.place(&subject.to_string()), &url, response).await),
                    }
                    let headers = response.headers().clone();
                    let limit = usize::try_from(MANIFEST_LIMIT).unwrap_or(usize::MAX);
                    let body = self.http.body(&url, response, limit).await?;
                    // A web page, from a registry that answers every request with one.
                    let index: Option<Index> = serde_json::from_slice(&body).ok();
                    Ok(index.map(|index| (index, headers)))
                })
                .await?;
            let Some((index, headers)) = page else { return Ok(None) };
            found.extend(index.manifests);
            let next = headers.get(LINK).and_then(|v| next_link(v.to_str().ok()?));
            let Some(next) = next else { return Ok(Some(found)) };
            url = self.target(&url, &next)?;
        }
        let why = format!("its list of referrers has more than {PAGES} pages");
        Err(OciError::Invalid { place: self.place(&subject.to_string()), why })
    }

    /// From the tag that replaces a list.
    async fn tagged_referrers(&self, subject: &OciDigest) -> Result<Option<Index>, OciError> {
        let tag = ManifestName::Tag(fallback(subject));
        let Some(got) = self.get_manifest(&tag).await? else { return Ok(None) };
        let read = serde_json::from_slice(&got.bytes);
        read.map(Some).map_err(|_| OciError::Invalid {
            place: self.place(&fallback(subject)),
            why: "it is not a list of a manifest's referrers".to_owned(),
        })
    }

    /// Puts a manifest with a subject.
    pub async fn put_referrer(&self, subject: &OciDigest, kind: &str, bytes: &Bytes) -> Result<OciDigest, OciError> {
        self.check_sizes(bytes).await?;
        let name = ManifestName::Digest(OciDigest::of(bytes));
        let (digest, headers) = self.send_manifest(&name, kind, bytes).await?;
        if headers.contains_key("oci-subject") {
            return Ok(digest);
        }
        let own: Kind = serde_json::from_slice(bytes).map_err(|e| OciError::Invalid {
            place: self.place(&digest.to_string()),
            why: format!("not a manifest: {e}"),
        })?;
        let artifact_type = own.artifact_type.or(own.config.map(|config| config.media_type));
        let size = bytes.len() as u64;
        let listed = Descriptor { artifact_type, annotations: own.annotations, ..Descriptor::new(kind, digest, size) };
        // Nothing locks out other writers. A writer that is not in the list afterwards writes again.
        for _ in 0..TRIES {
            let index = self.tagged_referrers(subject).await?;
            if index.as_ref().is_some_and(|index| index.manifests.contains(&listed)) {
                return Ok(digest);
            }
            let empty = || Index {
                schema_version: 2,
                media_type: Some(INDEX.to_owned()),
                manifests: Vec::new(),
                annotations: std::collections::BTreeMap::default(),
            };
            let mut index = index.unwrap_or_else(empty);
            index.manifests.retain(|one| one.digest != digest);
            index.manifests.push(listed.clone());
            let Ok(text) = serde_json::to_vec(&index) else { break };
            self.send_manifest(&ManifestName::Tag(fallback(subject)), INDEX, &text.into()).await?;
        }
        let why = "other programs keep overwriting the list of its referrers";
        Err(failed(self.place(&fallback(subject)), why, true))
    }
}

/// The tag that replaces the list of a manifest's referrers.
fn fallback(subject: &OciDigest) -> String {
    format!("sha256-{}", subject.hex())
}
