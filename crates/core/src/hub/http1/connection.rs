//! A connection to a server: TCP, or TLS on it. `mod.rs` writes requests and reads answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls_pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{BoxError, ServiceExt as _};
use url::{Host, Url};

/// Bytes of one read from the socket below TLS: sixteen records of at most 16 kB. `docs/src/path-of-a-byte.md` has the figures of
/// other sizes.
const READ: usize = 256 << 10;

/// Opens connections to the servers of URLs.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    /// `None` for plain HTTP.
    tls: Option<TlsConnector>,
}

#[derive(Debug)]
pub(super) enum Connection {
    Plain(TcpStream),
    /// With a buffer for what was read from the socket.
    Tls(Box<TlsStream<BufReader<TcpStream>>>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", if self.tls.is_some() { "TLS" } else { "TCP" })
    }
}

impl Connector {
    pub fn new(tcp: HttpConnector, tls: Option<ClientConfig>) -> Self {
        Connector { tcp, tls: tls.map(|tls| TlsConnector::from(Arc::new(tls))) }
    }

    /// Connects, and agrees on TLS.
    pub async fn connect(&self, url: &Url) -> Result<Connection, BoxError> {
        let socket = self.tcp.clone().oneshot(Uri::try_from(url.as_str())?).await?.into_inner();
        let Some(tls) = &self.tls else { return Ok(Connection::Plain(socket)) };
        // A URL of `https` has a host.
        let name = match url.host() {
            Some(Host::Ipv4(address)) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V6(address))),
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned())?,
            None => return Err("the URL names no host".into()),
        };
        let stream = tls.connect(name, BufReader::with_capacity(READ, socket)).await?;
        Ok(Connection::Tls(Box::new(stream)))
    }
}

impl Connection {
    /// Whether nothing has come that was not read, and the connection is open.
    pub fn is_quiet(&self) -> bool {
        let socket = match self {
            Connection::Plain(socket) => socket,
            Connection::Tls(stream) => {
                let (below, session) = stream.get_ref();
                // TLS wants no more if it has decrypted bytes that nobody has read, or the end.
                if !session.wants_read() || !below.buffer().is_empty() {
                    return false;
                }
                below.get_ref()
            }
        };
        // What comes from a closed connection is its end.
        socket.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(socket) => Pin::new(socket).poll_read(cx, buffer),
            Connection::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Connection::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Connection::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
