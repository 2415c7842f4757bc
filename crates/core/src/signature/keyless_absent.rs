//! Identities through Sigstore, in a build that cannot check them.

use super::SignatureError;
use super::bundle::Bundle;
use super::trust::Signer;

/// Whether this build can check them.
pub(super) const SUPPORTED: bool = false;

/// Unreachable: this build makes no trust from an identity.
pub(super) fn check(_identity: &str, _issuer: &str, bundle: &Bundle) -> Result<Signer, SignatureError> {
    Err(SignatureError::OtherKind { by: bundle.claims(), trusted: "no signer that this build can check" })
}
