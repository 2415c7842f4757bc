//! A connection to a server: TCP, or TLS on it. `mod.rs` writes requests and reads answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tower::{BoxError, ServiceExt as _};
use url::Url;

use super::memory::Piece;
use crate::hub::host::is_loopback;
use crate::hub::{HubConfig, tcp};

/// Bytes of one read from the socket below TLS: sixteen records of at most 16 kB. `docs/src/path-of-a-byte.md` has the figures of
/// other sizes.
const READ: usize = 256 << 10;

/// Opens connections to the servers of URLs.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    /// `None` for plain HTTP. Otherwise TLS, and the connections below it to hosts on this machine.
    tls: Option<(TlsConnector, HttpConnector)>,
}

/// TCP, or TLS on it with a buffer for what was read from the socket.
pub(super) type Connection = Either<TcpStream, Box<TlsStream<BufReader<TcpStream>>>>;

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connector({})", if self.tls.is_some() { "TLS" } else { "TCP" })
    }
}

impl Connector {
    pub fn new(config: &HubConfig, tls: Option<ClientConfig>) -> Self {
        let tls = tls.map(|tls| (TlsConnector::from(Arc::new(tls)), tcp::connector_here(config)));
        Connector { tcp: tcp::connector(config), tls }
    }

    /// Connects, and agrees on TLS.
    pub async fn connect(&self, url: &Url) -> Result<Connection, BoxError> {
        let tcp = match &self.tls {
            Some((_, here)) if is_loopback(url) => here,
            _ => &self.tcp,
        };
        let socket = tcp.clone().oneshot(Uri::try_from(url.as_str())?).await?.into_inner();
        let Some((tls, _)) = &self.tls else { return Ok(Either::Left(socket)) };
        // An IPv6 address has brackets in a URL.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())?;
        let stream = tls.connect(name, BufReader::with_capacity(READ, socket)).await?;
        Ok(Either::Right(Box::new(stream)))
    }
}

/// Adds the next bytes to `to`, and returns how many: none at the end. TLS may have an error for later if it is read otherwise, which
/// `poll_receive` would not see.
pub(super) async fn receive(connection: &mut Connection, to: &mut Vec<u8>) -> io::Result<usize> {
    match connection {
        Either::Left(socket) => socket.read_buf(to).await,
        Either::Right(stream) => {
            let bytes = stream.fill_buf().await?;
            let n = bytes.len();
            to.extend_from_slice(bytes);
            stream.consume(n);
            Ok(n)
        }
    }
}

/// Receives at most `limit` bytes into a piece, and returns how many came: none at the end, or if there is no room.
pub(super) fn poll_receive(
    connection: &mut Connection,
    piece: &mut Piece,
    limit: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    match connection {
        Either::Left(socket) => piece.poll_read(Pin::new(socket), limit, cx),
        Either::Right(stream) => {
            let bytes = ready!(Pin::new(&mut *stream).poll_fill_buf(cx))?;
            let n = piece.copy(&bytes[..bytes.len().min(limit)]);
            Pin::new(stream).consume(n);
            Poll::Ready(Ok(n))
        }
    }
}

/// Whether nothing has come that was not read, and the connection is open.
pub(super) fn is_quiet(connection: &Connection) -> bool {
    let socket = match connection {
        Either::Left(socket) => socket,
        Either::Right(stream) => {
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
