//! How to reach a Hub: endpoint, token, timeouts, and the environment variables that Hub users
//! already set. No requests are made here.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use url::Url;

use super::patience::Patience;
use super::{RetryPolicy, ShownUrl};
use crate::text::{keep_secret, printable};

/// The public Hub.
pub(super) const PUBLIC_ENDPOINT: &str = "https://huggingface.co";

/// An access token. It prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// Checks that the text can stand in a header, and hides it from now on in everything that is shown.
    pub fn new(text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        keep_secret(text);
        let mut value = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| ConfigError::Token)?;
        value.set_sensitive(true);
        Ok(Token(value))
    }

    /// The `Authorization` header's value, marked sensitive.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why the configuration makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The endpoint is no http(s) URL.
    #[error("the endpoint \"{}\" is not an http:// or https:// URL", printable(.0))]
    Endpoint(String),
    /// A mirror is no http(s) URL.
    #[error("the mirror \"{}\" is not an http:// or https:// URL", printable(.0))]
    Mirror(String),
    /// The object store's URL cannot be used.
    #[cfg(feature = "object-store")]
    #[error(transparent)]
    Objects(crate::objects::ObjectUrlError),
    /// The token holds characters that no header can carry.
    #[error("the token holds characters that cannot be sent in a header")]
    Token,
    /// The file that holds the token cannot be used.
    #[error("the token file {} cannot be used: {why}", .path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A pasted URL holds a user name or a password.
    #[error("the URL of {host} has a user name or a password, which is not sent")]
    Credentials {
        /// The URL's host.
        host: String,
    },
    /// A variable holds something else than it should.
    #[error("{name} is \"{}\", which is not {expected}", printable(.value))]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A variable names a proxy that cannot be used.
    #[error("{name} is \"{}\", which is no http:// or https:// proxy", printable(.value))]
    Proxy {
        /// The variable.
        name: &'static str,
        /// What it holds, without a password.
        value: String,
    },
    /// The file that `SSL_CERT_FILE` names is no use.
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
    /// Over Xet, and over HTTP when that fails.
    #[default]
    Auto,
    /// Over HTTP, always.
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
    /// Sent to the endpoint's origin only, and not where the endpoint's URL has a user name or password of its own:
    /// then those are sent.
    pub token: Option<Token>,
    /// Why a token that is there is not sent.
    pub withheld: Option<Withheld>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until the first byte of an answer.
    pub response_timeout: Duration,
    /// Between two reads of a body.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// What the run got lately; a mirror's is the endpoint's.
    pub(crate) patience: Arc<Patience>,
    /// How the bytes of files in Xet storage come.
    pub transport: Transport,
    /// No proxy is asked, whatever the environment names: `NO_PROXY=*`.
    pub direct: bool,
    /// PEM certificates to trust besides the system's.
    pub certificates: Option<Vec<u8>>,
    /// The object store that the endpoint is, where it is none over HTTP.
    #[cfg(feature = "object-store")]
    pub objects: Option<crate::objects::ObjectUrl>,
}

/// Why a token that is there is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Withheld {
    /// A pasted URL names another host than the endpoint that the token is for.
    #[error("the token is not sent to {host}: it is for {endpoint}")]
    OtherHost {
        /// Whom the URL names.
        host: String,
        /// Whom the token is for.
        endpoint: String,
    },
    /// The endpoint's URL has a user name or password, and a request carries one of the two.
    #[error("the token is not sent: the URL of {endpoint} has a user name or password, which is sent in its place")]
    UrlHasUser {
        /// The endpoint.
        endpoint: String,
    },
}

/// What was given as a URL, to be shown in a complaint: it may hold a password though it is none.
fn without_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_authority() => ShownUrl::from(&url).to_string(),
        _ => text.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Whether a Hub variable is switched on: `1`, `ON`, `YES`, `TRUE`, as in `huggingface_hub`.
pub fn is_truthy(value: &str) -> bool {
    matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

impl HubConfig {
    /// For an endpoint, with defaults for all else.
    pub fn new(endpoint: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Endpoint(without_password(endpoint));
        #[cfg(feature = "object-store")]
        if crate::objects::ObjectUrl::is_meant(endpoint) {
            let objects: crate::objects::ObjectUrl = endpoint.parse().map_err(ConfigError::Objects)?;
            let mut config = HubConfig::new(PUBLIC_ENDPOINT)?;
            config.endpoint = Url::parse(&objects.to_string()).map_err(|_| bad())?;
            config.transport = Transport::Http;
            config.objects = Some(objects);
            return Ok(config);
        }
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
            // Some mirrors let nobody pass who does not name what they know.
            user_agent: concat!("hfget/", env!("CARGO_PKG_VERSION"), " (compatible; hf_hub)").to_owned(),
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            patience: Arc::default(),
            transport: Transport::default(),
            direct: false,
            certificates: None,
            #[cfg(feature = "object-store")]
            objects: None,
        })
    }

    /// The same for another server with the same files. It gets no token: that is for the endpoint.
    pub fn mirror(&self, url: &str) -> Result<Self, ConfigError> {
        let other = HubConfig::new(url).map_err(|error| match error {
            ConfigError::Endpoint(url) => ConfigError::Mirror(url),
            other => other,
        })?;
        Ok(HubConfig {
            endpoint: other.endpoint,
            #[cfg(feature = "object-store")]
            objects: other.objects,
            token: None,
            withheld: None,
            transport: Transport::Http,
            ..self.clone()
        })
    }

    /// The same for the server that a pasted URL names. Its host gets no token unless it is the endpoint's.
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
        let withheld = self.token.as_ref().map(|_| Withheld::OtherHost { host, endpoint });
        Ok(HubConfig {
            endpoint: other.endpoint,
            #[cfg(feature = "object-store")]
            objects: other.objects,
            token: None,
            withheld,
            ..self
        })
    }

    /// From the environment that `get` looks up; `endpoint`, when given, wins over `HF_ENDPOINT`.
    pub fn from_env(endpoint: Option<&str>, get: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
        let endpoint =
            endpoint.map(str::to_owned).or_else(|| text("HF_ENDPOINT")).unwrap_or_else(|| PUBLIC_ENDPOINT.to_owned());
        let mut config = HubConfig::new(&endpoint)?;
        config.token = find_token(&text, &get)?;
        if config.token.is_some() && has_user(&config.endpoint) {
            config.token = None;
            config.withheld =
                Some(Withheld::UrlHasUser { endpoint: ShownUrl::from(&config.endpoint).host().to_owned() });
        }
        if let Some(timeout) = seconds("HF_HUB_DOWNLOAD_TIMEOUT", &text)? {
            config.stall_timeout = timeout;
            config.response_timeout = config.response_timeout.max(timeout);
        }
        if let Some(timeout) = seconds("HF_HUB_ETAG_TIMEOUT", &text)? {
            config.response_timeout = timeout;
        }
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
        check_proxies(&text)?;
        // The HTTP library means names alone by it, and no addresses.
        config.direct =
            text("NO_PROXY").or_else(|| text("no_proxy")).is_some_and(|v| v.split(',').any(|p| p.trim() == "*"));
        if let Some(path) = get("SSL_CERT_FILE").map(PathBuf::from).filter(|p| !p.as_os_str().is_empty()) {
            let fail = |why: String| ConfigError::Certificates { path: path.clone(), why };
            let pem = std::fs::read(&path).map_err(|e| fail(e.to_string()))?;
            check_certificates(&pem).map_err(fail)?;
            config.certificates = Some(pem);
        }
        Ok(config)
    }

    /// The URL of something below the endpoint; `path` is percent-encoded already.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.as_str().trim_end_matches('/'))
    }
}

/// That every proxy which the environment names can be used: one that is passed over would mean to go around it.
fn check_proxies(text: &impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let Some(value) = text(name) else { continue };
        let value = value.trim();
        let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = Url::parse(&whole).ok();
        if let Some(url) = &url {
            hide_credentials(url);
        }
        if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some()) {
            return Err(ConfigError::Proxy { name, value: without_password(value) });
        }
    }
    Ok(())
}

/// Whether connections can be made that trust these certificates; the reason why not.
fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let why = |error: reqwest::Error| super::error::innermost(&error).to_string();
    let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(why)?;
    if certificates.is_empty() {
        return Err("there is no certificate in it; it must be PEM".to_owned());
    }
    reqwest::Client::builder().tls_certs_merge(certificates).build().map(drop).map_err(why)
}

/// Whether a URL has a user name or a password.
fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Hides what is secret in a URL from now on: its password, or the user's name where that is all there is.
pub(super) fn hide_credentials(url: &Url) {
    let secret = url.password().unwrap_or(url.username());
    keep_secret(secret);
    if let Ok(decoded) = percent_encoding::percent_decode_str(secret).decode_utf8() {
        keep_secret(&decoded);
    }
}

/// `HF_TOKEN`, `HF_TOKEN_PATH`, then `$HF_HOME/token`, unless implicit tokens are switched off.
fn find_token(
    text: &impl Fn(&str) -> Option<String>,
    get: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Token>, ConfigError> {
    if text("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|v| is_truthy(&v)) {
        return Ok(None);
    }
    if let Some(token) = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
        return Token::new(without_bom(&token)).map(Some);
    }
    let named = get("HF_TOKEN_PATH").filter(|p| !p.is_empty());
    let path = named.map_or_else(|| hf_home(get).map(|h| h.join("token")), |p| Some(expand(&PathBuf::from(p), get)));
    let Some(path) = path else { return Ok(None) };
    let fail = |why: &str| ConfigError::TokenFile { path: path.clone(), why: why.to_owned() };
    let stored = match read_token(&path) {
        Ok(stored) => stored,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(fail(&error.to_string())),
    };
    if stored.starts_with(b"\xff\xfe") || stored.starts_with(b"\xfe\xff") || stored.contains(&0) {
        return Err(fail("it is UTF-16; save it as UTF-8"));
    }
    let stored = String::from_utf8(stored).map_err(|_| fail("it is not UTF-8 text"))?;
    let token = without_bom(&stored).trim();
    if token.is_empty() {
        return Ok(None);
    }
    if token.contains(['\r', '\n']) {
        // What it holds may be a token and more: none of it is shown.
        return Err(fail("it has several lines; the token must be its only one"));
    }
    Token::new(token).map(Some).map_err(|error| fail(&error.to_string()))
}

/// The first bytes of a file, far more than a token has.
fn read_token(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    const LIMIT: u64 = 64 << 10;
    let mut stored = Vec::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_end(&mut stored)?;
    Ok(stored)
}

/// Without the mark that some editors put before UTF-8.
fn without_bom(text: &str) -> &str {
    text.trim_start().trim_start_matches('\u{feff}')
}

fn seconds(name: &'static str, text: &impl Fn(&str) -> Option<String>) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = text(name) else { return Ok(None) };
    match value.trim().parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()) {
        Some(duration) if !duration.is_zero() => Ok(Some(duration)),
        _ => Err(ConfigError::Variable { name, value, expected: "a number of seconds" }),
    }
}

/// `$HF_HOME`, `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface`.
fn hf_home(get: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| get(name).filter(|v| !v.is_empty()).map(|v| expand(&PathBuf::from(v), get));
    path("HF_HOME")
        .or_else(|| path("XDG_CACHE_HOME").map(|p| p.join("huggingface")))
        .or_else(|| home(get).map(|p| p.join(".cache").join("huggingface")))
}

/// The Hub cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, else `hub` in the Hub's home folder, in
/// the order of `huggingface_hub`'s `constants.py`. `None` without any home.
pub fn cache_dir(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| get(name).filter(|v| !v.is_empty()).map(|v| expand(&PathBuf::from(v), &get));
    path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).or_else(|| hf_home(&get).map(|h| h.join("hub")))
}

/// Where this machine keeps what it knows of object stores: `hfget/objects` in the Hub's home folder. `None` without
/// any home.
pub fn records_dir(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    hf_home(&get).map(|home| home.join("hfget").join("objects"))
}

/// `~`, `~user`, `$NAME` and `${NAME}`, as Python's `expandvars(expanduser(path))` reads them: what is unknown stays.
fn expand(path: &Path, get: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let Some(text) = path.to_str() else { return path.to_path_buf() };
    let (user, rest) = match text.strip_prefix('~') {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => return variables(text, get).into(),
    };
    let home = if user.is_empty() { home(get) } else { home_of(user) };
    match home.and_then(|home| home.into_os_string().into_string().ok()) {
        Some(home) => variables(&format!("{}{rest}", home.trim_end_matches('/')), get).into(),
        None => variables(text, get).into(),
    }
}

/// `$HOME`, else what the system knows.
fn home(get: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from).or_else(std::env::home_dir)
}

/// Another user's home, by the list of users.
fn home_of(user: &str) -> Option<PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(PathBuf::from)
}

fn variables(text: &str, get: &impl Fn(&str) -> Option<OsString>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        out.push_str(before);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let braced = after.strip_prefix('{').and_then(|braced| braced.find('}').map(|end| &braced[..end]));
        let bare = &after[..after.find(|c| !word(c)).unwrap_or(after.len())];
        let name = braced.unwrap_or(bare);
        let end = braced.map_or(bare.len(), |name| name.len() + 2);
        if let Some(value) = get(name).filter(|_| !name.is_empty()).and_then(|value| value.into_string().ok()) {
            out.push_str(&value);
        } else {
            out.push('$');
            out.push_str(&after[..end]);
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
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
    fn a_timeout_that_is_no_number_is_named() {
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

    #[test]
    fn the_cache_is_where_python_looks() {
        for (pairs, expected) in [
            (&[("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b")][..], "/a"),
            (&[("HUGGINGFACE_HUB_CACHE", "/a"), ("HF_HOME", "/b")][..], "/a"),
            (&[("HF_HOME", "~/b"), ("HOME", "/home/u")][..], "/home/u/b/hub"),
            (&[("HF_HOME", "$HOME/b"), ("HOME", "/home/u")][..], "/home/u/b/hub"),
            (&[("HF_HUB_CACHE", "${DATA}/hub/$NOPE/$"), ("DATA", "/d")][..], "/d/hub/$NOPE/$"),
            (&[("XDG_CACHE_HOME", "~/x"), ("HOME", "/home/u/")][..], "/home/u/x/huggingface/hub"),
            (&[("HF_HOME", "~root/b"), ("HOME", "/home/u")][..], "/root/b/hub"),
            (&[("HF_HOME", "~nobody-of-that-name/b")][..], "~nobody-of-that-name/b/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/home/u")][..], "/x/huggingface/hub"),
            (&[("HF_HOME", ""), ("HOME", "/home/u")][..], "/home/u/.cache/huggingface/hub"),
        ] {
            assert_eq!(cache_dir(env(pairs)), Some(PathBuf::from(expected)));
        }
    }
}
