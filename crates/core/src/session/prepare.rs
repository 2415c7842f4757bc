//! From a repo's name to a plan: pin, list, ask selection what it needs, give it, plan.

use crate::model::{Location, Options, Purpose};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use globset::GlobBuilder;

use super::{Error, Session};
use crate::fetch::{Arrived, fetch};
use crate::finding::{Code, Evidence, Finding, Origin};
use crate::model::{Entry, Listing, RepoInfo, RepoPath, RepoSpec, Revision};
use crate::plan::{Item, Plan};
use crate::progress::{Event, Progress, Silent};
use crate::report::PlanReport;
use crate::select::{self, Documents, Selection, Step, select};
use crate::store::{Conflict, Store, conflicts};
use crate::verify::SubjectFile;

/// Small files are read whole; larger ones are not for selection to see.
const DOCUMENT_LIMIT: u64 = crate::model::INDEX_LIMIT;
/// Rounds of questions after which selection is not asked again.
const ROUNDS: usize = 16;

/// Whether anything may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    DryRun,
    Real,
}

/// A job about to be done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// Everything in the repo.
    pub listing: Listing,
    /// What is wanted of it.
    pub selection: Selection,
    /// What is here of that.
    pub plan: Plan,
    pub(super) store: Arc<Store>,
    /// Who stated what the files must be.
    pub(super) origin: Origin,
    /// Whether the listing is the repo's whole: what it does not name is not in the repo.
    pub(super) whole: bool,
    /// What came over the network because selection had to read it.
    pub(super) early: Vec<Arrived>,
    pub(super) excluded: Vec<String>,
    /// Where the files will be, where that is no folder.
    pub(super) place: Option<Location>,
}

/// A listing, and what is known of it.
#[derive(Debug)]
pub(super) struct Listed {
    pub listing: Listing,
    /// Who states it.
    pub origin: Origin,
    /// Whether it is the repo's whole.
    pub whole: bool,
}

impl Listed {
    /// A whole listing, as `origin` states it.
    pub fn whole(listing: Listing, origin: Origin) -> Self {
        Listed { listing, origin, whole: true }
    }
}

impl Prepared {
    /// Checks that there is something to do. A plan can show a selection of nothing; a job of nothing is an error.
    ///
    /// # Errors
    /// [`Error::NothingSelected`] if no file is wanted, or if `--exclude` leaves out every weight of the selection.
    pub fn not_empty(&self) -> Result<(), Error> {
        let info = &self.listing.info;
        if self.selection.weights_excluded && self.unsafe_names().is_empty() {
            return Err(Error::NothingSelected {
                repo: info.repo_type.qualify(&info.id),
                why: "--exclude leaves out all of its weights, so there is nothing to verify".to_owned(),
                hint: Some("leave out fewer files; `hfget plan` shows which --exclude left out which file".to_owned()),
            });
        }
        if !self.selection.files.is_empty() || !self.unsafe_names().is_empty() {
            return Ok(());
        }
        let said = self.selection.findings.iter().find(|finding| finding.code == Code::WeightsAbsent);
        Err(Error::NothingSelected {
            repo: info.repo_type.qualify(&info.id),
            why: said.map_or("no file of it is wanted", |finding| finding.message.as_str()).to_owned(),
            hint: said.and_then(|finding| finding.hint.clone()),
        })
    }

    /// The listed files of some items.
    pub(super) fn entries(&self, wanted: impl Fn(&Item) -> bool) -> Vec<Entry> {
        self.plan.items.iter().filter(|item| wanted(item)).map(|item| item.entry.clone()).collect()
    }

    /// A file to check, where it is or will be.
    pub(super) fn subject_file(&self, item: &Item, known: Evidence) -> SubjectFile {
        SubjectFile {
            path: item.entry.path.clone(),
            content: self.store.content_path(&self.listing.info.commit, &item.entry).into(),
            size: Some(item.entry.size),
            digest: Some(item.entry.digest()),
            origin: self.origin,
            known,
            purpose: item.purpose,
        }
    }

    /// What a dry run says.
    #[must_use]
    pub fn report(&self) -> PlanReport<'_> {
        PlanReport { info: &self.listing.info, selection: &self.selection, plan: &self.plan }
    }

    /// Names that make the listing unsafe to use: nothing is fetched while there are any.
    pub fn unsafe_names(&self) -> Vec<Finding> {
        let hint = "nothing was fetched; --exclude the name to take the rest";
        let excluded = |text: &str| {
            self.excluded.iter().any(|glob| {
                let glob = GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
                glob.is_ok_and(|g| g.compile_matcher().is_match(Path::new(text)))
            })
        };
        let rejected = self.listing.rejected.iter().filter(|r| !excluded(&r.error.text));
        let mut found: Vec<Finding> = rejected
            .map(|r| {
                Finding::new(
                    Code::PathUnsafe,
                    &r.error.text,
                    format!("the listing has a name that is not safe to use: {}", r.error.reason),
                )
                .hint(hint)
            })
            .collect();
        let clashes = conflicts(self.selection.files.iter().map(|f| &f.path));
        let folds = clashes.iter().any(|c| matches!(c, Conflict::CaseOnly(..))) && self.store.case_insensitive();
        for clash in clashes {
            match clash {
                Conflict::FileIsFolder(file, path) => found.push(
                    Finding::new(
                        Code::PathUnsafe,
                        &path,
                        format!("{} is a file, and a folder on the way to this one", file.shown()),
                    )
                    .hint(hint),
                ),
                Conflict::CaseOnly(a, b) if folds => {
                    found.push(
                        Finding::new(
                            Code::PathUnsafe,
                            &b,
                            format!(
                                "it differs from {} only in case, and this file system does not tell them apart",
                                a.shown()
                            ),
                        )
                        .hint(hint),
                    );
                }
                Conflict::CaseOnly(..) => {}
            }
        }
        found
    }
}

/// What the Hub's own scan says of the files that are wanted.
fn scanned(listing: &Listing, selection: &Selection) -> Vec<Finding> {
    let wanted = |path: &str| selection.files.iter().any(|f| f.path.as_str() == path);
    let issues = listing.info.card.issues.iter().filter(|(path, _)| wanted(path));
    issues
        .map(|(path, level)| Finding::new(Code::HubScan, path, format!("the Hub's own scan calls it {level}")))
        .collect()
}

impl Session {
    /// `anew`: by a listing that is asked for, whatever is kept.
    pub(super) async fn prepare(
        &self,
        spec: &RepoSpec,
        options: &Options,
        mode: Mode,
        anew: bool,
    ) -> Result<Prepared, Error> {
        let store = self.store(spec.repo_type, &spec.id);
        let listed = self.list(spec, &store, anew || self.config.fetch.force).await?;
        let listing = &listed.listing;
        let mut options = options.clone();
        // A pasted URL of a folder means that folder; of a file, that file too.
        if let Some(path) = &spec.path {
            if listing.get(path.as_str()).is_some() {
                options.include.push(path.as_str().to_owned());
            } else if options.subfolder.is_none() {
                options.subfolder = Some(path.clone());
            }
        }
        self.prepare_listing(listed, options, store, mode).await
    }

    /// The rest of it, for a listing that is at hand.
    pub(super) async fn prepare_listing(
        &self,
        listed: Listed,
        options: Options,
        store: Arc<Store>,
        mode: Mode,
    ) -> Result<Prepared, Error> {
        let Listed { listing, origin, whole } = listed;
        let (mut selection, early) = self.choose(&listing, &options, &store, mode).await?;
        // Who takes all but the weights has asked for the rest by that.
        selection.weights_excluded &= !options.all;
        selection.findings.extend(scanned(&listing, &selection));
        let (plan_store, commit) = (Arc::clone(&store), listing.info.commit);
        let wanted: Vec<(Entry, Purpose)> =
            selection.files.iter().filter_map(|f| Some((listing.get(f.path.as_str())?.clone(), f.purpose))).collect();
        let plan = self.blocking(&store, move |_| Plan::new(&plan_store, &commit, wanted)).await?;
        let excluded = options.exclude;
        Ok(Prepared { listing, selection, plan, store, origin, whole, early, excluded, place: None })
    }

    /// The listing at the pinned commit: one request when an earlier run kept that of the same endpoint. `anew` asks
    /// for it whatever is kept.
    pub(super) async fn list(&self, spec: &RepoSpec, store: &Arc<Store>, anew: bool) -> Result<Listed, Error> {
        let revision = spec.revision.clone().unwrap_or_default();
        if self.config.offline {
            return self.list_offline(spec, &revision, store).await;
        }
        let info = self.hubs[0].info(spec.repo_type, &spec.id, &revision, &*self.progress).await?;
        self.progress.event(Event::Resolved(&info));
        let commit = info.commit;
        let endpoint = self.endpoint();
        if !anew
            && let Some(entries) = self.blocking(store, move |store| Ok(store.read_listing(&commit, &endpoint))).await?
        {
            return Ok(Listed::whole(Listing::new(info, entries, Vec::new()), Origin::KeptListing));
        }
        // What an object store lists is its manifest, which whoever put the files there wrote.
        let origin = if self.lists_all() { Origin::Hub } else { Origin::Manifest };
        let listing = self.hubs[0].listing(&info, &*self.progress).await?;
        Ok(Listed { listing, origin, whole: self.lists_all() })
    }

    /// It is not where files go.
    pub(super) fn not_cached(&self, spec: &RepoSpec) -> Error {
        let place: Location = match &self.config.destination {
            super::Destination::Cache { root, .. } => root.clone().into(),
            super::Destination::LocalDir(dir) => dir.clone().into(),
            #[cfg(feature = "object-store")]
            super::Destination::Objects(url) => Location::Store(url.to_string()),
        };
        let revision = spec.revision.clone().unwrap_or_default().as_str().to_owned();
        Error::NotCached { repo: spec.repo_type.qualify(&spec.id), revision, place }
    }

    pub(super) async fn list_offline(
        &self,
        spec: &RepoSpec,
        revision: &Revision,
        store: &Arc<Store>,
    ) -> Result<Listed, Error> {
        let wanted = revision.clone();
        let found = self
            .blocking(store, move |store| {
                let commit = store.read_ref(&wanted);
                Ok(commit.and_then(|commit| {
                    let kept = store.read_listing_offline(&commit).map(|entries| (entries, Origin::KeptListing));
                    let (entries, origin) = kept.or_else(|| {
                        super::folder::listing_of_snapshot(store, &commit).map(|entries| (entries, Origin::BlobNames))
                    })?;
                    Some((commit, entries, origin))
                }))
            })
            .await?;
        let Some((commit, entries, origin)) = found else {
            return Err(self.not_cached(spec));
        };
        let info = RepoInfo::new(spec.repo_type, spec.id.clone(), revision.clone(), commit);
        // What the blobs' names tell is what is here, not what the repo has.
        let whole = origin == Origin::KeptListing;
        Ok(Listed { listing: Listing::new(info, entries, Vec::new()), origin, whole })
    }

    /// Asks selection until it has what it needs.
    async fn choose(
        &self,
        listing: &Listing,
        options: &Options,
        store: &Arc<Store>,
        mode: Mode,
    ) -> Result<(Selection, Vec<Arrived>), Error> {
        let scratch = Scratch::default();
        let mut documents = Documents::new();
        let mut fetched: Vec<Arrived> = Vec::new();
        for _ in 0..ROUNDS {
            match select(listing, options, &documents)? {
                Step::Done(selection) => {
                    if mode == Mode::Real {
                        self.forget_unselected(listing, &selection, &fetched, store).await?;
                    }
                    return Ok((*selection, fetched));
                }
                Step::Need(paths) => {
                    let read = self.documents(listing, &paths, store, mode, &scratch, &mut fetched).await?;
                    documents.extend(read);
                }
            }
        }
        // Selection asks for each file once, and there are fewer kinds of files than rounds.
        Err(Error::Select(select::SelectError::NothingSelectable {
            found: Vec::new(),
            why: "its configuration files refer to one another without end".into(),
        }))
    }

    /// Reads small files, from disk where they are, else from the Hub.
    async fn documents(
        &self,
        listing: &Listing,
        paths: &[RepoPath],
        store: &Arc<Store>,
        mode: Mode,
        scratch: &Scratch,
        fetched: &mut Vec<Arrived>,
    ) -> Result<BTreeMap<RepoPath, Option<Vec<u8>>>, Error> {
        let entries: Vec<Entry> = paths
            .iter()
            .filter_map(|p| listing.get(p.as_str()))
            .filter(|e| e.size <= DOCUMENT_LIMIT)
            .cloned()
            .collect();
        let commit = listing.info.commit;
        let mut read: BTreeMap<RepoPath, Option<Vec<u8>>> = paths.iter().map(|p| (p.clone(), None)).collect();
        let wanted = entries.clone();
        let here = self
            .blocking(store, move |store| {
                wanted
                    .iter()
                    .map(|entry| Ok((entry.path.clone(), read_present(store, &commit, entry)?)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        read.extend(here);
        let missing: Vec<&Entry> = entries.iter().filter(|e| read.get(&e.path).is_none_or(Option::is_none)).collect();
        #[cfg(feature = "object-store")]
        let shelved = self.shelved(listing, &missing).await?;
        #[cfg(feature = "object-store")]
        let missing: Vec<&Entry> = missing.into_iter().filter(|e| !shelved.contains_key(&e.path)).collect();
        #[cfg(feature = "object-store")]
        read.extend(shelved);
        if missing.is_empty() || self.config.offline {
            return Ok(read);
        }
        let place = match mode {
            Mode::Real => Arc::clone(store),
            Mode::DryRun => scratch.store()?,
        };
        // Small files come and go too fast for bars.
        let silent: Arc<dyn Progress> = Arc::new(Silent);
        let report = fetch(&self.hubs, &place, &listing.info, &missing, self.config.fetch, &silent).await?;
        if let Some(finding) = report.failed.into_iter().next()
            && let Some(path) = missing.iter().find(|e| Some(e.path.as_str()) == finding.path.as_deref())
        {
            let why = format!("{}: {}", finding.code, finding.message);
            return Err(Error::Document { path: path.path.clone(), why });
        }
        fetched.extend(report.done);
        let wanted: Vec<Entry> = missing.into_iter().cloned().collect();
        let got = self
            .blocking(&place, move |store| {
                wanted
                    .iter()
                    .map(|entry| Ok((entry.path.clone(), read_present(store, &commit, entry)?)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?;
        read.extend(got);
        Ok(read)
    }

    /// Takes back what was fetched only to be read.
    async fn forget_unselected(
        &self,
        listing: &Listing,
        selection: &Selection,
        fetched: &[Arrived],
        store: &Arc<Store>,
    ) -> Result<(), Error> {
        let commit = listing.info.commit;
        for Arrived { path, .. } in fetched {
            let selected = selection.files.binary_search_by(|f| f.path.cmp(path)).is_ok();
            if !selected && let Some(entry) = listing.get(path.as_str()).cloned() {
                self.blocking(store, move |store| store.discard(&commit, &entry)).await?;
            }
        }
        Ok(())
    }
}

/// The content of a small file that is here and right; `None` otherwise.
fn read_present(
    store: &Store,
    commit: &crate::model::CommitId,
    entry: &Entry,
) -> Result<Option<Vec<u8>>, crate::store::StoreError> {
    if !store.presence(commit, entry)?.is_here() {
        return Ok(None);
    }
    let mut content = Vec::new();
    let path = store.content_path(commit, entry);
    let read = File::open(&path).and_then(|file| file.take(DOCUMENT_LIMIT).read_to_end(&mut content));
    let right = read.is_ok() && is_content(&content, entry);
    if read.is_ok() && !right {
        // The record may say otherwise: bytes decide. One that cannot be written is told with the file's finding.
        let _ = store.strike(commit, entry);
    }
    Ok(right.then_some(content))
}

/// Hashing a small file costs nothing, and selection must not act on other bytes than the repo's.
pub(super) fn is_content(content: &[u8], entry: &Entry) -> bool {
    let mut hasher = entry.digest().hasher(entry.size);
    hasher.update(content);
    hasher.finish().digest() == entry.digest()
}

/// A folder for a dry run's small files, made when first needed and gone with the run.
#[derive(Default)]
struct Scratch(std::sync::OnceLock<(tempfile::TempDir, Arc<Store>)>);

impl Scratch {
    fn store(&self) -> Result<Arc<Store>, Error> {
        if self.0.get().is_none() {
            let dir = tempfile::tempdir().map_err(|source| Error::Folder { path: std::env::temp_dir(), source })?;
            let store = Arc::new(Store::local_dir(dir.path()));
            // Only this task uses it, so it is still empty.
            let _ = self.0.set((dir, store));
        }
        self.0.get().map(|(_, store)| Arc::clone(store)).ok_or_else(|| Error::Folder {
            path: std::env::temp_dir(),
            source: std::io::Error::other("no scratch folder"),
        })
    }
}
