//! Identities through Sigstore, by `sigstore-verify`: a certificate that is valid for minutes, its entry in the public
//! log, and the compiled-in roots. No request is made.

use std::sync::OnceLock;

use serde::Deserialize;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_verify::types::bundle::SignatureContent;
use sigstore_verify::types::{Artifact, Bundle as SigstoreBundle, Sha256Hash};
use sigstore_verify::{VerificationPolicy, Verifier};

use super::SignatureError;
use super::bundle::Bundle;
use super::trust::Signer;
use crate::model::Sha256;

/// Whether this build can check them.
pub(super) const SUPPORTED: bool = true;

/// The root digest that a statement names, because the library needs a digest to compare. The files themselves are
/// compared with the statement's list.
#[derive(Deserialize)]
struct Subjects {
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    sha256: Sha256,
}

/// Checks that `identity` signed a bundle, with an identity token from `issuer`.
pub(super) fn check(identity: &str, issuer: &str, bundle: &Bundle) -> Result<Signer, SignatureError> {
    let invalid = |why: String| SignatureError::Malformed { why };
    let refused = |why: String| SignatureError::Untrusted { why };
    let read = SigstoreBundle::from_json(&bundle.text).map_err(|error| invalid(error.to_string()))?;
    let subjects: Subjects =
        serde_json::from_slice(&bundle.payload).map_err(|error| invalid(format!("its statement: {error}")))?;
    let [subject] = subjects.subject.as_slice() else {
        return Err(invalid(format!("its statement is about {} models, not one", subjects.subject.len())));
    };
    let artifact = Artifact::from_digest(Sha256Hash::new(subject.digest.sha256.0));
    let verifier = verifier().ok_or_else(|| refused("the roots of Sigstore cannot be read".into()))?;
    let policy = VerificationPolicy::new(identity, issuer);
    let result = verifier.verify(artifact, &read, &policy).map_err(|error| refused(error.to_string()))?;
    // The library must have checked the same bytes that are read here.
    let same = match &read.content {
        SignatureContent::DsseEnvelope(envelope) => envelope.payload.as_bytes() == bundle.payload,
        _ => false,
    };
    let proven = same
        && result.certificate_verified()
        && result.tlog_verified()
        && result.identity().is_some_and(|name| name.as_str() == identity)
        && result.issuer() == Some(issuer);
    if !proven {
        return Err(refused("another identity or other bytes were proven than requested".into()));
    }
    Ok(Signer::Identity { identity: identity.to_owned(), issuer: issuer.to_owned() })
}

fn verifier() -> Option<&'static Verifier> {
    static VERIFIER: OnceLock<Option<Verifier>> = OnceLock::new();
    let read = || Verifier::new(&TrustedRoot::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT).ok()?).ok();
    VERIFIER.get_or_init(read).as_ref()
}
