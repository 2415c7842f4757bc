//! The users: none, a password in each request, or tokens of the token server, which is at `/token` and whose tokens
//! expire.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use hfget_loopback_hub::lock;

use crate::fault::{Kind, Place};
use crate::server::{Asked, Options, Shared, answer, pairs, refuse};

/// The only user, who may read and write everything.
pub const USER: &str = "robot";
/// The user's password.
pub const PASSWORD: &str = "pa55-of-the-robot";
/// `robot:pa55-of-the-robot`, encoded.
pub(crate) const BASIC: &str = "Basic cm9ib3Q6cGE1NS1vZi10aGUtcm9ib3Q=";

/// docker's file of credentials after a login to `address`.
#[must_use]
pub fn login(address: &str) -> String {
    let encoded = BASIC.strip_prefix("Basic ").unwrap_or_default();
    serde_json::json!({ "auths": { address: { "auth": encoded } } }).to_string()
}

/// The identity token of the only user, valid until it is revoked.
pub const IDENTITY: &str = "identity-of-the-robot-secret";

/// docker's credential file after a login to `address` in a browser.
#[must_use]
pub fn identity(address: &str) -> String {
    // This user name means that the password is an identity token.
    let encoded = "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==";
    serde_json::json!({ "auths": { address: { "auth": encoded, "identitytoken": IDENTITY } } }).to_string()
}

/// Who has access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Everybody.
    None,
    /// Requests with the user's name and password.
    Basic,
    /// Requests with a token for the repo and the action. A token is valid for this long, and the token server states
    /// it.
    Bearer(Duration),
    /// The same, but reading needs no password.
    PublicBearer(Duration),
}

/// A token that the token server gave.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    until: Instant,
    /// `repository:NAME:ACTIONS`, one or several of them.
    scopes: Vec<String>,
}

impl Issued {
    fn allows(&self, name: &str, action: &str) -> bool {
        self.scopes.iter().any(|scope| {
            let mut parts = scope.splitn(3, ':');
            parts.next() == Some("repository")
                && parts.next() == Some(name)
                && parts.next().is_some_and(|actions| actions.split(',').any(|allowed| allowed == action))
        })
    }
}

/// The token server.
pub(crate) async fn serve(shared: &Shared, options: &Options, asked: &Asked, body: Body) -> Response {
    if let Some(Kind::Status(status, headers)) = shared.fault(Place::Token, None) {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        return answer(status, &headers, "");
    }
    let (Auth::Bearer(lifetime) | Auth::PublicBearer(lifetime)) = options.auth else {
        return refuse(404, "UNSUPPORTED", "no tokens here");
    };
    let known = asked.header("authorization");
    if known.is_some_and(|known| known != BASIC) {
        return refuse(401, "UNAUTHORIZED", "incorrect username or password");
    }
    if asked.method == "POST" {
        let Ok(form) = axum::body::to_bytes(body, 1 << 16).await else { return refuse(400, "UNSUPPORTED", "no form") };
        let form = pairs(&String::from_utf8_lossy(&form));
        let says = |name: &str, value: &str| form.get(name).is_some_and(|said| said == value);
        if !says("grant_type", "refresh_token") || !says("service", "loopback") || !form.contains_key("client_id") {
            return refuse(400, "UNSUPPORTED", "invalid request for a token");
        }
        if !says("refresh_token", IDENTITY) {
            return refuse(401, "UNAUTHORIZED", "the token was revoked");
        }
        let scopes = form.get("scope").map(|scope| scope.split(' ').map(str::to_owned).collect()).unwrap_or_default();
        return issue(shared, lifetime, scopes, "access_token");
    }
    let public = matches!(options.auth, Auth::PublicBearer(_));
    // An unknown user gets a token for fewer actions, as from the token servers of real registries.
    let scopes = asked.query.get("scope").into_iter().flat_map(|scope| scope.split([' ', '+'])).filter_map(|scope| {
        match (known.is_some(), public) {
            (true, _) => Some(scope.to_owned()),
            (false, true) => scope.rsplit_once(':').map(|(repo, _)| format!("{repo}:pull")),
            (false, false) => None,
        }
    });
    issue(shared, lifetime, scopes.collect(), "token")
}

fn issue(shared: &Shared, lifetime: Duration, scopes: Vec<String>, field: &str) -> Response {
    let number = shared.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let token = format!("token-number-{number}-of-the-loopback-registry");
    let issued = Issued { until: Instant::now() + lifetime, scopes };
    lock(&shared.tokens).insert(token.clone(), issued);
    let body = serde_json::json!({ field: token, "expires_in": lifetime.as_secs() }).to_string();
    answer(200, &[("content-type", "application/json")], body)
}

/// The answer to a request without access.
pub(crate) fn check(shared: &Shared, options: &Options, asked: &Asked) -> Option<Response> {
    let given = asked.header("authorization");
    match options.auth {
        Auth::None => None,
        Auth::Basic if given == Some(BASIC) => None,
        Auth::Basic => {
            let challenge = [("www-authenticate", "Basic realm=\"the loopback registry\"")];
            Some(answer(401, &challenge, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you?"}]}"#))
        }
        Auth::Bearer(_) | Auth::PublicBearer(_) => {
            let action = match asked.method.as_str() {
                "GET" | "HEAD" => "pull",
                "DELETE" => "delete",
                _ => "push",
            };
            let name = name_of(&asked.path);
            let token = given.and_then(|given| given.strip_prefix("Bearer "));
            let issued = token.and_then(|token| lock(&shared.tokens).get(token).cloned());
            if issued.is_some_and(|i| i.until > Instant::now() && (name.is_empty() || i.allows(name, action))) {
                return None;
            }
            let scope = if name.is_empty() {
                String::new()
            } else {
                let actions = if action == "push" { "pull,push" } else { action };
                format!(",scope=\"repository:{name}:{actions}\"")
            };
            let realm = options.realm.map_or_else(|| format!("http://{}/token", shared.here), str::to_owned);
            let challenge = format!("Bearer realm=\"{realm}\",service=\"loopback\"{scope}");
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            Some(answer(401, &[("www-authenticate", &challenge), ("content-type", "application/json")], body))
        }
    }
}

/// The repo of a path.
fn name_of(path: &str) -> &str {
    let below = path.strip_prefix("/v2/").unwrap_or_default();
    let ends = ["/blobs/", "/manifests/", "/referrers/", "/tags/"];
    let end = ends.iter().filter_map(|end| below.find(end)).min();
    &below[..end.unwrap_or(0)]
}
