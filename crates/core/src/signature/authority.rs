//! Signers whose certificate is an authority's own. `webpki` refuses such a signer, as a TLS server's certificate must
//! not be an authority's. OpenSSL accepts it, and so do the reference implementation and the specification's own test
//! vector. So only the chain of such signers is built here: names, signatures, dates and the purpose of each
//! certificate. Unknown critical content is refused.

use std::time::Duration;

use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage};

/// `id-kp-codeSigning`.
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// Extensions that may be critical: basic constraints, key usage, extended key usage.
const UNDERSTOOD: [&str; 3] = ["2.5.29.19", "2.5.29.15", "2.5.29.37"];
/// The most certificates above a signer's.
const DEPTH: usize = 6;
/// The most signatures that are checked for one chain.
const CHECKS: usize = 64;

/// The subject of a certificate, in words; empty if it cannot be read.
pub(super) fn subject(der: &[u8]) -> String {
    Certificate::from_der(der).map_or_else(|_| String::new(), |read| read.tbs_certificate.subject.to_string())
}

/// Checks that `leaf` may sign code now, with a chain to one of `roots`.
pub(super) fn check(leaf: &[u8], others: &[&[u8]], roots: &[&[u8]], now: Duration) -> Result<(), String> {
    let read = |der: &[u8]| Certificate::from_der(der).map_err(|_| "one of its certificates cannot be read".to_owned());
    let all = |ders: &[&[u8]]| ders.iter().map(|der| read(der)).collect::<Result<Vec<_>, String>>();
    let (signer, others, roots) = (read(leaf)?, all(others)?, all(roots)?);
    usable(&signer, now)?;
    let purposes = extension::<ExtendedKeyUsage>(&signer)?;
    let usage = extension::<KeyUsage>(&signer)?;
    let for_code = purposes.as_ref().is_some_and(|purposes| purposes.0.contains(&CODE_SIGNING));
    if purposes.is_some() && !for_code || usage.is_some_and(|usage| !usage.digital_signature()) {
        return Err("its certificate is not for signing code".to_owned());
    }
    if !for_code && usage.is_none() {
        return Err("its certificate does not say that it is for signing".to_owned());
    }
    let mut checks = CHECKS;
    if leads_to(&signer, &others, &roots, now, 0, &mut checks) {
        Ok(())
    } else {
        Err("none of the trusted certificates issued its certificate".to_owned())
    }
}

/// Whether a chain of authorities leads from a certificate to a root.
fn leads_to(
    issued: &Certificate,
    others: &[Certificate],
    roots: &[Certificate],
    now: Duration,
    below: usize,
    checks: &mut usize,
) -> bool {
    let mut issues = |issuer: &&Certificate| {
        if issuer.tbs_certificate.subject != issued.tbs_certificate.issuer || *checks == 0 {
            return false;
        }
        *checks -= 1;
        is_authority(issuer, below) && usable(issuer, now).is_ok() && is_signed_by(issued, issuer)
    };
    if roots.iter().any(|root| issues(&root)) {
        return true;
    }
    let above: Vec<&Certificate> = others.iter().filter(&mut issues).collect();
    below < DEPTH && above.into_iter().any(|issuer| leads_to(issuer, others, roots, now, below + 1, checks))
}

/// Checks that a certificate is valid now, and that it has no unknown critical extension.
fn usable(certificate: &Certificate, now: Duration) -> Result<(), String> {
    let tbs = &certificate.tbs_certificate;
    if now < tbs.validity.not_before.to_unix_duration() {
        return Err("its certificate is not valid yet".to_owned());
    }
    if now > tbs.validity.not_after.to_unix_duration() {
        return Err("its certificate has expired".to_owned());
    }
    let understood = |oid: &ObjectIdentifier| UNDERSTOOD.contains(&oid.to_string().as_str());
    let extensions = tbs.extensions.as_deref().unwrap_or_default();
    if extensions.iter().any(|extension| extension.critical && !understood(&extension.extn_id)) {
        return Err("its certificate has a condition that hfget does not check".to_owned());
    }
    Ok(())
}

/// Whether it may issue certificates, with this number of authorities between it and the signer.
fn is_authority(certificate: &Certificate, below: usize) -> bool {
    let Ok(Some(constraints)) = extension::<BasicConstraints>(certificate) else { return false };
    let Ok(usage) = extension::<KeyUsage>(certificate) else { return false };
    constraints.ca
        && constraints.path_len_constraint.is_none_or(|most| below <= usize::from(most))
        && usage.is_none_or(|usage| usage.key_cert_sign())
}

fn extension<'a, T>(certificate: &'a Certificate) -> Result<Option<T>, String>
where
    T: x509_cert::der::Decode<'a> + x509_cert::der::oid::AssociatedOid,
{
    let read = certificate.tbs_certificate.get::<T>();
    read.map(|found| found.map(|(_, value)| value))
        .map_err(|_| "an extension of its certificate cannot be read".to_owned())
}

/// Whether the key of `issuer` signed `issued`, by an algorithm that `webpki` has.
fn is_signed_by(issued: &Certificate, issuer: &Certificate) -> bool {
    let key = &issuer.tbs_certificate.subject_public_key_info;
    let (Ok(signed), Some(signature), Some(bits)) =
        (issued.tbs_certificate.to_der(), issued.signature.as_bytes(), key.subject_public_key.as_bytes())
    else {
        return false;
    };
    let (Ok(algorithm), Ok(kind)) = (issued.signature_algorithm.to_der(), key.algorithm.to_der()) else { return false };
    // The algorithm is named twice, and must be the same.
    if issued.signature_algorithm != issued.tbs_certificate.signature {
        return false;
    }
    let fits = |one: &&&dyn SignatureVerificationAlgorithm| {
        content(&algorithm) == Some(one.signature_alg_id().as_ref())
            && content(&kind) == Some(one.public_key_alg_id().as_ref())
    };
    webpki::ALL_VERIFICATION_ALGS.iter().filter(fits).any(|one| one.verify_signature(bits, &signed, signature).is_ok())
}

/// The content of a short DER sequence, such as an algorithm's identifier.
fn content(sequence: &[u8]) -> Option<&[u8]> {
    let [0x30, length, rest @ ..] = sequence else { return None };
    (usize::from(*length) == rest.len() && *length < 0x80).then_some(rest)
}
