//! The client: asks a Hub for a repo's commit and listing. Bytes of files are asked for in `open`.
//!
//! These requests are made with `reqwest` and not through `hf-hub`: its error type drops the
//! rate-limit headers of an answer, which all workers must obey, it reads bodies of any length, and without a given
//! token it takes one from the environment, for any server.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::clients::Via;
use super::error::{ANOTHER_HOST, Asked, ShownUrl, words};
use super::headers::is_web_page;
use super::http::Http;
use super::redirect::{REDIRECT_LIMIT, is_upgrade, redirect_target};
use super::wire::InfoJson;
use super::xet::Xet;
use super::{HubConfig, HubError, Retries};
use crate::model::{Gated, RepoId, RepoInfo, RepoPath, RepoType, Revision};
use crate::mutex::lock;
use crate::progress::{Event, Progress};

/// Everything but what RFC 3986 calls unreserved.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A page of a listing has at most 1,000 entries; they take far less than this.
pub(super) const PAGE_LIMIT: usize = 64 << 20;
/// The Hub's own warnings that are passed on in a run.
const WARNINGS: usize = 16;

/// A Hub, or a mirror of one.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: Arc<HubConfig>,
    pub(super) http: Http,
    /// Topics of the Hub's own warnings that were passed on.
    warned: Mutex<BTreeSet<String>>,
    #[cfg_attr(not(feature = "xet"), allow(dead_code))]
    pub(super) xet: Xet,
}

/// An answer of the API that was read whole.
pub(super) struct Told<T> {
    /// The URL that gave it.
    pub url: Url,
    pub headers: HeaderMap,
    pub value: T,
    /// Bytes of its body.
    pub length: usize,
}

impl Hub {
    /// Makes no request.
    pub fn new(config: HubConfig) -> Self {
        let config = Arc::new(config);
        Hub { http: Http::new(Arc::clone(&config)), config, warned: Mutex::default(), xet: Xet::default() }
    }

    /// When to ask it again, and when to give up.
    pub(crate) fn retries(&self) -> &Retries {
        &self.http.retries
    }

    /// The endpoint, without the secrets in its URL. Kept listings of one endpoint do not count for another.
    pub(crate) fn endpoint(&self) -> String {
        let mut url = self.config.endpoint.clone();
        // Neither fails for a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string()
    }

    /// Whether `url` may see the token: same scheme, host and port as the endpoint, or its host over HTTPS if the
    /// endpoint uses plain HTTP.
    pub(super) fn is_endpoint(&self, url: &Url) -> bool {
        let endpoint = &self.config.endpoint;
        let usual = url.port().is_none() && endpoint.port().is_none();
        url.origin() == endpoint.origin() || usual && is_upgrade(endpoint, url)
    }

    /// A request with at most one header that identifies the user: to the endpoint, and to no other server.
    pub(super) fn request(&self, via: Via, method: Method, url: &Url) -> Result<RequestBuilder, HubError> {
        let client = self.http.client(via)?;
        if !self.is_endpoint(url) {
            return Ok(client.request(method, url.clone()));
        }
        // The HTTP library makes a header of its own from a URL's user.
        let mut bare = url.clone();
        // Neither fails for a URL that has a host.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        let request = client.request(method, bare);
        let endpoint = &self.config.endpoint;
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        Ok(match &self.config.token {
            Some(token) => request.header(AUTHORIZATION, token.header()),
            None if endpoint.username().is_empty() && endpoint.password().is_none() => request,
            None => request.basic_auth(decoded(endpoint.username()), endpoint.password().map(decoded)),
        })
    }

    /// Sends a request when its host allows one, and waits for the head of the answer.
    pub(super) async fn send(&self, via: Via, url: &Url, request: RequestBuilder) -> Result<Response, HubError> {
        self.http.send(via, url, request).await
    }

    /// The page of a repo that people visit, without the secrets in the endpoint's URL.
    fn page(&self, repo_type: RepoType, id: &RepoId) -> String {
        let page = self.config.url(&format!("/{}{id}", repo_type.url_prefix()));
        Url::parse(&page).map_or_else(|_| id.to_string(), |page| ShownUrl::from(&page).to_string())
    }

    /// The URL of a file at the pinned commit.
    pub(super) fn resolve_url(&self, info: &RepoInfo, file: &RepoPath) -> Result<Url, HubError> {
        let mut path = format!("/{}{}/resolve/{}", info.repo_type.url_prefix(), info.canonical_id, info.commit);
        for segment in file.segments() {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        Url::parse(&self.config.url(&path)).map_err(|e| HubError::Setup(format!("{path}: {e}")))
    }

    pub(super) fn asked<'a>(&'a self, repo_type: RepoType, id: &'a RepoId, revision: &'a str) -> Asked<'a> {
        Asked {
            repo: repo_type.qualify(id),
            revision,
            endpoint: &self.config.endpoint,
            page: self.page(repo_type, id),
            token: self.config.token.as_ref(),
        }
    }

    /// Pins `revision` to a commit: one request.
    pub async fn info(
        &self,
        repo_type: RepoType,
        id: &RepoId,
        revision: &Revision,
        progress: &dyn Progress,
    ) -> Result<RepoInfo, HubError> {
        let (url, info) = self.claimed_info(repo_type, id, revision, progress).await?;
        if let Some(wanted) = revision.as_commit()
            && wanted != info.commit
        {
            let what = format!("asked for commit {wanted}, but it answered with {}", info.commit);
            return Err(HubError::Protocol { url: (&url).into(), what });
        }
        Ok(info)
    }

    /// The same, for any commit in the answer; also returns the URL that it came from.
    pub(crate) async fn claimed_info(
        &self,
        repo_type: RepoType,
        id: &RepoId,
        revision: &Revision,
        progress: &dyn Progress,
    ) -> Result<(Url, RepoInfo), HubError> {
        let path =
            format!("/api/{}/{id}/revision/{}", repo_type.plural(), utf8_percent_encode(revision.as_str(), SEGMENT));
        // Costs nothing, and only models are scanned.
        let query = if repo_type == RepoType::Model { "?securityStatus=true" } else { "" };
        let asked = self.asked(repo_type, id, revision.as_str());
        let plain = self.config.url(&path);
        let told = match self.get_json(&format!("{plain}{query}"), &asked, PAGE_LIMIT, progress).await {
            // Some proxies do not answer a query that they do not know.
            Err(HubError::NotServed { .. }) if !query.is_empty() => {
                self.get_json(&plain, &asked, PAGE_LIMIT, progress).await
            }
            other => other,
        };
        let told = match told {
            Err(HubError::NotServed { status: StatusCode::NOT_FOUND, .. }) => {
                let (repo, endpoint) = (repo_type.qualify(id), ShownUrl::from(&self.config.endpoint).to_string());
                return Err(HubError::RepoNotFound { repo, endpoint, has_token: self.config.token.is_some() });
            }
            Err(HubError::RevisionNotFound { repo, revision, .. }) => {
                let known = self.refs(repo_type, id).await;
                return Err(HubError::RevisionNotFound { repo, revision, known });
            }
            other => other?,
        };
        let Told { url, value: json, .. }: Told<InfoJson> = told;
        let protocol = |what: String| HubError::Protocol { url: (&url).into(), what };
        let commit = json
            .sha
            .as_deref()
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| protocol("the answer names no commit".into()))?;
        if json.disabled {
            return Err(HubError::Disabled { repo: id.to_string(), message: String::new() });
        }
        let card = json.card();
        let canonical_id = match json.id {
            Some(name) => name.parse().map_err(|e| protocol(format!("the answer's id cannot be used: {e}")))?,
            None => id.clone(),
        };
        let info = RepoInfo {
            repo_type,
            id: id.clone(),
            canonical_id,
            revision: revision.clone(),
            commit,
            private: json.private,
            card,
            gated: Gated::from(json.gated),
        };
        Ok((url, info))
    }

    /// The API's answer to a GET, with retries; redirects are followed on the endpoint only.
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        asked: &Asked<'_>,
        limit: usize,
        progress: &dyn Progress,
    ) -> Result<Told<T>, HubError> {
        let mut failures = 0;
        loop {
            let told = async {
                let (url, response) = self.try_api(url, asked).await?;
                let headers = response.headers().clone();
                self.pass_on_warnings(&headers, progress);
                let (value, length) = self.json_within(&url, response, limit).await?;
                Ok(Told { url, headers, value, length })
            };
            match told.await {
                Err(error) if HubError::is_retryable(&error) => {
                    failures += 1;
                    self.http.retries.back_off(None, error, failures, progress).await?;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn try_api(&self, url: &str, asked: &Asked<'_>) -> Result<(Url, Response), HubError> {
        let mut url = Url::parse(url).map_err(|e| HubError::Setup(format!("{url}: {e}")))?;
        for _ in 0..REDIRECT_LIMIT {
            let response = self.send(Via::Api, &url, self.request(Via::Api, Method::GET, &url)?).await?;
            let status = response.status();
            if status.is_redirection() {
                let target = redirect_target(&url, &response)?;
                if !self.is_endpoint(&target) && !is_upgrade(&url, &target) {
                    let to = ShownUrl::from(&target).to_string();
                    return Err(HubError::RedirectRefused { url: (&url).into(), to, why: ANOTHER_HOST });
                }
                url = target;
                continue;
            }
            if status != StatusCode::OK {
                let (headers, said) = self.complaint(&url, response).await;
                return Err(asked.refuse(&url, status, &headers, &said));
            }
            return Ok((url, response));
        }
        Err(HubError::RedirectRefused {
            url: (&url).into(),
            to: "yet another address".into(),
            why: "too many redirects",
        })
    }

    /// The head of an error answer, and the message in its body, which replaces missing headers, if the body comes
    /// soon.
    pub(super) async fn complaint(&self, url: &Url, mut response: Response) -> (HeaderMap, String) {
        #[derive(serde::Deserialize)]
        struct Complaint {
            #[serde(alias = "error_description", alias = "message")]
            error: String,
        }
        let headers = response.headers().clone();
        let mut body = Vec::new();
        if !headers.contains_key("x-error-message") {
            body = self.http.complaint(url, &mut response).await;
        }
        let said = serde_json::from_slice::<Complaint>(&body).map(|complaint| complaint.error);
        (headers, said.unwrap_or_default())
    }

    /// Passes on the Hub's own warnings (`topic; text`), each topic once.
    fn pass_on_warnings(&self, headers: &HeaderMap, progress: &dyn Progress) {
        for warning in headers.get_all("x-hf-warning").iter().filter_map(|v| v.to_str().ok()) {
            let (topic, text) = warning.split_once(';').unwrap_or((warning, warning));
            let mut warned = lock(&self.warned);
            if warned.len() < WARNINGS && warned.insert(topic.trim().to_owned()) {
                let host = ShownUrl::from(&self.config.endpoint).host().to_owned();
                progress.event(Event::Notice { text: &format!("{host} says: {}", words(text)) });
            }
        }
    }

    /// Reads a bounded body as JSON. `serde_json` bounds the depth.
    #[cfg(feature = "xet")]
    pub(super) async fn json<T: DeserializeOwned>(&self, url: &Url, response: Response) -> Result<T, HubError> {
        self.json_within(url, response, PAGE_LIMIT).await.map(|(value, _)| value)
    }

    /// The same, of at most `limit` bytes; also returns how many there were.
    pub(super) async fn json_within<T: DeserializeOwned>(
        &self,
        url: &Url,
        response: Response,
        limit: usize,
    ) -> Result<(T, usize), HubError> {
        let html = is_web_page(response.headers());
        let body = self.http.body(url, response, limit).await?;
        if html {
            return Err(HubError::WebPage { url: url.into() });
        }
        let value = serde_json::from_slice(&body).map_err(|e| HubError::Protocol {
            url: url.into(),
            what: format!("the answer is not the expected JSON: {e}"),
        })?;
        self.http.retries.answered();
        Ok((value, body.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_to_ask_for_access_at_shows_no_password_of_the_endpoint() {
        let hub = Hub::new(HubConfig::new("https://me:secret@mirror.org/hf/").unwrap());
        assert_eq!(hub.page(RepoType::Dataset, &"o/n".parse().unwrap()), "https://mirror.org/hf/datasets/o/n");
    }
}
