//! Which OCI content, and what of the environment its credentials may come from. It is handed in by the caller; nothing
//! here reads the environment.

use std::fmt;

use crate::model::{OciReference, OciReferenceError};

/// What docker's, podman's and the clouds' own tools look up to find credentials.
const VARIABLES: &[&str] = &["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HOME", "PATH"];

/// OCI content and what is needed to reach it.
#[derive(Clone, PartialEq, Eq)]
pub struct OciConfig {
    reference: OciReference,
    options: Vec<(String, String)>,
}

impl fmt::Debug for OciConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.options.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OciConfig").field("reference", &self.reference).field("options", &names).finish()
    }
}

impl From<OciReference> for OciConfig {
    /// Without options: for files, folders and registries that let everybody in.
    fn from(reference: OciReference) -> Self {
        OciConfig { reference: reference.absolute(), options: Vec::new() }
    }
}

impl OciConfig {
    /// The content that a text names, where it means to name some.
    pub fn meant(text: &str) -> Option<Result<Self, OciReferenceError>> {
        OciReference::is_meant(text.trim()).then(|| text.trim().parse().map(|reference: OciReference| reference.into()))
    }

    /// With these options, of which those are used that tell where credentials are. To take them from the environment:
    /// `std::env::vars()`.
    #[must_use]
    pub fn with_options(mut self, options: impl IntoIterator<Item = (String, String)>) -> Self {
        self.options = options.into_iter().filter(|(name, _)| VARIABLES.contains(&name.as_str())).collect();
        self
    }

    /// What it is.
    pub fn reference(&self) -> &OciReference {
        &self.reference
    }

    /// The same options for other content.
    #[must_use]
    pub fn at(&self, reference: OciReference) -> Self {
        OciConfig { reference: reference.absolute(), options: self.options.clone() }
    }

    /// One of the options.
    #[allow(dead_code)] // for the wire of registries
    pub(crate) fn option(&self, wanted: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}
