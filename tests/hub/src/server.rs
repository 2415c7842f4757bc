//! The listeners, their state and the log of requests.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, Version};
use axum::response::Response;
use tokio::net::TcpListener;

use crate::fault::{Fault, Kind, Place};
use crate::quota::{Quotas, Used};
use crate::repo::Repo;
use crate::running::Running;
use crate::tls::{Identity, TlsListener};
use crate::{api, keyless, resolve};

/// The only valid token.
pub const TOKEN: &str = "hf_loopback_token";
/// How long tokens are usually valid.
const HOUR: Duration = Duration::from_secs(3600);

/// The address of the CDN: a host other than the Hub's.
const CDN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The Hub's behaviour without faults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Entries of a page of the listing.
    pub page_size: usize,
    /// Listings are never recursive, as on mirrors that drop the query.
    pub flat: bool,
    /// Regular files are answered directly with 200, as on older deployments and mirrors.
    pub legacy_resolve: bool,
    /// How long a signed URL is valid.
    pub signed_for: Duration,
    /// A pause before every answer.
    pub latency: Duration,
    /// The rate of each body in bytes a second.
    pub rate: Option<u64>,
    /// The Hub speaks HTTPS, and HTTP/2 to clients that ask for it; so does its CDN with [`Tls::Both`].
    pub tls: Option<Tls>,
    /// How many requests a second are answered; the others get 429, without a time to wait.
    pub requests_a_second: Option<u32>,
    /// How many requests are answered within a window, as on the real Hub.
    pub quotas: Option<Quotas>,
    /// Its differences from the Hub.
    pub dialect: Dialect,
    /// How long the token of a CI job is valid, as the Hub states it. If that is less than an hour, it gives a new
    /// token each time, and accepts the last two.
    pub job_token_for: Duration,
    /// The server that has the bytes of files that are [`crate::Repo::elsewhere`].
    pub byte_host: String,
    /// The CAS with the bytes of files that are [`crate::Repo::xet_at`]; without one the Hub gives no Xet
    /// tokens.
    pub cas: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            page_size: 1000,
            flat: false,
            legacy_resolve: false,
            signed_for: Duration::from_secs(3600),
            latency: Duration::ZERO,
            rate: None,
            tls: None,
            requests_a_second: None,
            quotas: None,
            dialect: Dialect::default(),
            job_token_for: HOUR,
            byte_host: String::new(),
            cas: None,
        }
    }
}

/// How mirrors and proxies differ from the Hub.
#[derive(Debug, Clone, Default)]
pub struct Dialect {
    /// Links to next pages name this server.
    pub link_to: Option<String>,
    /// A query that asks for `securityStatus` or `expand` is answered with 404.
    pub knows_no_queries: bool,
    /// `/tree` is answered with this status.
    pub no_tree: Option<u16>,
    /// `?blobs=true` is ignored.
    pub no_blobs: bool,
    /// The page of a repo names no files.
    pub no_siblings: bool,
    /// Listings have no LFS fields.
    pub no_lfs: bool,
    /// ETags are digests that differ from the Hub's.
    pub odd_etags: bool,
    /// `X-Linked-Size` is 0.
    pub no_size: bool,
    /// Names in `Location` are not encoded.
    pub raw_location: bool,
    /// Files in LFS are redirected to this server itself, which sends only their bytes.
    pub own_bytes: bool,
    /// There are only files: no API, and no headers of the Hub's.
    pub bytes_only: bool,
    /// All URLs are below this path.
    pub prefix: &'static str,
    /// Only agents with this word are answered.
    pub agent: Option<&'static str>,
    /// Headers of every answer of the API.
    pub headers: Vec<(&'static str, String)>,
}

/// Which servers speak HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// The Hub and its CDN, as in reality.
    Both,
    /// The Hub alone: its redirects leave HTTPS.
    HubAlone,
}

/// A request that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`.
    pub method: String,
    /// Whether it came to the CDN.
    pub cdn: bool,
    /// The encoded path.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The encoded query.
    pub query: Option<String>,
    /// Whether it carried a token.
    pub token: bool,
    /// Every `Authorization` header.
    pub credentials: Vec<String>,
    /// The `User-Agent` header.
    pub agent: String,
    /// Whether it came over HTTP/2.
    pub http2: bool,
    /// When it came.
    pub at: Instant,
}

pub(crate) struct Shared {
    pub repos: Mutex<Vec<Arc<Repo>>>,
    pub options: Options,
    pub faults: Mutex<Vec<Fault>>,
    pub log: Mutex<Vec<Request>>,
    /// The bytes of files that were handed to the network.
    pub sent: std::sync::atomic::AtomicU64,
    /// Scheme and address.
    pub hub: String,
    pub cdn: String,
    /// The certificate that clients must trust.
    pub pem: Option<String>,
    /// Whether the servers do not answer.
    pub down: AtomicBool,
    /// Tokens that were given to CI jobs.
    given: AtomicU32,
    /// The present second, and the number of its requests.
    window: Mutex<(Option<Instant>, u32)>,
    used: Used,
}

/// The content of a mutex, even if a thread panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A token for a CI job: [`TOKEN`], or a new one each time if tokens end soon.
    pub fn give_token(&self) -> String {
        let number = if self.options.job_token_for < HOUR { self.given.fetch_add(1, Ordering::Relaxed) } else { 0 };
        if number == 0 { TOKEN.to_owned() } else { format!("{TOKEN}_{number}") }
    }

    /// Whether a header has a valid token.
    pub fn knows(&self, authorization: &str) -> bool {
        let last = self.given.load(Ordering::Relaxed).saturating_sub(1);
        let of = |number: u32| if number == 0 { TOKEN.to_owned() } else { format!("{TOKEN}_{number}") };
        [last, last.saturating_sub(1)].iter().any(|number| authorization == format!("Bearer {}", of(*number)))
    }

    /// The fault that hits this request, if any; uses one of its times.
    pub fn fault(&self, place: Place, path: &str) -> Option<Kind> {
        self.fault_from(place, path, 0)
    }

    /// The same for a request for bytes from `offset` on.
    pub fn fault_from(&self, place: Place, path: &str, offset: u64) -> Option<Kind> {
        let mut faults = lock(&self.faults);
        let hits = |f: &&mut Fault| f.place == place && f.path.is_match(path) && f.from.contains(&offset);
        let fault = faults.iter_mut().filter(hits).find(|f| f.left != Some(0))?;
        if let Some(left) = &mut fault.left {
            *left -= 1;
        }
        Some(fault.kind.clone())
    }
}

/// A running Hub; it stops when dropped.
pub struct Hub {
    shared: Arc<Shared>,
    _running: Running,
}

impl Hub {
    /// Serves `repos` with default behaviour.
    pub fn start(repos: impl IntoIterator<Item = Repo>) -> Self {
        Self::with(Options::default(), repos)
    }

    /// Serves `repos`.
    ///
    /// # Panics
    /// If the loopback interface has no free port.
    pub fn with(options: Options, repos: impl IntoIterator<Item = Repo>) -> Self {
        let repos: Vec<Arc<Repo>> = repos.into_iter().map(|repo| Arc::new(repo.settled())).collect();
        let (shared, running) = Running::start(|ready| async move {
            let hub = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on 127.0.0.1");
            let cdn = TcpListener::bind((CDN, 0)).await.expect("a port on 127.0.0.2");
            let identity = options.tls.map(|_| Identity::new([Ipv4Addr::LOCALHOST, CDN]));
            let url = |listener: &TcpListener, tls: bool| {
                let scheme = if tls { "https" } else { "http" };
                format!("{scheme}://{}", listener.local_addr().expect("an address"))
            };
            let (secure_hub, secure_cdn) = (options.tls.is_some(), options.tls == Some(Tls::Both));
            let shared = Arc::new(Shared {
                repos: Mutex::new(repos),
                options,
                faults: Mutex::default(),
                log: Mutex::default(),
                sent: std::sync::atomic::AtomicU64::new(0),
                hub: url(&hub, secure_hub),
                cdn: url(&cdn, secure_cdn),
                pem: identity.as_ref().map(|identity| identity.pem.clone()),
                down: AtomicBool::new(false),
                given: AtomicU32::new(0),
                window: Mutex::default(),
                used: Used::default(),
            });
            let _ = ready.send(Arc::clone(&shared));
            let front = Router::new().fallback(serve_hub).with_state(Arc::clone(&shared));
            let back = Router::new().fallback(serve_cdn).with_state(Arc::clone(&shared));
            let (hub, cdn) = (Door { inner: hub, shared: Arc::clone(&shared) }, Door { inner: cdn, shared });
            tokio::select! {
                () = answer(hub, front, identity.as_ref().filter(|_| secure_hub)) => {}
                () = answer(cdn, back, identity.as_ref().filter(|_| secure_cdn)) => {}
            }
        });
        Hub { shared, _running: running }
    }

    /// The value for `--endpoint` or `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.shared.hub.clone()
    }

    /// The host of signed URLs.
    pub fn cdn(&self) -> String {
        self.shared.cdn.clone()
    }

    /// The certificate that clients of a Hub with HTTPS must trust, as PEM.
    pub fn certificate(&self) -> Option<&str> {
        self.shared.pem.as_deref()
    }

    /// Adds a fault from now on.
    pub fn fault(&self, fault: Fault) {
        lock(&self.shared.faults).push(fault);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// `true`: the servers stop answering, and answers in transit break. `false`: everything is as before.
    pub fn down(&self, down: bool) {
        self.shared.down.store(down, Ordering::Relaxed);
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.log).clone()
    }

    /// The bytes of files that were handed to the network so far.
    pub fn bytes_sent(&self) -> u64 {
        self.shared.sent.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How many requests were refused so far.
    pub fn refused(&self) -> u64 {
        self.shared.used.refused.load(Ordering::Relaxed)
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.shared.log).clear();
    }

    /// Replaces the repo with the same id: a new commit.
    pub fn replace(&self, repo: Repo) {
        let mut repos = lock(&self.shared.repos);
        repos.retain(|r| r.id != repo.id || r.kind != repo.kind);
        repos.push(Arc::new(repo.settled()));
    }
}

impl Hub {
    /// A new commit of the repo with the same id. The earlier commits stay, by their ids.
    pub fn commit(&self, repo: Repo) {
        lock(&self.shared.repos).insert(0, Arc::new(repo.settled()));
    }
}

/// A listener that closes every connection while the Hub is down.
struct Door {
    inner: TcpListener,
    shared: Arc<Shared>,
}

impl axum::serve::Listener for Door {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = axum::serve::Listener::accept(&mut self.inner).await;
            if !self.shared.down.load(Ordering::Relaxed) {
                // As real servers do. Otherwise the kernel keeps a short body back for 40 ms.
                drop(stream.set_nodelay(true));
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// The answer to a request if the Hub is down, or had too many requests.
fn unwilling(shared: &Shared) -> Option<Response> {
    if shared.down.load(Ordering::Relaxed) {
        let broken = futures_util::stream::once(async { Err::<bytes::Bytes, _>(std::io::Error::other("down")) });
        let body = axum::body::Body::from_stream(broken);
        return Some(Response::builder().header("content-length", 1).body(body).expect("a response"));
    }
    let most = shared.options.requests_a_second?;
    let mut window = lock(&shared.window);
    if window.0.is_none_or(|began| began.elapsed() >= Duration::from_secs(1)) {
        *window = (Some(Instant::now()), 0);
    }
    window.1 += 1;
    (window.1 > most).then(|| api::with_status(429, &[]))
}

/// Answers requests until it is stopped.
async fn answer(listener: Door, router: Router, identity: Option<&Identity>) {
    let _ = match identity {
        Some(identity) => axum::serve(TlsListener::on(listener.inner, identity).expect("an address"), router).await,
        None => axum::serve(listener, router).await,
    };
}

fn note(shared: &Shared, cdn: bool, version: Version, method: &axum::http::Method, uri: &Uri, headers: &HeaderMap) {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    lock(&shared.log).push(Request {
        method: method.to_string(),
        cdn,
        path: uri.path().to_owned(),
        range: text("range"),
        query: uri.query().map(str::to_owned),
        token: headers.contains_key("authorization"),
        credentials: headers
            .get_all("authorization")
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect(),
        agent: text("user-agent").unwrap_or_default(),
        http2: version == Version::HTTP_2,
        at: Instant::now(),
    });
}

async fn serve_hub(
    State(shared): State<Arc<Shared>>,
    version: Version,
    method: axum::http::Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    note(&shared, false, version, &method, &uri, &headers);
    if let Some(response) = unwilling(&shared) {
        return response;
    }
    if let Some(response) = shared.options.quotas.and_then(|quotas| shared.used.count(&quotas, uri.path())) {
        return response;
    }
    tokio::time::sleep(shared.options.latency).await;
    let dialect = &shared.options.dialect;
    let agent = headers.get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if dialect.agent.is_some_and(|word| !agent.contains(word)) {
        return api::with_status(403, &[]);
    }
    let Some(below) = uri.to_string().strip_prefix(dialect.prefix).and_then(|path| path.parse::<Uri>().ok()) else {
        return api::with_status(404, &[]);
    };
    let uri = below;
    if dialect.bytes_only && uri.path().starts_with("/api/") {
        return api::with_status(404, &[]);
    }
    if let Some(answer) = keyless::serve(&shared, &uri, &headers, &body) {
        return answer;
    }
    if uri.path().starts_with("/plain/") {
        return resolve::plain(&shared, &method, &uri, &headers).await;
    }
    if uri.path().starts_with("/api/resolve-cache/") {
        return resolve::cached(&shared, &method, &uri, &headers).await;
    }
    if uri.path().starts_with("/api/") {
        let mut response = api::serve(&shared, &uri, &headers, &body).await;
        for (name, value) in &dialect.headers {
            response.headers_mut().append(*name, value.parse().expect("a header"));
        }
        response
    } else {
        resolve::resolve(&shared, &method, &uri, &headers).await
    }
}

async fn serve_cdn(
    State(shared): State<Arc<Shared>>,
    version: Version,
    method: axum::http::Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    note(&shared, true, version, &method, &uri, &headers);
    if let Some(response) = unwilling(&shared) {
        return response;
    }
    tokio::time::sleep(shared.options.latency).await;
    resolve::cdn(&shared, &method, &uri, &headers).await
}
