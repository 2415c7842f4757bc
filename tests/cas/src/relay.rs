//! A TCP relay in front of the CAS that counts, slows and damages the bytes in it. Of HTTP it knows
//! only the start of a request's first line and of an answer's body.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What goes wrong on the way from the CAS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Connections are closed before an answer.
    Refuse,
    /// Every answer is a 500.
    Status500,
    /// After this many bytes, counted over all connections, every connection becomes silent.
    StallAfter(u64),
    /// After this many bytes, counted over all connections, every connection is closed.
    CutAfter(u64),
    /// A byte in the middle of every large body is changed.
    Corrupt,
    /// The rate in bytes a second on each connection.
    Slow(u64),
}

#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    trouble: Mutex<Trouble>,
    sent: AtomicU64,
    requests: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    pub async fn start(to: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port on 127.0.0.1");
        let relay = Arc::new(Relay {
            address: listener.local_addr().expect("an address"),
            trouble: Mutex::new(Trouble::None),
            sent: AtomicU64::new(0),
            requests: Mutex::default(),
        });
        let own = Arc::clone(&relay);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let relay = Arc::clone(&own);
                tokio::spawn(async move {
                    // Connections break in real life too, so the error is ignored.
                    let _ = relay.serve(client, to).await;
                });
            }
        });
        relay
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn trouble(&self, trouble: Trouble) {
        *lock(&self.trouble) = trouble;
        self.sent.store(0, Ordering::Relaxed);
    }

    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> Vec<String> {
        lock(&self.requests).clone()
    }

    fn now(&self) -> Trouble {
        *lock(&self.trouble)
    }

    async fn serve(self: Arc<Self>, client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
        if self.now() == Trouble::Refuse {
            return Ok(());
        }
        let server = TcpStream::connect(to).await?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let own = Arc::clone(&self);
        let up = tokio::spawn(async move { own.up(from_client, to_server).await });
        let end = self.down(from_server, to_client).await;
        up.abort();
        end
    }

    async fn up(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from.read(&mut buffer).await?;
            if n == 0 {
                return to.shutdown().await;
            }
            let head = &buffer[..n];
            if head.starts_with(b"GET ") || head.starts_with(b"POST ") {
                let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
                lock(&self.requests).push(String::from_utf8_lossy(line).into_owned());
            }
            to.write_all(head).await?;
        }
    }

    async fn down(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut buffer = vec![0; 256 << 10];
        let mut of_this_answer = 0;
        loop {
            let n = from.read(&mut buffer).await?;
            if n == 0 {
                return to.shutdown().await;
            }
            if buffer.starts_with(b"HTTP/1.1 ") {
                of_this_answer = 0;
            }
            let sent = self.sent.load(Ordering::Relaxed);
            match self.now() {
                Trouble::None | Trouble::Refuse => {}
                Trouble::Status500 => {
                    to.write_all(
                        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                    )
                    .await?;
                    return to.shutdown().await;
                }
                Trouble::StallAfter(limit) if sent >= limit => std::future::pending().await,
                Trouble::CutAfter(limit) if sent >= limit => return Ok(()),
                Trouble::StallAfter(_) | Trouble::CutAfter(_) => {}
                // The byte is far after the headers, and in a body with content.
                Trouble::Corrupt if of_this_answer > 8192 => buffer[n / 2] ^= 0x55,
                Trouble::Corrupt => {}
                Trouble::Slow(rate) => {
                    let micros = (n as u64).saturating_mul(1_000_000) / rate.max(1);
                    tokio::time::sleep(Duration::from_micros(micros)).await;
                }
            }
            to.write_all(&buffer[..n]).await?;
            of_this_answer += n;
            self.sent.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
}
