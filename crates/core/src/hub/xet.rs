//! Files in Xet storage: the token that the Hub gives for a repo, and byte ranges streamed through
//! `hf-xet`. `open` and `transfer` decide when Xet is used.
//!
//! Three defaults of `hf-xet` are changed: it keeps no chunks on disk, it buffers at most [`BUFFER`], and it reports no
//! telemetry. The user's own variables (`HF_XET_…`) win over these settings. `hf-xet` reads those variables by itself
//! when its configuration is made, and no option prevents that.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::Mutex;
use url::Url;
use xet::xet_session::{
    HeaderMap, HeaderValue, XetConfig, XetDownloadStream, XetDownloadStreamGroup, XetFileInfo, XetSession,
    XetSessionBuilder, header,
};

use super::client::SEGMENT;
use super::environment::is_truthy;
use super::{Hub, HubError, Transport};
use crate::model::{Entry, RepoInfo};
use crate::text::printable;

/// The most bytes that `hf-xet` keeps in memory until they are read: three xorbs, so that one can be
/// read while the others come. The whole process must stay within 256 MB.
const BUFFER: &str = "192mb";
const BUFFER_SIZE: &str = "reconstruction.download_buffer_size";
const BUFFER_LIMIT: &str = "reconstruction.download_buffer_limit";
/// The most bytes that are handed on at once: a term of a file may be a whole xorb, far more than a block.
const PIECE: usize = 256 << 10;
/// How many stall timeouts to wait for `hf-xet` if there is no other transport: it gives nothing until the first
/// term is complete, and each of its own reads has the stall timeout.
const STALLS: u32 = 10;
/// The run gives up Xet after it failed for this many files.
const FAILURES: u32 = 3;

/// A run's state of Xet, made when it is first needed.
#[derive(Default)]
pub(super) struct Xet {
    groups: Mutex<Groups>,
    failures: AtomicU32,
}

#[derive(Default)]
struct Groups {
    /// The session, and the folder of its own files, which is removed with it.
    session: Option<(XetSession, TempDir)>,
    /// The connections by the repo's token URL.
    open: HashMap<String, XetDownloadStreamGroup>,
}

impl std::fmt::Debug for Xet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xet").field("failures", &self.failures).finish_non_exhaustive()
    }
}

/// The Hub's answer to a request for a token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenJson {
    access_token: String,
    exp: u64,
    cas_url: String,
}

/// The bytes of a range that is being received; dropping this cancels the transfer.
pub(super) struct XetBody {
    stream: XetDownloadStream,
    at_hand: Bytes,
}

impl std::fmt::Debug for XetBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XetBody").field("at_hand", &self.at_hand.len()).finish_non_exhaustive()
    }
}

impl Drop for XetBody {
    fn drop(&mut self) {
        self.stream.cancel();
    }
}

impl XetBody {
    /// The next bytes, one piece at a time.
    pub async fn chunk(&mut self, hub: &Hub, url: &Url) -> Result<Option<Bytes>, HubError> {
        if self.at_hand.is_empty() {
            let wait = hub.config.timing.stall_timeout * if hub.may_leave_xet() { 1 } else { STALLS };
            match hub.http.retries.within(url, "bytes over Xet", wait, self.stream.next()).await? {
                Ok(Some(bytes)) => self.at_hand = bytes,
                Ok(None) => return Ok(None),
                Err(error) => return Err(failure(url, &error)),
            }
        }
        let n = self.at_hand.len().min(PIECE);
        Ok(Some(self.at_hand.split_to(n)))
    }
}

impl Hub {
    /// Whether this file should be fetched over Xet.
    pub(crate) fn uses_xet(&self, entry: &Entry) -> bool {
        let worth = match self.config.transport {
            Transport::Http => false,
            Transport::Xet => true,
            Transport::Auto => self.xet.failures.load(Ordering::Relaxed) < FAILURES,
        };
        worth && entry.xet_hash.is_some() && entry.lfs.is_some()
    }

    /// Whether a file continues over HTTP if Xet fails.
    pub(crate) fn may_leave_xet(&self) -> bool {
        self.config.transport != Transport::Xet
    }

    /// Notes that Xet failed for a file.
    pub(crate) fn xet_failed(&self) {
        self.xet.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts streaming a range of a file over Xet.
    pub(super) async fn open_xet(
        &self,
        info: &RepoInfo,
        entry: &Entry,
        range: Range<u64>,
    ) -> Result<(Url, XetBody), HubError> {
        let commit = info.commit.to_string();
        let path = format!(
            "/api/{}/{}/xet-read-token/{}",
            info.repo_type.plural(),
            info.canonical_id,
            utf8_percent_encode(&commit, SEGMENT)
        );
        let token_url = self.config.url(&path);
        let url = Url::parse(&token_url).map_err(|e| HubError::Setup(format!("{token_url}: {e}")))?;
        let hash = entry.xet_hash.clone().unwrap_or_default();
        let start = async {
            let group = self.group(info, &token_url, &url).await?;
            let file = XetFileInfo::new(hash, entry.size);
            group.download_stream(file, Some(range)).await.map_err(|e| failure(&url, &e))
        };
        match self.http.retries.within(&url, "answer over Xet", self.config.timing.response_timeout, start).await? {
            Ok(stream) => Ok((url, XetBody { stream, at_hand: Bytes::new() })),
            Err(error) => {
                // The next try gets a new token.
                self.xet.groups.lock().await.open.remove(&token_url);
                Err(error)
            }
        }
    }

    /// The connections for a repo, with a token that `hf-xet` renews before it expires.
    async fn group(&self, info: &RepoInfo, token_url: &str, url: &Url) -> Result<XetDownloadStreamGroup, HubError> {
        let mut groups = self.xet.groups.lock().await;
        if let Some(group) = groups.open.get(token_url) {
            return Ok(group.clone());
        }
        let asked = self.asked(info.repo_type, &info.id, "");
        let (answered, response) = self.try_api(token_url, &asked).await.inspect_err(|error| {
            // A server without a token for one file has none for any file.
            if matches!(error, HubError::NotServed { .. }) {
                self.xet.failures.store(FAILURES, Ordering::Relaxed);
            }
        })?;
        let token: TokenJson = self.json(&answered, response).await?;
        self.check_cas(url, &token.cas_url)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.config.token {
            headers.insert(header::AUTHORIZATION, token.header());
        }
        if let Ok(agent) = HeaderValue::from_str(&self.config.user_agent) {
            headers.insert(header::USER_AGENT, agent);
        }
        if groups.session.is_none() {
            groups.session = Some(self.session().map_err(|what| xet_error(url, &what))?);
        }
        let Some((session, _)) = &groups.session else { return Err(xet_error(url, "no session")) };
        let group = session
            .new_download_stream_group()
            .map_err(|e| failure(url, &e))?
            .with_endpoint(token.cas_url)
            .with_token_info(token.access_token, token.exp)
            .with_token_refresh_url(token_url, headers)
            .build()
            .await
            .map_err(|e| failure(url, &e))?;
        groups.open.insert(token_url.to_owned(), group.clone());
        Ok(group)
    }

    /// The Hub names the server of the content; that must not lead from https to http.
    fn check_cas(&self, url: &Url, cas: &str) -> Result<(), HubError> {
        let refused = |why| HubError::RedirectRefused { url: url.into(), to: printable(cas).into_owned(), why };
        let cas = Url::parse(cas).map_err(|_| refused("its CAS has no URL"))?;
        match (self.config.endpoint.scheme(), cas.scheme()) {
            (_, "https") | ("http", "http") => Ok(()),
            ("https", "http") => Err(refused("its CAS is on http")),
            _ => Err(refused("its CAS is neither http nor https")),
        }
    }

    fn session(&self) -> Result<(XetSession, TempDir), String> {
        let config = configure(XetConfig::new(), &self.config)?;
        let dir = tempfile::Builder::new().prefix("hfget-xet-").tempdir();
        let dir = dir.map_err(|e| format!("cannot make a folder in {}: {e}", std::env::temp_dir().display()))?;
        let session = XetSessionBuilder::new_with_config(config).with_cache_dir(dir.path()).build();
        Ok((session.map_err(|e| e.to_string())?, dir))
    }
}

/// `hf-xet`'s configuration with our settings, except where the user has set a variable.
fn configure(mut config: XetConfig, hub: &super::HubConfig) -> Result<XetConfig, String> {
    let get = |name: &str| hub.xet.iter().find(|(set, _)| *set == name).map(|(_, value)| value.as_str());
    let ms = |time: Duration| format!("{}ms", time.as_millis().max(1));
    let lavish = ["HF_XET_HIGH_PERFORMANCE", "HF_XET_HP"].iter().any(|n| get(n).is_some_and(is_truthy));
    let mut wanted = vec![
        ("telemetry.enabled", "false".to_owned()),
        ("client.connect_timeout", ms(hub.timing.connect_timeout)),
        ("client.read_timeout", ms(hub.timing.stall_timeout)),
        ("client.retry_base_delay", ms(hub.timing.retry.base)),
        ("client.retry_max_duration", ms(hub.timing.retry.cap)),
        ("client.retry_max_attempts", "3".to_owned()),
    ];
    if !lavish {
        wanted.push((BUFFER_SIZE, BUFFER.to_owned()));
        wanted.push((BUFFER_LIMIT, BUFFER.to_owned()));
        wanted.push(("reconstruction.download_buffer_perfile_size", "0".to_owned()));
    }
    for (path, value) in wanted {
        let variable = format!("HF_XET_{}", path.replace('.', "_").to_ascii_uppercase());
        if get(&variable).is_none() {
            config = config.with_config(path, value).map_err(|e| e.to_string())?;
        }
    }
    Ok(config)
}

fn failure(url: &Url, error: &xet::XetError) -> HubError {
    xet_error(url, &error.to_string())
}

fn xet_error(url: &Url, what: &str) -> HubError {
    let what: String = without_queries(what).chars().take(300).collect();
    HubError::Xet { url: url.into(), what: printable(&what).into_owned() }
}

/// The text without the queries of URLs: those of signed URLs are secrets.
fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\'' | '>')) {
        match (word.contains("://"), word.split_once('?')) {
            (true, Some((before, after))) => {
                out.push_str(before);
                out.extend(after.chars().next_back().filter(|c| !c.is_alphanumeric()));
            }
            _ => out.push_str(word),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::HubConfig;
    use super::*;

    #[test]
    fn signed_urls_lose_their_signatures() {
        let text = "error for url (https://cas.example/x?Signature=abc&Expires=1): status 403";
        assert_eq!(without_queries(text), "error for url (https://cas.example/x): status 403");
        assert_eq!(without_queries("what? nothing secret"), "what? nothing secret");
    }

    #[test]
    fn the_users_settings_win_over_our_bounds() {
        let hub = HubConfig::new("http://127.0.0.1:1").unwrap();
        let plain = configure(XetConfig::default(), &hub).unwrap();
        assert_eq!(plain.get("telemetry.enabled").unwrap(), "false");
        assert_eq!(plain.get(BUFFER_LIMIT).unwrap(), plain.get(BUFFER_SIZE).unwrap());
        let set =
            |name: &str| matches!(name, "HF_XET_TELEMETRY_ENABLED" | "HF_XET_HIGH_PERFORMANCE").then(|| "1".into());
        let hub = HubConfig::from_env(Some("http://127.0.0.1:1"), set).unwrap();
        let asked = configure(XetConfig::default(), &hub).unwrap();
        assert_eq!(asked.get("telemetry.enabled").unwrap(), "true");
        assert_ne!(asked.get(BUFFER_LIMIT).unwrap(), plain.get(BUFFER_LIMIT).unwrap());
    }

    #[test]
    fn the_content_may_not_come_over_a_weaker_scheme() {
        let hub = |endpoint| Hub::new(HubConfig::new(endpoint).unwrap());
        let url = Url::parse("https://hub.example/token").unwrap();
        assert!(hub("https://hub.example").check_cas(&url, "https://cas.example").is_ok());
        assert!(hub("http://127.0.0.1:1").check_cas(&url, "http://127.0.0.1:2").is_ok());
        for bad in ["http://cas.example", "file:///etc/passwd", "", "cas"] {
            assert!(hub("https://hub.example").check_cas(&url, bad).is_err(), "{bad}");
        }
    }
}
