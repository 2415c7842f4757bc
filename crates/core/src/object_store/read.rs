//! An object as a file that can be read at any place, for checks that know nothing about networks.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::{ObjectError, Objects};
use crate::range_reader::{BlockReader, Ranges};
use crate::verify::{Far, ReadSeek};

/// An object of known size.
pub(crate) struct StoredFile {
    objects: Arc<Objects>,
    key: String,
    /// The object's size in bytes; `None` if it does not exist.
    size: Option<u64>,
    runtime: Handle,
}

impl StoredFile {
    /// For use on blocking threads; must be made within a runtime.
    pub fn new(objects: Arc<Objects>, key: String, size: Option<u64>) -> Self {
        StoredFile { objects, key, size, runtime: Handle::current() }
    }
}

impl fmt::Debug for StoredFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredFile({}, {:?})", self.key, self.size)
    }
}

impl Far for StoredFile {
    fn size(&self) -> io::Result<u64> {
        self.size.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        let ranges = ObjectRanges { objects: Arc::clone(&self.objects), key: self.key.clone() };
        Ok(Box::new(BlockReader::new(ranges, self.size()?, self.runtime.clone())))
    }
}

/// Gives the object's bytes by ranges.
struct ObjectRanges {
    objects: Arc<Objects>,
    key: String,
}

impl Ranges for ObjectRanges {
    const READ_AHEAD: bool = true;

    fn fetch(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<Bytes>> {
        let (objects, key) = (Arc::clone(&self.objects), self.key.clone());
        Box::pin(async move { objects.range(&key, range).await.map_err(ObjectError::into_io) })
    }

    fn note(&self, error: &io::Error) {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            self.objects.note(error);
        }
    }
}
