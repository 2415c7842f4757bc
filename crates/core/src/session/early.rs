//! Checks before the fetch: the headers of weights, read by range requests, are compared with the
//! index. A broken repo fails here, before most of its bytes move.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, StreamExt as _};

use super::places::FilePlace;
use super::{Prepared, Session};
use crate::finding::{Finding, Remedy, Severity};
use crate::model::{Family, RepoPath, WeightIndex, WeightSet};
use crate::mutex::lock;
use crate::verify::{self, CompactTable, Names};

/// Below this size in bytes, fetching is quicker than asking.
const WORTH_IT: u64 = 64 << 20;
/// An index larger than this is left for the full check.
const INDEX_LIMIT: u64 = crate::model::INDEX_LIMIT;
/// How many files are asked at once: at most and at least.
const AT_ONCE: (usize, usize) = (8, 2);
/// The most tensors whose headers are read at once, estimated by the index's average shard: each takes half a kilobyte
/// on the way.
const TENSORS_AT_ONCE: usize = 100_000;

/// A file's tensors, and its findings.
type Table = (Option<CompactTable>, Vec<Finding>);

impl Session {
    /// Errors that fetching the weights would only confirm. A header that cannot be read now is no evidence.
    pub(super) async fn check_early(&self, prepared: &Prepared) -> Vec<Finding> {
        if prepared.plan.missing_bytes() < WORTH_IT {
            return Vec::new();
        }
        // In these formats the places of tensors are spread between the tensors, so reading them by ranges takes too
        // long.
        self.check_sets(prepared, |set| !matches!(set.family, Family::Flax | Family::Tf)).await
    }

    /// Reads the headers of all indexed weights and compares them with their index, without fetching
    /// the weights; returns the errors.
    #[doc(hidden)] // for the command
    pub async fn check_deep(&self, prepared: &Prepared) -> Vec<Finding> {
        self.check_sets(prepared, |_| true).await
    }

    async fn check_sets(&self, prepared: &Prepared, wanted: impl Fn(&WeightSet) -> bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        // Files without an index are one set only by their names. Their headers tell whether they are alternatives.
        let several = |set: &WeightSet| set.family == Family::Safetensors && set.files.len() > 1;
        let comparable = |set: &&WeightSet| (set.index.is_some() || several(set)) && wanted(set);
        for set in prepared.selection.weights.iter().filter(comparable) {
            findings.extend(self.check_set(prepared, set).await.unwrap_or_default());
        }
        findings.retain(|f| f.severity == Severity::Error);
        findings
    }

    async fn check_set(&self, prepared: &Prepared, set: &WeightSet) -> Option<Vec<Finding>> {
        let places = self.places(prepared);
        let index = match (&set.index, set.parsed.get()) {
            (None, _) => None,
            (Some(path), Some(index)) => Some((path.clone(), Arc::clone(index))),
            (Some(path), None) => {
                let place = places.of(path)?;
                let read = tokio::task::spawn_blocking(move || read_index(place)).await.ok()??;
                Some((path.clone(), Arc::new(read)))
            }
        };
        let family = set.family;
        let names = Arc::new(Mutex::new(Names::of(index.as_ref().map(|(_, index)| Arc::clone(index)))));
        let tables = stream::iter(&set.files).map(|path| {
            let place = places.of(path);
            let path = path.clone();
            let names = Arc::clone(&names);
            async move {
                let place = place?;
                let work = move || {
                    let length = place.size();
                    let mut source = place.open().ok()?;
                    let (table, findings) = verify::table_of(&mut source, length, &path, family);
                    // A header that could not be read is no evidence.
                    if source.failed {
                        return None;
                    }
                    let mut names = lock(&names);
                    Some((path, (table.map(|table| CompactTable::new(table, &mut names)), findings)))
                };
                on_its_own_thread(work).await?
            }
        });
        let tensors = index.as_ref().map_or(0, |(_, index)| index.weight_map().len());
        let tables: Vec<Option<(RepoPath, Table)>> =
            tables.buffer_unordered(at_once(tensors, set.files.len())).collect().await;
        let tables: Vec<_> = tables.into_iter().collect::<Option<_>>()?;
        let set = set.clone();
        let compare = move || {
            let mut findings: Vec<Finding> = tables.iter().flat_map(|(_, (_, findings))| findings.clone()).collect();
            let by_path: BTreeMap<&RepoPath, Option<&CompactTable>> =
                tables.iter().map(|(path, (table, _))| (path, table.as_ref())).collect();
            let names = lock(&names);
            match &index {
                Some((path, index)) => {
                    findings.extend(verify::coverage_of(&set, Some((path, index)), &names, &by_path));
                }
                None => findings.extend(verify::coverage_of(&set, None, &names, &by_path).into_iter().map(alternative)),
            }
            findings
        };
        tokio::task::spawn_blocking(compare).await.ok()
    }
}

/// Runs `work` on a thread that ends with it. `None` if the work panicked, or if the system gives no thread.
///
/// Why not the runtime's threads: a header becomes hundreds of thousands of small allocations. An allocator keeps their
/// memory for the thread that made them, and when a thread ends, for the next one that starts: here the threads that check
/// the same headers again after the fetch.
async fn on_its_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (send, done) = tokio::sync::oneshot::channel();
    // Sending fails if the run was given up meanwhile.
    std::thread::Builder::new().spawn(move || drop(send.send(work()))).ok()?;
    done.await.ok()
}

/// Rewrites the finding: two files with the same tensor are not parts of one set but alternatives.
fn alternative(finding: Finding) -> Finding {
    finding.remedy(Remedy::ChooseAlternative)
}

/// How many files are asked at once, for a set of so many tensors and files.
fn at_once(tensors: usize, files: usize) -> usize {
    let (most, least) = AT_ONCE;
    let average = tensors.div_ceil(files.max(1)).max(1);
    (TENSORS_AT_ONCE / average).clamp(least, most)
}

fn read_index(place: FilePlace) -> Option<WeightIndex> {
    (place.size() <= INDEX_LIMIT).then_some(())?;
    let mut bytes = Vec::new();
    place.open().ok()?.take(INDEX_LIMIT).read_to_end(&mut bytes).ok()?;
    // The full check judges an index that does not parse, together with its digest.
    WeightIndex::parse(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::at_once;

    #[test]
    fn large_headers_are_read_by_twos_and_usual_ones_by_eights() {
        for (tensors, files, n) in
            [(0, 0, 8), (300, 7, 8), (90_000, 160, 8), (1_000_000, 10, 2), (150_000, 10, 6), (1 << 21, 1, 2)]
        {
            assert_eq!(at_once(tensors, files), n, "{tensors} tensors in {files} files");
        }
    }
}
