//! The client that receives bytes without a proxy, over plain HTTP/1.1 or over TLS. It reads up to several megabytes at once into memory
//! that it uses again; the HTTP library's own client takes new memory for each read, and reads less than half a megabyte, over TLS one record
//! of 16 kB. An answer that is not a plain body of a stated length is handed to the library. `http` decides which client sends a request.

mod connection;
mod content;
mod head;
mod idle;
mod library;
mod memory;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{ACCEPT, HeaderValue, USER_AGENT};
use reqwest::{Body, Response};
use rustls::ClientConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};
use url::Url;

use self::connection::{Connection, Connector};
use self::content::Content;
use self::head::Start;
use self::idle::Idle;
use self::memory::Memory;
use super::host::name_of;
use super::tls::{self, Offers};
use super::{HubConfig, HubError, tcp};

thread_local! {
    static TURNS: Cell<bool> = const { Cell::new(false) };
}

/// From now on, connections of this thread take turns: each read takes few bytes, so that they are still in the processor's cache
/// when the thread hashes them.
pub(crate) fn take_turns() {
    TURNS.set(true);
}

/// A client whose requests in flight have a connection each.
#[derive(Debug, Clone)]
pub(super) struct Http1Client {
    connector: Connector,
    connect_timeout: Duration,
    user_agent: HeaderValue,
    shared: Arc<Shared>,
}

/// What the client and the bodies of its answers share.
#[derive(Debug, Default)]
struct Shared {
    idle: Idle,
    memory: Memory,
    /// Whether `tidy` runs.
    tidied: AtomicBool,
}

/// Marks an answer: the memory of its chunks has nothing but bytes of its body, so a chunk that is kept costs little more than its
/// bytes, as long as those beside it are kept too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dense;

/// Closes connections and gives memory back in time, as long as the client or a body lives.
async fn tidy(shared: Weak<Shared>) {
    loop {
        sleep(idle::LONGEST).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.idle.close_old();
        shared.memory.give_back(idle::LONGEST);
    }
}

impl Http1Client {
    /// A client for URLs of `https` with this TLS, or for those of `http`, and for threads as this one is. Opens no connection yet.
    pub fn new(config: &HubConfig, tls: Option<&ClientConfig>) -> Result<Self, HubError> {
        let user_agent = HeaderValue::from_str(&config.user_agent).map_err(|e| HubError::Setup(e.to_string()))?;
        // Over HTTP/2 all parts would share one connection.
        let connector = Connector::new(config, tls.map(|tls| tls::offering(tls, Offers::Http1)));
        let connect_timeout = config.timing.connect_timeout;
        let memory = if TURNS.get() { Memory::of_turns() } else { Memory::default() };
        let shared = Arc::new(Shared { memory, ..Shared::default() });
        Ok(Http1Client { connector, connect_timeout, user_agent, shared })
    }

    /// Sends a GET request without a body, and waits for the head of the answer.
    pub async fn get(&self, url: &Url, mut headers: HeaderMap) -> Result<Response, HubError> {
        // The HTTP library's client adds these when it sends.
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let request = head::request(url, &headers);
        let host = name_of(url);
        if let Some(mut connection) = self.shared.idle.take(host) {
            let mut came = Vec::with_capacity(head::LIMIT);
            match ask(&mut connection, &request, &mut came).await {
                Ok(start) if !came.is_empty() => return self.answer(url, connection, start, came).await,
                Err(error) if !came.is_empty() => return Err(HubError::transport(url, &error, false)),
                // The server has closed it meanwhile, and probably all others. A GET request may be sent again (RFC 9112, 9.3.1).
                Ok(_) | Err(_) => self.shared.idle.forget(host),
            }
        }
        let mut connection = self.connect(url).await?;
        let mut came = Vec::with_capacity(head::LIMIT);
        let start = ask(&mut connection, &request, &mut came).await;
        let start = start.map_err(|error| HubError::transport(url, &error, false))?;
        self.answer(url, connection, start, came).await
    }

    async fn connect(&self, url: &Url) -> Result<Connection, HubError> {
        if !self.shared.tidied.swap(true, Ordering::Relaxed) {
            tokio::spawn(tidy(Arc::downgrade(&self.shared)));
        }
        let failed = |error: &(dyn std::error::Error + 'static)| HubError::transport(url, error, true);
        match timeout(self.connect_timeout, self.connector.connect(url)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(failed(&*error)),
            Err(_) => Err(failed(&io::Error::new(io::ErrorKind::TimedOut, tcp::TIMED_OUT))),
        }
    }

    /// The answer that begins with these bytes.
    async fn answer(
        &self,
        url: &Url,
        connection: Connection,
        start: Start,
        came: Vec<u8>,
    ) -> Result<Response, HubError> {
        let Start::Plain(head, n) = start else {
            let (shared, host) = (Arc::clone(&self.shared), name_of(url).to_owned());
            let answer = library::read(connection, came, move |connection| shared.idle.add(host, connection)).await;
            return answer.map_err(|error| HubError::transport(url, &error, false));
        };
        let host = head.stays_open.then(|| name_of(url).to_owned());
        let content = Content::new(Arc::clone(&self.shared), connection, host, head.length, &came[n..]);
        let mut answer = hyper::Response::new(Body::wrap(content));
        (*answer.status_mut(), *answer.version_mut(), *answer.headers_mut()) =
            (head.status, head.version, head.headers);
        answer.extensions_mut().insert(Dense);
        Ok(answer.into())
    }
}

/// Sends a request, and reads until the answer's beginning, which is added to `came`, can be judged.
async fn ask(connection: &mut Connection, request: &[u8], came: &mut Vec<u8>) -> io::Result<Start> {
    connection.write_all(request).await?;
    connection.flush().await?;
    loop {
        if connection::receive(connection, came).await? == 0 {
            return Ok(Start::Other);
        }
        match head::read(came) {
            Start::Unfinished => {}
            start => return Ok(start),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
