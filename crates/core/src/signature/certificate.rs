//! Signatures with a certificate: checks its chain up to a trusted authority, its purpose, and that it is valid now.
//! `webpki` builds and checks the chain, or `authority` if the signer is an authority itself.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::Digest as _;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, aws_lc_rs as curves_of};

use super::bundle::Bundle;
use super::trust::{Signer, TrustError};
use super::{SignatureError, authority};
use crate::model::Sha256;

/// `id-kp-codeSigning` (1.3.6.1.5.5.7.3.3), in DER.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// Checks that all authorities are readable certificates.
pub(super) fn anchors(certificates: &[Vec<u8>]) -> Result<(), TrustError> {
    for der in certificates {
        anchor_from_trusted_cert(&CertificateDer::from(der.as_slice()))
            .map_err(|error| TrustError::Certificate { why: error.to_string() })?;
    }
    Ok(())
}

/// The signer of a bundle, with a certificate from one of these authorities.
pub(super) fn check(
    authorities: &[Vec<u8>],
    chain: &[Vec<u8>],
    bundle: &Bundle,
    now: UnixTime,
) -> Result<Signer, SignatureError> {
    let refused = |why: String| SignatureError::Untrusted { why };
    let (Some(leaf), Some(others)) = (chain.first(), chain.get(1..)) else {
        return Err(refused("it has no certificate".into()));
    };
    let roots: Vec<CertificateDer<'_>> = authorities.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let others: Vec<CertificateDer<'_>> = others.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let der = CertificateDer::from(leaf.as_slice());
    let certificate =
        EndEntityCert::try_from(&der).map_err(|error| refused(format!("its certificate cannot be read: {error}")))?;
    let usage = KeyUsage::required_if_present(CODE_SIGNING);
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    match certificate.verify_for_usage(algorithms, &anchors, &others, now, usage, None, None) {
        Ok(_) => {}
        Err(webpki::Error::CaUsedAsEndEntity) => {
            let (others, roots): (Vec<&[u8]>, Vec<&[u8]>) =
                (others.iter().map(AsRef::as_ref).collect(), roots.iter().map(AsRef::as_ref).collect());
            authority::check(leaf, &others, &roots, Duration::from_secs(now.as_secs())).map_err(refused)?;
        }
        Err(error) => return Err(refused(words(&error))),
    }
    let signed = bundle.signed_bytes();
    let curves = [curves_of::ECDSA_P256_SHA256, curves_of::ECDSA_P384_SHA384, curves_of::ECDSA_P521_SHA512];
    let fits = curves.iter().any(|curve| certificate.verify_signature(*curve, &signed, &bundle.signature).is_ok());
    if !fits {
        return Err(refused("the key of its certificate did not sign its statement".into()));
    }
    Ok(Signer::Certificate {
        fingerprint: Sha256(sha2::Sha256::digest(leaf).into()),
        subject: authority::subject(leaf),
    })
}

/// What is wrong with a certificate, in words.
fn words(error: &webpki::Error) -> String {
    match error {
        webpki::Error::CertExpired { .. } => "its certificate has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "its certificate is not valid yet".to_owned(),
        webpki::Error::UnknownIssuer => "none of the trusted certificates issued its certificate".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "its certificate is not for signing code".to_owned(),
        other => format!("its certificate is refused: {other}"),
    }
}
