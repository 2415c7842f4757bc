//! The HTTP clients, and the certificates that they trust. Other modules make the requests.

use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy};

use super::environment::Proxies;
use super::{HubConfig, HubError};
use crate::text::innermost;

/// Which of the two clients to use.
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
    pub api: Client,
    /// HTTP/1.1 only: over HTTP/2 all parts would share one TCP connection.
    pub data: Client,
}

impl Clients {
    /// Trusts the system's certificates, or Mozilla's if the system has none.
    pub fn new(config: &HubConfig) -> Result<Self, HubError> {
        Self::trusting(config, |builder| builder).or_else(|error| {
            let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
            let bundled: Result<Vec<_>, _> = roots.map(|root| Certificate::from_der(root)).collect();
            let own = config.certificates.as_deref().map_or(Ok(Vec::new()), Certificate::from_pem_bundle);
            let (Ok(mut bundled), Ok(own)) = (bundled, own) else { return Err(error) };
            bundled.extend(own);
            Self::trusting(config, |builder| builder.tls_certs_only(bundled.clone()))
        })
    }

    fn trusting(config: &HubConfig, trust: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Self, HubError> {
        let setup = |error: reqwest::Error| {
            let why = innermost(&error).to_string();
            HubError::Setup(format!("{why}; install ca-certificates, or name certificates with SSL_CERT_FILE"))
        };
        let builder = || -> Result<ClientBuilder, HubError> {
            let mut builder = Client::builder()
                .user_agent(&config.user_agent)
                .connect_timeout(config.timing.connect_timeout)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true);
            if let Some(pem) = &config.certificates {
                let certificates = Certificate::from_pem_bundle(pem).map_err(setup)?;
                builder = builder.tls_certs_merge(certificates);
            }
            // The library would read the proxies from the environment by itself.
            builder = builder.no_proxy();
            for proxy in proxies(&config.proxies).map_err(setup)? {
                builder = builder.proxy(proxy);
            }
            Ok(trust(builder))
        };
        Ok(Clients { api: builder()?.build().map_err(setup)?, data: builder()?.http1_only().build().map_err(setup)? })
    }
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
