//! The signature of one file, beside it: a model signature of that file alone, or the plain signature that
//! `openssl dgst -sign` makes.

use std::time::SystemTime;

use base64::Engine as _;
use sha2::Digest as _;

use super::trust::{Signer, Trust};
use super::{Bundle, SignatureError, is_bundle};
use crate::model::Sha256;

/// Which of these signers signed some bytes.
///
/// # Errors
/// If none of them did: what is wrong with the signature, for the first signer that could have made
/// it.
pub fn check_detached(
    signed: &[u8],
    signature: &[u8],
    trusted: &[Trust],
    now: SystemTime,
) -> Result<Signer, SignatureError> {
    let mut refused = SignatureError::Untrusted { why: "no signer is trusted".to_owned() };
    for (at, trust) in trusted.iter().enumerate() {
        match by(trust, signed, signature, now) {
            Ok(signer) => return Ok(signer),
            // An error about the signature helps more than the note that another kind is trusted.
            Err(error @ SignatureError::OtherKind { .. }) if at == 0 => refused = error,
            Err(SignatureError::OtherKind { .. }) => {}
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn by(trust: &Trust, signed: &[u8], signature: &[u8], now: SystemTime) -> Result<Signer, SignatureError> {
    if !is_bundle(signature) {
        // Some tools write the same bytes as base64.
        let text = signature.trim_ascii();
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
        return trust.check_plain(signed, decoded.as_deref().unwrap_or(signature));
    }
    let checked = trust.check(&Bundle::parse(signature)?, now)?;
    // The name is that of the file when it was signed; the file may be elsewhere now.
    let why = match checked.statement().only() {
        Some(digest) if digest == Sha256(sha2::Sha256::digest(signed).into()) => return Ok(checked.signer().clone()),
        Some(_) => "it signs other bytes",
        None => "it signs several files, not this one alone",
    };
    Err(SignatureError::Untrusted { why: why.to_owned() })
}
