//! Which server a URL names, and how to reach it. The only place that distinguishes sources by their URLs.

use std::ffi::OsString;

use crate::hub::PUBLIC_ENDPOINT;
use crate::hub::{ConfigError, HubConfig, Timing, endpoint_of};
use crate::object_store::StoreConfig;
use crate::oci::OciConfig;

/// A server to fetch from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SourceConfig {
    /// A Hub, or a mirror of one: `https://…`, `http://…`.
    Hub(Box<HubConfig>),
    /// An object store that an earlier run filled: `s3://…`, `gs://…`, `az://…`.
    Store {
        /// The store and its credentials.
        store: StoreConfig,
        /// How to reach the Hubs that are its mirrors; also the store's own timing.
        others: Box<HubConfig>,
    },
    /// OCI content that an earlier run filled: `oci://…`, `oci-archive:…`, `oci:…`.
    Oci {
        /// Its name, and where its credentials are.
        content: OciConfig,
        /// How to reach the Hubs that are its mirrors; also how to reach the registry itself.
        others: Box<HubConfig>,
    },
}

impl From<HubConfig> for SourceConfig {
    fn from(hub: HubConfig) -> Self {
        SourceConfig::Hub(Box::new(hub))
    }
}

// Without object stores no store can exist, so the code for one is unreachable.
#[cfg_attr(not(feature = "object-store"), allow(unreachable_code, unused_variables))]
impl SourceConfig {
    /// A configuration from the environment, which `get` looks up; `endpoint`, if given, wins over `HF_ENDPOINT`.
    /// `options` are the variables that may have an object store's credentials.
    ///
    /// # Errors
    /// If the endpoint or a variable is invalid.
    pub fn from_env(
        endpoint: Option<&str>,
        get: impl Fn(&str) -> Option<OsString>,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let endpoint = endpoint_of(endpoint, &get);
        if let Some(content) = OciConfig::meant(&endpoint) {
            let content = content.map_err(ConfigError::Oci)?.with_options(options);
            let hub = HubConfig::from_env(Some(PUBLIC_ENDPOINT), get)?;
            let others = Box::new(HubConfig { token: None, withheld: None, ..hub });
            return Ok(SourceConfig::Oci { content, others });
        }
        if let Some(store) = StoreConfig::meant(&endpoint) {
            let store = store.map_err(ConfigError::Objects)?.with_options(options);
            let hub = HubConfig::from_env(Some(PUBLIC_ENDPOINT), get)?;
            let others = Box::new(HubConfig { token: None, withheld: None, ..hub });
            return Ok(SourceConfig::Store { store, others });
        }
        HubConfig::from_env(Some(&endpoint), get).map(Into::into)
    }

    /// Another server with the same files. It gets no token: the token is for the endpoint. An object store gets
    /// `options`.
    ///
    /// # Errors
    /// If the URL is invalid.
    pub fn mirror(&self, url: &str, options: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        if let Some(store) = StoreConfig::meant(url) {
            let store = store.map_err(ConfigError::Objects)?.with_options(options);
            let others = Box::new(HubConfig { token: None, withheld: None, ..self.reached().clone() });
            return Ok(SourceConfig::Store { store, others });
        }
        if let Some(content) = OciConfig::meant(url) {
            let content = content.map_err(ConfigError::Oci)?.with_options(options);
            let others = Box::new(HubConfig { token: None, withheld: None, ..self.reached().clone() });
            return Ok(SourceConfig::Oci { content, others });
        }
        self.reached().mirror(url).map(Into::into)
    }

    /// The server that a pasted URL names, as [`HubConfig::pasted`].
    ///
    /// # Errors
    /// If the URL is invalid.
    #[doc(hidden)] // for the command
    pub fn pasted(self, url: &str) -> Result<Self, ConfigError> {
        match self {
            SourceConfig::Hub(hub)
            | SourceConfig::Store { others: hub, .. }
            | SourceConfig::Oci { others: hub, .. } => hub.pasted(url).map(Into::into),
        }
    }

    /// How to reach Hubs: this one, or those beside a store.
    pub(crate) fn reached(&self) -> &HubConfig {
        match self {
            SourceConfig::Hub(hub)
            | SourceConfig::Store { others: hub, .. }
            | SourceConfig::Oci { others: hub, .. } => hub,
        }
    }

    /// How patient a run is with the server.
    pub(crate) fn timing(&self) -> &Timing {
        &self.reached().timing
    }

    /// The same, mutable.
    #[doc(hidden)] // for the command
    pub fn timing_mut(&mut self) -> &mut Timing {
        match self {
            SourceConfig::Hub(hub)
            | SourceConfig::Store { others: hub, .. }
            | SourceConfig::Oci { others: hub, .. } => &mut hub.timing,
        }
    }

    /// Whether it is on this machine, so that it is read without a request.
    #[doc(hidden)] // for the command
    pub fn is_here(&self) -> bool {
        matches!(self, SourceConfig::Oci { content, .. } if content.reference().path().is_some())
    }

    /// The same, mutable.
    #[doc(hidden)] // for the command
    pub fn hub_mut(&mut self) -> Option<&mut HubConfig> {
        match self {
            SourceConfig::Hub(hub) => Some(hub),
            SourceConfig::Store { .. } | SourceConfig::Oci { .. } => None,
        }
    }
}
