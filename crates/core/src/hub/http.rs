//! One server over HTTP, for any protocol: its clients, the longest waits for an answer and a body, and the most bytes
//! that are read. `client` makes the requests to a Hub, and the room `oci` those to a registry.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, Response};
use tracing::{Instrument as _, debug, debug_span};
use url::Url;

use super::clients::{Clients, Data, Via};
use super::error::ShownUrl;
use super::host::name_of;
use super::patience::Pace;
use super::{HubConfig, HubError, Retries};

/// The longest wait for the body of an error answer, and the most bytes of it.
const COMPLAINT: (Duration, usize) = (Duration::from_secs(5), 8 << 10);
/// A body that takes longer than this many of the longest waits between two reads is given up.
const ANSWER: u32 = 10;

/// A server, and those that it redirects to.
#[derive(Debug)]
pub(crate) struct Http {
    config: Arc<HubConfig>,
    /// Made for the first request: a run without requests needs no certificates.
    clients: OnceLock<Result<Clients, HubError>>,
    /// When to ask it again, and when to give up.
    pub(crate) retries: Retries,
}

impl Http {
    /// Makes no request.
    pub(crate) fn new(config: Arc<HubConfig>) -> Self {
        let retries = Retries::new(&config.timing, &config.endpoint);
        Http { config, clients: OnceLock::new(), retries }
    }

    fn clients(&self) -> Result<&Clients, HubError> {
        self.clients.get_or_init(|| Clients::new(&self.config)).as_ref().map_err(Clone::clone)
    }

    /// The HTTP library's client, which builds requests.
    pub(crate) fn client(&self, via: Via) -> Result<Client, HubError> {
        let clients = self.clients()?;
        match via {
            Via::Api => Ok(clients.api()),
            Via::Data => Ok(clients.data(&self.config)?.any),
        }
    }

    /// Sends a request when its host allows one, and waits for the head of the answer, for at most the response
    /// timeout.
    pub(crate) async fn send(&self, via: Via, url: &Url, request: RequestBuilder) -> Result<Response, HubError> {
        let limit = self.config.timing.response_timeout;
        let enough = async move {
            tokio::time::sleep(limit).await;
            HubError::Timeout { url: url.into(), what: "answer", after: limit }
        };
        self.send_while(via, url, request, enough).await
    }

    /// The same, but waits until `enough` ends the wait.
    pub(crate) async fn send_while(
        &self,
        via: Via,
        url: &Url,
        request: RequestBuilder,
        enough: impl Future<Output = HubError>,
    ) -> Result<Response, HubError> {
        // Signed URLs are secrets: a URL is logged without its query.
        let span = debug_span!("request", url = %ShownUrl::from(url));
        self.send_in(via, url, request, enough).instrument(span).await
    }

    async fn send_in(
        &self,
        via: Via,
        url: &Url,
        request: RequestBuilder,
        enough: impl Future<Output = HubError>,
    ) -> Result<Response, HubError> {
        let host = self.retries.hosts.of(name_of(url));
        let asked = Instant::now();
        host.pass().await;
        let waited = asked.elapsed();
        let answered = tokio::select! {
            // Why this order: the disk may have kept this thread until both were there.
            biased;
            answer = self.answer(via, url, request) => answer,
            error = enough => Err(error),
        };
        let took = asked.elapsed().saturating_sub(waited);
        match &answered {
            Ok(response) => {
                let (status, version) = (response.status().as_u16(), response.version());
                debug!(status, ?version, ?took, ?waited, "answered");
            }
            Err(error) => debug!(%error, ?took, ?waited, "failed"),
        }
        let response = answered?;
        if response.status().is_success() || response.status().is_redirection() {
            host.answered();
        }
        Ok(response)
    }

    async fn answer(&self, via: Via, url: &Url, request: RequestBuilder) -> Result<Response, HubError> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|e| HubError::of_library(url, &e))?;
        if let (Via::Data, None) = (via, request.body()) {
            let Data { http, https, .. } = self.clients()?.data(&self.config)?;
            let own = match url.scheme() {
                "http" => http,
                "https" => https,
                _ => None,
            };
            if let Some(own) = own.filter(|_| request.method() == Method::GET) {
                return own.get(url, std::mem::take(request.headers_mut())).await;
            }
        }
        client.execute(request).await.map_err(|e| HubError::of_library(url, &e))
    }

    /// The beginning of an error answer's body, if it comes soon.
    pub(crate) async fn complaint(&self, url: &Url, response: &mut Response) -> Vec<u8> {
        let mut body = Vec::new();
        let window = self.config.timing.stall_timeout.min(COMPLAINT.0);
        while let Ok(Ok(Some(chunk))) = self.retries.within(url, "bytes", window, response.chunk()).await {
            if body.len() + chunk.len() > COMPLAINT.1 {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        body
    }

    /// A body of at most `limit` bytes.
    pub(crate) async fn body(&self, url: &Url, mut response: Response, limit: usize) -> Result<Vec<u8>, HubError> {
        let mut body = Vec::new();
        let least = self.retries.hosts.of(name_of(url)).least();
        let window = self.config.timing.stall_timeout;
        let (began, mut pace) = (Instant::now(), Pace::default());
        loop {
            let asked = Instant::now();
            let chunk = self.retries.within(url, "bytes", window, response.chunk()).await?;
            let Some(chunk) = chunk.map_err(|e| HubError::of_library(url, &e))? else { break };
            if body.len() + chunk.len() > limit {
                let what = format!("the answer is longer than {limit} bytes");
                return Err(HubError::Protocol { url: url.into(), what });
            }
            if let Some(came) = pace.is_too_slow(asked.elapsed(), chunk.len(), window, least) {
                return Err(HubError::Trickle { url: url.into(), came, window });
            }
            if began.elapsed() > window * ANSWER {
                return Err(HubError::Timeout { url: url.into(), what: "end of the answer", after: window * ANSWER });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The length of the body that the head of an answer states.
pub(crate) fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(reqwest::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok())
}
