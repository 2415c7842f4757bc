//! The HTTP clients of a Hub, and the proxies that they use. Other modules make the requests.

use std::sync::Mutex;

use reqwest::{Client, NoProxy, Proxy};
use rustls::ClientConfig;
use tokio::runtime::{Handle, Id};

use super::environment::Proxies;
use super::http1::Http1Client;
use super::tls::{self, Offers};
use super::{HubConfig, HubError};
use crate::mutex::lock;
use crate::text::innermost;

/// Which of the clients to use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Via {
    /// For questions.
    Api,
    /// For bytes of files.
    Data,
}

/// The HTTP clients of one Hub.
#[derive(Debug)]
pub(super) struct Clients {
    tls: ClientConfig,
    api: Client,
    /// A runtime serves the connections that it has opened. So each runtime has its own clients for bytes: otherwise the bytes
    /// would pass through the threads of another one. Usually there are the caller's and that of the session's transfers, or one for
    /// each of their threads. The one that asked last is the last one.
    data: Mutex<Vec<(Option<Id>, Data)>>,
}

/// The clients for bytes of one runtime.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// Builds every request, and sends those that the others do not send.
    pub any: Client,
    /// For URLs of plain HTTP; `None` if such requests may go through a proxy.
    pub http: Option<Http1Client>,
    /// The same for HTTPS.
    pub https: Option<Http1Client>,
}

/// How many runtimes keep their clients for bytes.
pub(crate) const RUNTIMES: usize = 10;

impl Clients {
    /// Makes no client for bytes yet.
    pub fn new(config: &HubConfig) -> Result<Self, HubError> {
        let tls = tls::configuration(config.certificates.as_deref()).map_err(|why| {
            HubError::Setup(format!("{why}; install ca-certificates, or name certificates with SSL_CERT_FILE"))
        })?;
        let api = client(config, &tls, Offers::Both)?;
        Ok(Clients { tls, api, data: Mutex::default() })
    }

    /// The client for questions.
    pub fn api(&self) -> Client {
        self.api.clone()
    }

    /// The clients for bytes that the current runtime uses.
    pub fn data(&self, config: &HubConfig) -> Result<Data, HubError> {
        let own = Handle::try_current().ok().map(|runtime| runtime.id());
        let mut clients = lock(&self.data);
        if let Some(place) = clients.iter().position(|(runtime, _)| *runtime == own) {
            let found = clients.remove(place);
            let client = found.1.clone();
            clients.push(found);
            return Ok(client);
        }
        // HTTP/1.1 only: over HTTP/2 all parts would share one TCP connection.
        let any = client(config, &self.tls, Offers::Http1)?;
        let proxies = &config.proxies;
        let http = if proxies.may_serve_http() { None } else { Some(Http1Client::new(config, None)?) };
        let https = if proxies.may_serve_https() { None } else { Some(Http1Client::new(config, Some(&self.tls))?) };
        let new = Data { any, http, https };
        if clients.len() == RUNTIMES {
            clients.remove(0);
        }
        clients.push((own, new.clone()));
        Ok(new)
    }
}

/// A client with this TLS. Over HTTPS it uses the protocols that it offers; over plain HTTP always HTTP/1.1.
fn client(config: &HubConfig, tls: &ClientConfig, offers: Offers) -> Result<Client, HubError> {
    let setup = |error: reqwest::Error| HubError::Setup(innermost(&error).to_string());
    let mut builder = Client::builder()
        .user_agent(&config.user_agent)
        .connect_timeout(config.timing.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .tls_backend_preconfigured(tls::offering(tls, offers))
        // The library would read the proxies from the environment by itself.
        .no_proxy();
    for proxy in proxies(&config.proxies).map_err(setup)? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(setup)
}

/// The proxies, the most specific first: the first one that fits a URL's scheme is used.
fn proxies(named: &Proxies) -> reqwest::Result<Vec<Proxy>> {
    if named.are_off() {
        return Ok(Vec::new());
    }
    let except = || named.except.as_deref().and_then(NoProxy::from_string);
    let https = named.https.as_ref().map(Proxy::https);
    let http = named.http.as_ref().map(Proxy::http);
    let all = named.all.as_ref().map(Proxy::all);
    [https, http, all].into_iter().flatten().map(|proxy| Ok(proxy?.no_proxy(except()))).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use reqwest::header::HeaderMap;

    use super::super::http1::tests::{Peer, identity};
    use super::*;

    /// A server that keeps its connections open; returns its address. `count` gets the number of connections so far.
    fn server(tls: Option<Arc<rustls::ServerConfig>>, count: &Arc<AtomicUsize>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let counted = Arc::clone(count);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                let tls = tls.clone();
                std::thread::spawn(move || {
                    let mut connection = Peer::new(tls, connection.unwrap());
                    while connection.read(&mut [0; 4096]).unwrap_or(0) > 0 {
                        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                    }
                });
            }
        });
        url
    }

    #[test]
    fn a_runtime_never_gets_bytes_over_the_connection_of_another_one() {
        let (certificate, tls) = identity();
        let connections = Arc::default();
        let (url, secure) = (server(None, &connections), server(Some(tls), &connections));
        let mut config = HubConfig::new(&url).unwrap();
        config.certificates = Some(certificate.into_bytes());
        let clients = Clients::new(&config).unwrap();
        let runtimes: Vec<_> = (0..=RUNTIMES)
            .map(|_| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
            .collect();
        let ask = |runtime: &tokio::runtime::Runtime| {
            runtime.block_on(async {
                let Data { any, http, https } = clients.data(&config).unwrap();
                let answer = any.get(&url).send().await.unwrap();
                assert!(answer.bytes().await.unwrap().is_empty());
                let answer = https.unwrap().get(&secure.parse().unwrap(), HeaderMap::new()).await.unwrap();
                assert!(answer.bytes().await.unwrap().is_empty());
                let answer = http.unwrap().get(&url.parse().unwrap(), HeaderMap::new()).await.unwrap();
                assert!(answer.bytes().await.unwrap().is_empty());
                // The connections return to their pools.
                tokio::task::yield_now().await;
            });
            // Each client has opened one.
            connections.load(Ordering::Relaxed) / 3
        };
        let (callers, transfers) = runtimes.split_first().unwrap();
        for (i, transfer) in transfers.iter().enumerate() {
            assert_eq!([ask(callers), ask(callers), ask(transfer), ask(transfer)], [i + 1, i + 1, i + 2, i + 2]);
        }
        assert_eq!(ask(callers), RUNTIMES + 1, "the caller's is in use, and is kept");
        assert_eq!(
            clients.data.lock().unwrap().len(),
            RUNTIMES,
            "the client of an ended transfer is not kept for ever"
        );
    }
}
