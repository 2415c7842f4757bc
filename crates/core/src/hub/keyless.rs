//! Tokens for CI jobs that have none ("trusted publishers"): the CI system states the job's identity, and the endpoint
//! gives a token for that, as in `huggingface_hub` 2.4 (`_oidc.py`). The token is used elsewhere.

use std::ffi::OsString;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use tracing::info;
use url::Url;

use super::clients::Clients;
use super::environment::is_truthy;
use super::host::is_loopback;
use super::{HubConfig, HubError, ShownUrl, Token};
use crate::finding::{ErrorKind, Remedy};
use crate::text::{innermost, keep_secret, printable};

/// The most bytes of an answer; a token takes far fewer.
const LIMIT: usize = 64 << 10;
/// How many requests a server may leave without an answer.
const TRIES: u32 = 3;
/// How long a token is valid if the answer does not say.
const HOUR: Duration = Duration::from_hours(1);
/// How long before its end a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_mins(5);
/// The least time between two tokens.
const AGAIN: Duration = Duration::from_secs(1);
/// The pause before another try after a failed renewal.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// How the job proves its identity.
#[derive(Clone)]
enum Proof {
    /// The id token itself.
    Given(String),
    /// The URL where GitHub gives an id token, and the token for that request.
    Github { url: String, token: String },
}

/// A job that needs a token.
#[derive(Clone)]
pub struct Keyless {
    resource: String,
    proof: Proof,
}

impl fmt::Debug for Keyless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyless").field("resource", &self.resource).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeylessError {
    /// Nothing states the job's identity.
    #[error("HF_OIDC_RESOURCE is set, but nothing proves which job this is")]
    NoProof,
    /// The URL of the server that proves it is not safe.
    #[error("{0} would get the request for an id token over plain HTTP")]
    Unsafe(ShownUrl),
    /// A server refused.
    #[error("{url} gave no token: {status}{}", said(.message))]
    Refused {
        /// The server.
        url: ShownUrl,
        /// The status of its answer.
        status: u16,
        /// Its own message.
        message: String,
    },
    /// A server did not answer, or gave an invalid answer.
    #[error("{url}: {why}")]
    Failed {
        /// The server.
        url: ShownUrl,
        /// What happened.
        why: String,
    },
    /// The HTTP client could not be made.
    #[error(transparent)]
    Setup(#[from] HubError),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({})", printable(message)) }
}

impl KeylessError {
    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            KeylessError::NoProof | KeylessError::Unsafe(_) => ErrorKind::Usage,
            KeylessError::Refused { .. } => ErrorKind::NotAvailable,
            KeylessError::Failed { .. } => ErrorKind::Network,
            KeylessError::Setup(error) => error.kind(),
        }
    }

    /// What the user can do about it.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            KeylessError::NoProof => Some(Remedy::GiveJobToken),
            KeylessError::Refused { .. } => Some(Remedy::TrustJob),
            _ => None,
        }
    }
}

/// A token that an endpoint gave.
#[derive(Debug, Clone)]
pub struct JobToken {
    /// The token.
    pub token: Token,
    /// How long it is valid, from the time of the answer.
    pub lasts: Duration,
}

#[derive(Deserialize)]
struct Answer {
    /// The endpoint's token.
    access_token: Option<String>,
    /// How long the token is valid, in seconds.
    expires_in: Option<u64>,
    /// GitHub's id token.
    value: Option<String>,
}

impl Keyless {
    /// The job that the environment describes, which `get` looks up; `None` if no such token is wanted.
    pub fn from_env(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, KeylessError> {
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
        let Some(resource) = text("HF_OIDC_RESOURCE") else { return Ok(None) };
        if text("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|v| is_truthy(&v)) {
            return Ok(None);
        }
        let github = text("GITHUB_ACTIONS").is_some_and(|v| v.trim() == "true");
        let proof = match (text("HF_OIDC_ID_TOKEN"), text("ACTIONS_ID_TOKEN_REQUEST_URL")) {
            (Some(token), _) => Proof::Given(token.trim().to_owned()),
            (None, Some(url)) if github => {
                let token = text("ACTIONS_ID_TOKEN_REQUEST_TOKEN").ok_or(KeylessError::NoProof)?;
                Proof::Github { url, token: token.trim().to_owned() }
            }
            _ => return Err(KeylessError::NoProof),
        };
        match &proof {
            Proof::Given(secret) | Proof::Github { token: secret, .. } => keep_secret(secret),
        }
        Ok(Some(Keyless { resource: resource.trim().to_owned(), proof }))
    }

    /// Renews a token in time, as long as this future is polled: five minutes before the token's end, as
    /// `huggingface_hub` does. If that fails, the token stays and the renewal is tried again; the run's requests show
    /// whether they need a new token.
    pub async fn keep(&self, config: &HubConfig, mut given: JobToken) {
        let token = given.token.clone();
        loop {
            tokio::time::sleep(given.lasts.saturating_sub(RENEW_BEFORE).max(AGAIN)).await;
            match self.exchange(config).await {
                Ok(next) => {
                    token.renew(&next.token);
                    info!(lasts = ?next.lasts, "the token of this job was renewed");
                    given = next;
                }
                Err(error) => {
                    info!(%error, "the token of this job could not be renewed");
                    given.lasts = RENEW_BEFORE + AGAIN_AFTER_FAILURE;
                }
            }
        }
    }

    /// The token that the endpoint gives. It is usually valid for an hour.
    pub async fn exchange(&self, config: &HubConfig) -> Result<JobToken, KeylessError> {
        let client = Clients::new(config)?.api();
        let endpoint = config.endpoint.as_str().trim_end_matches('/');
        let id = match &self.proof {
            Proof::Given(id) => id.clone(),
            Proof::Github { url, token } => {
                let wrong = |why: &str| KeylessError::Failed {
                    url: ShownUrl::from(&config.endpoint),
                    why: format!("ACTIONS_ID_TOKEN_REQUEST_URL {why}"),
                };
                let mut url = Url::parse(url).map_err(|_| wrong("is not a URL"))?;
                if url.scheme() != "https" && !is_loopback(&url) {
                    return Err(KeylessError::Unsafe(ShownUrl::from(&url)));
                }
                url.query_pairs_mut().append_pair("audience", endpoint);
                let answer = ask(config, &url, || client.get(url.clone()).bearer_auth(token)).await?;
                answer.value.ok_or_else(|| wrong("gave no id token"))?
            }
        };
        keep_secret(&id);
        let url = Url::parse(&format!("{endpoint}/oauth/token")).unwrap_or_else(|_| config.endpoint.clone());
        let body = serde_json::json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "subject_token": id,
            "resource": self.resource,
        });
        let answer = ask(config, &url, || client.post(url.clone()).json(&body)).await?;
        let shown = ShownUrl::from(&url);
        let no_token = |why: &str| KeylessError::Failed { url: shown.clone(), why: why.to_owned() };
        let token = answer.access_token.ok_or_else(|| no_token("the answer contains no token"))?;
        let token = Token::new(&token).map_err(|_| no_token("the token in the answer cannot be sent in a header"))?;
        Ok(JobToken { token, lasts: answer.expires_in.map_or(HOUR, Duration::from_secs) })
    }
}

/// Sends a request until it is answered; a redirect is not followed, because the proof is for this server only.
async fn ask(
    config: &HubConfig,
    url: &Url,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> Result<Answer, KeylessError> {
    let shown = ShownUrl::from(url);
    let failed = |why: String| KeylessError::Failed { url: shown.clone(), why };
    let mut pause = config.timing.retry.base;
    let mut tries = 1;
    loop {
        let sent = tokio::time::timeout(config.timing.response_timeout, request().send()).await;
        let error = match sent {
            Ok(Ok(response)) if response.status().is_server_error() => {
                failed(format!("it answered {}", response.status()))
            }
            Ok(Ok(response)) => return read(config, response, &shown).await,
            Ok(Err(error)) => failed(innermost(&error).to_string()),
            Err(_) => failed(format!("no answer for {} s", config.timing.response_timeout.as_secs_f64())),
        };
        if tries == TRIES {
            return Err(error);
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

async fn read(config: &HubConfig, mut response: reqwest::Response, url: &ShownUrl) -> Result<Answer, KeylessError> {
    let status = response.status();
    let failed = |why: String| KeylessError::Failed { url: url.clone(), why };
    let mut body = Vec::new();
    while body.len() <= LIMIT {
        let chunk = tokio::time::timeout(config.timing.stall_timeout, response.chunk()).await;
        let chunk = chunk.map_err(|_| failed("the answer stopped".to_owned()))?;
        match chunk.map_err(|error| failed(innermost(&error).to_string()))? {
            Some(bytes) => body.extend_from_slice(&bytes),
            None => break,
        }
    }
    if body.len() > LIMIT {
        return Err(failed("the answer is too long for a token".to_owned()));
    }
    if !status.is_success() {
        // The server's message may repeat the proof, which is hidden wherever text leaves the process.
        let message = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let message = message.and_then(|m| {
            let said = ["error_description", "error", "message"].iter().find_map(|key| m.get(key)?.as_str());
            said.map(|said| said.chars().take(200).collect())
        });
        return Err(KeylessError::Refused {
            url: url.clone(),
            status: status.as_u16(),
            message: message.unwrap_or_default(),
        });
    }
    serde_json::from_slice(&body).map_err(|error| failed(format!("the answer is not the expected JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn no_token_is_requested_unless_asked_for_and_a_job_without_proof_gets_an_error() {
        let resource = ("HF_OIDC_RESOURCE", "org/model");
        assert!(Keyless::from_env(env(&[])).unwrap().is_none());
        assert!(Keyless::from_env(env(&[("HF_OIDC_RESOURCE", " ")])).unwrap().is_none());
        assert!(Keyless::from_env(env(&[resource, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")])).unwrap().is_none());
        assert!(matches!(Keyless::from_env(env(&[resource])), Err(KeylessError::NoProof)));
        let asked = ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://x/?a=b");
        assert!(matches!(Keyless::from_env(env(&[resource, asked])), Err(KeylessError::NoProof)), "no GitHub job");
        let github = [resource, asked, ("GITHUB_ACTIONS", "true"), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")];
        assert!(Keyless::from_env(env(&github)).unwrap().is_some());
        assert!(Keyless::from_env(env(&[resource, ("HF_OIDC_ID_TOKEN", "i")])).unwrap().is_some());
    }

    #[test]
    fn no_proof_is_shown() {
        let job = Keyless::from_env(env(&[("HF_OIDC_RESOURCE", "org/x"), ("HF_OIDC_ID_TOKEN", "secret-id")])).unwrap();
        assert!(!format!("{job:?}").contains("secret-id"));
    }
}
