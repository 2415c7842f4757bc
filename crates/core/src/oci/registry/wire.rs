//! One request to a registry: its URL, its credentials, its redirects, the meaning of the answers, and when to try
//! again. The files beside this one decide which requests are made.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use super::auth::{Auth, Pass, Scope};
use super::keyring::Keyring;
use super::parts::Parts;
use crate::hub::{
    Http, HubConfig, HubError, REDIRECT_LIMIT, ShownUrl, Via, asked_wait, is_loopback, is_passing, redirect_target,
    words,
};
use crate::model::{OciDigest, RepoPath};
use crate::mutex::lock;
use crate::oci::{OciConfig, OciError};
use crate::progress::{Event, Progress, Silent};

/// The host of docker's own registry, which its names do not contain.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// A repository of a registry, as requests use it.
#[derive(Debug)]
pub(super) struct Wire {
    pub http: Http,
    auth: Auth,
    /// The registry's address. Its scheme is found out once.
    host: String,
    base: OnceCell<Url>,
    pub name: String,
    /// `oci://REGISTRY/NAME`, safe to print.
    pub shown: String,
    /// The sizes of the blobs that the registry had in this run.
    sizes: Mutex<HashMap<OciDigest, u64>>,
    /// Whether it is sent parts.
    pub parts: Parts,
}

/// A request that can be sent again.
pub(super) struct Ask<'a> {
    pub method: Method,
    pub url: Url,
    pub scope: &'a Scope,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl<'a> Ask<'a> {
    pub fn new(method: Method, url: Url, scope: &'a Scope) -> Self {
        Ask { method, url, scope, headers: Vec::new(), body: Bytes::new() }
    }

    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }
}

/// An answer with an unexpected status.
pub(super) fn failed(place: String, why: impl Into<String>, again: bool) -> OciError {
    OciError::Failed { place, why: why.into(), again, after: None }
}

impl Wire {
    pub fn new(config: &OciConfig, http: &HubConfig, registry: &str, name: &str) -> Result<Self, OciError> {
        let shown = crate::text::printable(&format!("oci://{registry}/{name}")).into_owned();
        let host = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry }.to_owned();
        // In docker's own registry, a name without an owner belongs to `library`.
        let name =
            if registry == DOCKER_HUB.0 && !name.contains('/') { format!("library/{name}") } else { name.to_owned() };
        let mut http = http
            .mirror(&format!("https://{host}"))
            .map_err(|e| OciError::Setup { place: shown.clone(), why: e.to_string() })?;
        // Bytes from the Hub do not count as progress of a registry that accepts nothing.
        http.timing.patience = std::sync::Arc::default();
        let auth = Auth::new(registry, &name, Keyring::new(config, registry, &name));
        Ok(Wire {
            http: Http::new(http.into()),
            auth,
            host,
            base: OnceCell::new(),
            name,
            shown,
            sizes: Mutex::default(),
            parts: Parts::default(),
        })
    }

    /// The size of a blob that the registry had in this run.
    pub fn known_size(&self, digest: &OciDigest) -> Option<u64> {
        lock(&self.sizes).get(digest).copied()
    }

    /// Notes that the registry has a blob.
    pub fn saw(&self, digest: OciDigest, size: u64) {
        lock(&self.sizes).insert(digest, size);
    }

    /// The name of a request for people: a digest, a tag, or a blob without a name yet.
    pub fn place(&self, what: &str) -> String {
        let text = match what {
            digest if digest.starts_with("sha256:") => format!("@{digest}"),
            words if words.contains(' ') => format!(": {words}"),
            tag => format!(":{tag}"),
        };
        format!("{}{}", self.shown, crate::text::printable(&text))
    }

    /// The URL `/v2/NAME/…` of the registry. `below` is our own text, or was parsed.
    pub async fn url(&self, below: &str) -> Result<Url, OciError> {
        let base = self.base().await?;
        base.join(&format!("/v2/{}/{below}", self.name))
            .map_err(|e| OciError::Setup { place: self.shown.clone(), why: e.to_string() })
    }

    /// The registry's own address. A registry on this machine is also asked over plain HTTP if it does not speak
    /// HTTPS, as docker does.
    pub async fn base(&self) -> Result<&Url, OciError> {
        let found = || async {
            let url = |scheme: &str| {
                let text = format!("{scheme}://{}/v2/", self.host);
                Url::parse(&text).map_err(|e| OciError::Setup { place: self.shown.clone(), why: e.to_string() })
            };
            let (secure, plain) = (url("https")?, url("http")?);
            if !is_loopback(&secure) {
                return Ok(secure);
            }
            self.persist(|| async {
                let client = self.http.client(Via::Api)?;
                match self.http.send(Via::Api, &secure, client.get(secure.clone())).await {
                    Ok(_) => return Ok(secure.clone()),
                    // It speaks HTTPS, but its certificate is wrong.
                    Err(error @ HubError::Untrusted { .. }) => return Err(error.into()),
                    Err(_) => {}
                }
                self.http.send(Via::Api, &plain, client.get(plain.clone())).await?;
                Ok(plain.clone())
            })
            .await
        };
        self.base.get_or_try_init(found).await
    }

    /// Whether a URL may get the credentials.
    fn is_own(&self, url: &Url) -> bool {
        self.base.get().is_some_and(|base| base.origin() == url.origin())
    }

    /// The URL of the next request of an upload. A registry behind a proxy that ends TLS may answer with its `http`
    /// URL.
    pub fn target(&self, url: &Url, location: &str) -> Result<Url, OciError> {
        if let (Some(base), Ok(mut named)) = (self.base.get(), url.join(location))
            && (base.scheme(), named.scheme()) == ("https", "http")
            && base.host() == named.host()
            && (named.port().is_none() || named.port() == base.port())
        {
            let _ = named.set_scheme("https");
            let _ = named.set_port(base.port());
            return Ok(named);
        }
        Ok(crate::hub::target(url, location)?)
    }

    /// The headers of a request to `url`.
    pub async fn pass(&self, url: &Url, scope: &Scope) -> Result<Pass, OciError> {
        if self.is_own(url) { self.auth.pass(&self.http, scope).await } else { Ok(Pass::Nothing) }
    }

    /// Whether a second try after a 401 can succeed: the registry's challenge is new, or a new token can be fetched.
    pub async fn learn(&self, url: &Url, headers: &HeaderMap, scope: &Scope, shown: bool) -> Result<bool, OciError> {
        if self.is_own(url) { self.auth.learn(url, headers, scope, shown).await } else { Ok(false) }
    }

    /// Sends a request, follows redirects, and answers challenges. Returns any answer except a redirect.
    pub async fn once(&self, via: Via, ask: &Ask<'_>) -> Result<(Url, Response), OciError> {
        let mut url = ask.url.clone();
        let mut learned = false;
        for _ in 0..REDIRECT_LIMIT {
            let mut request = self.http.client(via)?.request(ask.method.clone(), url.clone());
            for (name, value) in &ask.headers {
                request = request.header(name, value);
            }
            if ask.method == Method::POST || ask.method == Method::PUT || ask.method == Method::PATCH {
                // The HTTP library states no length for an empty body, and some proxies ask for one.
                request = request.header(CONTENT_LENGTH, ask.body.len()).body(ask.body.clone());
            }
            let pass = self.pass(&url, ask.scope).await?;
            let shown = pass.is_something();
            let response = self.http.send(via, &url, pass.show(request)).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && !learned {
                learned = true;
                if self.learn(&url, response.headers(), ask.scope, shown).await? {
                    continue;
                }
            }
            let reads = ask.method == Method::GET || ask.method == Method::HEAD;
            if status.is_redirection() && reads {
                url = redirect_target(&url, &response)?;
                continue;
            }
            return Ok((url, response));
        }
        let (to, why) = ("yet another address".into(), "too many redirects");
        Err(HubError::RedirectRefused { url: (&url).into(), to, why }.into())
    }

    /// The meaning of an unexpected answer.
    pub async fn refusal(&self, place: String, url: &Url, mut response: Response) -> OciError {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.http.complaint(url, &mut response).await;
        let said = complaint_of(&body);
        let why = |what: &str| if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") };
        match status.as_u16() {
            401 => OciError::Refused { place, why: self.auth.why_refused(&said).await },
            403 => OciError::Refused { place, why: why("the registry answered 403") },
            404 => OciError::NotFound { place },
            407 => HubError::ProxyLogin { url: url.into() }.into(),
            413 => failed(
                place,
                why("the registry, or a proxy in front of it, refuses requests of this size (413)"),
                false,
            ),
            _ if is_passing(status) => {
                HubError::Status { url: url.into(), status, message: said, wait: asked_wait(&headers) }.into()
            }
            _ if status.is_redirection() => {
                let to = url.join(crate::hub::location(&headers)).map_or_else(
                    |_| "elsewhere".to_owned(),
                    // The signature in a URL is a secret.
                    |to| ShownUrl::from(&to).to_string(),
                );
                let why = "hfget does not send a registry's request to another host";
                HubError::RedirectRefused { url: url.into(), to, why }.into()
            }
            _ => failed(place, why(&format!("{} answered {status}", ShownUrl::from(url))), false),
        }
    }

    /// Retries as long as that may help.
    pub async fn persist<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, OciError>
    where
        F: Future<Output = Result<T, OciError>>,
    {
        let mut failures = 0;
        loop {
            match work().await {
                Err(error) if error.is_worth_retrying() => {
                    failures += 1;
                    self.back_off(None, error, failures, &Silent).await?;
                }
                other => return other,
            }
        }
    }

    /// Waits before the next try after `error`, or returns the error when it is time to give up.
    pub async fn back_off(
        &self,
        path: Option<&RepoPath>,
        error: OciError,
        failures: u32,
        watch: &dyn Progress,
    ) -> Result<(), OciError> {
        match error {
            OciError::Wire(error) => Ok(self.http.retries.back_off(path, error, failures, watch).await?),
            OciError::Failed { again: true, ref why, after, .. } => {
                let policy = &self.http.retries.timing().retry;
                // The registry answers, but the answer is wrong: waiting does not help.
                if failures >= policy.attempts || after.is_some_and(|after| after > policy.longest_wait) {
                    return Err(error);
                }
                let wait = after.unwrap_or_default().saturating_add(policy.pause(failures));
                watch.event(Event::Retry { path, why, attempt: failures + 1, wait });
                tokio::time::sleep(wait).await;
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// The registry's own words about an error, safe to print.
fn complaint_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Complaint {
        errors: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
        #[serde(default)]
        detail: serde_json::Value,
    }
    let Ok(complaint) = serde_json::from_slice::<Complaint>(body) else { return String::new() };
    let Some(first) = complaint.errors.first() else { return String::new() };
    let digest = first.detail.get("digest").and_then(|d| d.as_str()).or_else(|| first.detail.as_str());
    let parts = [Some(first.code.as_str()), Some(first.message.as_str()), digest];
    words(&parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_quoted_by_its_first_error_and_safely() {
        let body = br#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{"digest":"sha256:ab"}}]}"#;
        assert_eq!(complaint_of(body), "MANIFEST_BLOB_UNKNOWN: blob unknown: sha256:ab");
        let steering = "{\"errors\":[{\"code\":\"X\",\"message\":\"\\u001b[2J\"}]}";
        assert!(!complaint_of(steering.as_bytes()).contains('\u{1b}'));
        for nothing in [&b""[..], b"<html>", b"{}", br#"{"errors":[]}"#] {
            assert_eq!(complaint_of(nothing), "");
        }
    }
}
