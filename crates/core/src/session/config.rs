//! How a session works: which source, where files go, how much is checked. What it does lives elsewhere.

use std::path::PathBuf;

use crate::finding::Policy;
use crate::oci::{OciConfig, OciLayout};
use crate::source::SourceConfig;
use crate::transfer::FetchOptions;

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DestinationConfig {
    /// A Hub cache with this root.
    Cache {
        /// The folder that holds `models--…` folders.
        root: PathBuf,
        /// Whether snapshots are symlinks into `blobs/`; copies otherwise.
        symlinks: bool,
    },
    /// A plain folder.
    LocalDir(PathBuf),
    /// Nowhere: for jobs that only plan, inspect or compare.
    Nowhere,
    /// An object store, which is filled without a disk in between.
    Objects(crate::object_store::StoreConfig),
    /// A registry or an image layout, which is filled without a disk in between.
    Oci(Box<OciTarget>),
}

/// OCI content as a place that files go to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OciTarget {
    /// Where, and where its credentials may come from.
    pub content: OciConfig,
    /// How files lie in it.
    pub layout: OciLayout,
    /// An image whose layers come first.
    pub base: Option<OciConfig>,
}

impl OciTarget {
    /// In the usual layout, without a base.
    #[must_use]
    pub fn new(content: OciConfig) -> Self {
        OciTarget { content, layout: OciLayout::default(), base: None }
    }
}

impl DestinationConfig {
    /// With paths that do not depend on the working directory.
    fn absolute(self) -> Self {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        match self {
            DestinationConfig::Cache { root, symlinks } => DestinationConfig::Cache { root: whole(root), symlinks },
            DestinationConfig::LocalDir(dir) => DestinationConfig::LocalDir(whole(dir)),
            DestinationConfig::Nowhere => DestinationConfig::Nowhere,
            DestinationConfig::Objects(store) => DestinationConfig::Objects(store),
            // Its path is absolute already.
            DestinationConfig::Oci(target) => DestinationConfig::Oci(target),
        }
    }
}

/// How a session works: [`Config::new`], and then whatever is to be otherwise.
///
/// ```
/// # fn example() -> Result<(), hfget_core::hub::ConfigError> {
/// use hfget_core::{hub::HubConfig, session::{Config, DestinationConfig}};
///
/// let hub = HubConfig::from_env(None, |name| std::env::var_os(name))?;
/// let mut config = Config::new(hub, DestinationConfig::LocalDir("model".into()));
/// config.fetch.connections = 4;
/// config.deep = true;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[allow(clippy::struct_excessive_bools)] // each is a switch of its own
pub struct Config {
    /// Where files come from.
    pub source: SourceConfig,
    /// Other servers that have the same files; only bytes come from them.
    pub mirrors: Vec<SourceConfig>,
    /// Where files go.
    pub destination: DestinationConfig,
    /// The folder in which this machine notes which objects of an object store it found to be right. `None`: it notes
    /// nothing, and reads them back in every run.
    pub records: Option<PathBuf>,
    /// A Hub cache of this machine's: a plain folder takes from it what it has.
    pub nearby: Option<PathBuf>,
    /// Use only what is here; make no request.
    pub offline: bool,
    /// Use what is already here where it is all here and right; make no request then.
    pub prefer_offline: bool,
    /// How to fetch.
    pub fetch: FetchOptions,
    /// Threads that hash and read headers.
    pub threads: usize,
    /// Report `unsafe-pickle` as a warning.
    pub allow_unsafe_pickle: bool,
    /// Also read every byte that a format checksums itself.
    pub deep: bool,
    /// Findings that fail a run, and those that do not. What is denied and known beforehand stops a
    /// run before it fetches weights.
    pub policy: Policy,
}

impl Config {
    /// Fetches from `source` into `destination`, with as many threads as there are cores, and lets pass what the command
    /// lets pass without flags.
    #[must_use]
    pub fn new(source: impl Into<SourceConfig>, destination: DestinationConfig) -> Self {
        Config {
            source: source.into(),
            mirrors: Vec::new(),
            destination: destination.absolute(),
            records: None,
            nearby: None,
            offline: false,
            prefer_offline: false,
            fetch: FetchOptions::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            allow_unsafe_pickle: false,
            deep: false,
            policy: Policy::default(),
        }
    }
}
