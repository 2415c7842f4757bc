//! Reads the small files that selection needs: from their destination, from a cache beside it, or from the Hub.
//! `select` reads their meaning; `nearby` puts the selected ones in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::config::DestinationConfig;
use super::{Error, Prepared, Session};
use crate::finding::Finding;
use crate::model::{CommitId, Entry, Listing, Options, RepoPath};
use crate::progress::{Progress, Silent};
use crate::select::{self, Budget, Documents, Selection, Step, select};
use crate::store::Store;
use crate::transfer::{Arrived, fetch};

/// The most bytes of a file that selection may read; such files are read whole.
const DOCUMENT_LIMIT: u64 = crate::model::INDEX_LIMIT;
/// The most rounds of questions from selection.
const ROUNDS: usize = 16;

/// The contents of some files; `None` for a file that is not available.
type Found = BTreeMap<RepoPath, Option<Vec<u8>>>;

/// The files that were fetched because selection had to read them, in a folder of their own.
#[derive(Debug, Default)]
pub(super) struct Early {
    scratch: Scratch,
    pub arrived: Vec<Arrived>,
    /// The options of a selection whose documents are still to be read.
    postponed: Option<Options>,
}

impl Early {
    /// The place of such a file's bytes.
    pub fn place(&self, commit: &CommitId, entry: &Entry) -> Option<std::path::PathBuf> {
        self.scratch.0.get().map(|(_, store)| store.content_path(commit, entry))
    }
}

impl Session {
    /// Runs selection, and reads documents until it needs no more. `may_wait`: if it needs only documents that could name
    /// code in other repos, and all files go to a folder, they are read from there when they have come
    /// ([`Self::read_postponed`]). That saves the wait for them.
    pub(super) async fn choose(
        &self,
        listing: &Listing,
        options: &Options,
        store: Option<&Arc<Store>>,
        may_wait: bool,
    ) -> Result<(Selection, Early), Error> {
        let mut early = Early::default();
        let mut documents = Documents::new();
        let mut budget = Budget::default();
        for _ in 0..ROUNDS {
            match select(listing, options, &documents)? {
                Step::Done(selection) => return Ok((*selection, early)),
                Step::Need(paths) => {
                    let sizes = paths.iter().filter_map(|path| Some(listing.get(path.as_str())?.size));
                    budget.spend(sizes.filter(|size| *size <= DOCUMENT_LIMIT))?;
                    if may_wait && store.is_some() && paths.iter().all(select::may_name_code) {
                        early.postponed = Some(options.clone());
                        documents.extend(paths.into_iter().map(|path| (path, None)));
                        continue;
                    }
                    let read = self.documents(listing, &paths, store, &mut early).await?;
                    documents.extend(read);
                }
            }
        }
        // Selection asks for each file once, and there are fewer kinds of files than rounds.
        Err(Error::Select(select::SelectError::NothingSelectable {
            found: Vec::new(),
            why: "its configuration files refer to one another in a circle".into(),
            variants: Vec::new(),
        }))
    }

    /// Reads the documents that [`Self::choose`] has postponed, and adds what they say. Files that are not here, or wrong,
    /// have findings of their own.
    pub(super) async fn read_postponed(&self, job: &mut Prepared) -> Result<(), Error> {
        let (Some(options), Some(store)) = (job.early.postponed.take(), job.store.clone()) else { return Ok(()) };
        let (commit, mut documents) = (job.listing.info.commit, Documents::new());
        for _ in 0..ROUNDS {
            match select(&job.listing, &options, &documents)? {
                Step::Done(selection) => {
                    let own = &mut job.selection;
                    let new = |finding: &Finding| !own.findings.contains(finding);
                    let new: Vec<Finding> = selection.findings.into_iter().filter(new).collect();
                    own.findings.extend(new);
                    (own.other_repos, own.code_repos) = (selection.other_repos, selection.code_repos);
                    break;
                }
                Step::Need(paths) => {
                    let entries = paths.iter().filter_map(|path| job.listing.get(path.as_str()).cloned()).collect();
                    documents.extend(paths.into_iter().map(|path| (path, None)));
                    documents.extend(self.read_documents(&store, commit, entries).await?);
                }
            }
        }
        Ok(())
    }

    /// Reads small files, from disk if they are there, otherwise from the Hub. Fetched files do not go to the
    /// destination, since many of them are only read.
    pub(super) async fn documents(
        &self,
        listing: &Listing,
        paths: &[RepoPath],
        store: Option<&Arc<Store>>,
        early: &mut Early,
    ) -> Result<Found, Error> {
        let entries: Vec<Entry> = paths
            .iter()
            .filter_map(|p| listing.get(p.as_str()))
            .filter(|e| e.size <= DOCUMENT_LIMIT)
            .cloned()
            .collect();
        let commit = listing.info.commit;
        let mut read: Found = paths.iter().map(|p| (p.clone(), None)).collect();
        if let Some(store) = store {
            read.extend(self.read_documents(store, commit, entries.clone()).await?);
        }
        let missing = |read: &Found| -> Vec<Entry> {
            entries.iter().filter(|e| read.get(&e.path).is_none_or(Option::is_none)).cloned().collect()
        };
        if let Some(nearby) = self.nearby(listing.info.repo_type, &listing.info.id) {
            let wanted = missing(&read);
            read.extend(self.read_documents(&nearby, commit, wanted).await?);
        }
        let still = missing(&read);
        let missing: Vec<&Entry> = still.iter().collect();
        let mut stored = self.stored_documents(listing, &missing).await?;
        stored.extend(self.tagged_documents(&missing).await?);
        let missing: Vec<&Entry> = missing.into_iter().filter(|e| !stored.contains_key(&e.path)).collect();
        read.extend(stored);
        if missing.is_empty() || self.config.offline {
            return Ok(read);
        }
        let place = early.scratch.store(&self.scratch_folders())?;
        // Small files are too fast for progress bars.
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        let (options, threads) = (self.config.fetch, &self.threads);
        let report = fetch(&self.sources, &place, &listing.info, &missing, options, &silent, threads).await?;
        if let Some(finding) = report.failed.into_iter().next()
            && let Some(path) = missing.iter().find(|e| Some(e.path.as_str()) == finding.path.as_deref())
        {
            let why = format!("{}: {}", finding.code, finding.message);
            return Err(Error::Document { path: path.path.clone(), why });
        }
        early.arrived.extend(report.done);
        let wanted: Vec<Entry> = missing.into_iter().cloned().collect();
        read.extend(self.read_documents(&place, commit, wanted).await?);
        Ok(read)
    }

    /// The folders for files that are only read. A container may have no folder for temporary files that its user may
    /// write to, so the destination is the last one.
    fn scratch_folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.config.scratch.clone().unwrap_or_else(std::env::temp_dir)];
        match &self.config.destination {
            DestinationConfig::Cache { root, .. } => folders.push(root.clone()),
            DestinationConfig::LocalDir(root) => folders.push(root.join(".cache").join("huggingface")),
            DestinationConfig::Nowhere | DestinationConfig::Objects(_) | DestinationConfig::Oci(_) => {}
        }
        folders
    }

    /// Reads those of some small files that are here and right.
    async fn read_documents(
        &self,
        store: &Arc<Store>,
        commit: CommitId,
        wanted: Vec<Entry>,
    ) -> Result<Vec<(RepoPath, Option<Vec<u8>>)>, Error> {
        let read = move |store: &Store| {
            let read = |entry: Entry| Ok((entry.path.clone(), read_present(store, &commit, &entry)?));
            wanted.into_iter().map(read).collect()
        };
        self.blocking(store, read).await
    }
}

/// The content of a small file that is here and right; `None` otherwise.
fn read_present(store: &Store, commit: &CommitId, entry: &Entry) -> Result<Option<Vec<u8>>, crate::store::StoreError> {
    if !store.is_here(commit, entry)? {
        return Ok(None);
    }
    let mut content = Vec::new();
    let path = store.content_path(commit, entry);
    let read = File::open(&path).and_then(|file| file.take(DOCUMENT_LIMIT).read_to_end(&mut content));
    let right = read.is_ok() && is_content(&content, entry);
    if read.is_ok() && !right {
        // The bytes decide, even if the record says otherwise. If the record cannot be written, the file's finding says
        // so.
        let _ = store.strike(commit, entry);
    }
    Ok(right.then_some(content))
}

/// Whether some bytes are the listed content. Hashing a small file costs little, and selection must see only the repo's
/// own bytes.
pub(super) fn is_content(content: &[u8], entry: &Entry) -> bool {
    let mut hasher = entry.digest().hasher(entry.size);
    hasher.update(content);
    hasher.finish().digest() == entry.digest()
}

/// A folder for small files that are only read. It is made when it is first needed, and removed at the end of the run.
#[derive(Debug, Default)]
struct Scratch(std::sync::OnceLock<(tempfile::TempDir, Arc<Store>)>);

impl Scratch {
    /// `within`: the folders that it may be in; the first one that can be written to gets it.
    fn store(&self, within: &[PathBuf]) -> Result<Arc<Store>, Error> {
        if let Some((_, store)) = self.0.get() {
            return Ok(Arc::clone(store));
        }
        let mut first = None;
        for parent in within {
            // The system's own folder is not ours to make.
            let made = if *parent == std::env::temp_dir() { Ok(()) } else { std::fs::create_dir_all(parent) };
            match made.and_then(|()| tempfile::Builder::new().prefix(".hfget-").tempdir_in(parent)) {
                Ok(dir) => {
                    let store = Arc::new(Store::local_dir(dir.path()));
                    // Only this task sets it, so it is still empty and `set` cannot fail.
                    let _ = self.0.set((dir, Arc::clone(&store)));
                    return Ok(store);
                }
                Err(source) => drop(first.get_or_insert(Error::Folder { path: parent.clone(), source })),
            }
        }
        Err(first.unwrap_or_else(|| Error::Folder {
            path: std::env::temp_dir(),
            source: std::io::Error::other("no scratch folder"),
        }))
    }
}
