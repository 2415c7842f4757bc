//! Signatures of models (`OpenSSF` Model Signing 1.0): who signed, and which files with which digests. Reads no file and
//! makes no request: bytes come in, and proofs go out. `session` chooses the files of a run to compare.
//!
//! One rule above all: a statement counts only as [`Signed`], and only [`Trust::check`] makes one.

mod authority;
mod bundle;
mod certificate;
mod cover;
mod detached;
#[cfg_attr(not(feature = "keyless"), path = "keyless_absent.rs")]
mod keyless;
mod statement;
mod trust;

#[cfg(feature = "object-store")]
pub use bundle::BUNDLE_LIMIT;
pub use bundle::{Bundle, is_bundle};
pub use detached::check_detached;
pub use statement::Statement;
pub use trust::{Signed, Signer, Trust, TrustError};

/// For fuzzing: what is wrong with bytes as a bundle and as a signed statement, and whether a statement is written as
/// it was read. The statement itself is not returned, since its signer was not checked.
#[doc(hidden)]
#[must_use]
pub fn any_bytes(bytes: &[u8]) -> (Option<SignatureError>, Option<SignatureError>, bool) {
    let bundle = Bundle::parse(bytes).err();
    match Statement::parse(bytes) {
        Err(error) => (bundle, Some(error), true),
        Ok(statement) => {
            let again = Statement::parse(statement.to_json("x").to_string().as_bytes());
            // The statement of a single file that is the whole model is not written here.
            let same = statement.only().is_some() || again.is_ok_and(|again| again.files == statement.files);
            (bundle, None, same)
        }
    }
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// It is not a readable bundle.
    #[error("it is not a signature that can be read: {}", crate::text::printable(.why))]
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// It is signed, but is not a model's signature.
    #[error("it is not the signature of a model, but of \"{}\"", crate::text::printable(.what))]
    OtherPurpose {
        /// The type that it states.
        what: String,
    },
    /// It was made by version 0.2 of the reference implementation.
    #[error(
        "it was made by version 0.2 of model-signing, which does not sign all that it should; sign the model again"
    )]
    Version02,
    /// It has digests of an algorithm that is not computed here.
    #[error("it has {}, which hfget does not compute", crate::text::printable(.what))]
    Unsupported {
        /// The algorithm.
        what: String,
    },
    /// Its kind of signer differs from the trusted ones.
    #[error("it was made by {by}, but only {trusted} is trusted")]
    OtherKind {
        /// Its kind.
        by: String,
        /// The trusted signers, in words.
        trusted: &'static str,
    },
    /// Another signer signed it, or the statement was changed.
    #[error("{why}")]
    Untrusted {
        /// Which check failed.
        why: String,
    },
}

#[cfg(test)]
mod tests;
