//! A server that sends what a test says, over TCP and over TLS, and how the client reads it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: ";

/// A server's next step on a connection.
#[derive(Clone)]
enum Does {
    /// Reads the head of a request, and sends these bytes.
    Answers(Vec<u8>),
    /// Sends these bytes after a pause.
    Later(u64, Vec<u8>),
    /// Waits for the next request, and closes the connection instead of an answer.
    Hangs,
    /// Says that nothing more comes, and leaves the connection open for a while. Over TCP it does nothing.
    EndsTls,
}

/// The server's end of a connection.
pub(in crate::hub) enum Peer {
    Tcp(std::net::TcpStream),
    Tls(Box<StreamOwned<ServerConnection, std::net::TcpStream>>),
}

impl Peer {
    pub fn new(tls: Option<Arc<ServerConfig>>, socket: std::net::TcpStream) -> Self {
        match tls {
            None => Peer::Tcp(socket),
            Some(tls) => Peer::Tls(Box::new(StreamOwned::new(ServerConnection::new(tls).unwrap(), socket))),
        }
    }

    fn socket(&self) -> &std::net::TcpStream {
        match self {
            Peer::Tcp(socket) => socket,
            Peer::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Peer {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Peer::Tcp(socket) => socket.read(bytes),
            Peer::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Peer::Tcp(socket) => socket.write(bytes),
            Peer::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Peer::Tcp(socket) => socket.flush(),
            Peer::Tls(stream) => stream.flush(),
        }
    }
}

/// The certificate of a server, and its TLS.
pub(in crate::hub) fn identity() -> (String, Arc<ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (made.cert.pem(), Arc::new(config))
}

struct Server {
    url: Url,
    connections: Arc<AtomicUsize>,
    client: Http1Client,
}

impl Server {
    /// A server that does this on each connection, and then closes it.
    fn that(steps: impl Into<Vec<Does>>) -> Self {
        Server::over(None, steps.into())
    }

    /// The same over TCP and over TLS.
    fn both(steps: impl Into<Vec<Does>>) -> [Self; 2] {
        let steps = steps.into();
        [Server::over(None, steps.clone()), Server::over(Some(identity()), steps)]
    }

    fn over(tls: Option<(String, Arc<ServerConfig>)>, steps: Vec<Does>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{}/file", listener.local_addr().unwrap())).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let (certificate, tls) = tls.unzip();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                let (socket, steps, tls) = (connection.unwrap(), steps.clone(), tls.clone());
                std::thread::spawn(move || {
                    let mut connection = Peer::new(tls, socket);
                    for step in steps {
                        // The client may have gone already.
                        let _ = match step {
                            Does::Answers(bytes) => {
                                let request = head_of_request(&mut connection);
                                assert!(
                                    request.is_empty() || request.starts_with("GET /file HTTP/1.1\r\n"),
                                    "{request}"
                                );
                                connection.write_all(&bytes)
                            }
                            Does::Later(millis, bytes) => {
                                std::thread::sleep(Duration::from_millis(millis));
                                connection.write_all(&bytes)
                            }
                            Does::Hangs => {
                                head_of_request(&mut connection);
                                connection.socket().shutdown(Shutdown::Both)
                            }
                            Does::EndsTls => {
                                if let Peer::Tls(stream) = &mut connection {
                                    stream.conn.send_close_notify();
                                    let _ = stream.flush();
                                    std::thread::sleep(Duration::from_millis(300));
                                }
                                Ok(())
                            }
                        };
                    }
                });
            }
        });
        let tls = certificate.map(|pem| tls::configuration(Some(pem.as_bytes())).unwrap());
        let client = Http1Client::new(&HubConfig::new(url.as_str()).unwrap(), tls.as_ref()).unwrap();
        Server { url, connections, client }
    }

    async fn get(&self) -> Result<Response, HubError> {
        self.client.get(&self.url, HeaderMap::new()).await
    }

    async fn text(&self) -> String {
        self.get().await.unwrap().text().await.unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn head_of_request(connection: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn answers(text: &str) -> Does {
    Does::Answers(text.as_bytes().to_vec())
}

fn with_body(body: &[u8]) -> Does {
    Does::Answers([format!("{OK}{}\r\n\r\n", body.len()).as_bytes(), body].concat())
}

#[tokio::test]
async fn a_connection_is_used_again_as_soon_as_its_last_byte_has_come() {
    for server in Server::both([with_body(b"one"), with_body(b""), with_body(b"three")]) {
        let first = server.get().await.unwrap();
        assert_eq!(server.text().await, "");
        assert_eq!((first.text().await.unwrap(), server.text().await), ("one".into(), "three".into()));
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn connections_are_closed_and_memory_is_given_back_in_time() {
    let server = Server::that([with_body(&vec![1; 1 << 20]), Does::Hangs]);
    assert_eq!(server.text().await.len(), 1 << 20);
    let Shared { idle, memory, .. } = &*server.client.shared;
    tokio::time::pause();
    tokio::time::sleep(idle::LONGEST / 2).await;
    assert!(!idle.is_empty() && !memory.is_empty());
    tokio::time::sleep(2 * idle::LONGEST).await;
    assert!(idle.is_empty() && memory.is_empty());
}

#[tokio::test]
async fn a_connection_that_must_close_or_sent_more_than_its_body_is_not_used_again() {
    for answer in [
        vec![answers(&format!("{OK}3\r\nconnection: close\r\n\r\none"))],
        vec![answers(&format!("{OK}3\r\n\r\none and more"))],
        // What is too much comes after the head.
        vec![answers(&format!("{OK}3\r\n\r\n")), Does::Later(30, b"one and more".to_vec())],
        vec![answers("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\nmore")],
        vec![answers(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
        )],
    ] {
        for server in Server::both([answer, vec![with_body(b"wrong")]].concat()) {
            assert_eq!([server.text().await, server.text().await], ["one", "one"]);
            assert_eq!(server.connections(), 2);
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_again_if_the_server_has_closed_an_idle_connection() {
    for steps in [vec![with_body(b"one")], vec![with_body(b"one"), Does::Hangs], vec![with_body(b"one"), Does::EndsTls]]
    {
        for server in Server::both(steps) {
            assert_eq!([server.text().await, server.text().await], ["one", "one"]);
            assert_eq!(server.connections(), 2);
        }
    }
}

#[tokio::test]
async fn a_new_connection_without_an_answer_is_an_error_and_not_tried_again() {
    let server = Server::that([Does::Hangs]);
    let error = server.get().await.unwrap_err().to_string();
    assert!(error.contains("connection closed before message completed"), "{error}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_answer_without_a_plain_length_is_read_by_the_library_from_the_same_connection() {
    for (answer, text) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n".to_owned(), "one"),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end".to_owned(), "until the end"),
        (format!("HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n{OK}3\r\n\r\none"), "one"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), ""),
    ] {
        for server in Server::both([answers(&answer), Does::EndsTls]) {
            assert_eq!(server.text().await, text, "{answer}");
            assert_eq!(server.connections(), 1);
        }
        let (head, rest) = answer.split_at(20);
        let server = Server::that([answers(head), Does::Later(30, rest.as_bytes().to_vec())]);
        assert_eq!(server.text().await, text, "in two parts: {answer}");
        // The body comes long after its head.
        let (head, rest) = answer.split_at(answer.len() - if text.is_empty() { 0 } else { 8 });
        let server = Server::that([answers(head), Does::Later(30, rest.as_bytes().to_vec())]);
        let answer = server.get().await.unwrap();
        assert!(answer.extensions().get::<Dense>().is_none());
        assert_eq!(answer.text().await.unwrap(), text, "its end comes later");
    }
    let server = Server::that([answers("SSH-2.0-OpenSSH_9\r\n")]);
    let error = server.get().await.unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
}

#[tokio::test]
async fn a_connection_is_used_again_after_an_answer_that_the_library_has_read() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n";
    let (head, rest) = chunked.split_at(chunked.len() - 8);
    for server in Server::both([
        answers(chunked),
        answers("HTTP/1.1 204 No Content\r\n\r\n"),
        answers(head),
        Does::Later(30, rest.as_bytes().to_vec()),
        with_body(b"three"),
    ]) {
        for text in ["one", "", "one", "three"] {
            assert_eq!(server.text().await, text);
            // The library's task gives it back.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_long_body_comes_whole_in_large_pieces_and_its_last_eighth_by_itself() {
    let body: Vec<u8> = (0..16 << 20).map(|i: u32| (i % 251) as u8).collect();
    for server in Server::both([with_body(&body)]) {
        let mut answer = server.get().await.unwrap();
        assert_eq!(answer.content_length(), Some(body.len() as u64));
        assert!(answer.extensions().get::<Dense>().is_some());
        let (mut came, mut ends) = (Vec::new(), Vec::new());
        while let Some(piece) = answer.chunk().await.unwrap() {
            came.extend_from_slice(&piece);
            ends.push(came.len());
        }
        assert!(came == body);
        assert!(ends.contains(&(14 << 20)), "{ends:?}");
    }
}

/// The largest piece of a long body that this thread receives.
async fn largest_piece() -> usize {
    let server = Server::that([with_body(&vec![7; 32 << 20])]);
    let mut answer = server.get().await.unwrap();
    let mut largest = 0;
    while let Some(piece) = answer.chunk().await.unwrap() {
        largest = largest.max(piece.len());
    }
    largest
}

/// Its twin: otherwise they are larger. How much comes at once depends on the machine.
#[tokio::test]
async fn pieces_are_small_where_connections_take_turns() {
    assert!(largest_piece().await > 256 << 10);
    // The thread is that of this test alone.
    take_turns();
    assert_eq!(largest_piece().await, 256 << 10);
}

#[tokio::test]
async fn bytes_that_came_are_not_kept_back() {
    let head = format!("{OK}{}\r\n\r\n", 64 << 20);
    for server in Server::both([answers(&head), Does::Later(0, vec![1; 100_000]), Does::Later(60_000, vec![2])]) {
        let mut answer = server.get().await.unwrap();
        let mut came = 0;
        while came < 100_000 {
            let chunk = timeout(Duration::from_secs(20), answer.chunk()).await.expect("the bytes are kept back");
            came += chunk.unwrap().unwrap().len();
        }
        assert_eq!(came, 100_000);
    }
}

#[tokio::test]
async fn the_bytes_before_a_broken_end_come_before_the_error() {
    // TLS has an end of its own, and words for one that does not come.
    let words =
        ["end of file before message length reached", "peer closed connection without sending TLS close_notify"];
    let cut = [answers(&format!("{OK}10\r\n\r\n")), Does::Later(0, b"12345".to_vec())];
    let ended = [&cut[..], &[Does::EndsTls]].concat();
    for (server, words) in std::iter::zip(Server::both(cut), words).chain(Server::both(ended).map(|it| (it, words[0])))
    {
        let mut answer = server.get().await.unwrap();
        let mut came = Vec::new();
        let error = loop {
            match answer.chunk().await {
                Ok(piece) => came.extend_from_slice(&piece.unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!(came, b"12345");
        let error = HubError::of_library(&server.url, &error).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_nobody_runs_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    let client = Http1Client::new(&HubConfig::new(url.as_str()).unwrap(), None).unwrap();
    let error = client.get(&url, HeaderMap::new()).await.unwrap_err();
    assert!(matches!(&error, HubError::NoConnection { what, .. } if what.contains("refused")), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_not_answered_in_tls_is_given_up() {
    // Its queue for connections takes them, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("https://{}/", silent.local_addr().unwrap())).unwrap();
    let mut config = HubConfig::new(url.as_str()).unwrap();
    config.timing.connect_timeout = Duration::from_millis(200);
    let client = Http1Client::new(&config, Some(&tls::configuration(None).unwrap())).unwrap();
    let error = client.get(&url, HeaderMap::new()).await.unwrap_err();
    assert!(matches!(&error, HubError::NoConnection { what, .. } if what == "operation timed out"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_no_connection() {
    let silence = Does::Later(5000, Vec::new());
    let server = Server::that([Does::Later(0, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()), silence]);
    let url = Url::parse(&server.url.as_str().replace("http:", "https:")).unwrap();
    let config = HubConfig::new(url.as_str()).unwrap();
    let client = Http1Client::new(&config, Some(&tls::configuration(None).unwrap())).unwrap();
    let error = client.get(&url, HeaderMap::new()).await.unwrap_err();
    assert!(matches!(&error, HubError::NoConnection { what, .. } if what == super::super::error::NO_TLS), "{error}");
}
