//! Connections of the floor, plain or with TLS, and its requests. It reads no answers.

use std::io::{self, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use super::Outcome;

/// Bytes of a read below TLS. Of 64 KiB to 1 MiB, this costs the least processor time.
const RECORDS: usize = 256 << 10;

/// The server that has the files.
pub struct Server {
    host: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// The server of a URL without a path.
    pub fn at(url: &str) -> Outcome<Self> {
        let (scheme, host) = url.split_once("://").ok_or("no scheme")?;
        let tls = if scheme == "https" { Some(trusting(&std::env::var("SSL_CERT_FILE")?)?) } else { None };
        Ok(Server { host: host.to_owned(), tls })
    }

    /// Whether its bytes are encrypted.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Requests a path on a new connection, and returns what comes.
    pub fn get(&self, path: &str) -> Outcome<Box<dyn Read>> {
        let host = &self.host;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut socket = TcpStream::connect(host)?;
        let Some(tls) = &self.tls else {
            socket.write_all(request.as_bytes())?;
            return Ok(Box::new(socket));
        };
        let name = host.rsplit_once(':').map_or(&host[..], |(name, _)| name).to_owned();
        let mut session = ClientConnection::new(Arc::clone(tls), ServerName::try_from(name)?)?;
        Stream::new(&mut session, &mut socket).write_all(request.as_bytes())?;
        Ok(Box::new(Decrypted { session, socket: BufReader::with_capacity(RECORDS, socket) }))
    }
}

/// TLS that trusts the certificates in this file.
fn trusting(file: &str) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// What comes over TLS. One read of the socket takes many records.
struct Decrypted {
    session: ClientConnection,
    socket: BufReader<TcpStream>,
}

impl Read for Decrypted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.session.wants_read() && self.session.read_tls(&mut self.socket)? > 0 {
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
        self.session.reader().read(buffer)
    }
}
