//! The client: asks a Hub for a repo's commit and listing. Bytes of files are asked for in `open`.
//!
//! These requests are made with `reqwest` and not through `hf-hub`: its error type drops the
//! rate-limit headers of an answer, which all workers must obey, it reads bodies of any length, and where
//! it is given no token it takes one from the environment, whoever it asks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, LINK};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use super::claim::Claim;
use super::error::{Asked, ShownUrl};
use super::headers::{is_web_page, next_link};
use super::host::{HostTable, name_of};
use super::patience::Pace;
use super::redirect::{REDIRECT_LIMIT, redirect_target};
use super::wire::{InfoJson, Listed, TreeJson};
use super::xet::Xet;
use super::{HubConfig, HubError};
use crate::model::{Entry, Gated, Listing, Rejected, RepoId, RepoInfo, RepoPath, RepoType, Revision};
use crate::progress::Progress;

/// Everything but what RFC 3986 calls unreserved.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A page of a listing is at most 1,000 entries; this is far above what that can take.
const PAGE_LIMIT: usize = 64 << 20;
/// All pages of a listing together; those of 100,000 files have some 30 MB.
const LISTING_LIMIT: usize = 512 << 20;
/// Pages of one listing: ten million files.
const PAGES_LIMIT: usize = 10_000;

/// An answer of the API that takes longer than so many waits for single bytes may take is given up.
const ANSWER: u32 = 10;

/// A Hub, or a mirror of one.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: HubConfig,
    pub(super) api: Client,
    /// HTTP/1.1 only: over HTTP/2 all parts would share one TCP connection.
    pub(super) data: Client,
    pub(super) hosts: HostTable,
    #[cfg_attr(not(feature = "xet"), allow(dead_code))]
    pub(super) xet: Xet,
    /// What stands in its place, where the endpoint is an object store.
    #[cfg(feature = "object-store")]
    pub(super) objects: Option<std::sync::Arc<crate::objects::Objects>>,
}

/// An answer of the API that was read whole.
struct Told<T> {
    /// Who gave it.
    url: Url,
    headers: HeaderMap,
    value: T,
    /// Bytes of its body.
    length: usize,
}

/// Folders that are asked for one by one, of a listing that is not recursive.
const FOLDERS_ASKED: usize = 2000;

impl Hub {
    /// Sets up the HTTP clients; makes no request.
    pub fn new(config: HubConfig) -> Result<Self, HubError> {
        let setup = |error: reqwest::Error| HubError::Setup(error.to_string());
        let builder = || -> Result<reqwest::ClientBuilder, HubError> {
            let mut builder = Client::builder()
                .user_agent(&config.user_agent)
                .connect_timeout(config.connect_timeout)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true);
            if let Some(pem) = &config.certificates {
                let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(setup)?;
                builder = builder.tls_certs_merge(certificates);
            }
            Ok(builder)
        };
        let api = builder()?.build().map_err(setup)?;
        let data = builder()?.http1_only().build().map_err(setup)?;
        #[cfg(feature = "object-store")]
        let objects = match &config.objects {
            Some(url) => Some(std::sync::Arc::new(crate::objects::Objects::open(url)?)),
            None => None,
        };
        Ok(Hub {
            config,
            api,
            data,
            hosts: HostTable::default(),
            xet: Xet::default(),
            #[cfg(feature = "object-store")]
            objects,
        })
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// The endpoint, without what is secret in its URL: what is kept of one endpoint is not believed of another.
    pub fn endpoint(&self) -> String {
        let mut url = self.config.endpoint.clone();
        // Neither fails for a URL that has a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string()
    }

    /// Whether `url` may see the token: same scheme, host and port as the endpoint.
    pub(super) fn is_endpoint(&self, url: &Url) -> bool {
        url.origin() == self.config.endpoint.origin()
    }

    /// A request with at most one header that says who asks: to the endpoint, and to nobody else.
    pub(super) fn request(&self, client: &Client, method: Method, url: &Url) -> RequestBuilder {
        if !self.is_endpoint(url) {
            return client.request(method, url.clone());
        }
        // The HTTP library makes a header of its own from a URL's user.
        let mut bare = url.clone();
        // Neither fails for a URL that has a host.
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        let request = client.request(method, bare);
        let endpoint = &self.config.endpoint;
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        match &self.config.token {
            Some(token) => request.header(AUTHORIZATION, token.header()),
            None if endpoint.username().is_empty() && endpoint.password().is_none() => request,
            None => request.basic_auth(decoded(endpoint.username()), endpoint.password().map(decoded)),
        }
    }

    /// Sends a request when its host may be asked, and waits for the head of the answer.
    pub(super) async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, HubError> {
        let host = self.hosts.of(name_of(url));
        host.pass().await;
        let answer = self.within(url, "answer", self.config.response_timeout, request.send()).await?;
        let response = answer.map_err(|e| HubError::transport(url, &e))?;
        if response.status().is_success() || response.status().is_redirection() {
            host.answered();
        }
        Ok(response)
    }

    /// The page of a repo that people visit, without what is secret in the endpoint's URL.
    fn page(&self, repo_type: RepoType, id: &RepoId) -> String {
        let page = self.config.url(&format!("/{}{id}", repo_type.url_prefix()));
        Url::parse(&page).map_or_else(|_| id.to_string(), |page| ShownUrl::from(&page).to_string())
    }

    /// Where a file of the pinned commit is asked for.
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
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            return self.object_info(objects, repo_type, id, revision).await;
        }
        let (url, info) = self.claimed_info(repo_type, id, revision, progress).await?;
        if let Some(wanted) = revision.as_commit()
            && wanted != info.commit
        {
            let what = format!("asked for commit {wanted}, it answered with {}", info.commit);
            return Err(HubError::Protocol { url: (&url).into(), what });
        }
        Ok(info)
    }

    /// The same, whatever commit the answer names, and where it came from.
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
        let path = if repo_type == RepoType::Model { path + "?securityStatus=true" } else { path };
        let asked = self.asked(repo_type, id, revision.as_str());
        let told = match self.get_json(&self.config.url(&path), &asked, PAGE_LIMIT, progress).await {
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

    /// Every file at the pinned commit, page by page.
    pub async fn listing(&self, info: &RepoInfo, progress: &dyn Progress) -> Result<Listing, HubError> {
        #[cfg(feature = "object-store")]
        if let Some(objects) = &self.objects {
            return self.object_listing(objects, info).await;
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut rejected: Vec<Rejected> = Vec::new();
        // Some mirrors drop the query, and with it `recursive`: then folders are listed and nothing in them.
        let mut asked: BTreeSet<RepoPath> = BTreeSet::new();
        let mut pending: BTreeSet<RepoPath> = BTreeSet::new();
        let mut next: Option<RepoPath> = None;
        loop {
            let mut folders: BTreeSet<RepoPath> = BTreeSet::new();
            let before = entries.len() + rejected.len();
            self.rows(info, next.as_ref(), progress, |row| {
                match row.parse()? {
                    Listed::File(entry) => entries.push(entry),
                    Listed::Rejected(name) => rejected.push(name),
                    Listed::Folder(path) => drop(folders.insert(path)),
                    Listed::Other => {}
                }
                Ok(())
            })
            .await?;
            if let Some(folder) = &next
                && folders.is_empty()
                && entries.len() + rejected.len() == before
            {
                return Err(self.unlisted(folder));
            }
            pending.extend(folders.into_iter().filter(|folder| !asked.contains(folder)));
            // What files are below is listed: git has no empty folders.
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            let listed = |folder: &RepoPath| {
                let below = format!("{}/", folder.as_str());
                let at = entries.partition_point(|entry| entry.path.as_str() < below.as_str());
                entries.get(at).is_some_and(|entry| entry.path.as_str().starts_with(&below))
                    || rejected.iter().any(|name| name.error.text.starts_with(&below))
            };
            pending.retain(|folder| !listed(folder));
            let Some(folder) = pending.pop_first() else { break };
            if asked.len() >= FOLDERS_ASKED {
                return Err(self.unlisted(&folder));
            }
            asked.insert(folder.clone());
            next = Some(folder);
        }
        Ok(Listing::new(info.clone(), entries, rejected))
    }

    /// The same as a mirror lists it, sorted by name; what it does not say is missing and no error.
    pub(crate) async fn claims(&self, info: &RepoInfo, progress: &dyn Progress) -> Result<Vec<Claim>, HubError> {
        let mut claims: Vec<Claim> = Vec::new();
        self.rows(info, None, progress, |row| {
            claims.extend(row.claim());
            Ok(())
        })
        .await?;
        claims.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(claims)
    }

    /// That a folder is listed, and what is in it cannot be had.
    fn unlisted(&self, folder: &RepoPath) -> HubError {
        let what = format!("the listing names the folder {} and nothing in it", folder.shown());
        HubError::Protocol { url: (&self.config.endpoint).into(), what }
    }

    /// Every row of a listing: of the whole repo, or below a folder.
    async fn rows(
        &self,
        info: &RepoInfo,
        folder: Option<&RepoPath>,
        progress: &dyn Progress,
        mut take: impl FnMut(TreeJson) -> Result<(), String>,
    ) -> Result<(), HubError> {
        let commit = info.commit.to_string();
        let mut below = String::new();
        for segment in folder.into_iter().flat_map(RepoPath::segments) {
            below.push('/');
            below.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let (kind, id) = (info.repo_type.plural(), &info.canonical_id);
        let path = format!("/api/{kind}/{id}/tree/{commit}{below}?recursive=true");
        let asked = self.asked(info.repo_type, &info.id, &commit);
        let mut next = Some(self.config.url(&path));
        let mut seen = std::collections::HashSet::new();
        let mut left = LISTING_LIMIT;
        while let Some(page) = next.take() {
            let told = self.get_json(&page, &asked, left.min(PAGE_LIMIT), progress).await?;
            let Told { url, headers, value: rows, length }: Told<Vec<TreeJson>> = told;
            let protocol = |what: String| HubError::Protocol { url: (&url).into(), what };
            if !seen.insert(page) || seen.len() > PAGES_LIMIT {
                return Err(protocol(format!("the listing does not end ({} pages so far)", seen.len())));
            }
            let link = headers.get_all(LINK).iter().filter_map(|v| v.to_str().ok()).find_map(next_link);
            left -= length;
            if rows.is_empty() && link.is_some() && seen.len() > 2 {
                return Err(protocol("the listing does not end (an empty page names a next one)".into()));
            }
            for row in rows {
                take(row).map_err(&protocol)?;
            }
            if let Some(link) = link {
                let target = url.join(&link).map_err(|_| protocol("its link to the next page is no URL".into()))?;
                if !self.is_endpoint(&target) {
                    let to = ShownUrl::from(&target).to_string();
                    return Err(HubError::RedirectRefused {
                        url: (&url).into(),
                        to,
                        why: "the next page of a listing must be on the same host",
                    });
                }
                next = Some(target.to_string());
            }
        }
        Ok(())
    }

    /// What the API answers to a GET, with retries; redirects are followed on the endpoint only.
    async fn get_json<T: DeserializeOwned>(
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
                let (value, length) = self.json_within(&url, response, limit).await?;
                Ok(Told { url, headers, value, length })
            };
            match told.await {
                Err(error) if HubError::is_retryable(&error) => {
                    failures += 1;
                    self.back_off(None, error, failures, progress).await?;
                }
                other => return other,
            }
        }
    }

    pub(super) async fn try_api(&self, url: &str, asked: &Asked<'_>) -> Result<(Url, Response), HubError> {
        let mut url = Url::parse(url).map_err(|e| HubError::Setup(format!("{url}: {e}")))?;
        for _ in 0..REDIRECT_LIMIT {
            let response = self.send(&url, self.request(&self.api, Method::GET, &url)).await?;
            let status = response.status();
            if status.is_redirection() {
                let target = redirect_target(&url, &response)?;
                if !self.is_endpoint(&target) {
                    let to = ShownUrl::from(&target).to_string();
                    return Err(HubError::RedirectRefused {
                        url: (&url).into(),
                        to,
                        why: "the API must not send us to another host",
                    });
                }
                url = target;
                continue;
            }
            if status != StatusCode::OK {
                return Err(asked.refuse(&url, status, response.headers()));
            }
            return Ok((url, response));
        }
        Err(HubError::RedirectRefused {
            url: (&url).into(),
            to: "yet another address".into(),
            why: "too many redirects",
        })
    }

    /// A bounded wait.
    pub(super) async fn within<T>(
        &self,
        url: &Url,
        what: &'static str,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, HubError> {
        tokio::time::timeout(limit, work).await.map_err(|_| HubError::Timeout { url: url.into(), what, after: limit })
    }

    /// Reads a bounded body as JSON. `serde_json` bounds the depth.
    #[cfg(feature = "xet")]
    pub(super) async fn json<T: DeserializeOwned>(&self, url: &Url, response: Response) -> Result<T, HubError> {
        self.json_within(url, response, PAGE_LIMIT).await.map(|(value, _)| value)
    }

    /// The same of at most `limit` bytes, with how many there were.
    pub(super) async fn json_within<T: DeserializeOwned>(
        &self,
        url: &Url,
        mut response: Response,
        limit: usize,
    ) -> Result<(T, usize), HubError> {
        let html = is_web_page(response.headers());
        let mut body = Vec::new();
        let least = self.hosts.of(name_of(url)).least();
        let window = self.config.stall_timeout;
        let (began, mut pace) = (Instant::now(), Pace::default());
        loop {
            let asked = Instant::now();
            let chunk = self.within(url, "bytes", window, response.chunk()).await?;
            let Some(chunk) = chunk.map_err(|e| HubError::transport(url, &e))? else { break };
            if body.len() + chunk.len() > limit {
                return Err(HubError::Protocol {
                    url: url.into(),
                    what: format!("the answer is longer than {limit} bytes"),
                });
            }
            if let Some(came) = pace.is_too_slow(asked.elapsed(), chunk.len(), window, least) {
                return Err(HubError::Trickle { url: url.into(), came, window });
            }
            if began.elapsed() > window * ANSWER {
                return Err(HubError::Timeout { url: url.into(), what: "end of the answer", after: window * ANSWER });
            }
            body.extend_from_slice(&chunk);
        }
        if html {
            return Err(HubError::WebPage { url: url.into() });
        }
        let value = serde_json::from_slice(&body).map_err(|e| HubError::Protocol {
            url: url.into(),
            what: format!("the answer is not the expected JSON: {e}"),
        })?;
        self.answered();
        Ok((value, body.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_to_ask_for_access_at_shows_no_password_of_the_endpoint() {
        let hub = Hub::new(HubConfig::new("https://me:secret@mirror.org/hf/").unwrap()).unwrap();
        assert_eq!(hub.page(RepoType::Dataset, &"o/n".parse().unwrap()), "https://mirror.org/hf/datasets/o/n");
    }
}
