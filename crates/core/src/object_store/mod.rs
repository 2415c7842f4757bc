//! Object stores (Amazon S3, Google Cloud Storage, Azure Blob Storage): from which a fleet reads a repo. This room
//! makes the requests and knows the keys and manifests. The session decides what to upload and what it proves.
//!
//! The objects below the prefix have the names of files in a Hub cache, so a copy of them (or a mount) is a Hub cache:
//!
//! ```text
//! models--org--name/snapshots/COMMIT/config.json …   the files, each visible after its digest matched
//! models--org--name/manifests/COMMIT.lock            their sizes and digests, a lockfile; written after all are
//! verified models--org--name/refs/main                        the commit, written last
//! models--org--name/.hfget/COMMIT/…                  unfinished uploads; removed when they are done
//! ```
//!
//! None of this proves an object: anybody with write access to the bucket can write all of it. An object is right if
//! this run hashed its bytes, or if this machine's own record says that an earlier run did and the store says that the
//! object is unchanged since. The bytes of a part that an earlier run uploaded are not known here. So a continued
//! upload is completed first, then read back, and removed if it is wrong.
//!
//! No object of a commit is ever replaced by other content, so readers of a commit are not disturbed.

mod config;
mod contents;
mod error;
mod keys;
mod manifest;
mod read;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3ConfigKey;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
    UpdateVersion,
};

pub use config::StoreConfig;
use contents::Contents;
pub(crate) use contents::Known;
pub use error::ObjectError;
pub(crate) use keys::Keys;
pub(crate) use read::StoredFile;
use url::Provider;
pub use url::{ObjectUrl, ObjectUrlError};

use crate::model::{CommitId, Hashed};
use crate::mutex::lock;
pub(crate) use crate::store::{Mark, SnapshotRecord};

/// A request that takes longer is made again. A part has 8 MiB, which takes a while on a slow line.
const TIMEOUT: Duration = Duration::from_mins(3);
/// How long another run's write may take to become visible, in a store without conditional writes.
const SETTLE: Duration = Duration::from_millis(500);
/// The most objects of one repo.
const LIMIT: usize = 1_000_000;

/// The operations of a store. Every kind of store has them.
pub(crate) trait Backend: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Backend for T {}

/// A bucket and a prefix in it, with credentials.
pub(crate) struct Objects {
    pub(crate) store: Arc<dyn Backend>,
    url: ObjectUrl,
    /// The server, if an option names one: buckets of two servers may have the same name.
    server: String,
    /// What requests are signed with, if they are signed with the SHA-256 of their content.
    signed: Option<Contents>,
    /// The first failed request whose error could only go to a reader of bytes.
    trouble: Mutex<Option<ObjectError>>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({})", self.url)
    }
}

/// A stream of bytes.
pub(crate) type Bytestream = BoxStream<'static, Result<Bytes, ObjectError>>;

/// An object's mark, from a listing.
fn listed(meta: ObjectMeta) -> Mark {
    Mark { modified: Some(meta.last_modified.timestamp()), ..Mark::new(meta.size, meta.e_tag) }
}

/// Whether an option is on, as the library reads it.
fn is_yes(value: &str) -> bool {
    ["1", "true", "on", "yes", "y"].iter().any(|yes| value.eq_ignore_ascii_case(yes))
}

impl Objects {
    /// Opens a store with the credentials, region and endpoint of the configuration. Makes no request.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, ObjectError> {
        let url = config.url();
        let setup = |error: object_store::Error| ObjectError::Setup { url: url.to_string(), why: error::said(&error) };
        let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(10)).with_timeout(TIMEOUT);
        let retry = RetryConfig { max_retries: 5, retry_timeout: TIMEOUT * 2, ..RetryConfig::default() };
        let root = url.root();
        let mut signed = None;
        let store: Arc<dyn Backend> = match url.provider() {
            Provider::S3 => {
                let builder = config.amazon().with_client_options(config.with_http(options)).with_retry(retry);
                // Usually requests are signed with their content's SHA-256, so the store refuses a part that was damaged in
                // transit.
                let not = [AmazonS3ConfigKey::UnsignedPayload, AmazonS3ConfigKey::SkipSignature];
                let is_set = |key| builder.get_config_value(&key).is_some_and(|value| is_yes(&value));
                let contents = Contents::default();
                if !not.into_iter().any(is_set) {
                    signed = Some(contents.clone());
                }
                let builder = builder.with_crypto_provider(Arc::new(contents));
                Arc::new(builder.with_url(root).build().map_err(setup)?)
            }
            Provider::Google => {
                let builder = config.google().with_client_options(options).with_retry(retry);
                Arc::new(builder.with_url(root).build().map_err(setup)?)
            }
            Provider::Azure => {
                let builder = config.azure().with_client_options(options).with_retry(retry);
                Arc::new(builder.with_url(root).build().map_err(setup)?)
            }
        };
        let server = config.server().to_owned();
        Ok(Objects { store, url: url.clone(), server, signed, trouble: Mutex::default() })
    }

    /// A store in memory, for tests.
    #[cfg(test)]
    fn in_memory() -> Self {
        let url = "s3://memory/prefix".parse().unwrap();
        let store = Arc::new(object_store::memory::InMemory::new());
        Objects { store, url, server: String::new(), signed: None, trouble: Mutex::default() }
    }

    /// Whether requests are signed with the SHA-256 of their content.
    pub(crate) fn needs_digests(&self) -> bool {
        self.signed.is_some()
    }

    /// Spares the next requests the work of hashing this content.
    pub(crate) fn know(&self, pieces: Vec<Bytes>, hashed: Hashed) -> Option<Known> {
        self.signed.as_ref().map(|contents| contents.know(pieces, hashed))
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &ObjectUrl {
        &self.url
    }

    /// The URL of a key.
    pub(crate) fn shown(&self, key: &str) -> String {
        crate::text::printable(&self.url.below(key)).into_owned()
    }

    /// This machine's record of the objects of a commit; `folder` is the folder of such records.
    pub(crate) async fn record(
        &self,
        folder: Option<&std::path::Path>,
        keys: &Keys,
        commit: &CommitId,
    ) -> SnapshotRecord {
        let place = format!("{} {}", self.server, self.url.below(&keys.snapshot(commit)));
        SnapshotRecord::read(folder, place).await
    }

    pub(crate) fn path(&self, key: &str) -> Result<Path, ObjectError> {
        let whole = if self.url.prefix().is_empty() { key.to_owned() } else { format!("{}/{key}", self.url.prefix()) };
        // Keys are the names in the repo, without another encoding.
        Path::parse(whole).map_err(|e| ObjectError::Invalid { url: self.shown(key), why: error::said(&e) })
    }

    pub(crate) fn wrong(&self, key: &str) -> impl Fn(object_store::Error) -> ObjectError + use<'_> {
        let url = self.shown(key);
        move |error| ObjectError::from_store(url.clone(), &error)
    }

    /// Notes an error that a reader of bytes cannot return whole; the first one is kept. A reader itself can return
    /// that an object does not exist.
    pub(crate) fn note(&self, error: &ObjectError) {
        if matches!(error, ObjectError::NotFound { .. }) {
            return;
        }
        lock(&self.trouble).get_or_insert_with(|| error.clone());
    }

    /// Takes the noted error.
    pub(crate) fn take_trouble(&self) -> Option<ObjectError> {
        lock(&self.trouble).take()
    }

    /// Bytes of an object.
    #[tracing::instrument(level = "debug", skip(self), fields(url = %self.url))]
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

    /// A whole object of at most `limit` bytes; `None` if it does not exist.
    pub(crate) async fn small(&self, key: &str, limit: u64) -> Result<Option<Bytes>, ObjectError> {
        Ok(self.small_version(key, limit).await?.map(|(bytes, _)| bytes))
    }

    /// The same, with the version that distinguishes it from a later object of the same name.
    async fn small_version(&self, key: &str, limit: u64) -> Result<Option<(Bytes, UpdateVersion)>, ObjectError> {
        let got = match self.store.get(&self.path(key)?).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(self.wrong(key))?,
        };
        if got.meta.size > limit {
            let why = format!("it has {} bytes, but at most {limit} were expected", got.meta.size);
            return Err(ObjectError::Invalid { url: self.shown(key), why });
        }
        let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
        let bytes = got.bytes().await.map_err(self.wrong(key))?;
        Ok(Some((bytes, version)))
    }

    /// Writes a whole object.
    #[tracing::instrument(level = "debug", skip(self, content), fields(url = %self.url, bytes = content.content_length()))]
    pub(crate) async fn put(&self, key: &str, content: PutPayload) -> Result<Mark, ObjectError> {
        let size = content.content_length() as u64;
        let put = self.store.put(&self.path(key)?, content).await.map_err(self.wrong(key))?;
        Ok(Mark::new(size, put.e_tag))
    }

    /// Writes a whole object, if the object that was read is unchanged or if there is still none. Otherwise it writes
    /// nothing; that is not an error. A store without conditional writes writes it in any case.
    async fn put_unless_changed(
        &self,
        key: &str,
        bytes: Bytes,
        read: Option<UpdateVersion>,
    ) -> Result<(), ObjectError> {
        use object_store::Error as E;
        let mode = match read {
            None => PutMode::Create,
            Some(UpdateVersion { e_tag: None, version: None }) => PutMode::Overwrite,
            Some(version) => PutMode::Update(version),
        };
        let payload = PutPayload::from_bytes(bytes.clone());
        match self.store.put_opts(&self.path(key)?, payload, mode.into()).await {
            Ok(_) | Err(E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. }) => Ok(()),
            Err(error) if knows_no_conditions(&error) => {
                self.put(key, bytes.into()).await?;
                // By then other writers have finished, so the next read sees the last object.
                tokio::time::sleep(SETTLE).await;
                Ok(())
            }
            Err(error) => Err(self.wrong(key)(error)),
        }
    }

    /// Removes an object. It is not an error if it does not exist.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        match self.store.delete(&self.path(key)?).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => other.map_err(self.wrong(key)),
        }
    }

    /// The store's facts about an object; `None` if it does not exist.
    pub(crate) async fn mark(&self, key: &str) -> Result<Option<Mark>, ObjectError> {
        match self.store.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(listed(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.wrong(key)(error)),
        }
    }

    /// Every object below a folder, by its name within that folder.
    pub(crate) async fn list(&self, folder: &str) -> Result<BTreeMap<String, Mark>, ObjectError> {
        let path = self.path(folder)?;
        let mut found = BTreeMap::new();
        let mut all = self.store.list(Some(&path));
        while let Some(meta) = all.try_next().await.map_err(self.wrong(folder))? {
            let name = if path.as_ref().is_empty() {
                meta.location.as_ref()
            } else {
                let below = meta.location.as_ref().strip_prefix(path.as_ref());
                below.and_then(|rest| rest.strip_prefix('/')).unwrap_or_default()
            };
            if !name.is_empty() {
                let name = name.to_owned();
                found.insert(name, listed(meta));
            }
            if found.len() > LIMIT {
                let why = format!("there are more than {LIMIT} objects below it");
                return Err(ObjectError::Invalid { url: self.shown(folder), why });
            }
        }
        Ok(found)
    }

    /// Names of the folders directly below the prefix.
    pub(crate) async fn folders(&self) -> Result<Vec<String>, ObjectError> {
        let path = Path::parse(self.url.prefix()).unwrap_or_default();
        let listed = self.store.list_with_delimiter(Some(&path)).await.map_err(self.wrong(""))?;
        Ok(listed.common_prefixes.iter().filter_map(|p| p.filename().map(str::to_owned)).collect())
    }
}

/// Whether a store refuses a request because it does not know its condition.
fn knows_no_conditions(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. })
        || ["501 Not Implemented", "<Code>NotImplemented</Code>"].iter().any(|said| error.to_string().contains(said))
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
