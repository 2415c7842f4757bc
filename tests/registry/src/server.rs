//! The listeners, the registry's data, its behaviour, and the log of requests. The files beside this one answer the
//! requests.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use hfget_loopback_hub::{Running, decode, lock};
use tokio::net::TcpListener;

use crate::fault::{Fault, Kind, Place};
use crate::token::{self, Auth};
use crate::{blobs, manifests, uploads};

/// The address that redirects lead to: another host than the registry.
const AWAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How the registry treats an upload in several requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunks {
    /// It joins the parts, as the specification says.
    #[default]
    Kept,
    /// It refuses a `PATCH` with a `Content-Range`, as Google's registry does.
    Refused,
    /// It answers 201 to every part, and discards all but the first, as Amazon's registry does.
    Lost,
    /// It answers 416 to a `PATCH` with a `Content-Length` above this, as GitHub's registry does above 4 MiB.
    AtMost(u64),
}

/// The form of an upload's `Location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Location {
    /// The whole URL.
    #[default]
    Whole,
    /// A path.
    Relative,
    /// A URL on another host, which needs no credentials.
    Foreign,
}

/// The registry's behaviour without faults.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // each is a way in which registries differ
pub struct Options {
    /// The users.
    pub auth: Auth,
    /// The address of another token server than its own.
    pub realm: Option<&'static str>,
    /// How it treats an upload in several requests.
    pub chunks: Chunks,
    /// The form of an upload's `Location`.
    pub location: Location,
    /// Bodies above this size are answered with 413, as by a proxy in front of a registry.
    pub most: u64,
    /// Whether it has a list of referrers.
    pub referrers: bool,
    /// Whether another host sends the blobs, as for registries over an object store.
    pub blobs_elsewhere: bool,
    /// Whether it answers ranges of blobs.
    pub ranges: bool,
    /// Whether it accepts a manifest with a wrong size of a blob, as Debian's registry does.
    pub any_size: bool,
    /// The least size of a chunk that the answer to `POST` states.
    pub chunk_min: Option<u64>,
    /// Whether it mounts a blob of another repo.
    pub mounts: bool,
    /// Whether it removes manifests.
    pub removes: bool,
    /// The rate of each body that it sends, in bytes a second.
    pub rate: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            auth: Auth::None,
            realm: None,
            chunks: Chunks::Kept,
            location: Location::Whole,
            most: u64::MAX,
            referrers: true,
            blobs_elsewhere: false,
            ranges: true,
            any_size: true,
            chunk_min: None,
            mounts: true,
            removes: true,
            rate: None,
        }
    }
}

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, `PATCH`, `PUT`, `DELETE`.
    pub method: String,
    /// Whether it arrived at the other host.
    pub away: bool,
    /// The path, still encoded.
    pub path: String,
    /// Its query, still encoded.
    pub query: String,
    /// Its `Authorization` header.
    pub credentials: Option<String>,
    /// Its `Content-Length`.
    pub length: Option<u64>,
    /// Its `Content-Range`.
    pub content_range: Option<String>,
    /// Its `Range`.
    pub range: Option<String>,
}

/// A manifest, as it was pushed.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub media_type: String,
    pub bytes: Bytes,
}

/// The data of one repo.
#[derive(Debug, Default)]
pub(crate) struct Repo {
    pub blobs: HashMap<String, Bytes>,
    pub manifests: HashMap<String, Manifest>,
    pub tags: BTreeMap<String, String>,
}

/// An upload that was begun.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub bytes: Vec<u8>,
    pub requests: u32,
}

pub(crate) struct Shared {
    pub options: Mutex<Options>,
    pub repos: Mutex<HashMap<String, Repo>>,
    pub uploads: Mutex<HashMap<String, Upload>>,
    pub tokens: Mutex<HashMap<String, token::Issued>>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<Request>>,
    /// The count of blobs' bytes that arrived.
    pub taken: AtomicU64,
    pub next: AtomicU64,
    down: AtomicBool,
    pub here: String,
    pub away: String,
}

impl Shared {
    /// The fault of this request, if any; counts it.
    pub fn fault(&self, place: Place, length: Option<u64>) -> Option<Kind> {
        let mut faults = lock(&self.faults);
        let hits = |f: &&mut Fault| f.place == place && length.is_none_or(|length| length >= f.above);
        let fault = faults.iter_mut().filter(hits).find(|f| f.left != Some(0))?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        if let Some(left) = &mut fault.left {
            *left -= 1;
        }
        Some(fault.kind.clone())
    }

    pub fn options(&self) -> Options {
        lock(&self.options).clone()
    }
}

/// A running registry; it stops when dropped.
pub struct Registry {
    pub(crate) shared: Arc<Shared>,
    _running: Running,
}

/// Sends answers without delay, as real servers do. Otherwise the kernel keeps a short body back for 40 ms.
fn at_once(listener: TcpListener) -> impl axum::serve::Listener<Addr = std::net::SocketAddr> {
    listener.tap_io(|stream| drop(stream.set_nodelay(true)))
}

impl Registry {
    /// An empty registry with the default behaviour.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// An empty registry.
    ///
    /// # Panics
    /// If the loopback interface has no free port.
    #[must_use]
    pub fn with(options: Options) -> Self {
        let (shared, running) = Running::start(|ready| async move {
            let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on 127.0.0.1");
            let away = TcpListener::bind((AWAY, 0)).await.expect("a port on 127.0.0.2");
            let shared = Arc::new(Shared {
                options: Mutex::new(options),
                repos: Mutex::default(),
                uploads: Mutex::default(),
                tokens: Mutex::default(),
                faults: Mutex::default(),
                log: Mutex::default(),
                taken: AtomicU64::new(0),
                next: AtomicU64::new(0),
                down: AtomicBool::new(false),
                here: here.local_addr().expect("an address").to_string(),
                away: away.local_addr().expect("an address").to_string(),
            });
            let _ = ready.send(Arc::clone(&shared));
            let front = Router::new().fallback(serve_here).with_state(Arc::clone(&shared));
            let back = Router::new().fallback(serve_away).with_state(shared);
            tokio::select! {
                _ = axum::serve(at_once(here), front) => {}
                _ = axum::serve(at_once(away), back) => {}
            }
        });
        Registry { shared, _running: running }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.shared.here
    }

    /// Host and port of the address that redirects lead to.
    #[must_use]
    pub fn away(&self) -> &str {
        &self.shared.away
    }

    /// Changes the behaviour from now on.
    pub fn change(&self, how: impl FnOnce(&mut Options)) {
        how(&mut lock(&self.shared.options));
    }

    /// Adds a fault from now on.
    pub fn fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Closes every connection without an answer from now on, or answers again.
    pub fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::Relaxed);
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests and the count of bytes.
    pub fn forget(&self) {
        lock(&self.shared.log).clear();
        self.shared.taken.store(0, Ordering::Relaxed);
    }

    /// Waits until no more bytes arrive: bytes that a killed client sent still arrive for a while.
    pub fn come_to_rest(&self) {
        let mut taken = None;
        while taken != Some(self.bytes_taken()) {
            taken = Some(self.bytes_taken());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The count of blobs' bytes that arrived.
    #[must_use]
    pub fn bytes_taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Expires all tokens.
    pub fn expire_tokens(&self) {
        lock(&self.shared.tokens).clear();
    }

    /// The uploads that were begun and neither ended nor lost.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        lock(&self.shared.uploads).len()
    }
}

/// A request, and the action that it asks for.
pub(crate) struct Asked {
    pub method: String,
    /// The decoded path.
    pub path: String,
    pub query: HashMap<String, String>,
    pub headers: axum::http::HeaderMap,
    pub length: Option<u64>,
    /// Whether it arrived at the other host.
    pub away: bool,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// Closes the connection immediately.
pub(crate) fn cut() -> ! {
    // The connection's task ends without output on the terminal.
    std::panic::resume_unwind(Box::new("cut"))
}

pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).expect("a response")
}

/// A registry's form of an error.
pub(crate) fn refuse(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    answer(status, &[("content-type", "application/json")], body)
}

/// The pairs of a query or a form.
pub(crate) fn pairs(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), decode(&value.replace('+', " ")))).collect()
}

async fn serve_here(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    serve(shared, request, false).await
}

async fn serve_away(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response {
    serve(shared, request, true).await
}

async fn serve(shared: Arc<Shared>, request: axum::extract::Request, away: bool) -> Response {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let length = head.headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
    let asked = Asked {
        method: head.method.to_string(),
        path: decode(head.uri.path()),
        query: pairs(query),
        headers: head.headers.clone(),
        length,
        away,
    };
    let text = |name: &str| asked.header(name).map(str::to_owned);
    lock(&shared.log).push(Request {
        method: asked.method.clone(),
        away,
        path: head.uri.path().to_owned(),
        query: query.to_owned(),
        credentials: text("authorization"),
        length,
        content_range: text("content-range"),
        range: text("range"),
    });
    if shared.down.load(Ordering::Relaxed) {
        cut();
    }
    let options = shared.options();
    if away && asked.headers.contains_key("authorization") {
        return refuse(400, "UNSUPPORTED", "only one auth mechanism allowed: the URL is signed");
    }
    if length.is_some_and(|length| length > options.most) {
        uploads::drain(body).await;
        return answer(413, &[("content-type", "text/html")], "<html>413 Request Entity Too Large</html>");
    }
    if asked.path == "/token" {
        return token::serve(&shared, &options, &asked, body).await;
    }
    if !away && let Some(refusal) = token::check(&shared, &options, &asked) {
        return refusal;
    }
    route(&shared, &options, &asked, body).await
}

async fn route(shared: &Arc<Shared>, options: &Options, asked: &Asked, body: Body) -> Response {
    let Some(below) = asked.path.strip_prefix("/v2/") else { return refuse(404, "UNSUPPORTED", "no such address") };
    if below.is_empty() {
        return answer(200, &[("docker-distribution-api-version", "registry/2.0")], "{}");
    }
    if let Some((name, id)) = below.split_once("/blobs/uploads/") {
        return uploads::serve(shared, options, asked, name, id, body).await;
    }
    if let Some((name, digest)) = below.split_once("/blobs/") {
        return blobs::serve(shared, options, asked, name, digest).await;
    }
    if let Some((name, reference)) = below.split_once("/manifests/") {
        return manifests::serve(shared, options, asked, name, reference, body).await;
    }
    if let Some((name, digest)) = below.split_once("/referrers/") {
        return manifests::referrers(shared, options, asked, name, digest);
    }
    refuse(404, "UNSUPPORTED", "no such address")
}
