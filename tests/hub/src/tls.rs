//! HTTPS for the loopback Hub: a certificate for the run, and a listener that speaks HTTP/2 to clients that ask for it.
//! Other modules answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use rcgen::{CertifiedKey, SanType};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

/// The certificate and key of one run's servers.
pub(crate) struct Identity {
    /// The certificate that clients must trust.
    pub pem: String,
    acceptor: TlsAcceptor,
}

impl Identity {
    /// Makes a self-signed certificate for these addresses.
    pub fn new(addresses: [Ipv4Addr; 2]) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = addresses.map(|address| SanType::IpAddress(IpAddr::V4(address))).into();
        let signing_key = rcgen::KeyPair::generate().expect("a key");
        let cert = params.self_signed(&signing_key).expect("a certificate");
        let made = CertifiedKey { cert, signing_key };
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Identity { pem: made.cert.pem(), acceptor: Arc::new(config).into() }
    }
}

/// Gives connections after their handshake.
pub(crate) struct TlsListener {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl TlsListener {
    /// Takes connections from `listener`. One without a handshake does not delay the others.
    pub fn on(listener: TcpListener, identity: &Identity) -> io::Result<Self> {
        let (send, ready) = mpsc::channel(64);
        let (address, acceptor) = (listener.local_addr()?, identity.acceptor.clone());
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                // As real servers do. Otherwise the kernel keeps a short body back for 40 ms.
                drop(stream.set_nodelay(true));
                let (send, acceptor) = (send.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let shaken = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        let _ = send.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(TlsListener { address, ready })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The listener is gone, so no more connections come.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
