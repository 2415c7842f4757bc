//! A signature's file before any check: a Sigstore bundle around a DSSE envelope, by version 1.0 of the `OpenSSF` Model
//! Signing specification. Nothing here is trusted yet; `trust` finds the signer, `statement` reads the signed content.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;

use super::SignatureError;

/// The most bytes of a bundle; one of a hundred thousand files has about 20 MB.
pub const BUNDLE_LIMIT: u64 = 64 << 20;

/// The beginning of every Sigstore bundle's media type.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle";
/// The payload of an attestation.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The most certificates of one chain.
const CHAIN_LIMIT: usize = 16;

/// A signature's file, parsed but not checked yet.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub(super) material: Material,
    /// The exact bytes of the signed statement.
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
    /// The whole file, for a library that parses it again.
    #[cfg_attr(not(feature = "keyless"), allow(dead_code))]
    pub(super) text: String,
}

/// A bundle's claim about its signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Material {
    /// A key that is known elsewhere; the hint is the hex SHA-256 of its PEM text.
    Key { hint: Option<String> },
    /// A long-lived certificate, and those that issued it.
    Chain(Vec<Vec<u8>>),
    /// A certificate that is valid for minutes, with an entry in a public log.
    Keyless,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleText {
    media_type: String,
    verification_material: Option<MaterialText>,
    dsse_envelope: Option<EnvelopeText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MaterialText {
    public_key: Option<KeyText>,
    x509_certificate_chain: Option<ChainText>,
    certificate: Option<CertificateText>,
    tlog_entries: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyText {
    hint: Option<String>,
}

#[derive(Deserialize)]
struct ChainText {
    certificates: Vec<CertificateText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertificateText {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeText {
    payload: String,
    payload_type: String,
    signatures: Vec<SignatureText>,
}

#[derive(Deserialize)]
struct SignatureText {
    sig: String,
}

/// Read first: a file without such a media type is not a bundle, whatever its name is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaType {
    media_type: Option<String>,
}

/// Whether a file's bytes are a Sigstore bundle: by their content, not by the name.
pub fn is_bundle(bytes: &[u8]) -> bool {
    // Most JSON files of a repo are excluded without parsing them.
    let starts = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let named = b"dev.sigstore.bundle";
    starts
        && bytes.windows(named.len()).any(|window| window == named)
        && serde_json::from_slice::<MediaType>(bytes)
            .is_ok_and(|it| it.media_type.is_some_and(|text| text.starts_with(MEDIA_TYPE)))
}

impl Bundle {
    /// Reads a bundle's bytes. Checks no signature.
    ///
    /// # Errors
    /// If they are not a bundle with a DSSE envelope around an in-toto statement.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        let invalid = |why: String| SignatureError::Malformed { why };
        if bytes.len() as u64 > BUNDLE_LIMIT {
            return Err(invalid(format!("it is larger than {BUNDLE_LIMIT} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
        let read: BundleText = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if !read.media_type.starts_with(MEDIA_TYPE) {
            return Err(invalid("its media type is not that of a Sigstore bundle".into()));
        }
        let envelope = read.dsse_envelope.ok_or_else(|| invalid("it has no DSSE envelope".into()))?;
        if envelope.payload_type != IN_TOTO {
            return Err(SignatureError::OtherPurpose { what: envelope.payload_type });
        }
        let [signature] = envelope.signatures.as_slice() else {
            return Err(invalid(format!("its envelope has {} signatures, not one", envelope.signatures.len())));
        };
        let material = read.verification_material.ok_or_else(|| invalid("it has no verification material".into()))?;
        Ok(Bundle {
            material: material.read()?,
            payload: decode(&envelope.payload).ok_or_else(|| invalid("its payload is not base64".into()))?,
            signature: decode(&signature.sig).ok_or_else(|| invalid("its signature is not base64".into()))?,
            text: text.to_owned(),
        })
    }

    /// The signed bytes: the pre-authentication encoding of DSSE v1.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), self.payload.len()).into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Its own claim about the kind of signer, in words. The claim is not proven.
    pub fn claims(&self) -> String {
        match &self.material {
            Material::Key { hint: Some(hint) } => {
                let short: String = hint.chars().take(12).collect();
                format!("a key whose fingerprint begins with {short}")
            }
            Material::Key { hint: None } => "an unnamed key".to_owned(),
            Material::Chain(_) => "a certificate".to_owned(),
            Material::Keyless => "an identity, through Sigstore".to_owned(),
        }
    }
}

impl MaterialText {
    fn read(self) -> Result<Material, SignatureError> {
        let invalid = |why: &str| SignatureError::Malformed { why: why.to_owned() };
        match (self.public_key, self.x509_certificate_chain, self.certificate) {
            (Some(key), None, None) => Ok(Material::Key { hint: key.hint }),
            (None, Some(chain), None) => {
                if chain.certificates.is_empty() || chain.certificates.len() > CHAIN_LIMIT {
                    return Err(invalid("its certificate chain is empty or too long"));
                }
                let read = chain.certificates.iter().map(|certificate| decode(&certificate.raw_bytes));
                let chain: Option<Vec<Vec<u8>>> = read.collect();
                chain.map(Material::Chain).ok_or_else(|| invalid("one of its certificates is not base64"))
            }
            (None, None, Some(_)) => {
                if self.tlog_entries.is_none_or(|entries| entries.is_empty()) {
                    return Err(invalid("it has no entry of a transparency log"));
                }
                Ok(Material::Keyless)
            }
            (None, None, None) => Err(invalid("its verification material names no key and no certificate")),
            _ => Err(invalid("its verification material names more than one signer")),
        }
    }
}

/// Standard or URL-safe base64: an envelope may have either.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
