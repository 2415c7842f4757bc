//! Bytes of one file: resolve, redirects by hand, ranges, and every way in which a server's answer
//! can differ from the request.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::body::{Body, BytesFrom};
use super::clients::Via;
use super::error::ShownUrl;
use super::headers::{bare_tag, is_web_page};
use super::host::name_of;
use super::redirect::{REDIRECT_LIMIT, redirect_target};
use super::{Hub, HubError};
use crate::model::{Entry, RepoInfo, RepoPath};
use crate::mutex::lock;

/// A file on the Hub, and the signed URL where it was last found.
#[derive(Debug)]
pub struct Remote {
    pub(super) info: Arc<RepoInfo>,
    pub(super) entry: Entry,
    found: Mutex<Located>,
    /// Whether its bytes come over Xet.
    xet: AtomicBool,
    /// Whether a header has contradicted the listing; that counts only once.
    doubted: AtomicBool,
    /// Whether other servers have it, so that the run does not wait for a host that asked for a pause.
    hurried: AtomicBool,
    /// Locked while the file is being resolved, so that many connections make one request.
    resolving: tokio::sync::Mutex<()>,
}

/// Where a file's bytes were last found.
#[derive(Debug, Clone, Default)]
enum Located {
    /// No request was made yet, or the found URL cannot be used any more.
    #[default]
    Unknown,
    /// At the endpoint itself.
    Here,
    /// At a signed URL.
    Signed(Url),
}

impl Remote {
    /// A file without any request yet; its bytes come over HTTP.
    pub fn new(info: Arc<RepoInfo>, entry: Entry) -> Self {
        let xet = AtomicBool::new(false);
        let (hurried, doubted) = (AtomicBool::new(false), AtomicBool::new(false));
        Remote { info, entry, xet, hurried, doubted, found: Mutex::default(), resolving: tokio::sync::Mutex::default() }
    }

    /// Its entry in the listing.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its name in the repo.
    pub(crate) fn path(&self) -> &RepoPath {
        &self.entry.path
    }

    /// From now on its bytes come over Xet, or over HTTP again.
    pub(crate) fn use_xet(&self, yes: bool) {
        self.xet.store(yes, Ordering::Relaxed);
    }

    /// Sets whether other servers have it, so that the run does not wait for a host that asked for a pause.
    pub(crate) fn hurry(&self, yes: bool) {
        self.hurried.store(yes, Ordering::Relaxed);
    }

    /// Whether its bytes come over Xet.
    pub(crate) fn is_over_xet(&self) -> bool {
        self.xet.load(Ordering::Relaxed)
    }

    fn found(&self) -> Located {
        lock(&self.found).clone()
    }

    fn remember(&self, found: Located) {
        *lock(&self.found) = found;
    }
}

impl Hub {
    /// Asks for a range of a file: one request if its signed URL is still valid, otherwise the
    /// resolve URL and its redirects.
    pub async fn open<'a>(&'a self, remote: &Remote, range: Range<u64>) -> Result<Body<'a>, HubError> {
        if remote.is_over_xet() {
            let (url, body) = self.open_xet(&remote.info, &remote.entry, range.clone()).await?;
            return Ok(Body::new(&self.http.retries, url, BytesFrom::Xet(body, self), range));
        }
        let mut alone = None;
        if matches!(remote.found(), Located::Unknown) {
            alone = Some(remote.resolving.lock().await);
        }
        if let Located::Signed(url) = remote.found() {
            drop(alone.take());
            match self.try_open(remote, url, &range).await {
                // Signed URLs expire: resolve again, immediately.
                Err(HubError::LinkRefused { .. }) => remote.remember(Located::Unknown),
                Err(error) => {
                    remote.remember(Located::Unknown);
                    return Err(error);
                }
                Ok(body) => return Ok(body),
            }
            alone = Some(remote.resolving.lock().await);
            if let Located::Signed(url) = remote.found() {
                // Another connection has renewed it.
                drop(alone.take());
                return self.try_open(remote, url, &range).await;
            }
        }
        let url = self.resolve_url(&remote.info, &remote.entry.path)?;
        let body = self.try_open(remote, url, &range).await;
        drop(alone);
        body
    }

    async fn try_open<'a>(&'a self, remote: &Remote, mut url: Url, range: &Range<u64>) -> Result<Body<'a>, HubError> {
        let size = remote.entry.size;
        for _ in 0..REDIRECT_LIMIT {
            let mut request = self.request(Via::Data, Method::GET, &url)?;
            if *range != (0..size) {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            }
            let host = self.http.retries.hosts.of(name_of(&url));
            if remote.hurried.load(Ordering::Relaxed) && host.is_held() {
                return Err(HubError::Held { url: (&url).into() });
            }
            let response = self.send(Via::Data, &url, request).await?;
            let status = response.status();
            if self.is_endpoint(&url) && (status.is_redirection() || status.is_success()) {
                let doubt = check_promises(&url, response.headers(), &remote.entry);
                // A header is only a hint. If it contradicts the listing, the run tries once more or asks another
                // server; after that the bytes decide.
                if let Err(error) = doubt
                    && !remote.doubted.swap(true, Ordering::Relaxed)
                {
                    return Err(error);
                }
            }
            if status.is_redirection() {
                url = redirect_target(&url, &response)?;
                let found = if self.is_endpoint(&url) { Located::Here } else { Located::Signed(url.clone()) };
                remote.remember(found);
                continue;
            }
            if matches!(remote.found(), Located::Unknown) {
                remote.remember(Located::Here);
            }
            if status.is_client_error() && status != StatusCode::RANGE_NOT_SATISFIABLE || status.is_server_error() {
                let (headers, said) = self.complaint(&url, response).await;
                return Err(self.refusal(&remote.info, &url, status, &headers, &said));
            }
            return self.accept(remote, url, response, range);
        }
        Err(HubError::RedirectRefused {
            url: (&url).into(),
            to: "yet another address".into(),
            why: "too many redirects",
        })
    }

    /// Checks that an answer is the requested range, or the whole file.
    fn accept<'a>(
        &'a self,
        remote: &Remote,
        url: Url,
        response: Response,
        range: &Range<u64>,
    ) -> Result<Body<'a>, HubError> {
        let size = remote.entry.size;
        let headers = response.headers();
        let shown = || ShownUrl::from(&url);
        let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let wrong = |got: &str| HubError::WrongRange {
            url: shown(),
            wanted: format!("{}-{}", range.start, range.end.saturating_sub(1)),
            got: crate::text::printable(got).into_owned(),
        };
        let covers = match response.status() {
            StatusCode::OK => 0..size,
            StatusCode::PARTIAL_CONTENT => {
                let text = headers.get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or("no Content-Range");
                let (covers, total) = parse_content_range(text).ok_or_else(|| wrong(text))?;
                if let Some(total) = total
                    && total != size
                {
                    return Err(HubError::WrongLength { url: shown(), got: total, expected: size });
                }
                if covers.start != range.start || covers.end > range.end || covers.is_empty() {
                    return Err(wrong(text));
                }
                covers
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total =
                    headers.get(CONTENT_RANGE).and_then(|v| v.to_str().ok()?.strip_prefix("bytes */")?.parse().ok());
                return Err(match total.filter(|total| *total != size) {
                    Some(got) => HubError::WrongLength { url: shown(), got, expected: size },
                    // Its size is right or not stated: only the range is refused.
                    None => wrong("416, which refuses the range"),
                });
            }
            status => {
                return Err(self.refusal(&remote.info, &url, status, headers, ""));
            }
        };
        let html = is_web_page(headers);
        let name = remote.entry.path.file_name();
        if html && length != Some(covers.end - covers.start) && !name.to_ascii_lowercase().ends_with(".html") {
            return Err(HubError::WebPage { url: shown() });
        }
        if let Some(length) = length
            && length != covers.end - covers.start
        {
            return Err(HubError::WrongLength { url: shown(), got: covers.start + length, expected: covers.end });
        }
        Ok(Body::new(&self.http.retries, url, BytesFrom::Http(response), covers))
    }
}

impl Hub {
    /// The error that an error status means for a file.
    pub(super) fn refusal(
        &self,
        info: &RepoInfo,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
        said: &str,
    ) -> HubError {
        let shown = || ShownUrl::from(url);
        // A CDN has no repos: its 401, 403 and 404 are about the link, and another one may be good.
        match self.asked(info.repo_type, &info.id, "").refuse(url, status, headers, said) {
            // Some stores answer like this if a link has expired.
            HubError::Status { status, .. } | HubError::NotServed { status, .. }
                if !self.is_endpoint(url) && matches!(status.as_u16(), 400 | 404 | 410) =>
            {
                HubError::LinkRefused { url: shown(), status }
            }
            HubError::NotServed { status: StatusCode::NOT_FOUND, .. } => HubError::EntryNotFound { url: shown() },
            HubError::RepoNotFound { .. }
            | HubError::EntryNotFound { .. }
            | HubError::BadToken { .. }
            | HubError::Forbidden { .. }
                if !self.is_endpoint(url) =>
            {
                HubError::LinkRefused { url: shown(), status }
            }
            other => other,
        }
    }
}

/// Checks that the endpoint's headers agree with its listing.
fn check_promises(url: &Url, headers: &HeaderMap, entry: &Entry) -> Result<(), HubError> {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(size) = header("x-linked-size").and_then(|v| v.parse::<u64>().ok())
        // Some proxies say 0 for every file.
        && size != entry.size
        && size != 0
    {
        return Err(HubError::WrongLength { url: url.into(), got: size, expected: entry.size });
    }
    let etag = header("x-linked-etag").or_else(|| header(ETAG.as_str()).filter(|_| headers.get("location").is_none()));
    if let Some(etag) = etag {
        let etag = bare_tag(etag);
        // Only a tag in the form of the listed digest can be compared: mirrors make up their own tags.
        let expected = entry.digest().to_string();
        if etag.len() == expected.len()
            && etag.bytes().all(|b| b.is_ascii_hexdigit())
            && !etag.eq_ignore_ascii_case(&expected)
        {
            return Err(HubError::Changed { url: url.into(), got: etag.to_owned(), expected });
        }
    }
    Ok(())
}

/// `bytes 0-9/100` as the covered range and the total, which may be `*`.
pub(crate) fn parse_content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = if total == "*" { None } else { Some(total.trim().parse().ok()?) };
    Some((first..last.checked_add(1)?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0..10, Some(100))));
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5..6, None)));
        for bad in ["", "bytes */100", "items 0-9/100", "bytes 0-18446744073709551615/1", "bytes 9/100"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
