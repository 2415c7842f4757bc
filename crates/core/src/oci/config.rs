//! The configuration of OCI content: its name, and the variables that say where its credentials are. The caller passes
//! them in; nothing here reads the environment.

use std::fmt;

use crate::model::{OciReference, OciReferenceError};

/// The variables by which docker, podman and the clouds' own tools find credentials.
const VARIABLES: &[&str] = &["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HOME", "PATH"];

/// OCI content, and the options that are needed to reach it.
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

#[doc(hidden)] // for the command
impl From<OciReference> for OciConfig {
    /// A configuration without options: for files, folders and registries that need no login.
    fn from(reference: OciReference) -> Self {
        OciConfig { reference: reference.absolute(), options: Vec::new() }
    }
}

impl OciConfig {
    /// The content that a text names; `None` if the text has another form.
    pub fn meant(text: &str) -> Option<Result<Self, OciReferenceError>> {
        OciReference::is_meant(text.trim()).then(|| text.trim().parse().map(|reference: OciReference| reference.into()))
    }

    /// Sets the options. Only those that say where credentials are have an effect. Pass `std::env::vars()` to use the
    /// environment's.
    #[must_use]
    pub fn with_options(mut self, options: impl IntoIterator<Item = (String, String)>) -> Self {
        self.options = options.into_iter().filter(|(name, _)| VARIABLES.contains(&name.as_str())).collect();
        self
    }

    /// The content's name.
    pub(crate) fn reference(&self) -> &OciReference {
        &self.reference
    }

    /// One of the options.
    #[allow(dead_code)] // for the wire of registries
    pub(crate) fn option(&self, wanted: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}
