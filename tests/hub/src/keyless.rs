//! Tokens for CI jobs that have none: the Hub's exchange, and the server of a CI system that states a job's identity.

use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::{refuse, reply};
use crate::server::Shared;

/// The id token, which proves the job's identity.
pub const JOB: &str = "id-token-of-this-job";
/// The repo that trusts the job.
pub const RESOURCE: &str = "org/trusting";
/// The header that the CI system's server demands.
const REQUEST: &str = "Bearer request-token";

pub(crate) fn serve(shared: &Shared, uri: &Uri, headers: &HeaderMap, body: &str) -> Option<Response> {
    match uri.path() {
        "/ci/id-token" => {
            let known = headers.get("authorization").is_some_and(|value| value == REQUEST);
            let audience = uri.query().is_some_and(|query| query.contains("audience=http"));
            Some(if known && audience { reply(&json!({ "value": JOB })) } else { refuse(403, "", "who are you?") })
        }
        "/oauth/token" => {
            let asked: Value = serde_json::from_str(body).unwrap_or_default();
            let grant = asked["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
                && asked["subject_token_type"] == "urn:ietf:params:oauth:token-type:id_token";
            let trusted = asked["subject_token"] == JOB && asked["resource"] == RESOURCE;
            Some(if grant && trusted {
                let (token, seconds) = (shared.give_token(), shared.options.job_token_for.as_secs());
                reply(&json!({ "access_token": token, "token_type": "bearer", "expires_in": seconds }))
            } else {
                refuse(400, "", &format!("{} does not trust {}", asked["resource"], asked["subject_token"]))
            })
        }
        _ => None,
    }
}
