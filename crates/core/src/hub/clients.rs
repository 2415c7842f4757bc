//! The HTTP clients, and whom they trust. What they ask is said elsewhere.

use reqwest::{Certificate, Client, ClientBuilder};

use super::error::innermost;
use super::{HubConfig, HubError};

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Via {
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
    /// Trusts the system's certificates, or those that Mozilla trusts where the system has none.
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
                .connect_timeout(config.connect_timeout)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true);
            if let Some(pem) = &config.certificates {
                let certificates = Certificate::from_pem_bundle(pem).map_err(setup)?;
                builder = builder.tls_certs_merge(certificates);
            }
            if config.direct {
                builder = builder.no_proxy();
            }
            Ok(trust(builder))
        };
        Ok(Clients { api: builder()?.build().map_err(setup)?, data: builder()?.http1_only().build().map_err(setup)? })
    }
}
