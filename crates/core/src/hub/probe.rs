//! A server's answer about a file, without judgement: headers, redirects, a range as it comes. For
//! checking a mirror. `open` fetches files, and refuses what is only noted here.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::clients::Via;
use super::error::ShownUrl;
use super::headers::{bare_tag, is_web_page};
use super::host::name_of;
use super::open::parse_content_range;
use super::patience::Pace;
use super::redirect::{REDIRECT_LIMIT, Refusal, location, refusal};
use super::{Hub, HubError};
use crate::model::{RepoInfo, RepoPath};
use crate::progress::Progress;

/// Hosts that redirects may lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hosts(BTreeSet<String>);

impl Hosts {
    /// Adds a host; `.example.org` stands for all hosts below it.
    pub fn insert(&mut self, host: &str) {
        self.0.insert(host.trim().to_ascii_lowercase());
    }

    /// Adds the host of a server, and for the public Hub its hosts of files.
    pub fn insert_server(&mut self, url: &Url) {
        let Some(host) = url.host_str() else { return };
        self.insert(host);
        if host == "huggingface.co" {
            self.insert(".huggingface.co");
            self.insert(".hf.co");
        }
    }

    /// Whether the host is one of them.
    pub fn allow(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.0.contains(&host) || self.0.iter().any(|known| known.starts_with('.') && host.ends_with(known.as_str()))
    }
}

/// A redirect that was not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// To a host that is allowed; a HEAD request does not go there, since signed URLs are for GET only.
    Elsewhere,
    /// To a host that is not allowed.
    Foreign(ShownUrl),
    /// From https to http.
    PlainHttp(ShownUrl),
    /// To a text that is not a URL.
    Nowhere(String),
}

/// Judges one redirect.
fn stop(from: &Url, to: &Url, hosts: &Hosts) -> Option<Stop> {
    match refusal(from, to) {
        None => {}
        Some(Refusal::PlainHttp) => return Some(Stop::PlainHttp(to.into())),
        Some(Refusal::NotHttp) => return Some(Stop::Nowhere(ShownUrl::from(to).to_string())),
    }
    let allowed = from.host_str() == to.host_str() || to.host_str().is_some_and(|host| hosts.allow(host));
    (!allowed).then(|| Stop::Foreign(to.into()))
}

/// The part of a file that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Headers only.
    Head,
    /// All bytes.
    All,
    /// These bytes.
    Part(Range<u64>),
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The last status: 200, 206, 416, or that of a redirect which was not followed.
    pub status: StatusCode,
    /// `X-Repo-Commit`.
    pub commit: Option<String>,
    /// `X-Linked-ETag` or `ETag`, without quotes.
    pub etag: Option<String>,
    /// `X-Linked-ETag` alone, without quotes.
    pub linked_etag: Option<String>,
    /// `X-Linked-Size`, or the length of a whole body.
    pub size: Option<u64>,
    /// `X-Xet-Hash`.
    pub xet_hash: Option<String>,
    /// Why the last redirect was not followed.
    pub stop: Option<Stop>,
    /// Hosts that it was redirected to.
    pub hosts: Vec<String>,
    /// Whether the headers say that the body is a web page.
    pub html: bool,
    /// `Content-Length`, if nothing encodes the body.
    pub length: Option<u64>,
    /// `Content-Range`: the covered range and the total, if it can be read.
    pub covers: Option<(Range<u64>, Option<u64>)>,
    /// The URL that it came from.
    pub url: ShownUrl,
    address: Url,
    response: Response,
    pace: Pace,
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

impl Hub {
    /// Asks for a file at `info`'s commit, with retries; a refusal of the server is the error.
    pub(crate) async fn ask(
        &self,
        info: &RepoInfo,
        path: &RepoPath,
        ask: &Ask,
        hosts: &Hosts,
        progress: &dyn Progress,
    ) -> Result<Answer, HubError> {
        let mut failures = 0;
        loop {
            match self.try_ask(info, path, ask, hosts).await {
                Err(error) if error.is_retryable() => {
                    failures += 1;
                    self.http.retries.back_off(Some(path), error, failures, progress).await?;
                }
                other => return other,
            }
        }
    }

    async fn try_ask(&self, info: &RepoInfo, path: &RepoPath, ask: &Ask, hosts: &Hosts) -> Result<Answer, HubError> {
        let mut url = self.resolve_url(info, path)?;
        let (mut commit, mut etag, mut linked, mut size, mut xet_hash) = (None, None, None, None, None);
        let mut seen = Vec::new();
        for _ in 0..REDIRECT_LIMIT {
            let method = if *ask == Ask::Head { Method::HEAD } else { Method::GET };
            let mut request = self.request(Via::Data, method, &url)?;
            if let Ask::Part(range) = ask {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            }
            let response = self.send(Via::Data, &url, request).await?;
            let (status, headers) = (response.status(), response.headers());
            if *ask == Ask::Head {
                // The last answer counts, as in huggingface_hub, which reads the headers of the answer at which it
                // stops.
                (commit, etag, linked, size, xet_hash) = (None, None, None, None, None);
            }
            linked = linked.or_else(|| text(headers, "x-linked-etag"));
            commit = commit.or_else(|| text(headers, "x-repo-commit"));
            size = size.or_else(|| text(headers, "x-linked-size").and_then(|v| v.parse().ok()));
            xet_hash = xet_hash.or_else(|| text(headers, "x-xet-hash"));
            let tag = || text(headers, ETAG.as_str()).filter(|_| self.is_endpoint(&url));
            etag = etag.or_else(|| text(headers, "x-linked-etag").or_else(tag));
            let mut stopped = None;
            if status.is_redirection() {
                let location = location(headers).to_owned();
                match url.join(&location) {
                    Ok(target) if !location.is_empty() => {
                        seen.extend(target.host_str().map(str::to_owned));
                        stopped = stop(&url, &target, hosts);
                        if stopped.is_none() && *ask == Ask::Head && target.origin() != url.origin() {
                            stopped = Some(Stop::Elsewhere);
                        }
                        if stopped.is_none() {
                            url = target;
                            continue;
                        }
                    }
                    _ => stopped = Some(Stop::Nowhere(location)),
                }
            } else if !matches!(
                status,
                StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
            ) {
                let (headers, said) = self.complaint(&url, response).await;
                return Err(self.refusal(info, &url, status, &headers, &said));
            }
            self.http.retries.answered();
            let plain = !headers.contains_key(CONTENT_ENCODING);
            let length = text(headers, CONTENT_LENGTH.as_str()).and_then(|v| v.parse().ok()).filter(|_| plain);
            return Ok(Answer {
                status,
                commit,
                etag: etag.as_deref().map(bare_tag).map(str::to_owned),
                linked_etag: linked.as_deref().map(bare_tag).map(str::to_owned),
                size: size.or(length.filter(|_| status == StatusCode::OK)),
                xet_hash,
                stop: stopped,
                hosts: seen,
                html: is_web_page(headers),
                length,
                covers: text(headers, CONTENT_RANGE.as_str()).and_then(|v| parse_content_range(&v)),
                url: (&url).into(),
                address: url,
                response,
                pace: Pace::default(),
            });
        }
        let why = "too many redirects";
        Err(HubError::RedirectRefused { url: (&url).into(), to: "yet another address".into(), why })
    }

    /// The next bytes of an answer, or `None` after the last.
    pub(crate) async fn next_bytes(&self, answer: &mut Answer) -> Result<Option<Bytes>, HubError> {
        let (window, asked) = (self.config.timing.stall_timeout, Instant::now());
        let next = self.http.retries.within(&answer.address, "bytes", window, answer.response.chunk()).await?;
        let next = next.map_err(|e| HubError::of_library(&answer.address, &e))?;
        let least = self.http.retries.hosts.of(name_of(&answer.address)).least();
        let bytes = next.as_ref().map_or(0, Bytes::len);
        match answer.pace.is_too_slow(asked.elapsed(), bytes, window, least) {
            Some(came) if next.is_some() => Err(HubError::Trickle { url: (&answer.address).into(), came, window }),
            _ => Ok(next),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn a_redirect_stays_on_hosts_that_are_allowed_and_never_leaves_https() {
        let mut hosts = Hosts::default();
        hosts.insert_server(&url("https://huggingface.co"));
        hosts.insert("cdn.example.org");
        let judged = |from: &str, to: &str| stop(&url(from), &url(to), &hosts);
        assert_eq!(judged("https://m.org/a", "https://m.org:8443/b"), None);
        assert_eq!(judged("https://m.org/a", "https://cdn-lfs.hf.co/b?s=1"), None);
        assert_eq!(judged("http://m.org/a", "http://CDN.example.org/b"), None);
        assert!(matches!(judged("https://m.org/a", "https://evil-hf.co/b"), Some(Stop::Foreign(_))));
        assert!(matches!(judged("https://m.org/a", "https://hf.co.evil.org/b"), Some(Stop::Foreign(_))));
        assert!(matches!(judged("https://m.org/a", "http://m.org/b"), Some(Stop::PlainHttp(_))));
        assert!(matches!(judged("https://m.org/a", "file:///etc/passwd"), Some(Stop::Nowhere(_))));
    }
}
