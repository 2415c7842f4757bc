//! Opens the files of a plan where they are, on disk or at their source, to read them at any place. `early`
//! and `inspect` use it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::{Prepared, Session};
use crate::hub::{HubError, ShownUrl};
use crate::model::{Presence, RepoInfo, RepoPath};
use crate::plan::Item;
use crate::progress::Silent;
use crate::range_reader::{BlockReader, Ranges};
use crate::source::{Source, SourceFile};

impl Session {
    /// Where the files of a plan are.
    pub(super) fn places<'a>(&'a self, prepared: &'a Prepared) -> Places<'a> {
        let items = prepared.plan.items.iter().map(|item| (&item.entry.path, item)).collect();
        Places { prepared, source: &self.sources[0], info: Arc::new(prepared.listing.info.clone()), items }
    }
}

/// Where the files of a plan are.
pub(super) struct Places<'a> {
    prepared: &'a Prepared,
    source: &'a Arc<dyn Source>,
    info: Arc<RepoInfo>,
    items: HashMap<&'a RepoPath, &'a Item>,
}

impl Places<'_> {
    /// Where a file is; `None` if it is not in the plan. Must be called within a runtime.
    pub fn of(&self, path: &RepoPath) -> Option<FilePlace> {
        let item = self.items.get(path)?;
        let size = item.entry.size;
        if item.presence == Presence::Verified
            && let Some(store) = &self.prepared.store
        {
            let commit = &self.prepared.listing.info.commit;
            return Some(FilePlace::Local(store.content_path(commit, &item.entry), size));
        }
        let file = Arc::clone(self.source).file(Arc::clone(&self.info), item.entry.clone());
        let ranges = SourceRanges(file.into());
        Some(FilePlace::Remote(Box::new(BlockReader::new(ranges, size, Handle::current())), size))
    }
}

/// Where a file is, and its size.
pub(super) enum FilePlace {
    /// On disk.
    Local(PathBuf, u64),
    /// At the source.
    Remote(Box<BlockReader<SourceRanges>>, u64),
}

impl FilePlace {
    /// The file's size in bytes, as it was listed.
    pub fn size(&self) -> u64 {
        match self {
            FilePlace::Local(_, size) | FilePlace::Remote(_, size) => *size,
        }
    }

    pub fn is_remote(&self) -> bool {
        matches!(self, FilePlace::Remote(..))
    }

    /// Opens the file. Blocks, and so does reading.
    pub fn open(self) -> io::Result<PlaceReader> {
        let inner = match self {
            FilePlace::Local(path, _) => Inner::Local(File::open(path)?),
            FilePlace::Remote(reader, _) => Inner::Remote(reader),
        };
        Ok(PlaceReader { inner, failed: false, error: None })
    }
}

/// A file on disk or at its source, and whether a read of it has failed.
pub(super) struct PlaceReader {
    inner: Inner,
    pub failed: bool,
    /// The source's first error.
    pub error: Option<HubError>,
}

enum Inner {
    Local(File),
    Remote(Box<BlockReader<SourceRanges>>),
}

impl Read for PlaceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Local(file) => file.read(buffer),
            Inner::Remote(reader) => reader.read(buffer),
        };
        read.map_err(|error| {
            self.failed = true;
            let text = error.to_string();
            if let Some(inner) = error.into_inner()
                && let Ok(hub) = inner.downcast::<HubError>()
            {
                self.error.get_or_insert(*hub);
            }
            io::Error::other(text)
        })
    }
}

impl Seek for PlaceReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.inner {
            Inner::Local(file) => file.seek(to),
            Inner::Remote(reader) => reader.seek(to),
        }
    }
}

/// Gives a file's bytes from its source, by ranges.
pub(super) struct SourceRanges(Arc<dyn SourceFile>);

impl Ranges for SourceRanges {
    // Only headers are read; the bytes after them are the large part of the file.
    const READ_AHEAD: bool = false;

    fn fetch(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<Bytes>> {
        let file = Arc::clone(&self.0);
        Box::pin(async move { fetch(&*file, range).await.map_err(io::Error::other) })
    }
}

/// Fetches a range, with retries.
async fn fetch(file: &dyn SourceFile, range: Range<u64>) -> Result<Bytes, HubError> {
    let mut failures = 0;
    loop {
        match try_fetch(file, range.clone()).await {
            Err(error) if error.is_retryable() => {
                failures += 1;
                file.source().retries().back_off(Some(file.path()), error, failures, &Silent).await?;
            }
            other => return other.inspect(|_| file.source().retries().answered()),
        }
    }
}

async fn try_fetch(file: &dyn SourceFile, range: Range<u64>) -> Result<Bytes, HubError> {
    let ignored = || {
        let what = "it ignores requests for ranges, which are needed to read headers alone".into();
        HubError::Protocol { url: ShownUrl::of_text(&file.source().endpoint()), what }
    };
    let length = range.end - range.start;
    let mut bytes = BytesMut::new();
    // A server may give less at a time than it is asked for.
    while (bytes.len() as u64) < length {
        let rest = range.start + bytes.len() as u64..range.end;
        let mut body = file.open(rest.clone()).await?;
        if body.start != rest.start {
            return Err(ignored());
        }
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
            // A server that ignores ranges sends the whole file, which must not be collected here.
            if bytes.len() as u64 > length {
                return Err(ignored());
            }
        }
    }
    Ok(bytes.freeze())
}
