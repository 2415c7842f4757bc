//! The client that receives bytes over HTTPS without a proxy. One read of its sockets takes many records of TLS; the HTTP library's
//! own client takes one record of at most 16 kB, and each read costs a system call. `http` decides which client sends a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::header::{ACCEPT, HeaderValue, USER_AGENT};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::{Body, Response};
use rustls::ClientConfig;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};
use url::Url;

use super::tls::{self, Offers};
use super::{HubConfig, HubError, tcp};

/// Bytes of one read from the socket: sixteen records of TLS. `docs/src/path-of-a-byte.md` has the figures of other sizes.
const READ: usize = 256 << 10;
type Connect = BoxCloneSyncService<Uri, MaybeHttpsStream<Buffered>, BoxError>;

/// A client that uses HTTP/1.1, so that each request in flight has a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct HttpsClient {
    client: Client<Connect, Body>,
    user_agent: HeaderValue,
}

impl HttpsClient {
    /// A client with this TLS.
    pub fn new(config: &HubConfig, tls: &ClientConfig) -> Result<Self, HubError> {
        let user_agent = HeaderValue::from_str(&config.user_agent).map_err(|e| HubError::Setup(e.to_string()))?;
        let tls = Arc::new(tls::offering(tls, Offers::Http1));
        let https = HttpsConnector::from((tcp::connector(config).map_response(Buffered::new), tls));
        // TLS has no time of its own.
        let connect = ServiceBuilder::new()
            .map_err(in_words)
            .layer(TimeoutLayer::new(config.timing.connect_timeout))
            .service(https);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(BoxCloneSyncService::new(connect));
        Ok(HttpsClient { client, user_agent })
    }

    /// Sends a request, and waits for the head of the answer.
    pub async fn send(&self, url: &Url, request: reqwest::Request) -> Result<Response, HubError> {
        let mut request = Request::<Body>::try_from(request).map_err(|e| HubError::of_library(url, &e))?;
        // The HTTP library's client adds these when it sends.
        let headers = request.headers_mut();
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        match self.client.request(request).await {
            Ok(response) => Ok(response.map(Body::wrap).into()),
            Err(error) => Err(HubError::transport(url, &error, error.is_connect())),
        }
    }
}

/// Gives the time limit the words of the HTTP library.
fn in_words(error: BoxError) -> BoxError {
    if error.is::<Elapsed>() { io::Error::new(io::ErrorKind::TimedOut, tcp::TIMED_OUT).into() } else { error }
}

/// A connection below TLS, with a buffer for what was read from it.
struct Buffered(TokioIo<BufReader<TcpStream>>);

impl Buffered {
    fn new(connection: TokioIo<TcpStream>) -> Self {
        Buffered(TokioIo::new(BufReader::with_capacity(READ, connection.into_inner())))
    }
}

impl Connection for Buffered {
    fn connected(&self) -> Connected {
        self.0.inner().get_ref().connected()
    }
}

impl Read for Buffered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Buffered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, parts)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_not_answered_is_given_up() {
        // Its queue for connections takes them, and nobody answers in TLS.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("https://{}/", silent.local_addr().unwrap())).unwrap();
        let mut config = HubConfig::new(url.as_str()).unwrap();
        config.timing.connect_timeout = Duration::from_millis(200);
        let client = HttpsClient::new(&config, &tls::configuration(None).unwrap()).unwrap();
        let error = client.send(&url, reqwest::Request::new(reqwest::Method::GET, url.clone())).await.unwrap_err();
        assert!(matches!(&error, HubError::NoConnection { what, .. } if what == "operation timed out"), "{error}");
    }
}
