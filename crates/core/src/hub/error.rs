//! The errors of a Hub, which of them are worth a retry, and the remedies.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use url::Url;

use super::config::Token;
use crate::finding::{Again, BadServer, ErrorKind, Remedy};
use crate::text::{hidden, innermost, printable};

/// A URL that is safe to show: without user, query (signed URLs are secrets) and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownUrl(String);

impl From<&Url> for ShownUrl {
    fn from(url: &Url) -> Self {
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        let _ = url.set_username("");
        let _ = url.set_password(None);
        ShownUrl(printable(url.as_str()).into_owned())
    }
}

impl ShownUrl {
    /// From a text without secrets.
    pub(crate) fn of_text(text: &str) -> Self {
        ShownUrl(printable(text).into_owned())
    }

    /// The host and port alone.
    pub(super) fn host(&self) -> &str {
        let start = self.0.find("://").map_or(0, |at| at + 3);
        self.0[start..].split('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why the Hub gave no answer, or not the expected one.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the messages explain the variants, the names explain the fields
pub enum HubError {
    #[error("{repo} was not found at {endpoint}{}", if *.has_token { "" } else { ", or it is private and no token was given" })]
    RepoNotFound { repo: String, endpoint: String, has_token: bool },
    #[error("{repo} has no revision \"{revision}\"")]
    RevisionNotFound { repo: String, revision: String, known: Vec<String> },
    #[error("{url} is no longer in the repo")]
    EntryNotFound { url: ShownUrl },
    #[error("you have no access to {repo} yet{}", said(.message))]
    Gated { repo: String, page: String, has_token: bool, message: String },
    #[error("{repo} was disabled by the Hub{}", said(.message))]
    Disabled { repo: String, message: String },
    #[error("the token was refused by {endpoint}{}", said(.message))]
    BadToken { endpoint: String, message: String },
    #[error("{url} is forbidden{}", said(.message))]
    Forbidden { url: ShownUrl, message: String },
    #[error("{url} refuses the link that the Hub gave: {status}")]
    LinkRefused { url: ShownUrl, status: StatusCode },
    #[error("{} limits requests and asks to wait {} s", .url.host(), .wait.as_secs())]
    RateLimited { url: ShownUrl, wait: Duration },
    #[error("{} asks clients to pause", .url.host())]
    Held { url: ShownUrl },
    #[error("{url} answered {status} and gave no reason")]
    NotServed { url: ShownUrl, status: StatusCode },
    #[error("{url}: the server lists no files there: {what}")]
    NoListing { url: ShownUrl, what: String },
    #[error("{url}: the proxy asks for a user name and a password (407)")]
    ProxyLogin { url: ShownUrl },
    #[error("{url} asks for a user name and a password")]
    NeedsLogin { url: ShownUrl },
    #[error("{url} answered {status}{}", said(.message))]
    Status { url: ShownUrl, status: StatusCode, message: String, wait: Option<Duration> },
    #[error("{url}: no {what} for {} s", .after.as_secs_f64())]
    Timeout { url: ShownUrl, what: &'static str, after: Duration },
    #[error("{url}: only {came} bytes in {} s", .window.as_secs_f64())]
    Trickle { url: ShownUrl, came: u64, window: Duration },
    #[error("{url}: cannot connect: {what}")]
    NoConnection { url: ShownUrl, what: String },
    #[error("{url}: the connection broke: {what}")]
    Network { url: ShownUrl, what: String },
    #[error("{url}: its certificate is not trusted: {why}")]
    Untrusted { url: ShownUrl, why: String },
    #[error("{url}: the body ended after {got} of {expected} bytes")]
    CutShort { url: ShownUrl, got: u64, expected: u64 },
    #[error("{url} sent a web page instead of the file (a login page or a proxy's notice?)")]
    WebPage { url: ShownUrl },
    #[error("{url} serves {got} bytes, but the listing says {expected}")]
    WrongLength { url: ShownUrl, got: u64, expected: u64 },
    #[error("{url} answered a request for bytes {wanted} with {got}")]
    WrongRange { url: ShownUrl, wanted: String, got: String },
    #[error("{url} serves other content than the listing names: its ETag is {got}, the listing has {expected}")]
    Changed { url: ShownUrl, got: String, expected: String },
    #[error("{url}: {what}")]
    Protocol { url: ShownUrl, what: String },
    /// A source on this machine's disk (an image layout) cannot be read.
    #[error("{url}: {what}")]
    Local { url: ShownUrl, what: String },
    #[error("{url} redirects to {to}, which is refused: {why}")]
    RedirectRefused { url: ShownUrl, to: String, why: &'static str },
    #[error("{url}: Xet: {what}")]
    Xet { url: ShownUrl, what: String },
    #[error("cannot set up the HTTP client: {0}")]
    Setup(String),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl HubError {
    /// The message with the host instead of the URL, for places that name the file anyway.
    pub(crate) fn brief(&self) -> String {
        let text = self.to_string();
        match self {
            HubError::EntryNotFound { url }
            | HubError::Forbidden { url, .. }
            | HubError::NotServed { url, .. }
            | HubError::NoListing { url, .. }
            | HubError::NeedsLogin { url }
            | HubError::ProxyLogin { url }
            | HubError::Status { url, .. }
            | HubError::Timeout { url, .. }
            | HubError::Trickle { url, .. }
            | HubError::NoConnection { url, .. }
            | HubError::Network { url, .. }
            | HubError::Untrusted { url, .. }
            | HubError::CutShort { url, .. }
            | HubError::WebPage { url }
            | HubError::LinkRefused { url, .. }
            | HubError::WrongLength { url, .. }
            | HubError::WrongRange { url, .. }
            | HubError::Changed { url, .. }
            | HubError::Protocol { url, .. }
            | HubError::Xet { url, .. }
            | HubError::RedirectRefused { url, .. } => text.replacen(&url.0, url.host(), 1),
            _ => text,
        }
    }

    /// Whether a server was asked over HTTPS and answered in plain HTTP.
    pub(crate) fn is_plain_http(&self) -> bool {
        matches!(self, HubError::NoConnection { what, .. } if what == NO_TLS)
    }

    /// Whether another try may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            HubError::Status { status, .. } => is_passing(*status),
            _ if self.is_plain_http() => false,
            HubError::Timeout { .. }
            | HubError::Trickle { .. }
            | HubError::Held { .. }
            | HubError::NoConnection { .. }
            | HubError::Network { .. }
            | HubError::CutShort { .. }
            | HubError::WebPage { .. }
            | HubError::WrongLength { .. }
            | HubError::WrongRange { .. }
            | HubError::Xet { .. }
            | HubError::LinkRefused { .. }
            | HubError::Changed { .. } => true,
            _ => false,
        }
    }

    /// Whether no server answered, or only one that cannot serve for now. Time may cure it, and no wrong bytes came.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(
            self,
            HubError::Status { .. }
                | HubError::Timeout { .. }
                | HubError::Trickle { .. }
                | HubError::NoConnection { .. }
                | HubError::Network { .. }
                | HubError::CutShort { .. }
        ) && self.is_retryable()
    }

    /// The host that refuses requests as too many, or that asks for a pause, and the length of the pause, if it states
    /// one.
    pub(crate) fn limit(&self) -> Option<(&ShownUrl, Option<Duration>)> {
        match self {
            HubError::Status { url, status, wait, .. }
                if wait.is_some() || *status == StatusCode::TOO_MANY_REQUESTS =>
            {
                Some((url, *wait))
            }
            _ => None,
        }
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            HubError::RepoNotFound { .. }
            | HubError::RevisionNotFound { .. }
            | HubError::EntryNotFound { .. }
            | HubError::Gated { .. }
            | HubError::Disabled { .. }
            | HubError::BadToken { .. }
            | HubError::LinkRefused { .. }
            | HubError::NeedsLogin { .. }
            | HubError::Forbidden { .. } => ErrorKind::NotAvailable,
            HubError::WrongLength { .. } | HubError::Changed { .. } => ErrorKind::Integrity,
            HubError::Local { .. } => ErrorKind::Local,
            _ => ErrorKind::Network,
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            // An object store, a registry or an archive knows no spelling and no token of the Hub.
            HubError::RepoNotFound { endpoint, .. } if !endpoint.starts_with("http") => Remedy::NameRepoThere,
            HubError::RepoNotFound { endpoint, has_token, .. } => Remedy::CheckRepo {
                has_token: *has_token,
                public_hub: endpoint.trim_end_matches('/') == super::config::PUBLIC_ENDPOINT,
            },
            HubError::RevisionNotFound { revision, known, .. } if !known.is_empty() => {
                Remedy::NameOneOf { asked: revision.clone(), there: known.clone() }
            }
            HubError::RevisionNotFound { .. } => Remedy::NameRevision,
            HubError::Gated { page, has_token, .. } => {
                Remedy::AskForAccess { page: page.clone(), has_token: *has_token }
            }
            HubError::BadToken { .. } => Remedy::RenewToken,
            HubError::RateLimited { .. } => Remedy::RunAgain { why: Again::LimitPasses },
            HubError::RedirectRefused { to, why, .. } if *why == ANOTHER_HOST => {
                let end = to.match_indices('/').nth(2).map_or(to.len(), |(at, _)| at);
                Remedy::UseEndpoint { endpoint: to[..end].to_owned() }
            }
            HubError::NoListing { .. } => Remedy::UseAsMirror,
            HubError::NeedsLogin { .. } => Remedy::GiveLogin,
            HubError::ProxyLogin { .. } => Remedy::GiveProxyLogin,
            HubError::Untrusted { .. } => Remedy::TrustIssuer,
            _ if self.is_plain_http() => Remedy::UsePlainHttp,
            HubError::NoConnection { .. } => Remedy::CheckNetwork,
            HubError::Timeout { .. }
            | HubError::Trickle { .. }
            | HubError::Network { .. }
            | HubError::CutShort { .. } => Remedy::RunAgain { why: Again::Resumes },
            HubError::Xet { .. } => Remedy::RunAgain { why: Again::OverHttp },
            HubError::LinkRefused { .. } => Remedy::RunAgain { why: Again::LinkExpired },
            HubError::WebPage { .. } => Remedy::LogInToNetwork,
            HubError::EntryNotFound { .. } | HubError::Changed { .. } | HubError::WrongLength { .. } => {
                Remedy::UseOtherEndpoint { why: BadServer::Stale }
            }
            _ => return None,
        })
    }

    /// From an error of the HTTP library.
    pub(crate) fn of_library(url: &Url, error: &reqwest::Error) -> Self {
        HubError::transport(url, error, error.is_connect())
    }

    /// From a transport error, without the full URL that the HTTP library would print. `connecting` says whether there was no
    /// connection yet.
    pub(super) fn transport(url: &Url, error: &(dyn std::error::Error + 'static), connecting: bool) -> Self {
        let text = innermost(error).to_string();
        // rustls uses these words for every refusal of a certificate. Its error is inside those of three libraries.
        if let Some((_, why)) = text.split_once("invalid peer certificate: ") {
            return HubError::Untrusted { url: url.into(), why: printable(why).into_owned() };
        }
        // The HTTP library gives only this text if a proxy refuses a tunnel.
        if text.contains("proxy authorization required") {
            return HubError::ProxyLogin { url: url.into() };
        }
        // The first bytes of the answer are not TLS.
        let what = if text.contains("InvalidContentType") { NO_TLS.to_owned() } else { printable(&text).into_owned() };
        if connecting {
            HubError::NoConnection { url: url.into(), what }
        } else {
            HubError::Network { url: url.into(), what }
        }
    }
}

/// Whether a status means a passing condition. An unknown status counts as the first of its class (RFC 9110, section
/// 15).
pub(crate) fn is_passing(status: StatusCode) -> bool {
    match status.as_u16() {
        408 | 425 | 429 => true,
        // Not implemented, HTTP version not supported, and a network that demands a login.
        501 | 505 | 511 => false,
        code => code >= 500,
    }
}

/// The start of the Hub's message about a disabled resource, whatever the status.
const DISABLED: &str = "Access to this resource is disabled";
/// Why there is no connection, if a server answers in plain HTTP.
pub(crate) const NO_TLS: &str = "the server does not speak HTTPS on this port";
/// Why an API request does not follow a redirect to another host.
pub(super) const ANOTHER_HOST: &str = "the API must not send us to another host";

/// Whether a server asks for a user name and a password. No Hub does.
fn asks_for_password(headers: &HeaderMap) -> bool {
    let scheme = |value: &reqwest::header::HeaderValue| {
        value.as_bytes().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
    };
    headers.get_all(reqwest::header::WWW_AUTHENTICATE).iter().any(scheme)
}

/// The subject of a request; turns an error answer into a `HubError`.
pub(super) struct Asked<'a> {
    pub repo: String,
    pub revision: &'a str,
    pub endpoint: &'a Url,
    pub page: String,
    pub token: Option<&'a Token>,
}

/// The first characters of a server's message, safe to print.
pub(crate) fn words(text: &str) -> String {
    // A server, or a proxy in front of it, may repeat the secrets that it received. They are hidden before the text is
    // cut.
    printable(&hidden(text).trim().chars().take(300).collect::<String>()).into_owned()
}

impl Asked<'_> {
    /// Reads `X-Error-Code` and `X-Error-Message`, which the Hub sends with every error.
    /// `told` is the message in the body, for servers without these headers.
    pub fn refuse(&self, url: &Url, status: StatusCode, headers: &HeaderMap, told: &str) -> HubError {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("");
        let message = words(if header("x-error-message").is_empty() { told } else { header("x-error-message") });
        let disabled = status == StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS || message.starts_with(DISABLED);
        // The id by which the server's operator can find the request.
        let request =
            ["x-request-id", "x-amzn-trace-id", "x-amz-cf-id"].map(header).into_iter().find(|id| !id.is_empty());
        let message = match request.map(words) {
            Some(request) if message.is_empty() => format!("request {request}"),
            Some(request) => format!("{message} (request {request})"),
            None => message,
        };
        let repo = self.repo.clone();
        let endpoint = ShownUrl::from(self.endpoint).to_string();
        let gated = || HubError::Gated {
            repo: repo.clone(),
            page: self.page.clone(),
            has_token: self.token.is_some(),
            message: message.clone(),
        };
        match (header("x-error-code"), status.as_u16()) {
            ("GatedRepo", _) => gated(),
            ("DisabledRepo", _) => HubError::Disabled { repo, message },
            _ if disabled => HubError::Disabled { repo, message },
            ("RevisionNotFound", _) => {
                HubError::RevisionNotFound { repo, revision: printable(self.revision).into_owned(), known: Vec::new() }
            }
            ("EntryNotFound", _) => HubError::EntryNotFound { url: url.into() },
            ("RepoNotFound", _) => HubError::RepoNotFound { repo, endpoint, has_token: self.token.is_some() },
            // The server has no such address at all; the Hub's own errors have a code.
            ("", 400 | 404 | 405 | 501) => HubError::NotServed { url: url.into(), status },
            (_, 407) => HubError::ProxyLogin { url: url.into() },
            ("", 401) if asks_for_password(headers) => HubError::NeedsLogin { url: url.into() },
            (_, 401) if self.token.is_some() => HubError::BadToken { endpoint, message },
            // Without a token the Hub does not distinguish a missing repo from a private one.
            (_, 401) => HubError::RepoNotFound { repo, endpoint, has_token: false },
            (_, 403) => HubError::Forbidden { url: url.into(), message },
            _ => HubError::Status { url: url.into(), status, message, wait: super::retry::asked_wait(headers) },
        }
    }
}
