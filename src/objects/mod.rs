//! Object stores (Amazon S3, Google Cloud Storage, Azure Blob Storage): where a fleet reads a repo from.
//! Requests, keys and what is kept there live here; what is put there and what it proves, in the session.
//!
//! Below the prefix lies what a Hub cache's folder holds, so that a copy of it (or a mount) is one:
//!
//! ```text
//! models--org--name/snapshots/COMMIT/config.json …   the files, each visible when its digest agreed
//! models--org--name/manifests/COMMIT.lock            what they must be, a lockfile; written when all verified
//! models--org--name/manifests/COMMIT.json            their ETags, so that a second run need not read them
//! models--org--name/refs/main                        the commit, written last
//! models--org--name/.hfget/COMMIT/…                  uploads on their way; gone when all verified
//! ```
//!
//! No object of a commit is ever replaced by another content, so whoever reads a commit may go on.

mod error;
mod far;
mod fetch;
mod journal;
mod keys;
mod manifest;
mod task;
mod upload;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};

pub use error::ObjectError;
pub(crate) use far::FarObject;
pub(crate) use journal::Noted;
pub(crate) use keys::Keys;
pub(crate) use manifest::Record;
pub(crate) use upload::{Done, PART, Upload, UploadError};
use url::Provider;
pub use url::{ObjectUrl, ObjectUrlError};

/// A request that takes longer is made again: a part on a slow line is 8 MiB.
const TIMEOUT: Duration = Duration::from_mins(3);
/// Objects of one repo.
const LIMIT: usize = 1_000_000;

/// What a store does for us; all of its kinds can.
trait Backend: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Backend for T {}

/// A bucket and a prefix in it, with credentials.
pub(crate) struct Objects {
    store: Arc<dyn Backend>,
    url: ObjectUrl,
    /// The first request that failed where only a reader could be told.
    trouble: Mutex<Option<ObjectError>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.url)
    }
}

/// Bytes on their way.
pub(crate) type Bytestream = BoxStream<'static, Result<Bytes, ObjectError>>;

/// What a store says of an object without giving it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Mark {
    pub size: u64,
    /// Changes with the content; not every store gives one.
    pub etag: Option<String>,
}

impl Mark {
    /// Azure quotes a tag in one answer and not in the next.
    fn new(size: u64, etag: Option<String>) -> Self {
        Mark { size, etag: etag.map(|tag| tag.trim_matches('"').to_owned()) }
    }
}

impl Objects {
    /// With credentials, region and endpoint from the environment, as the clouds' own tools read them;
    /// makes no request.
    ///
    /// # Errors
    /// When the environment makes no sense.
    pub(crate) fn open(url: &ObjectUrl) -> Result<Self, ObjectError> {
        let setup = |error: object_store::Error| ObjectError::Setup { url: url.to_string(), why: error::said(&error) };
        let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(10)).with_timeout(TIMEOUT);
        let retry = RetryConfig { max_retries: 5, retry_timeout: TIMEOUT * 2, ..RetryConfig::default() };
        let root = url.root();
        // The builders take their own options from the environment, so ours come before it where they can.
        let store: Arc<dyn Backend> = match url.provider() {
            Provider::S3 => {
                let builder = AmazonS3Builder::from_env().with_client_options(with_http(options)).with_retry(retry);
                // Requests are signed with their content's SHA-256, so the store takes no part that was damaged on its way.
                Arc::new(builder.with_url(root).build().map_err(setup)?)
            }
            Provider::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_client_options(options).with_retry(retry);
                Arc::new(builder.with_url(root).build().map_err(setup)?)
            }
            Provider::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_client_options(options).with_retry(retry);
                Arc::new(builder.with_url(root).build().map_err(setup)?)
            }
        };
        Ok(Objects { store, url: url.clone(), trouble: Mutex::default() })
    }

    /// In memory, for tests.
    #[cfg(test)]
    fn in_memory() -> Self {
        let url = "s3://memory/prefix".parse().unwrap();
        Objects { store: Arc::new(object_store::memory::InMemory::new()), url, trouble: Mutex::default() }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &ObjectUrl {
        &self.url
    }

    /// The URL of a key.
    pub(crate) fn shown(&self, key: &str) -> String {
        crate::text::printable(&self.url.below(key)).into_owned()
    }

    fn path(&self, key: &str) -> Result<Path, ObjectError> {
        let whole = if self.url.prefix().is_empty() { key.to_owned() } else { format!("{}/{key}", self.url.prefix()) };
        // Keys are as names in the repo are: nothing is encoded a second time.
        Path::parse(whole).map_err(|e| ObjectError::Invalid { url: self.shown(key), why: error::said(&e) })
    }

    fn wrong(&self, key: &str) -> impl Fn(object_store::Error) -> ObjectError + use<'_> {
        let url = self.shown(key);
        move |error| ObjectError::from_store(url.clone(), &error)
    }

    /// Keeps what a reader of bytes cannot tell; the first is told.
    pub(crate) fn note(&self, error: &ObjectError) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
    }

    /// What was noted, once.
    pub(crate) fn take_trouble(&self) -> Option<ObjectError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Bytes of an object.
    pub(crate) async fn range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Bytes, ObjectError> {
        let bytes = self.store.get_range(&self.path(key)?, range.clone()).await.map_err(self.wrong(key))?;
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        let why = format!("bytes {}-{} came as {} bytes", range.start, range.end.saturating_sub(1), bytes.len());
        Err(ObjectError::Failed { url: self.shown(key), why })
    }

    /// The whole size of an object, and a stream of some of its bytes.
    pub(crate) async fn stream(
        &self,
        key: &str,
        range: std::ops::Range<u64>,
    ) -> Result<(u64, Bytestream), ObjectError> {
        let options = GetOptions { range: (!range.is_empty()).then_some(range.into()), ..GetOptions::default() };
        let got = self.store.get_opts(&self.path(key)?, options).await.map_err(self.wrong(key))?;
        let (size, url) = (got.meta.size, self.shown(key));
        let bytes = got.into_stream().map_err(move |error| ObjectError::from_store(url.clone(), &error));
        Ok((size, bytes.boxed()))
    }

    /// A whole object of at most `limit` bytes; `None` when it is not there.
    pub(crate) async fn small(&self, key: &str, limit: u64) -> Result<Option<Bytes>, ObjectError> {
        let got = match self.store.get(&self.path(key)?).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(self.wrong(key))?,
        };
        if got.meta.size > limit {
            let why = format!("it has {} bytes, and at most {limit} were expected", got.meta.size);
            return Err(ObjectError::Invalid { url: self.shown(key), why });
        }
        got.bytes().await.map(Some).map_err(self.wrong(key))
    }

    /// Writes a whole object.
    pub(crate) async fn put(&self, key: &str, bytes: Bytes) -> Result<Mark, ObjectError> {
        let size = bytes.len() as u64;
        let put = self.store.put(&self.path(key)?, PutPayload::from_bytes(bytes)).await.map_err(self.wrong(key))?;
        Ok(Mark::new(size, put.e_tag))
    }

    /// Removes an object; that it was not there is no error.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        match self.store.delete(&self.path(key)?).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other.map_err(self.wrong(key)),
        }
    }

    /// What the store says of an object; `None` when it is not there.
    pub(crate) async fn mark(&self, key: &str) -> Result<Option<Mark>, ObjectError> {
        match self.store.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(Mark::new(meta.size, meta.e_tag))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.wrong(key)(error)),
        }
    }

    /// Every object below a folder, by its name within that folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<BTreeMap<String, Mark>, ObjectError> {
        let path = self.path(folder)?;
        let mut found = BTreeMap::new();
        let mut listed = self.store.list(Some(&path));
        while let Some(meta) = listed.try_next().await.map_err(self.wrong(folder))? {
            let name = if path.as_ref().is_empty() {
                meta.location.as_ref()
            } else {
                let below = meta.location.as_ref().strip_prefix(path.as_ref());
                below.and_then(|rest| rest.strip_prefix('/')).unwrap_or_default()
            };
            if !name.is_empty() {
                found.insert(name.to_owned(), Mark::new(meta.size, meta.e_tag));
            }
            if found.len() > LIMIT {
                let why = format!("there are more than {LIMIT} objects below it");
                return Err(ObjectError::Invalid { url: self.shown(folder), why });
            }
        }
        Ok(found)
    }

    /// Names of the folders right below the prefix.
    pub(crate) async fn folders(&self) -> Result<Vec<String>, ObjectError> {
        let path = Path::parse(self.url.prefix()).unwrap_or_default();
        let listed = self.store.list_with_delimiter(Some(&path)).await.map_err(self.wrong(""))?;
        Ok(listed.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect())
    }
}

/// Plain HTTP is for endpoints of one's own, where the user says so; elsewhere it stays forbidden.
fn with_http(options: ClientOptions) -> ClientOptions {
    let endpoint =
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| std::env::var(name).ok());
    let own = endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
    options.with_allow_http(own)
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
