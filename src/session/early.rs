//! Whether weights are worth fetching at all: their headers, read by range requests, against the
//! index. A broken repo fails here, before its bulk moves.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::runtime::Handle;

use super::{Prepared, Session};
use crate::hub::{Entry, Hub, HubError, Remote};
use crate::plan::Presence;
use crate::repo::RepoPath;
use crate::report::{Finding, Severity};
use crate::select::{Family, WeightIndex, WeightSet};
use crate::verify::{self, Held};

/// Below this, fetching is quicker than asking.
const WORTH_IT: u64 = 64 << 20;
/// Bytes asked for at once: most headers fit.
const BLOCK: u64 = 256 << 10;
/// Bytes of one file that are kept.
const KEPT: usize = 16 << 20;
/// An index larger than this is left for the full check.
const INDEX_LIMIT: u64 = crate::select::INDEX_LIMIT;
/// Files asked at once.
const AT_ONCE: usize = 8;

/// A file's tensors, and what is wrong with it.
type Table = (Option<Held>, Vec<Finding>);

impl Session {
    /// Errors that fetching the weights would only confirm. What cannot be read now says nothing.
    pub(super) async fn check_early(&self, prepared: &Prepared) -> Vec<Finding> {
        if prepared.plan.missing_bytes() < WORTH_IT {
            return Vec::new();
        }
        // What says where tensors are lies between them in these: asking for it takes too long to be worth it.
        self.check_sets(prepared, |set| !matches!(set.family, Family::Flax | Family::Tf)).await
    }

    /// Reads the headers of all indexed weights and compares them with their index, without fetching
    /// them; gives the errors.
    pub async fn check_deep(&self, prepared: &Prepared) -> Vec<Finding> {
        self.check_sets(prepared, |_| true).await
    }

    async fn check_sets(&self, prepared: &Prepared, wanted: impl Fn(&WeightSet) -> bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for set in prepared.selection.weights.iter().filter(|set| set.index.is_some() && wanted(set)) {
            findings.extend(self.check_set(prepared, set).await.unwrap_or_default());
        }
        findings.retain(|f| f.severity == Severity::Error);
        findings
    }

    async fn check_set(&self, prepared: &Prepared, set: &WeightSet) -> Option<Vec<Finding>> {
        let index_path = set.index.as_ref()?;
        let index = self.reader(prepared, index_path)?;
        let index = tokio::task::spawn_blocking(move || read_index(index)).await.ok()??;
        let family = set.family;
        let tables = stream::iter(&set.files).map(|path| {
            let reader = self.reader(prepared, path);
            let path = path.clone();
            async move {
                let (mut reader, length) = reader?;
                let work = move || {
                    let (table, findings) = verify::table_of(&mut reader, length, &path, family);
                    // What could not be read is no evidence.
                    (!reader.failed).then(|| (path, (table.map(Held::from), findings)))
                };
                tokio::task::spawn_blocking(work).await.ok()?
            }
        });
        let tables: Vec<Option<(RepoPath, Table)>> = tables.buffer_unordered(AT_ONCE).collect().await;
        let tables: Vec<_> = tables.into_iter().collect::<Option<_>>()?;
        let (set, index_path) = (set.clone(), index_path.clone());
        let compare = move || {
            let mut findings: Vec<Finding> = tables.iter().flat_map(|(_, (_, findings))| findings.clone()).collect();
            let by_path: BTreeMap<&RepoPath, Option<&Held>> =
                tables.iter().map(|(path, (table, _))| (path, table.as_ref())).collect();
            findings.extend(verify::coverage_of(&set, &index_path, &index, &by_path));
            findings
        };
        tokio::task::spawn_blocking(compare).await.ok()
    }

    /// A file where it is: on disk, or on the Hub.
    pub(super) fn reader(&self, prepared: &Prepared, path: &RepoPath) -> Option<(Source, u64)> {
        let entry = prepared.listing.get(path.as_str())?;
        let item = prepared.plan.items.iter().find(|i| i.entry.path == *path)?;
        let inner = if item.presence == Presence::Verified && prepared.place.is_none() {
            let local = prepared.store.content_path(&prepared.listing.info.commit, entry);
            Inner::Local(std::fs::File::open(local).ok()?)
        } else {
            let info = Arc::new(prepared.listing.info.clone());
            Inner::Remote(Box::new(Far::new(Arc::clone(&self.hubs[0]), Remote::new(info, entry.clone()), entry)))
        };
        Some((Source { inner, failed: false, error: None }, entry.size))
    }
}

fn read_index((mut source, length): (Source, u64)) -> Option<WeightIndex> {
    let mut bytes = Vec::new();
    (length <= INDEX_LIMIT).then_some(())?;
    source.by_ref().take(INDEX_LIMIT).read_to_end(&mut bytes).ok()?;
    // An index that does not parse is the full check's to judge, with its digest.
    WeightIndex::parse(&bytes).ok()
}

/// A file on disk or on the Hub, and whether reading it ever failed.
pub(super) struct Source {
    inner: Inner,
    failed: bool,
    /// The Hub's first error.
    pub error: Option<Arc<HubError>>,
}

impl Source {
    pub fn is_remote(&self) -> bool {
        matches!(self.inner, Inner::Remote(_))
    }
}

enum Inner {
    Local(std::fs::File),
    Remote(Box<Far>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.inner {
            Inner::Local(file) => file.read(buffer),
            Inner::Remote(far) => far.read(buffer),
        };
        read.map_err(|error| {
            self.failed = true;
            let text = error.to_string();
            if let Some(inner) = error.into_inner()
                && let Ok(hub) = inner.downcast::<HubError>()
            {
                self.error.get_or_insert_with(|| Arc::new(*hub));
            }
            io::Error::other(text)
        })
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.inner {
            Inner::Local(file) => file.seek(to),
            Inner::Remote(far) => far.seek(to),
        }
    }
}

/// A file on the Hub, read a block at a time. For blocking threads only.
struct Far {
    hub: Arc<Hub>,
    remote: Remote,
    runtime: Handle,
    size: u64,
    at: u64,
    /// The last blocks, oldest first: an archive's directory and its first record are far apart, and so
    /// are the groups of an HDF5 file.
    blocks: Vec<(u64, Vec<u8>)>,
}

impl Far {
    fn new(hub: Arc<Hub>, remote: Remote, entry: &Entry) -> Self {
        Far { hub, remote, runtime: Handle::current(), size: entry.size, at: 0, blocks: Vec::new() }
    }

    fn fetch(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let mut body = self.hub.open(&self.remote, range.clone()).await.map_err(io::Error::other)?;
            // A server that ignores ranges would send all of the file.
            if body.start != range.start {
                return Err(io::Error::other("ranges are not served"));
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = body.chunk().await.map_err(io::Error::other)? {
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        })
    }
}

impl Read for Far {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let holds = |(start, bytes): &(u64, Vec<u8>)| (*start..start + bytes.len() as u64).contains(&self.at);
        if !self.blocks.iter().any(holds) {
            // A long read (a header of megabytes) is one request.
            let want = (buffer.len() as u64).clamp(BLOCK, 4 << 20);
            let range = self.at..self.size.min(self.at + want);
            let bytes = self.fetch(range.clone())?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.blocks.push((range.start, bytes));
            while self.blocks.len() > 1 && self.blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > KEPT {
                self.blocks.remove(0);
            }
        }
        let Some((start, bytes)) = self.blocks.iter().find(|b| holds(b)) else { return Ok(0) };
        let from = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let some = bytes.get(from..).unwrap_or_default();
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Far {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
