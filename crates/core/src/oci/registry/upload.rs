//! Pushes a whole blob. An upload that breaks off begins again.
//!
//! Why one streamed PUT: three large registries refuse parts or lose them (Google's refuses a PATCH with a range,
//! Amazon's answers 201 and a range that does not move, GitHub's accepts 4 MiB), and all accept a whole blob with its
//! length. If the digest is known only after the bytes, the PUT cannot name it. Such a blob is sent as `docker push`
//! sends each layer: in one PATCH of any length, and an empty PUT names the digest.
//!
//! The registry forgets an upload that failed; nothing here removes anything.

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::auth::Scope;
use super::feed::{Feed, one};
use super::wire::{Ask, Wire, failed};
use crate::hub::{Via, length_of, location};
use crate::model::OciDigest;
use crate::oci::{Blobstream, Body, OciError, Push, PushDigest};

const OCTETS: &str = "application/octet-stream";

/// The name of a blob, or that it will be known later.
pub(super) struct Named(PushDigest);

impl Named {
    /// The name for people.
    pub fn shown(&self) -> String {
        match &self.0 {
            PushDigest::Before(digest) => digest.to_string(),
            PushDigest::After(_) => "a layer".to_owned(),
        }
    }

    /// The digest, after all bytes have passed.
    pub fn digest(&self, wire: &Wire) -> Result<OciDigest, OciError> {
        let digest = match &self.0 {
            PushDigest::Before(digest) => Some(*digest),
            PushDigest::After(cell) => cell.get().copied(),
        };
        digest.ok_or_else(|| {
            let why = "its bytes ended without a digest".to_owned();
            OciError::Invalid { place: wire.place(&self.shown()), why }
        })
    }
}

impl Wire {
    /// Pushes a blob, checks that the registry has it, and returns its digest.
    pub async fn push(&self, push: Push) -> Result<OciDigest, OciError> {
        let size = push.size;
        let digest = match push.body {
            Body::Whole(bytes) => self.whole(bytes, size, push.digest).await?,
            Body::Stream(stream) => {
                let named = Named(push.digest);
                let digest = if self.parts.are_wanted(size) {
                    self.in_parts(stream, size, &named).await?
                } else if let PushDigest::Before(digest) = named.0 {
                    self.one_put(stream, size, digest, &named).await?
                } else {
                    self.one_patch(stream, size, &named).await?
                };
                self.confirm(digest, size).await?;
                digest
            }
        };
        self.http.retries.answered();
        Ok(digest)
    }

    /// Pushes bytes in memory, and retries as long as that may help.
    async fn whole(&self, bytes: Bytes, size: u64, named: PushDigest) -> Result<OciDigest, OciError> {
        let digest = OciDigest::of(&bytes);
        let place = self.place(&digest.to_string());
        let expected = match named {
            PushDigest::Before(digest) => Some(digest),
            PushDigest::After(cell) => cell.get().copied(),
        };
        if let Some(digest) = expected.filter(|expected| *expected != digest) {
            return Err(OciError::WrongDigest { place, digest });
        }
        if bytes.len() as u64 != size {
            let why = format!("it has {} bytes, expected {size}", bytes.len());
            return Err(OciError::Invalid { place, why });
        }
        self.persist(|| async {
            let named = Named(PushDigest::Before(digest));
            self.one_put(one(bytes.clone()), size, digest, &named).await?;
            self.confirm(digest, size).await
        })
        .await?;
        Ok(digest)
    }

    /// Pushes a stream whose digest is known.
    async fn one_put(
        &self,
        stream: Blobstream,
        size: u64,
        digest: OciDigest,
        named: &Named,
    ) -> Result<OciDigest, OciError> {
        let what = named.shown();
        let url = with_digest(self.begin(&what).await?, digest);
        let (url, response) = self.send_stream(Method::PUT, url, stream, size, &what, None).await?;
        if !response.status().is_success() {
            return Err(self.refused_upload(&what, &url, response).await);
        }
        Ok(digest)
    }

    /// Pushes a stream whose digest is known at its end.
    async fn one_patch(&self, stream: Blobstream, size: u64, named: &Named) -> Result<OciDigest, OciError> {
        let what = named.shown();
        let url = self.begin(&what).await?;
        let (url, response) = self.send_stream(Method::PATCH, url, stream, size, &what, None).await?;
        if !response.status().is_success() {
            return Err(self.refused_upload(&what, &url, response).await);
        }
        let digest = named.digest(self)?;
        let url = self.next(&url, response.headers())?;
        self.persist(|| self.finish(&url, digest)).await?;
        Ok(digest)
    }

    /// Begins an upload; returns the URL of its next request.
    pub(super) async fn begin(&self, what: &str) -> Result<Url, OciError> {
        Ok(self.begun(what).await?.0)
    }

    /// Like `begin`, with the least size of a part, if the registry states one.
    pub(super) async fn begun(&self, what: &str) -> Result<(Url, HeaderMap), OciError> {
        self.persist(|| async {
            let ask = Ask::new(Method::POST, self.url("blobs/uploads/").await?, &Scope::Push);
            let (url, response) = self.once(Via::Api, &ask).await?;
            match response.status() {
                StatusCode::ACCEPTED => {}
                // Some registries do not create a repository on the first push.
                StatusCode::NOT_FOUND => return Err(OciError::NotFound { place: self.shown.clone() }),
                _ => return Err(self.refusal(self.place(what), &url, response).await),
            }
            Ok((self.next(&url, response.headers())?, response.headers().clone()))
        })
        .await
    }

    /// The URL of the next request of an upload.
    pub(super) fn next(&self, url: &Url, headers: &HeaderMap) -> Result<Url, OciError> {
        self.target(url, location(headers))
    }

    /// Sends a stream. After a 401 it cannot be sent again, but its maker can make it again.
    pub(super) async fn send_stream(
        &self,
        method: Method,
        url: Url,
        stream: Blobstream,
        size: u64,
        what: &str,
        part: Option<&str>,
    ) -> Result<(Url, Response), OciError> {
        let (feed, meter) = Feed::new(stream, size, self.place(what));
        let pass = self.pass(&url, &Scope::Push).await?;
        let shown = pass.is_something();
        let sized = method == Method::PUT || part.is_some();
        let mut request = self.http.client(Via::Data)?.request(method, url.clone()).header(CONTENT_TYPE, OCTETS);
        if sized {
            request = request.header(CONTENT_LENGTH, size);
        }
        if let Some(range) = part {
            request = request.header(CONTENT_RANGE, range);
        }
        let request = pass.show(request.body(reqwest::Body::wrap_stream(feed)));
        let timing = self.http.retries.timing();
        let silent = meter.registry_is_silent(&url, size, timing.stall_timeout, timing.response_timeout);
        let answer = self.http.send_while(Via::Data, &url, request, silent).await;
        if let Some(error) = meter.take_error() {
            return Err(error);
        }
        let response = answer.inspect_err(|_| self.parts.broke_off(meter.came()))?;
        if response.status() == StatusCode::UNAUTHORIZED
            && self.learn(&url, response.headers(), &Scope::Push, shown).await?
        {
            let why = format!("the registry refused the credentials after {} of {size} bytes", meter.came());
            return Err(failed(self.place(what), why, true));
        }
        Ok((url, response))
    }

    /// The PUT that ends an upload after all bytes were sent.
    pub(super) async fn finish(&self, url: &Url, digest: OciDigest) -> Result<(), OciError> {
        let ask = Ask::new(Method::PUT, with_digest(url.clone(), digest), &Scope::Push);
        let (url, response) = self.once(Via::Data, &ask.with(CONTENT_TYPE, OCTETS)).await?;
        if response.status().is_success() {
            return Ok(());
        }
        // An earlier request whose answer was lost may have ended the upload.
        if response.status() == StatusCode::NOT_FOUND && self.size_of(&digest).await?.is_some() {
            return Ok(());
        }
        Err(self.refused_upload(&digest.to_string(), &url, response).await)
    }

    /// Checks that the registry has a blob that it accepted: some registries lose a blob and do not say so.
    async fn confirm(&self, digest: OciDigest, size: u64) -> Result<(), OciError> {
        match self.size_of(&digest).await? {
            Some(there) if there == size => Ok(()),
            Some(there) => {
                let why = format!("the registry states {there} bytes, but {size} were sent");
                Err(OciError::Invalid { place: self.place(&digest.to_string()), why })
            }
            None => {
                let why = "the registry accepted the blob, but does not have it";
                Err(failed(self.place(&digest.to_string()), why, true))
            }
        }
    }

    /// The size of a blob; `None` if it does not exist.
    pub async fn size_of(&self, digest: &OciDigest) -> Result<Option<u64>, OciError> {
        self.persist(|| async {
            let ask = Ask::new(Method::HEAD, self.url(&format!("blobs/{digest}")).await?, &Scope::Pull);
            let (url, response) = self.once(Via::Api, &ask).await?;
            match response.status() {
                StatusCode::OK => {
                    let Some(length) = length_of(response.headers()) else {
                        let why = "the registry does not state its size";
                        return Err(failed(self.place(&digest.to_string()), why, false));
                    };
                    self.saw(*digest, length);
                    Ok(Some(length))
                }
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.refusal(self.place(&digest.to_string()), &url, response).await),
            }
        })
        .await
    }

    /// Mounts a blob from another repository. `false`: its bytes must be sent.
    pub async fn mount_from(&self, digest: &OciDigest, from: &str) -> Result<bool, OciError> {
        let scope = Scope::PushFrom(from.to_owned());
        self.persist(|| async {
            let mut url = self.url("blobs/uploads/").await?;
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from);
            let (url, response) = self.once(Via::Api, &Ask::new(Method::POST, url, &scope)).await?;
            match response.status() {
                StatusCode::CREATED => Ok(self.size_of(digest).await?.is_some()),
                // The registry began an upload instead, or refuses the other repository: the bytes are sent.
                StatusCode::ACCEPTED | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                    Ok(false)
                }
                _ => Err(self.refusal(self.place(&digest.to_string()), &url, response).await),
            }
        })
        .await
    }

    /// The meaning of the answer to an upload's bytes. After most refusals the upload is lost, and a new one may
    /// succeed.
    pub(super) async fn refused_upload(&self, what: &str, url: &Url, response: Response) -> OciError {
        let status = response.status();
        match self.refusal(self.place(what), url, response).await {
            OciError::NotFound { place } => failed(place, "the registry lost the upload", true),
            OciError::Failed { place, why, .. } if matches!(status.as_u16(), 400 | 409 | 416) => {
                failed(place, why, true)
            }
            error => error,
        }
    }
}

/// The URL that ends an upload.
fn with_digest(mut url: Url, digest: OciDigest) -> Url {
    url.query_pairs_mut().append_pair("digest", &digest.to_string());
    url
}
