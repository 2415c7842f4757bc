//! The rules of redirects for every request. `probe` judges which hosts a mirror may use.

use reqwest::Response;
use reqwest::header::{HeaderMap, LOCATION};
use url::Url;

use super::HubError;
use super::error::ShownUrl;

/// The most redirects of one request.
pub(crate) const REDIRECT_LIMIT: usize = 8;

/// Redirects that are never allowed, whatever the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// From https to http.
    PlainHttp,
    /// To a URL that is neither.
    NotHttp,
}

/// Judges the schemes: only http and https, and never from https to http.
pub(super) fn refusal(from: &Url, to: &Url) -> Option<Refusal> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => None,
        ("https", "http") => Some(Refusal::PlainHttp),
        _ => Some(Refusal::NotHttp),
    }
}

/// The target of the redirect that answers a request for `url`.
pub(crate) fn redirect_target(url: &Url, response: &Response) -> Result<Url, HubError> {
    target(url, location(response.headers()))
}

/// The `Location` header. Some servers write UTF-8 names into it without encoding.
pub(crate) fn location(headers: &HeaderMap) -> &str {
    headers.get(LOCATION).and_then(|v| std::str::from_utf8(v.as_bytes()).ok()).unwrap_or("")
}

/// Whether this is the same host over HTTPS instead of plain HTTP.
pub(crate) fn is_upgrade(from: &Url, to: &Url) -> bool {
    (from.scheme(), to.scheme()) == ("http", "https") && from.host() == to.host()
}

pub(crate) fn target(url: &Url, location: &str) -> Result<Url, HubError> {
    let refused = |to: String, why| HubError::RedirectRefused { url: url.into(), to, why };
    if location.is_empty() {
        return Err(refused("nowhere".into(), "it names no location"));
    }
    let target =
        url.join(location).map_err(|_| refused(crate::text::printable(location).into_owned(), "it is not a URL"))?;
    let to = || ShownUrl::from(&target).to_string();
    match refusal(url, &target) {
        None => Ok(target),
        Some(Refusal::PlainHttp) => Err(refused(to(), "it leaves https for http")),
        Some(Refusal::NotHttp) => Err(refused(to(), "it is neither http nor https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(from: &str, location: &str) -> Result<String, String> {
        target(&from.parse().unwrap(), location).map(|to| to.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_fetch_never_leaves_https_and_reads_no_local_file() {
        assert_eq!(judged("https://h.org/a/b", "/c?x=1").as_deref(), Ok("https://h.org/c?x=1"));
        assert_eq!(judged("https://h.org/a", "//cdn.org/c").as_deref(), Ok("https://cdn.org/c"));
        assert_eq!(judged("http://h.org/a", "https://cdn.org/c").as_deref(), Ok("https://cdn.org/c"));
        assert_eq!(judged("http://h.org/a", "http://cdn.org/c").as_deref(), Ok("http://cdn.org/c"));
        for (location, why) in [
            ("http://h.org/a", "it leaves https for http"),
            ("HTTP://cdn.org/a", "it leaves https for http"),
            ("file:///etc/passwd", "it is neither http nor https"),
            ("ftp://h.org/a", "it is neither http nor https"),
            ("data:text/plain,x", "it is neither http nor https"),
            ("https://", "it is not a URL"),
            ("", "it names no location"),
        ] {
            let error = judged("https://h.org/a", location).unwrap_err();
            assert!(error.contains(why), "{location}: {error}");
        }
    }

    #[test]
    fn a_signed_query_and_control_characters_are_not_shown() {
        let error = judged("https://h.org/a", "http://cdn.org/a?X-Amz-Signature=secret").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        let error = judged("https://h.org/a", "https://[\u{1b}[2J").unwrap_err();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}
