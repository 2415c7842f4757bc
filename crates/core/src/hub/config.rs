//! How to reach a Hub: endpoint, token, transport. `environment` reads the variables; no request is made here.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::header::HeaderValue;
use url::Url;

use super::environment::{Proxies, endpoint_of, find_token, is_truthy};
use super::{ShownUrl, Timing, tls};
use crate::text::{keep_secret, printable};

/// The public Hub.
pub const PUBLIC_ENDPOINT: &str = "https://huggingface.co";

/// An access token. It prints as `***`. Its clones are renewed with it.
#[derive(Clone)]
pub struct Token(Arc<RwLock<HeaderValue>>);

impl Token {
    /// Checks that the text is valid in a header, and hides it from now on in all output.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        keep_secret(text);
        let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| ConfigError::Token)?;
        value.set_sensitive(true);
        Ok(Token(Arc::new(RwLock::new(value))))
    }

    /// The `Authorization` header's value, marked sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the token by `other` in all of its clones.
    pub(super) fn renew(&self, other: &Token) {
        let new = other.header();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.header() == other.header()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why the configuration is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The endpoint is not an http(s) URL.
    #[error("the endpoint \"{}\" is not an http:// or https:// URL", printable(.0))]
    Endpoint(String),
    /// A mirror is not an http(s) URL.
    #[error("the mirror \"{}\" is not an http:// or https:// URL", printable(.0))]
    Mirror(String),
    /// The object store's URL cannot be used.
    #[error(transparent)]
    Objects(crate::object_store::ObjectUrlError),
    /// The name of OCI content cannot be used.
    #[error(transparent)]
    Oci(crate::model::OciReferenceError),
    /// The token contains characters that are not valid in a header.
    #[error("the token has characters that a header cannot carry")]
    Token,
    /// The file with the token cannot be used.
    #[error("the token file {} cannot be used: {why}", .path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A pasted URL contains a user name or a password.
    #[error("the URL of {host} has a user name or a password, which is not sent")]
    Credentials {
        /// The URL's host.
        host: String,
    },
    /// A variable has a value that it must not have.
    #[error("{name} is \"{}\", which is not {expected}", printable(.value))]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The values that it may have.
        expected: &'static str,
    },
    /// A variable names a proxy that cannot be used.
    #[error("{name} is \"{}\", which is not an http:// or https:// proxy", printable(.value))]
    Proxy {
        /// The variable.
        name: &'static str,
        /// Its value, without a password.
        value: String,
    },
    /// The file that `SSL_CERT_FILE` names cannot be used.
    #[error("SSL_CERT_FILE names {}, which cannot be used: {why}", .path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

/// How the bytes of files in Xet storage come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Transport {
    /// Over Xet, and over HTTP if Xet fails.
    #[default]
    Auto,
    /// Always over HTTP.
    Http,
    /// Over Xet only, for files that are in Xet storage.
    Xet,
}

/// Everything that requests depend on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// Scheme, host and port, perhaps a path; no trailing slash.
    pub endpoint: Url,
    /// Sent to the endpoint's origin only. If the endpoint's URL has a user name or password of its own, those are
    /// sent instead.
    pub token: Option<Token>,
    /// Why the token that the user has is not sent.
    #[doc(hidden)] // for the command
    pub withheld: Option<Withheld>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// How patient a run is with the endpoint.
    pub timing: Timing,
    /// How the bytes of files in Xet storage come.
    pub transport: Transport,
    /// The proxies that requests go through.
    pub(crate) proxies: Proxies,
    /// Variables of `hf-xet` that the user has set, which win over our own settings.
    pub(crate) xet: Vec<(&'static str, String)>,
    /// PEM certificates to trust besides the system's. On Linux, the variable `SSL_CERT_FILE` of the process replaces the
    /// system's.
    pub certificates: Option<Vec<u8>>,
}

/// Why the token that the user has is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Withheld {
    /// A pasted URL names a host other than the endpoint that the token is for.
    #[error("the token is not sent to {host}: it is for {endpoint}")]
    OtherHost {
        /// The host in the URL.
        host: String,
        /// The endpoint that the token is for.
        endpoint: String,
    },
    /// The endpoint's URL has a user name or password, and a request can carry only that or the token.
    #[error("the token is not sent: the URL of {endpoint} has a user name or password, which is sent in its place")]
    UrlHasUser {
        /// The endpoint.
        endpoint: String,
    },
}

/// A text that should be a URL, for an error message. It may contain a password even if it is not a URL.
pub(super) fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_authority() => ShownUrl::from(&url).to_string(),
        _ => text.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Variables of `hf-xet` whose values win over our settings.
const XET_VARIABLES: &[&str] = &[
    "HF_XET_HIGH_PERFORMANCE",
    "HF_XET_HP",
    "HF_XET_TELEMETRY_ENABLED",
    "HF_XET_CLIENT_CONNECT_TIMEOUT",
    "HF_XET_CLIENT_READ_TIMEOUT",
    "HF_XET_CLIENT_RETRY_BASE_DELAY",
    "HF_XET_CLIENT_RETRY_MAX_DURATION",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT",
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE",
];

impl HubConfig {
    /// A configuration for an endpoint, with defaults for all else.
    pub fn new(endpoint: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Endpoint(without_password(endpoint));
        let mut url = Url::parse(endpoint.trim()).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || url.cannot_be_a_base() {
            return Err(bad());
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        hide_credentials(&url);
        Ok(HubConfig {
            endpoint: url,
            token: None,
            withheld: None,
            // Some mirrors refuse clients without a name that they know.
            user_agent: concat!("hfget/", env!("CARGO_PKG_VERSION"), " (compatible; hf_hub)").to_owned(),
            timing: Timing::default(),
            transport: Transport::default(),
            proxies: Proxies::default(),
            xet: Vec::new(),
            certificates: None,
        })
    }

    /// The same for another server with the same files. It gets no token: the token is for the endpoint.
    #[doc(hidden)] // for the command
    pub fn mirror(&self, url: &str) -> Result<Self, ConfigError> {
        let other = HubConfig::new(url).map_err(|error| match error {
            ConfigError::Endpoint(url) => ConfigError::Mirror(url),
            other => other,
        })?;
        Ok(HubConfig {
            endpoint: other.endpoint,
            token: None,
            withheld: None,
            transport: Transport::Http,
            ..self.clone()
        })
    }

    /// The same for the server that a pasted URL names. Its host gets no token unless it is the endpoint's.
    #[doc(hidden)] // for the command
    pub fn pasted(self, url: &str) -> Result<Self, ConfigError> {
        let other = HubConfig::new(url)?;
        let host = ShownUrl::from(&other.endpoint).host().to_owned();
        if has_user(&other.endpoint) {
            return Err(ConfigError::Credentials { host });
        }
        if other.endpoint.origin() == self.endpoint.origin() {
            return Ok(self);
        }
        let endpoint = ShownUrl::from(&self.endpoint).host().to_owned();
        // One host over two schemes: the schemes tell them apart.
        let (host, endpoint) = if host == endpoint {
            (other.endpoint.origin().ascii_serialization(), self.endpoint.origin().ascii_serialization())
        } else {
            (host, endpoint)
        };
        let withheld = self.token.as_ref().map(|_| Withheld::OtherHost { host, endpoint });
        Ok(HubConfig { endpoint: other.endpoint, token: None, withheld, ..self })
    }

    /// A configuration from the environment, which `get` looks up; `endpoint`, if given, wins over `HF_ENDPOINT`.
    pub fn from_env(endpoint: Option<&str>, get: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
        let endpoint = endpoint_of(endpoint, &get);
        let mut config = HubConfig::new(&endpoint)?;
        config.token = find_token(&text, &get)?;
        if config.token.is_some() && has_user(&config.endpoint) {
            config.token = None;
            config.withheld =
                Some(Withheld::UrlHasUser { endpoint: ShownUrl::from(&config.endpoint).host().to_owned() });
        }
        config.timing = Timing::from_env(&get)?;
        if text("HF_HUB_DISABLE_XET").is_some_and(|v| is_truthy(&v)) {
            config.transport = Transport::Http;
        }
        if let Some(origin) = text("HF_HUB_USER_AGENT_ORIGIN")
            && !["HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"]
                .iter()
                .any(|name| text(name).is_some_and(|v| is_truthy(&v)))
        {
            config.user_agent = format!("{}; origin/{}", config.user_agent, origin.trim());
        }
        config.proxies = Proxies::from_env(&text)?;
        config.xet = XET_VARIABLES.iter().filter_map(|name| Some((*name, text(name)?))).collect();
        if let Some(path) = get("SSL_CERT_FILE").map(PathBuf::from).filter(|p| !p.as_os_str().is_empty()) {
            let fail = |why: String| ConfigError::Certificates { path: path.clone(), why };
            let pem = std::fs::read(&path).map_err(|e| fail(e.to_string()))?;
            tls::check(&pem).map_err(fail)?;
            config.certificates = Some(pem);
        }
        Ok(config)
    }

    /// The URL of a path below the endpoint; `path` is percent-encoded already.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'))
    }
}

/// Whether a URL has a user name or a password.
fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Hides the secret of a URL from now on: its password, or the user's name if there is no password.
pub(super) fn hide_credentials(url: &Url) {
    let secret = url.password().unwrap_or(url.username());
    keep_secret(secret);
    if let Ok(decoded) = percent_encoding::percent_decode_str(secret).decode_utf8() {
        keep_secret(&decoded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
    }

    #[test]
    fn the_token_never_prints() {
        let config = HubConfig::from_env(None, env(&[("HF_TOKEN", " hf_secret \n")])).unwrap();
        assert!(config.token.is_some());
        assert!(!format!("{config:?}").contains("secret"));
        let off = HubConfig::from_env(None, env(&[("HF_TOKEN", "hf_secret"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]))
            .unwrap();
        assert_eq!(off.token, None);
    }

    #[test]
    fn a_complaint_about_an_endpoint_has_no_password() {
        for text in ["ftp://me:pass@hub.corp", "me:pass@hub.corp", "http://me:pass@:80/"] {
            let error = HubConfig::new(text).unwrap_err().to_string();
            assert!(error.contains("endpoint") && !error.contains("pass"), "{error}");
        }
    }

    #[test]
    fn an_explicit_endpoint_wins_and_loses_its_slash() {
        let config =
            HubConfig::from_env(Some("http://127.0.0.1:1/mirror/"), env(&[("HF_ENDPOINT", "https://x")])).unwrap();
        assert_eq!(config.url("/api"), "http://127.0.0.1:1/mirror/api");
        assert_eq!(
            HubConfig::from_env(None, env(&[("HF_ENDPOINT", "https://x")])).unwrap().url("/api"),
            "https://x/api"
        );
        assert!(HubConfig::new("ftp://x").is_err());
        assert!(HubConfig::new("huggingface.co").is_err());
    }

    #[test]
    fn a_timeout_that_is_not_a_number_is_named() {
        let error = HubConfig::from_env(None, env(&[("HF_HUB_DOWNLOAD_TIMEOUT", "soon")])).unwrap_err();
        assert_eq!(error.to_string(), "HF_HUB_DOWNLOAD_TIMEOUT is \"soon\", which is not a number of seconds");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_named_and_its_password_is_not() {
        let proxied = |value: &'static str| {
            HubConfig::from_env(None, move |name| (name == "HTTPS_PROXY").then(|| OsString::from(value)))
        };
        for good in ["http://proxy:3128", "proxy.corp:3128", "https://me:pass@proxy", ""] {
            assert!(proxied(good).is_ok(), "{good}");
        }
        for bad in ["socks://me:pa55word@proxy:1080", "socks5h://proxy", "http://", "http://proxy:port"] {
            let error = proxied(bad).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY is ") && !error.contains("pa55word"), "{error}");
        }
    }
}
