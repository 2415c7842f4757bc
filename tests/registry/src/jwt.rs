//! A token server for Debian's registry: tokens are signed with ES256, with the certificate in the header. Its users
//! are those of `token`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hfget_loopback_hub::{Running, decode};
use rcgen::SigningKey as _;
use serde_json::json;

use crate::server::{answer, refuse};
use crate::token::BASIC;

/// The time after which the registry refuses an expired token.
const LEEWAY: u64 = 60;

/// A running token server; it stops when dropped.
pub(crate) struct Signer {
    pub address: String,
    pub certificate: PathBuf,
    _running: Running,
}

struct Shared {
    key: rcgen::KeyPair,
    der: Vec<u8>,
    lifetime: Duration,
    next: AtomicU64,
}

impl Signer {
    pub fn start(folder: &Path, lifetime: Duration) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec!["of-a-test".to_owned()]).expect("a name");
        let made = params.self_signed(&key).expect("a certificate");
        let certificate = folder.join("tokens.pem");
        std::fs::write(&certificate, made.pem()).expect("the certificate");
        let shared = Arc::new(Shared { key, der: made.der().to_vec(), lifetime, next: AtomicU64::new(0) });
        let (address, running) = Running::start(|ready| async move {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let _ = ready.send(listener.local_addr().expect("an address").to_string());
            let _ = axum::serve(listener, Router::new().fallback(serve).with_state(shared)).await;
        });
        Signer { address, certificate, _running: running }
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    let known = request.headers().get("authorization").and_then(|v| v.to_str().ok());
    if known != Some(BASIC) {
        return refuse(401, "UNAUTHORIZED", "incorrect username or password");
    }
    let query = request.uri().query().unwrap_or_default();
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let access: Vec<_> = scopes
        .filter_map(|scope| {
            let scope = decode(scope);
            let mut parts = scope.splitn(3, ':');
            let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
            let actions: Vec<&str> = actions.split(',').collect();
            Some(json!({ "type": kind, "name": name, "actions": actions }))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&shared.der)] });
    let claims = json!({
        "iss": "of-a-test", "sub": "robot", "aud": "debian", "jti": number.to_string(), "access": access,
        "exp": now + shared.lifetime.as_secs() - LEEWAY, "nbf": now - 10 - LEEWAY, "iat": now,
    });
    let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = fixed(&shared.key.sign(signed.as_bytes()).expect("a signature"));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let body = json!({ "token": token, "expires_in": shared.lifetime.as_secs() }).to_string();
    answer(200, &[("content-type", "application/json")], body)
}

/// The two numbers of a DER signature, 32 bytes each, as JWT requires.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // A sequence of two integers, each shorter than 128 bytes.
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    out
}
