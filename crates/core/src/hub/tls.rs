//! The TLS of a Hub's HTTP clients: which certificates they trust. `clients` makes the clients.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;

/// The protocols that a client offers, the best first (ALPN).
#[derive(Debug, Clone, Copy)]
pub(super) enum Offers {
    /// HTTP/2, else HTTP/1.1.
    Both,
    /// HTTP/1.1 only.
    Http1,
}

/// TLS that trusts the system's certificates, or Mozilla's if the system has none, and besides them those of `own` (PEM).
/// On Linux, the variable `SSL_CERT_FILE` replaces the system's. The error is the reason why not.
pub(super) fn configuration(own: Option<&[u8]>) -> Result<ClientConfig, String> {
    let own = own.map_or(Ok(Vec::new()), certificates)?;
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?;
    let mozilla = || webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    let trusted = match system(own.clone(), provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        Err(_) => builder.with_root_certificates(roots(mozilla().chain(own))?),
    };
    Ok(trusted.with_no_client_auth())
}

/// The same, for a client that offers these protocols.
pub(super) fn offering(tls: &ClientConfig, offers: Offers) -> ClientConfig {
    let names: &[&[u8]] = match offers {
        Offers::Both => &[b"h2", b"http/1.1"],
        Offers::Http1 => &[b"http/1.1"],
    };
    let mut tls = tls.clone();
    tls.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
    tls
}

/// Checks that `pem` names certificates that can be trusted; the error is the reason why not.
pub(super) fn check(pem: &[u8]) -> Result<(), String> {
    let own = certificates(pem)?;
    if own.is_empty() {
        return Err("it has no certificate; the format must be PEM".to_owned());
    }
    // Linux takes certificates as this library does. So the system's are not loaded here, which takes milliseconds.
    let taken = if cfg!(target_os = "linux") { roots(own).map(drop) } else { system(own, provider()).map(drop) };
    // The library's own words speak of a peer's certificate.
    taken.map_err(|_| "one of its certificates cannot be read".to_owned())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>();
    // The library's own words contain the bytes as a list of numbers.
    read.map_err(|_| "one of its certificates is cut off or not PEM".to_owned())
}

/// The one that the rest of the process uses, so that an application can choose it.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(aws_lc_rs::default_provider()), Arc::clone)
}

/// Trusts what the system trusts, and `own`.
fn system(
    own: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let verifier = if own.is_empty() { Verifier::new(provider) } else { Verifier::new_with_extra_roots(own, provider) };
    Ok(Arc::new(verifier.map_err(|e| e.to_string())?))
}

/// Trusts these certificates alone.
fn roots(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    Ok(roots)
}
