//! Authentication at a registry: its challenge, the tokens that follow from it, and the hosts that get them.
//! `keyring` finds the credentials.
//!
//! A registry answers 401 with its challenge. Credentials go to the registry itself (Basic) or to the token server
//! that it names (Bearer), over HTTPS, or over plain HTTP if both are on this machine. A token goes to the registry
//! that asked for it and to no other host.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http_auth::ChallengeParser;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use super::keyring::{Credential, Keyring};
use crate::hub::{Http, HubError, ShownUrl, Via, asked_wait, is_loopback, is_passing};
use crate::mutex::lock;
use crate::oci::OciError;
use crate::text::keep_secret;

/// The lifetime of a token that states none, as the token specification says.
const LIFETIME: u64 = 60;
/// The largest answer of a token server; a real one is far smaller.
const LIMIT: usize = 1 << 20;

/// What a request does in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// Read.
    Pull,
    /// Read and write.
    Push,
    /// Write, and read from another repository.
    PushFrom(String),
    /// Remove a manifest.
    Remove,
}

impl Scope {
    /// The scopes in the token server's words.
    fn texts(&self, name: &str) -> Vec<String> {
        match self {
            Scope::Pull => vec![format!("repository:{name}:pull")],
            Scope::Push => vec![format!("repository:{name}:pull,push")],
            Scope::Remove => vec![format!("repository:{name}:pull,delete")],
            Scope::PushFrom(other) => {
                vec![format!("repository:{name}:pull,push"), format!("repository:{other}:pull")]
            }
        }
    }
}

/// A registry's challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

/// A token, and the time until which it is used.
#[derive(Clone)]
struct Token {
    header: HeaderValue,
    began: Instant,
    lifetime: Duration,
}

impl Token {
    /// Whether the token covers a request that begins now. A registry checks the token when a request begins; a token
    /// that has nearly expired may have expired by the registry's clock.
    fn is_good(&self) -> bool {
        self.began.elapsed() < self.lifetime.mul_f64(0.8)
    }
}

/// The state of the authentication at one registry.
pub(super) struct Auth {
    name: String,
    registry: String,
    keyring: Keyring,
    credential: OnceCell<Option<Credential>>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<HashMap<Scope, Token>>,
    /// Locked while a token is fetched, so that many requests fetch only one.
    fetching: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("registry", &self.registry).finish_non_exhaustive()
    }
}

/// The credentials in a request.
pub(super) enum Pass {
    Nothing,
    Token(HeaderValue),
    Password(String, String),
}

impl Pass {
    pub fn is_something(&self) -> bool {
        !matches!(self, Pass::Nothing)
    }

    pub fn show(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Pass::Nothing => request,
            Pass::Token(header) => request.header(AUTHORIZATION, header),
            Pass::Password(user, secret) => request.basic_auth(user, Some(secret)),
        }
    }
}

impl Auth {
    pub fn new(registry: &str, name: &str, keyring: Keyring) -> Self {
        Auth {
            name: name.to_owned(),
            registry: registry.to_owned(),
            keyring,
            credential: OnceCell::new(),
            challenge: Mutex::default(),
            tokens: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    async fn credential(&self) -> Result<Option<&Credential>, OciError> {
        self.credential.get_or_try_init(|| self.keyring.find()).await.map(Option::as_ref)
    }

    /// The credentials of the next request; none until the registry has sent a challenge.
    pub async fn pass(&self, http: &Http, scope: &Scope) -> Result<Pass, OciError> {
        let challenge = lock(&self.challenge).clone();
        match challenge {
            None => Ok(Pass::Nothing),
            Some(Challenge::Basic) => match self.credential().await? {
                Some(Credential::Password(user, secret)) => Ok(Pass::Password(user.clone(), secret.clone())),
                _ => Ok(Pass::Nothing),
            },
            Some(Challenge::Bearer { realm, service }) => {
                let known = || lock(&self.tokens).get(scope).filter(|token| token.is_good()).cloned();
                if let Some(token) = known() {
                    return Ok(Pass::Token(token.header));
                }
                let _alone = self.fetching.lock().await;
                if let Some(token) = known() {
                    return Ok(Pass::Token(token.header));
                }
                let token = self.fetch(http, &realm, service.as_deref(), scope).await?;
                let header = token.header.clone();
                lock(&self.tokens).insert(scope.clone(), token);
                Ok(Pass::Token(header))
            }
        }
    }

    /// Reads the challenge of a 401. A token that was refused is not used again. `false`: there is nothing else to
    /// send.
    pub async fn learn(&self, url: &Url, headers: &HeaderMap, scope: &Scope, shown: bool) -> Result<bool, OciError> {
        let Some(asked) = challenge_of(headers) else { return Ok(false) };
        if let Challenge::Bearer { realm, .. } = &asked
            && realm.scheme() != "https"
            && !(is_loopback(realm) && is_loopback(url))
        {
            let why = format!("its token server, {}, does not use HTTPS", ShownUrl::from(realm));
            return Err(OciError::Refused { place: self.registry.clone(), why });
        }
        lock(&self.tokens).remove(scope);
        *lock(&self.challenge) = Some(asked.clone());
        Ok(match asked {
            Challenge::Basic => !shown && matches!(self.credential().await?, Some(Credential::Password(..))),
            // The registry may have dropped the token, or its clock may differ.
            Challenge::Bearer { .. } => true,
        })
    }

    /// Why a registry refuses access, in words.
    pub async fn why_refused(&self, said: &str) -> String {
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        match self.credential().await {
            Ok(Some(_)) => format!("the credentials do not allow it{said}"),
            _ => format!("no credentials for it were found where docker and podman keep them{said}"),
        }
    }

    async fn fetch(&self, http: &Http, realm: &Url, service: Option<&str>, scope: &Scope) -> Result<Token, OciError> {
        let credential = self.credential().await?;
        let scopes = scope.texts(&self.name);
        let mut form: Vec<(&str, &str)> = service.map(|service| ("service", service)).into_iter().collect();
        form.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
        let client = http.client(Via::Api)?;
        let mut url = realm.clone();
        let request = match credential {
            Some(Credential::Identity(token)) => {
                // All scopes in one value here, but one value for each scope below: the two specifications say so.
                let joined = scopes.join(" ");
                let pairs = service.map(|service| ("service", service));
                let all = [("grant_type", "refresh_token"), ("client_id", "hfget"), ("refresh_token", token)];
                let mut body = url::form_urlencoded::Serializer::new(String::new());
                body.extend_pairs(all.into_iter().chain(pairs)).append_pair("scope", &joined);
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                client.post(url.clone()).header(CONTENT_TYPE, kind).body(body.finish())
            }
            other => {
                url.query_pairs_mut().extend_pairs(form);
                let request = client.get(url.clone());
                match other {
                    Some(Credential::Password(user, secret)) => request.basic_auth(user, Some(secret)),
                    _ => request,
                }
            }
        };
        let response = http.send(Via::Api, &url, request).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let headers = response.headers().clone();
            if is_passing(status) {
                let wait = asked_wait(&headers);
                let message = "the token server".to_owned();
                return Err(HubError::Status { url: (&url).into(), status, message, wait }.into());
            }
            let said = format!("{} answered {status}", ShownUrl::from(realm));
            let why = self.why_refused(&said).await;
            return Err(OciError::Refused { place: self.registry.clone(), why });
        }
        let began = Instant::now();
        let body = http.body(&url, response, LIMIT).await?;
        read_token(&body, began).ok_or_else(|| {
            let (place, why) = (ShownUrl::from(realm).to_string(), "its answer has no token".to_owned());
            OciError::Failed { place, why, again: false, after: None }
        })
    }
}

/// The token in an answer.
fn read_token(body: &[u8], began: Instant) -> Option<Token> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty())?;
    keep_secret(&token);
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    let lifetime = Duration::from_secs(answer.expires_in.filter(|seconds| *seconds > 0).unwrap_or(LIFETIME));
    Some(Token { header, began, lifetime })
}

/// The strongest challenge that hfget can answer: a token before a password.
fn challenge_of(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for header in headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()) {
        for challenge in ChallengeParser::new(header).map_while(Result::ok) {
            let value = |wanted: &str| {
                let mut params = challenge.params.iter();
                params.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = value("realm").and_then(|realm| Url::parse(&realm).ok()).filter(Url::has_host);
                if let Some(realm) = realm.filter(|realm| matches!(realm.scheme(), "https" | "http")) {
                    return Some(Challenge::Bearer { realm, service: value("service") });
                }
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[&str]) -> Option<Challenge> {
        challenge_of(&headers.iter().map(|text| (WWW_AUTHENTICATE, text.parse().unwrap())).collect())
    }

    #[test]
    fn challenges_of_real_registries_are_understood_and_a_token_is_preferred() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.parse().unwrap(), service: service.map(str::to_owned) })
        };
        let docker = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="insufficient_scope""#;
        assert_eq!(asked(&[docker]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(asked(&[r#"Basic realm="ecr", bearer realm="https://t/?a=b""#]), bearer("https://t/?a=b", None));
        assert_eq!(asked(&[r#"Basic realm="https://x.ecr/",service="ecr.amazonaws.com""#]), Some(Challenge::Basic));
        assert_eq!(asked(&["Basic realm=x", "Negotiate"]), Some(Challenge::Basic));
        for nothing in ["Negotiate", "", "Bearer", r#"Bearer realm="/token""#, r#"Bearer realm="file:///etc/passwd""#] {
            assert_eq!(asked(&[nothing]), None, "{nothing}");
        }
    }

    #[test]
    fn a_token_is_used_for_most_of_its_lifetime_and_one_without_a_lifetime_for_a_minute() {
        let now = Instant::now();
        let token = |text: &str| read_token(text.as_bytes(), now);
        assert_eq!(token(r#"{"token":"aaaa-of-a-test"}"#).unwrap().lifetime, Duration::from_mins(1));
        let old = token(r#"{"access_token":"bbbb-of-a-test","expires_in":300}"#).unwrap();
        assert!(old.is_good());
        assert!(!Token { lifetime: Duration::ZERO, ..old }.is_good());
        for bad in ["", "[]", "{}", r#"{"token":""}"#, "{\"token\":\"a\\nb\"}"] {
            assert!(token(bad).is_none(), "{bad}");
        }
    }
}
