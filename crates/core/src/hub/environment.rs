//! The variables that Hub users already set, read as `huggingface_hub` reads them: the token, folders, switches,
//! proxies. The caller looks variables up; nothing here reads the environment itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf, is_separator};
use std::time::Duration;

use url::Url;

use super::config::{PUBLIC_ENDPOINT, hide_credentials, without_password};
use super::{ConfigError, Token};
use crate::platform::{home_of, own_home};

/// The endpoint of the requests: `endpoint`, or `HF_ENDPOINT`, or the public Hub.
pub(crate) fn endpoint_of(endpoint: Option<&str>, get: &impl Fn(&str) -> Option<OsString>) -> String {
    let named = || get("HF_ENDPOINT").and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
    endpoint.map(str::to_owned).or_else(named).unwrap_or_else(|| PUBLIC_ENDPOINT.to_owned())
}

/// Whether a Hub variable is switched on: `1`, `ON`, `YES`, `TRUE`, as in `huggingface_hub`.
pub fn is_truthy(value: &str) -> bool {
    matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// The proxies that requests go through, by the scheme of the URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    /// For `https` URLs.
    pub https: Option<String>,
    /// For `http` URLs.
    pub http: Option<String>,
    /// For both, if they have none of their own.
    pub all: Option<String>,
    /// Hosts that need no proxy, as `NO_PROXY` lists them; `*` means all hosts.
    pub except: Option<String>,
}

impl Proxies {
    /// The proxies that the environment names. A proxy that cannot be used is an error: without it the request would go
    /// around the proxy.
    pub fn from_env(text: &impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(Proxies {
            https: proxy(["HTTPS_PROXY", "https_proxy"], text)?,
            http: proxy(["HTTP_PROXY", "http_proxy"], text)?,
            all: proxy(["ALL_PROXY", "all_proxy"], text)?,
            except: text("NO_PROXY").or_else(|| text("no_proxy")),
        })
    }

    /// Whether some requests for `http` URLs may go through a proxy.
    pub fn may_serve_http(&self) -> bool {
        !self.are_off() && (self.http.is_some() || self.all.is_some())
    }

    /// Whether some requests for `https` URLs may go through a proxy.
    pub fn may_serve_https(&self) -> bool {
        !self.are_off() && (self.https.is_some() || self.all.is_some())
    }

    /// Whether no proxy is used at all. The HTTP library takes only names from the list, and does not know `*`.
    pub fn are_off(&self) -> bool {
        self.except.as_ref().is_some_and(|list| list.split(',').any(|part| part.trim() == "*"))
    }
}

/// The proxy in the first variable that is set.
fn proxy(names: [&'static str; 2], text: &impl Fn(&str) -> Option<String>) -> Result<Option<String>, ConfigError> {
    let mut found = None;
    for name in names {
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
        found.get_or_insert(whole);
    }
    Ok(found)
}

/// `HF_TOKEN`, `HF_TOKEN_PATH`, then `$HF_HOME/token`, unless implicit tokens are switched off.
pub(super) fn find_token(
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
        // The file may contain a token and more, so the message shows nothing of it.
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

/// The text without the byte order mark that some editors write.
fn without_bom(text: &str) -> &str {
    text.trim_start().trim_start_matches('\u{feff}')
}

pub(super) fn seconds(
    name: &'static str,
    text: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Duration>, ConfigError> {
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
        .or_else(|| own_home(get).map(|p| p.join(".cache").join("huggingface")))
}

/// The Hub cache: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, otherwise `hub` in the Hub's home
/// folder, in the order of `huggingface_hub`'s `constants.py`. `None` without any home.
pub fn cache_dir(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| get(name).filter(|v| !v.is_empty()).map(|v| expand(&PathBuf::from(v), &get));
    path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")).or_else(|| hf_home(&get).map(|h| h.join("hub")))
}

/// The folder of this machine's records about object stores: `hfget/objects` in the Hub's home folder. `None`
/// without any home.
pub fn records_dir(get: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    hf_home(&get).map(|home| home.join("hfget").join("objects"))
}

/// `~`, `~user`, `$NAME` and `${NAME}`, as Python's `expandvars(expanduser(path))` reads them: unknown names stay as
/// they are.
fn expand(path: &Path, get: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let Some(text) = path.to_str() else { return path.to_path_buf() };
    let (user, rest) = match text.strip_prefix('~') {
        Some(after) => after.split_at(after.find(is_separator).unwrap_or(after.len())),
        None => return variables(text, get).into(),
    };
    let home = if user.is_empty() { own_home(get) } else { home_of(user) };
    match home.and_then(|home| home.into_os_string().into_string().ok()) {
        Some(home) => variables(&format!("{}{rest}", home.trim_end_matches(is_separator)), get).into(),
        None => variables(text, get).into(),
    }
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
