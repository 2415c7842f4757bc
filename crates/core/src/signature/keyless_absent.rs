//! Identities through Sigstore, in a build that cannot check them.

use super::SignatureError;
use super::bundle::Bundle;
use super::trust::Signer;

/// Whether this build can check them.
pub(super) const SUPPORTED: bool = false;

/// Nobody can be asked for here: no trust is made of an identity in this build.
pub(super) fn check(_identity: &str, _issuer: &str, bundle: &Bundle) -> Result<Signer, SignatureError> {
    Err(SignatureError::OtherKind { by: bundle.claims(), trusted: "nothing of that kind in this build" })
}
