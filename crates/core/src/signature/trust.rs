//! The trusted signers, and whether one of them signed a bundle. `certificate` and `keyless` check certificates and
//! identities.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use sha2::Digest as _;

use super::bundle::{Bundle, Material};
use super::statement::Statement;
use super::{SignatureError, certificate, keyless};
use crate::model::Sha256;
use crate::text::printable;

/// The most bytes of a file with keys or certificates, which have some kilobytes.
const PEM_LIMIT: usize = 1 << 20;

/// A trusted signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The holder of this key, in its DER form.
    Key { der: Vec<u8>, fingerprint: Sha256 },
    /// Everybody with a certificate from these authorities, in their DER forms.
    Authorities(Vec<Vec<u8>>),
    /// The holder of an identity from an identity provider, through Sigstore's public log.
    Identity { identity: String, issuer: String },
}

/// Why a text does not name a signer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Neither a key nor a certificate.
    #[error("it has no PEM block of a public key or of a certificate")]
    NoPem,
    /// A private key, which must not be shared.
    #[error("it is a private key; give the public key")]
    PrivateKey,
    /// Another kind of key.
    #[error("its key is not an elliptic-curve key of P-256, P-384 or P-521")]
    OtherKey,
    /// A certificate that cannot be read.
    #[error("a certificate in it cannot be read: {why}")]
    Certificate {
        /// The reason.
        why: String,
    },
    /// The text is not a name of a signer.
    #[error("an identity is written IDENTITY@ISSUER, and the issuer is a URL such as https://accounts.google.com")]
    Identity,
    /// This build cannot check it.
    #[error("this build of hfget has no support for Sigstore identities")]
    NoKeyless,
}

/// The proven signer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signer {
    /// The holder of this key: the SHA-256 of its PEM text.
    Key(Sha256),
    /// The subject of a certificate: the SHA-256 of its DER form, and the names that it has.
    Certificate {
        /// The fingerprint.
        fingerprint: Sha256,
        /// Its subject, in words; may be empty.
        subject: String,
    },
    /// An identity, stated by an issuer.
    Identity {
        /// The identity.
        identity: String,
        /// The issuer.
        issuer: String,
    },
}

impl Signer {
    /// The kind, as reports name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Signer::Key(_) => "key",
            Signer::Certificate { .. } => "certificate",
            Signer::Identity { .. } => "identity",
        }
    }
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signer::Key(fingerprint) => write!(f, "key {fingerprint}"),
            Signer::Certificate { fingerprint, subject } if subject.is_empty() => {
                write!(f, "certificate {fingerprint}")
            }
            Signer::Certificate { fingerprint, subject } => {
                write!(f, "certificate {fingerprint} ({})", printable(subject))
            }
            Signer::Identity { identity, issuer } => {
                write!(f, "{}, stated by {}", printable(identity), printable(issuer))
            }
        }
    }
}

/// A statement with a proven signer. Only [`Trust::check`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    statement: Statement,
    signer: Signer,
}

impl Signed {
    /// The signed statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Its signer.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

impl Trust {
    /// Trusts the key, or the authorities, in a PEM text.
    ///
    /// # Errors
    /// If it has neither.
    pub fn from_pem(text: &[u8]) -> Result<Self, TrustError> {
        if text.len() > PEM_LIMIT {
            return Err(TrustError::NoPem);
        }
        let has = |word: &str| text.windows(word.len()).any(|window| window == word.as_bytes());
        if has("PRIVATE KEY-----") {
            return Err(TrustError::PrivateKey);
        }
        if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(text) {
            let der = key.as_ref().to_vec();
            if curve_of(&der).is_none() {
                return Err(TrustError::OtherKey);
            }
            let fingerprint = fingerprint(&der);
            return Ok(Trust(Kind::Key { der, fingerprint }));
        }
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let certificates = read.map_err(|error| TrustError::Certificate { why: error.to_string() })?;
        if certificates.is_empty() {
            return Err(TrustError::NoPem);
        }
        let certificates: Vec<Vec<u8>> = certificates.iter().map(|one| one.as_ref().to_vec()).collect();
        certificate::anchors(&certificates)?;
        Ok(Trust(Kind::Authorities(certificates)))
    }

    /// Trusts `IDENTITY@ISSUER`. The issuer is a URL; an identity may have an `@` of its own.
    ///
    /// # Errors
    /// If it does not have that form, or if this build cannot check identities.
    pub fn from_identity(text: &str) -> Result<Self, TrustError> {
        let at = text.rfind("@https://").or_else(|| text.rfind("@http://")).ok_or(TrustError::Identity)?;
        let (identity, issuer) = (text.get(..at), text.get(at + 1..));
        let (Some(identity), Some(issuer)) = (identity, issuer) else { return Err(TrustError::Identity) };
        if identity.is_empty() || !url::Url::parse(issuer).is_ok_and(|url| url.has_host()) {
            return Err(TrustError::Identity);
        }
        if !keyless::SUPPORTED {
            return Err(TrustError::NoKeyless);
        }
        Ok(Trust(Kind::Identity { identity: identity.to_owned(), issuer: issuer.to_owned() }))
    }

    /// The trusted signer, in words.
    fn words(&self) -> &'static str {
        match self.0 {
            Kind::Key { .. } => "a key",
            Kind::Authorities(_) => "a certificate authority",
            Kind::Identity { .. } => "an identity",
        }
    }

    /// Checks that a trusted signer signed a bundle, and reads the signed statement. `now`: the time at which
    /// certificates must be valid.
    ///
    /// # Errors
    /// If no trusted signer signed it, or if the signed content is not a statement that can be
    /// checked.
    pub(crate) fn check(&self, bundle: &Bundle, now: std::time::SystemTime) -> Result<Signed, SignatureError> {
        let signer = self.signer(bundle, now)?;
        // Order matters: no statement is parsed before its signer is proven.
        Ok(Signed { statement: Statement::parse(&bundle.payload)?, signer })
    }

    fn signer(&self, bundle: &Bundle, now: std::time::SystemTime) -> Result<Signer, SignatureError> {
        match (&self.0, &bundle.material) {
            (Kind::Key { der, fingerprint }, Material::Key { hint }) => {
                if verifies(der, &bundle.signed_bytes(), &bundle.signature) {
                    return Ok(Signer::Key(*fingerprint));
                }
                let ours = hint.as_deref().is_some_and(|hint| hint.eq_ignore_ascii_case(&fingerprint.to_string()));
                let why = if ours {
                    "it names the trusted key, but the signature does not match the statement".to_owned()
                } else {
                    format!("the trusted key did not sign it; it was made by {}", printable(&bundle.claims()))
                };
                Err(SignatureError::Untrusted { why })
            }
            (Kind::Authorities(anchors), Material::Chain(chain)) => {
                let now = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                certificate::check(anchors, chain, bundle, UnixTime::since_unix_epoch(now))
            }
            (Kind::Identity { identity, issuer }, Material::Keyless) => keyless::check(identity, issuer, bundle),
            _ => Err(SignatureError::OtherKind { by: bundle.claims(), trusted: self.words() }),
        }
    }

    /// Checks a plain signature of some bytes, as `openssl dgst -sign` makes it. Only a key can make one.
    ///
    /// # Errors
    /// If the key did not sign these bytes, or if no key is trusted.
    pub(crate) fn check_plain(&self, signed: &[u8], signature: &[u8]) -> Result<Signer, SignatureError> {
        let Kind::Key { der, fingerprint } = &self.0 else {
            let by = "a key, without a bundle around it".to_owned();
            return Err(SignatureError::OtherKind { by, trusted: self.words() });
        };
        if verifies(der, signed, signature) {
            return Ok(Signer::Key(*fingerprint));
        }
        Err(SignatureError::Untrusted { why: "the trusted key did not sign these bytes".to_owned() })
    }
}

/// The curves that model signatures have, each with its digest.
static CURVES: [&EcdsaVerificationAlgorithm; 3] =
    [&ECDSA_P256_SHA256_ASN1, &ECDSA_P384_SHA384_ASN1, &ECDSA_P521_SHA512_ASN1];

/// The key, with the algorithm of its curve.
fn curve_of(der: &[u8]) -> Option<ParsedPublicKey> {
    CURVES.iter().find_map(|algorithm| ParsedPublicKey::new(*algorithm, der).ok())
}

fn verifies(der: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    curve_of(der).is_some_and(|key| key.verify_sig(signed, signature).is_ok())
}

/// The SHA-256 of a key's PEM text as OpenSSL writes it, which is a bundle's hint.
fn fingerprint(der: &[u8]) -> Sha256 {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PUBLIC KEY-----\n");
    Sha256(sha2::Sha256::digest(pem.as_bytes()).into())
}
