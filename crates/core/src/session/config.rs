//! The configuration of a session: the source, the destination, how much is checked.

use std::path::PathBuf;

use crate::finding::Policy;
use crate::oci::{OciConfig, OciLayout};
use crate::signature::Trust;
use crate::source::SourceConfig;
use crate::transfer::FetchOptions;

/// Where files go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DestinationConfig {
    /// A Hub cache with this root.
    Cache {
        /// The folder that contains the `models--…` folders.
        root: PathBuf,
        /// Whether snapshots are symlinks into `blobs/`; copies otherwise.
        symlinks: bool,
    },
    /// A plain folder.
    LocalDir(PathBuf),
    /// Nowhere: for jobs that only plan, inspect or compare.
    Nowhere,
    /// An object store: files go there without a copy on this disk.
    Objects(crate::object_store::StoreConfig),
    /// A registry or an image layout: files go there without a copy on this disk.
    Oci(Box<OciTarget>),
}

/// OCI content as a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OciTarget {
    /// Its name, and where its credentials are.
    pub content: OciConfig,
    /// The form of the files in it.
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
    /// The same with absolute paths, which do not depend on the working directory.
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

/// How a session works: start with [`Config::new`] and change the fields that must differ.
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
    /// The folder of this machine's records about the objects that it has verified in an object store. `None`: it
    /// keeps no records, and reads the objects back in every run.
    pub records: Option<PathBuf>,
    /// A Hub cache on this machine: files that it has are not downloaded again.
    pub nearby: Option<PathBuf>,
    /// The folder for small files that are read only to choose files; it is created if it is missing. `None`: the system's
    /// folder for temporary files.
    pub scratch: Option<PathBuf>,
    /// Use only the files that are here; make no request.
    pub offline: bool,
    /// If all files are here and right, use them and make no request.
    pub prefer_offline: bool,
    /// How to fetch.
    pub fetch: FetchOptions,
    /// Threads that hash and read headers.
    pub threads: usize,
    /// Report `unsafe-pickle` as a warning instead of an error.
    pub allow_unsafe_pickle: bool,
    /// Also check the checksums that the formats themselves have, which reads every byte.
    pub deep: bool,
    /// Let the Xet hash that the listing states prove a large file on disk, if SHA-256 would leave cores idle. Its
    /// SHA-256 is not computed then. Not used with `deep` or if a signature is checked.
    pub xet_hashes: bool,
    /// The trusted signers. If there are any, a repo without a signature of one of them fails.
    pub trusted_signers: Vec<Trust>,
    /// Findings that fail a run, and those that do not. A denied finding that is known beforehand
    /// stops a run before it fetches weights.
    pub policy: Policy,
}

impl Config {
    /// Fetches from `source` into `destination`, with as many threads as there are cores, and with the policy that the
    /// command has without flags.
    #[must_use]
    pub fn new(source: impl Into<SourceConfig>, destination: DestinationConfig) -> Self {
        Config {
            source: source.into(),
            mirrors: Vec::new(),
            destination: destination.absolute(),
            records: None,
            nearby: None,
            scratch: None,
            offline: false,
            prefer_offline: false,
            fetch: FetchOptions::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            allow_unsafe_pickle: false,
            deep: false,
            xet_hashes: false,
            trusted_signers: Vec::new(),
            policy: Policy::default(),
        }
    }
}
